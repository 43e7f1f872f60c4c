//! Which TUF repositories there are, and by which root each is entered.

use std::borrow::Cow;

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
                "write letters, digits and `-`, at most 63; `public-good` and `staging` are entered by the root that \
                 was built in"
            }
        }
    }
}

impl RootSource {
    /// The names that are known, each with its address and the root that was built in (`verifier/data/README.md`).
    const KNOWN: [(&'static str, &'static str, &'static [u8]); 2] = [
        (
            "public-good",
            "https://tuf-repo-cdn.sigstore.dev",
            include_bytes!("../../data/tuf_root.public-good.json").as_slice(),
        ),
        ("staging", "https://tuf-repo-cdn.sigstage.dev", include_bytes!("../../data/tuf_root.staging.json").as_slice()),
    ];

    /// The repository of an instance that is known by its name.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        let (name, address, entry) = Self::KNOWN.into_iter().find(|(known, ..)| *known == name)?;
        let mirror = Mirror::at(address).ok()?;
        Some(Self { name: name.to_owned(), entry: Cow::Borrowed(entry), mirror })
    }

    /// The names that are known.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::KNOWN.into_iter().map(|(name, ..)| name)
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
        Ok(Self { name: name.to_owned(), entry: Cow::Owned(entry), mirror })
    }

    /// Any name and any root, for tests of what a known name does.
    #[cfg(test)]
    pub(super) fn named(name: &str, entry: Vec<u8>, mirror: Mirror) -> Self {
        Self { name: name.to_owned(), entry: Cow::Owned(entry), mirror }
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

    /// The root by which it is entered.
    pub(super) fn entry(&self) -> &[u8] {
        &self.entry
    }
}
