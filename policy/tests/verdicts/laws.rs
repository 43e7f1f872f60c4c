//! Invariant 5: a verdict is a function of its arguments; more evidence never turns an allow into a deny, and less
//! never turns a deny into an allow.

use std::collections::BTreeMap;

use hallmark_policy::Outcome;
use hallmark_policy::evidence::{Cause, DecodedEvidence, Evidence, Observation, Record};
use hallmark_policy::image::Digest;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, evaluate};
use proptest::prelude::*;

use crate::support::{Attached, Key, image, now, policy};

/// One thing that may be attached to the image.
#[derive(Debug, Clone, Copy)]
enum Thing {
    Good { key: u8, format: Format },
    OtherImage { key: u8 },
    Garbage { seed: u8 },
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    let format = prop_oneof![Just(Format::SigstoreBundle), Just(Format::SimpleSigning)];
    let thing = prop_oneof![
        (1..6_u8, format).prop_map(|(key, format)| Thing::Good { key, format }),
        (1..6_u8).prop_map(|key| Thing::OtherImage { key }),
        any::<u8>().prop_map(|seed| Thing::Garbage { seed }),
    ];
    prop::collection::vec(thing, 0..6)
}

fn attach(things: &[Thing]) -> Attached {
    let mut layers = Vec::new();
    let mut attached = Attached::nothing();
    for thing in things {
        attached = match thing {
            Thing::Good { key, format: Format::SimpleSigning } => {
                let payload = Key::new(*key).signs(Format::SimpleSigning).blob().to_vec();
                layers.push(Key::new(*key).layer(&payload));
                attached
            }
            Thing::Good { key, format } => attached.with(&Key::new(*key).signs(*format)),
            Thing::OtherImage { key } => {
                let other = Statement::about(&image(), &image().pin(Digest::of(b"other")), BTreeMap::new());
                attached.with(&Key::new(*key).signs_statement(Format::SigstoreBundle, &other))
            }
            Thing::Garbage { seed } => attached.with_bundle(&[*seed; 9]),
        };
    }
    if layers.is_empty() { attached } else { attached.with_layers(layers) }
}

fn requirement() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("require: k1"),
        Just("require: {all: [k1, k2]}"),
        Just("require: {any: [k1, k2]}"),
        Just("require: {threshold: {count: 2, of: [k1, k2, k3]}}"),
        Just("require: {all: [k1, {any: [k2, {threshold: {count: 2, of: [k3, k4]}}]}]}"),
    ]
}

fn outcome(evidence: Evidence, trust: &TrustSnapshot) -> Outcome {
    evaluate(&Question::about(image()), trust, &DecodedEvidence::new(evidence), None, now()).outcome()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn more_evidence_never_turns_an_allow_into_a_deny(
        few in things(), more in things(), requirement in requirement(),
    ) {
        let trust = policy(&[1, 2, 3, 4], requirement);
        let all: Vec<_> = few.iter().chain(&more).copied().collect();
        let (before, after) = (outcome(attach(&few).evidence(), &trust), outcome(attach(&all).evidence(), &trust));
        prop_assert!(before != Outcome::Allow || after == Outcome::Allow);
        prop_assert!(after != Outcome::Deny || before == Outcome::Deny);
    }

    #[test]
    fn the_order_of_things_does_not_matter(things in things(), requirement in requirement()) {
        let trust = policy(&[1, 2, 3, 4], requirement);
        let mut reversed = things.clone();
        reversed.reverse();
        prop_assert_eq!(outcome(attach(&things).evidence(), &trust), outcome(attach(&reversed).evidence(), &trust));
    }

    #[test]
    fn must_not_allow_or_call_unsigned_what_was_not_looked_at(
        things in things(), requirement in requirement(), place in 0..3_usize,
    ) {
        let trust = policy(&[1, 2, 3, 4], requirement);
        let known = outcome(attach(&things).evidence(), &trust);
        let mut evidence = attach(&things).evidence();
        let cause = Cause::new(hallmark_policy::Code::RegistryUnavailable, "test");
        evidence.places[place].manifests = Observation::Unknown(cause);
        let verdict =
            evaluate(&Question::about(image()), &trust, &DecodedEvidence::new(evidence), None, now());
        prop_assert!(verdict.outcome() != Outcome::Allow || known == Outcome::Allow);
        prop_assert!(verdict.outcome() != Outcome::Deny);
    }

    #[test]
    fn the_same_arguments_give_the_same_verdict_also_after_a_recording(
        things in things(), requirement in requirement(),
    ) {
        let trust = policy(&[1, 2, 3, 4], requirement);
        let evidence = attach(&things).evidence();
        let json = serde_json::to_vec(&Record::of(&evidence)).unwrap();
        let record: Record = serde_json::from_slice(&json).unwrap();
        let bytes = |digest: &Digest| match evidence.items.get(digest) {
            Some(hallmark_policy::evidence::Retrieval::Content(content)) => Some(content.bytes().to_vec()),
            _ => None,
        };
        let replayed = record.restore(bytes).unwrap();
        prop_assert_eq!(&replayed, &evidence);
        let decoded = DecodedEvidence::new(evidence);
        let question = Question::about(image());
        let first = evaluate(&question, &trust, &decoded, None, now());
        // The second time, every fact comes from the memo.
        let second = evaluate(&question, &trust, &decoded, None, now());
        let third = evaluate(&question, &trust, &DecodedEvidence::new(replayed), None, now());
        prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
        prop_assert_eq!(format!("{first:?}"), format!("{third:?}"));
    }
}

#[test]
fn must_not_make_a_cause_that_is_a_denial() {
    for code in hallmark_policy::Code::ALL {
        assert_eq!(Cause::new(*code, "x").code().outcome(), Outcome::Undetermined);
    }
}
