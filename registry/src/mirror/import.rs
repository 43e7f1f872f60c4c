//! Routes out of the files that other programs keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::{Route, hosts_toml, registries_conf};
use crate::client_certificate::ClientCertificateError;
use crate::configuration::{Configuration, HostConfiguration, dialled};

/// Most bytes of one file. A route has about 200.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Routes, and how the hosts on them are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// The routes.
    pub routes: Vec<Route>,
    /// What differs for single hosts.
    pub hosts: BTreeMap<String, HostConfiguration>,
    /// What of the files was left out, or weakens a check: sentences without a full stop.
    pub notes: Vec<String>,
}

/// Why routes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// A client certificate that a file names cannot be read.
    #[error(transparent)]
    ClientCertificate(#[from] ClientCertificateError),
    /// The file says what cannot be done, or is not of its format.
    #[error("`{}` {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// The file or folder cannot be read.
    #[error("`{}` cannot be read: {problem}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

impl RoutingError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ClientCertificate(error) => error.hint(),
            Self::Content { .. } => {
                "change the file, or leave it out and write the routes in Hallmark's own configuration"
            }
            Self::Unreadable { .. } => "check the path, and that this user may read it",
        }
    }
}

impl Routing {
    /// The routes of a `registries.conf` (version 2) and of the files in the folder beside it that has its name and
    /// `.d`: a later file replaces what an earlier one says of a prefix (containers-registries.conf(5),
    /// containers-registries.conf.d(5)).
    ///
    /// # Errors
    /// [`RoutingError`] names the file and what is wrong with it.
    pub fn read_registries_conf(path: &Path) -> Result<Self, RoutingError> {
        registries_conf::read(path)
    }

    /// The routes of a folder with a folder for each registry, as containerd and Docker keep them: `hosts.toml`
    /// (containerd, `docs/hosts.md`), or certificates alone.
    ///
    /// # Errors
    /// [`RoutingError`] names the file and what is wrong with it.
    pub fn read_hosts_directory(path: &Path) -> Result<Self, RoutingError> {
        hosts_toml::read(path)
    }

    /// Adds these to a configuration. What it says of a host itself, however it writes its name, replaces what is said of
    /// that host here.
    pub fn add_to(self, configuration: &mut Configuration) {
        configuration.routes.extend(self.routes);
        let said: BTreeSet<String> =
            configuration.hosts.iter().filter_map(|(host, settings)| dialled(host, settings)).collect();
        let new = self.hosts.into_iter();
        let new = new.filter(|(host, settings)| dialled(host, settings).is_none_or(|host| !said.contains(&host)));
        configuration.hosts.extend(new);
    }

    /// Whatever certificate this host has is accepted from now on. This machine speaks plain HTTP without certificates.
    pub(super) fn accept_any_certificate(&mut self, host: &str, setting: &str) {
        let is_local = format!("https://{host}/").parse().is_ok_and(|url| crate::endpoint::is_loopback(&url));
        if is_local {
            return;
        }
        self.hosts.entry(host.to_owned()).or_default().danger_accept_invalid_certificates = true;
        self.notes
            .push(format!("`{setting}` for `{host}`: any certificate is accepted from it, whatever is asked for"));
    }
}

/// A file as text, within its bound.
pub(super) fn read_text(path: &Path) -> Result<String, RoutingError> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes)
        .map_err(|_| RoutingError::Content { path: path.to_owned(), problem: "is not text".to_owned() })
}

pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, RoutingError> {
    let unreadable = |problem: String| RoutingError::Unreadable { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_FILE_BYTES => Ok(bytes),
        _ => Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes"))),
    }
}

/// Whether there is something of this name, also a link that leads nowhere. What cannot be looked at is not overlooked:
/// it could block a name.
pub(super) fn is_there(path: &Path) -> Result<bool, RoutingError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(RoutingError::Unreadable { path: path.to_owned(), problem: error.to_string() }),
    }
}

/// Whether this leads to a folder.
pub(super) fn is_folder(path: &Path) -> Result<bool, RoutingError> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| RoutingError::Unreadable { path: path.to_owned(), problem: error.to_string() })?;
    Ok(metadata.is_dir())
}

/// The names in a folder in alphabetical order, at most so many.
pub(super) fn list(path: &Path, most: usize) -> Result<Vec<PathBuf>, RoutingError> {
    let unreadable = |problem: String| RoutingError::Unreadable { path: path.to_owned(), problem };
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(error.to_string()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| unreadable(error.to_string()))?.path());
        if paths.len() > most {
            return Err(unreadable(format!("it has more than {most} entries")));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hallmark_policy::Timestamp;

    use super::*;
    use crate::Registry;

    #[test]
    fn must_not_let_a_file_weaken_what_the_configuration_says_of_a_host() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registries.conf");
        for (own, of_file, image, is_replaced) in [
            ("r.example", "r.example", "r.example/a", true),
            ("R.Example", "r.example", "r.example/a", true),
            ("r.example:443", "r.example", "r.example/a", true),
            ("index.docker.io", "docker.io", "docker.io/library/a", true),
            ("docker.io", "registry-1.docker.io", "docker.io/library/a", true),
            // Its twins: of another host, and of another port, the file is believed.
            ("s.example", "r.example", "r.example/a", false),
            ("r.example:5000", "r.example", "r.example/a", false),
        ] {
            std::fs::write(&file, format!("[[registry]]\nlocation = \"{of_file}\"\ninsecure = true\n")).unwrap();
            let mut configuration = Configuration::default();
            configuration.hosts.insert(own.to_owned(), HostConfiguration::default());
            Routing::read_registries_conf(&file).unwrap().add_to(&mut configuration);
            let registry = Registry::new(configuration, Arc::new(|| Timestamp::UNIX_EPOCH)).unwrap();
            let dangers = registry.dangers(&image.parse().unwrap());
            assert_eq!(dangers.is_empty(), is_replaced, "{own} {of_file}: {dangers:?}");
        }
    }

    /// What is weakened for a host that is dialled as another name's is said of both.
    #[test]
    fn must_not_be_silent_about_what_weakens_a_host_under_another_name() {
        let lax = HostConfiguration { danger_accept_invalid_certificates: true, ..HostConfiguration::default() };
        for (host, image) in [("r.example:443", "r.example/a"), ("registry-1.docker.io", "docker.io/library/a")] {
            let mut configuration = Configuration::default();
            configuration.hosts.insert(host.to_owned(), lax.clone());
            let registry = Registry::new(configuration, Arc::new(|| Timestamp::UNIX_EPOCH)).unwrap();
            assert_eq!(registry.dangers(&image.parse().unwrap()), ["dangerAcceptInvalidCertificates"], "{host}");
            assert!(registry.dangers(&"other.example/a".parse().unwrap()).is_empty());
        }
    }
}
