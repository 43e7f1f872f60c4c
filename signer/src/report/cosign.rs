//! What `cosign verify` prints for an image: a JSON list with one element for each signature that counts.

use hallmark_policy::signature::{Format, SIGNATURE_PREDICATE_TYPE};
use hallmark_policy::verdict::Verdict;
use serde_json::{Value, json};

/// The documents of an allowed image, in cosign's shape (simple signing's payload). Every value was verified.
pub(crate) fn cosign_documents(verdict: &Verdict) -> Value {
    let digest = verdict.pinned().map(|image| image.digest.to_string()).unwrap_or_default();
    let documents = verdict.proof().into_iter().map(|signature| {
        let kind = match signature.format() {
            Format::SigstoreBundle => SIGNATURE_PREDICATE_TYPE,
            Format::SimpleSigning | Format::Notation | Format::DsseEnvelope => "cosign container image signature",
        };
        json!({
            "critical": {
                "identity": {"docker-reference": signature.name().unwrap_or_default()},
                "image": {"docker-manifest-digest": digest},
                "type": kind,
            },
            "optional": signature.annotations(),
        })
    });
    Value::Array(documents.collect())
}
