//! Image references and their one normal form.
//!
//! The grammar is that of the distribution project's `reference` package, which Docker, containerd and Kubernetes
//! share; the short forms of Docker Hub are expanded once, here, on both sides of every comparison.

use std::fmt;
use std::str::FromStr;

use super::{Digest, DigestError, PinnedImage};

/// The host that a reference without a host means.
const DOCKER_HUB: &str = "docker.io";
/// Longest repository path, host included (distribution `reference.NameTotalLengthMax`).
const MAX_NAME_LENGTH: usize = 255;
/// Longest text that is looked at: a name, a tag of 128 characters, a sha512 digest, and their separators.
const MAX_REFERENCE_LENGTH: usize = MAX_NAME_LENGTH + 1 + 128 + 1 + 7 + 128;

/// A repository: a registry's host (with its port) and a path, in normal form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// The host in lower case, with its port where one was written: `registry.example.com:5000`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below the host: `library/nginx`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    /// Parses a name without tag and digest, and brings it into normal form.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let problem = |problem| ReferenceError::Malformed { reference: shorten(text), problem };
        let too_long = "its name is longer than 255 characters, with its host";
        if text.is_empty() {
            return Err(problem("it is empty"));
        }
        if text.len() > MAX_NAME_LENGTH {
            return Err(problem(too_long));
        }
        let (host, path) = split_host(text);
        let host = normal_host(host).ok_or_else(|| problem("its registry host is not a host name or address"))?;
        // Upper-case letters made it a host. In lower case it would name a user of Docker Hub.
        if !is_host_by_looks(&host) {
            return Err(problem("its registry host has neither a dot nor a port"));
        }
        let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if let Some(why) = path_problem(&path) {
            return Err(problem(why));
        }
        // Short forms have grown: what is accepted is accepted again as it is shown.
        if host.len().saturating_add(1).saturating_add(path.len()) > MAX_NAME_LENGTH {
            return Err(problem(too_long));
        }
        Ok(Self { host, path })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A well-formed tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// For tags that this crate composes from parsed parts.
    pub(super) fn trusted(tag: String) -> Self {
        Self(tag)
    }

    /// The text of the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let mut bytes = text.bytes();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let first = bytes.next().is_some_and(word);
        if first && text.len() <= 128 && bytes.all(|b| word(b) || b == b'.' || b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::Malformed { reference: shorten(text), problem: "its tag is not a valid tag" })
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image reference in normal form. It names a tag, a digest, or both; with both, the digest decides what is
/// meant and the tag is a name only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The digest after `@` does not parse.
    #[error("image reference `{reference}` has a bad digest: {error}")]
    Digest {
        /// The text, cut to a printable length.
        reference: String,
        /// What is wrong with the digest.
        error: DigestError,
    },
    /// The name or the tag does not follow the grammar.
    #[error("image reference `{reference}` is malformed: {problem}")]
    Malformed {
        /// The text, cut to a printable length.
        reference: String,
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
}

impl ImageReference {
    /// The repository part.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, where one was written or implied (`latest`, when there is neither tag nor digest).
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, where one was written.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The image, when the reference itself says which manifest is meant.
    #[must_use]
    pub fn pinned(&self) -> Option<PinnedImage> {
        self.digest.map(|digest| self.pin(digest))
    }

    /// This reference's repository with a digest.
    #[must_use]
    pub fn pin(&self, digest: Digest) -> PinnedImage {
        PinnedImage { repository: self.repository.clone(), digest }
    }

    /// A reference to a tag of a repository.
    #[must_use]
    pub fn tagged(repository: Repository, tag: Tag) -> Self {
        Self { repository, tag: Some(tag), digest: None }
    }
}

