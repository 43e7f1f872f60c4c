//! Demands on attestations: what meets them, and what must not (groups B, C and S of the attacks, for attestations).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::attestation::Attestation;
use hallmark_policy::evidence::{Cause, Fault, Observation, Place, PlaceReport, Retrieval};
use hallmark_policy::image::{Descriptor, Digest, Manifest, media_type};
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Grounds, Question, Verdict, evaluate, find_attestations};
use hallmark_policy::{Code, Outcome, limits};
use proptest::prelude::*;

use crate::support::{Attached, Key, document, image, now, policy, snapshot, subject};
use crate::timestamps::{listed, tsa};

pub(crate) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
pub(crate) const SCAN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
/// How Go writes that there is no time.
const UNDATED: &str = "0001-01-01T00:00:00Z";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Key 1 signed the image, and the attestation tag was asked for.
pub(crate) fn signed() -> Attached {
    unsigned().with(&Key::new(1).signs(Format::SigstoreBundle))
}

fn unsigned() -> Attached {
    Attached::nothing().change(|evidence| {
        let place = Place::AttestationTag;
        let report = PlaceReport { place, observed_at: now(), manifests: Observation::Absent, truncated: false };
        evidence.places.push(report);
    })
}

pub(crate) fn attestation_of(key: u8, digest: Digest, kind: &str, predicate: &str) -> Vec<u8> {
    let attestation = Attestation::of_predicate(&image().pin(digest), kind.parse().unwrap(), predicate.as_bytes());
    let unsigned = attestation.unwrap().unsigned(Format::SigstoreBundle).unwrap();
    let signature = Key::new(key).sign(unsigned.message());
    unsigned.encode(&Key::new(key).public(), &signature).blob().to_vec()
}

trait Attests {
    fn attested(self, key: u8, kind: &str, predicate: &str) -> Self;
}

impl Attests for Attached {
    fn attested(self, key: u8, kind: &str, predicate: &str) -> Self {
        self.with_bundle(&attestation_of(key, subject(), kind, predicate))
    }
}

fn rule(demands: &str) -> TrustSnapshot {
    policy(&[1, 2, 3], &format!("require: k1\nattestations: [{demands}]"))
}

fn judged(attached: Attached, demands: &str) -> Verdict {
    attached.verdict_by(&rule(demands), &Question::about(image()))
}

#[track_caller]
fn check(attached: Attached, demands: &str, expected: &[Code]) {
    let verdict = judged(attached, demands);
    let codes: Vec<Code> = verdict.reasons().iter().map(|reason| reason.code).collect();
    assert_eq!(codes, expected, "{:?}", verdict.reasons());
    assert_eq!(verdict.outcome() == Outcome::Allow, expected.is_empty());
    assert_eq!(verdict.attestations().is_empty(), !expected.is_empty());
}

pub(crate) fn provenance(builder: &str, source: &str) -> String {
    format!(
        r#"{{"buildDefinition":{{"buildType":"t","externalParameters":{{"source":"{source}"}}}},"runDetails":{{"builder":{{"id":"{builder}"}},"metadata":{{"finishedOn":"2026-11-20T00:00:00Z"}}}}}}"#
    )
}

