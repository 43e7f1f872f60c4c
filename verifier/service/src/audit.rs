//! The audit log: one line for each image that was judged. Text from outside is made printable before it gets here.

use std::time::Duration;

use crate::asking::{Asking, Namespace};
use crate::text::printable;
use crate::verdict::ImageVerdict;

/// The target under which the lines appear, for filters: `HALLMARK_LOG_LEVEL=audit=info,warn`.
pub(crate) const TARGET: &str = "audit";

/// Writes the line of one verdict.
pub(crate) fn verdict(asking: &Asking<'_>, verdict: &ImageVerdict, dangers: &[&str], took: Duration) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let (namespace, claimed) = match &asking.namespace {
        Namespace::Authentic(namespace) => (namespace.as_deref().unwrap_or(""), false),
        Namespace::Claimed(namespace) => (namespace.as_str(), true),
    };
    let (signed, attested) = (verdict.proof.iter(), verdict.attestations.iter());
    let signers = signed.clone().filter_map(|proof| proof.key_id.as_deref());
    let attesters = attested.clone().filter_map(|one| one.key_id.as_deref());
    tracing::info!(
        target: TARGET,
        endpoint = asking.endpoint.as_str(),
        image = printable(&verdict.image),
        namespace = printable(namespace),
        namespace_claimed = claimed,
        dry_run = asking.dry_run,
        verdict = verdict.verdict.as_str(),
        admit = verdict.admit,
        pinned = verdict.pinned.as_deref().unwrap_or(""),
        rule = verdict.rule.as_deref().unwrap_or(""),
        codes = join(verdict.reasons.iter().map(|reason| reason.code.as_str())),
        authorities = join_once(signed.map(|proof| proof.authority.as_str()).chain(attested.map(|one| one.authority.as_str()))),
        keys = join_once(signers.chain(attesters)),
        exception = verdict.exception.as_ref().map_or(String::new(), |used| printable(&format!("{}: {}", used.owner, used.reason))),
        held_since = verdict.held_since.map_or(String::new(), |since| since.to_string()),
        dangers = join(dangers.iter().copied()),
        policies = join(asking.policies().iter().map(|policy| policy.digest.as_str())),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "verdict"
    );
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(",")
}

/// Those who signed may have attested, too.
fn join_once<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut found: Vec<&str> = Vec::new();
    words.for_each(|word| {
        if !found.contains(&word) {
            found.push(word);
        }
    });
    found.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use crate::metrics::{Endpoint, Metrics};
    use crate::session::Session;
    use crate::verdict::{PolicyInForce, Reason};
    use futures_util::future::BoxFuture;
    use hallmark_policy::verdict::Question;
    use hallmark_policy::{Code, Timestamp};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;
    use tracing_subscriber::fmt::MakeWriter;

    struct Silent([PolicyInForce; 1]);

    impl Session for Silent {
        fn policies(&self) -> &[PolicyInForce] {
            &self.0
        }

        fn verdict<'a>(&'a self, _: &'a Question, _: Instant) -> BoxFuture<'a, ImageVerdict> {
            Box::pin(std::future::pending())
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn must_not_let_a_name_write_a_line_of_its_own() {
        let evil = "r.example/a\n{\"verdict\":\"allow\"}\u{1b}[2J";
        let reason = Reason { code: Code::Unsigned, message: evil.into(), hint: evil.into() };
        let view = ImageVerdict::unanswered(evil.to_owned(), Timestamp::UNIX_EPOCH, reason);
        let metrics = Metrics::default();
        let asking = Asking {
            session: Arc::new(Silent([PolicyInForce { name: "p".into(), digest: "sha256:00".into() }])),
            metrics: &metrics,
            endpoint: Endpoint::Verdicts,
            namespace: Namespace::Claimed(evil.to_owned()),
            deadline: Deadline::new(Instant::now(), Duration::ZERO),
            dry_run: true,
        };
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(log, || {
            verdict(&asking, &view, &["dangerLocal", "dangerPlainHttp"], Duration::from_micros(7))
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (field, expected) in [
            ("target", "audit"),
            ("verdict", "deny"),
            ("codes", "unsigned"),
            ("dangers", "dangerLocal,dangerPlainHttp"),
            ("policies", "sha256:00"),
            ("image", "r.example/a {\"verdict\":\"allow\"} [2J"),
        ] {
            assert_eq!(line[field], expected, "{text}");
        }
        assert_eq!(
            (&line["namespace_claimed"], &line["dry_run"], &line["took_us"]),
            (&true.into(), &true.into(), &7.into())
        );
    }
}
