//! Why credentials cannot be had.

use std::path::PathBuf;

/// Why credentials cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file is there and cannot be read.
    #[error("credentials in `{path}` cannot be read: {problem}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// The file is not a Docker `config.json` or a Podman `auth.json`.
    #[error("credentials in `{path}` are malformed: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the file's content.
        problem: String,
    },
    /// The configuration of credential providers cannot be used.
    #[error("the credential providers in `{path}` cannot be used: {problem}")]
    Providers {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl CredentialError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check that the file exists and that this user may read it",
            Self::Malformed { .. } => "log in again with `docker login` or `podman login`, which rewrites the file",
            Self::Providers { .. } => {
                "write it as the kubelet's CredentialProviderConfig (kubelet.config.k8s.io/v1), with the programs that it names in the directory of programs"
            }
        }
    }
}

/// Why nobody can say who we are to a registry just now. It is never taken for "nobody".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// The asker's time is over.
    Deadline,
    /// A program that should know has failed.
    Failed(String),
}
