//! What was recorded, in the folders of the package that judges it.

use super::corpus::Case;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policy");

pub(super) fn file(name: &str) -> Vec<u8> {
    let folder = if name.starts_with("trusted_root.") { "data" } else { "testdata/sigstore" };
    let path = format!("{POLICY}/{folder}/{name}");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn cases() -> Vec<Case> {
    serde_json::from_slice(&file("index.json")).unwrap()
}

pub(super) fn case(id: &str) -> Case {
    cases().into_iter().find(|case| case.id == id).unwrap()
}

/// What cosign 3.1.1 signed with private instances, one with each version of Rekor.
pub(super) fn private(version: u8) -> Case {
    let case = serde_json::json!({
        "id": format!("peers/cosign-3.1.1-rekor-v{version}"),
        "bundle": format!("../peers/cosign-3.1.1-rekor-v{version}.sigstore.json"),
        "identity": "https://ci.example/build",
        "issuer": "https://issuer.example",
        "expect": "pass",
        "trustedRoot": format!("peers/rekor-v{version}.root.json"),
        "digest": {"sha256": "7a65b2aef9ab2af1c0459d060e4e6bd07c1cb021f5da3bc0a619f10317079ab0"},
    });
    serde_json::from_value(case).unwrap()
}
