//! DSSE envelopes by themselves (DSSE v1.0.2, "Data Structure"), as cosign 2 keeps attestations: layers of the manifest
//! under the tag `sha256-<hex>.att`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{DecodeFault, Format, Payload, UnverifiedSignature, dsse, json, legacy};
use crate::image::Content;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    #[serde(deserialize_with = "few")]
    signatures: Vec<Signature>,
}

/// Most signatures that are counted; more than one is one too many anyway.
const MAX_COUNTED: usize = 32;

fn few<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Signature>, D::Error> {
    json::at_most(deserializer, MAX_COUNTED).map(Option::unwrap_or_default)
}

#[derive(Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// An envelope with one signature, as cosign writes it: it names no key.
pub(super) fn encode(payload_type: &str, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![Signature { keyid: String::new(), sig: STANDARD.encode(signature) }],
    };
    // Serializing strings into memory has no way to fail.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// An envelope as a signature. The key that it names is not believed, not even as a hint: everybody writes another
/// kind of name there.
pub(super) fn decode(
    content: &Content,
    annotations: &BTreeMap<String, String>,
) -> Result<UnverifiedSignature, DecodeFault> {
    let malformed = |problem: String| DecodeFault::malformed(format!("not a DSSE envelope: {problem}"));
    let envelope: Envelope = serde_json::from_slice(content.bytes()).map_err(|error| malformed(error.to_string()))?;
    let [signature] = envelope.signatures.as_slice() else {
        return Err(malformed(format!("it has {} signatures instead of one", envelope.signatures.len())));
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| malformed(error.to_string()));
    let payload = decode(&envelope.payload)?;
    let timestamps = legacy::timestamps(annotations);
    Ok(UnverifiedSignature {
        format: Format::DsseEnvelope,
        content: content.digest(),
        is_large: super::is_large(content),
        key_hint: None,
        message: dsse::pre_authentication_encoding(&envelope.payload_type, &payload).into(),
        signature: decode(&signature.sig)?,
        payload: Payload::Dsse { payload_type: envelope.payload_type, length: payload.len() },
        material: Box::new(legacy::material(annotations)),
        // cosign 2 has the whole envelope timestamped, as it lies in the registry.
        timestamped: (!timestamps.is_empty()).then(|| content.bytes().to_vec()),
        timestamps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back() {
        let bytes = encode("text/x", b"payload", b"signature");
        let decoded = decode(&Content::named_by_itself(bytes), &BTreeMap::new()).unwrap();
        assert_eq!(decoded.signature(), b"signature");
        assert_eq!(decoded.message(), b"DSSEv1 6 text/x 7 payload");
    }

    #[test]
    fn must_not_read_an_envelope_in_two_ways() {
        let good = String::from_utf8(encode("t", b"p", b"s")).unwrap();
        for bad in [
            good.replace(r#""signatures":["#, r#""signatures":[{"sig":"AA=="},"#),
            good.replace(r#"[{"keyid":"","sig":"cw=="}]"#, "[]"),
            good.replace(r#""payload":"#, r#""payload":"AA==","payload":"#),
            good.replace("cw==", "c w"),
            good.replace("payloadType", "payloadtype"),
            format!("{good}x"),
        ] {
            assert_ne!(bad, good);
            assert!(decode(&Content::named_by_itself(bad.clone().into_bytes()), &BTreeMap::new()).is_err(), "{bad}");
        }
    }
}
