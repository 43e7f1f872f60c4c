//! Who we are to each registry. Secrets never show in `Debug`, and are wiped from memory when dropped.
//!
//! What is known comes from files, and from programs that files or a configuration name. The narrowest scope that
//! covers a repository decides; a program that should know and fails makes the answer unknown, never "nobody".

mod answers;
mod docker_config;
mod docker_helper;
mod error;
mod explain;
mod files;
mod limits;
mod program;
mod provider;
mod scope;
mod secret;

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::image::Repository;

use answers::{Answers, Asked, Used};
use docker_config::{DockerConfig, Says};
use docker_helper::Helper;
pub use error::CredentialError;
pub(crate) use error::Unavailable;
use files::{Files, Place, Watched};
pub use program::KEY_SECRETS;
use provider::Provider;
pub(crate) use secret::Secret;

/// The name by which helpers and files say that the secret beside it is an identity token.
const TOKEN_USERNAME: &str = "<token>";

/// Where credentials come from: files of Docker's, Podman's and Kubernetes' forms, the credential helpers that they name,
/// and credential providers of the kubelet's kind.
///
/// Of all that covers a repository, the entry with the longest path is used; of equal ones, that of the file that was
/// named first, and in it a helper before what is written beside it. Where no entry covers it, the providers are asked
/// whose patterns do, in their order, and then the helpers of all hosts (`credsStore`). Files are read again when they change.
#[derive(Clone)]
pub struct CredentialSource {
    given: Arc<[DockerConfig]>,
    files: Option<Arc<Watched>>,
    providers: Arc<[Arc<Provider>]>,
    /// Where credential helpers are looked for.
    directories: Arc<[PathBuf]>,
    answers: Arc<Answers>,
}

/// What is known about us at one repository.
#[derive(Clone, Default)]
pub(crate) struct Lookup {
    pub(crate) credential: Option<Credential>,
    /// Why there is no credential although somebody was asked for one: the end of a sentence.
    pub(crate) note: Option<String>,
    used: Option<Used>,
}

/// How we show who we are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A name and a password.
    Basic { username: Secret, password: Secret },
    /// A token to be exchanged at the token service (`identitytoken`).
    IdentityToken { username: Secret, token: Secret },
}

/// Somebody who may know who we are at a repository.
enum Candidate<'a> {
    Known { config: &'a DockerConfig, credential: &'a Credential },
    Asked(Asked),
}

impl Credential {
    fn new(username: Secret, secret: Secret) -> Self {
        match username.expose() {
            TOKEN_USERNAME => Self::IdentityToken { username, token: secret },
            _ => Self::Basic { username, password: secret },
        }
    }

    fn basic(username: &str, password: &str) -> Self {
        Self::Basic { username: Secret::new(username.to_owned()), password: Secret::new(password.to_owned()) }
    }
}

