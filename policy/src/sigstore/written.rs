//! Bundles that are written here: a signature, who made it, and what logs and timestamp authorities answered about it.
//!
//! The writing half of the adapter over `sigstore-types` (the reading half is `signature/bundle.rs`). Nothing is
//! verified here: what was written is read back and verified before it goes anywhere ([`super::verify_own_bundle`]).

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;
use sigstore_types as wire;

use crate::limits;
use crate::verify::PublicKey;

/// Who made a signature, as a bundle says it.
#[derive(Debug, Clone, Copy)]
pub enum BundleMaker<'a> {
    /// The key of this certificate, in DER.
    Certificate(&'a [u8]),
    /// A key that the verifier must know.
    Key(&'a PublicKey),
}

/// What was signed, as a bundle holds it.
#[derive(Debug, Clone, Copy)]
pub enum BundleContent<'a> {
    /// A DSSE envelope.
    Envelope {
        /// The type of the payload.
        payload_type: &'a str,
        /// The payload.
        payload: &'a [u8],
    },
    /// An artifact, of which the bundle holds the SHA-256.
    Message(&'a [u8]),
}

/// An entry of a transparency log, as the log answered it: well-formed, nothing verified.
#[derive(Debug, Clone, PartialEq)]
pub struct LogAnswer(wire::TransparencyLogEntry);

/// The answer of Rekor, version 1 (Rekor API, `LogEntry`): one entry under its name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerV1 {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: VerificationV1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationV1 {
    inclusion_proof: ProofV1,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofV1 {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KindOnly {
    api_version: String,
    kind: String,
}

impl LogAnswer {
    /// Reads the answer of a log that speaks version 1 of Rekor's API.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn of_rekor_v1(answer: &[u8]) -> Result<Self, String> {
        let unreadable = |error: serde_json::Error| format!("it cannot be read: {error}");
        let entries: std::collections::BTreeMap<String, AnswerV1> =
            serde_json::from_slice(answer).map_err(unreadable)?;
        let mut entries = entries.into_values();
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            return Err("it does not hold exactly one entry".to_owned());
        };
        let body = decode(&entry.body, "body")?;
        let kind: KindOnly = serde_json::from_slice(&body).map_err(unreadable)?;
        let proof = entry.verification.inclusion_proof;
        let hashes = proof.hashes.iter().map(|hash| base64_of_hex(hash)).collect::<Result<Vec<_>, _>>()?;
        // The same message in the form of a bundle (protobuf-specs, `TransparencyLogEntry`).
        let entry = json!({
            "logIndex": entry.log_index.to_string(),
            "logId": {"keyId": base64_of_hex(&entry.log_id)?},
            "kindVersion": {"kind": kind.kind, "version": kind.api_version},
            "integratedTime": entry.integrated_time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": entry.verification.signed_entry_timestamp},
            "inclusionProof": {
                "logIndex": proof.log_index.to_string(),
                "rootHash": base64_of_hex(&proof.root_hash)?,
                "treeSize": proof.tree_size.to_string(),
                "hashes": hashes,
                "checkpoint": {"envelope": proof.checkpoint},
            },
            "canonicalizedBody": entry.body,
        });
        serde_json::from_value(entry).map(Self).map_err(unreadable)
    }

    /// Reads the answer of a log that speaks version 2 of Rekor's API: a `TransparencyLogEntry` of protobuf-specs.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn of_rekor_v2(answer: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(answer).map(Self).map_err(|error| format!("it cannot be read: {error}"))
    }

    /// The same entry without what the log says of the time. It is for entries that come after the certificate has
    /// ended: their proof still says that the log holds them, and somebody else says when the signature was made.
    #[must_use]
    pub fn without_time(mut self) -> Self {
        self.0.integrated_time = None;
        self.0.inclusion_promise = None;
        self
    }
}

