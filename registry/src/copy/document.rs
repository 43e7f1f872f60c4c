//! What a manifest refers to: everything that must be copied with it.

use hallmark_policy::image::{Content, Descriptor, Digest, Index, Manifest, media_type};
use serde::Deserialize;

use crate::quote::quote;
use crate::read::is_manifest_type;

/// What ORAS wrote before OCI 1.1 was final: no configuration, and `blobs` in place of `layers`.
const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// A manifest or index that is copied.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) content: Content,
    pub(crate) media_type: String,
    /// Manifests that must be there before this one.
    pub(crate) children: Vec<Descriptor>,
    /// Blobs that must be there before this one.
    pub(crate) blobs: Vec<Descriptor>,
    /// Layers that are got from elsewhere (`urls`, or of a type that must not be distributed).
    pub(crate) foreign: Vec<Descriptor>,
    pub(crate) subject: Option<Digest>,
    pub(crate) artifact_type: Option<String>,
}

impl Document {
    /// Reads a manifest of any kind that we know. `claimed` is the type that it was served with, or listed as.
    pub(crate) fn parse(content: Content, claimed: Option<&str>) -> Result<Self, String> {
        let bytes = content.bytes();
        let claimed = claimed.filter(|claimed| is_manifest_type(claimed));
        let links = Links::parse(bytes, claimed)?;
        let media_type = links.media_type.or_else(|| claimed.map(str::to_owned)).unwrap_or(links.by_shape);
        if !is_manifest_type(&media_type) {
            return Err(format!("it is of type `{}`, and what that refers to is not known", quote(&media_type)));
        }
        let (children, mut blobs): (Vec<_>, Vec<_>) =
            links.manifests.into_iter().partition(|entry| is_manifest_type(&entry.media_type));
        let urls: Urls = serde_json::from_slice(bytes).unwrap_or_default();
        let mut foreign = Vec::new();
        for (place, blob) in links.blobs.into_iter().enumerate() {
            // The configuration comes first in `blobs` where there is one, and is never foreign.
            let layer = place.checked_sub(links.configurations);
            let has_urls = layer.and_then(|layer| urls.layers.get(layer)).is_some_and(|layer| !layer.urls.is_empty());
            match is_foreign(&blob.media_type) || has_urls {
                true => foreign.push(blob),
                false => blobs.push(blob),
            }
        }
        Ok(Self {
            media_type,
            children,
            blobs,
            foreign,
            subject: links.subject,
            artifact_type: links.artifact_type,
            content,
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.content.digest()
    }

    /// The descriptor by which a listing of referrers names it (distribution-spec, "Listing Referrers").
    pub(crate) fn described(&self) -> Descriptor {
        let mut described = Descriptor::of(&self.media_type, self.content.bytes());
        described.digest = self.digest();
        described.artifact_type.clone_from(&self.artifact_type);
        if let Ok(annotated) = serde_json::from_slice::<Annotated>(self.content.bytes()) {
            described.annotations = annotated.annotations.unwrap_or_default();
        }
        described
    }
}

#[derive(Deserialize)]
struct Annotated {
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// What a manifest of some kind links to.
struct Links {
    media_type: Option<String>,
    by_shape: String,
    manifests: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    /// How many of the blobs are no layers.
    configurations: usize,
    subject: Option<Digest>,
    artifact_type: Option<String>,
}

impl Links {
    fn parse(bytes: &[u8], claimed: Option<&str>) -> Result<Self, String> {
        if let Ok(index) = Index::parse(bytes) {
            return Ok(Self {
                media_type: index.media_type,
                by_shape: media_type::OCI_INDEX.to_owned(),
                manifests: index.manifests,
                blobs: Vec::new(),
                configurations: 0,
                subject: index.subject.map(|subject| subject.digest),
                artifact_type: index.artifact_type,
            });
        }
        if claimed == Some(ARTIFACT_MANIFEST) || says(bytes, ARTIFACT_MANIFEST) {
            let artifact: ArtifactManifest = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            return Ok(Self {
                media_type: artifact.media_type,
                by_shape: ARTIFACT_MANIFEST.to_owned(),
                manifests: Vec::new(),
                blobs: artifact.blobs.unwrap_or_default(),
                configurations: 0,
                subject: artifact.subject.map(|subject| subject.digest),
                artifact_type: artifact.artifact_type,
            });
        }
        let manifest = Manifest::parse(bytes).map_err(|error| error.to_string())?;
        // image-spec, "Guidelines for Artifact Usage": without a type of its own, it is the configuration's.
        let artifact_type = manifest.artifact_type.unwrap_or_else(|| manifest.config.media_type.clone());
        Ok(Self {
            media_type: manifest.media_type,
            by_shape: media_type::OCI_MANIFEST.to_owned(),
            manifests: Vec::new(),
            blobs: std::iter::once(manifest.config).chain(manifest.layers).collect(),
            configurations: 1,
            subject: manifest.subject.map(|subject| subject.digest),
            artifact_type: Some(artifact_type),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactManifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
}

/// The `urls` of layers, which are of no use for anything else.
#[derive(Default, Deserialize)]
struct Urls {
    #[serde(default)]
    layers: Vec<LayerUrls>,
}

#[derive(Default, Deserialize)]
struct LayerUrls {
    #[serde(default)]
    urls: Vec<serde::de::IgnoredAny>,
}

/// The digest in the `subject` of a manifest of any kind.
pub(crate) fn subject_of(bytes: &[u8]) -> Option<Digest> {
    #[derive(Deserialize)]
    struct WithSubject {
        subject: Option<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: Digest,
    }
    serde_json::from_slice::<WithSubject>(bytes).ok()?.subject.map(|subject| subject.digest)
}

fn says(bytes: &[u8], media_type: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    serde_json::from_slice::<Typed>(bytes).is_ok_and(|typed| typed.media_type.as_deref() == Some(media_type))
}

/// Types of layers that must not be distributed (image-spec 1.0, "Non-Distributable Layers"; Docker's image manifest
/// v2, "foreign layers").
fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
        || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
        serde_json::to_value(Descriptor::of(media_type, bytes)).unwrap()
    }

    fn parse(document: &serde_json::Value, claimed: Option<&str>) -> Result<Document, String> {
        Document::parse(Content::named_by_itself(document.to_string().into_bytes()), claimed)
    }

    #[test]
    fn every_kind_of_manifest_names_what_belongs_to_it() {
        let mut foreign = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", b"elsewhere");
        foreign["urls"] = json!(["https://elsewhere.example/layer"]);
        let layers = json!([
            descriptor("application/vnd.oci.image.layer.v1.tar", b"layer"),
            foreign,
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"base"),
        ]);
        let image = json!({"schemaVersion": 2, "config": descriptor(media_type::OCI_CONFIG, b"{}"), "layers": layers});
        let image = parse(&image, Some(media_type::DOCKER_MANIFEST)).unwrap();
        assert_eq!((image.media_type.as_str(), image.blobs.len()), (media_type::DOCKER_MANIFEST, 2));
        assert_eq!(image.foreign.len(), 2);
        assert_eq!(image.described().artifact_type.as_deref(), Some(media_type::OCI_CONFIG));

        // BuildKit's cache lists layers where an index has manifests.
        let children = json!([
            descriptor(media_type::OCI_MANIFEST, b"child"),
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"cached"),
        ]);
        let index = parse(&json!({"schemaVersion": 2, "manifests": children}), None).unwrap();
        assert_eq!((index.children.len(), index.blobs.len()), (1, 1));

        let artifact = json!({"mediaType": ARTIFACT_MANIFEST, "artifactType": "application/x", "blobs": [descriptor("a/b", b"x")],
            "subject": descriptor(media_type::OCI_MANIFEST, b"image"), "annotations": {"a": "b"}});
        let artifact = parse(&artifact, None).unwrap();
        assert_eq!((artifact.blobs.len(), artifact.subject), (1, Some(Digest::of(b"image"))));
        assert_eq!(artifact.described().annotations.get("a").map(String::as_str), Some("b"));
    }

    #[test]
    fn must_not_copy_what_is_not_understood() {
        for document in [
            json!({}),
            json!({"schemaVersion": 1, "fsLayers": []}),
            json!({"schemaVersion": 2, "manifests": [], "layers": []}),
            json!({"schemaVersion": 2, "mediaType": "application/vnd.example+json", "manifests": []}),
        ] {
            assert!(parse(&document, None).is_err(), "{document}");
        }
        assert!(parse(&json!({"schemaVersion": 2, "manifests": []}), None).is_ok());
    }
}
