//! What a credential is for: a host, or what lies at or below a path of it.
//!
//! Keys of Docker's, Podman's and Kubernetes' files, and the patterns of the kubelet's credential providers. A `*` stands
//! for any part of one label of the host's name, and for nothing else: `*.example.com` is neither `example.com` nor
//! `a.b.example.com`, and no number of labels reaches past the last one that is written (CVE-2025-27403).

use hallmark_policy::image::Repository;

use crate::configuration::normal_host;

/// What a credential is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    host: Host,
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Named(String),
    Pattern { labels: Vec<String>, port: Option<String> },
}

/// How narrow a scope is: the longer path first, then a name before a pattern, then the longer pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Narrowness {
    path: usize,
    is_named: bool,
    literal: usize,
}

impl Scope {
    /// A whole host, as a repository names it.
    pub(super) fn host_of(repository: &Repository) -> Self {
        Self { host: Host::Named(repository.host().to_owned()), path: String::new() }
    }

    /// Parses `registry.example.com/team`, `https://index.docker.io/v1/`, `*.dkr.ecr.*.amazonaws.com`.
    pub(super) fn parse(key: &str) -> Option<Self> {
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
        let was_url = bare.is_some();
        let bare = bare.unwrap_or(key).trim_end_matches('/');
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        // The version of the registry's API is part of the old URLs, not of a repository's path.
        let has_version = matches!(path, "v1" | "v2") && (was_url || host == "index.docker.io");
        let path = if has_version { "" } else { path.trim_matches('/') };
        let is_path = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        if !path.bytes().all(is_path) {
            return None;
        }
        Some(Self { host: Host::parse(host)?, path: path.to_owned() })
    }

    /// Whether a repository is of this host, and at or below the path.
    pub(super) fn covers(&self, repository: &Repository) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.host.covers(repository.host())
            && (self.path.is_empty() || repository.path().strip_prefix(self.path.as_str()).is_some_and(below))
    }

    /// How narrow it is.
    pub(super) fn narrowness(&self) -> Narrowness {
        let (is_named, literal) = match &self.host {
            Host::Named(host) => (true, host.len()),
            Host::Pattern { labels, .. } => {
                (false, labels.iter().flat_map(|label| label.bytes()).filter(|b| *b != b'*').count())
            }
        };
        Narrowness { path: self.path.len(), is_named, literal }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if !text.contains('*') {
            return normal_host(text).ok().map(Self::Named);
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'*'))
        };
        if !name.split('.').all(is_label) || !port.is_none_or(is_port) {
            return None;
        }
        let labels = name.split('.').map(str::to_ascii_lowercase).collect();
        Some(Self::Pattern { labels, port: port.map(str::to_owned) })
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Named(named) => named == host,
            Self::Pattern { labels, port } => {
                let (name, its_port) = match host.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (host, None),
                };
                let mut its_labels = name.split('.');
                port.as_deref() == its_port
                    && labels.iter().all(|label| its_labels.next().is_some_and(|its| matches(label, its)))
                    && its_labels.next().is_none()
            }
        }
    }
}

/// Whether a label fits a pattern in which each `*` stands for any characters, or none.
fn matches(pattern: &str, label: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut left) = label.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    // The first place where a part fits leaves the most room for what follows.
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(key: &str, repository: &str) -> bool {
        Scope::parse(key).unwrap().covers(&repository.parse().unwrap())
    }

    #[test]
    fn must_not_reach_another_host_port_or_path() {
        for (key, covered, others) in [
            ("r.example", "r.example/x", vec!["r.example:5000/x", "r.example.evil.example/x", "evil.r.example/x"]),
            ("r.example:5000", "r.example:5000/x", vec!["r.example/x", "r.example:5001/x"]),
            ("r.example/team-a", "r.example/team-a/x", vec!["r.example/team-b/x", "r.example/team-ab", "r.example/x"]),
            ("https://r.example/v2/", "r.example/x", vec!["r.example:443/x"]),
            ("r.example/v2", "r.example/v2/x", vec!["r.example/x"]),
            (
                "*.azurecr.io",
                "evil.azurecr.io/x",
                vec!["evil.azurecr.io.attacker.net/x", "a.b.azurecr.io/x", "azurecr.io/x", "evil.azurecr.io:8443/x"],
            ),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1.dkr.ecr.eu-west-1.amazonaws.com/x",
                vec![
                    "1.dkr.ecr.eu-west-1.amazonaws.com.evil.example/x",
                    "1.dkr.ecr.amazonaws.com/x",
                    "1.dkr.ecr.a.b.amazonaws.com/x",
                ],
            ),
            (
                "app*.r.example:5000/team",
                "app1.r.example:5000/team",
                vec!["ap.r.example:5000/team", "app1.r.example/team", "app1.r.example:5000/teams"],
            ),
            (
                "*-docker.pkg.dev",
                "europe-docker.pkg.dev/p/r",
                vec!["docker.pkg.dev/p/r", "europe-docker.pkg.dev.a.b/p"],
            ),
        ] {
            assert!(covers(key, covered), "{key} {covered}");
            for other in others {
                assert!(!covers(key, other), "{key} {other}");
            }
        }
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "docker.io",
            "https://index.docker.io/v1/",
            "index.docker.io/v1/",
            "index.docker.io",
            "registry-1.docker.io",
        ] {
            assert!(covers(key, "nginx"), "{key}");
            assert!(!covers(key, "r.example/library/nginx"), "{key}");
        }
        assert!(covers("docker.io/team", "team/app") && !covers("docker.io/team", "nginx"));
    }

    #[test]
    fn what_is_no_scope_covers_nothing() {
        for key in [
            "",
            "not a host",
            "host",
            "*.r.example:x",
            "r.example/team-*",
            "*..example",
            "[*]",
            "r.example/A",
            "*.r.example:+1",
        ] {
            assert_eq!(Scope::parse(key), None, "{key}");
        }
    }

    #[test]
    fn the_longer_path_is_narrower_then_the_name_then_the_longer_pattern() {
        let narrow = |key: &str| Scope::parse(key).unwrap().narrowness();
        let keys = ["*.*.io", "*.r.io", "a.r.io", "*.r.io/team", "a.r.io/team", "*.r.io/team/app"];
        assert!(keys.is_sorted_by_key(|key| narrow(key)));
    }

    #[test]
    fn a_star_is_any_part_of_a_label() {
        for (pattern, label, fits) in [
            ("*", "a", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*ca", "aca", true),
            ("a*ca", "acaca", true),
            ("a*bc*d", "aXbcYd", true),
            ("a*bc*d", "aXbYd", false),
            ("a*a", "a", false),
            ("a", "b", false),
        ] {
            assert_eq!(matches(pattern, label), fits, "{pattern} {label}");
        }
    }
}