impl From<PinnedImage> for ImageReference {
    fn from(image: PinnedImage) -> Self {
        Self { repository: image.repository, tag: None, digest: Some(image.digest) }
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_REFERENCE_LENGTH {
            return Err(ReferenceError::Malformed { reference: shorten(text), problem: "it is too long" });
        }
        if text.contains("://") {
            let problem = "it starts with a scheme such as `https://`; leave that out";
            return Err(ReferenceError::Malformed { reference: shorten(text), problem });
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest =
                    digest.parse().map_err(|error| ReferenceError::Digest { reference: shorten(text), error })?;
                (name, Some(digest))
            }
        };
        // A colon after the last slash separates a tag; one before it belongs to the host's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((before, after)) if !after.contains('/') => (before, Some(after.parse()?)),
            _ => (name, None),
        };
        let repository = name.parse()?;
        let tag = match (tag, digest) {
            (None, None) => Some(Tag::trusted("latest".to_owned())),
            (tag, _) => tag,
        };
        Ok(Self { repository, tag, digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first segment is a host when it has a dot or a colon, is `localhost`, or has upper-case letters
/// (distribution `reference.ParseNormalizedNamed`).
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if is_host_by_looks(first) || first.bytes().any(|b| b.is_ascii_uppercase()) => {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    }
}

fn is_host_by_looks(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

/// A host in lower case, Docker Hub's other names folded into one; `None` when it is no host.
fn normal_host(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return None,
        }
    } else {
        match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host.as_str()), None),
        }
    };
    if port.is_some_and(|port| port.len() > 5 || port.starts_with('0') || port.parse::<u16>().is_err()) {
        return None;
    }
    if !name.is_none_or(is_host_name) {
        return None;
    }
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => Some(DOCKER_HUB.to_owned()),
        _ => Some(host),
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label)
}

/// What is wrong with a repository path, by the grammar `path-component ["/" path-component]*`, where a component is
/// `[a-z0-9]+` joined by one `.`, one or two `_`, or any number of `-`.
fn path_problem(path: &str) -> Option<&'static str> {
    if path.split('/').all(is_path_component) {
        return None;
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some("its repository name must be lower case");
    }
    Some("its repository name is not valid")
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    let mut seen = false;
    for byte in component.bytes() {
        if alphanumeric(byte) {
            if !separator.is_empty() && !is_separator(&separator) {
                return false;
            }
            separator.clear();
            seen = true;
        } else if seen && matches!(byte, b'.' | b'_' | b'-') {
            separator.push(char::from(byte));
        } else {
            return false;
        }
    }
    seen && separator.is_empty()
}

fn is_separator(text: &str) -> bool {
    matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-')
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_have_one_normal_form() {
        for (text, normal) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
            ("grafana/grafana", "docker.io/grafana/grafana:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("LOCALHOST:5000/app", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/team/app:1", "127.0.0.1:5000/team/app:1"),
            ("[::1]:5000/app:1", "[::1]:5000/app:1"),
            ("Registry.Example.com/a/b__c/d-e.f:T_1", "registry.example.com/a/b__c/d-e.f:T_1"),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn a_digest_makes_the_tag_a_mere_name() {
        let digest = Digest::of(b"");
        let image: ImageReference = format!("r.example/app:1@{digest}").parse().unwrap();
        assert_eq!(image.pinned().unwrap().to_string(), format!("r.example/app@{digest}"));
        assert_eq!(image.tag().unwrap().as_str(), "1");
        let image: ImageReference = format!("r.example/app@{digest}").parse().unwrap();
        assert_eq!(image.tag(), None);
    }

    #[test]
    fn must_not_accept_a_short_name_whose_normal_form_is_too_long() {
        for (text, grows_by) in [("", "docker.io/library/"), ("team/", "docker.io/"), ("r.example/", "")] {
            let at_most = MAX_NAME_LENGTH - grows_by.len() - text.len();
            let image: ImageReference = format!("{text}{}:1", "a".repeat(at_most)).parse().unwrap();
            assert_eq!(image.to_string().parse(), Ok(image));
            let longer = format!("{text}{}:1", "a".repeat(at_most + 1));
            assert!(longer.parse::<ImageReference>().is_err(), "{longer}");
        }
    }

    #[test]
    fn must_not_parse_what_is_not_a_reference() {
        let long = "a".repeat(300);
        for text in [
            "",
            " ",
            "nginx ",
            "r.example/App",
            "r.example/a//b",
            "r.example/a/",
            "/a",
            "r.example/../etc",
            "a@sha256:1",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "https://r.example/a",
            "r.example:99999/a",
            "r.example:080/a",
            "-r.example/a",
            "r.example/a:",
            "r.example/a:-x",
            "r_x.example/a",
            "HOST/a",
            "Library/nginx",
            "[::1/a",
            "[zz]/a",
            "user@r.example/a",
            "r.example/a\n",
            "r.example/a\u{0}",
            "r.example/a___b",
            "r.example/a..b",
            "r.example/é",
            &long,
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text:?}");
        }
    }
}
