//! Sigstore bundles (Sigstore bundle format, versions 0.1 to 0.3) that hold a DSSE envelope.
//!
//! The one adapter over `sigstore-types`: its types give the wire format, ours give the meaning.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sigstore_types as wire;

use super::{DecodeFault, Format, Payload, UnverifiedSignature, dsse, json};
use crate::image::Content;
use crate::limits;
use crate::reason::Code;
use crate::sigstore::{Material, Signed, UnverifiedBundle, UnverifiedEntry, UnverifiedProof};
use crate::verify::{KeyId, PublicKey};

/// The members that decide what a bundle is. `sigstore-types` takes the first of several; a bundle that could be
/// read in two ways is not read at all.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    media_type: String,
    #[serde(borrow)]
    verification_material: MaterialShape<'a>,
    dsse_envelope: Option<EnvelopeShape>,
    message_signature: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct EnvelopeShape {
    #[serde(default, deserialize_with = "length")]
    payload: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MaterialShape<'a> {
    public_key: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<IgnoredAny>,
    timestamp_verification_data: Option<TimestampsShape>,
    #[serde(default, borrow, deserialize_with = "entries")]
    tlog_entries: Option<Vec<EntryShape<'a>>>,
}

/// One more than there may be, to see that there are too many: a large bundle must not become a larger list.
fn entries<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<EntryShape<'a>>>, D::Error> {
    json::first(deserializer, limits::MAX_LOG_ENTRIES + 1)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryShape<'a> {
    #[serde(borrow)]
    kind_version: Option<&'a RawValue>,
}

/// An entry's kind, as it is written.
#[derive(PartialEq, Eq, Deserialize)]
struct KindShape<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

