//! Evidence of which a part was enough: it may allow others too, and denies nobody.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hallmark_policy::image::Digest;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::{Code, Outcome};
use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, EvidenceSource, Pipeline};

use crate::source::{LONG, Source, ask, key_of, now, pipeline, pipeline_with, trusting};
use crate::trusting_held_evidence_of;

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
#[tokio::test(start_paused = true)]
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

/// Whose keys are asked about, one after another: for the second one the whole is gathered, for the first one a part.
const STEPS: [u8; 2] = [2, 1];

#[tokio::test(start_paused = true)]
async fn must_not_lose_the_whole_that_is_held_to_a_part_that_was_enough() {
    let image = pinned();
    let life = EvidenceLimits::STANDARD.listing_life;
    let [first, second, nobody] = [1, 2, 3].map(|seed| trusting_held_evidence_of(&key_of(seed)));
    for (steps, expected) in [(&STEPS[..], Outcome::Allow), (&STEPS[1..], Outcome::Undetermined)] {
        let source = Source::new(Duration::ZERO);
        *source.seeds.lock().unwrap() = vec![1, 2];
        let pipeline = pipeline(&source);
        for seed in steps {
            let trust = trusting_held_evidence_of(&key_of(*seed));
            assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Allow);
            tokio::time::advance(life).await;
        }
        *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
        assert_eq!(ask(&pipeline, &second, &image, LONG).await.outcome(), expected, "only the whole has its signature");
        // Its twins: the part serves on, and neither allows what it does not prove.
        assert_eq!(ask(&pipeline, &first, &image, LONG).await.outcome(), Outcome::Allow);
        assert_eq!(ask(&pipeline, &nobody, &image, LONG).await.outcome(), Outcome::Undetermined);
    }
}

#[tokio::test(start_paused = true)]
async fn must_not_hold_the_whole_for_longer_because_parts_come_after_it() {
    let source = Source::new(Duration::ZERO);
    *source.seeds.lock().unwrap() = vec![1, 2];
    let limits = EvidenceLimits { held_life: Duration::from_secs(600), ..EvidenceLimits::STANDARD };
    let pipeline = pipeline_with(&source, limits);
    let [first, second] = [1, 2].map(|seed| trusting_held_evidence_of(&key_of(seed)));
    assert_eq!(ask(&pipeline, &second, &pinned(), LONG).await.outcome(), Outcome::Allow);
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!(ask(&pipeline, &first, &pinned(), LONG).await.outcome(), Outcome::Allow);
    *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
    for (later, expected) in [(0, Outcome::Allow), (2, Outcome::Undetermined)] {
        tokio::time::advance(Duration::from_secs(later)).await;
        assert_eq!(ask(&pipeline, &second, &pinned(), LONG).await.outcome(), expected, "{later}");
        assert_eq!(ask(&pipeline, &first, &pinned(), LONG).await.outcome(), Outcome::Allow, "the part is younger");
    }
}

/// A second process learns a part, and a third finds what the first has learned.
#[tokio::test]
async fn must_not_lose_the_whole_that_is_on_disk_to_a_part_that_was_enough() {
    let image = pinned();
    let second = trusting_held_evidence_of(&key_of(2));
    for (steps, expected) in [(&STEPS[..], Outcome::Allow), (&STEPS[1..], Outcome::Undetermined)] {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::new(Duration::ZERO);
        *source.seeds.lock().unwrap() = vec![1, 2];
        let start = || {
            let limits = ContentLimits { directory: Some(folder.path().to_owned()), ..ContentLimits::STANDARD };
            let (source, store): (Arc<dyn EvidenceSource>, _) =
                (Arc::<Source>::clone(&source), Arc::new(ContentStore::open(&limits)));
            let kept = Some(Arc::clone(&store));
            (Pipeline::with_content(source, Arc::new(now), EvidenceLimits::STANDARD, kept), store)
        };
        for seed in steps {
            let (pipeline, store) = start();
            let trust = trusting_held_evidence_of(&key_of(*seed));
            assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Allow);
            store.flush().await;
        }
        *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
        assert_eq!(ask(&start().0, &second, &image, LONG).await.outcome(), expected);
        // Its twin: where there is no whole, the part is on disk.
        let first = trusting_held_evidence_of(&key_of(1));
        assert_eq!(ask(&start().0, &first, &image, LONG).await.outcome(), Outcome::Allow);
    }
}
