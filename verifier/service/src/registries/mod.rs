//! How registries are reached, as the settings and the files that they name say; the files are read again while the
//! service runs.
//!
//! What they say is compared, and not what they look like: a file that another file names counts as well. (Credentials
//! in files are read again by the client itself, with each request.)

mod reload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::evidence::{Evidence, Observation, Scope};
use hallmark_policy::image::{Digest, ImageReference, Repository};
use hallmark_registry::{
    Addresses, ClientCertificate, ClientCertificateError, Configuration, ConfigurationError, CredentialError,
    CredentialSource, HostConfiguration, Location, Mirror, Partition, Registry, Route, Routing, RoutingError, Serves,
};
use hallmark_verifier::{Clock, ContentStore, EvidenceSource};

use crate::config::{Registry as Settings, RegistryHost, RegistryRoute};
use crate::files;

pub(crate) use reload::RegistriesReloader;

/// Most bytes of a `CredentialProviderConfig`; the client has the same bound.
const MAX_PROVIDERS_BYTES: u64 = 1024 * 1024;

/// Why registries cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum RegistrySetupError {
    /// A file of certificate authorities cannot be read.
    #[error("setting `registry.hosts`: CA file `{}` cannot be read: {problem}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// A client certificate or its key cannot be read.
    #[error("setting `registry.hosts`: {0}")]
    ClientCertificate(#[from] ClientCertificateError),
    /// The settings do not make a client.
    #[error("setting `registry`: {0}")]
    Configuration(#[from] ConfigurationError),
    /// A file with routes cannot be used.
    #[error("setting `registry`: {0}")]
    Routing(#[from] RoutingError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

impl RegistrySetupError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::CaFile { .. } => "check the path and the permissions",
            Self::ClientCertificate(error) => error.hint(),
            Self::Configuration(error) => error.hint(),
            Self::Credentials(error) => error.hint(),
            Self::Routing(error) => error.hint(),
        }
    }
}

/// The client of all registries, in the way in which they are reached now.
pub struct Registries {
    settings: Settings,
    content: Arc<ContentStore>,
    /// Those of files, without the providers.
    credentials: CredentialSource,
    in_force: RwLock<InForce>,
}

struct InForce {
    client: Registry,
    credentials: CredentialSource,
    written: Written,
}

/// What the settings and the files that they name say.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Written {
    hosts: BTreeMap<String, HostConfiguration>,
    routes: Vec<Route>,
    notes: Vec<String>,
    /// The configuration of the credential providers.
    providers: Option<Digest>,
}

impl Registries {
    /// Reads the files. No request is made.
    ///
    /// # Errors
    /// [`RegistrySetupError`] when settings, files or credentials cannot be used.
    pub fn open(settings: &Settings, content: Arc<ContentStore>, clock: Clock) -> Result<Self, RegistrySetupError> {
        let written = Written::read(settings)?;
        let files = credentials_of_files(settings)?;
        let credentials = with_providers(&files, settings)?;
        let client = Registry::new(written.configuration(&credentials, &content), clock)?;
        written.tell_notes();
        let in_force = RwLock::new(InForce { client, credentials, written });
        Ok(Self { settings: settings.clone(), content, credentials: files, in_force })
    }

    /// The client by which registries are asked now.
    #[must_use]
    pub fn client(&self) -> Registry {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    /// Whether there are files that are to be read again.
    fn names_files(&self) -> bool {
        let Settings { credential_providers, registries_conf, hosts_directory, hosts, .. } = &self.settings;
        let mut hosts = hosts.values();
        credential_providers.config_file.is_some()
            || registries_conf.is_some()
            || hosts_directory.is_some()
            || hosts.any(|host| host.ca_file.is_some() || host.client_certificate_file.is_some())
    }

    /// What is written now.
    pub(crate) fn read(&self) -> Result<Written, RegistrySetupError> {
        Written::read(&self.settings)
    }

    fn is_in_force(&self, written: &Written) -> bool {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).written == *written
    }

    /// Reaches registries as is written from now on.
    pub(crate) fn put_in_force(&self, written: Written) -> Result<(), RegistrySetupError> {
        let (old, credentials, providers) = {
            let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
            (in_force.client.clone(), in_force.credentials.clone(), in_force.written.providers)
        };
        // What providers have answered stays with them.
        let credentials = match written.providers == providers {
            true => credentials,
            false => with_providers(&self.credentials, &self.settings)?,
        };
        let client = old.renewed(written.configuration(&credentials, &self.content))?;
        written.tell_notes();
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = InForce { client, credentials, written };
        Ok(())
    }
}

