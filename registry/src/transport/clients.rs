//! The HTTP clients: one for each way of trusting a host, made when first needed.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, ClientBuilder, Identity};
use url::Url;

use super::Failure;
use crate::address::{Reach, Refused};
use crate::configuration::{Configuration, ConfigurationError, HostConfiguration, normal_host};
use crate::endpoint::{Endpoint, authority, is_loopback, literal_address};
use crate::quote::{quote, quote_error};

/// Connections are kept longer than the pauses between admission requests usually are.
const IDLE: Duration = Duration::from_secs(90);
/// Most bytes of the headers of one HTTP/2 response. HTTP/1.1 heads are bounded by hyper at about 400 KiB.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// The TLS library has one set of certificates for a connection and for the proxy on its way.
const TLS_TO_PROXY: &str = "it has certificates of its own, and its proxy is spoken to over TLS: the proxy would be \
     believed by the same ones, and be shown the same ones; use a proxy with an `http://` address, or leave the host \
     out with `NO_PROXY`";
/// Most addresses of one name that are tried when somebody asks how far one gets.
const MAX_PROBED: usize = 4;
/// What registries see of us.
const USER_AGENT: &str = concat!("hallmark/", env!("CARGO_PKG_VERSION"));

type Made = OnceLock<Result<Client, String>>;
/// How names become addresses.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The HTTP clients.
pub(crate) struct Clients {
    connect_timeout: Duration,
    lookup: Lookup,
    /// The proxies of the environment.
    proxies: Matcher,
    /// Hosts with an entry in the configuration, by the host as it is dialled.
    configured: BTreeMap<String, Configured>,
    /// For what a registry names: redirects, token services.
    public: Made,
    /// For registries.
    private: Made,
    /// For this machine.
    loopback: Made,
    /// For plain HTTP to this machine: no certificates are read.
    plain_loopback: Made,
    /// For what goes through a proxy, which resolves for itself.
    proxied: Made,
}

/// How far one gets on the way to a host, without a request.
pub(crate) struct Probe {
    /// The proxy that is spoken to in its place; then nothing else is looked at.
    pub(crate) proxy: Option<String>,
    /// What the host's name leads to; nothing for one that is written as an address.
    pub(crate) name: Option<Result<Vec<IpAddr>, String>>,
    /// The address that takes a connection, of those that may be dialled; nothing where there is none of these.
    pub(crate) connection: Option<Result<(SocketAddr, Duration), String>>,
}

/// The clients of a host with an entry in the configuration.
struct Configured {
    settings: HostConfiguration,
    reach: Reach,
    direct: Client,
    proxied: Made,
    /// For the token services that are named for it.
    token_services: TokenServices,
}

/// Clients that believe the authorities of a registry, and show nothing that is configured for it.
#[derive(Default)]
struct TokenServices {
    /// On this machine.
    loopback: Made,
    private: Made,
    proxied: Made,
}

impl Configured {
    /// Something is set for this host's TLS that no other host may profit from.
    fn has_certificates(&self) -> bool {
        let HostConfiguration { ca_certificates_pem, client_certificate, danger_accept_invalid_certificates, .. } =
            &self.settings;
        ca_certificates_pem.is_some() || client_certificate.is_some() || *danger_accept_invalid_certificates
    }
}

impl Clients {
    pub(super) fn new(configuration: &Configuration) -> Result<Self, ConfigurationError> {
        Self::with(configuration, Arc::new(|name| system_lookup(name).boxed()), Matcher::from_env())
    }

    fn with(configuration: &Configuration, lookup: Lookup, proxies: Matcher) -> Result<Self, ConfigurationError> {
        let connect_timeout = configuration.connect_timeout;
        let mut configured = BTreeMap::new();
        for (host, settings) in &configuration.hosts {
            let name = normal_host(host)?;
            let Some(endpoint) = Endpoint::new(&name, Some(settings)) else {
                return Err(ConfigurationError::Host { host: host.clone() });
            };
            let by_name = if endpoint.is_local { Reach::Loopback } else { Reach::Private };
            let reach = settings.addresses.map_or(by_name, Reach::from);
            let builder = || direct(connect_timeout, &lookup, reach);
            let direct = trust(builder(), settings).and_then(|trusting| make(identify(trusting, settings)?));
            let direct = direct.map_err(|problem| {
                let host = host.clone();
                match settings.client_certificate.is_some() && trust(builder(), settings).is_ok() {
                    true => ConfigurationError::ClientCertificate { host, problem },
                    false => ConfigurationError::Certificates { host, problem },
                }
            })?;
            let (settings, token_services) = (settings.clone(), TokenServices::default());
            let host = Configured { settings, reach, direct, proxied: OnceLock::new(), token_services };
            configured.insert(authority(&endpoint.base), host);
        }
        let (public, private, loopback) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (plain_loopback, proxied) = (OnceLock::new(), OnceLock::new());
        Ok(Self { connect_timeout, lookup, proxies, configured, public, private, loopback, plain_loopback, proxied })
    }

