//! Attestations that are larger than signatures: looked at up to a bound of their own, by the type that they claim. That
//! claim is not signed, and nobody gains anything by a false one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::attestation::{Attestation, PredicateType};
use hallmark_policy::evidence::{Fault, Large, Place, Retrieval, Scope};
use hallmark_policy::image::{Descriptor, Manifest, media_type};
use hallmark_policy::signature::{Format, most_bytes};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, scope};
use hallmark_policy::{Code, Outcome, limits};

use crate::attestations::{SCAN, attestation_of, scan, signed};
use crate::support::{Attached, Key, image, policy, subject};

const SPDX: &str = "https://spdx.dev/Document";
const LISTED: &str = "{name: sbom, types: [spdx], from: k2, sbom: {formats: [SPDX-2.3], components: 2}}";
const SCANNED: &str = "{name: scanned, types: [vuln], from: k2, vulnerabilities: {critical: 0}}";

fn rule(demands: &str) -> TrustSnapshot {
    policy(&[1, 2], &format!("require: k1\nattestations: [{demands}]"))
}

fn judged(attached: Attached, demands: &str) -> Verdict {
    attached.verdict_by(&rule(demands), &Question::about(image()))
}

fn codes(verdict: &Verdict) -> Vec<Code> {
    assert_eq!(verdict.outcome() == Outcome::Allow, verdict.reasons().is_empty());
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

/// The manifest of a bundle that claims to be of a type.
fn claiming(bundle: &Descriptor, claimed: Option<&str>) -> Manifest {
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![bundle.clone()]);
    manifest.artifact_type = Some(media_type::SIGSTORE_BUNDLE.into());
    let mut about = Descriptor::of(media_type::OCI_MANIFEST, b"the image manifest");
    about.digest = subject();
    manifest.subject = Some(about);
    let claimed = claimed.map(|claimed| ("dev.sigstore.bundle.predicateType".to_owned(), claimed.to_owned()));
    manifest.annotations.extend(claimed);
    manifest
}

fn attached(bundle: &[u8], claimed: Option<&str>) -> Attached {
    let manifest = claiming(&Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle), claimed);
    signed().listed(Place::ReferrersApi, &manifest.encode()).item(bundle)
}

/// What the registry client says of a bundle of so many bytes that is not asked for.
fn left_out(attached: Attached, size: usize, claimed: Option<&str>) -> Attached {
    let mut layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, format!("{size} {claimed:?}").as_bytes());
    layer.size = u64::try_from(size).unwrap();
    let detail = format!("its size is {size} bytes");
    let retrieval = Retrieval::Rejected(Fault { code: Code::LimitExceeded, detail });
    attached.listed(Place::ReferrersApi, &claiming(&layer, claimed).encode()).change(|evidence| {
        evidence.items.insert(layer.digest, retrieval);
    })
}

