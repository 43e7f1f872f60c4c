//! Simple signing as cosign 2 and containers/image write it (cosign `SIGNATURE_SPEC.md`; containers/image
//! `docs/containers-signature.5.md`): a JSON payload as a layer, its signature in the layer's annotation.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{
    ClaimFault, ClaimedImage, Claims, DecodeFault, EXPIRES_FIELD, Format, Payload, Statement, UnverifiedSignature,
    expiry, json, legacy, statement,
};
use crate::image::{Content, Digest};

/// Annotation of the layer that holds the base64 signature.
pub(super) const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// `critical.type` of the payload.
const PAYLOAD_TYPE: &str = "cosign container image signature";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    critical: Critical,
    #[serde(default, deserialize_with = "json::unique", serialize_with = "null_when_empty")]
    optional: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    payload_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

/// cosign writes `null` where there are no annotations.
fn null_when_empty<S: serde::Serializer>(
    optional: &BTreeMap<String, serde_json::Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    Some(optional).filter(|optional| !optional.is_empty()).serialize(serializer)
}

/// The payload to sign.
pub(super) fn encode(statement: &Statement) -> Vec<u8> {
    let text = |value: &String| serde_json::Value::String(value.clone());
    let annotations = statement.annotations.iter().map(|(key, value)| (key.clone(), text(value)));
    let end = statement.expires.map(|expires| (EXPIRES_FIELD.to_owned(), text(&expires.to_string())));
    let document = Document {
        critical: Critical {
            identity: Identity { docker_reference: statement.name.clone() },
            image: Image { docker_manifest_digest: statement.image.digest.to_string() },
            payload_type: PAYLOAD_TYPE.to_owned(),
        },
        optional: annotations.chain(end).collect(),
    };
    // Serializing strings and maps with string keys into memory has no way to fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The signature as the annotation holds it.
pub(super) fn encode_signature(signature: &[u8]) -> String {
    STANDARD.encode(signature)
}

/// A layer and its annotation as a signature.
pub(super) fn decode(
    content: &Content,
    signature: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<UnverifiedSignature, DecodeFault> {
    let malformed = || DecodeFault::malformed(format!("the annotation `{SIGNATURE_ANNOTATION}` is not base64"));
    Ok(UnverifiedSignature {
        format: Format::SimpleSigning,
        content: content.digest(),
        is_large: super::is_large(content),
        key_hint: None,
        message: content.bytes().to_vec().into(),
        signature: STANDARD.decode(signature).map_err(|_| malformed())?,
        payload: Payload::SimpleSigning,
        material: Box::new(legacy::material(annotations)),
        timestamps: legacy::timestamps(annotations),
        timestamped: None,
    })
}

/// What a verified payload says.
pub(super) fn claims(payload: &[u8]) -> Result<Claims, ClaimFault> {
    let malformed = |problem: String| ClaimFault::Malformed { problem };
    let document: Document = serde_json::from_slice(payload).map_err(|error| malformed(error.to_string()))?;
    if document.critical.payload_type != PAYLOAD_TYPE {
        return Err(ClaimFault::PayloadType { found: document.critical.payload_type });
    }
    let digest: Digest =
        document.critical.image.docker_manifest_digest.parse().map_err(|e| malformed(format!("{e}")))?;
    let name = Some(document.critical.identity.docker_reference).filter(|name| !name.is_empty());
    let mut optional = document.optional;
    let expires = expiry(optional.remove(EXPIRES_FIELD).as_ref())?;
    let annotations = statement::texts(optional);
    Ok(Claims { images: vec![ClaimedImage { digests: vec![digest], name, annotations }], expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload of the recorded skopeo 1.18 signature.
    const SKOPEO: &str = r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:5555/demo/skopeo:v1"},"image":{"docker-manifest-digest":"sha256:7a65b2aef9ab2af1c0459d060e4e6bd07c1cb021f5da3bc0a619f10317079ab0"},"type":"cosign container image signature"},"optional":{"creator":"containers/image 5.34.2","timestamp":1795403199}}"#;

    #[test]
    fn a_real_payload_is_read() {
        let images = claims(SKOPEO.as_bytes()).unwrap().images;
        assert_eq!(images[0].name.as_deref(), Some("127.0.0.1:5555/demo/skopeo:v1"));
        assert_eq!(images[0].annotations.len(), 1);
    }

    #[test]
    fn what_is_encoded_claims_the_same_and_looks_like_cosigns() {
        let reference: crate::image::ImageReference = "r.example/app".parse().unwrap();
        let image = reference.pin(Digest::of(b""));
        let payload = encode(&Statement::about(&reference, &image, BTreeMap::new()));
        assert!(String::from_utf8_lossy(&payload).ends_with(r#""optional":null}"#));
        assert_eq!(claims(&payload).unwrap().images[0].digests, [image.digest]);
    }

    #[test]
    fn must_not_read_claims_from_another_kind_of_document() {
        for bad in [
            SKOPEO.replace("cosign container image", "atomic container"),
            SKOPEO.replace(r#""optional""#, r#""extra":1,"optional""#),
            SKOPEO.replace(r#"{"identity""#, r#"{"more":1,"identity""#),
            SKOPEO.replace(r#""creator""#, r#""a":1,"a":2,"creator""#),
            SKOPEO.replace("sha256:7a65", "sha256:7a6"),
            SKOPEO.replace(r#""type""#, r#""type":"x","type""#),
            format!("{SKOPEO}{SKOPEO}"),
        ] {
            assert!(claims(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
