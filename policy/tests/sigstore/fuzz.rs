//! Real Sigstore bundles, changed at random: nothing panics, and what is still accepted says what it said before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_fuzz_driver::Fuzz;
use hallmark_policy::Code;
use hallmark_policy::sigstore::{Artifact, TrustedRoot, UnverifiedBundle, VerifiedBundle, Who, verify_bundle};
use serde_json::Value;

use super::corpus::{Case, now};
use super::recorded;

/// The keyless cases that pass, with their roots.
fn good() -> Vec<(Case, TrustedRoot)> {
    let cases = recorded::cases().into_iter();
    let cases = cases.filter(|case| case.expect == "pass" && case.public_key.is_none() && case.bytes().len() < 40_000);
    // A few of each kind are enough to begin with.
    cases.step_by(3).map(|case| (case.clone(), case.root())).collect()
}

fn verify(case: &Case, root: &TrustedRoot, bytes: &[u8]) -> Result<VerifiedBundle, Code> {
    let bundle = UnverifiedBundle::parse(bytes).map_err(|fault| fault.code)?;
    let (expectation, artifact) = (case.expectation(), Artifact::Digest(case.artifact()));
    verify_bundle(&bundle, artifact, Who::Identity(&expectation), root, &case.demands(), now())
        .map_err(|refusal| refusal.code)
}

/// What came of a changed bundle. Accepted is only what names the same signer.
fn outcome(case: &Case, root: &TrustedRoot, original: &VerifiedBundle, bytes: &[u8]) -> String {
    match verify(case, root, bytes) {
        Ok(verified) => {
            assert_eq!(verified.signer(), original.signer(), "another signer is accepted");
            "accepted".to_owned()
        }
        Err(code) => code.to_string(),
    }
}

#[test]
fn fuzz_sigstore_bundles() {
    let cases = good();
    let words = [
        "\"certificate\":",
        "\"publicKey\":",
        "\"tlogEntries\":",
        "[]",
        "{}",
        "null",
        "\"logIndex\":\"-1\"",
        "AAAA",
        "==",
    ];
    let (case, root) = &cases[0];
    let original = verify(case, root, &case.bytes()).unwrap();
    Fuzz::new("sigstore-bundles")
        .seeds(cases.iter().map(|(case, _)| case.bytes()))
        .words(&words)
        .run(|bytes| outcome(case, root, &original, bytes));
}

/// A part of a bundle that is base64, changed inside of it.
fn fuzz_part(name: &'static str, pointer: &str) {
    let cases = good();
    let (case, root) = cases
        .iter()
        .find(|(case, _)| serde_json::from_slice::<Value>(&case.bytes()).unwrap().pointer(pointer).is_some())
        .unwrap();
    let original = verify(case, root, &case.bytes()).unwrap();
    let bundle: Value = serde_json::from_slice(&case.bytes()).unwrap();
    let seed = STANDARD.decode(bundle.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
    Fuzz::new(name).seeds([seed]).words(&["\x30\u{1}\x00", "\x06\x01\x00", "\x02\x01\x00"]).run(|bytes| {
        let mut changed = bundle.clone();
        *changed.pointer_mut(pointer).unwrap() = Value::from(STANDARD.encode(bytes));
        outcome(case, root, &original, changed.to_string().as_bytes())
    });
}

#[test]
fn fuzz_certificates() {
    fuzz_part("certificates", "/verificationMaterial/certificate/rawBytes");
}

#[test]
fn fuzz_log_bodies() {
    fuzz_part("log-bodies", "/verificationMaterial/tlogEntries/0/canonicalizedBody");
}

#[test]
fn fuzz_trusted_roots() {
    let root = recorded::file(&recorded::cases()[0].trusted_root);
    Fuzz::new("trusted-roots").seeds([root]).words(&["\"validFor\":", "\"start\":", "null", "{}", "[]"]).run(|bytes| {
        match TrustedRoot::parse(bytes) {
            Ok(_) => "a root".to_owned(),
            Err(error) => format!("{error:.40}"),
        }
    });
}
