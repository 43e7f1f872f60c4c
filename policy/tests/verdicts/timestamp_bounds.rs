//! The bounds of trusted time at both sides, and authorities that a Sigstore trusted root names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::verify::CertificateChain;
use hallmark_policy::{Code, Outcome, limits};
use serde_json::{Value, json};

use crate::authority::{Authority, Certificate, pem};
use crate::support::{Attached, Key, image, now};
use crate::timestamps::{bundle, judged, listed, policy, stamp, stamped, tsa};

const DAY: &str = "2026-11-01T00:00:00Z";

/// Something that is no timestamp, and another one for each number.
fn worthless(number: usize) -> Vec<u8> {
    format!("no timestamp {number}").into_bytes()
}

#[test]
fn timestamp_checks_are_bounded_and_the_last_one_within_counts() {
    let trust = policy("", 1, &listed(&tsa(), ""));
    // Copies of one signature with worthless timestamps, in front of the copy that has a good one: one check each.
    let verdict = |extra: usize| {
        let full = (0..limits::MAX_TIMESTAMP_CHECKS / limits::MAX_TIMESTAMPS - 1).map(|copy| {
            let first = copy * limits::MAX_TIMESTAMPS;
            stamped(&(first..first + limits::MAX_TIMESTAMPS).map(worthless).collect::<Vec<_>>())
        });
        let rest = stamped(&(0..extra).map(|number| worthless(5000 + number)).collect::<Vec<_>>());
        let mut last: Vec<Vec<u8>> = (0..limits::MAX_TIMESTAMPS - 2).map(|number| worthless(6000 + number)).collect();
        last.push(stamp(&tsa(), DAY));
        let copies = full.chain([rest, stamped(&last)]);
        let attached = copies.fold(Attached::nothing(), |attached, copy| attached.with_bundle(&copy));
        evaluate(&Question::about(image()), &trust, &attached.decoded(), None, now())
    };
    let within = verdict(1);
    assert_eq!(within.outcome(), Outcome::Allow, "{within:?}");
    let beyond = verdict(2);
    assert_eq!(beyond.outcome(), Outcome::Deny);
    let codes: Vec<Code> = beyond.reasons().iter().map(|reason| reason.code).collect();
    assert_eq!(codes, [Code::TimestampUntrusted], "never unsigned");
}

/// So many certificates, each issued by the next; the first signs timestamps.
fn chain_of(length: usize) -> Vec<Vec<u8>> {
    let names = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
    let validity = tsa().root.validity;
    let certificate = |place: usize| {
        let issuer = (place + 1).min(length - 1);
        let seed = |place: usize| u8::try_from(20 + place).unwrap();
        let purpose = (place == 0).then_some(true);
        let issuer = (names[issuer], seed(issuer));
        Certificate { name: names[place], seed: seed(place), issuer, issues: place > 0, purpose, validity }.der()
    };
    (0..length).map(certificate).collect()
}

#[test]
fn chains_are_bounded() {
    let parse = |certificates: &[Vec<u8>]| CertificateChain::parse(pem(certificates).as_bytes());
    let most = limits::MAX_CHAIN_CERTIFICATES;
    assert!(parse(&chain_of(most)).is_ok());
    let problem = parse(&chain_of(most + 1)).unwrap_err().to_string();
    assert!(problem.contains("1 to 8"), "{problem}");
}

#[test]
fn certificates_of_a_token_are_bounded() {
    let trust = policy("", 1, &listed(&tsa(), ""));
    let carrying = |count: usize| {
        let mut token = tsa().token(&bundle().1, DAY);
        token.bag.extend(chain_of(limits::MAX_CHAIN_CERTIFICATES).into_iter().cycle().take(count - 1));
        judged(&[token.response()], &trust, now())
    };
    assert_eq!(carrying(limits::MAX_CHAIN_CERTIFICATES).outcome(), Outcome::Allow);
    let beyond = carrying(limits::MAX_CHAIN_CERTIFICATES + 1);
    assert_eq!(beyond.reasons()[0].code, Code::TimestampUntrusted);
}

/// An authority as a trusted root has it, believed from a time to the end of another.
fn rooted(authority: &Authority, start: &str, end: Option<&str>) -> Value {
    let certificates = [authority.signer.der(), authority.root.der()];
    let certificates: Vec<Value> = certificates.iter().map(|der| json!({"rawBytes": STANDARD.encode(der)})).collect();
    let mut window = json!({"start": start});
    if let Some(end) = end {
        window["end"] = json!(end);
    }
    json!({"subject": {"commonName": "any"}, "uri": "https://tsa.example", "certChain": {"certificates": certificates},
        "validFor": window})
}

fn root(authorities: &[Value]) -> Value {
    json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [],
        "certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": authorities})
}