/// A bundle of version 0.3.
///
/// # Errors
/// What cannot be written, as a clause: more entries or timestamps than a verifier looks at.
pub fn write_bundle(
    content: BundleContent<'_>,
    signature: &[u8],
    maker: BundleMaker<'_>,
    entries: Vec<LogAnswer>,
    timestamps: Vec<Vec<u8>>,
) -> Result<Vec<u8>, String> {
    if entries.len() > limits::MAX_LOG_ENTRIES || timestamps.len() > limits::MAX_TIMESTAMPS {
        return Err("it would have more entries or timestamps than a verifier looks at".to_owned());
    }
    let maker = match maker {
        BundleMaker::Certificate(der) => wire::VerificationMaterialContent::Certificate(wire::CertificateContent::new(
            wire::DerCertificate::from_bytes(der),
        )),
        BundleMaker::Key(key) => {
            wire::VerificationMaterialContent::PublicKey(wire::PublicKeyIdentifier::new(key.id().hint()))
        }
    };
    let mut material = wire::VerificationMaterial::new(maker);
    material.tlog_entries = entries.into_iter().map(|entry| entry.0).collect();
    material.timestamp_verification_data.rfc3161_timestamps = timestamps
        .into_iter()
        .map(|response| wire::Rfc3161Timestamp::new(wire::TimestampToken::new(response)))
        .collect();
    let signature = wire::SignatureBytes::from_bytes(signature);
    let content = match content {
        BundleContent::Envelope { payload_type, payload } => {
            let signature = wire::DsseSignature::new(signature, wire::KeyId::default());
            let payload = wire::PayloadBytes::from_bytes(payload);
            wire::SignatureContent::DsseEnvelope(wire::DsseEnvelope::new(payload_type, payload, signature))
        }
        BundleContent::Message(artifact) => {
            let hash = wire::DigestBytes::new(digest(&SHA256, artifact).as_ref().to_vec());
            let hash = wire::MessageDigest::new(wire::HashAlgorithm::Sha2256, hash);
            wire::SignatureContent::MessageSignature(wire::MessageSignature::new(signature).with_message_digest(hash))
        }
    };
    let bundle = wire::Bundle::new(wire::MediaType::Bundle0_3, material, content);
    bundle.to_json().map(String::into_bytes).map_err(|error| error.to_string())
}

fn decode(base64: &str, what: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .map_err(|error| format!("its {what} is not base64: {error}"))
}

fn base64_of_hex(hex: &str) -> Result<String, String> {
    use base64::Engine as _;
    let bytes = hex::decode(hex).map_err(|error| format!("it holds something that is not hex: {error}"))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "191ee98e27cfa0f11fe98023e66d9d99f2a4c3661f3af4ab084feff308fe3236";

    const CHECKPOINT: &str = "127.0.0.1:43173 - 76791704287974\n1\nGR7pjifPoPEf6YAj5m2dmfKkw2YfOvSrCE/v8wj+MjY=\nTimestamp: 1795616227000000000\n\n\u{2014} 127.0.0.1:43173 ikBOlTBGAiEAvjmvLw5My6ihlhd7kBZCVncaVPQA2qxhjnQTwgQ/3GECIQDA/8hTA60T4d5r0IaT5TgZSCwaIKTpHyv0QKET6/cIpg==\n";

    fn answer() -> serde_json::Value {
        json!({"c3ce": {
            "body": decode_back(r#"{"apiVersion":"0.0.1","kind":"dsse","spec":{}}"#),
            "integratedTime": 1_795_616_227_i64,
            "logID": HASH,
            "logIndex": 9_124_877,
            "verification": {
                "inclusionProof": {
                    "checkpoint": CHECKPOINT,
                    "hashes": [HASH], "logIndex": 3, "rootHash": HASH, "treeSize": 4,
                },
                "signedEntryTimestamp": "AAAA",
            },
        }})
    }

    fn decode_back(text: &str) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn an_answer_of_the_first_rekor_becomes_the_entry_of_a_bundle() {
        let entry = LogAnswer::of_rekor_v1(answer().to_string().as_bytes()).unwrap();
        assert_eq!((entry.0.log_index.get(), entry.0.kind_version.kind()), (9_124_877, "dsse"));
        let proof = entry.0.inclusion_proof.as_ref().unwrap();
        assert_eq!((proof.log_index.get(), proof.tree_size, proof.hashes.len()), (3, 4, 1));
        assert!(entry.0.inclusion_promise.is_some() && entry.0.integrated_time.is_some());
        let late = entry.without_time();
        assert!(late.0.inclusion_promise.is_none() && late.0.integrated_time.is_none());
        assert!(late.0.inclusion_proof.is_some());
    }

    #[test]
    fn must_not_take_an_answer_that_is_not_one_entry() {
        let good = answer();
        for (pointer, bad) in [
            ("/c3ce/logID", json!("zz")),
            ("/c3ce/body", json!("not base64!")),
            ("/c3ce/verification/inclusionProof/rootHash", json!("00")),
            ("/c3ce/verification/inclusionProof/hashes/0", json!("xx")),
            ("/c3ce/verification", json!({})),
        ] {
            let mut answer = good.clone();
            *answer.pointer_mut(pointer).unwrap() = bad;
            assert!(LogAnswer::of_rekor_v1(answer.to_string().as_bytes()).is_err(), "{pointer}");
        }
        let mut two = good.clone();
        two["other"] = good["c3ce"].clone();
        for bad in [two.to_string(), "{}".to_owned(), "[]".to_owned(), String::new()] {
            assert!(LogAnswer::of_rekor_v1(bad.as_bytes()).is_err(), "{bad}");
            assert!(LogAnswer::of_rekor_v2(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
