//! From the path of a request to what it names (OCI distribution-spec, "Endpoints").

use std::fmt;

use hallmark_policy::image::{Digest, Repository, Tag};

use crate::refusal::Refusal;

/// What a path below `/v2/` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `<name>/blobs/<digest>`
    Blob(Name, Digest),
    /// `<name>/manifests/<reference>`
    Manifest(Name, Reference),
    /// `<name>/referrers/<digest>`
    Referrers(Name, Digest),
    /// `<name>/tags/list`
    Tags(Name),
    /// `<name>/blobs/uploads/<id>`
    Upload(Name, String),
    /// `<name>/blobs/uploads/`
    Uploads(Name),
}

impl Endpoint {
    /// Parses the percent-decoded path below `/v2/`. A repository may be called `a/blobs/b`, so the path is read from
    /// its end, where no slash can be part of a value.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        let (before, last) = path.rsplit_once('/').ok_or(Refusal::NoSuchEndpoint)?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            let name = name.parse()?;
            return Ok(if last.is_empty() { Self::Uploads(name) } else { Self::Upload(name, last.to_owned()) });
        }
        let (name, kind) = before.rsplit_once('/').ok_or(Refusal::NoSuchEndpoint)?;
        match (kind, last) {
            // Off-spec: the specification writes the slash at the end of this one; clients forget it.
            ("blobs", "uploads") => Ok(Self::Uploads(name.parse()?)),
            ("blobs", digest) => Ok(Self::Blob(name.parse()?, parse_digest(digest)?)),
            ("manifests", reference) => Ok(Self::Manifest(name.parse()?, reference.parse()?)),
            ("referrers", digest) => Ok(Self::Referrers(name.parse()?, parse_digest(digest)?)),
            ("tags", "list") => Ok(Self::Tags(name.parse()?)),
            _ => Err(Refusal::NoSuchEndpoint),
        }
    }

    /// The methods that the endpoint has, as the `Allow` header lists them.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Referrers(..) | Self::Tags(_) => "GET, HEAD",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
            Self::Uploads(_) => "POST",
        }
    }
}

/// Parses a digest that a client sent.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: hallmark_policy::image::DigestError| Refusal::DigestInvalid(error.to_string()))
}

/// A repository's name within this registry: safe as a path, since no component begins with a dot or an underscore.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        // The grammar's one home is the image reference; any host in front makes one of a bare name.
        match format!("localhost/{text}").parse::<Repository>() {
            Ok(repository) => Ok(Self(repository.path().to_owned())),
            Err(_) => Err(Refusal::NameInvalid(text.chars().take(300).collect())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last part of a manifest's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A digest.
    Digest(Digest),
    /// Neither: no manifest can have it.
    Neither(String),
    /// A tag.
    Tag(Tag),
}

impl std::str::FromStr for Reference {
    type Err = Refusal;

    /// A text with a colon can only be meant as a digest; what is neither is refused where it matters, so that asking
    /// for it says "unknown" (OCI distribution-spec, "Pulling manifests": 404).
    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            return Ok(Self::Digest(parse_digest(text)?));
        }
        Ok(text.parse().map_or_else(|_| Self::Neither(text.chars().take(200).collect()), Self::Tag))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::Neither(text) => f.write_str(text),
            Self::Tag(tag) => write!(f, "{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::of(b"");
        let name = |text: &str| text.parse::<Name>().unwrap();
        for (path, expected) in [
            (format!("a/blobs/{digest}"), Endpoint::Blob(name("a"), digest)),
            (format!("a/blobs/b/blobs/{digest}"), Endpoint::Blob(name("a/blobs/b"), digest)),
            ("a/blobs/uploads/".to_owned(), Endpoint::Uploads(name("a"))),
            ("a/blobs/uploads".to_owned(), Endpoint::Uploads(name("a"))),
            ("a/b/blobs/uploads/0f".to_owned(), Endpoint::Upload(name("a/b"), "0f".to_owned())),
            ("a/tags/list".to_owned(), Endpoint::Tags(name("a"))),
            ("a/tags/tags/list".to_owned(), Endpoint::Tags(name("a/tags"))),
            ("a/manifests/v1".to_owned(), Endpoint::Manifest(name("a"), Reference::Tag("v1".parse().unwrap()))),
            ("a/manifests/.x".to_owned(), Endpoint::Manifest(name("a"), Reference::Neither(".x".to_owned()))),
            (format!("a/manifests/{digest}"), Endpoint::Manifest(name("a"), Reference::Digest(digest))),
            (format!("a/referrers/{digest}"), Endpoint::Referrers(name("a"), digest)),
        ] {
            assert_eq!(Endpoint::parse(&path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn must_not_name_anything_outside_of_the_registry() {
        for path in [
            "",
            "a",
            "manifests/x",
            "../manifests/x",
            "a/../b/manifests/x",
            "/etc/manifests/x",
            "A/manifests/x",
            "a//b/manifests/x",
            "_blobs/manifests/x",
            "a/blobs/sha256:../../x",
            "a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
            "a/manifests/sha256:1",
            "a/tags/other",
            "a/referrers/latest",
        ] {
            assert!(Endpoint::parse(path).is_err(), "{path}");
        }
    }
}
