//! The recorded form of evidence, for replay without a network.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cause, Evidence, Fault, Observation, PlaceReport, Relatives, Retrieval};
use crate::image::{Content, Digest};

/// The recorded form of evidence: `evidence.json`. The contents lie beside it, in an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Record {
    /// Always [`Record::VERSION`].
    pub version: String,
    /// The image as it was asked for.
    pub image: String,
    /// When gathering began.
    pub gathered_at: Timestamp,
    /// What the reference named.
    pub resolution: Observation<Digest>,
    /// What each place said.
    pub places: Vec<PlaceReport>,
    /// What became of each item.
    pub items: BTreeMap<Digest, RecordedItem>,
    /// What became of the image's own bytes, where they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<RecordedItem>,
    /// The children of the index that were looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<Digest, Record>,
    /// There are more children than were looked at.
    #[serde(default, skip_serializing_if = "is_false")]
    pub children_truncated: bool,
    /// What the tag names by which a digest was asked for, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Record>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What `evidence.json` says of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "value")]
pub enum RecordedItem {
    /// Its bytes are a blob of the layout.
    Content,
    /// It was rejected.
    Rejected(Fault),
    /// It could not be fetched.
    Unknown(Cause),
}

/// Why a recording cannot be read as evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes of an item are not in the recording.
    #[error("the recording says that `{digest}` was found, but has no such blob")]
    ContentMissing {
        /// The item.
        digest: Digest,
    },
    /// The bytes of an item were altered after they were recorded.
    #[error("the recording was altered: {0}")]
    ContentAltered(#[from] crate::image::ContentMismatch),
    /// The image's name does not parse.
    #[error("the recording names no image: {0}")]
    Image(#[from] crate::image::ReferenceError),
    /// The recording is of another version of the format.
    #[error("the recording has version `{found}`; this program reads `{}`", Record::VERSION)]
    Version {
        /// What it says.
        found: String,
    },
}

impl Record {
    /// The version of the recorded form.
    pub const VERSION: &'static str = "hallmark.dev/evidence/v1";

    /// The recorded form of some evidence; the contents are [`Evidence::items`].
    #[must_use]
    pub fn of(evidence: &Evidence) -> Self {
        let item = RecordedItem::of;
        let relatives = &evidence.relatives;
        Self {
            version: Self::VERSION.to_owned(),
            image: evidence.image.to_string(),
            gathered_at: evidence.gathered_at,
            resolution: evidence.resolution.clone(),
            places: evidence.places.clone(),
            items: evidence.items.iter().map(|(digest, retrieval)| (*digest, item(retrieval))).collect(),
            manifest: relatives.manifest.as_ref().map(item),
            children: relatives.children.iter().map(|(digest, child)| (*digest, Self::of(child))).collect(),
            children_truncated: relatives.truncated,
            parent: relatives.parent.as_ref().map(|parent| Box::new(Self::of(parent))),
        }
    }

    /// Turns a recording back into evidence. Every content is checked against its digest again.
    ///
    /// # Errors
    /// [`RecordError`] when a content is missing or altered, or the recording is not one.
    pub fn restore(self, mut content: impl FnMut(&Digest) -> Option<Vec<u8>>) -> Result<Evidence, RecordError> {
        self.restore_from(&mut content)
    }

    fn restore_from(self, content: &mut dyn FnMut(&Digest) -> Option<Vec<u8>>) -> Result<Evidence, RecordError> {
        if self.version != Self::VERSION {
            return Err(RecordError::Version { found: self.version });
        }
        let mut items = BTreeMap::new();
        for (digest, item) in self.items {
            items.insert(digest, item.restore(digest, content)?);
        }
        let manifest = match (self.manifest, &self.resolution) {
            (Some(item), Observation::Found(digest)) => Some(item.restore(*digest, content)?),
            _ => None,
        };
        let mut children = BTreeMap::new();
        for (digest, child) in self.children {
            children.insert(digest, child.restore_from(content)?);
        }
        let parent = self.parent.map(|parent| parent.restore_from(content)).transpose()?.map(Box::new);
        Ok(Evidence {
            image: self.image.parse()?,
            gathered_at: self.gathered_at,
            resolution: self.resolution,
            places: self.places,
            items,
            relatives: Relatives { manifest, children, truncated: self.children_truncated, parent },
        })
    }
}

impl RecordedItem {
    fn of(item: &Retrieval) -> Self {
        match item {
            Retrieval::Content(_) => Self::Content,
            Retrieval::Rejected(fault) => Self::Rejected(fault.clone()),
            Retrieval::Unknown(cause) => Self::Unknown(cause.clone()),
        }
    }

    fn restore(
        self,
        digest: Digest,
        content: &mut dyn FnMut(&Digest) -> Option<Vec<u8>>,
    ) -> Result<Retrieval, RecordError> {
        Ok(match self {
            Self::Content => {
                let bytes = content(&digest).ok_or(RecordError::ContentMissing { digest })?;
                Retrieval::Content(Content::check(digest, bytes)?)
            }
            Self::Rejected(fault) => Retrieval::Rejected(fault),
            Self::Unknown(cause) => Retrieval::Unknown(cause),
        })
    }
}
