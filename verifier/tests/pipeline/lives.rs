//! How long what was learned counts, at each boundary: the clock of the runtime is put forward by hand.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hallmark_policy::image::Digest;
use hallmark_policy::{Code, Outcome};
use hallmark_verifier::EvidenceLimits;

use crate::source::{LONG, Source, TAGGED, ask, key, pipeline, pipeline_with, trusting};

const SHORT: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(1);

fn pinned() -> String {
    format!("r.example/team/app@{}", Digest::of(b"image"))
}

fn tags(tag_life: Duration) -> EvidenceLimits {
    EvidenceLimits { tag_life, ..EvidenceLimits::STANDARD }
}

fn absences(absence_life: Duration) -> EvidenceLimits {
    EvidenceLimits { absence_life, ..EvidenceLimits::STANDARD }
}

#[tokio::test(start_paused = true)]
async fn evidence_allows_for_as_long_as_a_listing_lives_and_not_a_moment_longer() {
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline(&source);
    let life = EvidenceLimits::STANDARD.listing_life;
    for (later, gathered) in [(Duration::ZERO, 1), (life - MOMENT, 1), (MOMENT, 2)] {
        tokio::time::advance(later).await;
        assert_eq!(ask(&pipeline, &trusting(&key()), &pinned(), LONG).await.outcome(), Outcome::Allow);
        assert_eq!(source.requests(), (0, gathered), "{later:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_resolved_again_when_its_life_is_over() {
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline_with(&source, tags(SHORT));
    for (later, resolved) in [(Duration::ZERO, 1), (SHORT - MOMENT, 1), (MOMENT, 2)] {
        tokio::time::advance(later).await;
        assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
        assert_eq!(source.requests(), (resolved, 1), "{later:?}");
    }
    *source.image.lock().unwrap() = Digest::of(b"moved");
    let verdict = ask(&pipeline, &trusting(&key()), TAGGED, LONG).await;
    assert_eq!(verdict.pinned().unwrap().digest, Digest::of(b"image"), "what the verdict is about is said in it");
    tokio::time::advance(SHORT).await;
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Deny);
}

#[tokio::test(start_paused = true)]
async fn must_not_deny_by_what_a_tag_named_before() {
    let source = Source::new(Duration::ZERO);
    *source.image.lock().unwrap() = Digest::of(b"unsigned");
    let pipeline = pipeline_with(&source, tags(SHORT));
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Deny);
    *source.image.lock().unwrap() = Digest::of(b"image");
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
}

#[tokio::test(start_paused = true)]
async fn an_absence_denies_for_as_long_as_it_lives_and_not_a_moment_longer() {
    let source = Source::new(Duration::ZERO);
    let signed = std::mem::take(&mut *source.signed.lock().unwrap());
    let pipeline = pipeline_with(&source, absences(SHORT));
    for later in [Duration::ZERO, SHORT - MOMENT] {
        tokio::time::advance(later).await;
        let verdict = ask(&pipeline, &trusting(&key()), &pinned(), LONG).await;
        assert_eq!(verdict.reasons()[0].code, Code::Unsigned);
        assert_eq!(source.requests(), (0, 1));
    }
    *source.signed.lock().unwrap() = signed;
    assert_eq!(ask(&pipeline, &trusting(&key()), &pinned(), LONG).await.outcome(), Outcome::Deny);
    tokio::time::advance(MOMENT).await;
    assert_eq!(ask(&pipeline, &trusting(&key()), &pinned(), LONG).await.outcome(), Outcome::Allow);
}

