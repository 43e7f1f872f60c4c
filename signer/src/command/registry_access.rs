//! How the verbs reach registries: some flags, the usual sources of credentials, and one runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::Timestamp;
use hallmark_policy::image::ImageReference;
use hallmark_registry::{
    Addresses, ClientCertificate, Configuration, CredentialError, CredentialSource, HostConfiguration, Registry,
    Routing, RoutingError,
};
use hallmark_verifier::{EvidenceLimits, Pipeline};

use super::files;
use crate::error::{Exit, Failure};
use crate::output::Output;

/// Most bytes of a file of certificates: the roots of a whole operating system have about 250 KiB.
const MAX_CERTIFICATES_BYTES: u64 = 2 * 1024 * 1024;
/// How long a run that writes waits for a registry that asks for less traffic: two of the longest windows. Half of a
/// thousand signatures is worse than a late thousand.
const PATIENCE: Duration = Duration::from_secs(600);

/// How registries are reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registry")]
#[group(skip)]
pub(super) struct Arguments {
    /// Talk plain HTTP to the images' registries (loopback hosts do so anyway)
    #[arg(long)]
    allow_http_registry: bool,
    /// Accept any certificate from the images' registries: anybody between you and them can then pose as them
    #[arg(long)]
    allow_insecure_registry: bool,
    /// Believe the images' registries by these certificate authorities, too (PEM), and their --registry-token-host
    #[arg(long, value_name = "FILE")]
    registry_ca_cert: Option<PathBuf>,
    /// Show the images' registries this certificate, where they ask for one (PEM)
    #[arg(long, value_name = "FILE")]
    registry_client_cert: Option<PathBuf>,
    /// The private key of `--registry-client-cert`, where it is not in the same file (PEM, closed to others)
    #[arg(long, value_name = "FILE", requires = "registry_client_cert")]
    registry_client_key: Option<PathBuf>,
    /// Reach this host (with its port) in a private network, although only a registry names it: storage, token services
    #[arg(long, value_name = "HOST")]
    registry_private_host: Vec<String>,
    /// Log in with what this file says, in place of the usual ones: a config.json, an auth.json, or a directory of
    /// mounted Secrets; may be repeated
    #[arg(long, value_name = "FILE")]
    registry_auth_file: Vec<PathBuf>,
    /// Ask the kubelet's credential providers, by their CredentialProviderConfig
    #[arg(long, value_name = "FILE", requires = "credential_provider_bin_dir")]
    credential_provider_config: Option<PathBuf>,
    /// The directory of the programs that --credential-provider-config names
    #[arg(long, value_name = "DIR", requires = "credential_provider_config")]
    credential_provider_bin_dir: Option<PathBuf>,
    /// Show this host (with its port) the credentials of the images' registries, when they name it as their token service
    #[arg(long, value_name = "HOST")]
    registry_token_host: Vec<String>,
    /// Follow the mirrors, locations and blocks of this `registries.conf` (version 2) and of the folder `FILE.d`
    #[arg(long, value_name = "FILE")]
    registries_conf: Option<PathBuf>,
    /// Follow the `hosts.toml` of each registry in this folder, as containerd does, or Docker's certificates in it
    #[arg(long, value_name = "FOLDER")]
    registry_hosts_dir: Option<PathBuf>,
    /// Give up on a registry after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl Arguments {
    /// A client for the registries of these images.
    pub(super) fn registry(&self, images: &[ImageReference], output: Output) -> Result<Registry, Failure> {
        self.client(images, output, Configuration::default())
    }

    /// A client that waits for registries that ask for less traffic.
    pub(super) fn patient_registry(&self, images: &[ImageReference], output: Output) -> Result<Registry, Failure> {
        self.client(images, output, Configuration { throttle_patience: PATIENCE, ..Configuration::default() })
    }

