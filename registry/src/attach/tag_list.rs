//! A document under a tag that is a list, and the union of what it has with what it must have. Nothing here asks a
//! registry.

use hallmark_policy::image::{Descriptor, Index, Manifest, Tag, media_type};
use hallmark_policy::limits::{MAX_MANIFEST_BYTES, MAX_SIGNATURES};
use serde_json::{Value, json};

use super::AttachError;

/// Where the signature over a layer's bytes is kept (cosign's specification, "Storage").
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The time that cosign writes, so that equal contents have equal digests.
const EPOCH: &str = "0001-01-01T00:00:00Z";

/// Which list of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// The layers of a manifest: cosign's `.sig`, `.att` and `.sbom` tags.
    Layers,
    /// The manifests of an index: the fallback tag.
    Manifests,
}

impl ListKind {
    fn field(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Manifests => "manifests",
        }
    }

    /// Whether two entries are the same one. A payload can be signed more than once, so that the signature counts.
    fn is_same(self, one: &Value, other: &Value) -> bool {
        let same_digest = one.get("digest") == other.get("digest");
        match self {
            Self::Manifests => same_digest,
            Self::Layers => same_digest && signature(one) == signature(other),
        }
    }
}

fn signature(entry: &Value) -> Option<&Value> {
    entry.get("annotations").and_then(|annotations| annotations.get(SIGNATURE))
}

/// What must be in the list under a tag.
#[derive(Debug, Clone)]
pub(crate) struct TagList {
    kind: ListKind,
    tag: Tag,
    /// What must be in it: ours first, then what was seen in it.
    entries: Vec<Value>,
    own: usize,
    was_stripped: bool,
    /// The document that is written where there is none.
    template: Option<Written>,
}

/// A document that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    /// The configuration that it names, which must be pushed first.
    pub(super) config: Option<Vec<u8>>,
}

impl TagList {
    /// A list that must have these entries.
    pub(crate) fn with(kind: ListKind, tag: Tag, entries: &[Descriptor]) -> Self {
        // Serializing strings, numbers and maps with string keys has no way to fail.
        let entries: Vec<Value> = entries.iter().map(|entry| serde_json::to_value(entry).unwrap_or_default()).collect();
        Self { kind, tag, own: entries.len(), entries, was_stripped: false, template: None }
    }

