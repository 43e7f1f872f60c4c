//! What the registry needs to know of a manifest (OCI image-spec 1.1): what it refers to, and how to list it.

use std::collections::BTreeMap;

use hallmark_policy::image::{Descriptor, media_type};
use serde::Deserialize;

use crate::refusal::Refusal;

/// A manifest or an index of any media type, as far as the registry looks into it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    schema_version: u8,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Parses the bytes of a manifest. A document that is both a manifest and an index is refused (CVE-2021-41190), and
    /// so is one that the two known kinds of media types contradict.
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, Refusal> {
        let invalid = |problem: &str| Err(Refusal::ManifestInvalid(format!("the manifest is malformed: {problem}")));
        let document: Self = match serde_json::from_slice(bytes) {
            Ok(document) => document,
            Err(error) => return invalid(&error.to_string()),
        };
        if document.schema_version != 2 {
            return invalid("its schemaVersion is not 2");
        }
        if let (Some(inside), Some(outside)) = (document.media_type.as_deref(), content_type)
            && inside != outside
        {
            return invalid("its mediaType is not the Content-Type of the request");
        }
        if document.manifests.is_some() && (document.layers.is_some() || document.config.is_some()) {
            return invalid("it is both a manifest and an index");
        }
        match content_type.or(document.media_type.as_deref()) {
            Some(media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) if document.config.is_none() => {
                invalid("it has no config")
            }
            Some(media_type::OCI_INDEX | media_type::DOCKER_INDEX) if document.manifests.is_none() => {
                invalid("it has no manifests")
            }
            _ => Ok(document),
        }
    }

    /// The media type under which the manifest is served.
    pub(crate) fn served_type(&self, content_type: Option<&str>) -> String {
        let by_shape = if self.manifests.is_some() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
        content_type.or(self.media_type.as_deref()).unwrap_or(by_shape).to_owned()
    }

    /// The manifest that this one refers to.
    pub(crate) fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The blobs that must be there. Layers that may not be distributed live elsewhere (OCI image-spec,
    /// "Non-Distributable Layers").
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let elsewhere = |media_type: &str| {
            media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
                || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        };
        let layers = self.layers.iter().flatten().filter(move |layer| !elsewhere(&layer.media_type));
        self.config.iter().chain(layers)
    }

    /// The manifests that must be there.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().flatten()
    }

    /// The type in a listing of referrers (OCI distribution-spec, "Listing Referrers"): the artifact type, or the
    /// media type of a manifest's configuration.
    pub(crate) fn listed_type(&self) -> Option<&str> {
        let written = self.artifact_type.as_deref().filter(|text| !text.is_empty());
        written.or(self.config.as_ref().map(|config| config.media_type.as_str()))
    }

    /// The annotations in a listing of referrers.
    pub(crate) fn into_annotations(self) -> BTreeMap<String, String> {
        self.annotations.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    #[test]
    fn must_not_take_documents_that_are_ambiguous_or_contradict_their_type() {
        let manifest = Some(media_type::OCI_MANIFEST);
        let index = Some(media_type::OCI_INDEX);
        for (text, content_type, is_good) in [
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[]}}"#), manifest, true),
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":null}}"#), None, true),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), index, true),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), manifest, false),
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[]}}"#), index, false),
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"manifests":[]}}"#), None, false),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.to_owned(), None, false),
            (format!(r#"{{"schemaVersion":1,"config":{EMPTY},"layers":[]}}"#), None, false),
            (format!(r#"{{"schemaVersion":2,"mediaType":"a/b","config":{EMPTY}}}"#), manifest, false),
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"config":{EMPTY}}}"#), None, false),
            ("[]".to_owned(), None, false),
            (String::new(), None, false),
        ] {
            assert_eq!(Document::parse(text.as_bytes(), content_type).is_ok(), is_good, "{text} {content_type:?}");
        }
    }
}
