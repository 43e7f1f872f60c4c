//! What must become of a bundle when anything that is covered changes: a refusal with the right code, never an accept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::{Code, Timestamp};
use serde_json::json;

use super::mutations::{ALWAYS, WITH_PROOF, World, alter};
use super::recorded;

#[test]
fn must_not_accept_a_bundle_of_which_anything_that_is_covered_was_altered() {
    let cases = recorded::cases();
    let mut run = 0;
    for case in cases.iter().filter(|case| case.expect == "pass" && case.public_key.is_none()) {
        let good = World::new(case);
        assert_eq!(good.outcome(), Ok(()), "{}", case.id);
        let with_proof = if good.has_proof() { WITH_PROOF } else { &[] };
        for (what, expected, mutate) in ALWAYS.iter().chain(with_proof) {
            let mut mutant = good.clone();
            mutate(&mut mutant);
            let code = mutant.outcome().expect_err(&format!("{}: {what} was accepted", case.id));
            assert!(expected.contains(&code), "{}: {what} is `{code}`", case.id);
            run += 1;
        }
    }
    assert!(ALWAYS.len() + WITH_PROOF.len() >= 70 && run > 1_000, "{} kinds, {run} mutants", ALWAYS.len());
}

/// A promise that is taken away leaves a time that nobody signed: without another, nobody says when it was made.
#[test]
fn must_not_believe_a_time_that_nobody_signed() {
    for case in recorded::cases().iter().filter(|case| case.expect == "pass" && case.public_key.is_none()) {
        let mut mutant = World::new(case);
        mutant.entry("").as_object_mut().unwrap().remove("inclusionPromise");
        let expected = if mutant.has_proof() { Code::TimestampMissing } else { Code::LogEntryInvalid };
        assert_eq!(mutant.outcome(), Err(expected), "{}", case.id);
    }
}

/// Only version 0.1 may go without a proof, and then the promise must be there.
#[test]
fn must_not_take_a_promise_for_a_proof_where_the_version_has_proofs() {
    for case in recorded::cases().iter().filter(|case| case.expect == "pass" && case.public_key.is_none()) {
        let mut mutant = World::new(case);
        let first = mutant.at("/mediaType").as_str().unwrap().ends_with("version=0.1");
        mutant.entry("").as_object_mut().unwrap().remove("inclusionProof");
        let expected = if first { Ok(()) } else { Err(Code::LogEntryInvalid) };
        assert_eq!(mutant.outcome(), expected, "{}", case.id);
    }
}

/// Windows are closed intervals: the last second counts, the one after it does not.
#[test]
fn a_window_ends_after_its_last_second() {
    let good = World::new(&recorded::case("pypi/pypi_attestations-0.0.19.tar.gz.publish"));
    let time: i64 = good.clone().entry("/integratedTime").as_str().unwrap().parse().unwrap();
    let ends = |seconds: i64| {
        let mut world = good.clone();
        for log in world.root["tlogs"].as_array_mut().unwrap() {
            let end = Timestamp::from_second(seconds).unwrap();
            log["publicKey"]["validFor"] = json!({"start": "2021-01-01T00:00:00Z", "end": end.to_string()});
        }
        world.outcome()
    };
    assert_eq!(ends(time), Ok(()));
    assert_eq!(ends(time - 1), Err(Code::LogEntryInvalid));
}

/// A time ahead of ours counts only as far as clocks may differ.
#[test]
fn a_skew_is_an_argument_and_ends_where_it_says() {
    let mut world = World::new(&recorded::case("pypi/pypi_attestations-0.0.19.tar.gz.publish"));
    let time: i64 = world.entry("/integratedTime").as_str().unwrap().parse().unwrap();
    world.now = Timestamp::from_second(time - 60).unwrap();
    assert_eq!(world.outcome(), Err(Code::LogEntryInvalid));
    world.demands.skew = jiff::SignedDuration::from_secs(60);
    assert_eq!(world.outcome(), Ok(()));
    world.now = Timestamp::from_second(time - 61).unwrap();
    assert_eq!(world.outcome(), Err(Code::LogEntryInvalid));
}

/// Every byte of the certificate, the signature and the promise, and a sample of the longer parts.
#[test]
fn must_not_accept_any_flipped_bit_of_what_is_covered() {
    let good = World::new(&recorded::case("pypi/gcb_attestation_test-0.0.0.tar.gz.provenance-0-0"));
    let places = [
        ("/verificationMaterial/certificate/rawBytes", 1),
        ("/dsseEnvelope/signatures/0/sig", 1),
        ("/dsseEnvelope/payload", 5),
        ("/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp", 1),
        ("/verificationMaterial/tlogEntries/0/canonicalizedBody", 11),
    ];
    for (place, step) in places {
        let length = STANDARD.decode(good.bundle.pointer(place).unwrap().as_str().unwrap()).unwrap().len();
        for byte in (0..length).step_by(step) {
            let mut mutant = good.clone();
            alter(mutant.at(place), |bytes| bytes[byte] ^= 1 << (byte % 8));
            assert!(mutant.outcome().is_err(), "{place}: byte {byte}");
        }
    }
}
