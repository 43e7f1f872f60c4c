//! cosign 2's simple signing: a manifest under the tag `sha256-<hex>.sig` with one layer for each signature. Layers
//! are added, never dropped; the configuration lists them as cosign's does.

use std::time::{Duration, Instant};

use futures_util::future::try_join;
use hallmark_policy::evidence::Place;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, PinnedImage, Tag, media_type};
use hallmark_policy::limits::{MAX_INLINE_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURES};
use serde_json::{Value, json};

use super::fallback_index::read;
use super::{AttachError, Attached, MAX_ATTEMPTS};
use crate::push::PushError;
use crate::registry::Shared;
use crate::transport::jitter;

/// Where the signature over a layer's bytes is kept (cosign's specification, "Storage").
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The time that cosign writes, so that equal contents have equal digests.
const EPOCH: &str = "0001-01-01T00:00:00Z";
/// The pause before an overwritten tag is written again, once for each attempt.
const PAUSE: Duration = Duration::from_millis(40);

/// Attaches a payload and its signature.
pub(crate) async fn attach_simple_signing(
    shared: &Shared,
    subject: &PinnedImage,
    payload: &[u8],
    signature_base64: &str,
    deadline: Instant,
) -> Result<Attached, AttachError> {
    let repository = &subject.repository;
    let tag = subject.digest.signature_tag();
    let image = ImageReference::tagged(repository.clone(), tag.clone());
    let mut inlined = payload.len() <= MAX_INLINE_BYTES && !shared.capabilities.refuses_inline(repository.host());
    let mut was_refused = false;
    let mut is_pushed = false;
    let _turn = shared.take_turn(&image, deadline).await.map_err(AttachError::Read)?;
    for attempt in 0..MAX_ATTEMPTS {
        let existing = read(shared, &image, deadline).await?;
        if let Some(manifest) = holds(existing.as_deref(), payload, signature_base64) {
            return Ok(attached(manifest, attempt == 0, inlined));
        }
        if attempt > 0 {
            tokio::time::sleep(jitter(PAUSE * attempt)).await;
        }
        let (config, bytes) = with_layer(existing.as_deref(), payload, signature_base64, inlined, &tag)?;
        let push_config = shared.push_blob(repository, &config, deadline);
        if is_pushed {
            push_config.await?;
        } else {
            try_join(push_config, shared.push_blob(repository, payload, deadline)).await?;
            is_pushed = true;
        }
        match shared.push_manifest(&image, media_type::OCI_MANIFEST, &bytes, deadline).await {
            // Only now it is known that the `data` was what the registry refused.
            Ok(_) if was_refused => shared.capabilities.remember_no_inline(repository.host()),
            Ok(_) => {}
            Err(PushError::Refused { .. }) if inlined => {
                inlined = false;
                was_refused = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        // Registries have no compare-and-swap: only reading tells whether another writer was faster.
        let now = read(shared, &image, deadline).await?;
        if let Some(manifest) = holds(now.as_deref(), payload, signature_base64) {
            return Ok(attached(manifest, false, inlined));
        }
    }
    Err(AttachError::Overwritten { tag, attempts: MAX_ATTEMPTS })
}

fn attached(manifest: Digest, already_there: bool, inlined: bool) -> Attached {
    Attached { manifest, place: Place::SignatureTag, already_there, inlined }
}

/// The digest of the manifest, when it has a layer with this very payload and signature.
fn holds(existing: Option<&[u8]>, payload: &[u8], signature_base64: &str) -> Option<Digest> {
    let existing = existing?;
    let manifest = Manifest::parse(existing).ok()?;
    let digest = Digest::of(payload);
    let is_ours = |layer: &Descriptor| {
        layer.digest == digest && layer.annotations.get(SIGNATURE).is_some_and(|known| known == signature_base64)
    };
    manifest.layers.iter().any(is_ours).then(|| Digest::of(existing))
}

/// The configuration and the manifest with one more layer. Fields that we do not know stay as they are.
fn with_layer(
    existing: Option<&[u8]>,
    payload: &[u8],
    signature_base64: &str,
    inlined: bool,
    tag: &Tag,
) -> Result<(Vec<u8>, Vec<u8>), AttachError> {
    let unreadable = |problem: String| AttachError::Existing { tag: tag.clone(), problem };
    let full = |problem: String| AttachError::Full { tag: tag.clone(), problem };
    let layer = Descriptor::of(media_type::SIMPLE_SIGNING, payload);
    let mut layer = if inlined { layer.with_data(payload) } else { layer };
    layer.annotations.insert(SIGNATURE.to_owned(), signature_base64.to_owned());
    let layers = match existing {
        None => Vec::new(),
        Some(bytes) => Manifest::parse(bytes).map_err(|error| unreadable(error.to_string()))?.layers,
    };
    if layers.len() >= MAX_SIGNATURES {
        return Err(full(format!(
            "it has {} signatures, and no more than {MAX_SIGNATURES} are looked at",
            layers.len()
        )));
    }
    let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).chain([layer.digest]).collect();
    let config = config(&digests);
    let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    let bytes = match existing {
        None => Manifest::new(config_descriptor, vec![layer]).encode(),
        Some(bytes) => {
            let mut document: Value = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
            let value = |descriptor: &Descriptor| {
                serde_json::to_value(descriptor).map_err(|error| unreadable(error.to_string()))
            };
            let (config_value, layer_value) = (value(&config_descriptor)?, value(&layer)?);
            let Some(Value::Array(layers)) = document.get_mut("layers") else {
                return Err(unreadable("it has no list of layers".to_owned()));
            };
            layers.push(layer_value);
            let Some(fields) = document.as_object_mut() else {
                return Err(unreadable("it is not a JSON object".to_owned()));
            };
            fields.insert("config".to_owned(), config_value);
            serde_json::to_vec(&document).map_err(|error| unreadable(error.to_string()))?
        }
    };
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(full(format!("with one more signature it would have more than {MAX_MANIFEST_BYTES} bytes")));
    }
    Ok((config, bytes))
}

