//! Manifests, indexes and descriptors (OCI image-spec 1.1), as far as signatures need them.
//!
//! Reading is tolerant of fields that the specification may add and strict about everything that is looked at: a
//! field that is there twice, or a document that is both a manifest and an index (CVE-2021-41190), does not parse.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Content, Digest};
use crate::limits;

/// Media types that are written or told apart.
pub mod media_type {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The two bytes `{}` (OCI image-spec, "Guidance for an Empty Descriptor").
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// An OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A Sigstore bundle, version 0.3.
    pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    /// A DSSE envelope as cosign 2 keeps attestations.
    pub const DSSE_ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
    /// A simple-signing payload as cosign 2 keeps it.
    pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
}

/// A descriptor (OCI image-spec, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content, as claimed by whoever wrote the descriptor.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes, as claimed.
    pub size: u64,
    /// Type of the artifact that a manifest is, as claimed. Never decide anything by it: some writers get it wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Annotations; not signed, so only hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself in base64, where it is small (OCI image-spec 1.1, "Embedded Content").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Platform of a child of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A platform (OCI image-spec, "Image Index": `platform`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, in the words of Go's `GOARCH`.
    pub architecture: String,
    /// Operating system, in the words of Go's `GOOS`.
    pub os: String,
    /// Version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system.
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// Variant of the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Descriptor {
    /// A descriptor of some bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            artifact_type: None,
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
        }
    }

    /// The same descriptor with the content carried inside it.
    #[must_use]
    pub fn with_data(mut self, bytes: &[u8]) -> Self {
        self.data = Some(STANDARD.encode(bytes));
        self
    }

    /// The embedded content, if there is one that is small enough and has the descriptor's digest and size.
    #[must_use]
    pub fn embedded(&self) -> Option<Content> {
        let data = self.data.as_deref()?;
        if data.len() > limits::MAX_MANIFEST_BYTES {
            return None;
        }
        let bytes = STANDARD.decode(data).ok()?;
        if u64::try_from(bytes.len()).ok()? != self.size {
            return None;
        }
        Content::check(self.digest, bytes).ok()
    }
}

/// An image manifest.
#[expect(clippy::manual_non_exhaustive, reason = "the private field refuses documents of two kinds, see its comment")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u8,
    /// Media type; absent in some real manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations; not signed, so only hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// Never set: a document with layers and manifests is ambiguous and does not parse.
    #[serde(default, skip_serializing, deserialize_with = "must_be_absent")]
    manifests: (),
}

/// An image index, also the form of a referrers listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u8,
    /// Media type; absent in some real indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests that the index lists.
    #[serde(deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations; not signed, so only hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// Never set: a document with layers and manifests is ambiguous and does not parse.
    #[serde(default, skip_serializing, deserialize_with = "must_be_absent")]
    layers: (),
    /// Never set: an index has no configuration.
    #[serde(default, skip_serializing, deserialize_with = "must_be_absent")]
    config: (),
}

/// Why bytes are not a manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The JSON does not have the shape of the document.
    #[error("not a well-formed {what}: {problem}")]
    Malformed {
        /// `manifest` or `index`.
        what: &'static str,
        /// What the parser met.
        problem: String,
    },
    /// It is larger than [`limits::MAX_MANIFEST_BYTES`].
    #[error("{what} of {bytes} bytes is larger than the limit of {} bytes", limits::MAX_MANIFEST_BYTES)]
    TooLarge {
        /// `manifest` or `index`.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
}