/// A report of Trivy with one finding a letter: critical, high, medium, low, unknown; small letters have no fix.
pub(crate) fn scan(finished: &str, findings: &str) -> String {
    let list: Vec<String> = findings
        .chars()
        .enumerate()
        .map(|(index, letter)| {
            let severity = match letter.to_ascii_lowercase() {
                'c' => "CRITICAL",
                'h' => "HIGH",
                'm' => "MEDIUM",
                'l' => "LOW",
                _ => "UNKNOWN",
            };
            let fixed = if letter.is_uppercase() { "2" } else { "" };
            format!(r#"{{"VulnerabilityID":"CVE-{index}","Severity":"{severity}","FixedVersion":"{fixed}"}}"#)
        })
        .collect();
    format!(
        r#"{{"scanner":{{"result":{{"SchemaVersion":2,"Results":[{{"Vulnerabilities":[{}]}}]}}}},"metadata":{{"scanFinishedOn":"{finished}"}}}}"#,
        list.join(",")
    )
}

const ANY: &str = "{name: built, types: [slsaprovenance1], from: k2}";

#[test]
fn must_not_allow_without_the_attestation_or_by_one_of_another_type_image_key_or_form() {
    let good = provenance("https://b.example/1", "https://g.example/a/b");
    check(signed().attested(2, PROVENANCE, &good), ANY, &[]);
    check(signed(), ANY, &[Code::AttestationMissing]);
    check(signed().attested(3, PROVENANCE, &good), ANY, &[Code::AttestationMissing]);
    check(signed().attested(2, "https://spdx.dev/Document", "{}"), ANY, &[Code::AttestationMissing]);
    check(signed().attested(2, "slsaprovenance02", r#"{"builder":{"id":"x"}}"#), ANY, &[Code::AttestationMissing]);
    // Valid, and about another image: its binding is not that of the signature beside it.
    let other = attestation_of(2, Digest::of(b"other"), PROVENANCE, &good);
    check(signed().with_bundle(&other), ANY, &[Code::AttestationMissing, Code::DigestMismatch]);
    check(signed().attested(2, PROVENANCE, "{}"), ANY, &[Code::Malformed]);
    check(signed().attested(2, PROVENANCE, r#"{"runDetails":[]}"#), ANY, &[Code::Malformed]);
}

#[test]
fn must_not_take_an_attestation_for_a_signature_or_a_signature_for_an_attestation() {
    let good = provenance("b", "s");
    let only_attested = Attached::nothing().change(|evidence| {
        let place = Place::AttestationTag;
        let report = PlaceReport { place, observed_at: now(), manifests: Observation::Absent, truncated: false };
        evidence.places.push(report);
    });
    let verdict =
        judged(only_attested.attested(1, PROVENANCE, &good), "{name: built, types: [slsaprovenance1], from: k1}");
    assert_eq!(verdict.outcome(), Outcome::Deny);
    check(signed(), "{name: built, types: [slsaprovenance1], from: k1}", &[Code::AttestationMissing]);
    check(signed().attested(1, PROVENANCE, &good), "{name: built, types: [slsaprovenance1], from: k1}", &[]);
}

#[test]
fn must_not_read_a_statement_of_another_payload_type_or_one_that_was_altered() {
    let attestation = Attestation::of_predicate(
        &image().pin(subject()),
        PROVENANCE.parse().unwrap(),
        provenance("b", "s").as_bytes(),
    );
    let statement = attestation.unwrap().statement().to_vec();
    let bundle = |payload_type: &str, statement: &[u8]| Key::new(2).bundle(payload_type, statement);
    check(signed().with_bundle(&bundle(IN_TOTO, &statement)), ANY, &[]);
    let verdict = judged(signed().with_bundle(&bundle("application/json", &statement)), ANY);
    assert_eq!(verdict.outcome(), Outcome::Deny);
    let text = String::from_utf8(statement.clone()).unwrap();
    for (from, to) in [
        ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v9"),
        (r#""predicate":{"#, r#""predicate":[],"x":{"#),
        (
            r#""predicateType":"https://slsa.dev/provenance/v1""#,
            r#""predicateType":"cosign.sigstore.dev/attestation/v1""#,
        ),
        (r#""subject":["#, r#""subject":[],"x":["#),
        (r#""predicateType":"#, r#""predicateType":"https://spdx.dev/Document","predicateType":"#),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let verdict = judged(signed().with_bundle(&bundle(IN_TOTO, changed.as_bytes())), ANY);
        assert_eq!(verdict.outcome(), Outcome::Deny, "{to}");
    }
    let good = attestation_of(2, subject(), PROVENANCE, &provenance("b", "s"));
    let forged = String::from_utf8(good).unwrap().replace(r#""payload":"e"#, r#""payload":"f"#);
    assert_eq!(judged(signed().with_bundle(forged.as_bytes()), ANY).outcome(), Outcome::Deny);
}

#[test]
fn provenance_must_name_a_builder_and_a_source_that_the_rule_takes() {
    let demand = r#"{name: built, types: [slsaprovenance1], from: k2, builders: ["https://b.example/*"], sources: ["https://g.example/a/*"]}"#;
    let with = |builder: &str, source: &str| signed().attested(2, PROVENANCE, &provenance(builder, source));
    check(with("https://b.example/1", "git+https://g.example/a/b@refs/heads/main"), demand, &[]);
    check(with("https://b.example/1/x", "https://g.example/a/b"), demand, &[Code::ProvenanceMismatch]);
    check(with("https://b.example.evil/1", "https://g.example/a/b"), demand, &[Code::ProvenanceMismatch]);
    check(with("https://b.example/1", "https://g.example/evil/b"), demand, &[Code::ProvenanceMismatch]);
    check(with("https://b.example/1", "https://g.example@evil.example/a/b"), demand, &[Code::ProvenanceMismatch]);
    let silent = r#"{"buildDefinition":{},"runDetails":{}}"#;
    check(signed().attested(2, PROVENANCE, silent), demand, &[Code::ProvenanceMismatch]);
    // Any one attestation that says it will do.
    let both = with("https://evil.example/1", "https://g.example/a/b");
    let good = provenance("https://b.example/1", "https://g.example/a/b");
    check(both.attested(2, PROVENANCE, &good), demand, &[]);
}

#[test]
fn a_bill_of_materials_must_be_one_and_list_something() {
    let demand =
        "{name: sbom, types: [spdx, cyclonedx], from: k2, sbom: {formats: [SPDX-2.3, CycloneDX], components: 2}}";
    let spdx = |version: &str, packages: &str| {
        let document = format!(r#"{{"spdxVersion":"{version}","packages":[{packages}]}}"#);
        signed().attested(2, "spdx", &document)
    };
    check(spdx("SPDX-2.3", "{},{}"), demand, &[]);
    check(spdx("SPDX-2.3", "{}"), demand, &[Code::SbomMismatch]);
    check(spdx("SPDX-2.2", "{},{}"), demand, &[Code::SbomMismatch]);
    check(spdx("SPDX-2.30", "{},{}"), demand, &[Code::SbomMismatch]);
    check(signed().attested(2, "spdx", "{}"), demand, &[Code::Malformed]);
    let cyclone = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{},{}]}"#;
    check(signed().attested(2, "cyclonedx", cyclone), demand, &[]);
    check(signed().attested(2, "spdx", cyclone), demand, &[Code::Malformed]);
}

#[test]
fn scans_are_counted_by_severity_fixability_and_what_is_allowed() {
    let fresh = "2026-11-22T00:00:00Z";
    let with = |findings: &str| signed().attested(2, SCAN, &scan(fresh, findings));
    let demand = |limits: &str| format!("{{name: scanned, types: [vuln], from: k2, vulnerabilities: {{{limits}}}}}");
    for (findings, limits, passes) in [
        ("", "critical: 0", true),
        ("HHML", "critical: 0", true),
        ("C", "critical: 0", false),
        ("C", "critical: 1", true),
        ("CC", "critical: 1", false),
        ("C", "high: 0", true),
        ("u", "unknown: 0", false),
        ("c", "critical: 0, count: fixable", true),
        ("c", "critical: 0, count: all", false),
        ("C", "critical: 0, count: fixable", false),
        ("C", "critical: 0, allow: [{id: CVE-0, reason: x, expires: 2026-11-24T00:00:00Z}]", true),
        ("C", "critical: 0, allow: [{id: CVE-0, reason: x, expires: 2026-11-23T09:00:00Z}]", false),
        ("C", "critical: 0, allow: [{id: CVE-00, reason: x, expires: 2027-11-24T00:00:00Z}]", false),
    ] {
        let expected: &[Code] = if passes { &[] } else { &[Code::VulnerabilitiesFound] };
        check(with(findings), &demand(limits), expected);
    }
    let unread = r#"{"scanner":{"result":{"findings":[]}}}"#;
    check(signed().attested(2, SCAN, unread), &demand("critical: 0"), &[Code::Malformed]);
    let message = judged(with("CCCCC"), &demand("critical: 0")).reasons()[0].message.clone();
    assert_eq!(message, "`scanned`: the scan found 5 critical instead of at most 0 (CVE-0, CVE-1, CVE-2, ...)");
}

#[test]
fn a_scan_must_be_young_enough_by_a_time_that_can_be_believed() {
    let demand = "{name: scanned, types: [vuln], from: k2, maxAge: 24h, vulnerabilities: {critical: 0}}";
    for (finished, expected) in [
        ("2026-11-22T09:00:00Z", &[][..]),
        ("2026-11-22T08:59:59Z", &[Code::AttestationTooOld]),
        ("2026-11-23T09:00:00Z", &[]),
        ("2026-11-23T09:00:01Z", &[Code::AttestationUndated]),
        ("0001-01-01T00:00:00Z", &[Code::AttestationUndated]),
        ("yesterday", &[Code::Malformed]),
    ] {
        check(signed().attested(2, SCAN, &scan(finished, "")), demand, expected);
    }
    // Everything that is wrong is said.
    let old_and_bad = signed().attested(2, SCAN, &scan("2026-01-01T00:00:00Z", "C"));
    check(old_and_bad, demand, &[Code::AttestationTooOld, Code::VulnerabilitiesFound]);
}

const SCANNED: &str = "{name: scanned, types: [vuln], from: k2, vulnerabilities: {critical: 0}}";

#[test]
fn must_not_let_an_older_scan_speak_when_there_is_a_newer_one() {
    let (older, newer) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    let two = |first: &str, second: &str| {
        signed().attested(2, SCAN, &scan(older, first)).attested(2, SCAN, &scan(newer, second))
    };
    check(two("C", ""), SCANNED, &[]);
    check(two("", "C"), SCANNED, &[Code::VulnerabilitiesFound]);
    let any = SCANNED.replace("from: k2", "from: k2, which: any");
    check(two("", "C"), &any, &[]);
    // Of the same time, all of them.
    let same = signed().attested(2, SCAN, &scan(newer, "")).attested(2, SCAN, &scan(newer, "C"));
    check(same, SCANNED, &[Code::VulnerabilitiesFound]);
    // Another authority's scan is neither newer nor older.
    check(two("C", "").attested(3, SCAN, &scan("2026-11-22T00:00:00Z", "C")), SCANNED, &[]);
    // What has no time may be the newest.
    check(two("", "").attested(2, SCAN, &scan(UNDATED, "")), SCANNED, &[Code::AttestationUndated]);
    check(signed().attested(2, SCAN, &scan(UNDATED, "")), SCANNED, &[]);
    // So may what cannot be read.
    check(two("", "").attested(2, SCAN, "{}"), SCANNED, &[Code::Malformed]);
    check(two("", "").attested(3, SCAN, "{}"), SCANNED, &[]);
    check(two("", "").attested(2, SCAN, &scan("2026-11-22", "")), SCANNED, &[Code::Malformed]);
}

#[test]
fn must_not_call_the_newest_what_may_not_be_it() {
    let good = || signed().attested(2, SCAN, &scan("2026-11-21T00:00:00Z", ""));
    check(good(), SCANNED, &[]);
    let unknown = || Cause::new(Code::RegistryUnavailable, "test");
    for place in [Place::ReferrersApi, Place::FallbackTag, Place::SignatureTag, Place::AttestationTag] {
        let verdict = judged(good().unknown(place, unknown()), SCANNED);
        assert_eq!(verdict.outcome(), Outcome::Undetermined, "{place:?}");
    }
    // A demand for any attestation is met by one that is there, whatever else is unknown.
    let any = SCANNED.replace("from: k2", "from: k2, which: any");
    check(good().unknown(Place::AttestationTag, unknown()), &any, &[]);
    // Evidence that was gathered for another rule never says that there is none.
    let not_asked = || good().change(|evidence| evidence.places.retain(|report| report.place != Place::AttestationTag));
    assert_eq!(judged(not_asked(), SCANNED).outcome(), Outcome::Undetermined);
    let without = signed().change(|evidence| evidence.places.retain(|report| report.place != Place::AttestationTag));
    assert_eq!(judged(without, ANY).outcome(), Outcome::Undetermined);
    // Nor is what came with other bytes than those that were listed.
    let newer = attestation_of(2, subject(), SCAN, &scan("2026-11-22T00:00:00Z", "C"));
    let altered = good().with_bundle(&newer).change(|evidence| {
        let fault = Fault { code: Code::DigestMismatch, detail: "test".to_owned() };
        evidence.items.insert(Digest::of(&newer), Retrieval::Rejected(fault));
    });
    check(altered, SCANNED, &[Code::DigestMismatch]);
    // Nor is what lies beyond a bound nothing.
    let many =
        (0..limits::MAX_SIGNATURES).fold(good(), |attached, n| attached.with_bundle(format!("[{n}]").as_bytes()));
    let many = (0..limits::MAX_SIGNATURES).fold(many, |attached, n| {
        let n = u8::try_from(n).unwrap();
        attached.with_bundle(&attestation_of(3, Digest::of(&[n]), SCAN, "{}"))
    });
    check(many, SCANNED, &[Code::LimitExceeded]);
}

#[test]
fn must_not_say_that_nothing_is_attested_where_keys_or_places_were_not_all_looked_at() {
    let keys: Vec<_> = (1..=64_u8).map(|seed| Key::new(seed).public()).collect();
    let trust = TrustSnapshot::for_keys(keys);
    let codes = |attached: Attached| {
        let found = find_attestations(&attached.decoded(), &trust, &SCAN.parse().unwrap(), now());
        assert!(found.verified.is_empty());
        found.reasons.iter().map(|reason| reason.code).collect::<Vec<_>>()
    };
    let by_others = |count: u8| {
        (0..count).fold(Attached::nothing(), |attached, n| {
            attached.with_bundle(&attestation_of(200, Digest::of(&[n]), SCAN, "{}"))
        })
    };
    assert_eq!(limits::MAX_SIGNATURE_CHECKS, 64 * 64);
    assert_eq!(codes(by_others(64)), [Code::AttestationMissing]);
    assert_eq!(codes(by_others(65)), [Code::LimitExceeded]);
    let cut_off = by_others(1).change(|evidence| evidence.places.iter_mut().for_each(|place| place.truncated = true));
    assert_eq!(codes(cut_off), [Code::LimitExceeded]);
}

fn vex(time: &str, status: &str) -> String {
    format!(
        r#"{{"timestamp":"{time}","statements":[{{"vulnerability":{{"name":"CVE-0"}},"status":"{status}","products":[{{"@id":"pkg:oci/app@{}"}}]}}]}}"#,
        subject().to_string().replace(':', "%3A")
    )
}

#[test]
fn must_not_count_out_a_finding_by_a_statement_of_somebody_else_or_that_was_taken_back() {
    let demand = "{name: scanned, types: [vuln], from: k2, vulnerabilities: {critical: 0, vex: [k3]}}";
    let found = || signed().attested(2, SCAN, &scan("2026-11-20T00:00:00Z", "C"));
    let (early, late) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    check(found(), demand, &[Code::VulnerabilitiesFound]);
    check(found().attested(3, "openvex", &vex(early, "not_affected")), demand, &[]);
    check(found().attested(3, "https://openvex.dev/ns/v0.2.0", &vex(early, "fixed")), demand, &[]);
    check(found().attested(2, "openvex", &vex(early, "not_affected")), demand, &[Code::VulnerabilitiesFound]);
    check(found().attested(3, "openvex", &vex(early, "affected")), demand, &[Code::VulnerabilitiesFound]);
    let back = found().attested(3, "openvex", &vex(early, "not_affected"));
    check(back.attested(3, "openvex", &vex(late, "affected")), demand, &[Code::VulnerabilitiesFound]);
    let other = attestation_of(3, Digest::of(b"other"), "openvex", &vex(early, "not_affected"));
    check(found().with_bundle(&other), demand, &[Code::VulnerabilitiesFound]);
    // One that cannot be read may be the one that takes it back.
    let unread = found().attested(3, "openvex", &vex(early, "not_affected")).attested(3, "openvex", "{}");
    check(unread, demand, &[Code::Malformed]);
    // Without `vex`, nobody's statements count.
    check(found().attested(3, "openvex", &vex(early, "not_affected")), SCANNED, &[Code::VulnerabilitiesFound]);
}

#[test]
fn a_demand_asks_for_authorities_as_a_requirement_does() {
    let demand = "{name: built, types: [slsaprovenance1], from: {all: [k2, k3]}}";
    let good = provenance("b", "s");
    check(signed().attested(2, PROVENANCE, &good).attested(3, PROVENANCE, &good), demand, &[]);
    check(signed().attested(2, PROVENANCE, &good), demand, &[Code::AttestationMissing]);
    let twice = signed().attested(2, PROVENANCE, &good).attested(2, PROVENANCE, &provenance("b", "other"));
    check(twice, demand, &[Code::AttestationMissing]);
    let each = "{name: a, types: [slsaprovenance1], from: k2}, {name: b, types: [spdx], from: k2}";
    check(signed().attested(2, PROVENANCE, &good), each, &[Code::AttestationMissing]);
}

#[test]
fn attestations_under_cosigns_tag_count_as_well() {
    let attestation = Attestation::of_predicate(
        &image().pin(subject()),
        PROVENANCE.parse().unwrap(),
        provenance("b", "s").as_bytes(),
    );
    let unsigned = attestation.unwrap().unsigned(Format::DsseEnvelope).unwrap();
    let signature = Key::new(2).sign(unsigned.message());
    let envelope = unsigned.encode(&Key::new(2).public(), &signature).blob().to_vec();
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let manifest = Manifest::new(config, vec![Descriptor::of(media_type::DSSE_ENVELOPE, &envelope)]);
    let attached = signed().listed(Place::AttestationTag, &manifest.encode()).item(&envelope);
    check(attached, ANY, &[]);
}

#[test]
fn must_not_waive_a_demand_by_an_exception_for_something_else() {
    let trust = |waives: &str, demand: &str| {
        let exception = format!(
            "  exceptions:\n    - {{image: \"{}\", waives: [{waives}], owner: ann, reason: x, expires: 2027-01-01T00:00:00Z}}\n",
            image().pin(subject())
        );
        snapshot(&[document("test", &[1, 2], &format!("require: k1\nattestations: [{demand}]"), &exception)])
    };
    let built = r#"{name: built, types: [slsaprovenance1], from: k2, builders: ["https://b.example/1"]}"#;
    let unsigned = || {
        signed().change(|evidence| {
            evidence.places.iter_mut().for_each(|report| report.manifests = Observation::Absent);
        })
    };
    let outcome =
        |attached: Attached, trust: &TrustSnapshot| attached.verdict_by(trust, &Question::about(image())).outcome();
    assert_eq!(outcome(unsigned(), &trust("unsigned", built)), Outcome::Deny);
    assert_eq!(outcome(unsigned(), &trust("unsigned, attestation-missing", built)), Outcome::Allow);
    assert_eq!(outcome(signed(), &trust("attestation-missing", built)), Outcome::Allow);
    let other = signed().attested(2, PROVENANCE, &provenance("https://evil.example", "s"));
    assert_eq!(outcome(other, &trust("attestation-missing", built)), Outcome::Deny, "a contradiction is no absence");
    let old = "{name: scanned, types: [vuln], from: k2, maxAge: 24h, vulnerabilities: {critical: 0}}";
    let bad = || signed().attested(2, SCAN, &scan("2026-01-01T00:00:00Z", "C"));
    assert_eq!(outcome(bad(), &trust("attestation-too-old", old)), Outcome::Deny);
    assert_eq!(outcome(bad(), &trust("attestation-too-old, vulnerabilities-found", old)), Outcome::Allow);
}

/// A scan by key 2 that has no time of its own, or this one, seen by a timestamp authority.
fn seen(findings: &str, finished: &str, time: &str) -> Vec<u8> {
    with_timestamp(&attestation_of(2, subject(), SCAN, &scan(finished, findings)), time)
}

/// The bundle, seen by a timestamp authority.
fn with_timestamp(bundle: &[u8], time: &str) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    let signature = json["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
    let response = tsa().token(&STANDARD.decode(signature).unwrap(), time).response();
    json["verificationMaterial"]["timestampVerificationData"] =
        serde_json::json!({"rfc3161Timestamps": [{"signedTimestamp": STANDARD.encode(response)}]});
    serde_json::to_vec(&json).unwrap()
}

#[test]
fn must_not_call_older_what_a_timestamp_authority_saw_later() {
    let (early, late, none) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", UNDATED);
    let check = |bundles: &[Vec<u8>], demand: &str, expected: &[Code]| {
        let authorities = format!("  timestampAuthorities:\n{}", listed(&tsa(), ""));
        let rule = format!("require: k1\nattestations: [{demand}]");
        let trust = snapshot(&[document("test", &[1, 2], &rule, &authorities)]);
        let attached = bundles.iter().fold(signed(), |attached, bundle| attached.with_bundle(bundle));
        let verdict = attached.verdict_by(&trust, &Question::about(image()));
        let codes: Vec<Code> = verdict.reasons().iter().map(|reason| reason.code).collect();
        assert_eq!(codes, expected, "{:?}", verdict.reasons());
    };
    check(&[seen("C", none, early), seen("", none, late)], SCANNED, &[]);
    check(&[seen("", none, early), seen("C", none, late)], SCANNED, &[Code::VulnerabilitiesFound]);
    // Its own word comes first, as long as nobody saw it before that.
    check(&[seen("", early, late), seen("C", none, early)], SCANNED, &[Code::VulnerabilitiesFound]);
    check(&[seen("", late, early), seen("", none, early)], SCANNED, &[Code::AttestationUndated]);
    let young = SCANNED.replace("from: k2", "from: k2, maxAge: 60h");
    check(&[seen("", none, late)], &young, &[]);
    check(&[seen("", none, early)], &young, &[Code::AttestationTooOld]);
}

/// Key 2 must show a timestamp, key 3 a log entry; `key` is what else is said of key 2.
fn proven(which: &str, key: &str, more: &str) -> TrustSnapshot {
    let rule = format!("require: k1\nattestations: [{which}]");
    let more = format!("  timestampAuthorities:\n{}{more}", listed(&tsa(), ""));
    let text = document("test", &[1, 2, 3, 4], &rule, &more);
    let text = text.replace("{name: k2, keys: [{", &format!("{{name: k2, evidence: {{timestamps: 1}}, keys: [{{{key}"));
    snapshot(&[text.replace("{name: k3, ", "{name: k3, evidence: {logs: 1, trustRoot: public-good}, ")])
}

#[track_caller]
fn check_proven(bundles: &[Vec<u8>], trust: &TrustSnapshot, expected: &[Code]) {
    let attached = bundles.iter().fold(signed(), |attached, bundle| attached.with_bundle(bundle));
    let verdict = attached.verdict_by(trust, &Question::about(image()));
    let codes: Vec<Code> = verdict.reasons().iter().map(|reason| reason.code).collect();
    assert_eq!(codes, expected, "{:?}", verdict.reasons());
    assert_eq!(verdict.outcome() == Outcome::Allow, expected.is_empty());
}

/// The bundle without its timestamps.
fn stripped(bundle: &[u8]) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    json["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData").unwrap();
    serde_json::to_vec(&json).unwrap()
}

/// The bundle with the other signature over the same bytes that verifies: every (r, s) of ECDSA has its (r, -s).
fn mirrored(bundle: &[u8]) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    let place = &mut json["dsseEnvelope"]["signatures"][0]["sig"];
    let signature = STANDARD.decode(place.as_str().unwrap()).unwrap();
    let (r, s) = p256::ecdsa::Signature::from_der(&signature).unwrap().split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s).unwrap().to_der();
    assert_ne!(other.as_bytes(), signature);
    *place = STANDARD.encode(other.as_bytes()).into();
    serde_json::to_vec(&json).unwrap()
}

#[test]
fn must_not_let_an_older_scan_speak_when_the_newer_one_was_stripped_of_its_timestamp() {
    let (older, newer, seen_at) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z");
    let trust = proven(SCANNED, "", "");
    let hidden = [Code::TimestampMissing, Code::VulnerabilitiesFound];
    let good = || seen("", older, seen_at);
    let bad = |finished: &str| stripped(&seen("C", finished, seen_at));
    check_proven(&[good()], &trust, &[]);
    check_proven(&[good(), bad(newer)], &trust, &hidden);
    check_proven(&[bad(newer), good()], &trust, &hidden);
    // Of the same time all of them decide, and what has no time may be the newest.
    check_proven(&[good(), bad(older)], &trust, &hidden);
    check_proven(&[good(), bad(UNDATED)], &trust, &hidden);
    check_proven(&[good(), stripped(&seen("", newer, seen_at))], &trust, &[Code::TimestampMissing]);
    let unread = attestation_of(2, subject(), SCAN, "{}");
    check_proven(&[good(), unread], &trust, &[Code::TimestampMissing, Code::Malformed]);
    // One whose timestamp is about something else is no better.
    let mut wrong: serde_json::Value = serde_json::from_slice(&seen("C", newer, seen_at)).unwrap();
    let other: serde_json::Value = serde_json::from_slice(&good()).unwrap();
    let material = "verificationMaterial";
    wrong[material]["timestampVerificationData"] = other[material]["timestampVerificationData"].clone();
    let wrong = serde_json::to_vec(&wrong).unwrap();
    check_proven(&[good(), wrong], &trust, &[Code::TimestampUntrusted, Code::VulnerabilitiesFound]);
    // An exception for the missing timestamp does not hide what the scan found.
    let waiver = |waives: &str| {
        format!(
            "  exceptions:\n    - {{image: \"{}\", waives: [{waives}], owner: ann, reason: x, expires: 2027-01-01T00:00:00Z}}\n",
            image().pin(subject())
        )
    };
    let outcome = |waives: &str| {
        let attached = signed().with_bundle(&good()).with_bundle(&bad(newer));
        attached.verdict_by(&proven(SCANNED, "", &waiver(waives)), &Question::about(image())).outcome()
    };
    assert_eq!(outcome("timestamp-missing"), Outcome::Deny);
    assert_eq!(outcome("timestamp-missing, vulnerabilities-found"), Outcome::Allow);
}

#[test]
fn what_cannot_be_the_newest_scan_blocks_nothing_though_it_has_no_timestamp() {
    let (older, newer, seen_at) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z");
    let trust = proven(SCANNED, "", "");
    let good = || seen("", newer, seen_at);
    let bad = |finished: &str| stripped(&seen("C", finished, seen_at));
    check_proven(&[good(), bad(older)], &trust, &[]);
    // Copies of what counts, by the same signature or by a later one.
    check_proven(&[good(), stripped(&good())], &trust, &[]);
    let undated = seen("", UNDATED, seen_at);
    check_proven(&[undated.clone(), stripped(&undated)], &trust, &[]);
    // Nobody but the authority makes another signature that verifies, but for the second one that every ECDSA signature has.
    let mirrored = mirrored(&stripped(&undated));
    check_proven(std::slice::from_ref(&mirrored), &trust, &[Code::TimestampMissing, Code::AttestationMissing]);
    check_proven(&[undated.clone(), mirrored], &trust, &[]);
    let spaced = attestation_of(2, subject(), SCAN, &format!("{} ", scan(newer, "")));
    check_proven(&[good(), spaced], &trust, &[]);
    // What is of another image, type or authority, and a plain signature.
    check_proven(&[good(), attestation_of(2, Digest::of(b"other"), SCAN, &scan(newer, "C"))], &trust, &[]);
    check_proven(&[good(), attestation_of(2, subject(), PROVENANCE, "{}")], &trust, &[]);
    check_proven(&[good(), attestation_of(4, subject(), SCAN, &scan(seen_at, "C"))], &trust, &[]);
    let plain = crate::support::statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    check_proven(&[good(), Key::new(2).bundle(IN_TOTO, plain.as_bytes())], &trust, &[]);
    // Where any one will do, and where another authority's newest will.
    let any = proven(&SCANNED.replace("from: k2", "from: k2, which: any"), "", "");
    check_proven(&[good(), bad(seen_at)], &any, &[]);
    let either = proven(&SCANNED.replace("from: k2", "from: {any: [k2, k4]}"), "", "");
    check_proven(&[bad(newer), attestation_of(4, subject(), SCAN, &scan(older, ""))], &either, &[]);
}

#[test]
fn must_not_let_an_older_scan_speak_when_the_newer_one_lacks_its_log_entry() {
    let entry = |key: u8, time: &str| attestation_of(key, subject(), SCAN, &scan(time, "C"));
    let trust = proven(&SCANNED.replace("from: k2", "from: {any: [k3]}"), "", "");
    let codes = [Code::LogEntryMissing, Code::VulnerabilitiesFound, Code::AttestationMissing];
    check_proven(&[entry(3, "2026-11-21T00:00:00Z")], &trust, &codes);
    check_proven(&[entry(4, "2026-11-21T00:00:00Z")], &trust, &[Code::AttestationMissing]);
}

#[test]
fn a_key_that_ended_blocks_until_something_newer_than_it_counts_and_no_longer() {
    let (older, newer, seen_at) = ("2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z", "2026-11-19T12:00:00Z");
    let (good, bad) =
        (|finished| seen("", finished, seen_at), |finished| attestation_of(2, subject(), SCAN, &scan(finished, "C")));
    // Seen once more, after the key had ended, by whoever found it.
    let late = |finished| seen("C", finished, "2026-11-22T00:00:00Z");
    let rotated = "sign: {until: 2026-11-20T00:00:00Z}, ";
    let found_out = "compromised: {since: 2026-11-20T00:00:00Z, trustEarlier: with-trusted-time}, ";
    for (key, code) in [(rotated, Code::KeyExpired), (found_out, Code::KeyCompromised)] {
        let (trust, hidden) = (proven(SCANNED, key, ""), [code, Code::VulnerabilitiesFound]);
        check_proven(&[good(older)], &trust, &[]);
        check_proven(&[good(older), bad(newer)], &trust, &hidden);
        check_proven(&[good(older), late(newer)], &trust, &hidden);
        check_proven(&[good(older), bad(UNDATED)], &trust, &hidden);
        check_proven(&[good(older), late(UNDATED)], &trust, &hidden);
        check_proven(&[good(newer), bad(older)], &trust, &[]);
        // By its own word it was made when the key was believed no more: whoever has found it blocks nothing.
        check_proven(&[good(older), bad("2026-11-21T00:00:00Z")], &trust, &[]);
        check_proven(&[good(older), late("2026-11-21T00:00:00Z")], &trust, &[]);
    }
    // Where nothing that the key signed counts any more, it blocks nothing either: another one speaks for the authority.
    let pem = Key::new(5).public().to_pem().replace('\n', "\\n");
    for (key, expected) in [
        ("compromised: {since: 2026-11-20T00:00:00Z, trustEarlier: never}, ", &[][..]),
        ("acceptUntil: 2026-11-22T00:00:00Z, ", &[]),
        (rotated, &[Code::KeyExpired, Code::VulnerabilitiesFound]),
    ] {
        let trust = proven(SCANNED, &format!("publicKey: {{pem: \"{pem}\"}}}}, {{{key}"), "");
        let good = with_timestamp(&attestation_of(5, subject(), SCAN, &scan(older, "")), seen_at);
        check_proven(&[good, bad(newer)], &trust, expected);
    }
}

#[test]
fn must_not_let_a_statement_about_harm_stand_when_what_takes_it_back_is_of_another_version_or_unproven() {
    let demand = "{name: scanned, types: [vuln], from: k4, vulnerabilities: {critical: 0, vex: [k2]}}";
    let found = || attestation_of(4, subject(), SCAN, &scan("2026-11-20T00:00:00Z", "C"));
    let says = |kind: &str, status: &str, time: &str| {
        let statement = format!(r#"{{"vulnerability":"CVE-0","status":"{status}"}}"#);
        let document = format!(r#"{{"timestamp":"{time}","statements":[{statement}]}}"#);
        with_timestamp(&attestation_of(2, subject(), kind, &document), "2026-11-22T00:00:00Z")
    };
    let (plain, first, later) =
        ("https://openvex.dev/ns", "https://openvex.dev/ns/v0.0.1", "https://openvex.dev/ns/v1.0.0");
    let (before, after) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    let (trust, harm) = (proven(demand, "", ""), [Code::VulnerabilitiesFound]);
    check_proven(&[found()], &trust, &harm);
    for kind in [plain, first, later] {
        check_proven(&[found(), says(kind, "not_affected", before)], &trust, &[]);
        for other in [plain, first, later] {
            let good = says(kind, "not_affected", before);
            check_proven(&[found(), good.clone(), says(other, "affected", after)], &trust, &harm);
            check_proven(&[found(), says(kind, "affected", before), says(other, "fixed", after)], &trust, &[]);
            // Whoever takes the timestamp away takes nothing back with it; nor does what nobody saw excuse anything.
            check_proven(&[found(), good, stripped(&says(other, "affected", after))], &trust, &harm);
            check_proven(&[found(), stripped(&says(other, "fixed", after))], &trust, &harm);
        }
    }
    // Another type, and an older word.
    for kind in ["https://openvex.dev/nsx", "https://openvex.dev/ns/x", "https://openvex.dev"] {
        check_proven(&[found(), says(kind, "not_affected", before)], &trust, &harm);
    }
    check_proven(&[found(), says(plain, "fixed", after), stripped(&says(first, "affected", before))], &trust, &[]);
}

#[test]
fn must_not_overlook_the_newest_scan_because_it_names_another_key_than_made_it() {
    let (older, newer) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    let pem = |seed: u8| Key::new(seed).public().to_pem().replace('\n', "\\n");
    let keys: String = (10..90_u8).map(|seed| format!("{{publicKey: {{pem: \"{}\"}}}},", pem(seed))).collect();
    let verdict = |bundles: &[Vec<u8>], which: &str| {
        let demand = SCANNED.replace("from: k2", &format!("from: many, which: {which}"));
        let text = document("test", &[1], &format!("require: k1\nattestations: [{demand}]"), "");
        let many = format!("  authorities:\n    - {{name: many, keys: [{keys}]}}\n");
        let trust = snapshot(&[text.replace("  authorities:\n", &many)]);
        let attached = bundles.iter().fold(signed(), |attached, bundle| attached.with_bundle(bundle));
        let verdict = attached.verdict_by(&trust, &Question::about(image()));
        verdict.reasons().iter().map(|reason| reason.code).collect::<Vec<_>>()
    };
    let by =
        |seed: u8, finished: &str, findings: &str| attestation_of(seed, subject(), SCAN, &scan(finished, findings));
    let hint = |seed: u8| Key::new(seed).public().id().hint();
    let misnamed = |seed: u8, findings: &str| {
        let text = String::from_utf8(by(seed, newer, findings)).unwrap();
        assert!(text.contains(&hint(seed)));
        text.replace(&hint(seed), &hint(200)).into_bytes()
    };
    let good = by(10, older, "");
    for seed in [11, 89] {
        assert_eq!(verdict(&[good.clone(), by(seed, newer, "C")], "newest"), [Code::VulnerabilitiesFound]);
        assert_eq!(verdict(&[good.clone(), misnamed(seed, "C")], "newest"), [Code::VulnerabilitiesFound], "{seed}");
        assert_eq!(verdict(&[good.clone(), misnamed(seed, "")], "newest"), [], "{seed}");
        assert_eq!(verdict(&[good.clone(), misnamed(seed, "C")], "any"), [], "{seed}");
    }
    // Somebody else's is nobody's, whatever it names.
    assert_eq!(verdict(&[good, by(200, newer, "C")], "newest"), []);
}

#[test]
fn findings_and_statements_are_bounded() {
    let most = limits::MAX_FINDINGS;
    let scan_of = |count: usize| {
        let finding = r#"{"vulnerability":{"id":"x","severity":"low"}}"#;
        let report = format!(r#"{{"matches":[{}]}}"#, vec![finding; count].join(","));
        signed().attested(2, SCAN, &format!(r#"{{"scanner":{{"result":{report}}}}}"#))
    };
    check(scan_of(most), SCANNED, &[]);
    check(scan_of(most + 1), SCANNED, &[Code::Malformed]);
    let demand = "{name: vex, types: [openvex], from: k2}";
    let vex_of = |count: usize| {
        let statement = r#"{"vulnerability":"x","status":"fixed"}"#;
        signed().attested(2, "openvex", &format!(r#"{{"statements":[{}]}}"#, vec![statement; count].join(",")))
    };
    check(vex_of(most), demand, &[]);
    check(vex_of(most + 1), demand, &[Code::Malformed]);
}

/// One thing that may be attached beside the signature.
#[derive(Debug, Clone, Copy)]
enum Thing {
    Built { key: u8, builder: u8 },
    Garbage { seed: u8 },
    Other { key: u8 },
    Scanned { key: u8, day: u8, critical: bool },
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    let thing = prop_oneof![
        (1..4_u8, 0..2_u8).prop_map(|(key, builder)| Thing::Built { key, builder }),
        any::<u8>().prop_map(|seed| Thing::Garbage { seed }),
        (1..4_u8).prop_map(|key| Thing::Other { key }),
        (1..4_u8, 1..4_u8, any::<bool>()).prop_map(|(key, day, critical)| Thing::Scanned { key, day, critical }),
    ];
    prop::collection::vec(thing, 0..6)
}

fn attach(things: &[Thing]) -> Attached {
    things.iter().fold(signed(), |attached, thing| match *thing {
        Thing::Built { key, builder } => {
            attached.attested(key, PROVENANCE, &provenance(&format!("https://b.example/{builder}"), "s"))
        }
        Thing::Garbage { seed } => attached.with_bundle(&[seed; 9]),
        Thing::Other { key } => attached.with_bundle(&attestation_of(
            key,
            Digest::of(b"other"),
            PROVENANCE,
            &provenance("https://b.example/1", "s"),
        )),
        Thing::Scanned { key, day, critical } => {
            attached.attested(key, SCAN, &scan(&format!("2026-11-0{day}T00:00:00Z"), if critical { "C" } else { "" }))
        }
    })
}

/// Demands for any attestation.
fn monotone() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(r#"{name: b, types: [slsaprovenance1], from: k2, builders: ["https://b.example/1"]}"#),
        Just("{name: b, types: [slsaprovenance1], from: {threshold: {count: 2, of: [k1, k2, k3]}}}"),
        Just("{name: s, types: [vuln], from: {any: [k2, k3]}, which: any, vulnerabilities: {critical: 0}}"),
        Just(
            "{name: b, types: [slsaprovenance1], from: k2}, {name: s, types: [vuln], from: k3, which: any, vulnerabilities: {critical: 0}}"
        ),
    ]
}

fn outcome(attached: Attached, demands: &str) -> Outcome {
    evaluate(&Question::about(image()), &rule(demands), &attached.decoded(), None, now()).outcome()
}

/// What the newest scans of authority 2 say, by a plain reading of the list.
fn newest_are_clean(things: &[Thing]) -> bool {
    let of_two = things.iter().filter_map(|thing| match *thing {
        Thing::Scanned { key: 2, day, critical } => Some((day, critical)),
        _ => None,
    });
    let scans: Vec<(u8, bool)> = of_two.collect();
    let latest = scans.iter().map(|(day, _)| *day).max();
    latest.is_some() && scans.iter().filter(|(day, _)| Some(*day) == latest).all(|(_, critical)| !critical)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn more_evidence_never_ends_an_allow_by_a_demand_for_any(
        few in things(), more in things(), demands in monotone(),
    ) {
        let all: Vec<_> = few.iter().chain(&more).copied().collect();
        let (before, after) = (outcome(attach(&few), demands), outcome(attach(&all), demands));
        prop_assert!(before != Outcome::Allow || after == Outcome::Allow);
        let mut reversed = all;
        reversed.reverse();
        prop_assert_eq!(outcome(attach(&reversed), demands), after);
    }

    #[test]
    fn the_newest_scan_decides_and_nothing_unknown_makes_an_allow(things in things(), place in 0..4_usize) {
        let expected = if newest_are_clean(&things) { Outcome::Allow } else { Outcome::Deny };
        prop_assert_eq!(outcome(attach(&things), SCANNED), expected);
        let unknown = attach(&things).change(|evidence| {
            evidence.places[place].manifests = Observation::Unknown(Cause::new(Code::RegistryUnavailable, "test"));
        });
        prop_assert_eq!(outcome(unknown, SCANNED), Outcome::Undetermined);
    }
}

#[test]
fn must_not_say_of_whom_a_demand_asks_for_that_the_rule_does_not_ask_for_them() {
    let attached = signed().attested(2, PROVENANCE, &provenance("b", "s"));
    let verdict =
        judged(attached, "{name: built, types: [slsaprovenance1], from: k2}, {name: listed, types: [spdx], from: k2}");
    let [rejection] = verdict.rejected() else { panic!("{:?}", verdict.rejected()) };
    assert_eq!(rejection.code, Code::UntrustedKey);
    assert!(rejection.message.ends_with("is that of `k2`, whose signature is not asked for"), "{}", rejection.message);
}

/// What builds attest is all that many images have.
#[test]
fn a_rule_without_signatures_rests_on_what_is_attested_alone() {
    let trust = policy(&[1, 2, 3], &format!("attestations: [{ANY}, {{name: scanned, types: [vuln], from: k3}}]"));
    let verdict = |attached: Attached| attached.verdict_by(&trust, &Question::about(image()));
    let codes = |attached: Attached| {
        let verdict = verdict(attached);
        assert!(verdict.proof().is_empty() && verdict.attestations().is_empty() && !verdict.admit(), "{verdict:?}");
        (verdict.outcome(), verdict.reasons().iter().map(|reason| reason.code).collect::<Vec<_>>())
    };
    let built = || unsigned().attested(2, PROVENANCE, &provenance("b", "s"));
    let both = || built().attested(3, SCAN, &scan("2026-11-20T00:00:00Z", ""));
    let allowed = verdict(both());
    assert_eq!((allowed.outcome(), allowed.attestations().len()), (Outcome::Allow, 2), "{allowed:?}");
    assert!(allowed.proof().is_empty() && allowed.admit());
    assert!(matches!(allowed.rules()[0].decision().proof().unwrap().grounds(), Grounds::Attestations));
    // A signature beside them changes nothing, and does not stand for what is missing.
    assert_eq!(verdict(both().with(&Key::new(1).signs(Format::SigstoreBundle))).outcome(), Outcome::Allow);
    let missing = (Outcome::Deny, vec![Code::AttestationMissing]);
    assert_eq!(codes(built()), missing);
    assert_eq!(codes(signed()), (Outcome::Deny, vec![Code::AttestationMissing, Code::AttestationMissing]));
    assert_eq!(codes(signed().attested(1, PROVENANCE, &provenance("b", "s"))).0, Outcome::Deny, "another's key");
    let of_another = attestation_of(2, Digest::of(b"other"), PROVENANCE, &provenance("b", "s"));
    assert_eq!(codes(unsigned().with_bundle(&of_another)).0, Outcome::Deny);
    // What could not be asked is not missing.
    let unknown = |evidence: &mut hallmark_policy::evidence::Evidence| {
        for place in evidence.places.iter_mut() {
            place.manifests = Observation::Unknown(Cause::new(Code::RegistryUnavailable, "503"));
        }
    };
    assert_eq!(codes(built().change(unknown)).0, Outcome::Undetermined);
    // What is not known to be an image or an index has no children that are covered.
    let each = policy(&[1, 2], &format!("attestations: [{ANY}]\nplatforms: every-child"));
    let index = both().verdict_by(&each, &Question::about(image()));
    assert_ne!(index.outcome(), Outcome::Allow, "{index:?}");
}

#[test]
fn the_verdict_says_which_attestations_it_rests_on() {
    let verdict = judged(signed().attested(2, PROVENANCE, &provenance("b", "s")), ANY);
    let met = verdict.attestations();
    assert_eq!((met[0].demand.as_str(), met[0].attestation.authority(), met.len()), ("built", "k2", 1));
    assert!(verdict.rejected().is_empty(), "what meets a demand is not rejected: {:?}", verdict.rejected());
}
