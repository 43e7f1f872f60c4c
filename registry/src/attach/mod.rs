//! Attaching signatures: pushed, listed where the registry lists referrers, and read back from registries that were not
//! seen to keep what they take.

mod attestation;
mod bundle;
mod converge;
mod simple_signing;
mod tag_list;

use hallmark_policy::Code;
use hallmark_policy::evidence::{Cause, Place};
use hallmark_policy::image::{Digest, PinnedImage, Tag};

use crate::push::PushError;

pub(crate) use attestation::attach_envelope;
pub(crate) use bundle::{attach_bundle, bundle_annotations};
pub(crate) use converge::converge;
pub(crate) use simple_signing::attach_simple_signing;
pub(crate) use tag_list::{ListKind, TagList};

/// Most times that an index or a `.sig` manifest is written because another writer overwrote it: twenty writers at once
/// need about five.
const MAX_ATTEMPTS: u32 = 24;

/// What was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The manifest that carries the signature.
    pub manifest: Digest,
    /// Where it is listed.
    pub place: Place,
    /// It was there before, as far as the requests that were needed could tell: always for simple signing and for the
    /// fallback tag. A registry with the referrers API does not say, and is not asked.
    pub already_there: bool,
    /// Whether the signature is also carried in its descriptor, which saves readers a request.
    pub inlined: bool,
}

/// Why a signature could not be attached. Nothing that was there before is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// What is under the tag cannot be read, so that writing it would lose what is in it.
    #[error("`{tag}` holds something that cannot be added to: {problem}")]
    Existing {
        /// The tag.
        tag: Tag,
        /// What is wrong with it.
        problem: String,
    },
    /// No more signatures fit that a verifier would look at.
    #[error("`{tag}` is full: {problem}")]
    Full {
        /// The tag.
        tag: Tag,
        /// Which bound is met.
        problem: String,
    },
    /// Others kept overwriting the tag.
    #[error("`{tag}` was overwritten by another writer {attempts} times")]
    Overwritten {
        /// The tag.
        tag: Tag,
        /// How often it was written.
        attempts: u32,
    },
    /// The registry did not take something.
    #[error("{0}")]
    Push(#[from] PushError),
    /// What had to be read could not be.
    #[error("{}", .0.detail())]
    Read(Cause),
    /// The registry took the manifest and does not have it.
    #[error("the registry accepted the manifest `{manifest}` and does not have it")]
    Vanished {
        /// The manifest that was pushed.
        manifest: Digest,
    },
    /// The image that is to be signed is not there.
    #[error("image `{image}` does not exist")]
    SubjectMissing {
        /// The image.
        image: PinnedImage,
    },
}

impl AttachError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Existing { .. } => "look at the tag; delete it if nobody needs it, and sign again",
            Self::Full { .. } => {
                "delete signatures that nobody needs, or use the bundle format with a registry that has the referrers API"
            }
            Self::Overwritten { .. } => "sign this image from one place at a time, then run it again",
            Self::Push(error) => error.hint(),
            Self::Read(cause) if cause.code() == Code::CredentialsUnavailable => cause.code().hint(),
            Self::Read(cause) if cause.code() == Code::RegistryUnauthorized => {
                "log in with an account that may read and push to the repository"
            }
            Self::Read(_) => {
                "check that the registry can be reached, then run it again; what is done is not done twice"
            }
            Self::Vanished { .. } => "check the registry's storage and any mirror in front of it, then run it again",
            Self::SubjectMissing { .. } => "push the image first, and sign the digest that was pushed",
        }
    }
}
