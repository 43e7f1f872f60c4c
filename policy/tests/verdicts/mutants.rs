//! Invariant 4: for every accepted vector, flipping any covered byte gives a rejection with a code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::Outcome;
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::verify::PublicKey;

use crate::support::{Attached, Key, image, layer, now, subject};

/// Payload and signature of a bundle that real cosign 3.1.1 wrote, of the image that it signed.
const COSIGN_BUNDLE: &str = include_str!("../../testdata/cosign-3.1.1.bundle.json");
const COSIGN_KEY: &str = include_str!("../../testdata/cosign.pub");
const COSIGN_IMAGE: &str = "r.example/demo@sha256:7a65b2aef9ab2af1c0459d060e4e6bd07c1cb021f5da3bc0a619f10317079ab0";

fn verdict(attached: Attached, key: &PublicKey, asked: &Question) -> Verdict {
    let trust = TrustSnapshot::for_keys(vec![key.clone()]);
    let digest = asked.image.digest().unwrap();
    let attached = attached.change(|evidence| {
        evidence.image = asked.image.clone();
        evidence.resolution = hallmark_policy::evidence::Observation::Found(digest);
    });
    evaluate(asked, &trust, &DecodedEvidence::new(attached.evidence()), None, now())
}

fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).flat_map(move |index| {
        [0x01, 0x20, 0x80].map(|bit| {
            let mut mutant = bytes.to_vec();
            mutant[index] ^= bit;
            mutant
        })
    })
}

fn refused(mutant: &Verdict, what: &str) {
    assert_eq!(mutant.outcome(), Outcome::Deny, "{what}: {mutant:#?}");
    assert!(!mutant.rejected().is_empty(), "{what}: a mutant is a rejection with a code, not an absence");
}

#[test]
fn must_not_accept_a_real_bundle_with_any_covered_byte_flipped() {
    let key = PublicKey::parse(COSIGN_KEY.as_bytes()).unwrap();
    let asked = Question::about(COSIGN_IMAGE.parse().unwrap());
    let digest = asked.image.digest().unwrap();
    let with = |bundle: &[u8]| verdict(Attached::nothing().with_referrer(bundle, digest), &key, &asked);
    assert_eq!(with(COSIGN_BUNDLE.as_bytes()).outcome(), Outcome::Allow);

    let document: serde_json::Value = serde_json::from_str(COSIGN_BUNDLE).unwrap();
    for (pointer, is_base64) in [
        ("/dsseEnvelope/payload", true),
        ("/dsseEnvelope/signatures/0/sig", true),
        ("/dsseEnvelope/payloadType", false),
    ] {
        let text = document.pointer(pointer).unwrap().as_str().unwrap();
        let bytes = if is_base64 { STANDARD.decode(text).unwrap() } else { text.as_bytes().to_vec() };
        for mutant in flipped(&bytes) {
            let mut changed = document.clone();
            let value =
                if is_base64 { STANDARD.encode(&mutant) } else { String::from_utf8_lossy(&mutant).into_owned() };
            *changed.pointer_mut(pointer).unwrap() = value.into();
            refused(&with(&serde_json::to_vec(&changed).unwrap()), pointer);
        }
    }
}

#[test]
fn must_not_accept_a_real_bundle_cut_short_anywhere() {
    let key = PublicKey::parse(COSIGN_KEY.as_bytes()).unwrap();
    let asked = Question::about(COSIGN_IMAGE.parse().unwrap());
    let digest = asked.image.digest().unwrap();
    for length in 0..COSIGN_BUNDLE.len() {
        let cut = &COSIGN_BUNDLE.as_bytes()[..length];
        refused(&verdict(Attached::nothing().with_referrer(cut, digest), &key, &asked), "cut");
    }
}

#[test]
fn must_not_accept_simple_signing_with_any_covered_byte_flipped() {
    let key = Key::new(1);
    let asked = Question::about(image().pin(subject()).into());
    let encoded = key.signs(Format::SimpleSigning);
    let signature = STANDARD.decode(encoded.detached_base64().unwrap()).unwrap();
    let with = |payload: &[u8], signature: &[u8]| {
        verdict(Attached::nothing().with_layers(vec![layer(payload, signature)]), &key.public(), &asked)
    };
    assert_eq!(with(encoded.blob(), &signature).outcome(), Outcome::Allow);
    for mutant in flipped(encoded.blob()) {
        refused(&with(&mutant, &signature), "payload");
    }
    for mutant in flipped(&signature) {
        refused(&with(encoded.blob(), &mutant), "signature");
    }
}
