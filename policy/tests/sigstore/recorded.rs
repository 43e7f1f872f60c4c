//! What was recorded.

use super::corpus::Case;

#[expect(clippy::disallowed_methods, reason = "the core reads no file; its tests do")]
pub(super) fn file(name: &str) -> Vec<u8> {
    let folder = if name.starts_with("trusted_root.") { "data" } else { "testdata/sigstore" };
    let path = format!("{}/{folder}/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn cases() -> Vec<Case> {
    serde_json::from_slice(&file("index.json")).unwrap()
}

pub(super) fn case(id: &str) -> Case {
    cases().into_iter().find(|case| case.id == id).unwrap()
}