/// A policy that needs one timestamp, by what stands behind the name of its one timestamp authority.
fn by(entry: &str, root: &str) -> Result<TrustSnapshot, String> {
    let key = Key::new(1).public().to_pem().replace('\n', "\\n");
    let text = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: t}}\nspec:\n  authorities: [{{name: k1, \
         evidence: {{timestamps: 1}}, keys: [{{publicKey: {{pem: \"{key}\"}}}}]}}]\n  timestampAuthorities:\n    - \
         {{name: sigstore, {entry}}}\n  rules: [{{name: r, images: [\"r.example/**\"], require: k1}}]\n"
    );
    let document = Document::parse("t.yaml", &text).map_err(|error| error.to_string())?;
    let mut files = |name: &str| match name {
        "trusted_root.json" => Ok(root.as_bytes().to_vec()),
        "chain.pem" => Ok(tsa().chain().into_bytes()),
        _ => Err("no such file".to_owned()),
    };
    let policy = TrustPolicy::compile(&document, &mut files).map_err(|error| error.to_string())?;
    TrustSnapshot::new(vec![policy]).map_err(|error| error.to_string())
}

fn by_root(root: &Value) -> Result<TrustSnapshot, String> {
    by("trustedRoot: {file: trusted_root.json}", &root.to_string())
}

fn at(trust: &TrustSnapshot, authority: &Authority, time: &str) -> Verdict {
    judged(&[stamp(authority, time)], trust, now())
}

#[test]
fn a_trusted_root_is_believed_within_its_windows_both_ends_included() {
    let (start, end) = ("2026-03-01T00:00:00Z", "2026-09-01T00:00:00Z");
    let closed = by_root(&root(&[rooted(&tsa(), start, Some(end))])).unwrap();
    for (time, outcome) in [
        ("2026-02-28T23:59:59Z", Outcome::Deny),
        (start, Outcome::Allow),
        (end, Outcome::Allow),
        ("2026-09-01T00:00:01Z", Outcome::Deny),
    ] {
        let verdict = at(&closed, &tsa(), time);
        assert_eq!(verdict.outcome(), outcome, "{time}: {verdict:?}");
    }
    let open = by_root(&root(&[rooted(&tsa(), start, None)])).unwrap();
    assert_eq!(at(&open, &tsa(), "2026-09-01T00:00:01Z").outcome(), Outcome::Allow);
    assert_eq!(at(&open, &tsa(), "2026-02-28T23:59:59Z").outcome(), Outcome::Deny);
}

/// A root lists what was in use one after the other: all of it counts as one authority.
#[test]
fn must_not_count_the_authorities_of_one_trusted_root_as_two() {
    let (old, new) = (Authority::new("old", 1), Authority::new("new", 2));
    let both = root(&[rooted(&old, DAY, None), rooted(&new, DAY, None)]);
    let trust = by_root(&both).unwrap();
    let stranger = Authority::new("stranger", 3);
    assert_eq!(at(&trust, &old, DAY).outcome(), Outcome::Allow);
    assert_eq!(at(&trust, &new, DAY).outcome(), Outcome::Allow);
    assert_eq!(at(&trust, &stranger, DAY).outcome(), Outcome::Deny);
    let stamps = [stamp(&old, DAY), stamp(&new, DAY)];
    let verdict = judged(&stamps, &trust, now());
    let vouching = format!("{:?}", verdict.proof());
    assert_eq!(verdict.outcome(), Outcome::Allow);
    assert_eq!(vouching.matches("\"sigstore\"").count(), 1, "{vouching}");
}

#[test]
fn the_authorities_of_a_trusted_root_are_bounded() {
    let many = |count: usize| root(&vec![rooted(&tsa(), DAY, None); count]);
    assert!(by_root(&many(limits::MAX_TIMESTAMP_AUTHORITIES)).is_ok());
    for count in [0, limits::MAX_TIMESTAMP_AUTHORITIES + 1] {
        let refusal = by_root(&many(count)).unwrap_err();
        assert!(refusal.contains("1 to 32"), "{refusal}");
    }
}

#[test]
fn must_not_trust_what_is_no_trusted_root() {
    let good = root(&[rooted(&tsa(), DAY, None)]);
    assert!(by_root(&good).is_ok());
    let without = |path: &str| {
        let mut root = good.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        root.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        root
    };
    let with = |path: &str, value: Value| {
        let mut root = good.clone();
        *root.pointer_mut(path).unwrap() = value;
        root
    };
    let reversed = {
        let mut root = good.clone();
        let list = root.pointer_mut("/timestampAuthorities/0/certChain/certificates").unwrap();
        list.as_array_mut().unwrap().reverse();
        root
    };
    for bad in [
        without("/mediaType"),
        without("/timestampAuthorities/0/validFor"),
        without("/timestampAuthorities/0/validFor/start"),
        without("/timestampAuthorities/0/certChain"),
        with("/mediaType", json!("application/json")),
        with("/timestampAuthorities/0/validFor/start", json!("soon")),
        with("/timestampAuthorities/0/certChain/certificates", json!([])),
        with("/timestampAuthorities/0/certChain/certificates/0/rawBytes", json!("%")),
        with("/timestampAuthorities/0/certChain/certificates/0/rawBytes", json!("AAAA")),
        reversed,
        json!([]),
    ] {
        assert!(by_root(&bad).is_err(), "{bad}");
    }
    assert!(by("trustedRoot: {file: trusted_root.json}", "no JSON").is_err());
    assert!(by("trustedRoot: {file: missing.json}", "").is_err());
    // One of the two ways to say it, and the windows of a trusted root are its own.
    let text = good.to_string();
    let refusal = by("trustedRoot: {file: trusted_root.json}, certificateChain: {file: chain.pem}", &text);
    assert!(refusal.unwrap_err().contains("exactly one"));
    let refusal = by(&format!("trustedRoot: {{file: trusted_root.json}}, validFor: {{from: {DAY}}}"), &text);
    assert!(refusal.unwrap_err().contains("validFor"));
    assert!(
        by(&format!("certificateChain: {{file: chain.pem}}, validFor: {{from: {DAY}}}"), &text).is_ok(),
        "its twin"
    );
}
