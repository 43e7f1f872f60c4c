//! The pipeline over a source of evidence that counts, fails and stalls on demand.
#![cfg(test)]

mod credentials;
mod full_disk;
mod lives;
mod parts;
mod source;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hallmark_policy::image::Digest;
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_registry::{Configuration, CredentialSource, Partition, Registry};
use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, EvidenceSource, Pipeline};

use source::{LONG, Source, TAGGED, ask, key, now, pipeline, pipeline_with, public, trusting};

#[tokio::test]
async fn f01_a_key_that_left_the_policy_counts_no_more_on_the_next_question() {
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline(&source);
    let image = format!("r.example/team/app@{}", Digest::of(b"image"));
    let verdict = ask(&pipeline, &trusting(&key()), &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Allow);
    assert_eq!(source.requests(), (0, 1));
    assert_eq!(ask(&pipeline, &trusting(&key()), &image, LONG).await.outcome(), Outcome::Allow);
    assert_eq!(source.requests(), (0, 1), "a warm allow by digest asks no registry");
    let other = p256::ecdsa::SigningKey::from_slice(&[2; 32]).unwrap();
    assert_eq!(ask(&pipeline, &trusting(&other), &image, LONG).await.outcome(), Outcome::Deny);
    assert_eq!(ask(&pipeline, &trusting(&key()), &image, LONG).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn f02_must_not_answer_for_a_tag_that_has_moved() {
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline(&source);
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
    assert_eq!(source.requests(), (2, 1), "the tag is resolved each time, the evidence is kept");
    *source.image.lock().unwrap() = Digest::of(b"moved");
    let verdict = ask(&pipeline, &trusting(&key()), TAGGED, LONG).await;
    assert_eq!(verdict.reasons()[0].code, Code::Unsigned);
    assert_eq!(verdict.pinned().unwrap().digest, Digest::of(b"moved"));
}

#[tokio::test]
async fn must_not_deny_by_old_evidence() {
    let source = Source::new(Duration::ZERO);
    let signed = std::mem::take(&mut *source.signed.lock().unwrap());
    let pipeline = pipeline(&source);
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Deny);
    *source.signed.lock().unwrap() = signed;
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn must_not_remember_a_failure_as_an_absence() {
    let source = Source::new(Duration::ZERO);
    *source.failing.lock().unwrap() = Some(Code::RegistryThrottled);
    let pipeline = pipeline(&source);
    let verdict = ask(&pipeline, &trusting(&key()), TAGGED, LONG).await;
    assert_eq!(verdict.reasons()[0].code, Code::RegistryThrottled);
    *source.failing.lock().unwrap() = None;
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
}

#[tokio::test(start_paused = true)]
async fn w13_must_not_answer_late_and_the_work_goes_on_for_the_next_asker() {
    let source = Source::new(Duration::from_secs(4));
    let pipeline = pipeline(&source);
    let started = tokio::time::Instant::now();
    let verdict = ask(&pipeline, &trusting(&key()), TAGGED, Duration::from_secs(2)).await;
    // To the next tick of the runtime's clock.
    let took = started.elapsed();
    assert!((Duration::from_secs(2)..=Duration::from_millis(2001)).contains(&took), "{took:?}");
    assert_eq!(verdict.reasons()[0].code, Code::DeadlineExceeded);
    assert!(!verdict.admit());
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
    assert_eq!(source.requests().1, 1, "the second asker found the work of the first");
}

#[tokio::test(start_paused = true)]
async fn must_not_begin_work_for_a_question_that_is_late_already() {
    let source = Source::new(Duration::from_millis(50));
    let pipeline = pipeline(&source);
    let trust = trusting(&key());
    let late = (0..1000).map(|n| {
        let (tagged, pinned) =
            (format!("r.example/team/{n}:1"), format!("r.example/team/{n}@{}", Digest::of(b"image")));
        let image = if n % 2 == 0 { tagged } else { pinned };
        let (pipeline, trust) = (&pipeline, &trust);
        async move { ask(pipeline, trust, &image, Duration::ZERO).await }
    });
    let verdicts = join_all(late).await;
    assert!(verdicts.iter().all(|verdict| verdict.reasons()[0].code == Code::DeadlineExceeded && !verdict.admit()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(source.requests(), (0, 0));
    assert_eq!(ask(&pipeline, &trust, TAGGED, LONG).await.outcome(), Outcome::Allow);
}

#[tokio::test(start_paused = true)]
async fn r13_a_thousand_equal_questions_share_one_fetch() {
    let source = Source::new(Duration::from_millis(50));
    let pipeline = pipeline(&source);
    let trust = trusting(&key());
    let verdicts = join_all((0..1000).map(|_| ask(&pipeline, &trust, TAGGED, LONG))).await;
    assert!(verdicts.iter().all(|verdict| verdict.outcome() == Outcome::Allow));
    let (resolved, gathered) = source.requests();
    assert_eq!(gathered, 1);
    assert!(resolved < 20, "{resolved} resolutions");
}

#[tokio::test]
async fn p01_must_not_ask_any_registry_about_an_image_that_no_rule_covers() {
    let source = Source::new(Duration::ZERO);
    let pem = public(&key()).to_pem().replace('\n', "\\n");
    let text = format!(
        r#"{{"apiVersion":"hallmark.dev/v1alpha1","kind":"TrustPolicy","metadata":{{"name":"p"}},"spec":{{"authorities":[{{"name":"a","keys":[{{"publicKey":{{"pem":"{pem}"}}}}]}}],"rules":[{{"name":"r","images":["r.example/other/**"],"require":"a"}}]}}}}"#
    );
    let document = Document::parse("p.json", &text).unwrap();
    let policy = TrustPolicy::compile(&document, &mut |_| Err("no files".into())).unwrap();
    let trust = TrustSnapshot::new(vec![policy]).unwrap();
    let verdict = ask(&pipeline(&source), &trust, TAGGED, LONG).await;
    assert_eq!(verdict.reasons()[0].code, Code::NoMatchingRule);
    assert_eq!(source.requests(), (0, 0));
}

#[tokio::test]
async fn held_evidence_answers_while_the_registry_cannot() {
    let source = Source::new(Duration::ZERO);
    let trust = trusting_held_evidence();
    let no_life = EvidenceLimits { listing_life: Duration::ZERO, ..EvidenceLimits::STANDARD };
    let pipeline = pipeline_with(&source, no_life);
    let image = format!("r.example/team/app@{}", Digest::of(b"image"));
    assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Allow);
    *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
    let verdict = ask(&pipeline, &trust, &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Allow);
    assert!(verdict.rules()[0].decision().proof().unwrap().held_since().is_some());
    assert_eq!(ask(&pipeline, &trust, TAGGED, LONG).await.outcome(), Outcome::Undetermined);
}

/// A policy that takes evidence of the last hour while the registry cannot be asked.
fn trusting_held_evidence() -> TrustSnapshot {
    trusting_held_evidence_of(&key())
}

fn trusting_held_evidence_of(key: &p256::ecdsa::SigningKey) -> TrustSnapshot {
    let pem = public(key).to_pem().replace('\n', "\\n");
    let text = format!(
        r#"{{"apiVersion":"hallmark.dev/v1alpha1","kind":"TrustPolicy","metadata":{{"name":"p"}},"spec":{{"authorities":[{{"name":"a","keys":[{{"publicKey":{{"pem":"{pem}"}}}}]}}],"rules":[{{"name":"r","images":["r.example/team/**"],"require":"a","onUndetermined":{{"useHeldEvidence":{{"maxAge":"1h"}}}}}}]}}}}"#
    );
    let document = Document::parse("p.json", &text).unwrap();
    let policy = TrustPolicy::compile(&document, &mut |_| Err("no files".into())).unwrap();
    TrustSnapshot::new(vec![policy]).unwrap()
}

#[tokio::test]
async fn held_evidence_outlives_the_process_and_is_never_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let file = |n: usize| {
        let own = std::fs::read_dir(folder.path().join("hallmark-evidence-v1")).unwrap();
        let mut files: Vec<_> = own.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("salt")).collect();
        files.sort_by_key(|path| std::fs::read(path).unwrap().windows(9).any(|text| text == b"evidence/"));
        files[n].clone()
    };
    let store = || {
        let limits = ContentLimits { directory: Some(folder.path().to_owned()), ..ContentLimits::STANDARD };
        Arc::new(ContentStore::open(&limits))
    };
    let started_at = |source: &Arc<Source>, store: &Arc<ContentStore>, at: &str| {
        let (source, at): (Arc<dyn EvidenceSource>, Timestamp) = (Arc::<Source>::clone(source), at.parse().unwrap());
        Pipeline::with_content(source, Arc::new(move || at), EvidenceLimits::STANDARD, Some(Arc::clone(store)))
    };
    let source = Source::new(Duration::ZERO);
    let trust = trusting_held_evidence();
    let image = format!("r.example/team/app@{}", Digest::of(b"image"));
    let first = store();
    let verdict = ask(&started_at(&source, &first, "2026-11-23T09:00:00Z"), &trust, &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Allow);
    first.flush().await;
    let soon = "2026-11-23T09:30:00Z";
    *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);

    // The twin that must not be allowed: nothing is held, too old, from the future, or another's.
    assert_eq!(ask(&pipeline(&source), &trust, &image, LONG).await.outcome(), Outcome::Undetermined);
    for at in ["2026-11-23T10:00:01Z", "2026-11-23T08:59:59Z", "2026-11-25T09:00:00Z"] {
        let verdict = ask(&started_at(&source, &store(), at), &trust, &image, LONG).await;
        assert_eq!(verdict.outcome(), Outcome::Undetermined, "{at}");
    }
    let credentials = CredentialSource::anonymous().with_password("r.example", "tenant", "two");
    let other = Registry::new(Configuration { credentials, ..Configuration::default() }, Arc::new(now)).unwrap();
    *source.partition.lock().unwrap() = other.partition(&"r.example/team/app".parse().unwrap());
    let verdict = ask(&started_at(&source, &store(), soon), &trust, &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Undetermined);
    *source.partition.lock().unwrap() = Partition::undivided();

    let asked = source.requests().1;
    let restarted = started_at(&source, &store(), soon);
    for again in 1..=2 {
        let verdict = ask(&restarted, &trust, &image, LONG).await;
        assert_eq!(verdict.outcome(), Outcome::Allow);
        assert!(verdict.rules()[0].decision().proof().unwrap().held_since().is_some());
        assert_eq!(source.requests().1, asked + again, "the registry is asked before evidence of the past counts");
    }

    // A record whose time was changed is not the one that was written; nor is one whose content is damaged.
    let record = file(2);
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("09:00:00", "09:29:00")).unwrap();
    assert_ne!(std::fs::read_to_string(&record).unwrap(), text);
    let verdict = ask(&started_at(&source, &store(), soon), &trust, &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Undetermined);
    assert!(!record.exists());
    std::fs::write(&record, &text).unwrap();
    let verdict = ask(&started_at(&source, &store(), soon), &trust, &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Allow, "put back");
    std::fs::write(file(0), b"damaged").unwrap();
    let verdict = ask(&started_at(&source, &store(), soon), &trust, &image, LONG).await;
    assert_eq!(verdict.outcome(), Outcome::Undetermined);
}