/// A bill of materials with two packages, and a bundle with it of about so many bytes.
fn spdx(bytes: usize) -> Vec<u8> {
    let padding = "x".repeat((bytes - 2048) / 4 * 3);
    let document = format!(r#"{{"spdxVersion":"SPDX-2.3","comment":"{padding}","packages":[{{}},{{}}]}}"#);
    attestation_of(2, subject(), SPDX, &document)
}

#[test]
fn attestations_of_types_that_are_asked_for_have_a_bound_of_their_own() {
    let most = limits::MAX_ATTESTATION_BYTES;
    let mut bundle = spdx(most);
    assert!((most - 4096..most).contains(&bundle.len()), "{}", bundle.len());
    bundle.resize(most, b' ');
    assert_eq!(codes(&judged(attached(&bundle, Some(SPDX)), LISTED)), []);
    bundle.push(b' ');
    assert_eq!(codes(&judged(attached(&bundle, Some(SPDX)), LISTED)), [Code::AttestationMissing, Code::LimitExceeded]);
}

#[test]
fn must_not_allow_by_a_large_attestation_that_says_something_else_or_was_altered() {
    let bundle = spdx(limits::MAX_SIGNATURE_BYTES + 4096);
    assert!(bundle.len() > limits::MAX_SIGNATURE_BYTES);
    assert_eq!(codes(&judged(attached(&bundle, Some(SPDX)), LISTED)), []);
    assert_eq!(codes(&judged(attached(&bundle, None), LISTED)), []);
    // The claim is not what was signed.
    assert_eq!(codes(&judged(attached(&bundle, Some("https://cyclonedx.org/bom")), LISTED)), []);
    let other = LISTED.replace("[spdx]", "[cyclonedx]").replace("[SPDX-2.3]", "[CycloneDX]");
    let verdict = judged(attached(&bundle, Some("https://cyclonedx.org/bom")), &other);
    assert_eq!(codes(&verdict), [Code::AttestationMissing]);
    let more = LISTED.replace("components: 2", "components: 3");
    assert_eq!(codes(&judged(attached(&bundle, Some(SPDX)), &more)), [Code::SbomMismatch]);
    let text = String::from_utf8(bundle).unwrap();
    let altered = text.replacen("eHh4", "eHh5", 1);
    assert_ne!(altered, text);
    let verdict = judged(attached(altered.as_bytes(), Some(SPDX)), LISTED);
    assert_eq!(verdict.outcome(), Outcome::Deny);
}

/// Nobody makes a signature larger by calling it an attestation, nor a reader hold many times what was sent.
#[test]
fn must_not_read_what_is_large_beside_its_payload_or_large_and_no_attestation() {
    let large = limits::MAX_SIGNATURE_BYTES + 4096;
    let plain = Key::new(2).signs(Format::SigstoreBundle).blob().to_vec();
    let mut padded = plain.clone();
    padded.resize(large, b' ');
    let only_signed = |bundle: &[u8], claimed: &str| {
        let manifest = claiming(&Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle), Some(claimed));
        let attached = Attached::nothing().listed(Place::ReferrersApi, &manifest.encode()).item(bundle);
        codes(&attached.verdict_by(&policy(&[2], "require: k2"), &Question::about(image())))
    };
    assert_eq!(only_signed(&plain, SPDX), []);
    assert_eq!(only_signed(&padded, SPDX), [Code::LimitExceeded]);
    assert_eq!(only_signed(&padded, "https://sigstore.dev/cosign/sign/v1"), [Code::LimitExceeded]);
    let statement = |padding: usize| {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{"x":"{}"}}}}"#,
            subject().encoded(),
            "x".repeat(padding)
        )
    };
    let bundle = |padding: usize| Key::new(2).bundle("application/vnd.in-toto+json", statement(padding).as_bytes());
    assert_eq!(only_signed(&bundle(1024), SPDX), []);
    assert_eq!(only_signed(&bundle(limits::MAX_SIGNATURE_BYTES / 8 * 5), SPDX), []);
    assert_eq!(only_signed(&bundle(limits::MAX_SIGNATURE_BYTES / 8 * 7), SPDX), [Code::LimitExceeded]);
    assert_eq!(only_signed(&bundle(limits::MAX_SIGNATURE_BYTES), SPDX), [Code::LimitExceeded]);
    // Junk in the bundle itself, which readers of JSON keep as a tree.
    let sbom = String::from_utf8(spdx(8192)).unwrap();
    let junk = format!("{{\"x\":[{}0],", "0,".repeat(limits::MAX_SIGNATURE_BYTES / 2));
    let bundle = sbom.replacen('{', &junk, 1);
    assert_eq!(codes(&judged(attached(sbom.as_bytes(), Some(SPDX)), LISTED)), []);
    let verdict = judged(attached(bundle.as_bytes(), Some(SPDX)), LISTED);
    assert_eq!(codes(&verdict), [Code::AttestationMissing, Code::LimitExceeded]);
}

/// Only a predicate may be large: subjects and their annotations become many times their size while they are read, and
/// whoever writes a certificate of their own has what they sign read.
#[test]
fn must_not_read_a_statement_that_is_large_beside_its_predicate() {
    let bundle = |kind: &str, annotations: usize, padding: usize| {
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}},"annotations":{{"x":"{}"}}}}],"predicateType":"{kind}","predicate":{{"spdxVersion":"SPDX-2.3","comment":"{}","packages":[{{}},{{}}]}}}}"#,
            subject().encoded(),
            "x".repeat(annotations),
            "x".repeat(padding)
        );
        Key::new(2).bundle("application/vnd.in-toto+json", statement.as_bytes())
    };
    let (few, many) = (1024, limits::MAX_SIGNATURE_BYTES + 1);
    assert_eq!(codes(&judged(attached(&bundle(SPDX, few, many), Some(SPDX)), LISTED)), []);
    let large = || bundle(SPDX, many, few);
    let expected = [Code::AttestationMissing, Code::LimitExceeded];
    assert_eq!(codes(&judged(attached(&large(), Some(SPDX)), LISTED)), expected);
    // One that nobody reads may be the newest.
    let (newest, any) = (LISTED.replace("from: k2", "from: k2, which: newest"), LISTED);
    let beside = || attached(&large(), Some(SPDX)).with_bundle(&bundle(SPDX, few, few));
    assert_eq!(codes(&judged(beside(), any)), []);
    assert_eq!(codes(&judged(beside(), &newest)), [Code::LimitExceeded]);
}

