//! The settings of trusted roots.

use std::path::PathBuf;

use hallmark_verifier::trust_root::Mirror;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Span};

/// How the trusted roots of Sigstore's instances are kept fresh: those that policies name, in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TrustRoots {
    /// A folder of this service alone for the last good roots; without one, a restart begins with what was built in.
    pub directory: Option<PathBuf>,
    /// How often the TUF repositories are asked; never with 0.
    pub refresh_every: Span,
    /// Where the public-good instance's TUF repository is read, in place of its own address.
    pub public_good_mirror: Option<String>,
    /// Where the staging instance's TUF repository is read, in place of its own address.
    pub staging_mirror: Option<String>,
    /// Where the TUF repository of GitHub's own instance is read, in place of its own address.
    pub github_mirror: Option<String>,
}

impl Default for TrustRoots {
    fn default() -> Self {
        Self {
            directory: None,
            refresh_every: Span::seconds(24 * 60 * 60),
            public_good_mirror: None,
            staging_mirror: None,
            github_mirror: None,
        }
    }
}

impl TrustRoots {
    /// Whether the addresses can be ones.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let problem = "is no http or https address without a password";
        for (setting, mirror) in [
            ("trustRoots.publicGoodMirror", &self.public_good_mirror),
            ("trustRoots.stagingMirror", &self.staging_mirror),
            ("trustRoots.githubMirror", &self.github_mirror),
        ] {
            if mirror.as_ref().is_some_and(|address| Mirror::at(address).is_err()) {
                return Err(ConfigError::Setting { setting, problem });
            }
        }
        Ok(())
    }
}