    fn client(&self, images: &[ImageReference], output: Output, base: Configuration) -> Result<Registry, Failure> {
        if self.allow_insecure_registry {
            output.warning("certificates of registries are not checked: anybody on the way can pose as them");
        }
        let host = HostConfiguration {
            plain_http: self.allow_http_registry,
            ca_certificates_pem: self.registry_ca_cert.as_deref().map(read_certificates).transpose()?,
            client_certificate: self.client_certificate()?,
            danger_accept_invalid_certificates: self.allow_insecure_registry,
            token_hosts: self.registry_token_host.clone(),
            addresses: None,
        };
        let hosts: BTreeMap<_, _> = match host == HostConfiguration::default() {
            true => BTreeMap::new(),
            false => images.iter().map(|image| (image.repository().host().to_owned(), host.clone())).collect(),
        };
        let credentials =
            self.credentials().map_err(|error| Failure::new(Exit::Invalid, error.to_string(), error.hint()))?;
        let mut configuration = Configuration { hosts, credentials, operation_timeout: self.limit(), ..base };
        self.add_routes(&mut configuration, output)
            .map_err(|error| Failure::new(Exit::Invalid, error.to_string(), error.hint()))?;
        for private in &self.registry_private_host {
            configuration.change_host(private, |host| host.addresses = Some(Addresses::Private));
        }
        Registry::new(configuration, clock())
            .map_err(|error| Failure::new(Exit::Invalid, error.to_string(), error.hint()))
    }

    /// What other programs' files say of where images are read.
    fn add_routes(&self, configuration: &mut Configuration, output: Output) -> Result<(), RoutingError> {
        let conf = self.registries_conf.iter().map(|path| Routing::read_registries_conf(path));
        let directory = self.registry_hosts_dir.iter().map(|path| Routing::read_hosts_directory(path));
        for routing in conf.chain(directory) {
            let routing = routing?;
            for note in &routing.notes {
                output.warning(note);
            }
            routing.add_to(configuration);
        }
        Ok(())
    }

    fn credentials(&self) -> Result<CredentialSource, CredentialError> {
        let source = match self.registry_auth_file.as_slice() {
            [] => CredentialSource::from_environment()?,
            paths => CredentialSource::from_paths(paths)?,
        };
        match (&self.credential_provider_config, &self.credential_provider_bin_dir) {
            (Some(file), Some(directory)) => source.with_credential_providers(file, directory),
            _ => Ok(source),
        }
    }

    fn client_certificate(&self) -> Result<Option<ClientCertificate>, Failure> {
        let Some(certificate) = &self.registry_client_cert else { return Ok(None) };
        ClientCertificate::read(certificate, self.registry_client_key.as_deref())
            .map(Some)
            .map_err(|error| Failure::new(Exit::Invalid, error.to_string(), error.hint()))
    }

    /// The pipeline over a client for the registries of these images.
    pub(super) fn pipeline(&self, images: &[ImageReference], output: Output) -> Result<Pipeline, Failure> {
        Ok(Pipeline::new(Arc::new(self.registry(images, output)?), clock(), EvidenceLimits::STANDARD))
    }

    /// When an operation that starts now has taken too long.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.limit()
    }

    /// The same, where a registry that asks for less traffic is waited for.
    pub(super) fn patient_deadline(&self) -> Instant {
        self.deadline() + PATIENCE
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// The one place where the program reads the clock for a decision.
pub(super) fn clock() -> hallmark_verifier::Clock {
    Arc::new(Timestamp::now)
}

/// Runs what waits for registries.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure {
        exit: Exit::Unexpected,
        message: format!("the system gives no means to wait for answers: {error}"),
        hint: None,
    })?;
    Ok(runtime.block_on(work))
}

/// Parses image references, all of them before anything is done.
pub(super) fn images(texts: &[String]) -> Result<Vec<ImageReference>, Failure> {
    texts.iter().map(|text| text.parse().map_err(Failure::from)).collect()
}

/// Parses `key=value` flags.
pub(super) fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut annotations = BTreeMap::new();
    for text in texts {
        let hint = "write each as `--annotations key=value`, each key once";
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::new(Exit::Usage, format!("annotation `{text}` has no key or no `=`"), hint));
        };
        if annotations.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::new(Exit::Usage, format!("annotation `{key}` is given twice"), hint));
        }
    }
    Ok(annotations)
}

fn read_certificates(path: &Path) -> Result<Vec<u8>, Failure> {
    let failure = |problem: String| {
        let message = format!("cannot read the certificates in `{}`: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "give a PEM file of the registry's certificate authority")
    };
    files::read(path, MAX_CERTIFICATES_BYTES).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_have_a_key_and_stand_once() {
        let parse = |texts: &[&str]| annotations(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let parsed = parse(&["a=1", "b=x=y", "c="]).unwrap();
        assert_eq!(parsed.get("b").map(String::as_str), Some("x=y"));
        assert_eq!(parsed.get("c").map(String::as_str), Some(""));
        for bad in [&["a"][..], &["=1"], &["a=1", "a=2"], &[""]] {
            assert_eq!(parse(bad).unwrap_err().exit, Exit::Usage, "{bad:?}");
        }
    }
}
