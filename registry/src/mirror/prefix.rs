//! Names that routes begin with, and the names that take their place.

use hallmark_policy::image::Repository;

use super::Location;
use crate::configuration::normal_host;

/// Most characters of the path of an API.
const MAX_ROOT_CHARS: usize = 255;
/// Where the specification has a registry's API (distribution-spec, "Endpoints").
const STANDARD_ROOT: &str = "/v2";

/// Which images a route is for. Ordered by how specific it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prefix {
    Everything,
    /// Every host below a domain.
    Below(String),
    /// A host in normal form, and a path that may be empty.
    Name {
        host: String,
        path: String,
    },
}

impl Prefix {
    /// The end of a sentence about the text, when it is not a prefix.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        if let Some(domain) = text.strip_prefix("*.") {
            let is_host = !domain.contains(['/', ':', '*']) && normal_host(&format!("a.{domain}")).is_ok();
            return match is_host {
                true => Ok(Self::Below(domain.to_ascii_lowercase())),
                false => Err("has more than a domain after `*.`"),
            };
        }
        let (host, path) = split(text)?;
        Ok(Self::Name { host, path })
    }

    /// What of the repository's path comes after the prefix; nothing when the route is not for it.
    pub(crate) fn rest<'a>(&self, repository: &'a Repository) -> Option<&'a str> {
        match self {
            Self::Everything => Some(repository.path()),
            Self::Below(domain) => {
                let host = without_port(repository.host());
                let is_below = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
                is_below.then_some(repository.path())
            }
            Self::Name { host, path } => {
                if host != repository.host() {
                    return None;
                }
                below(path, repository.path())
            }
        }
    }

    /// Whether a block is for the repository: a host that is blocked without a port is so at every port.
    pub(crate) fn blocks(&self, repository: &Repository) -> bool {
        match self {
            Self::Name { host, path } if !has_port(host) => {
                host == without_port(repository.host()) && below(path, repository.path()).is_some()
            }
            _ => self.rest(repository).is_some(),
        }
    }

    /// Larger for the one that decides: of two names for one repository the longer path, and then the one with a port.
    pub(crate) fn specificity(&self) -> (u8, usize, usize) {
        match self {
            Self::Everything => (0, 0, 0),
            Self::Below(domain) => (1, domain.len(), 0),
            Self::Name { host, path } => (2, path.len(), host.len()),
        }
    }
}

/// What takes a prefix' place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    path: String,
    pub(crate) api_root: String,
    pub(crate) with_namespace: bool,
}

impl Target {
    pub(crate) fn new(location: &Location) -> Result<Self, &'static str> {
        let (host, path) = split(&location.address)?;
        let root = location.api_root.as_deref().unwrap_or(STANDARD_ROOT).trim_end_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '~');
        let is_path = root.is_empty() || root.starts_with('/');
        if !is_path || root.contains("..") || root.contains("//") || !root.chars().all(is_plain) {
            return Err("has a path to its API that is not a plain path");
        }
        if root.len() > MAX_ROOT_CHARS {
            return Err("has a path to its API of more than 255 characters");
        }
        Ok(Self { host, path, api_root: root.to_owned(), with_namespace: location.with_namespace })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The repository whose path ends with what comes after the prefix; nothing when that is no name.
    pub(crate) fn repository(&self, rest: &str) -> Option<Repository> {
        let parts = [self.host.as_str(), self.path.as_str(), rest];
        let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        // A host with nothing after it would be a name at Docker Hub.
        name.parse().ok().filter(|repository: &Repository| repository.host() == self.host)
    }
}

/// Host and path of a name.
fn split(text: &str) -> Result<(String, String), &'static str> {
    if text.contains("://") {
        return Err("starts with a scheme: write a host with or without a path");
    }
    if text.contains('@') {
        return Err("has a digest: write a host with or without a path");
    }
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let host = normal_host(host).map_err(|_| "does not start with a registry host")?;
    if path.is_empty() {
        return Ok((host, String::new()));
    }
    let path = path.trim_end_matches('/');
    // With a segment after it, so that nothing is added to a name at Docker Hub.
    let repository: Result<Repository, _> = format!("{host}/{path}/a").parse();
    match repository {
        Ok(_) => Ok((host, path.to_owned())),
        Err(_) => Err("has a path that is no path of a repository"),
    }
}

