//! The throw-away keys of `keys-example/`. Everybody has their private halves, so they are refused by fingerprint.

use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verify::KeyId;

/// Their key ids; the file `keys-example/FINGERPRINTS` says the same, and a test compares them.
pub const EXAMPLE_KEYS: &[&str] = &[];

/// The example keys that some documents name, at most once each.
#[must_use]
pub fn among(trust: &TrustSnapshot) -> Vec<KeyId> {
    let authorities = trust.documents().iter().flat_map(|document| &document.authorities);
    let mut found: Vec<_> = authorities.flat_map(|authority| &authority.keys).map(|key| key.key.id()).collect();
    found.retain(|id| EXAMPLE_KEYS.contains(&id.to_string().as_str()));
    found.sort();
    found.dedup();
    found
}
