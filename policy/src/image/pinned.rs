//! Names that cannot move, and bytes that were checked against the digest that was asked for.

use std::fmt;
use std::sync::Arc;

use super::{Digest, Repository};

/// One manifest in one repository. Whoever holds one knows exactly which bytes are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinnedImage {
    /// Where the image was asked for.
    pub repository: Repository,
    /// The digest of its manifest or index.
    pub digest: Digest,
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// Bytes whose digest was recomputed and equals the digest that they were asked for by.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    digest: Digest,
    bytes: Arc<[u8]>,
}

/// The bytes are not those that the digest names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("content does not match its digest: asked for `{expected}`, got bytes with `{actual}`")]
pub struct ContentMismatch {
    /// The digest that was asked for.
    pub expected: Digest,
    /// The SHA-256 of what was given.
    pub actual: Digest,
}

impl Content {
    /// Checks bytes against the digest that they were asked for by.
    ///
    /// # Errors
    /// [`ContentMismatch`] when the recomputed digest is another.
    pub fn check(expected: Digest, bytes: impl Into<Arc<[u8]>>) -> Result<Self, ContentMismatch> {
        let bytes = bytes.into();
        if expected.matches(&bytes) {
            Ok(Self { digest: expected, bytes })
        } else {
            Err(ContentMismatch { expected, actual: Digest::of(&bytes) })
        }
    }

    /// Names bytes by their own SHA-256 digest: for what we made ourselves, and for what was fetched by tag.
    #[must_use]
    pub fn named_by_itself(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), bytes }
    }

    /// The digest that the bytes have.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({}, {} bytes)", self.digest, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_accept_bytes_with_another_digest() {
        let digest = Digest::of(b"image");
        assert_eq!(Content::check(digest, *b"image").unwrap().bytes(), b"image");
        let mismatch = Content::check(digest, *b"imagf").unwrap_err();
        assert_eq!(mismatch.actual, Digest::of(b"imagf"));
    }
}