    /// The client for a request on behalf of a registry. It connects to no address that the request may not reach.
    pub(super) fn choose(&self, endpoint: &Endpoint, url: &Url) -> Result<&Client, Failure> {
        let configured = self.configured.get(&authority(url));
        let reach = match configured {
            Some(host) => host.reach,
            None => reach(endpoint, url),
        };
        // What is written as an address is never resolved, so that no resolver sees it.
        if let Some(address) = literal_address(url)
            && !reach.allows(address)
        {
            return Err(Failure::Refused(Refused { host: authority(url), address }));
        }
        if configured.is_none()
            && let Some(registry) = self.registry_of_token_service(endpoint, url)
        {
            return self.choose_for_token_service(registry, reach, url);
        }
        if reach != Reach::Loopback
            && let Some(proxy) = self.proxy(url)
        {
            let builder = || self.through_proxy();
            let made = match configured {
                Some(host) if host.has_certificates() && proxy.uri().scheme_str() == Some("https") => {
                    return Err(Failure::Setup(TLS_TO_PROXY.to_owned()));
                }
                Some(host) => host.proxied.get_or_init(|| {
                    trust(builder(), &host.settings).and_then(|trusting| make(identify(trusting, &host.settings)?))
                }),
                None => self.proxied.get_or_init(|| make(builder())),
            };
            return made.as_ref().map_err(|problem| Failure::Setup(problem.clone()));
        }
        if let Some(host) = configured {
            return Ok(&host.direct);
        }
        let builder = || direct(self.connect_timeout, &self.lookup, reach);
        let made = match reach {
            Reach::Loopback if url.scheme() == "http" => {
                self.plain_loopback.get_or_init(|| make(builder().tls_certs_only([])))
            }
            Reach::Loopback => self.loopback.get_or_init(|| make(builder())),
            Reach::Private => self.private.get_or_init(|| make(builder())),
            Reach::Public | Reach::Anywhere => {
                self.public.get_or_init(|| make(direct(self.connect_timeout, &self.lookup, Reach::Public)))
            }
        };
        made.as_ref().map_err(|problem| Failure::Setup(problem.clone()))
    }

    /// The registry, where it has authorities of its own and this host is named as its token service. Who can pose as the
    /// registry by these authorities gets the credentials anyway that the named host may be shown: so it is believed by
    /// them as well. A host that only the registry names is not, whatever it is asked for.
    fn registry_of_token_service(&self, endpoint: &Endpoint, url: &Url) -> Option<&Configured> {
        let registry = self.configured.get(&authority(&endpoint.base))?;
        (registry.settings.ca_certificates_pem.is_some() && endpoint.names_token_host(url)).then_some(registry)
    }

