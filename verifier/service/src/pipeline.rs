//! The real thing behind the service: trust policies from files, and the pipeline that asks registries.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hallmark_policy::Timestamp;
use hallmark_policy::image::{ImageReference, Repository};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::Question;
use hallmark_registry::{
    Addresses, ClientCertificate, ClientCertificateError, Configuration, ConfigurationError, CredentialError,
    CredentialSource, HostConfiguration, Location, Mirror, Registry, Route, Routing, RoutingError, Serves,
};
use hallmark_verifier::example_keys::{self, EXAMPLE_KEYS};
use hallmark_verifier::{Clock, ContentLimits, ContentStore, EvidenceLimits, Pipeline, load_trust};

use crate::config::{self, Config, Evidence, RegistryHost, RegistryRoute};
use crate::files;
use crate::reload::{Load, LoadError, Loaded};
use crate::session::Session;
use crate::verdict::{ImageVerdict, PolicyInForce};

/// Makes sessions out of the files of the configuration, all over one pipeline, so that evidence outlives a reload.
pub struct PipelineLoader {
    pipeline: Pipeline,
    content: Option<Arc<ContentStore>>,
    registry: Option<Registry>,
    paths: Vec<PathBuf>,
    accept_example_keys: bool,
    dangers: Arc<Dangers>,
}

/// What weakens the checks of a registry, by its host in the normal form of references.
type Dangers = BTreeMap<String, Vec<&'static str>>;

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

impl PipelineLoader {
    /// A loader over a registry client as configured. No request is made. A folder for evidence that cannot be used is
    /// left alone, with a warning: verdicts do not need it.
    ///
    /// # Errors
    /// [`RegistrySetupError`] when the registry settings or credentials cannot be used.
    pub fn new(config: &Config) -> Result<Self, RegistrySetupError> {
        let clock: Clock = Arc::new(Timestamp::now);
        let mut hosts = BTreeMap::new();
        for (host, settings) in &config.registry.hosts {
            hosts.insert(host.clone(), host_configuration(settings)?);
        }
        let Evidence { directory, max_bytes, .. } = config.evidence.clone();
        let limits = ContentLimits { directory, disk_bytes: max_bytes, ..ContentLimits::STANDARD };
        let content = Arc::new(ContentStore::open(&limits));
        let mut configuration = Configuration {
            hosts,
            routes: config.registry.routes.iter().map(|(prefix, route)| route_of(prefix, route)).collect(),
            credentials: credentials(&config.registry)?,
            content_cache: Some(Arc::<ContentStore>::clone(&content)),
            ..Configuration::default()
        };
        for routing in routings(&config.registry)? {
            for note in &routing.notes {
                tracing::warn!(note, "routes of registries");
            }
            routing.add_to(&mut configuration);
        }
        let registry = Registry::new(configuration, Arc::clone(&clock))?;
        let source = Arc::new(registry.clone());
        let pipeline = Pipeline::with_content(source, clock, lives(&config.evidence), Some(Arc::clone(&content)));
        Ok(Self { content: Some(content), registry: Some(registry), ..Self::over(pipeline, config) })
    }

    /// A loader over a pipeline that the caller has made.
    #[must_use]
    pub fn over(pipeline: Pipeline, config: &Config) -> Self {
        let (paths, accept_example_keys) = (config.policies.clone(), config.danger_accept_example_keys);
        let dangers = Arc::new(dangers(config));
        Self { pipeline, content: None, registry: None, paths, accept_example_keys, dangers }
    }
}

fn dangers(config: &Config) -> Dangers {
    let settings = config.registry.hosts.iter().filter_map(|(host, settings)| {
        let is_local = settings.addresses == Some(crate::config::Addresses::DangerLocal);
        let named = [
            ("dangerAcceptInvalidCertificates", settings.danger_accept_invalid_certificates),
            ("dangerLocal", is_local),
            ("dangerPlainHttp", settings.danger_plain_http),
        ];
        let set: Vec<_> = named.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        let repository: Repository = format!("{host}/a").parse().ok()?;
        (!set.is_empty()).then(|| (repository.host().to_owned(), set))
    });
    settings.collect()
}

