//! A registry's host as it is dialled.

use std::net::IpAddr;

use hallmark_policy::image::Repository;
use url::{Host, Url};

use crate::configuration::HostConfiguration;

/// Token services that belong to a registry on another host, with the documentation that says so: Docker Hub's
/// (docs.docker.com, "Registry authentication") and GitLab.com's (docs.gitlab.com, "Container registry").
const KNOWN_TOKEN_HOSTS: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// A registry's host as it is dialled.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The host in the normal form of references.
    pub(crate) name: String,
    /// `https://host/`, or `http://host/`.
    pub(crate) base: Url,
    /// The host is this machine, by a name or an address that says so.
    pub(crate) is_local: bool,
    /// The path of the API: `/v2`, but for mirrors that have it elsewhere.
    api_root: String,
    token_hosts: Vec<String>,
}

impl Endpoint {
    /// The endpoint of a host in normal form; `None` when it cannot be part of a URL.
    pub(crate) fn new(name: &str, configuration: Option<&HostConfiguration>) -> Option<Self> {
        // Docker Hub's registry does not answer on the name that references carry.
        let dialled = if name == "docker.io" { "registry-1.docker.io" } else { name };
        let base = Url::parse(&format!("https://{dialled}/")).ok()?;
        let is_loopback = is_loopback(&base);
        let has_certificates = configuration.is_some_and(|host| {
            host.ca_certificates_pem.is_some()
                || host.client_certificate.is_some()
                || host.danger_accept_invalid_certificates
        });
        let plain_http = configuration.is_some_and(|host| host.plain_http) || (is_loopback && !has_certificates);
        let base = if plain_http { Url::parse(&format!("http://{dialled}/")).ok()? } else { base };
        let known = KNOWN_TOKEN_HOSTS.iter().filter(|(registry, _)| *registry == name);
        let mut token_hosts: Vec<String> = known.map(|(_, host)| (*host).to_owned()).collect();
        token_hosts.extend(configuration.into_iter().flat_map(|host| host.token_hosts.iter().cloned()));
        Some(Self { name: name.to_owned(), base, is_local: is_loopback, api_root: "/v2".to_owned(), token_hosts })
    }

    /// The same host with its API at another path.
    pub(crate) fn with_api_root(self, api_root: &str) -> Self {
        Self { api_root: api_root.to_owned(), ..self }
    }

    /// Whether plain HTTP is spoken to this host.
    pub(crate) fn is_plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// The URL of a path below the API's `REPOSITORY/`. The parts come from parsed names, so nothing needs escaping.
    pub(crate) fn url(&self, repository: &Repository, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}/{path}", self.api_root, repository.path()));
        url
    }

    /// The API's own address (distribution-spec, "Determining Support").
    pub(crate) fn root(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/", self.api_root));
        url
    }

    /// Whether a URL leads to this very host, port and scheme.
    pub(crate) fn is_origin_of(&self, url: &Url) -> bool {
        same_origin(&self.base, url)
    }

    /// Whether a token service may be given this registry's credentials.
    pub(crate) fn may_send_credentials_to(&self, realm: &Url) -> bool {
        self.is_origin_of(realm) || self.names_token_host(realm)
    }

    /// Whether the configuration, or the documentation of a public registry, gives this host as its token service.
    pub(crate) fn names_token_host(&self, url: &Url) -> bool {
        self.token_hosts.iter().any(|host| *host == authority(url))
    }
}

/// Scheme, host and port are equal.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && authority(one) == authority(other)
}

/// Host and port, the port left out where it is the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

/// The URL's host, when it is written as an address.
pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    }
}

/// The host is `localhost`, a name below it (RFC 6761, section 6.3), or a loopback address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_for_hosts_configured_so() {
        let plain = HostConfiguration { plain_http: true, ..HostConfiguration::default() };
        let authority = HostConfiguration { ca_certificates_pem: Some(Vec::new()), ..HostConfiguration::default() };
        for (host, configuration, base) in [
            ("registry.example.com", None, "https://registry.example.com/"),
            ("registry.example.com:5000", Some(&plain), "http://registry.example.com:5000/"),
            ("docker.io", None, "https://registry-1.docker.io/"),
            ("localhost:5000", None, "http://localhost:5000/"),
            ("127.0.0.1:5000", None, "http://127.0.0.1:5000/"),
            ("[::1]:5000", None, "http://[::1]:5000/"),
            ("localhost:5000", Some(&authority), "https://localhost:5000/"),
            ("localhost.example.com", None, "https://localhost.example.com/"),
        ] {
            assert_eq!(Endpoint::new(host, configuration).unwrap().base.as_str(), base);
        }
    }

    #[test]
    fn must_not_send_credentials_to_a_realm_on_another_host_port_or_scheme() {
        let configuration =
            HostConfiguration { token_hosts: vec!["tokens.example.com".to_owned()], ..HostConfiguration::default() };
        let endpoint = Endpoint::new("registry.example.com", Some(&configuration)).unwrap();
        let may = |realm: &str| endpoint.may_send_credentials_to(&Url::parse(realm).unwrap());
        assert!(may("https://registry.example.com/token"));
        assert!(may("https://registry.example.com:443/token"));
        assert!(may("https://tokens.example.com/token"));
        for realm in [
            "https://evil.example/token",
            "https://registry.example.com.evil.example/token",
            "https://registry.example.com:8443/token",
            "http://registry.example.com/token",
            "https://auth.docker.io/token",
            "https://registry.example.com@evil.example/",
        ] {
            assert!(!may(realm), "{realm}");
        }
        let hub = Endpoint::new("docker.io", None).unwrap();
        assert!(hub.may_send_credentials_to(&Url::parse("https://auth.docker.io/token").unwrap()));
    }
}
