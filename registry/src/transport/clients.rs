//! The HTTP clients: one for each way of trusting a host, made when first needed.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, ClientBuilder};
use url::Url;

use super::Failure;
use crate::configuration::{Configuration, ConfigurationError, HostConfiguration, normal_host};
use crate::endpoint::{Endpoint, authority, is_forbidden, is_loopback};
use crate::quote::quote_error;

/// Connections are kept longer than the pauses between admission requests usually are.
const IDLE: Duration = Duration::from_secs(90);
/// Most bytes of the headers of one HTTP/2 response. HTTP/1.1 heads are bounded by hyper at about 400 KiB.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// What registries see of us.
const USER_AGENT: &str = concat!("hallmark/", env!("CARGO_PKG_VERSION"));

type Made = OnceLock<Result<Client, String>>;

/// The HTTP clients.
pub(super) struct Clients {
    connect_timeout: Duration,
    /// Hosts with certificates of their own, by the host as it is dialled.
    configured: BTreeMap<String, Client>,
    /// For plain HTTP to this machine: neither a proxy nor certificates.
    loopback: Made,
    /// For registries: the system's certificates and proxies.
    registry: Made,
    /// For what a registry names (redirects, token services): as above, and never to a forbidden address.
    guarded: Made,
}

impl Clients {
    pub(super) fn new(configuration: &Configuration) -> Result<Self, ConfigurationError> {
        let mut configured = BTreeMap::new();
        for (host, settings) in &configuration.hosts {
            let name = normal_host(host)?;
            let Some(endpoint) = Endpoint::new(&name, Some(settings)) else {
                return Err(ConfigurationError::Host { host: host.clone() });
            };
            if let Some(client) = configured_client(host, settings, configuration.connect_timeout)? {
                configured.insert(authority(&endpoint.base), client);
            }
        }
        let connect_timeout = configuration.connect_timeout;
        let (loopback, registry, guarded) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Self { connect_timeout, configured, loopback, registry, guarded })
    }

    /// The client for a request on behalf of a registry.
    pub(super) fn choose(&self, endpoint: &Endpoint, url: &Url) -> Result<&Client, Failure> {
        if let Some(client) = self.configured.get(&authority(url)) {
            return Ok(client);
        }
        let is_origin = endpoint.is_origin_of(url);
        let made = if url.scheme() == "http" && is_loopback(url) && endpoint.is_local {
            self.loopback.get_or_init(|| make(builder(self.connect_timeout).tls_certs_only([]).no_proxy()))
        } else if is_origin || endpoint.is_local {
            self.registry.get_or_init(|| make(builder(self.connect_timeout)))
        } else {
            self.guarded.get_or_init(|| make(builder(self.connect_timeout).dns_resolver(Guard)))
        };
        made.as_ref().map_err(|problem| Failure::Setup(problem.clone()))
    }
}

fn builder(connect_timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(Duration::from_secs(60))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

fn make(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(quote_error)
}

/// A client for a host whose trust differs from the system's; `None` where it does not.
fn configured_client(
    host: &str,
    settings: &HostConfiguration,
    connect_timeout: Duration,
) -> Result<Option<Client>, ConfigurationError> {
    let problem = |problem: String| ConfigurationError::Certificates { host: host.to_owned(), problem };
    let mut builder = builder(connect_timeout);
    match &settings.ca_certificates_pem {
        Some(pem) => {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| problem(quote_error(error)))?;
            if certificates.is_empty() {
                return Err(problem("there is none among them".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        None if settings.danger_accept_invalid_certificates => {}
        None => return Ok(None),
    }
    if settings.danger_accept_invalid_certificates {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map(Some).map_err(|error| problem(quote_error(error)))
}

/// Resolves names, and leaves out the addresses where nobody but the configuration may send us.
struct Guard;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_forbidden(address.ip())).collect();
            if allowed.is_empty() {
                let problem = "it has no address outside this machine, its link and the metadata services";
                return Err(Box::<dyn Error + Send + Sync>::from(problem));
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_take_what_is_no_certificate() {
        for pem in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"garbage"] {
            let host = HostConfiguration { ca_certificates_pem: Some(pem.to_vec()), ..HostConfiguration::default() };
            let configuration =
                Configuration { hosts: [("r.example".to_owned(), host)].into(), ..Configuration::default() };
            let error = Clients::new(&configuration).err();
            assert!(matches!(error, Some(ConfigurationError::Certificates { .. })), "{error:?}");
        }
    }

    #[tokio::test]
    async fn must_not_resolve_a_name_to_this_machine_for_a_registry() {
        assert!(Guard.resolve("localhost".parse().unwrap()).await.is_err());
    }
}
