//! A trusted root that cannot be read in full is refused in full (E12).

use hallmark_policy::sigstore::TrustedRoot;
use serde_json::{Value, json};

use super::recorded;

fn production() -> Value {
    serde_json::from_slice(&recorded::file("trusted_root.production.json")).unwrap()
}

#[test]
fn the_public_good_roots_are_read() {
    for name in ["trusted_root.production.json", "trusted_root.staging.json", "trusted_root.github.json"] {
        let bytes = recorded::file(name);
        let root = TrustedRoot::parse(&bytes).unwrap();
        assert_eq!(root.digest(), hallmark_policy::image::Digest::of(&bytes));
    }
    let roots = [TrustedRoot::public_good(), TrustedRoot::staging(), TrustedRoot::github()].map(Result::unwrap);
    let digests: std::collections::BTreeSet<_> = roots.iter().map(|root| root.digest().to_string()).collect();
    assert_eq!(digests.len(), roots.len());
}

#[test]
fn must_not_use_a_root_of_which_a_part_cannot_be_read() {
    let cases: [(&str, &str, Value); 14] = [
        ("a log without a start", "/tlogs/0/publicKey/validFor", json!({})),
        ("a certificate log without a start", "/ctlogs/1/publicKey/validFor", json!({"end": "2030-01-01T00:00:00Z"})),
        ("an authority without a window", "/certificateAuthorities/0/validFor", Value::Null),
        ("a time that is none", "/tlogs/0/publicKey/validFor/start", json!("yesterday")),
        ("a time without a zone", "/tlogs/0/publicKey/validFor/start", json!("2021-01-12T11:53:27")),
        ("an end before the start", "/ctlogs/0/publicKey/validFor/end", json!("2020-01-01T00:00:00Z")),
        ("a key of an unknown kind", "/tlogs/0/publicKey/keyDetails", json!("PKIX_ML_DSA_65")),
        ("a key that is none", "/tlogs/1/publicKey/rawBytes", json!("AAAA")),
        ("a hash of another kind", "/tlogs/0/hashAlgorithm", json!("SHA2_512")),
        ("an id that is too short", "/tlogs/0/logId/keyId", json!("AAA=")),
        ("a certificate that is none", "/certificateAuthorities/0/certChain/certificates/0/rawBytes", json!("AAAA")),
        ("an authority without certificates", "/certificateAuthorities/1/certChain/certificates", json!([])),
        (
            "a timestamp authority's chain that is none",
            "/timestampAuthorities/0/certChain/certificates/1/rawBytes",
            json!("AAAA"),
        ),
        ("another document", "/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.3+json")),
    ];
    for (what, place, value) in cases {
        let mut root = production();
        *root.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
        assert!(TrustedRoot::parse(root.to_string().as_bytes()).is_err(), "{what}");
    }
}

#[test]
fn must_not_take_certificates_of_another_order_for_a_chain() {
    let mut root = production();
    root.pointer_mut("/certificateAuthorities/1/certChain/certificates").unwrap().as_array_mut().unwrap().reverse();
    assert!(TrustedRoot::parse(root.to_string().as_bytes()).is_err());
}

#[test]
fn must_not_read_a_root_without_bound() {
    let mut root = production();
    let logs = root["tlogs"].as_array_mut().unwrap();
    let log = logs[0].clone();
    logs.resize(64, log.clone());
    assert!(TrustedRoot::parse(root.to_string().as_bytes()).is_ok());
    root["tlogs"].as_array_mut().unwrap().push(log);
    assert!(TrustedRoot::parse(root.to_string().as_bytes()).unwrap_err().problem.contains("64"));
    let padded = format!("{}{}", production(), " ".repeat(1024 * 1024));
    assert!(TrustedRoot::parse(padded.as_bytes()).unwrap_err().problem.contains("larger"));
}