impl CredentialSource {
    /// No credentials: every registry is asked anonymously.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            given: Arc::default(),
            files: None,
            providers: Arc::default(),
            directories: program::directories(std::env::var_os("PATH")).into(),
            answers: Arc::new(Answers::new()),
        }
    }

    /// The files that the usual environment names, in this order: `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG` (a folder,
    /// `~/.docker` by default), `$XDG_RUNTIME_DIR/containers/auth.json` and `$XDG_CONFIG_HOME/containers/auth.json`
    /// (`~/.config` by default). Files that are not there are left out until they are.
    ///
    /// # Errors
    /// [`CredentialError`] when a file is there and is not one.
    pub fn from_environment() -> Result<Self, CredentialError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = |folder: &str| variable("HOME").map(|home| home.join(folder));
        let paths = [
            variable("REGISTRY_AUTH_FILE"),
            variable("DOCKER_CONFIG").or_else(|| home(".docker")).map(|folder| folder.join("config.json")),
            variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
            variable("XDG_CONFIG_HOME").or_else(|| home(".config")).map(|folder| folder.join("containers/auth.json")),
        ];
        Self::watch(paths.into_iter().flatten().map(|path| Place { path, is_named: false }).collect())
    }

    /// Files of Docker's, Podman's or Kubernetes' form, or directories of them: in a directory and in its directories,
    /// the files `.dockerconfigjson`, `.dockercfg` and `*.json`, as Secrets are mounted.
    ///
    /// # Errors
    /// [`CredentialError`] when one is not there or is not one.
    pub fn from_paths(paths: &[PathBuf]) -> Result<Self, CredentialError> {
        Self::watch(paths.iter().map(|path| Place { path: path.clone(), is_named: true }).collect())
    }

    fn watch(places: Vec<Place>) -> Result<Self, CredentialError> {
        Ok(Self { files: Some(Arc::new(Watched::open(places)?)), ..Self::anonymous() })
    }

    /// Also asks credential providers: programs in one directory, and the kubelet's configuration of them
    /// (`CredentialProviderConfig`).
    ///
    /// # Errors
    /// [`CredentialError`] when the configuration is not one, or names what is not there.
    pub fn with_credential_providers(&self, configuration: &Path, programs: &Path) -> Result<Self, CredentialError> {
        let providers = provider::read(configuration, programs)?.into();
        Ok(Self { providers, answers: self.answers.emptied(), ..self.clone() })
    }

    /// Looks for credential helpers in these directories (written as `PATH` is), in place of those of `PATH`.
    #[must_use]
    pub fn with_helper_path(&self, path: OsString) -> Self {
        let directories = program::directories(Some(path)).into();
        Self { directories, answers: self.answers.emptied(), ..self.clone() }
    }

    /// Stops helpers and providers after this time. Default 10 seconds.
    #[must_use]
    pub fn with_program_timeout(&self, timeout: Duration) -> Self {
        Self { answers: Arc::new(Answers::with_timeout(timeout)), ..self.clone() }
    }

    /// A name and a password for a host, or for a path below a host (`registry.example.com/team`).
    #[must_use]
    pub fn with_password(&self, scope: &str, username: &str, password: &str) -> Self {
        let entry = DockerConfig::with_password(scope, username, password);
        Self { given: std::iter::once(entry).chain(self.given.iter().cloned()).collect(), ..self.clone() }
    }

    /// What is known about us at a repository, by a deadline.
    pub(crate) async fn find(&self, repository: &Repository, deadline: Instant) -> Result<Lookup, Unavailable> {
        let files = match &self.files {
            Some(watched) => watched.look().await,
            None => Arc::default(),
        };
        let mut note = None;
        for candidate in self.candidates(repository, &files) {
            let asked = match candidate {
                Candidate::Known { credential, .. } => {
                    return Ok(Lookup { credential: Some(credential.clone()), ..Lookup::default() });
                }
                Candidate::Asked(asked) => asked,
            };
            let (answer, used) = self.answers.ask(&asked, repository, deadline).await?;
            if let Some(credential) = answer.credential(repository) {
                return Ok(Lookup { credential: Some(credential.clone()), note: None, used: Some(used) });
            }
            note.get_or_insert_with(|| format!("`{}` has none for it", asked.program()));
        }
        Ok(Lookup { note, ..Lookup::default() })
    }

    /// Counts the changes of files: what was had before a change may be somebody else's.
    pub(crate) async fn generation(&self) -> u64 {
        match &self.files {
            Some(watched) => watched.look().await.generation,
            None => 0,
        }
    }

    /// What to do when a registry refuses what was found: files are read and programs are asked again, and what is
    /// found now is given back where it is something else.
    pub(crate) async fn find_another(
        &self,
        refused: &Lookup,
        repository: &Repository,
        deadline: Instant,
    ) -> Result<Option<Lookup>, Unavailable> {
        if let Some(used) = &refused.used
            && !self.answers.refuse(used)
        {
            return Ok(None);
        }
        if let Some(watched) = &self.files {
            watched.look_now().await;
        }
        let found = self.find(repository, deadline).await?;
        Ok(Some(found).filter(|found| found.credential.is_some() && found.credential != refused.credential))
    }

    /// What tells us apart from others at a repository, without any secret that changes by itself: where the credential
    /// comes from, and the name in it. A program is not run for it.
    pub(crate) fn identity(&self, repository: &Repository) -> Vec<Secret> {
        let files = self.files.as_ref().map(|watched| watched.now()).unwrap_or_default();
        let mut parts = Vec::new();
        let mut add = |part: &str| parts.push(Secret::new(part.to_owned()));
        for candidate in self.candidates(repository, &files) {
            match candidate {
                Candidate::Known { config, credential } => {
                    let (kind, username, secret) = match credential {
                        Credential::Basic { username, password } => ("basic", username, password),
                        Credential::IdentityToken { username, token } => ("identity token", username, token),
                    };
                    // What was handed in does not change by itself, and comes from no file that could tell it apart.
                    let source = config.path.as_deref().unwrap_or_else(|| secret.expose());
                    for part in [kind, source, username.expose()] {
                        add(part);
                    }
                    // What follows is never used.
                    break;
                }
                Candidate::Asked(Asked::Helper(helper)) => {
                    add("helper");
                    add(&helper.name);
                }
                Candidate::Asked(Asked::Provider(provider)) => {
                    add("provider");
                    for part in provider.identity() {
                        add(&part);
                    }
                }
            }
        }
        parts
    }

    /// Who may know, in the order in which they are asked.
    fn candidates<'a>(&'a self, repository: &Repository, files: &'a Files) -> Vec<Candidate<'a>> {
        let all: Vec<&DockerConfig> = self.given.iter().chain(files.files.iter().map(|config| &**config)).collect();
        let mut entries: Vec<_> = all
            .iter()
            .flat_map(|config| config.covering(repository).map(|(narrowness, entry)| (narrowness, *config, entry)))
            .collect();
        // Stable: of equals, the first.
        entries.sort_by_key(|(narrowness, ..)| Reverse(*narrowness));
        let helper = |name: &String| Candidate::Asked(Asked::Helper(self.helper(name)));
        let entries = entries.into_iter().map(|(_, config, entry)| match &entry.says {
            Says::Helper(name) => helper(name),
            Says::Credential(credential) => Candidate::Known { config, credential },
        });
        let providers = self.providers.iter().filter(|provider| provider.covers(repository));
        let providers = providers.map(|provider| Candidate::Asked(Asked::Provider(Arc::clone(provider))));
        let defaults = all.iter().filter_map(|config| config.default_helper.as_ref()).map(helper);
        entries.chain(providers).chain(defaults).collect()
    }

    fn helper(&self, name: &str) -> Helper {
        Helper { name: name.to_owned(), directories: Arc::clone(&self.directories) }
    }
}

