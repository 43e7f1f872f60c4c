//! Which TUF repositories there are, and by which root each is entered.

use std::borrow::Cow;

use hallmark_policy::Timestamp;
use hallmark_policy::trust::KnownRoots;
use sigstore_tuf::TrustedMetadataSet;

use super::chain;
use super::mirror::Mirror;

/// Longest name of a private repository.
const MAX_NAME: usize = 63;

/// A TUF repository with a trusted root in it: how it is called, by which root it is entered, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSource {
    name: String,
    entry: Cow<'static, [u8]>,
    mirror: Mirror,
    newest_at: Option<Timestamp>,
}

/// An instance that is known by its name.
struct Known {
    name: &'static str,
    address: &'static str,
    /// The TUF root that was built in (`verifier/data/README.md`).
    entry: &'static [u8],
    /// When the trusted root that was built in was the newest one, and its digest: who builds in another one changes both.
    newest_at: &'static str,
    #[cfg(test)]
    digest: &'static str,
}

/// Why something is no TUF repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The address cannot be one.
    #[error("`{address}` is not the address of a TUF repository")]
    Address {
        /// The address, without a password.
        address: String,
    },
    /// The root by which it is to be entered is none.
    #[error("the TUF root cannot be used: {problem}")]
    Entry {
        /// What is wrong.
        problem: String,
    },
    /// The name cannot be one, or is that of a repository that is known.
    #[error("`{name}` cannot be the name of a private TUF repository")]
    Name {
        /// The name.
        name: String,
    },
}

impl SourceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => {
                "give an http or https address without a password, such as `https://tuf.example.com`; the metadata is \
                 signed, so that plain http is as good"
            }
            Self::Entry { .. } => "give a `root.json` of the repository that you trust, of any version",
            Self::Name { .. } => {
                "write letters, digits and `-`, at most 63; `public-good`, `staging` and `github` are entered by the \
                 root that was built in"
            }
        }
    }
}

impl RootSource {
    /// The instances that are known.
    const KNOWN: [Known; 3] = [
        Known {
            name: "public-good",
            address: "https://tuf-repo-cdn.sigstore.dev",
            entry: include_bytes!("../../data/tuf_root.public-good.json"),
            newest_at: "2026-10-23T00:00:00Z",
            #[cfg(test)]
            digest: "sha256:6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66",
        },
        Known {
            name: "staging",
            address: "https://tuf-repo-cdn.sigstage.dev",
            entry: include_bytes!("../../data/tuf_root.staging.json"),
            newest_at: "2026-10-23T00:00:00Z",
            #[cfg(test)]
            digest: "sha256:44deb991d4bbf2150751ccee235d9810bce4434383c26d8898c1bcadbace6ed8",
        },
        Known {
            name: KnownRoots::GITHUB,
            address: "https://tuf-repo.github.com",
            entry: include_bytes!("../../data/tuf_root.github.json"),
            newest_at: "2026-10-23T00:00:00Z",
            #[cfg(test)]
            digest: "sha256:484cdfe1a7c65479c5ba2a22193d1be90f0020db1997de696ab207434c62fbb7",
        },
    ];

    /// The repository of an instance that is known by its name.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        let known = Self::KNOWN.into_iter().find(|known| known.name == name)?;
        let mirror = Mirror::at(known.address).ok()?;
        let newest_at = Some(known.newest_at.parse().ok()?);
        Some(Self { name: name.to_owned(), entry: Cow::Borrowed(known.entry), mirror, newest_at })
    }

    /// The names that are known.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::KNOWN.into_iter().map(|known| known.name)
    }

    /// A private repository, entered by a root that whoever asks believes.
    ///
    /// # Errors
    /// [`SourceError`] when the name is taken or the root does not hold by its own keys.
    pub fn private(name: &str, entry: Vec<u8>, mirror: Mirror) -> Result<Self, SourceError> {
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !Self::names().any(|known| known == name);
        if !is_name {
            let name = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
            return Err(SourceError::Name { name });
        }
        TrustedMetadataSet::from_root(&entry).map_err(|error| SourceError::Entry { problem: chain(&error) })?;
        Ok(Self { name: name.to_owned(), entry: Cow::Owned(entry), mirror, newest_at: None })
    }

    /// Any name and any root, for tests of what a known name does.
    #[cfg(test)]
    pub(super) fn named(name: &str, entry: Vec<u8>, mirror: Mirror) -> Self {
        Self { name: name.to_owned(), entry: Cow::Owned(entry), mirror, newest_at: None }
    }

    /// The same, in a program with a trusted root that was the newest one then.
    #[cfg(test)]
    pub(super) fn with_newest_at(self, newest_at: Timestamp) -> Self {
        Self { newest_at: Some(newest_at), ..self }
    }

    /// The names that are known, each with the digest of the trusted root that was the newest one when it was built in.
    #[cfg(test)]
    pub(super) fn digests() -> impl Iterator<Item = (&'static str, &'static str)> {
        Self::KNOWN.into_iter().map(|known| (known.name, known.digest))
    }

    /// The same repository, read from somewhere else.
    #[must_use]
    pub fn from_mirror(self, mirror: Mirror) -> Self {
        Self { mirror, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is read from.
    #[must_use]
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// When the trusted root that was built in was the newest one: what was kept before then is no newer. None where
    /// nothing was built in.
    pub(super) fn newest_at(&self) -> Option<Timestamp> {
        self.newest_at
    }

    /// The root by which it is entered.
    pub(super) fn entry(&self) -> &[u8] {
        &self.entry
    }
}
