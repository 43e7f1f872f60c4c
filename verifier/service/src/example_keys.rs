//! The throw-away keys of `keys-example/`. Everybody has their private halves, so they are refused by fingerprint.

use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verify::KeyId;

/// Their key ids; the file `keys-example/FINGERPRINTS` says the same, and a test compares them.
pub const EXAMPLE_KEYS: &[&str] = &[];

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
        let example = key(include_bytes!("../../../policy/testdata/cosign.pub"));
        let other = key(include_bytes!("../../../policy/testdata/skopeo.pub"));
        let id = example.id();
        let examples = [id.to_string()];
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        assert_eq!(among(&TrustSnapshot::for_keys(vec![example, other.clone()]), &examples), [id]);
        assert_eq!(among(&TrustSnapshot::for_keys(vec![other]), &examples), []);
    }

    #[test]
    fn the_list_holds_key_ids() {
        assert!(EXAMPLE_KEYS.iter().all(|id| KeyId::parse(id).is_some()));
    }
}