/// An image configuration with nothing in it but the layers, as cosign 2 writes it.
fn config(layers: &[Digest]) -> Vec<u8> {
    let history: Vec<Value> = layers.iter().map(|_| json!({"created": EPOCH})).collect();
    json!({
        "architecture": "",
        "created": EPOCH,
        "history": history,
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": layers},
        "config": {},
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_added_and_recognised_and_nothing_is_dropped() {
        let tag: Tag = "sha256-x.sig".parse().unwrap();
        let (config, first) = with_layer(None, b"payload", "c2ln", true, &tag).unwrap();
        assert_eq!(holds(Some(&first), b"payload", "c2ln"), Some(Digest::of(&first)));
        assert_eq!(holds(Some(&first), b"payload", "b3RoZXI="), None);
        assert_eq!(holds(None, b"payload", "c2ln"), None);
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([Digest::of(b"payload")]));
        let mut annotated: Value = serde_json::from_slice(&first).unwrap();
        annotated["layers"][0]["annotations"]["dev.sigstore.cosign/certificate"] = json!("pem");
        annotated["x"] = json!(1);
        let (config, second) =
            with_layer(Some(&serde_json::to_vec(&annotated).unwrap()), b"payload", "b3RoZXI=", false, &tag).unwrap();
        let document: Value = serde_json::from_slice(&second).unwrap();
        assert_eq!(document["layers"][0], annotated["layers"][0]);
        assert_eq!(document["x"], 1);
        let manifest = Manifest::parse(&second).unwrap();
        assert_eq!(manifest.layers.len(), 2);
        assert_eq!(manifest.config.digest, Digest::of(&config));
        assert!(
            holds(Some(&second), b"payload", "c2ln").is_some()
                && holds(Some(&second), b"payload", "b3RoZXI=").is_some()
        );
    }

    #[test]
    fn must_not_overwrite_what_is_no_manifest_or_is_full() {
        let tag: Tag = "sha256-x.sig".parse().unwrap();
        let error = with_layer(Some(b"<html>"), b"p", "s", true, &tag).unwrap_err();
        assert!(matches!(error, AttachError::Existing { .. }), "{error}");
        let layers = vec![Descriptor::of(media_type::SIMPLE_SIGNING, b"p"); MAX_SIGNATURES];
        let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), layers);
        let error = with_layer(Some(&manifest.encode()), b"q", "s", true, &tag).unwrap_err();
        assert!(matches!(error, AttachError::Full { .. }), "{error}");
        manifest.layers.pop();
        assert!(with_layer(Some(&manifest.encode()), b"q", "s", true, &tag).is_ok());
    }
}
