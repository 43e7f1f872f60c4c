//! The recorded form of evidence, for replay without a network.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cause, Evidence, Fault, Observation, PlaceReport, Retrieval};
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
        let item = |item: &Retrieval| match item {
            Retrieval::Content(_) => RecordedItem::Content,
            Retrieval::Rejected(fault) => RecordedItem::Rejected(fault.clone()),
            Retrieval::Unknown(cause) => RecordedItem::Unknown(cause.clone()),
        };
        Self {
            version: Self::VERSION.to_owned(),
            image: evidence.image.to_string(),
            gathered_at: evidence.gathered_at,
            resolution: evidence.resolution.clone(),
            places: evidence.places.clone(),
            items: evidence.items.iter().map(|(digest, retrieval)| (*digest, item(retrieval))).collect(),
        }
    }

    /// Turns a recording back into evidence. Every content is checked against its digest again.
    ///
    /// # Errors
    /// [`RecordError`] when a content is missing or altered, or the recording is not one.
    pub fn restore(self, mut content: impl FnMut(&Digest) -> Option<Vec<u8>>) -> Result<Evidence, RecordError> {
        if self.version != Self::VERSION {
            return Err(RecordError::Version { found: self.version });
        }
        let mut items = BTreeMap::new();
        for (digest, item) in self.items {
            let retrieval = match item {
                RecordedItem::Content => {
                    let bytes = content(&digest).ok_or(RecordError::ContentMissing { digest })?;
                    Retrieval::Content(Content::check(digest, bytes)?)
                }
                RecordedItem::Rejected(fault) => Retrieval::Rejected(fault),
                RecordedItem::Unknown(cause) => Retrieval::Unknown(cause),
            };
            items.insert(digest, retrieval);
        }
        Ok(Evidence {
            image: self.image.parse()?,
            gathered_at: self.gathered_at,
            resolution: self.resolution,
            places: self.places,
            items,
        })
    }
}
