//! The index under the fallback tag (distribution-spec, "Referrers Tag Schema"): every entry that is there stays, ours
//! is added with its right type, and what another writer overwrites is written again.

use std::time::{Duration, Instant};

use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Descriptor, ImageReference, Index, PinnedImage, Tag, media_type};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;
use serde_json::Value;

use super::{AttachError, MAX_ATTEMPTS};
use crate::registry::Shared;
use crate::transport::jitter;

/// The pause before an overwritten tag is written again, once for each attempt: writers spread out.
const PAUSE: Duration = Duration::from_millis(40);

/// Lists an entry in the fallback index of a subject. True when it was listed before.
pub(super) async fn list_in_fallback(
    shared: &Shared,
    subject: &PinnedImage,
    entry: &Descriptor,
    deadline: Instant,
) -> Result<bool, AttachError> {
    let tag = subject.digest.fallback_tag();
    let image = ImageReference::tagged(subject.repository.clone(), tag.clone());
    let _turn = shared.take_turn(&image, deadline).await.map_err(AttachError::Read)?;
    for attempt in 0..MAX_ATTEMPTS {
        let existing = read(shared, &image, deadline).await?;
        let Some(bytes) = with_entry(existing.as_deref(), entry, &tag)? else { return Ok(attempt == 0) };
        if attempt > 0 {
            tokio::time::sleep(jitter(PAUSE * attempt)).await;
        }
        shared.push_manifest(&image, media_type::OCI_INDEX, &bytes, deadline).await?;
        // Registries have no compare-and-swap: only reading tells whether another writer was faster.
        let now = read(shared, &image, deadline).await?;
        if with_entry(now.as_deref(), entry, &tag)?.is_none() {
            return Ok(false);
        }
    }
    Err(AttachError::Overwritten { tag, attempts: MAX_ATTEMPTS })
}

/// The document under a tag; `None` when there is none.
pub(super) async fn read(
    shared: &Shared,
    image: &ImageReference,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, AttachError> {
    match shared.fetch_manifest(image, deadline).await {
        Observation::Found(fetched) => Ok(Some(fetched.content.bytes().to_vec())),
        Observation::Absent => Ok(None),
        Observation::Unknown(cause) => Err(AttachError::Read(cause)),
    }
}

/// The index with the entry in it; `None` when it is in it already. Fields that we do not know stay as they are.
fn with_entry(existing: Option<&[u8]>, entry: &Descriptor, tag: &Tag) -> Result<Option<Vec<u8>>, AttachError> {
    let Some(existing) = existing else {
        return Ok(Some(Index::new(vec![entry.clone()]).encode()));
    };
    let unreadable = |problem: String| AttachError::Existing { tag: tag.clone(), problem };
    let index = Index::parse(existing).map_err(|error| unreadable(error.to_string()))?;
    if index.manifests.iter().any(|known| known.digest == entry.digest) {
        return Ok(None);
    }
    let mut document: Value = serde_json::from_slice(existing).map_err(|error| unreadable(error.to_string()))?;
    let added = serde_json::to_value(entry).map_err(|error| unreadable(error.to_string()))?;
    match document.get_mut("manifests") {
        Some(Value::Array(manifests)) => manifests.push(added),
        Some(manifests @ Value::Null) => *manifests = Value::Array(vec![added]),
        _ => return Err(unreadable("it has no list of manifests".to_owned())),
    }
    let bytes = serde_json::to_vec(&document).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() > MAX_MANIFEST_BYTES {
        let problem = format!("with one more entry it would have more than {MAX_MANIFEST_BYTES} bytes");
        return Err(AttachError::Full { tag: tag.clone(), problem });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_lose_an_entry_or_a_field_of_another_writer() {
        let tag: Tag = "sha256-x".parse().unwrap();
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"ours");
        entry.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
        let theirs = Descriptor::of(media_type::OCI_MANIFEST, b"theirs");
        let existing = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":6,"urls":["https://x.example/"]}}],"x":1}}"#,
            media_type::OCI_INDEX,
            media_type::OCI_MANIFEST,
            theirs.digest
        );
        let bytes = with_entry(Some(existing.as_bytes()), &entry, &tag).unwrap().unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["x"], 1);
        assert_eq!(document["manifests"][0]["urls"][0], "https://x.example/");
        assert_eq!(document["manifests"][1]["artifactType"], media_type::SIGSTORE_BUNDLE);
        assert_eq!(with_entry(Some(&bytes), &entry, &tag).unwrap(), None);
        let first = with_entry(None, &entry, &tag).unwrap().unwrap();
        assert_eq!(Index::parse(&first).unwrap().manifests, [entry.clone()]);
        let null = br#"{"schemaVersion":2,"manifests":null}"#;
        assert!(with_entry(Some(null), &entry, &tag).unwrap().is_some());
    }

    #[test]
    fn must_not_overwrite_what_is_no_index() {
        let tag: Tag = "sha256-x".parse().unwrap();
        let entry = Descriptor::of(media_type::OCI_MANIFEST, b"ours");
        for existing in [&b"{}"[..], b"<html>", br#"{"schemaVersion":2,"layers":[]}"#] {
            let error = with_entry(Some(existing), &entry, &tag).unwrap_err();
            assert!(matches!(error, AttachError::Existing { .. }), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