/// What comes after `prefix` in `path`, at the end of a segment.
fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(prefix)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

fn has_port(host: &str) -> bool {
    without_port(host) != host
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(prefix: &str, repository: &str) -> Option<String> {
        Prefix::parse(prefix).unwrap().rest(&repository.parse().unwrap()).map(str::to_owned)
    }

    #[test]
    fn a_prefix_ends_at_the_end_of_a_segment() {
        for (prefix, repository, expected) in [
            ("r.example", "r.example/team/app", Some("team/app")),
            ("r.example/team", "r.example/team/app", Some("app")),
            ("r.example/team/", "r.example/team/app", Some("app")),
            ("r.example/team/app", "r.example/team/app", Some("")),
            ("r.example/tea", "r.example/team/app", None),
            ("r.example", "r.example:5000/app", None),
            ("r.example:5000", "r.example:5000/app", Some("app")),
            ("R.Example", "r.example/app", Some("app")),
            ("r.example", "r.example.evil.example/app", None),
            ("*.example", "r.example/app", Some("app")),
            ("*.example", "a.r.example:5000/app", Some("app")),
            ("*.r.example", "r.example/app", None),
            ("*.r.example", "evilr.example/app", None),
            ("*", "anything.example/app", Some("app")),
            ("index.docker.io/library", "nginx", Some("nginx")),
            ("docker.io/nginx", "nginx", None),
        ] {
            assert_eq!(rest(prefix, repository).as_deref(), expected, "{prefix} {repository}");
        }
    }

    #[test]
    fn must_not_take_for_a_prefix_what_is_none() {
        for text in
            ["", "team", "https://r.example", "r.example/app@sha256:1", "r.example/A", "*.", "*.a/b", "a.*.b", "**"]
        {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
        for text in ["r.example/app:v1", "r.example/a//b", "r.example/../b"] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_block_without_a_port_is_for_every_port() {
        let blocks =
            |prefix: &str, repository: &str| Prefix::parse(prefix).unwrap().blocks(&repository.parse().unwrap());
        assert!(blocks("r.example", "r.example:5000/app"));
        assert!(blocks("r.example/team", "r.example:5000/team/app"));
        assert!(blocks("[::1]", "[::1]:5000/app"));
        assert!(!blocks("r.example:5000", "r.example/app"));
        assert!(!blocks("r.example", "s.example:5000/app"));
    }

    #[test]
    fn what_takes_the_place_of_a_prefix_is_a_name_or_nothing() {
        let name = |address: &str, rest: &str| {
            Target::new(&Location::new(address)).unwrap().repository(rest).map(|repository| repository.to_string())
        };
        assert_eq!(name("m.example/hub", "library/nginx").as_deref(), Some("m.example/hub/library/nginx"));
        assert_eq!(name("m.example:5000", "app").as_deref(), Some("m.example:5000/app"));
        assert_eq!(name("m.example/app", "").as_deref(), Some("m.example/app"));
        assert_eq!(name("m.example", ""), None);
        assert_eq!(name("m.example", &"a/".repeat(130)), None);
        for root in ["v2", "/v2/../x", "/v2?x=1", "/a//b", "/v2#", "/%2e", &format!("/{}", "a".repeat(255))] {
            let location = Location { api_root: Some(root.to_owned()), ..Location::new("m.example") };
            assert!(Target::new(&location).is_err(), "{root}");
        }
        let root = |root: &str| {
            Target::new(&Location { api_root: Some(root.to_owned()), ..Location::new("m.example") }).unwrap().api_root
        };
        assert_eq!((root("/api/docker/hub/v2/").as_str(), root("/").as_str()), ("/api/docker/hub/v2", ""));
    }
}