impl Manifest {
    /// A manifest with the OCI media type.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            manifests: (),
        }
    }

    /// Parses the bytes of a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] when they are too large or not a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = parse("manifest", bytes)?;
        check_header("manifest", manifest.schema_version, manifest.media_type.as_deref(), |media_type| {
            !matches!(media_type, media_type::OCI_INDEX | media_type::DOCKER_INDEX)
        })?;
        Ok(manifest)
    }

    /// The bytes to push.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl Index {
    /// An index with the OCI media type.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            layers: (),
            config: (),
        }
    }

    /// Parses the bytes of an index.
    ///
    /// # Errors
    /// [`ManifestError`] when they are too large or not an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let index: Self = parse("index", bytes)?;
        check_header("index", index.schema_version, index.media_type.as_deref(), |media_type| {
            !matches!(media_type, media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST)
        })?;
        Ok(index)
    }

    /// The bytes to push.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, ManifestError> {
    if bytes.len() > limits::MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLarge { what, bytes: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|error| ManifestError::Malformed { what, problem: error.to_string() })
}

fn check_header(
    what: &'static str,
    schema_version: u8,
    media_type: Option<&str>,
    is_right: impl Fn(&str) -> bool,
) -> Result<(), ManifestError> {
    if schema_version != 2 {
        let problem = format!("its schemaVersion is {schema_version}, not 2");
        return Err(ManifestError::Malformed { what, problem });
    }
    if !media_type.is_none_or(is_right) {
        let problem = "its mediaType is that of the other kind of document".to_owned();
        return Err(ManifestError::Malformed { what, problem });
    }
    Ok(())
}

fn encode<T: Serialize>(document: &T) -> Vec<u8> {
    // Serializing strings, numbers and maps with string keys into memory has no way to fail.
    serde_json::to_vec(document).unwrap_or_default()
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn must_be_absent<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    match Option::<serde::de::IgnoredAny>::deserialize(deserializer)? {
        None => Ok(()),
        Some(_) => Err(serde::de::Error::custom("it is both a manifest and an index")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSIGN_INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":877,"digest":"sha256:cca9ae600e6c5a981fe5038fc27175e738dccade12f66b89fcea3215c3233641","artifactType":"application/vnd.oci.empty.v1+json"}]}"#;

    #[test]
    fn real_documents_parse_and_encode() {
        let index = Index::parse(COSIGN_INDEX.as_bytes()).unwrap();
        assert_eq!(index.manifests.len(), 1);
        assert_eq!(Index::parse(&index.encode()).unwrap(), index);
        let empty = Descriptor::of(media_type::OCI_EMPTY, b"{}").with_data(b"{}");
        let manifest = Manifest::new(empty.clone(), vec![empty]);
        assert_eq!(Manifest::parse(&manifest.encode()).unwrap(), manifest);
        assert!(!String::from_utf8(manifest.encode()).unwrap().contains("manifests"));
        assert!(Index::parse(br#"{"schemaVersion":2,"manifests":null}"#).unwrap().manifests.is_empty());
    }

    #[test]
    fn must_not_parse_a_document_of_two_kinds_or_with_a_field_twice() {
        let config = r#""config":{"mediaType":"a","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;
        assert!(Manifest::parse(format!(r#"{{"schemaVersion":2,{config},"layers":[]}}"#).as_bytes()).is_ok());
        for bad in [
            format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":[]}}"#),
            format!(r#"{{"schemaVersion":2,{config},"layers":[],"layers":[]}}"#),
            format!(r#"{{"schemaVersion":1,{config},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"{}",{config},"layers":[]}}"#, media_type::OCI_INDEX),
            format!(r#"{{"schemaVersion":2,{config},"layers":[]}} "#) + "x",
        ] {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_MANIFEST),
            r#"{"schemaVersion":2}"#.to_owned(),
            r#"{"errors":[]}"#.to_owned(),
        ] {
            assert!(Index::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn must_not_use_embedded_content_with_another_digest_or_size() {
        let good = Descriptor::of("t", b"abc").with_data(b"abc");
        assert_eq!(good.embedded().unwrap().bytes(), b"abc");
        assert!(Descriptor::of("t", b"abc").with_data(b"abd").embedded().is_none());
        let mut wrong_size = good.clone();
        wrong_size.size = 4;
        assert!(wrong_size.embedded().is_none());
        let mut not_base64 = good;
        not_base64.data = Some("a b".to_owned());
        assert!(not_base64.embedded().is_none());
    }
}