    /// The list of a manifest that stands elsewhere under the same tag: written as it is where there is none, and added
    /// to what is there otherwise. Its configuration and layers must be in the repository.
    pub(crate) fn like(tag: Tag, media_type: &str, bytes: &[u8]) -> Result<Self, AttachError> {
        let (_, entries) = parse(ListKind::Layers, &tag, bytes)?;
        let template = Written { bytes: bytes.to_vec(), media_type: media_type.to_owned(), config: None };
        let template = Some(template);
        Ok(Self { kind: ListKind::Layers, tag, own: 0, entries, was_stripped: false, template })
    }

    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }

    pub(super) fn is_inlined(&self) -> bool {
        self.entries.iter().take(self.own).any(|entry| entry.get("data").is_some())
    }

    pub(super) fn was_stripped(&self) -> bool {
        self.was_stripped
    }

    /// Takes the `data` out of our entries. False when there was none.
    pub(super) fn strip_data(&mut self) -> bool {
        let mut stripped = false;
        for entry in self.entries.iter_mut().take(self.own).filter_map(Value::as_object_mut) {
            stripped |= entry.remove("data").is_some();
        }
        self.was_stripped |= stripped;
        stripped
    }

    /// The document with every entry in it; `None` when the existing one has them. What is seen is remembered.
    pub(crate) fn written(&mut self, existing: Option<&[u8]>) -> Result<Option<Written>, AttachError> {
        let (document, present) = match existing {
            None => (None, Vec::new()),
            Some(bytes) => {
                let (document, present) = parse(self.kind, &self.tag, bytes)?;
                (Some(document), present)
            }
        };
        for entry in &present {
            if !self.entries.iter().any(|known| self.kind.is_same(known, entry)) {
                self.entries.push(entry.clone());
            }
        }
        let missing: Vec<&Value> =
            self.entries.iter().filter(|entry| !present.iter().any(|have| self.kind.is_same(have, entry))).collect();
        if missing.is_empty() && existing.is_some() {
            return Ok(None);
        }
        if self.kind == ListKind::Layers && present.len() + missing.len() > MAX_SIGNATURES {
            let problem =
                format!("it has {} signatures, and no more than {MAX_SIGNATURES} are looked at", present.len());
            return Err(AttachError::Full { tag: self.tag.clone(), problem });
        }
        let written = match (document, &self.template) {
            (None, Some(template)) if self.entries.len() == missing.len() => template.clone(),
            (None, _) => self.new_document()?,
            (Some(document), _) => self.extended(document, &present, &missing)?,
        };
        if written.bytes.len() > MAX_MANIFEST_BYTES {
            let problem = format!("with one more entry it would have more than {MAX_MANIFEST_BYTES} bytes");
            return Err(AttachError::Full { tag: self.tag.clone(), problem });
        }
        Ok(Some(written))
    }

    /// A document of our own making.
    fn new_document(&self) -> Result<Written, AttachError> {
        let parsed: Result<Vec<Descriptor>, _> = self.entries.iter().cloned().map(serde_json::from_value).collect();
        let entries = parsed.map_err(|error| self.unreadable(&error))?;
        Ok(match self.kind {
            ListKind::Manifests => Written {
                bytes: Index::new(entries).encode(),
                media_type: media_type::OCI_INDEX.to_owned(),
                config: None,
            },
            ListKind::Layers => {
                let config = config(entries.iter().map(|entry| entry.digest.to_string()));
                let described = Descriptor::of(media_type::OCI_CONFIG, &config);
                let bytes = Manifest::new(described, entries).encode();
                Written { bytes, media_type: media_type::OCI_MANIFEST.to_owned(), config: Some(config) }
            }
        })
    }

    /// The existing document with more entries. Fields that we do not know stay as they are.
    fn extended(&self, mut document: Value, present: &[Value], missing: &[&Value]) -> Result<Written, AttachError> {
        let by_kind = match self.kind {
            ListKind::Manifests => media_type::OCI_INDEX,
            ListKind::Layers => media_type::OCI_MANIFEST,
        };
        let media_type = document.get("mediaType").and_then(Value::as_str).unwrap_or(by_kind).to_owned();
        let Some(fields) = document.as_object_mut() else {
            return Err(AttachError::Existing { tag: self.tag.clone(), problem: "it is not an object".to_owned() });
        };
        let all: Vec<Value> = present.iter().chain(missing.iter().copied()).cloned().collect();
        let digests = all.iter().filter_map(|entry| entry.get("digest")?.as_str()).map(str::to_owned);
        let config = match self.kind {
            ListKind::Manifests => None,
            ListKind::Layers => {
                let config = config(digests);
                let described = serde_json::to_value(Descriptor::of(media_type::OCI_CONFIG, &config));
                fields.insert("config".to_owned(), described.map_err(|error| self.unreadable(&error))?);
                Some(config)
            }
        };
        fields.insert(self.kind.field().to_owned(), Value::Array(all));
        let bytes = serde_json::to_vec(&document).map_err(|error| self.unreadable(&error))?;
        Ok(Written { bytes, media_type, config })
    }

    fn unreadable(&self, error: &serde_json::Error) -> AttachError {
        AttachError::Existing { tag: self.tag.clone(), problem: error.to_string() }
    }
}