impl EntryShape<'_> {
    /// Whether it is of the kind by which Rekor 2 enters envelopes, which `sigstore-types` does not know.
    fn is_dsse_v2(&self) -> bool {
        let kind = self.kind_version.and_then(|kind| serde_json::from_str::<KindShape<'_>>(kind.get()).ok());
        kind.is_some_and(|kind| kind.kind == "dsse" && kind.version == "0.0.2")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimestampsShape {
    rfc3161_timestamps: Option<Vec<IgnoredAny>>,
}

/// Whether a blob looks like a bundle, whatever its media type says.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sniff {
        verification_material: Option<IgnoredAny>,
        dsse_envelope: Option<IgnoredAny>,
        message_signature: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Sniff>(bytes).is_ok_and(|sniff| {
        sniff.verification_material.is_some() && (sniff.dsse_envelope.is_some() || sniff.message_signature.is_some())
    })
}

/// A bundle as a signature.
pub(super) fn decode(content: &Content) -> Result<UnverifiedSignature, DecodeFault> {
    let Read { bundle, dsse_v2 } = read(content.bytes())?;
    let wire::SignatureContent::DsseEnvelope(envelope) = bundle.content else {
        return Err(DecodeFault::unsupported("a bundle with a message signature instead of a DSSE envelope"));
    };
    let key_hint = match &bundle.verification_material.content {
        wire::VerificationMaterialContent::PublicKey(key) => KeyId::from_hint(&key.hint),
        _ => None,
    };
    let payload = envelope.payload.into_bytes();
    let (material, timestamps) = material(bundle.verification_material, &bundle.media_type, &dsse_v2)?;
    Ok(UnverifiedSignature {
        format: Format::SigstoreBundle,
        content: content.digest(),
        is_large: super::is_large(content),
        key_hint,
        message: dsse::pre_authentication_encoding(&envelope.payload_type, &payload).into(),
        signature: envelope.signature.sig.into_bytes(),
        payload: Payload::Dsse { payload_type: envelope.payload_type, length: payload.len() },
        material: Box::new(Ok(material)),
        timestamps,
        timestamped: None,
    })
}

/// A bundle as `sigstore-types` has it, and which of its entries are of the kind `dsse` 0.0.2.
struct Read {
    bundle: wire::Bundle,
    dsse_v2: Vec<bool>,
}

/// A bundle of a shape that can be read in one way only.
fn read(bytes: &[u8]) -> Result<Read, DecodeFault> {
    let malformed = |error: &dyn std::fmt::Display| DecodeFault::malformed(format!("not a Sigstore bundle: {error}"));
    let shape: Shape<'_> = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    check_shape(&shape)?;
    // Only the statement may be large: what else there is becomes many times its size while it is read.
    let payload = shape.dsse_envelope.as_ref().map_or(0, |envelope| envelope.payload);
    if bytes.len().saturating_sub(payload) > limits::MAX_SIGNATURE_BYTES {
        let detail =
            format!("a bundle of more than {} bytes beside its payload is not looked at", limits::MAX_SIGNATURE_BYTES);
        return Err(DecodeFault { code: Code::LimitExceeded, detail });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    let entries = shape.verification_material.tlog_entries.unwrap_or_default();
    let dsse_v2: Vec<bool> = entries.iter().map(EntryShape::is_dsse_v2).collect();
    let known = with_known_kinds(text, &entries, &dsse_v2);
    let bundle = wire::Bundle::from_json(&known).map_err(|error| malformed(&error))?;
    Ok(Read { bundle, dsse_v2 })
}

/// The text in which entries of the kind `dsse` 0.0.2 say that they are of one that `sigstore-types` knows: every other byte
/// is as it was, so that it is read as strictly.
fn with_known_kinds<'a>(text: &'a str, entries: &[EntryShape<'a>], dsse_v2: &[bool]) -> Cow<'a, str> {
    let mut known = Cow::Borrowed(text);
    // From the last to the first, so that those before stay where they are.
    for (entry, _) in entries.iter().zip(dsse_v2).filter(|(_, dsse_v2)| **dsse_v2).rev() {
        let Some(kind) = entry.kind_version.map(RawValue::get) else { continue };
        // It is a part of the text, so that this is where in the text it stands.
        let start = kind.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        let end = start.saturating_add(kind.len());
        if text.get(start..end) == Some(kind) {
            known.to_mut().replace_range(start..end, KNOWN_KIND);
        }
    }
    known
}

/// What `sigstore-types` is told in place of `dsse` 0.0.2; it is never looked at.
const KNOWN_KIND: &str = r#"{"kind":"hashedrekord","version":"0.0.2"}"#;

/// The length of a text, which is not kept.
fn length<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Length;
    impl serde::de::Visitor<'_> for Length {
        type Value = usize;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<usize, E> {
            Ok(text.len())
        }
    }
    deserializer.deserialize_str(Length)
}

/// A bundle with all that vouches for it.
pub(crate) fn read_whole(bytes: &[u8]) -> Result<UnverifiedBundle, DecodeFault> {
    let Read { bundle, dsse_v2 } = read(bytes)?;
    let (material, timestamps) = material(bundle.verification_material, &bundle.media_type, &dsse_v2)?;
    let signed = match bundle.content {
        wire::SignatureContent::DsseEnvelope(envelope) => Signed::Envelope {
            signature: envelope.signature.sig.into_bytes(),
            payload: envelope.payload.into_bytes(),
            payload_type: envelope.payload_type,
        },
        wire::SignatureContent::MessageSignature(message) => Signed::Message {
            signature: message.signature.into_bytes(),
            digest: message
                .message_digest
                .map(|digest| (digest.algorithm.as_rekor_str(), digest.digest.as_bytes().to_vec())),
        },
        _ => return Err(DecodeFault::unsupported("a bundle of this content")),
    };
    Ok(UnverifiedBundle { signed, material, timestamps })
}

/// What made a bundle's signature and who vouches for it: logs, and the responses of timestamp authorities.
fn material(
    material: wire::VerificationMaterial,
    version: &wire::MediaType,
    dsse_v2: &[bool],
) -> Result<(Material, Vec<Vec<u8>>), DecodeFault> {
    let certificate = match material.content {
        wire::VerificationMaterialContent::PublicKey(_) => None,
        wire::VerificationMaterialContent::Certificate(leaf) => Some(leaf.raw_bytes.into_bytes()),
        wire::VerificationMaterialContent::X509CertificateChain { certificates } => {
            let leaf = certificates.into_iter().next();
            let leaf = leaf.ok_or_else(|| DecodeFault::malformed("a chain without a certificate".to_owned()))?;
            Some(leaf.raw_bytes.into_bytes())
        }
        _ => return Err(DecodeFault::unsupported("a bundle of this material")),
    };
    let timestamps = material.timestamp_verification_data.rfc3161_timestamps;
    let timestamps = timestamps.into_iter().map(|timestamp| timestamp.signed_timestamp.into_bytes()).collect();
    let entries = material.tlog_entries.into_iter().enumerate();
    let entries = entries.map(|(place, read)| entry(read, dsse_v2.get(place).copied().unwrap_or_default())).collect();
    let promise_is_enough = matches!(version, wire::MediaType::Bundle0_1);
    Ok((Material { promise_is_enough, certificate, entries }, timestamps))
}

fn entry(entry: wire::TransparencyLogEntry, is_dsse_v2: bool) -> UnverifiedEntry {
    let (kind, version) = match is_dsse_v2 {
        true => ("dsse", "0.0.2"),
        false => (entry.kind_version.kind(), entry.kind_version.version()),
    };
    UnverifiedEntry {
        index: entry.log_index.get(),
        log: entry.log_id.key_id.into_bytes(),
        kind,
        version,
        time: entry.integrated_time,
        promise: entry.inclusion_promise.map(|promise| promise.signed_entry_timestamp.into_bytes()),
        proof: entry.inclusion_proof.map(|proof| UnverifiedProof {
            index: proof.log_index.get(),
            size: proof.tree_size,
            root: *proof.root_hash.as_bytes(),
            path: proof.hashes.iter().map(|hash| *hash.as_bytes()).collect(),
            checkpoint: proof.checkpoint.envelope().to_owned(),
        }),
        body: entry.canonicalized_body.into_bytes(),
    }
}

fn check_shape(shape: &Shape<'_>) -> Result<(), DecodeFault> {
    if shape.media_type.parse::<wire::MediaType>().is_err() {
        return Err(DecodeFault::unsupported("a bundle of an unknown version"));
    }
    let material = &shape.verification_material;
    let kinds = [&material.public_key, &material.certificate, &material.x509_certificate_chain];
    if kinds.into_iter().flatten().count() != 1 {
        return Err(DecodeFault::malformed("a bundle must hold exactly one of key, certificate and chain".to_owned()));
    }
    let timestamps = material.timestamp_verification_data.as_ref().and_then(|data| data.rfc3161_timestamps.as_ref());
    if timestamps.is_some_and(|timestamps| timestamps.len() > limits::MAX_TIMESTAMPS) {
        let detail = format!("a bundle of more than {} timestamps is not looked at", limits::MAX_TIMESTAMPS);
        return Err(DecodeFault { code: Code::LimitExceeded, detail });
    }
    if material.tlog_entries.as_ref().is_some_and(|entries| entries.len() > limits::MAX_LOG_ENTRIES) {
        let detail = format!("a bundle of more than {} log entries is not looked at", limits::MAX_LOG_ENTRIES);
        return Err(DecodeFault { code: Code::LimitExceeded, detail });
    }
    if shape.dsse_envelope.is_some() == shape.message_signature.is_some() {
        let problem = "a bundle must hold exactly one of DSSE envelope and message signature";
        return Err(DecodeFault::malformed(problem.to_owned()));
    }
    Ok(())
}

/// A bundle version 0.3 with a public-key hint.
pub(super) fn encode(
    payload_type: &str,
    payload: Vec<u8>,
    signature: &[u8],
    timestamps: Vec<Vec<u8>>,
    key: &PublicKey,
) -> Vec<u8> {
    let signature = wire::DsseSignature::new(wire::SignatureBytes::from_bytes(signature), wire::KeyId::default());
    let envelope = wire::DsseEnvelope::new(payload_type, wire::PayloadBytes::new(payload), signature);
    let hint = wire::PublicKeyIdentifier::new(key.id().hint());
    let mut material = wire::VerificationMaterial::new(wire::VerificationMaterialContent::PublicKey(hint));
    for response in timestamps {
        let timestamp = wire::Rfc3161Timestamp::new(wire::TimestampToken::new(response));
        material.timestamp_verification_data.rfc3161_timestamps.push(timestamp);
    }
    let content = wire::SignatureContent::DsseEnvelope(envelope);
    let bundle = wire::Bundle::new(wire::MediaType::Bundle0_3, material, content);
    // Serializing strings into memory has no way to fail; were it to, the empty blob would not verify.
    bundle.to_json().unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSIGN: &str = include_str!("../../testdata/cosign-3.1.1.bundle.json");

    fn decode_text(text: &str) -> Result<UnverifiedSignature, DecodeFault> {
        decode(&Content::named_by_itself(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_real_bundle_is_read() {
        let signature = decode_text(COSIGN).unwrap();
        assert_eq!(signature.key_hint().unwrap().hint(), "Nms9c5tq2E/ZSsdAMPMAZGMxekUBwhp0XciWgtEPPGg=");
        assert!(looks_like(COSIGN.as_bytes()));
    }

    #[test]
    fn must_not_keep_more_log_entries_of_a_bundle_than_show_that_there_are_too_many() {
        let (most, field) = (limits::MAX_LOG_ENTRIES, r#""verificationMaterial":{"#);
        for (count, kept) in [(0, 0), (most, most), (most + 1, most + 1), (1000, most + 1)] {
            let entries = vec!["{}"; count].join(",");
            let text = COSIGN.replace(field, &format!(r#"{field}"tlogEntries":[{entries}],"#));
            let shape: Shape<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(shape.verification_material.tlog_entries.as_ref().map(Vec::len), Some(kept), "{count}");
            let is_refused = check_shape(&shape).is_err_and(|fault| fault.code == Code::LimitExceeded);
            assert_eq!(is_refused, count > most, "{count}");
        }
    }

    #[test]
    fn must_not_read_a_bundle_that_can_be_read_in_two_ways() {
        let envelope = r#""dsseEnvelope":{"#;
        assert!(COSIGN.contains(envelope));
        for bad in [
            COSIGN.replace(envelope, r#""messageSignature":{"signature":"AA=="},"dsseEnvelope":{"#),
            COSIGN.replace(envelope, r#""dsseEnvelope":{},"dsseEnvelope":{"#),
            COSIGN.replace(r#""publicKey":{"#, r#""certificate":{"rawBytes":"AA=="},"publicKey":{"#),
            COSIGN.replace(r#""publicKey":{"#, r#""publicKey":{},"publicKey":{"#),
            COSIGN.replace(r#""payloadType":"#, r#""payloadType":"x","payloadType":"#),
            COSIGN.replace(r#""payload":"#, r#""payload":"AA==","payload":"#),
            COSIGN.replace(r#""signatures":["#, r#""signatures":[{"sig":"AA=="},"#),
            COSIGN.replace("v0.3+json", "v9.9+json"),
            COSIGN.replace(r#""mediaType":"#, r#""mediaTypf":"#),
        ] {
            assert_ne!(bad, COSIGN);
            assert!(decode_text(&bad).is_err(), "{bad}");
        }
    }
}