/// Whoever copies a signature can add its entries to it many times over; each of them hashes all that was signed.
#[test]
fn must_not_hash_what_was_signed_once_for_each_log_entry_without_a_bound() {
    let entry = r#"{"logIndex":"1","logId":{"keyId":"AAAA"},"kindVersion":{"kind":"dsse","version":"0.0.1"},"integratedTime":"1","inclusionPromise":{"signedEntryTimestamp":"AAAA"},"canonicalizedBody":"AAAA"}"#;
    let entries = vec![entry; limits::MAX_LOG_ENTRIES].join(",");
    let cost = limits::MAX_SIGNATURE_CHECKS / limits::MAX_LOG_ENTRIES / 2;
    let logged = |place: usize, bytes: usize| {
        let predicate = format!(r#"{{"place":{place},"spdxVersion":"SPDX-2.3","x":"{}"}}"#, "x".repeat(bytes));
        let bundle = String::from_utf8(attestation_of(2, subject(), SPDX, &predicate)).unwrap();
        let with = bundle.replacen(r#""tlogEntries":[]"#, &format!(r#""tlogEntries":[{entries}]"#), 1);
        assert_ne!(with, bundle);
        with.replace("bundle.v0.3+json", "bundle+json;version=0.1")
    };
    let text = crate::support::document(
        "test",
        &[1, 2],
        "require: k1\nattestations: [{name: sbom, types: [spdx], from: k2}]",
        "",
    );
    let demanding = text.replace("{name: k2,", "{name: k2, evidence: {trustRoot: public-good, logs: 1},");
    assert_ne!(demanding, text);
    let trust = crate::support::snapshot(&[demanding]);
    let exceeded = |bytes: usize| {
        let both = [0, 1].map(|place| logged(place, bytes));
        let verdict = both.iter().fold(signed(), |attached, bundle| {
            let manifest = claiming(&Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle.as_bytes()), Some(SPDX));
            attached.listed(Place::ReferrersApi, &manifest.encode()).item(bundle.as_bytes())
        });
        let verdict = verdict.verdict_by(&trust, &Question::about(image()));
        let codes = codes(&verdict);
        assert!(codes.contains(&Code::LogEntryMissing), "{:?}", verdict.rejected());
        codes.contains(&Code::LimitExceeded)
    };
    assert!(!exceeded(limits::CHECKED_BYTES * (cost - 8)));
    assert!(exceeded(limits::CHECKED_BYTES * cost));
}

/// What is left out for its size may be the newest only where it says that it is of that kind, or does not say.
#[test]
fn must_not_call_the_newest_what_a_larger_one_may_be_newer_than() {
    let good = || signed().with_bundle(&attestation_of(2, subject(), SCAN, &scan("2026-11-21T00:00:00Z", "")));
    let size = limits::MAX_ATTESTATION_BYTES + 1;
    let any = SCANNED.replace("from: k2", "from: k2, which: any");
    for (claimed, blocks) in [
        (Some(SCAN), true),
        (None, true),
        (Some("no type"), true),
        (Some(""), true),
        (Some(SPDX), false),
        (Some("https://cosign.sigstore.dev/attestation/vuln/v2"), false),
    ] {
        let expected: &[Code] = if blocks { &[Code::LimitExceeded] } else { &[] };
        assert_eq!(codes(&judged(left_out(good(), size, claimed), SCANNED)), expected, "{claimed:?}");
        assert_eq!(codes(&judged(left_out(good(), size, claimed), &any)), [], "{claimed:?}");
        // That something was left out is said, and is never "unsigned".
        let verdict = left_out(Attached::nothing(), size, claimed);
        let verdict = verdict.verdict_by(&policy(&[2], "require: k2"), &Question::about(image()));
        assert_eq!(codes(&verdict), [Code::LimitExceeded], "{claimed:?}");
    }
    let excused = "{name: scanned, types: [vuln], from: k2, vulnerabilities: {critical: 0, vex: [k2]}}";
    for (claimed, blocks) in [("https://openvex.dev/ns", true), ("https://openvex.dev/ns/v9", true), (SPDX, false)] {
        let verdict = judged(left_out(good(), size, Some(claimed)), excused);
        assert_eq!(verdict.outcome() == Outcome::Deny, blocks, "{claimed}");
    }
    // What was left out because there were too many of them is no matter of size, whatever it claims.
    let few = left_out(good(), limits::MAX_SIGNATURE_BYTES, Some(SPDX));
    assert_eq!(codes(&judged(few, SCANNED)), [Code::LimitExceeded]);
}

#[test]
fn a_question_asks_for_large_attestations_of_the_types_of_its_demands_and_for_no_others() {
    let scope_of = |demands: &str| scope(&Question::about(image()), &rule(demands));
    let large = |words: &[&str]| {
        let types: Vec<PredicateType> = words.iter().map(|word| word.parse().unwrap()).collect();
        Large::Nothing.and(&types)
    };
    assert_eq!(scope_of(LISTED), Scope { attestations: true, large: large(&["spdx"]), ..Scope::IMAGE });
    assert_eq!(scope_of(&format!("{LISTED}, {SCANNED}")).large, large(&["spdx", "vuln"]));
    assert_eq!(scope_of("{name: built, types: [slsaprovenance1], from: k2}").large, Large::Nothing);
    assert!(scope(&Question::about(image()), &policy(&[1], "require: k1")).is_image());
    // By layer and by manifest, and never for what claims to be a plain signature or has no such format.
    let bundle = Descriptor::of(media_type::SIGSTORE_BUNDLE, b"x");
    let mut envelope = Descriptor::of(media_type::DSSE_ENVELOPE, b"x");
    envelope.annotations.insert("predicateType".to_owned(), SPDX.to_owned());
    let (few, many) = (limits::MAX_SIGNATURE_BYTES, limits::MAX_ATTESTATION_BYTES);
    let plain = Descriptor::of(media_type::SIMPLE_SIGNING, b"x");
    for (layer, claimed, asked, expected) in [
        (&bundle, Some(SPDX), large(&["spdx"]), many),
        (&bundle, None, large(&["spdx"]), many),
        (&bundle, Some(SPDX), large(&["vuln"]), few),
        (&bundle, Some(SPDX), Large::Nothing, few),
        (&bundle, Some("https://sigstore.dev/cosign/sign/v1"), Large::OfAnyType, few),
        (&envelope, None, large(&["spdx"]), many),
        (&envelope, None, large(&["vuln"]), few),
        (&envelope, Some(SCAN), large(&["vuln"]), few),
    ] {
        assert_eq!(most_bytes(&claiming(layer, claimed), layer, &asked), expected, "{claimed:?} {asked:?}");
    }
    let mut manifest = claiming(&plain, Some(SPDX));
    manifest.artifact_type = None;
    assert_eq!(most_bytes(&manifest, &plain, &Large::OfAnyType), few);
}

/// Each key that is tried hashes all that was signed: large ones count for more.
#[test]
fn keys_that_are_tried_on_large_attestations_use_up_the_bound_sooner() {
    let keys: String = (1..=64_u8)
        .map(|seed| format!("{{publicKey: {{pem: \"{}\"}}}},", Key::new(seed).public().to_pem().replace('\n', "\\n")))
        .collect();
    let text = crate::support::document(
        "test",
        &[200],
        "require: k\nattestations: [{name: sbom, types: [spdx], from: k}]",
        "",
    );
    let text = text.replace("  authorities:\n", &format!("  authorities:\n    - {{name: k, keys: [{keys}]}}\n"));
    let trust = crate::support::snapshot(&[text]);
    let cost = limits::MAX_SIGNATURE_CHECKS / 64 / 2;
    let envelope = |place: usize, bytes: usize| {
        let padding = "x".repeat(bytes);
        let predicate = format!(r#"{{"place":{place},"x":"{padding}"}}"#);
        let kind = SPDX.parse().unwrap();
        let attestation = Attestation::of_predicate(&image().pin(subject()), kind, predicate.as_bytes()).unwrap();
        let unsigned = attestation.unsigned(Format::DsseEnvelope).unwrap();
        format!(
            r#"{{"payloadType":"application/vnd.in-toto+json","payload":"{}","signatures":[{{"sig":"{}"}}]}}"#,
            STANDARD.encode(unsigned.payload()),
            STANDARD.encode(Key::new(200).sign(b"something else"))
        )
    };
    // Two that are just below what uses up half of the bound, or one beyond.
    let exceeded = |bytes: usize| {
        let envelopes = [0, 1].map(|place| envelope(place, bytes));
        let layers =
            envelopes.each_ref().map(|envelope| Descriptor::of(media_type::DSSE_ENVELOPE, envelope.as_bytes()));
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), layers.to_vec()).encode();
        let attached = signed().listed(Place::AttestationTag, &manifest);
        let attached = envelopes.iter().fold(attached, |attached, envelope| attached.item(envelope.as_bytes()));
        let decoded = attached.decoded();
        let question = Question::about(image());
        let verdict = hallmark_policy::verdict::evaluate(&question, &trust, &decoded, None, crate::support::now());
        assert_eq!(verdict.outcome(), Outcome::Deny);
        verdict.rejected().iter().any(|rejection| rejection.code == Code::LimitExceeded)
    };
    assert!(!exceeded(limits::CHECKED_BYTES * (cost - 2)));
    assert!(exceeded(limits::CHECKED_BYTES * cost));
}
