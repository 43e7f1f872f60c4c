//! The images around an image: those that it lists, and the index that lists it.

use std::collections::BTreeMap;

use super::{Cause, Evidence, Retrieval};
use crate::image::{Content, Digest, Index, Manifest};
use crate::reason::Code;

/// What was learned about the images around an image. What nobody asked for is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relatives {
    /// The bytes that the image's own digest names.
    pub manifest: Option<Retrieval>,
    /// The children of the index, by digest: those that were wanted, each with evidence of its own.
    pub children: BTreeMap<Digest, Evidence>,
    /// There are more children than [`crate::limits::MAX_CHILDREN`], or they have more evidence than
    /// [`crate::limits::MAX_EVIDENCE_BYTES`]; the rest was not looked at.
    pub truncated: bool,
    /// What the tag names by which a digest was asked for, with its own bytes: perhaps an index that lists the image.
    pub parent: Option<Box<Evidence>>,
}

/// What an image's own bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// A manifest: it lists no images.
    Image,
    /// An index.
    Index(Box<Index>),
    /// Neither, with the reason to reject it and what is wrong.
    Rejected(Code, String),
    /// Nobody knows.
    Unknown(Cause),
}

impl Relatives {
    /// Nothing was looked at.
    pub const NONE: Self = Self { manifest: None, children: BTreeMap::new(), truncated: false, parent: None };

    /// What the image's own bytes are; `digest` is the digest that they must have.
    #[must_use]
    pub fn listing(&self, digest: Digest) -> Listing {
        let content = match &self.manifest {
            Some(Retrieval::Content(content)) if content.digest() == digest => content,
            Some(Retrieval::Rejected(fault)) => return Listing::Rejected(fault.code, fault.detail.clone()),
            Some(Retrieval::Unknown(cause)) => return Listing::Unknown(cause.clone()),
            Some(Retrieval::Content(_)) | None => {
                let detail = format!("the manifest or index `{digest}` itself was not looked at");
                return Listing::Unknown(Cause::new(Code::RegistryInconsistent, detail));
            }
        };
        // What is both, or neither, is refused: whoever runs it may read it as the other one.
        match (Index::parse(content.bytes()), Manifest::parse(content.bytes())) {
            (Ok(index), Err(_)) => Listing::Index(Box::new(index)),
            (Err(_), Ok(_)) => Listing::Image,
            (Ok(_), Ok(_)) => {
                Listing::Rejected(Code::Malformed, format!("`{digest}` can be read as a manifest and as an index"))
            }
            (Err(error), Err(_)) => Listing::Rejected(Code::Malformed, format!("`{digest}` is {error}")),
        }
    }

    /// Everything that is unknown about them.
    #[must_use]
    pub fn causes(&self) -> Vec<&Cause> {
        let own = self.manifest.iter().filter_map(|manifest| match manifest {
            Retrieval::Unknown(cause) => Some(cause),
            Retrieval::Content(_) | Retrieval::Rejected(_) => None,
        });
        let all = own.chain(self.all().flat_map(|evidence| {
            let relatives = evidence.relatives.causes();
            evidence.causes().chain(relatives)
        }));
        all.collect()
    }

    /// Every content that they rest on.
    pub(super) fn contents(&self) -> Box<dyn Iterator<Item = &Content> + '_> {
        let own = self.manifest.iter().filter_map(|manifest| match manifest {
            Retrieval::Content(content) => Some(content),
            Retrieval::Rejected(_) | Retrieval::Unknown(_) => None,
        });
        Box::new(own.chain(self.all().flat_map(Evidence::contents)))
    }

    fn all(&self) -> impl Iterator<Item = &Evidence> {
        self.children.values().chain(self.parent.as_deref())
    }
}
