//! Invariant 6: every bound has a test at the bound and one beyond it. The bounds of policy documents are tested beside
//! their parser, those of the registry client in its own crate.

use std::collections::BTreeMap;

use hallmark_policy::evidence::Place;
use hallmark_policy::image::{Content, Descriptor, Index, Manifest, ManifestError, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::verify::{KeyError, PublicKey};
use hallmark_policy::{Code, Outcome, limits};

use crate::support::{Attached, Key, image, layer, needs, now, statement, subject};

const IN_TOTO: &str = "application/vnd.in-toto+json";

fn codes(verdict: &Verdict) -> Vec<Code> {
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

fn subject_entry() -> String {
    format!(r#"{{"digest":{{"sha256":"{}"}}}}"#, subject().encoded())
}

#[test]
fn subjects_of_a_statement_are_bounded() {
    let verdict = |count: usize| {
        let subjects = format!("[{}]", vec![subject_entry(); count].join(","));
        Attached::nothing().with_bundle(&Key::new(1).bundle(IN_TOTO, statement(&subjects).as_bytes())).verdict()
    };
    assert_eq!(verdict(limits::MAX_SUBJECTS).outcome(), Outcome::Allow);
    assert_eq!(codes(&verdict(limits::MAX_SUBJECTS + 1)), [Code::Malformed]);
}

#[test]
fn manifests_and_indexes_are_bounded() {
    let padded = |length: usize| {
        let head = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]"#, media_type::OCI_INDEX);
        let mut text = head;
        text.extend(std::iter::repeat_n(' ', length - text.len() - 1));
        text.push('}');
        text.into_bytes()
    };
    assert!(Index::parse(&padded(limits::MAX_MANIFEST_BYTES)).is_ok());
    let beyond = padded(limits::MAX_MANIFEST_BYTES + 1);
    assert!(matches!(Index::parse(&beyond), Err(ManifestError::TooLarge { .. })));
    assert!(matches!(Manifest::parse(&beyond), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn signature_blobs_are_bounded() {
    let payload = statement(&format!("[{}]", subject_entry()));
    let bundle = Key::new(1).bundle(IN_TOTO, payload.as_bytes());
    let padded = |length: usize| {
        let mut bundle = bundle.clone();
        bundle.resize(length, b' ');
        Attached::nothing().with_bundle(&bundle).verdict()
    };
    assert_eq!(padded(limits::MAX_SIGNATURE_BYTES).outcome(), Outcome::Allow);
    assert_eq!(codes(&padded(limits::MAX_SIGNATURE_BYTES + 1)), [Code::LimitExceeded]);
}

#[test]
fn annotations_are_bounded_when_signing_and_when_verifying() {
    let numbered = |count: usize| (0..count).map(|n| (format!("a{n}"), "v".to_owned())).collect::<BTreeMap<_, _>>();
    let sized = |length: usize| BTreeMap::from([("a".to_owned(), "v".repeat(length))]);
    let sign = |annotations: BTreeMap<String, String>| {
        Statement::about(&image(), &image().pin(subject()), annotations).unsigned(Format::SigstoreBundle)
    };
    assert!(sign(numbered(limits::MAX_ANNOTATIONS)).is_ok());
    assert!(sign(numbered(limits::MAX_ANNOTATIONS + 1)).is_err());
    assert!(sign(sized(limits::MAX_ANNOTATION_BYTES)).is_ok());
    assert!(sign(sized(limits::MAX_ANNOTATION_BYTES + 1)).is_err());
    let verify = |annotations: &BTreeMap<String, String>| {
        let annotations = serde_json::to_string(annotations).unwrap();
        let subject = format!(r#"[{{"digest":{{"sha256":"{}"}},"annotations":{annotations}}}]"#, subject().encoded());
        Attached::nothing().with_bundle(&Key::new(1).bundle(IN_TOTO, statement(&subject).as_bytes())).verdict()
    };
    assert_eq!(verify(&numbered(limits::MAX_ANNOTATIONS)).outcome(), Outcome::Allow);
    assert_eq!(codes(&verify(&numbered(limits::MAX_ANNOTATIONS + 1))), [Code::Malformed]);
    assert_eq!(codes(&verify(&sized(limits::MAX_ANNOTATION_BYTES + 1))), [Code::Malformed]);
}

#[test]
fn signature_checks_are_bounded_and_the_bound_is_a_reason_of_its_own() {
    // 64 keys against 64 signatures that no key of these made is exactly the bound; one more signature is beyond it.
    let keys = || (1..=64_u8).map(|seed| Key::new(seed).public()).collect();
    let other = Key::new(200);
    let verdict = |count: usize| {
        let layers = (0..count).map(|n| other.layer(format!("{{\"n\":{n}}}").as_bytes())).collect();
        let trust = TrustSnapshot::for_keys(keys());
        Attached::nothing().with_layers(layers).verdict_by(&trust, &Question::about(image()))
    };
    assert_eq!(limits::MAX_SIGNATURE_CHECKS, 64 * 64);
    assert_eq!(codes(&verdict(64)), [Code::UntrustedKey]);
    assert_eq!(codes(&verdict(65)), [Code::UntrustedKey, Code::LimitExceeded]);
}

#[test]
fn public_key_files_are_bounded() {
    let pem = Key::new(1).public().to_pem();
    let padded = |length: usize| {
        let mut bytes = pem.clone().into_bytes();
        bytes.resize(length, b'\n');
        PublicKey::parse(&bytes)
    };
    assert!(padded(limits::MAX_PUBLIC_KEY_BYTES).is_ok());
    let beyond = padded(limits::MAX_PUBLIC_KEY_BYTES + 1);
    assert_eq!(beyond, Err(KeyError::TooLarge { bytes: limits::MAX_PUBLIC_KEY_BYTES + 1 }));
}

#[test]
fn quoted_remote_text_is_bounded_and_printable() {
    let name = format!("r.example/{}\u{1b}[31m", "x".repeat(10_000));
    let payload = statement(&format!(
        r#"[{{"name":{},"digest":{{"sha256":"{}"}}}}]"#,
        serde_json::to_string(&name).unwrap(),
        subject().encoded()
    ));
    let trust = crate::support::policy(&[1], "require: k1\nreference: repository");
    let bundle = Key::new(1).bundle(IN_TOTO, payload.as_bytes());
    let verdict = Attached::nothing().with_bundle(&bundle).verdict_by(&trust, &Question::about(image()));
    assert_eq!(codes(&verdict), [Code::ReferenceMismatch]);
    let message = &verdict.reasons()[0].message;
    assert!(message.chars().count() < limits::MAX_QUOTED_CHARS + 200, "{message}");
    assert!(!message.contains('\u{1b}'));
}

#[test]
fn must_not_hold_a_blob_as_often_as_layers_name_it() {
    // One blob in the registry, named by every layer: what is kept of it must stay within the bound of all evidence.
    let payload = vec![b' '; 2 * 1024 * 1024];
    let most = 1 + limits::MAX_EVIDENCE_BYTES / payload.len();
    let layers = |count: usize| (0..count).map(|n| layer(&payload, format!("{n}").as_bytes())).collect();
    assert_eq!(Attached::nothing().with_layers(layers(most)).decoded().signatures().len(), most);
    let beyond = Attached::nothing().with_layers(layers(limits::MAX_SIGNATURES)).decoded();
    assert_eq!(beyond.signatures().len(), most);
    assert!(beyond.decoded_bytes() < limits::MAX_EVIDENCE_BYTES + 2 * payload.len());
    assert!(beyond.rejections().iter().all(|rejection| rejection.code == Code::LimitExceeded));
    // What is named for the first time is looked at all the same.
    let mut layers: Vec<_> = layers(limits::MAX_SIGNATURES - 1);
    layers.push(Key::new(1).layer(&simple_payload()));
    assert_eq!(Attached::nothing().with_layers(layers).verdict().outcome(), Outcome::Allow);
}

fn simple_payload() -> Vec<u8> {
    Key::new(1).signs(Format::SimpleSigning).blob().to_vec()
}

#[test]
fn must_not_list_every_layer_that_is_no_signature() {
    // 256 manifests of 128 layers each, every one rejected with words of its own.
    let blob = Content::named_by_itself(*b"{}");
    let artifact = |n: usize| {
        let layers = (0..limits::MAX_SIGNATURES).map(|size| {
            let mut layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, blob.bytes());
            layer.size = 1000 + u64::try_from(size).unwrap();
            layer
        });
        let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), layers.collect());
        manifest.annotations.insert("n".to_owned(), n.to_string());
        let mut about = Descriptor::of(media_type::OCI_MANIFEST, b"");
        about.digest = subject();
        manifest.subject = Some(about);
        manifest.encode()
    };
    let places = [Place::ReferrersApi, Place::FallbackTag];
    let listed = (0..2 * limits::MAX_SIGNATURES)
        .fold(Attached::nothing().item(blob.bytes()), |all, n| all.listed(places[n % 2], &artifact(n)));
    let evidence = listed.with_layers(vec![Key::new(1).layer(&simple_payload())]);
    let decoded = evidence.decoded();
    assert!(decoded.rejections().len() <= limits::MAX_REJECTIONS + 1, "{}", decoded.rejections().len());
    assert!(decoded.rejections().iter().any(|rejection| rejection.code == Code::LimitExceeded));
    let question = Question::about(image());
    let verdict = evaluate(&question, &needs(&[1]), &decoded, None, now());
    assert_eq!(verdict.outcome(), Outcome::Allow);
    let verdict = evaluate(&question, &needs(&[2]), &decoded, None, now());
    assert_eq!(verdict.outcome(), Outcome::Deny);
    assert!(verdict.rejected().len() <= limits::MAX_REJECTIONS + 2, "{}", verdict.rejected().len());
}