impl Default for CredentialSource {
    fn default() -> Self {
        Self::anonymous()
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.as_ref().map(|watched| watched.now()).unwrap_or_default();
        let given = self.given.iter().map(|_| "password".to_owned());
        let files = files.files.iter().filter_map(|config| config.path.clone());
        let providers = self.providers.iter().map(|provider| provider.name.clone());
        f.debug_list().entries(given.chain(files).chain(providers)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        text.parse().unwrap()
    }

    async fn user(source: &CredentialSource, of: &str) -> String {
        let found = source.find(&repository(of), Instant::now() + Duration::from_secs(5)).await.unwrap();
        match found.credential {
            Some(Credential::Basic { username, .. } | Credential::IdentityToken { username, .. }) => {
                username.expose().to_owned()
            }
            None => String::new(),
        }
    }

    fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn must_not_show_a_secret_in_debug() {
        let source = CredentialSource::anonymous().with_password("r.example/team", "ann", "canary");
        let lookup = source.find(&repository("r.example/team/app"), Instant::now()).await.unwrap();
        let Some(Credential::Basic { password, .. }) = lookup.credential else { panic!("no credential") };
        assert_eq!(password.expose(), "canary");
        assert!(!format!("{source:?} {password:?}").contains("canary"));
    }

    #[tokio::test]
    async fn the_longest_path_decides_and_of_equal_ones_the_first_file() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |scope: &str, user: &str| {
            format!(r#"{{"auths": {{"{scope}": {{"username": "{user}", "password": "p"}}}}}}"#)
        };
        let paths = [
            file(folder.path(), "1", &entry("r.example", "first")),
            file(folder.path(), "2", &entry("r.example", "second")),
            file(folder.path(), "3", &entry("r.example/team-a", "third")),
        ];
        let source = CredentialSource::from_paths(&paths).unwrap();
        for (of, expected) in [
            ("r.example/x", "first"),
            ("r.example/team-a/x", "third"),
            ("r.example/team-b/x", "first"),
            ("s.example/team-a/x", ""),
        ] {
            assert_eq!(user(&source, of).await, expected, "{of}");
        }
        let given = source.with_password("r.example", "given", "p");
        assert_eq!(user(&given, "r.example/x").await, "given");
        assert_eq!(user(&given, "r.example/team-a/x").await, "third");
    }

    #[test]
    fn a_file_that_is_not_there_or_is_no_file_of_credentials_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let open = || CredentialSource::from_paths(&[folder.path().join("config.json")]);
        assert!(matches!(open(), Err(CredentialError::Unreadable { .. })));
        file(folder.path(), "config.json", "{\"auths\": {\"r.example\": {\"auth\": \"canary!!\"}}}");
        let error = open().unwrap_err();
        assert!(matches!(error, CredentialError::Malformed { .. }), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(!error.hint().is_empty());
    }

    #[test]
    fn the_identity_outlives_a_rotated_secret_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let identity = |name: &str, text: &str, of: &str| {
            let source = CredentialSource::from_paths(&[file(folder.path(), name, text)]).unwrap();
            let parts = source.identity(&repository(of));
            parts.iter().map(|part| part.expose().to_owned()).collect::<Vec<_>>()
        };
        let entry = |user: &str, password: &str| {
            format!(r#"{{"auths": {{"r.example": {{"username": "{user}", "password": "{password}"}}}}}}"#)
        };
        let ann = identity("a", &entry("ann", "1"), "r.example/x");
        assert_eq!(ann, identity("a", &entry("ann", "2"), "r.example/x"));
        assert!(!ann.is_empty() && !ann.iter().any(|part| part == "1"));
        let helper = r#"{"credHelpers": {"r.example": "one"}}"#;
        for other in [
            identity("a", &entry("bob", "1"), "r.example/x"),
            identity("b", &entry("ann", "1"), "r.example/x"),
            identity("a", &entry("ann", "1"), "s.example/x"),
            identity("a", helper, "r.example/x"),
            identity("a", &helper.replace("one", "two"), "r.example/x"),
        ] {
            assert_ne!(ann, other);
        }
    }
}
