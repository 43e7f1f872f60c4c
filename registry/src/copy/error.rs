//! Why a copy is not complete.

use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::image::Digest;

use crate::attach::AttachError;
use crate::layout::LayoutError;
use crate::push::PushError;

/// Why a copy is not complete. The target's tag was not written.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// What is to be copied is not there.
    #[error("{what} does not exist")]
    Absent {
        /// The image or the repository, in words.
        what: String,
    },
    /// What is to be copied is not in the layout.
    #[error("{what} does not exist")]
    AbsentFromLayout {
        /// The name in the layout, in words.
        what: String,
    },
    /// A list at the target could not be added to.
    #[error("{0}")]
    Attach(#[from] AttachError),
    /// The target's digest is not the source's.
    #[error("the target is to be `{wanted}`, and the source is `{found}`")]
    DigestWanted {
        /// The digest in the target's name.
        wanted: Digest,
        /// The digest of the source.
        found: Digest,
    },
    /// A layout cannot be read or written.
    #[error("{0}")]
    Layout(#[from] LayoutError),
    /// More is attached than is copied.
    #[error("{what} is more than is copied at once: {problem}")]
    Limit {
        /// The image.
        what: String,
        /// Which bound is met.
        problem: String,
    },
    /// The source names a manifest that it does not have.
    #[error("the source names `{digest}` ({by}) and does not have it")]
    Missing {
        /// The manifest.
        digest: Digest,
        /// What names it.
        by: String,
    },
    /// The source has a manifest, and not a blob of it.
    #[error("the source names the blob `{digest}` and does not have it")]
    MissingBlob {
        /// The blob.
        digest: Digest,
    },
    /// The target did not take something.
    #[error("{0}")]
    Push(#[from] PushError),
    /// The target does not take an index of which images were left out.
    #[error(
        "the target takes no index whose images are not all there, and the source lacks {missing} of `{index}`: {refusal}"
    )]
    Sparse {
        /// The index.
        index: Digest,
        /// How many of its images the source does not have.
        missing: usize,
        /// What the target says.
        refusal: PushError,
    },
    /// The source could not be asked about something that may be attached.
    #[error("{}", .0.detail())]
    Unknown(Cause),
    /// What refers to what cannot be read, so that a copy might leave something out.
    #[error("`{digest}` cannot be copied: {problem}")]
    Unsupported {
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// The source's bytes are not those that their digest and size name.
    #[error("the source's `{digest}` is wrong: {problem}")]
    Untrue {
        /// What was asked for.
        digest: Digest,
        /// What came.
        problem: String,
    },
}

impl CopyError {
    /// The reason code, where the table has one: what could not be found out, and what is not there.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Absent { .. } | Self::AbsentFromLayout { .. } => Some(Code::ImageNotFound),
            Self::Missing { .. } | Self::MissingBlob { .. } | Self::Untrue { .. } => Some(Code::RegistryInconsistent),
            Self::Unknown(cause) | Self::Push(PushError::Unknown(cause)) | Self::Attach(AttachError::Read(cause)) => {
                Some(cause.code())
            }
            _ => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "check the name and the tag, and that it was pushed",
            Self::AbsentFromLayout { .. } => "check the name: a layout lists the names in it in `index.json`",
            Self::Attach(error) => error.hint(),
            Self::DigestWanted { .. } => "leave the digest out of the target, or copy the image that has it",
            Self::Layout(error) => error.hint(),
            Self::Limit { .. } => "copy its images one by one, by their digests",
            Self::Missing { .. } => {
                "push it to the source again, or copy the rest with `--allow-missing`; from lists of referrers, \
                 `hallmark repair` drops what is gone"
            }
            Self::MissingBlob { .. } => {
                "push it to the source again, from where it is whole, or remove what names it there"
            }
            Self::Push(error) => error.hint(),
            Self::Sparse { .. } => {
                "copy it to a layout (`oci:DIR`), or the images that are there one by one, by their digests; an index \
                 with fewer entries would be another one, which nobody has signed"
            }
            Self::Unknown(cause) => cause.code().hint(),
            Self::Unsupported { .. } => "convert the image to OCI or Docker schema 2 first",
            Self::Untrue { .. } => {
                "do not use it; something between here and the source changes or cuts off what it serves"
            }
        }
    }
}

impl From<Cause> for CopyError {
    fn from(cause: Cause) -> Self {
        Self::Unknown(cause)
    }
}
