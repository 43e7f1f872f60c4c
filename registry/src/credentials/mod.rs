//! Who we are to each registry. Secrets never show in `Debug`, and are wiped from memory when dropped.

mod docker_config;
mod secret;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hallmark_policy::image::Repository;
use zeroize::Zeroizing;

use docker_config::{DockerConfig, Entry};
pub(crate) use secret::Secret;

/// Largest file of credentials that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where credentials come from: files of Docker's and Podman's form, in order. The first file that knows a
/// repository decides; in it, the entry with the longest path.
#[derive(Clone, Default)]
pub struct CredentialSource {
    files: Arc<[DockerConfig]>,
}

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
}

impl CredentialError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check that the file exists and that this user may read it",
            Self::Malformed { .. } => "log in again with `docker login` or `podman login`, which rewrites the file",
        }
    }
}

/// What is known about us at one repository.
pub(crate) struct Lookup {
    pub(crate) credential: Option<Credential>,
    /// Why there is no credential although a file speaks of the host: the end of a sentence.
    pub(crate) note: Option<String>,
}

/// How we show who we are.
#[derive(Clone)]
pub(crate) enum Credential {
    /// A name and a password.
    Basic { username: Secret, password: Secret },
    /// A token to be exchanged at the token service (`identitytoken`).
    IdentityToken(Secret),
}

impl CredentialSource {
    /// No credentials: every registry is asked anonymously.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The files that the usual environment names, in this order: `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG` (a folder,
    /// `~/.docker` by default) and `$XDG_RUNTIME_DIR/containers/auth.json`. Files that are not there are left out.
    ///
    /// # Errors
    /// [`CredentialError`] when a file is there and is not one.
    pub fn from_environment() -> Result<Self, CredentialError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
        let paths = [
            variable("REGISTRY_AUTH_FILE"),
            docker.map(|folder| folder.join("config.json")),
            variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        ];
        let mut files = Vec::new();
        for path in paths.into_iter().flatten() {
            if path.try_exists().unwrap_or(true) {
                files.push(read_file(&path)?);
            }
        }
        Ok(Self { files: files.into() })
    }

    /// One file of Docker's or Podman's form.
    ///
    /// # Errors
    /// [`CredentialError`] when it is not there or is not one.
    pub fn from_file(path: &Path) -> Result<Self, CredentialError> {
        Ok(Self { files: Arc::new([read_file(path)?]) })
    }

    /// A name and a password for a host, or for a path below a host (`registry.example.com/team`).
    #[must_use]
    pub fn with_password(&self, scope: &str, username: &str, password: &str) -> Self {
        let entry = DockerConfig::with_password(scope, username, password);
        Self { files: std::iter::once(entry).chain(self.files.iter().cloned()).collect() }
    }

    /// What is known about us at a repository.
    pub(crate) fn find(&self, repository: &Repository) -> Lookup {
        let mut note = None;
        for file in self.files.iter() {
            match file.find(repository) {
                None => {}
                Some(Entry::Credential(credential)) => return Lookup { credential: Some(credential), note: None },
                Some(Entry::Helper(helper)) => {
                    note.get_or_insert_with(|| {
                        format!(
                            "`{}` keeps them in the credential helper `docker-credential-{helper}`, and credential \
                             helpers are not supported yet",
                            file.name
                        )
                    });
                }
            }
        }
        Lookup { credential: None, note }
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files.iter().map(|file| &file.name)).finish()
    }
}

fn read_file(path: &Path) -> Result<DockerConfig, CredentialError> {
    let unreadable = |problem: String| CredentialError::Unreadable { path: path.to_owned(), problem };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(format!("it has {size} bytes, and the limit is {MAX_FILE_BYTES}")));
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(|error| unreadable(error.to_string()))?);
    DockerConfig::parse(&path.display().to_string(), &bytes)
        .map_err(|problem| CredentialError::Malformed { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_show_a_secret_in_debug() {
        let source = CredentialSource::anonymous().with_password("r.example/team", "ann", "canary");
        let lookup = source.find(&"r.example/team/app".parse().unwrap());
        let Some(Credential::Basic { password, .. }) = lookup.credential else { panic!("no credential") };
        assert_eq!(password.expose(), "canary");
        assert!(!format!("{source:?} {password:?}").contains("canary"));
    }

    #[test]
    fn the_first_file_that_knows_the_repository_decides() {
        let source =
            CredentialSource::anonymous().with_password("r.example", "b", "2").with_password("r.example/a", "a", "1");
        let user = |repository: &str| match source.find(&repository.parse().unwrap()).credential {
            Some(Credential::Basic { username, .. }) => username.expose().to_owned(),
            _ => String::new(),
        };
        assert_eq!(
            (user("r.example/a/x").as_str(), user("r.example/b").as_str(), user("s.example/a").as_str()),
            ("a", "b", "")
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_is_no_file_of_credentials_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(matches!(CredentialSource::from_file(&path), Err(CredentialError::Unreadable { .. })));
        std::fs::write(&path, b"{\"auths\": {\"r.example\": {\"auth\": \"canary!!\"}}}").unwrap();
        let error = CredentialSource::from_file(&path).unwrap_err();
        assert!(matches!(error, CredentialError::Malformed { .. }), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(!error.hint().is_empty());
    }
}
