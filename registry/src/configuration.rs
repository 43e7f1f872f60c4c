//! How registries are reached. The defaults are safe: https everywhere but on loopback, system roots, no secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Repository;

use crate::{ClientCertificate, ContentCache, CredentialSource, Route};

/// The clock, handed in by whoever starts the program.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How registries are reached.
#[derive(Clone)]
pub struct Configuration {
    /// What differs for single hosts, by the host as it is written in references (`registry.example.com:5000`).
    pub hosts: BTreeMap<String, HostConfiguration>,
    /// Mirrors, other locations and blocked names. Default none: every image is where its name says.
    pub routes: Vec<Route>,
    /// Who we are to each registry.
    pub credentials: CredentialSource,
    /// Longest time to establish one connection. Default 5 seconds.
    pub connect_timeout: Duration,
    /// Longest time for one read request, body included. Default 10 seconds.
    pub request_timeout: Duration,
    /// Longest time for one operation that takes no deadline of its own: a resolution, a push, an attachment with
    /// all its requests. Default 60 seconds.
    pub operation_timeout: Duration,
    /// Most requests to one host at one time. Default 32.
    pub requests_per_host: usize,
    /// Longest time that one request waits, in all, because its host asks for less traffic (429, or 503 with a time);
    /// where a host wants to be left alone for longer, that is said at once. Default 2 seconds: whoever asks for a
    /// verdict is better served by an answer.
    pub throttle_patience: Duration,
    /// Where content that was fetched by digest is kept. Default none: what one gathering has fetched, the next one
    /// fetches again.
    pub content_cache: Option<Arc<dyn ContentCache>>,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("hosts", &self.hosts)
            .field("routes", &self.routes)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            routes: Vec::new(),
            credentials: CredentialSource::anonymous(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(60),
            requests_per_host: 32,
            throttle_patience: Duration::from_secs(2),
            content_cache: None,
        }
    }
}

/// What differs for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfiguration {
    /// Talk plain HTTP to this host. Loopback hosts (`localhost`, `127.0.0.1`, `[::1]`) do so anyway, unless they are
    /// given certificates here.
    pub plain_http: bool,
    /// Certificates of authorities that this host is believed by, beside the system's: PEM, one or more.
    pub ca_certificates_pem: Option<Vec<u8>>,
    /// Who we are to this host, where it asks for a certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// Accept any certificate from this host.
    pub danger_accept_invalid_certificates: bool,
    /// Hosts (with their port) of token services that may be given this registry's credentials. Without an entry,
    /// only the registry's own host may, and the known token services of Docker Hub and GitLab.com.
    pub token_hosts: Vec<String>,
    /// Which addresses may be dialled for it. Without: public and private ones for a host that a reference names or
    /// that has an entry; public ones for every other host, that is, one that only a registry names.
    pub addresses: Option<Addresses>,
}

impl HostConfiguration {
    /// What of it weakens the checks of the host, as the configuration of the service spells it.
    pub(crate) fn dangers(&self) -> impl Iterator<Item = &'static str> + use<> {
        let is_local = self.addresses == Some(Addresses::DangerLocal);
        let named = [
            (self.danger_accept_invalid_certificates, "dangerAcceptInvalidCertificates"),
            (is_local, "dangerLocal"),
            (self.plain_http, "dangerPlainHttp"),
        ];
        named.into_iter().filter_map(|(is_set, name)| is_set.then_some(name))
    }
}

/// Which addresses may be dialled for a host, whatever its name resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Public addresses.
    Public,
    /// Also those of private networks (RFC 1918, RFC 6598, RFC 4193).
    Private,
    /// Also this machine's, its link's, and those of metadata services, which give credentials to whoever asks.
    DangerLocal,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// The certificates of a host are not PEM certificates.
    #[error("the CA certificates of registry `{host}` cannot be used: {problem}")]
    Certificates {
        /// The host.
        host: String,
        /// What is wrong with them.
        problem: String,
    },
    /// The client certificate for a host and its key are not PEM, or do not fit together.
    #[error("the client certificate for registry `{host}` cannot be used: {problem}")]
    ClientCertificate {
        /// The host.
        host: String,
        /// What is wrong with it, without the key.
        problem: String,
    },
    /// A key of [`Configuration::hosts`] is not a host.
    #[error("`{host}` is not a registry host")]
    Host {
        /// The text.
        host: String,
    },
    /// [`Configuration::requests_per_host`] is zero.
    #[error("no request to a host is allowed: `requests_per_host` is 0")]
    NoRequests,
    /// A route is not one.
    #[error("the route for `{prefix}` {problem}")]
    Route {
        /// The prefix as it was written.
        prefix: String,
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

impl ConfigurationError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificates { .. } => "give a file with one or more `-----BEGIN CERTIFICATE-----` blocks",
            Self::ClientCertificate { .. } => {
                "give the chain as `-----BEGIN CERTIFICATE-----` blocks, the own one first, and its private key as PEM \
                 that is not encrypted"
            }
            Self::Host { .. } => "write the host as in image references, such as `registry.example.com:5000`",
            Self::NoRandomness => "check the system: `getrandom` failed",
            Self::Route { .. } => {
                "write prefixes and locations like the beginnings of image references: `docker.io/library`, \
                 `mirror.example.com:5000/hub`"
            }
            Self::NoRequests => "leave it out, or set it to 1 or more",
        }
    }
}

/// A host in the normal form of references.
pub(crate) fn normal_host(host: &str) -> Result<String, ConfigurationError> {
    let error = || ConfigurationError::Host { host: host.chars().take(255).collect() };
    let repository: Repository = format!("{host}/a").parse().map_err(|_| error())?;
    // A first segment that is not a host becomes a path below Docker Hub.
    if matches!(repository.path(), "a" | "library/a") { Ok(repository.host().to_owned()) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_the_normal_form_of_references() {
        for (host, normal) in [
            ("Registry.Example.com:5000", "registry.example.com:5000"),
            ("index.docker.io", "docker.io"),
            ("localhost", "localhost"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(normal_host(host).unwrap(), normal);
        }
        for host in ["", "registry", "a/b", "https://registry.example.com", "registry.example.com/team"] {
            assert!(normal_host(host).is_err(), "{host}");
        }
    }
}