    fn choose_for_token_service<'a>(
        &'a self,
        registry: &'a Configured,
        reach: Reach,
        url: &Url,
    ) -> Result<&'a Client, Failure> {
        let ca_certificates_pem = registry.settings.ca_certificates_pem.clone();
        let settings = HostConfiguration { ca_certificates_pem, ..HostConfiguration::default() };
        let made = match self.proxy(url).filter(|_| reach != Reach::Loopback) {
            Some(proxy) if proxy.uri().scheme_str() == Some("https") => {
                return Err(Failure::Setup(TLS_TO_PROXY.to_owned()));
            }
            Some(_) => {
                let made = &registry.token_services.proxied;
                made.get_or_init(|| trust(self.through_proxy(), &settings).and_then(make))
            }
            // They are named, so that they are reached as the registry is.
            None => {
                let (made, reach) = match reach {
                    Reach::Loopback => (&registry.token_services.loopback, reach),
                    _ => (&registry.token_services.private, Reach::Private),
                };
                let builder = || direct(self.connect_timeout, &self.lookup, reach);
                made.get_or_init(|| trust(builder(), &settings).and_then(make))
            }
        };
        made.as_ref().map_err(|problem| Failure::Setup(problem.clone()))
    }

    /// What is configured for a host, as it is dialled.
    pub(crate) fn settings(&self, endpoint: &Endpoint) -> Option<&HostConfiguration> {
        Some(&self.configured.get(&authority(&endpoint.base))?.settings)
    }

    /// Looks how far one gets on the way to a registry: its name, and a connection.
    pub(crate) async fn probe(&self, endpoint: &Endpoint) -> Probe {
        let url = &endpoint.base;
        let configured = self.configured.get(&authority(url));
        let reach = configured.map_or_else(|| reach(endpoint, url), |host| host.reach);
        if let Some(proxy) = self.proxy(url).filter(|_| reach != Reach::Loopback) {
            let proxy = Some(proxy.uri().authority().map_or_else(String::new, ToString::to_string));
            return Probe { proxy, name: None, connection: None };
        }
        let (name, addresses) = match (literal_address(url), url.host_str()) {
            (Some(address), _) => (None, vec![address]),
            (None, host) => match (self.lookup)(host.unwrap_or_default().to_owned()).await {
                Ok(found) if !found.is_empty() => (Some(Ok(found.clone())), found),
                Ok(_) => (Some(Err("it has no address".to_owned())), Vec::new()),
                Err(error) => (Some(Err(quote(&error.to_string()))), Vec::new()),
            },
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let mut connection = None;
        for address in addresses.into_iter().filter(|address| reach.allows(*address)).take(MAX_PROBED) {
            let (address, begun) = (SocketAddr::new(address, port), Instant::now());
            let connecting = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(self.connect_timeout, connecting).await {
                Ok(Ok(_)) => {
                    connection = Some(Ok((address, begun.elapsed())));
                    break;
                }
                Ok(Err(error)) => connection = Some(Err(format!("{address}: {}", quote(&error.to_string())))),
                Err(_) => connection = Some(Err(format!("{address} does not answer"))),
            }
        }
        Probe { proxy: None, name, connection }
    }

    fn proxy(&self, url: &Url) -> Option<Intercept> {
        self.proxies.intercept(&url.as_str().parse().ok()?)
    }

    /// For connections to a proxy, and to nothing else: no name but the proxies' own is resolved.
    fn through_proxy(&self) -> ClientBuilder {
        let hosts = ["http://a.invalid/", "https://a.invalid/"].into_iter().filter_map(|url| {
            let proxy = self.proxies.intercept(&url.parse().ok()?)?;
            proxy.uri().host().map(str::to_owned)
        });
        builder(self.connect_timeout)
            .dns_resolver(ProxyOnly { lookup: Arc::clone(&self.lookup), hosts: hosts.collect() })
    }
}

/// How near the addresses of a host without an entry in the configuration may be.
fn reach(endpoint: &Endpoint, url: &Url) -> Reach {
    let is_origin = endpoint.is_origin_of(url);
    if is_loopback(url) && (is_origin || endpoint.is_local) {
        Reach::Loopback
    } else if is_origin || endpoint.names_token_host(url) {
        Reach::Private
    } else {
        Reach::Public
    }
}

