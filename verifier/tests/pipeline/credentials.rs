//! Credentials that change while the pipeline runs: what one has fetched answers nobody who has another.

use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::image::Digest;
use hallmark_policy::{Code, Outcome};
use hallmark_registry::{Configuration, CredentialSource, Partition, Registry};
use hallmark_verifier::EvidenceLimits;

use crate::source::{LONG, Source, TAGGED, ask, key, now, pipeline, pipeline_with, trusting};
use crate::trusting_held_evidence;

/// The partition of somebody else.
fn of_somebody_else() -> Partition {
    let credentials = CredentialSource::anonymous().with_password("r.example", "tenant", "two");
    let registry = Registry::new(Configuration { credentials, ..Configuration::default() }, Arc::new(now)).unwrap();
    registry.partition(&"r.example/team/app".parse().unwrap())
}

fn pinned() -> String {
    format!("r.example/team/app@{}", Digest::of(b"image"))
}

#[tokio::test]
async fn must_not_allow_by_what_another_credential_has_fetched() {
    let limits = EvidenceLimits { tag_life: Duration::from_secs(60), ..EvidenceLimits::STANDARD };
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline_with(&source, limits);
    for image in [TAGGED, &pinned()] {
        for trust in [trusting(&key()), trusting_held_evidence()] {
            *source.partition.lock().unwrap() = Partition::undivided();
            *source.failing.lock().unwrap() = None;
            assert_eq!(ask(&pipeline, &trust, image, LONG).await.outcome(), Outcome::Allow, "{image}");
            *source.failing.lock().unwrap() = Some(Code::RegistryUnauthorized);
            *source.partition.lock().unwrap() = of_somebody_else();
            let verdict = ask(&pipeline, &trust, image, LONG).await;
            assert_eq!(verdict.outcome(), Outcome::Undetermined, "{image}");

            // Its twin: whoever fetched it is allowed by it, without a request.
            *source.partition.lock().unwrap() = Partition::undivided();
            let asked = source.requests();
            assert_eq!(ask(&pipeline, &trust, image, LONG).await.outcome(), Outcome::Allow, "{image}");
            assert_eq!(source.requests(), asked, "{image}");
        }
    }
}

#[tokio::test]
async fn must_not_say_that_an_image_is_missing_by_what_another_credential_has_seen() {
    let limits = EvidenceLimits { absence_life: Duration::from_secs(60), ..EvidenceLimits::STANDARD };
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline_with(&source, limits);
    source.missing.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Deny);
    source.missing.store(false, std::sync::atomic::Ordering::SeqCst);
    *source.partition.lock().unwrap() = of_somebody_else();
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
    // Its twin: for the first one, it is remembered.
    *source.partition.lock().unwrap() = Partition::undivided();
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Deny);
}

#[tokio::test(start_paused = true)]
async fn must_not_keep_what_was_gathered_while_the_credentials_changed() {
    let source = Source::new(Duration::from_secs(1));
    let pipeline = pipeline(&source);
    let (trust, image) = (trusting(&key()), pinned());
    let asking = ask(&pipeline, &trust, &image, LONG);
    let changing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        *source.partition.lock().unwrap() = of_somebody_else();
    };
    let (verdict, ()) = tokio::join!(asking, changing);
    assert_eq!(verdict.outcome(), Outcome::Allow, "this question was asked before");
    for partition in [of_somebody_else(), Partition::undivided()] {
        let asked = source.requests().1;
        *source.partition.lock().unwrap() = partition;
        assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Allow);
        assert_eq!(source.requests().1, asked + 1, "nothing was kept");
        // Its twin: what was gathered with one credential is kept for it.
        assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Allow);
        assert_eq!(source.requests().1, asked + 1);
    }
}