/// A document that is there, as it is, and its entries.
fn parse(kind: ListKind, tag: &Tag, bytes: &[u8]) -> Result<(Value, Vec<Value>), AttachError> {
    let unreadable = |problem: String| AttachError::Existing { tag: tag.clone(), problem };
    let checked = match kind {
        ListKind::Manifests => Index::parse(bytes).map(drop),
        ListKind::Layers => Manifest::parse(bytes).map(drop),
    };
    checked.map_err(|error| unreadable(error.to_string()))?;
    let document: Value = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    let entries = match document.get(kind.field()) {
        Some(Value::Array(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    Ok((document, entries))
}

/// An image configuration with nothing in it but the layers, as cosign 2 writes it.
fn config(layers: impl Iterator<Item = String>) -> Vec<u8> {
    let layers: Vec<String> = layers.collect();
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
    use hallmark_policy::image::Digest;

    use super::*;

    fn digests(bytes: &[u8], kind: ListKind) -> Vec<Digest> {
        let entries = parse(kind, &tag(), bytes).unwrap().1;
        entries.iter().map(|entry| entry["digest"].as_str().unwrap().parse().unwrap()).collect()
    }

    fn tag() -> Tag {
        "sha256-x".parse().unwrap()
    }

    fn signed(payload: &[u8], signature: &str) -> Descriptor {
        let mut layer = Descriptor::of(media_type::SIMPLE_SIGNING, payload).with_data(payload);
        layer.annotations.insert(SIGNATURE.to_owned(), signature.to_owned());
        layer
    }

    fn layers(entries: &[Descriptor]) -> TagList {
        TagList::with(ListKind::Layers, tag(), entries)
    }

    fn manifests(entries: &[Descriptor]) -> TagList {
        TagList::with(ListKind::Manifests, tag(), entries)
    }

    #[test]
    fn must_not_lose_an_entry_or_a_field_of_another_writer() {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"ours");
        entry.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
        let theirs = Descriptor::of(media_type::OCI_MANIFEST, b"theirs");
        let existing = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":6,"urls":["https://x.example/"]}}],"x":1}}"#,
            media_type::OCI_INDEX,
            media_type::OCI_MANIFEST,
            theirs.digest
        );
        let mut list = manifests(std::slice::from_ref(&entry));
        let bytes = list.written(Some(existing.as_bytes())).unwrap().unwrap().bytes;
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["x"], 1);
        assert_eq!(document["manifests"][0]["urls"][0], "https://x.example/");
        assert_eq!(document["manifests"][1]["artifactType"], media_type::SIGSTORE_BUNDLE);
        assert_eq!(list.written(Some(&bytes)).unwrap(), None);
        // Another writer overwrites it with a list that has neither: what was seen is put back.
        let other = Index::new(vec![Descriptor::of(media_type::OCI_MANIFEST, b"third")]).encode();
        let repaired = list.written(Some(&other)).unwrap().unwrap().bytes;
        assert_eq!(digests(&repaired, ListKind::Manifests).len(), 3);
        let first = manifests(std::slice::from_ref(&entry)).written(None).unwrap().unwrap();
        assert_eq!(Index::parse(&first.bytes).unwrap().manifests, [entry.clone()]);
        let null = br#"{"schemaVersion":2,"manifests":null}"#;
        assert!(manifests(&[entry]).written(Some(null)).unwrap().is_some());
    }

    #[test]
    fn signatures_are_added_and_recognised_and_nothing_is_dropped() {
        let first = layers(&[signed(b"payload", "c2ln")]).written(None).unwrap().unwrap();
        assert_eq!(layers(&[signed(b"payload", "c2ln")]).written(Some(&first.bytes)).unwrap(), None);
        let config: Value = serde_json::from_slice(first.config.as_deref().unwrap()).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([Digest::of(b"payload")]));
        let mut annotated: Value = serde_json::from_slice(&first.bytes).unwrap();
        annotated["layers"][0]["annotations"]["dev.sigstore.cosign/certificate"] = json!("pem");
        annotated["x"] = json!(1);
        let existing = serde_json::to_vec(&annotated).unwrap();
        let second = layers(&[signed(b"payload", "b3RoZXI=")]).written(Some(&existing)).unwrap().unwrap();
        let document: Value = serde_json::from_slice(&second.bytes).unwrap();
        assert_eq!(document["layers"][0], annotated["layers"][0]);
        assert_eq!(document["x"], 1);
        let manifest = Manifest::parse(&second.bytes).unwrap();
        assert_eq!(manifest.layers.len(), 2);
        assert_eq!(manifest.config.digest, Digest::of(second.config.as_deref().unwrap()));
    }

    #[test]
    fn must_not_overwrite_what_is_no_list_or_is_full() {
        for existing in [&b"{}"[..], b"<html>", br#"{"schemaVersion":2,"layers":[]}"#] {
            let error = manifests(&[signed(b"p", "s")]).written(Some(existing)).unwrap_err();
            assert!(matches!(error, AttachError::Existing { .. }), "{error}");
            assert!(!error.hint().is_empty());
        }
        let many: Vec<Descriptor> = (0..MAX_SIGNATURES).map(|n| signed(b"p", &n.to_string())).collect();
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let full = Manifest::new(config.clone(), many.clone()).encode();
        let error = layers(&[signed(b"q", "s")]).written(Some(&full)).unwrap_err();
        assert!(matches!(error, AttachError::Full { .. }), "{error}");
        let room = Manifest::new(config, many.into_iter().skip(1).collect()).encode();
        assert!(layers(&[signed(b"q", "s")]).written(Some(&room)).is_ok());
    }

    #[test]
    fn data_is_taken_out_of_our_entries_once() {
        let mut list = layers(&[signed(b"p", "s")]);
        assert!(list.is_inlined() && list.strip_data() && list.was_stripped());
        assert!(!list.strip_data() && !list.is_inlined());
    }
}
