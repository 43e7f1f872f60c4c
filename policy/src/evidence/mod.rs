//! What a verdict rests on: what was found, what was provably absent, what could not be asked, and when.
//!
//! Evidence is gathered by the registry client, or read back from a recording. Its contents are checked against
//! their digests on both ways in, and it says of every place where a signature could be one of three things:
//! found, provably none, or unknown with a code. "Unknown" can never be read as "none".

mod decoded;
mod record;
mod relatives;
mod scope;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::image::{Content, Digest, ImageReference};
use crate::reason::Code;

pub use decoded::{DecodedEvidence, FoundSignature};
pub use record::{Record, RecordError, RecordedItem};
pub use relatives::{Listing, Relatives};
pub use scope::{Large, Scope};

/// What one question to the outside came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "value")]
pub enum Observation<T> {
    /// It is there.
    Found(T),
    /// We were told, by the one who must know, that it is not there.
    Absent,
    /// We do not know.
    Unknown(Cause),
}

impl<T> Observation<T> {
    /// The found value.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// Why it is unknown.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Unknown(cause) => Some(cause),
            Self::Found(_) | Self::Absent => None,
        }
    }
}

/// Why something is unknown. The code's outcome is always [`crate::Outcome::Undetermined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RecordedCause")]
pub struct Cause {
    code: Code,
    detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedCause {
    code: Code,
    detail: String,
}

impl TryFrom<RecordedCause> for Cause {
    type Error = String;

    fn try_from(recorded: RecordedCause) -> Result<Self, String> {
        if recorded.code.outcome() == crate::Outcome::Undetermined {
            Ok(Self { code: recorded.code, detail: recorded.detail })
        } else {
            Err(format!("`{}` is not a reason for something to be unknown", recorded.code))
        }
    }
}

impl Cause {
    /// A cause with a code of the undetermined part of the table; any other code becomes `registry-unavailable`,
    /// because "we do not know" must never turn into a denial or an allow by a slip.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let code = if code.outcome() == crate::Outcome::Undetermined { code } else { Code::RegistryUnavailable };
        Self { code, detail: detail.into() }
    }

    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened, for people: lower case, no full stop, without credentials.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// A place where signatures of an image are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// cosign's manifest under the tag `sha256-<hex>.att`, where attestations are asked for.
    AttestationTag,
    /// The index under the tag `sha256-<hex>` (OCI distribution-spec, "Referrers Tag Schema").
    FallbackTag,
    /// The referrers API (OCI distribution-spec, "Listing Referrers").
    ReferrersApi,
    /// cosign's manifest under the tag `sha256-<hex>.sig`.
    SignatureTag,
}

impl Place {
    /// Every place that is asked for every image.
    pub const ALL: [Self; 3] = [Self::ReferrersApi, Self::FallbackTag, Self::SignatureTag];

    /// The words of reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttestationTag => "attestation-tag",
            Self::FallbackTag => "fallback-tag",
            Self::ReferrersApi => "referrers-api",
            Self::SignatureTag => "signature-tag",
        }
    }
}

/// What one place said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PlaceReport {
    /// Which place.
    pub place: Place,
    /// When it was asked.
    pub observed_at: Timestamp,
    /// The digests of the manifests that it lists, without duplicates, in its own order. Manifests with a
    /// `subject` from the two referrers places; the one `.sig` manifest from the signature tag.
    pub manifests: Observation<Vec<Digest>>,
    /// It listed more than [`crate::limits::MAX_SIGNATURES`]; the rest was not looked at.
    #[serde(default)]
    pub truncated: bool,
}

/// What became of one manifest or blob that a place or a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retrieval {
    /// Its bytes match its digest.
    Content(Content),
    /// The registry served something that must be rejected as this item: too large, or not what its digest says.
    Rejected(Fault),
    /// It could not be fetched.
    Unknown(Cause),
}

/// Why an item that a registry served is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// [`Code::LimitExceeded`], [`Code::DigestMismatch`] or [`Code::Malformed`].
    pub code: Code,
    /// What is wrong, for people.
    pub detail: String,
}

/// Everything that was learned about one image, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The image as it was asked for, in normal form.
    pub image: ImageReference,
    /// When gathering began: the age of the evidence counts from here.
    pub gathered_at: Timestamp,
    /// What the reference names.
    pub resolution: Observation<Digest>,
    /// What each place said. Empty when the reference could not be resolved.
    pub places: Vec<PlaceReport>,
    /// Manifests and blobs by digest: every listed manifest, and every blob of them that may be a signature.
    pub items: BTreeMap<Digest, Retrieval>,
    /// The images around it, as far as they were looked at.
    pub relatives: Relatives,
}

impl Evidence {
    /// Evidence that nothing could be learned, for one reason.
    #[must_use]
    pub fn unknown(image: ImageReference, gathered_at: Timestamp, cause: Cause) -> Self {
        Self {
            image,
            gathered_at,
            resolution: Observation::Unknown(cause),
            places: Vec::new(),
            items: BTreeMap::new(),
            relatives: Relatives::NONE,
        }
    }

    /// Whether every place and every item has a definite answer, so that asking again is not needed for certainty.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.causes().next().is_none() && self.relatives.causes().is_empty()
    }

    /// Whether all that is unknown was left out because what was found before was enough for whoever asked. It may
    /// allow an image for others too, and denies none.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        let mut causes = self.causes().peekable();
        let is_any = causes.peek().is_some();
        is_any && causes.all(|cause| cause.code() == Code::NotFetched) && self.relatives.causes().is_empty()
    }

    /// Every content that it rests on, that of its relatives included.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        let own = self.items.values().filter_map(|item| match item {
            Retrieval::Content(content) => Some(content),
            Retrieval::Rejected(_) | Retrieval::Unknown(_) => None,
        });
        own.chain(self.relatives.contents())
    }

    /// Everything that is unknown about the image itself.
    pub fn causes(&self) -> impl Iterator<Item = &Cause> {
        let items = self.items.values().filter_map(|item| match item {
            Retrieval::Unknown(cause) => Some(cause),
            Retrieval::Content(_) | Retrieval::Rejected(_) => None,
        });
        let places = self.places.iter().filter_map(|report| report.manifests.cause());
        self.resolution.cause().into_iter().chain(places).chain(items)
    }

    /// The manifests that the places list, each with every place that lists it, in a stable order.
    #[must_use]
    pub fn listed(&self) -> Vec<(Digest, Vec<Place>)> {
        let mut listed: Vec<(Digest, Vec<Place>)> = Vec::new();
        for report in &self.places {
            for digest in report.manifests.found().into_iter().flatten() {
                match listed.iter_mut().find(|(known, _)| known == digest) {
                    Some((_, places)) => places.push(report.place),
                    None => listed.push((*digest, vec![report.place])),
                }
            }
        }
        listed
    }
}
