//! Evidence of which a part was enough: it may allow others too, and denies nobody.

use std::time::Duration;

use futures_util::future::join_all;
use hallmark_policy::image::Digest;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::{Code, Outcome};
use hallmark_verifier::EvidenceLimits;

use crate::source::{LONG, Source, ask, key_of, pipeline, pipeline_with, trusting};

fn pinned() -> String {
    format!("r.example/team/app@{}", Digest::of(b"image"))
}

fn trusts() -> [TrustSnapshot; 3] {
    [1, 2, 3].map(|seed| trusting(&key_of(seed)))
}

#[tokio::test]
async fn a_part_that_was_enough_is_kept_and_asks_for_nothing_more() {
    let source = Source::new(Duration::ZERO);
    *source.seeds.lock().unwrap() = vec![1, 2];
    let pipeline = pipeline(&source);
    let [first, second, nobody] = trusts();
    for _ in 0..2 {
        assert_eq!(ask(&pipeline, &first, &pinned(), LONG).await.outcome(), Outcome::Allow);
        assert_eq!(source.requests(), (0, 1));
    }
    assert_eq!(ask(&pipeline, &second, &pinned(), LONG).await.outcome(), Outcome::Allow, "by what was left out");
    assert_eq!(source.requests(), (0, 2));
    for trust in [&first, &second] {
        assert_eq!(ask(&pipeline, trust, &pinned(), LONG).await.outcome(), Outcome::Allow);
    }
    assert_eq!(source.requests(), (0, 2), "now all of it is known");
    assert_eq!(ask(&pipeline, &nobody, &pinned(), LONG).await.reasons()[0].code, Code::UntrustedKey);
}

#[tokio::test]
async fn must_not_deny_by_a_part_however_long_absences_live() {
    let source = Source::new(Duration::ZERO);
    *source.seeds.lock().unwrap() = vec![1, 2];
    let limits = EvidenceLimits { absence_life: LONG, ..EvidenceLimits::STANDARD };
    let pipeline = pipeline_with(&source, limits);
    let [first, second, nobody] = trusts();
    assert_eq!(ask(&pipeline, &first, &pinned(), LONG).await.outcome(), Outcome::Allow);
    assert_eq!(ask(&pipeline, &nobody, &pinned(), LONG).await.outcome(), Outcome::Deny);
    assert_eq!(source.requests(), (0, 2), "all was looked at before the denial");
    assert_eq!(ask(&pipeline, &second, &pinned(), LONG).await.outcome(), Outcome::Allow);
}

/// Whoever joins a gathering that stops because its first asker is content is not sent away with a part.
#[tokio::test]
async fn must_not_leave_an_asker_undetermined_because_another_was_content_with_a_part() {
    let source = Source::new(Duration::from_millis(20));
    *source.seeds.lock().unwrap() = vec![1, 2];
    let pipeline = pipeline(&source);
    let [first, second, nobody] = trusts();
    let (image, asked) = (pinned(), [(&first, Outcome::Allow), (&second, Outcome::Allow), (&nobody, Outcome::Deny)]);
    let verdicts = join_all((0..99).map(|n| ask(&pipeline, asked[n % 3].0, &image, LONG))).await;
    for (n, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.outcome(), asked[n % 3].1, "{n}: {verdict:?}");
    }
    assert!(source.requests().1 <= 3, "{:?}", source.requests());
}
