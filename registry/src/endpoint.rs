//! A registry's host as it is dialled, and which addresses nobody but the configuration may send us to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// The host is itself an address that only the configuration may send us to.
    pub(crate) is_local: bool,
    token_hosts: Vec<String>,
}

impl Endpoint {
    /// The endpoint of a host in normal form; `None` when it cannot be part of a URL.
    pub(crate) fn new(name: &str, configuration: Option<&HostConfiguration>) -> Option<Self> {
        // Docker Hub's registry does not answer on the name that references carry.
        let dialled = if name == "docker.io" { "registry-1.docker.io" } else { name };
        let base = Url::parse(&format!("https://{dialled}/")).ok()?;
        let is_loopback = is_loopback(&base);
        let has_certificates = configuration
            .is_some_and(|host| host.ca_certificates_pem.is_some() || host.danger_accept_invalid_certificates);
        let plain_http = configuration.is_some_and(|host| host.plain_http) || (is_loopback && !has_certificates);
        let base = if plain_http { Url::parse(&format!("http://{dialled}/")).ok()? } else { base };
        let known = KNOWN_TOKEN_HOSTS.iter().filter(|(registry, _)| *registry == name);
        let mut token_hosts: Vec<String> = known.map(|(_, host)| (*host).to_owned()).collect();
        token_hosts.extend(configuration.into_iter().flat_map(|host| host.token_hosts.iter().cloned()));
        let is_local = is_loopback || literal_address(&base).is_some_and(is_forbidden);
        Some(Self { name: name.to_owned(), base, is_local, token_hosts })
    }

    /// Whether plain HTTP is spoken to this host.
    pub(crate) fn is_plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// The URL of a path below `/v2/REPOSITORY/`. The parts come from parsed names, so nothing needs escaping.
    pub(crate) fn url(&self, repository: &Repository, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{path}", repository.path()));
        url
    }

    /// Whether a URL leads to this very host, port and scheme.
    pub(crate) fn is_origin_of(&self, url: &Url) -> bool {
        same_origin(&self.base, url)
    }

    /// Whether a token service may be given this registry's credentials.
    pub(crate) fn may_send_credentials_to(&self, realm: &Url) -> bool {
        self.is_origin_of(realm) || self.token_hosts.iter().any(|host| *host == authority(realm))
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

/// Addresses where what a registry names (a redirect's target, a token service) must not lead: this machine, its
/// link, and the metadata services of clouds.
pub(crate) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => is_forbidden_v6(address),
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    // Alibaba Cloud's and Oracle Cloud's metadata services lie outside the link-local range.
    const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
    address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.octets().starts_with(&[0])
        || METADATA.contains(&address)
}

fn is_forbidden_v6(address: Ipv6Addr) -> bool {
    // The metadata service of Amazon EC2.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
    // IPv4 addresses carried in IPv6: mapped, compatible, and through the well-known NAT64 prefix.
    let carried = match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    };
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address == METADATA
        || carried.is_some_and(is_forbidden_v4)
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

    #[test]
    fn must_not_be_sent_to_this_machine_its_link_or_a_metadata_service() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(is_forbidden(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "100.64.0.1", "2001:db8::1", "fd00::1"] {
            assert!(!is_forbidden(address.parse().unwrap()), "{address}");
        }
    }
}