async fn system_lookup(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// For connections to the host itself.
fn direct(connect_timeout: Duration, lookup: &Lookup, reach: Reach) -> ClientBuilder {
    builder(connect_timeout).no_proxy().dns_resolver(Guard { lookup: Arc::clone(lookup), reach })
}

fn builder(connect_timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .retry(reqwest::retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(Duration::from_secs(60))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

fn make(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(quote_error)
}

/// Whom a configured host is believed by.
fn trust(mut builder: ClientBuilder, settings: &HostConfiguration) -> Result<ClientBuilder, String> {
    if let Some(pem) = &settings.ca_certificates_pem {
        let certificates = Certificate::from_pem_bundle(pem).map_err(quote_error)?;
        if certificates.is_empty() {
            return Err("there is none among them".to_owned());
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if settings.danger_accept_invalid_certificates {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

/// Who we are to a configured host.
fn identify(builder: ClientBuilder, settings: &HostConfiguration) -> Result<ClientBuilder, String> {
    match &settings.client_certificate {
        Some(certificate) => Ok(builder.identity(Identity::from_pem(certificate.pem()).map_err(quote_error)?)),
        None => Ok(builder),
    }
}

/// Resolves names, and leaves out the addresses that may not be dialled: what is connected to is what was checked.
struct Guard {
    lookup: Lookup,
    reach: Reach,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, reach) = (name.as_str().to_owned(), self.reach);
        let found = (self.lookup)(host.clone());
        Box::pin(async move {
            let (allowed, refused): (Vec<_>, Vec<_>) =
                found.await?.into_iter().partition(|address| reach.allows(*address));
            if let (true, Some(address)) = (allowed.is_empty(), refused.first()) {
                return Err(Box::<dyn Error + Send + Sync>::from(Refused { host, address: *address }));
            }
            Ok(with_any_port(allowed))
        })
    }
}

/// Resolves a proxy's name. Another name would be dialled without the proxy, and without a check.
struct ProxyOnly {
    lookup: Lookup,
    hosts: Vec<String>,
}

impl Resolve for ProxyOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name.as_str()));
        let found = is_proxy.then(|| (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            match found {
                Some(found) => Ok(with_any_port(found.await?)),
                None => Err(Box::<dyn Error + Send + Sync>::from("it is to be reached through a proxy only")),
            }
        })
    }
}

fn with_any_port(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

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

    #[test]
    fn must_not_take_what_is_no_client_certificate() {
        use crate::ClientCertificate;
        let issue = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let parameters = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
            (parameters.self_signed(&key).unwrap().pem().into_bytes(), key.serialize_pem().into_bytes())
        };
        let ((certificate, key), (_, other)) = (issue(), issue());
        let check = |certificate: &[u8], key: &[u8]| {
            let host = HostConfiguration {
                client_certificate: Some(ClientCertificate::from_pem(certificate, key)),
                ..HostConfiguration::default()
            };
            let hosts = [("r.example".to_owned(), host)].into();
            Clients::new(&Configuration { hosts, ..Configuration::default() }).err()
        };
        assert_eq!(check(&certificate, &key), None);
        for (certificate, key) in [(&certificate[..], &b""[..]), (b"", &key), (&certificate, &other), (b"x", b"y")] {
            let error = check(certificate, key);
            assert!(matches!(error, Some(ConfigurationError::ClientCertificate { .. })), "{error:?}");
        }
    }

    #[test]
    fn must_not_show_a_proxy_what_is_for_the_host_behind_it() {
        for (proxy, danger_accept_invalid_certificates, is_used) in [
            ("https://proxy.example:3128", true, false),
            ("https://proxy.example:3128", false, true),
            ("http://proxy.example:3128", true, true),
        ] {
            let host = HostConfiguration { danger_accept_invalid_certificates, ..HostConfiguration::default() };
            let hosts = [("registry.example".to_owned(), host)].into();
            let lookup: Lookup = Arc::new(|_| async { Ok(Vec::new()) }.boxed());
            let proxies = Matcher::builder().all(proxy).build();
            let configuration = Configuration { hosts, ..Configuration::default() };
            let clients = Clients::with(&configuration, lookup, proxies).unwrap();
            let endpoint = Endpoint::new("registry.example", None).unwrap();
            let chosen = clients.choose(&endpoint, &"https://registry.example/v2/".parse().unwrap());
            assert_eq!(chosen.is_ok(), is_used, "{proxy}: {:?}", chosen.err());
        }
    }

    /// What a GET to `host` comes to when every name resolves to `address`; whether the listener there was reached.
    async fn dial(registry: &str, host: &str, address: &str, configure: fn(&mut HostConfiguration)) -> (String, bool) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut settings = HostConfiguration { plain_http: true, ..HostConfiguration::default() };
        configure(&mut settings);
        let mut configuration = Configuration::default();
        if settings.addresses.is_some() {
            configuration.hosts.insert(format!("{host}:{port}"), settings);
        }
        let address: IpAddr = address.parse().unwrap();
        let lookup: Lookup = Arc::new(move |_| async move { Ok(vec![address]) }.boxed());
        let clients = Clients::with(&configuration, lookup, Matcher::builder().build()).unwrap();
        let plain = HostConfiguration { plain_http: true, ..HostConfiguration::default() };
        let endpoint = Endpoint::new(&format!("{registry}:{port}"), Some(&plain)).unwrap();
        let url: Url = format!("http://{host}:{port}/v2/").parse().unwrap();
        let outcome = match clients.choose(&endpoint, &url) {
            Err(failure) => format!("{failure:?}"),
            Ok(client) => {
                // A connection that is taken is closed, so that the request ends, but not before it was counted.
                let reached = Arc::new(AtomicBool::new(false));
                let counted = Arc::clone(&reached);
                let accepting = tokio::spawn(async move {
                    while let Ok((connection, _)) = listener.accept().await {
                        counted.store(true, Ordering::SeqCst);
                        drop(connection);
                    }
                });
                let sent = client.get(url).timeout(Duration::from_secs(60)).send().await;
                accepting.abort();
                let error = sent.err().map(|error| format!("{:?}", super::super::http::connection(error)));
                return (error.unwrap_or_default(), reached.load(Ordering::SeqCst));
            }
        };
        (outcome, false)
    }

    #[tokio::test]
    async fn must_not_dial_a_name_that_resolves_to_this_machine_unless_it_is_configured() {
        use crate::configuration::Addresses;
        for host in ["registry.example", "storage.example"] {
            for configure in [
                |_: &mut HostConfiguration| {},
                |host: &mut HostConfiguration| {
                    host.addresses = Some(Addresses::Private);
                },
            ] {
                let (outcome, reached) = dial("registry.example", host, "127.0.0.1", configure).await;
                assert!(outcome.starts_with("Refused") && !reached, "{host}: {outcome}");
            }
            let configure = |host: &mut HostConfiguration| host.addresses = Some(Addresses::DangerLocal);
            let (outcome, reached) = dial("registry.example", host, "127.0.0.1", configure).await;
            assert!(reached, "{host}: {outcome}");
        }
        // Its twin that needs no configuration: what is called this machine is this machine, and nothing else is.
        assert!(dial("localhost", "localhost", "127.0.0.1", |_| {}).await.1);
        assert!(dial("localhost", "127.0.0.1", "127.0.0.1", |_| {}).await.1);
        let (outcome, _) = dial("localhost", "localhost", "169.254.169.254", |_| {}).await;
        assert!(outcome.starts_with("Refused"), "{outcome}");
    }

    #[tokio::test]
    async fn must_not_dial_an_address_that_is_written_out_and_was_not_configured() {
        for (registry, host) in [
            ("169.254.169.254", "169.254.169.254"),
            ("registry.example", "10.0.0.1"),
            ("localhost", "10.0.0.1"),
            ("localhost", "169.254.169.254"),
            ("registry.example", "127.0.0.1"),
        ] {
            let (outcome, reached) = dial(registry, host, "8.8.8.8", |_| {}).await;
            assert!(outcome.starts_with("Refused") && !reached, "{host}: {outcome}");
        }
    }

    #[test]
    fn what_a_registry_names_inherits_nothing_from_it() {
        let settings = HostConfiguration { token_hosts: vec!["tokens.example".to_owned()], ..Default::default() };
        let endpoint = Endpoint::new("registry.example", Some(&settings)).unwrap();
        for (url, expected) in [
            ("https://registry.example/", Reach::Private),
            ("https://tokens.example/", Reach::Private),
            ("https://storage.example/", Reach::Public),
            ("https://registry.example:8443/", Reach::Public),
        ] {
            assert_eq!(reach(&endpoint, &url.parse().unwrap()), expected, "{url}");
        }
    }

    /// Attack N04 is to block too much: a private registry and its own token service are private.
    #[tokio::test]
    async fn n04_a_registry_in_a_private_network_is_dialled_when_a_reference_or_the_configuration_names_it() {
        let settings = HostConfiguration { token_hosts: vec!["tokens.example".to_owned()], ..Default::default() };
        let endpoint = Endpoint::new("registry.example", Some(&settings)).unwrap();
        for (url, is_dialled) in [
            ("https://registry.example/v2/", true),
            ("https://registry.example/token", true),
            ("https://tokens.example/token", true),
            // Its twin: a host that only the registry names.
            ("https://storage.example/blob", false),
        ] {
            let reach = reach(&endpoint, &url.parse().unwrap());
            for address in ["10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"] {
                let address: IpAddr = address.parse().unwrap();
                let lookup: Lookup = Arc::new(move |_| async move { Ok(vec![address]) }.boxed());
                let resolved = Guard { lookup, reach }.resolve("name.example".parse().unwrap()).await;
                assert_eq!(resolved.is_ok(), is_dialled, "{url} at {address}");
            }
        }
    }

    #[tokio::test]
    async fn must_not_resolve_anything_but_the_proxy_where_there_is_one() {
        let lookup: Lookup = Arc::new(|_| async { Ok(vec![IpAddr::from([10, 0, 0, 1])]) }.boxed());
        let resolver = ProxyOnly { lookup, hosts: vec!["proxy.example".to_owned()] };
        assert!(resolver.resolve("registry.example".parse().unwrap()).await.is_err());
        assert!(resolver.resolve("proxy.example".parse().unwrap()).await.is_ok());
    }
}