impl EvidenceSource for Registries {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>> {
        let client = self.client();
        async move { client.resolve_on_route(image).await }.boxed()
    }

    fn gather<'a>(&'a self, image: &'a ImageReference, deadline: Instant) -> BoxFuture<'a, Evidence> {
        let client = self.client();
        async move { client.gather(image, deadline).await }.boxed()
    }

    fn gather_until<'a>(
        &'a self,
        image: &'a ImageReference,
        deadline: Instant,
        enough: &'a (dyn Fn(&Evidence) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Evidence> {
        let client = self.client();
        async move { client.gather_until(image, deadline, enough).await }.boxed()
    }

    fn gather_within<'a>(
        &'a self,
        image: &'a ImageReference,
        scope: &'a Scope,
        deadline: Instant,
    ) -> BoxFuture<'a, Evidence> {
        let client = self.client();
        async move { client.gather_within(image, scope, deadline).await }.boxed()
    }

    fn partition(&self, repository: &Repository) -> Partition {
        self.client().partition(repository)
    }

    fn dangers(&self, repository: &Repository) -> Vec<&'static str> {
        self.client().dangers(repository)
    }
}

impl Written {
    fn read(settings: &Settings) -> Result<Self, RegistrySetupError> {
        let mut configuration = Configuration::default();
        for (host, of_host) in &settings.hosts {
            configuration.hosts.insert(host.clone(), host_configuration(of_host)?);
        }
        configuration.routes = settings.routes.iter().map(|(prefix, route)| route_of(prefix, route)).collect();
        let mut notes = Vec::new();
        for mut routing in routings(settings)? {
            notes.append(&mut routing.notes);
            routing.add_to(&mut configuration);
        }
        // What cannot be read is said where it is used.
        let providers = settings.credential_providers.config_file.as_deref();
        let providers = providers.and_then(|path| files::read(path, MAX_PROVIDERS_BYTES).ok());
        let providers = providers.map(|bytes| Digest::of(&bytes));
        Ok(Self { hosts: configuration.hosts, routes: configuration.routes, notes, providers })
    }

    fn configuration(&self, credentials: &CredentialSource, content: &Arc<ContentStore>) -> Configuration {
        Configuration {
            hosts: self.hosts.clone(),
            routes: self.routes.clone(),
            credentials: credentials.clone(),
            content_cache: Some(Arc::<ContentStore>::clone(content)),
            ..Configuration::default()
        }
    }

    fn tell_notes(&self) {
        for note in &self.notes {
            tracing::warn!(note, "routes of registries");
        }
    }
}

fn with_providers(source: &CredentialSource, settings: &Settings) -> Result<CredentialSource, CredentialError> {
    match (&settings.credential_providers.config_file, &settings.credential_providers.bin_directory) {
        (Some(file), Some(directory)) => source.with_credential_providers(file, directory),
        _ => Ok(source.clone()),
    }
}

/// The routes of other programs' files.
fn routings(settings: &Settings) -> Result<Vec<Routing>, RoutingError> {
    let conf = settings.registries_conf.iter().map(|path| Routing::read_registries_conf(path));
    let directory = settings.hosts_directory.iter().map(|path| Routing::read_hosts_directory(path));
    conf.chain(directory).collect()
}

fn route_of(prefix: &str, route: &RegistryRoute) -> Route {
    let mirrors = route.mirrors.iter().map(|mirror| Mirror {
        location: Location::new(mirror.location.as_str()),
        serves: match mirror.serves {
            crate::config::Serves::Digests => Serves::Digests,
            crate::config::Serves::DigestsAndTags => Serves::DigestsAndTags,
            crate::config::Serves::Tags => Serves::Tags,
        },
    });
    let location = route.location.as_deref().map(Location::new);
    Route { prefix: prefix.to_owned(), location, is_blocked: route.blocked, mirrors: mirrors.collect() }
}

/// The credentials of files, which are read again by themselves.
fn credentials_of_files(settings: &Settings) -> Result<CredentialSource, CredentialError> {
    match settings.auth_files.as_slice() {
        [] => CredentialSource::from_environment(),
        paths => CredentialSource::from_paths(paths),
    }
}

