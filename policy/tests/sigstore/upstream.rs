//! Bundles by which other implementations test themselves, each with the outcome that they expect: of the official
//! conformance suite, of sigstore-python and of sigstore-rust. Where each comes from is said in
//! `testdata/sigstore/upstream/index.json`.

use hallmark_policy::Code;
use hallmark_policy::sigstore::{Artifact, TrustedRoot, UnverifiedBundle, Who, verify_bundle};
use hallmark_policy::verify::PublicKey;
use serde::Deserialize;
use serde_json::{Value, json};

use super::corpus::{Case, now};
use super::mutations::{World, alter, flip};
use super::recorded;

#[derive(Deserialize)]
struct Upstream {
    #[serde(flatten)]
    case: Case,
    source: String,
}

fn outcome(case: &Case) -> Result<(), Code> {
    let bundle = UnverifiedBundle::parse(&case.bytes()).map_err(|fault| fault.code)?;
    let key = case.public_key.as_ref().map(|name| recorded::file(&format!("bundles/{name}")));
    let key = key.map(|bytes| PublicKey::parse(&bytes).unwrap());
    let expectation = case.expectation();
    let who = key.as_ref().map_or(Who::Identity(&expectation), Who::Key);
    let artifact = Artifact::Digest(case.artifact());
    verify_bundle(&bundle, artifact, who, &root(case), &case.demands(), now()).map(drop).map_err(|refusal| refusal.code)
}

/// The root of the case with the wrong key of a certificate log also has a timestamp authority whose certificate is not for
/// that alone (RFC 3161, section 2.3): it is taken out, so that the case is about what it is made for.
fn root(case: &Case) -> TrustedRoot {
    let mut root: Value = serde_json::from_slice(&recorded::file(&case.trusted_root)).unwrap();
    if case.id == "invalid-ct-key_fail" {
        assert!(TrustedRoot::parse(root.to_string().as_bytes()).unwrap_err().problem.contains("time stamping alone"));
        root["timestampAuthorities"] = json!([]);
    }
    TrustedRoot::parse(root.to_string().as_bytes()).unwrap()
}

#[test]
fn every_bundle_of_others_tests_has_the_outcome_that_they_expect() {
    let cases: Vec<Upstream> = serde_json::from_slice(&recorded::file("upstream/index.json")).unwrap();
    let mut passed = 0;
    for Upstream { case, source } in &cases {
        assert!(!source.is_empty(), "{}", case.id);
        let found = outcome(case).map_or_else(|code| code.to_string(), |()| "pass".to_owned());
        assert_eq!(found, case.expect, "{}", case.id);
        passed += usize::from(found == "pass");
    }
    assert_eq!((cases.len(), passed), (19, 11));
}

/// Rekor 2 enters envelopes as they are, too (`dsse` 0.0.2): each thing that such an entry binds is bound.
#[test]
fn must_not_take_an_entry_of_an_envelope_for_another_one() {
    let cases: Vec<Upstream> = serde_json::from_slice(&recorded::file("upstream/index.json")).unwrap();
    let of = |id: &str| World::new(&cases.iter().find(|upstream| upstream.case.id == id).unwrap().case);
    let good = of("rekor2-dsse-happy-path");
    assert_eq!(good.outcome(), Ok(()));
    let body = |change: &dyn Fn(&mut Value)| {
        let mut mutant = good.clone();
        alter(mutant.entry("/canonicalizedBody"), |bytes| {
            let mut body: Value = serde_json::from_slice(bytes).unwrap();
            change(&mut body);
            *bytes = body.to_string().into_bytes();
        });
        mutant.outcome()
    };
    let first = "/spec/dsseV002/signatures/0";
    for place in [
        "/spec/dsseV002/payloadHash/digest".to_owned(),
        format!("{first}/content"),
        format!("{first}/verifier/x509Certificate/rawBytes"),
    ] {
        assert_eq!(body(&|body| flip(body.pointer_mut(&place).unwrap())), Err(Code::LogEntryInvalid), "{place}");
    }
    let twice = |body: &mut Value| {
        let signatures = body.pointer_mut("/spec/dsseV002/signatures").unwrap().as_array_mut().unwrap();
        signatures.push(signatures[0].clone());
    };
    assert_eq!(body(&twice), Err(Code::LogEntryInvalid));
    for (kind, version) in [("hashedrekord", "0.0.2"), ("dsse", "0.0.1"), ("intoto", "0.0.2")] {
        let mut mutant = good.clone();
        *mutant.entry("/kindVersion") = json!({"kind": kind, "version": version});
        assert_eq!(mutant.outcome(), Err(Code::LogEntryInvalid), "{kind} {version}");
    }
    let mut mutant = good.clone();
    *mutant.entry("/kindVersion") = json!({"kind": "dsse", "version": "0.0.3"});
    assert_eq!(mutant.outcome(), Err(Code::Malformed), "nobody knows it");
    // Another bundle's entry, of this kind where the signature is not, and the other way round.
    let other = of("a.dsse.staging-rekor-v2");
    for (to, from) in [(&good, &other), (&other, &good)] {
        let mut swapped = to.clone();
        *swapped.entry("") = from.clone().entry("").clone();
        assert_eq!(swapped.outcome(), Err(Code::LogEntryInvalid));
    }
    // Two entries of it are those of one log; the second one is read as well.
    let mut both = good.clone();
    both.at("/verificationMaterial/tlogEntries").as_array_mut().unwrap().push(good.clone().entry("").clone());
    assert_eq!(both.outcome(), Ok(()));
    flip(both.at("/verificationMaterial/tlogEntries/1/canonicalizedBody"));
    assert_eq!(both.outcome(), Err(Code::LogEntryInvalid));
    let text = good.bundle.to_string();
    for twice in [
        text.replacen(r#""kindVersion":"#, r#""kindVersion":{"kind":"dsse","version":"0.0.1"},"kindVersion":"#, 1),
        text.replacen(r#""version":"0.0.2""#, r#""version":"0.0.1","version":"0.0.2""#, 1),
        text.replacen(r#""canonicalizedBody":"#, r#""canonicalizedBody":"AA==","canonicalizedBody":"#, 1),
    ] {
        assert_ne!(twice, text);
        let code = UnverifiedBundle::parse(twice.as_bytes()).map(drop).map_err(|fault| fault.code);
        assert_eq!(code, Err(Code::Malformed), "it can be read in two ways");
    }
}
