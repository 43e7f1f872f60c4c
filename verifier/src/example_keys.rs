//! The throw-away keys of `keys-example/`. Everybody has their private halves, so they are refused by fingerprint.

use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verify::KeyId;

/// Their key ids; the file `keys-example/FINGERPRINTS` says the same, and a test compares them.
pub const EXAMPLE_KEYS: &[&str] = &[
    "a5caaec3f871cfb27c6efb367e1c865a9fd452ef2e56dbea6b8134db2860b3f3",
    "679b2047a0e36bef3075f1d2232b3749d8de0ddabbbc091a666107cdee0f9318",
];

/// The same as key ids.
#[must_use]
pub fn key_ids() -> Vec<KeyId> {
    EXAMPLE_KEYS.iter().filter_map(|id| KeyId::parse(id)).collect()
}

/// Those of `examples` that some documents name, each once.
#[must_use]
pub fn among(trust: &TrustSnapshot, examples: &[&str]) -> Vec<KeyId> {
    let authorities = trust.documents().iter().flat_map(|document| &document.authorities);
    let mut found: Vec<_> = authorities.flat_map(|authority| &authority.keys).map(|key| key.key.id()).collect();
    found.retain(|id| examples.contains(&id.to_string().as_str()));
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_policy::verify::PublicKey;

    #[test]
    fn an_example_key_is_known_by_its_fingerprint() {
        let key = |pem: &[u8]| PublicKey::parse(pem).unwrap();
        let example = key(include_bytes!("../../policy/testdata/cosign.pub"));
        let other = key(include_bytes!("../../policy/testdata/skopeo.pub"));
        let id = example.id();
        let examples = [id.to_string()];
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        assert_eq!(among(&TrustSnapshot::for_keys(vec![example, other.clone()]), &examples), [id]);
        assert_eq!(among(&TrustSnapshot::for_keys(vec![other]), &examples), []);
    }

    #[test]
    fn the_list_holds_key_ids() {
        assert_eq!(key_ids().len(), EXAMPLE_KEYS.len());
    }

    #[test]
    fn the_list_is_what_the_folder_says() {
        let written = include_str!("../../keys-example/FINGERPRINTS");
        let written: Vec<&str> = written.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(written, EXAMPLE_KEYS);
        for pem in
            [include_str!("../../keys-example/release-team.pub"), include_str!("../../keys-example/security-team.pub")]
        {
            assert!(key_ids().contains(&PublicKey::parse(pem.as_bytes()).unwrap().id()));
        }
    }
}
