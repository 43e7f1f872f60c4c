//! How registries are reached. The defaults are safe: https everywhere but on loopback, system roots, no secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Repository;
use url::Url;

use crate::endpoint::{Endpoint, authority};
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

impl Configuration {
    /// Changes what is said of a host, however its name is written there.
    pub fn change_host(&mut self, host: &str, change: impl Fn(&mut HostConfiguration)) {
        let named = dialled(host, &HostConfiguration::default());
        let mut is_there = false;
        for (key, settings) in &mut self.hosts {
            if key == host || (named.is_some() && dialled(key, settings) == named) {
                change(settings);
                is_there = true;
            }
        }
        if !is_there {
            change(self.hosts.entry(host.to_owned()).or_default());
        }
    }
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
    /// Two keys of [`Configuration::hosts`] are one host, and do not say the same of it.
    #[error("the registry host `{host}` has more than one entry, and they differ")]
    HostTwice {
        /// One of them.
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
    /// One of [`HostConfiguration::token_hosts`] is not a host.
    #[error("`{token_host}` is not the host of a token service of registry `{host}`")]
    TokenHost {
        /// The registry.
        host: String,
        /// The text.
        token_host: String,
    },
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
            Self::HostTwice { .. } => {
                "keep one of them: capital letters make no other host, port 443 is the usual one, and `docker.io` is \
                 dialled as `registry-1.docker.io`"
            }
            Self::NoRandomness => "check the system: `getrandom` failed",
            Self::Route { .. } => {
                "write prefixes and locations like the beginnings of image references: `docker.io/library`, \
                 `mirror.example.com:5000/hub`"
            }
            Self::NoRequests => "leave it out, or set it to 1 or more",
            Self::TokenHost { .. } => {
                "write the host of the address that the registry gives as `realm`, with its port where it has one: \
                 `auth.example.com`"
            }
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

/// The hosts of a configuration in the normal form of references. What is said of one is the same, however it is written:
/// of two entries, one would weaken what the other demands.
pub(crate) fn normal_hosts(
    hosts: BTreeMap<String, HostConfiguration>,
) -> Result<BTreeMap<String, HostConfiguration>, ConfigurationError> {
    let mut dialled: BTreeMap<String, HostConfiguration> = BTreeMap::new();
    let mut normal = BTreeMap::new();
    for (host, mut settings) in hosts {
        let name = normal_host(&host)?;
        let Some(authority) = authority_of(&name, &settings) else { return Err(ConfigurationError::Host { host }) };
        for token_host in &mut settings.token_hosts {
            let Some(named) = normal_token_host(token_host, settings.plain_http) else {
                return Err(ConfigurationError::TokenHost { host, token_host: token_host.chars().take(255).collect() });
            };
            *token_host = named;
        }
        if *dialled.entry(authority).or_insert_with(|| settings.clone()) != settings {
            return Err(ConfigurationError::HostTwice { host });
        }
        normal.insert(name, settings);
    }
    Ok(normal)
}

/// Host and port as they are dialled; `None` for what is not a host.
pub(crate) fn dialled(host: &str, settings: &HostConfiguration) -> Option<String> {
    authority_of(&normal_host(host).ok()?, settings)
}

fn authority_of(name: &str, settings: &HostConfiguration) -> Option<String> {
    Some(authority(&Endpoint::new(name, Some(settings))?.base))
}

/// A host as it stands in the address of a token service: in lower case, and without the usual port.
fn normal_token_host(host: &str, may_be_plain: bool) -> Option<String> {
    let url: Url = format!("https://{host}/").parse().ok()?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !host.contains(['/', '@']);
    let named = Some(authority(&url)).filter(|named| is_bare && !named.is_empty())?;
    Some(match named.strip_suffix(":80") {
        Some(without) if may_be_plain => without.to_owned(),
        _ => named,
    })
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

    fn hosts(entries: &[(&str, HostConfiguration)]) -> BTreeMap<String, HostConfiguration> {
        entries.iter().map(|(host, settings)| ((*host).to_owned(), settings.clone())).collect()
    }

    fn trusting(token_host: &str) -> HostConfiguration {
        HostConfiguration { token_hosts: vec![token_host.to_owned()], ..HostConfiguration::default() }
    }

    #[test]
    fn must_not_take_two_entries_for_one_host_however_they_are_written() {
        let (strict, lax) = (
            HostConfiguration::default(),
            HostConfiguration { danger_accept_invalid_certificates: true, ..HostConfiguration::default() },
        );
        for (one, other, is_one) in [
            ("r.example", "R.Example", true),
            ("r.example", "r.example:443", true),
            ("docker.io", "index.docker.io", true),
            ("docker.io", "registry-1.docker.io", true),
            ("r.example", "r.example:5000", false),
            ("r.example", "s.example", false),
        ] {
            for both in [[(one, strict.clone()), (other, lax.clone())], [(one, lax.clone()), (other, strict.clone())]] {
                let normal = normal_hosts(hosts(&both));
                assert_eq!(matches!(normal, Err(ConfigurationError::HostTwice { .. })), is_one, "{one} {other}");
                assert_eq!(normal.is_ok(), !is_one, "{one} {other}");
            }
            // Their twin: what is said of it is the same.
            assert!(normal_hosts(hosts(&[(one, lax.clone()), (other, lax.clone())])).is_ok(), "{one} {other}");
            let mut configuration =
                Configuration { hosts: hosts(&[(one, strict.clone())]), ..Configuration::default() };
            configuration.change_host(other, |settings| settings.addresses = Some(Addresses::Private));
            assert_eq!(configuration.hosts[one].addresses.is_some(), is_one, "{one} {other}");
            assert_eq!(configuration.hosts.len(), if is_one { 1 } else { 2 }, "{one} {other}");
            assert!(normal_hosts(configuration.hosts).is_ok(), "{one} {other}");
        }
    }

    #[test]
    fn token_services_are_named_as_in_addresses_and_nothing_else_is_taken_for_one() {
        for (written, named) in [
            ("auth.example.com", Some("auth.example.com")),
            ("Auth.Example.com", Some("auth.example.com")),
            ("auth.example.com:443", Some("auth.example.com")),
            ("auth.example.com:8443", Some("auth.example.com:8443")),
            ("auth.example.com:80", Some("auth.example.com:80")),
            ("[::1]:5001", Some("[::1]:5001")),
            ("", None),
            ("https://auth.example.com", None),
            ("auth.example.com/token", None),
            ("auth.example.com/", None),
            ("auth.example.com?a", None),
            ("auth.example.com#a", None),
            ("user@auth.example.com", None),
            ("auth example.com", None),
            ("*.example.com:port", None),
        ] {
            let normal = normal_hosts(hosts(&[("r.example", trusting(written))]));
            match named {
                Some(named) => assert_eq!(normal.unwrap()["r.example"].token_hosts, [named], "{written}"),
                None => assert!(matches!(normal, Err(ConfigurationError::TokenHost { .. })), "{written}: {normal:?}"),
            }
        }
        // A token service that speaks plain HTTP has that port.
        let plain = HostConfiguration { plain_http: true, ..trusting("auth.example.com:80") };
        assert_eq!(
            normal_hosts(hosts(&[("r.example", plain)])).unwrap()["r.example"].token_hosts,
            ["auth.example.com"]
        );
    }
}