fn host_configuration(settings: &RegistryHost) -> Result<HostConfiguration, RegistrySetupError> {
    let read = |path: &PathBuf| {
        let fail = |problem: String| RegistrySetupError::CaFile { path: path.clone(), problem };
        files::read(path, files::MAX_PEM_BYTES).map_err(fail)
    };
    Ok(HostConfiguration {
        plain_http: settings.danger_plain_http,
        ca_certificates_pem: settings.ca_file.as_ref().map(read).transpose()?,
        client_certificate: match &settings.client_certificate_file {
            Some(file) => Some(ClientCertificate::read(file, settings.client_key_file.as_deref())?),
            None => None,
        },
        danger_accept_invalid_certificates: settings.danger_accept_invalid_certificates,
        token_hosts: settings.token_hosts.clone(),
        addresses: settings.addresses.map(|addresses| match addresses {
            crate::config::Addresses::Public => Addresses::Public,
            crate::config::Addresses::Private => Addresses::Private,
            crate::config::Addresses::DangerLocal => Addresses::DangerLocal,
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use hallmark_policy::Timestamp;
    use hallmark_verifier::ContentLimits;

    use super::*;

    pub(super) const PROVIDERS: &str = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: p\n  \
                             apiVersion: credentialprovider.kubelet.k8s.io/v1\n  matchImages: [r.example]\n  \
                             defaultCacheDuration: AGE\n";

    fn certificate() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["r.example".to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    pub(super) fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn open(settings: &Settings) -> Registries {
        let content = Arc::new(ContentStore::open(&ContentLimits::STANDARD));
        Registries::open(settings, content, Arc::new(|| Timestamp::UNIX_EPOCH)).unwrap()
    }

    /// Each kind of file: what it says at first, then, and what it must not be.
    #[test]
    fn every_file_that_a_setting_names_is_read_again_and_a_damaged_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let ((first, first_key), (second, second_key)) = (certificate(), certificate());
        let both = |certificate: &str, key: &str| format!("{certificate}{key}");
        let host =
            |host: RegistryHost| Settings { hosts: [("r.example".to_owned(), host)].into(), ..Settings::default() };
        write(folder.path(), "bin/p", "");
        let providers = crate::config::CredentialProviders {
            config_file: Some(at("providers.yaml")),
            bin_directory: Some(at("bin")),
        };
        write(folder.path(), "hosts/r.example/hosts.toml", "ca = \"../../ca-of-hosts.pem\"");
        let conf = |blocked: &str| format!("[[registry]]\nlocation = \"r.example\"\nblocked = {blocked}\n");
        let cases = [
            (
                "ca.pem",
                first.clone(),
                second.clone(),
                host(RegistryHost { ca_file: Some(at("ca.pem")), ..Default::default() }),
            ),
            (
                "client.pem",
                both(&first, &first_key),
                both(&second, &second_key),
                host(RegistryHost { client_certificate_file: Some(at("client.pem")), ..Default::default() }),
            ),
            (
                "ca-of-hosts.pem",
                first.clone(),
                second.clone(),
                Settings { hosts_directory: Some(at("hosts")), ..Default::default() },
            ),
            (
                "registries.conf",
                conf("true"),
                conf("false"),
                Settings { registries_conf: Some(at("registries.conf")), ..Default::default() },
            ),
            (
                "providers.yaml",
                PROVIDERS.replace("AGE", "1h"),
                PROVIDERS.replace("AGE", "2h"),
                Settings { credential_providers: providers, ..Default::default() },
            ),
        ];
        for (name, before, after, settings) in cases {
            write(folder.path(), name, &before);
            let registries = open(&settings);
            assert!(registries.names_files() && registries.is_in_force(&registries.read().unwrap()), "{name}");
            write(folder.path(), name, "damaged");
            let outcome = registries.read().and_then(|written| registries.put_in_force(written));
            let error = outcome.expect_err(name);
            assert!(!error.hint().is_empty(), "{error}");
            write(folder.path(), name, &before);
            assert!(registries.is_in_force(&registries.read().unwrap()), "{name}: what was in force is in force");
            write(folder.path(), name, &after);
            let written = registries.read().unwrap();
            assert!(!registries.is_in_force(&written), "{name}");
            registries.put_in_force(written.clone()).unwrap();
            assert!(registries.is_in_force(&written), "{name}");
        }
        assert!(!open(&Settings::default()).names_files());
    }
}