fn lives(evidence: &Evidence) -> EvidenceLimits {
    EvidenceLimits {
        listing_life: evidence.listing_life.0,
        tag_life: evidence.tag_life.0,
        absence_life: evidence.absence_life.0,
        ..EvidenceLimits::STANDARD
    }
}

/// The routes of other programs' files.
fn routings(settings: &crate::config::Registry) -> Result<Vec<Routing>, RoutingError> {
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

fn credentials(settings: &config::Registry) -> Result<CredentialSource, CredentialError> {
    let source = match settings.auth_files.as_slice() {
        [] => CredentialSource::from_environment()?,
        paths => CredentialSource::from_paths(paths)?,
    };
    match (&settings.credential_providers.config_file, &settings.credential_providers.bin_directory) {
        (Some(file), Some(directory)) => source.with_credential_providers(file, directory),
        _ => Ok(source),
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

impl Load for PipelineLoader {
    fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn content(&self) -> Option<Arc<ContentStore>> {
        self.content.clone()
    }

    fn registry(&self) -> Option<Registry> {
        self.registry.clone()
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        let trust = load_trust(&self.paths)
            .map_err(|error| LoadError { message: error.to_string(), hint: error.hint().to_owned() })?;
        let examples = example_keys::among(&trust.snapshot, EXAMPLE_KEYS);
        if let (Some(key), false) = (examples.first(), self.accept_example_keys) {
            return Err(LoadError {
                message: format!("a trust policy names the example key `{key}`, whose private half everybody has"),
                hint: "make your own with `hallmark key generate`; `dangerAcceptExampleKeys: true` is for trying out"
                    .to_owned(),
            });
        }
        if !examples.is_empty() {
            tracing::warn!(keys = examples.len(), "example keys are accepted: anybody can sign with them");
        }
        let digests = trust.snapshot.digests();
        let policies =
            digests.map(|(name, digest)| PolicyInForce { name: name.to_owned(), digest: digest.to_string() }).collect();
        let (pipeline, dangers) = (self.pipeline.clone(), Arc::clone(&self.dangers));
        Ok(Loaded {
            session: Arc::new(PipelineSession { pipeline, trust: trust.snapshot, policies, dangers }),
            files: trust.files,
        })
    }
}

/// One loaded set of trust policies with the pipeline behind it.
struct PipelineSession {
    pipeline: Pipeline,
    trust: TrustSnapshot,
    policies: Vec<PolicyInForce>,
    dangers: Arc<Dangers>,
}

impl Session for PipelineSession {
    fn policies(&self) -> &[PolicyInForce] {
        &self.policies
    }

    fn dangers(&self, image: &ImageReference) -> &[&'static str] {
        self.dangers.get(image.repository().host()).map(Vec::as_slice).unwrap_or_default()
    }

    fn verdict<'a>(&'a self, question: &'a Question, deadline: Instant) -> BoxFuture<'a, ImageVerdict> {
        async move { ImageVerdict::from(&self.pipeline.verdict(&self.trust, question, deadline).await) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_be_silent_about_what_weakens_the_checks_of_a_registry() {
        let config: Config = serde_saphyr::from_str(
            "registry:\n  hosts:\n    Registry.Example:5000: {addresses: dangerLocal, dangerPlainHttp: true}\n    \
             self-signed.example: {dangerAcceptInvalidCertificates: true}\n    \
             private.example: {addresses: private, tokenHosts: [a.example]}\n",
        )
        .unwrap();
        let expected = [
            ("registry.example:5000".to_owned(), vec!["dangerLocal", "dangerPlainHttp"]),
            ("self-signed.example".to_owned(), vec!["dangerAcceptInvalidCertificates"]),
        ];
        assert_eq!(dangers(&config), BTreeMap::from(expected));
    }
}
