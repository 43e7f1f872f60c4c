//! Why a layout cannot be read or written.

use std::io;
use std::path::{Path, PathBuf};

use hallmark_policy::image::Digest;

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file does not have the bytes that its name says.
    #[error("`{digest}` in `{path}` was altered: its bytes have another digest")]
    Altered {
        /// The layout.
        path: PathBuf,
        /// The name of the file.
        digest: Digest,
    },
    /// No name was given, and it has several.
    #[error("the layout has several names: {names}")]
    Ambiguous {
        /// The first of them.
        names: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} `{path}`: {error}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The program is ending.
    #[error("the program ends before the layout was read or written")]
    Interrupted,
    /// It is something else.
    #[error("`{path}` is no OCI layout: {problem}")]
    NoLayout {
        /// What was given.
        path: PathBuf,
        /// What it lacks.
        problem: String,
    },
    /// It has something in it that a layout never has: a link, a device, the same file twice.
    #[error("`{path}` is refused: {problem}")]
    Refused {
        /// The layout.
        path: PathBuf,
        /// What it has.
        problem: String,
    },
    /// A file is larger than what is held in memory.
    #[error("a file of `{path}` is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The layout.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
}

impl LayoutError {
    pub(super) fn reading(path: &Path, error: io::Error) -> Self {
        Self::File { action: "read", path: path.to_owned(), error }
    }

    pub(super) fn writing(path: &Path, error: impl Into<io::Error>) -> Self {
        Self::File { action: "write", path: path.to_owned(), error: error.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Altered { .. } => "get the layout again from where it came from; nothing of it was used",
            Self::Ambiguous { .. } => "write the one that is meant after the folder: `oci:DIR:NAME`",
            Self::File { action: "read", .. } => "check that it is there and that this user may read it",
            Self::File { .. } => "check the folder's permissions and the space on its disk",
            Self::Interrupted => "run it again; what is done is not done twice",
            Self::NoLayout { .. } => {
                "give a folder with `oci-layout` and `index.json`, or an uncompressed tar file of one, as `hallmark save` writes it"
            }
            Self::Refused { .. } => "do not use it: a program that writes layouts does not write this",
            Self::TooLarge { .. } => "it is no manifest that a registry would take; get the layout again",
        }
    }
}