/// A new policy counts at once, whatever is remembered: what is remembered is evidence.
#[tokio::test(start_paused = true)]
async fn an_absence_that_lives_denies_by_the_policy_in_force() {
    let source = Source::new(Duration::ZERO);
    let pipeline = pipeline_with(&source, absences(SHORT));
    let other = trusting(&crate::source::key_of(2));
    for _ in 0..2 {
        assert_eq!(ask(&pipeline, &other, &pinned(), LONG).await.outcome(), Outcome::Deny);
        assert_eq!(ask(&pipeline, &trusting(&key()), &pinned(), LONG).await.outcome(), Outcome::Allow);
    }
    assert_eq!(source.requests(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_is_asked_for_again_when_that_is_not_new() {
    for (image, per_question) in [(TAGGED.to_owned(), (1, 0)), (pinned(), (0, 1))] {
        for (limits, asked) in [(EvidenceLimits::STANDARD, 2), (absences(SHORT), 1)] {
            let source = Source::new(Duration::ZERO);
            source.missing.store(true, Ordering::SeqCst);
            let pipeline = pipeline_with(&source, limits);
            for later in [Duration::ZERO, SHORT - MOMENT] {
                tokio::time::advance(later).await;
                let verdict = ask(&pipeline, &trusting(&key()), &image, LONG).await;
                assert_eq!(verdict.reasons()[0].code, Code::ImageNotFound);
            }
            assert_eq!(source.requests(), (per_question.0 * asked, per_question.1 * asked), "{image}");
            source.missing.store(false, Ordering::SeqCst);
            tokio::time::advance(MOMENT).await;
            assert_eq!(ask(&pipeline, &trusting(&key()), &image, LONG).await.outcome(), Outcome::Allow);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn must_not_remember_a_failure_however_long_absences_and_tags_live() {
    let source = Source::new(Duration::ZERO);
    *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
    let limits = EvidenceLimits { tag_life: SHORT, ..absences(SHORT) };
    let pipeline = pipeline_with(&source, limits);
    let verdict = ask(&pipeline, &trusting(&key()), TAGGED, LONG).await;
    assert_eq!(verdict.reasons()[0].code, Code::RegistryUnavailable);
    *source.failing.lock().unwrap() = None;
    assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Allow);
}

/// A denial by tag rests on two answers of the registry: both must be young.
#[tokio::test(start_paused = true)]
async fn must_not_deny_by_a_tag_that_was_resolved_before_absences_die() {
    let source = Source::new(Duration::ZERO);
    source.signed.lock().unwrap().clear();
    let limits = EvidenceLimits { tag_life: 2 * SHORT, ..absences(SHORT) };
    let pipeline = pipeline_with(&source, limits);
    for (later, requests) in [(Duration::ZERO, (1, 1)), (SHORT - MOMENT, (1, 1)), (MOMENT, (2, 2))] {
        tokio::time::advance(later).await;
        assert_eq!(ask(&pipeline, &trusting(&key()), TAGGED, LONG).await.outcome(), Outcome::Deny);
        assert_eq!(source.requests(), requests, "{later:?}");
    }
}

/// Registries are reached in another way: what was learned in the old one neither allows nor denies as if it were new.
#[tokio::test(start_paused = true)]
async fn must_not_take_for_fresh_what_was_learned_before_registries_were_reached_otherwise() {
    let source = Source::new(Duration::ZERO);
    let limits = EvidenceLimits { tag_life: SHORT, ..absences(SHORT) };
    let pipeline = pipeline_with(&source, limits);
    let (trust, held) = (trusting(&key()), crate::trusting_held_evidence());
    let absent = "r.example/team/other:1";
    let mut requests = (0, 0);
    for _ in 0..2 {
        for again in 0..2 {
            assert_eq!(ask(&pipeline, &trust, TAGGED, LONG).await.outcome(), Outcome::Allow);
            source.missing.store(true, Ordering::SeqCst);
            assert_eq!(ask(&pipeline, &trust, absent, LONG).await.outcome(), Outcome::Deny);
            source.missing.store(false, Ordering::SeqCst);
            if again == 0 {
                requests = (requests.0 + 2, requests.1 + 1);
            }
            assert_eq!(source.requests(), requests, "{again}");
        }
        tokio::time::advance(MOMENT).await;
        pipeline.ask_anew();
    }
    // Its twin: it is still held.
    *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
    assert_eq!(ask(&pipeline, &trust, &pinned(), LONG).await.outcome(), Outcome::Undetermined);
    assert_eq!(ask(&pipeline, &held, &pinned(), LONG).await.outcome(), Outcome::Allow);
}

/// What is under way when registries come to be reached in another way answers those who waited for it, and nobody else.
#[tokio::test(start_paused = true)]
async fn must_not_join_what_is_still_being_asked_in_the_old_way() {
    // Who waited for the tag gathers in the new way. A tag that takes no time is resolved for everybody.
    let slow = Duration::from_secs(2);
    for (tag_delay, delay, expected) in [(slow, Duration::ZERO, (2, 1)), (Duration::ZERO, slow, (4, 2))] {
        let source = Source::new(delay);
        *source.tag_delay.lock().unwrap() = tag_delay;
        let pipeline = pipeline_with(&source, tags(SHORT));
        let trust = trusting(&key());
        let asking = |after: Duration| {
            let (pipeline, trust) = (&pipeline, &trust);
            async move {
                tokio::time::sleep(after).await;
                ask(pipeline, trust, TAGGED, LONG).await.outcome()
            }
        };
        let changing = async {
            tokio::time::sleep(2 * MOMENT).await;
            pipeline.ask_anew();
        };
        // Its twin: the second one joins the first, and the fourth the third.
        let [first, second, third, fourth] = [0, 1, 3, 4].map(|after| asking(MOMENT * after));
        let (first, second, (), third, fourth) = tokio::join!(first, second, changing, third, fourth);
        assert_eq!([first, second, third, fourth], [Outcome::Allow; 4]);
        assert_eq!(source.requests(), expected, "{tag_delay:?} {delay:?}");
        // What was learned in the new way has not been replaced by what was learned in the old one.
        assert_eq!(asking(Duration::ZERO).await, Outcome::Allow);
        assert_eq!(source.requests(), expected, "{tag_delay:?} {delay:?}");
    }
}
