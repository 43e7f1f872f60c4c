//! Content that was fetched before, so that no byte is fetched twice; and for whom it was fetched.

use std::fmt;

use futures_util::future::BoxFuture;
use hallmark_policy::image::{Content, Digest, Repository};
use zeroize::Zeroizing;

use crate::credentials::CredentialSource;

/// Where content that was fetched by digest is kept.
///
/// It is asked only after the registry has listed the content's digest for the same partition in the same gathering,
/// and nothing that it gives is believed: [`Content`] can only be made from bytes that have the digest.
pub trait ContentCache: Send + Sync {
    /// 32 random bytes that go into every [`Partition`]. They are as old as what is kept, and known to nobody else, so
    /// that the name of a partition gives no password away.
    fn salt(&self) -> [u8; 32];
    /// The content, if it is kept for this partition.
    fn find(&self, partition: Partition, digest: Digest) -> BoxFuture<'_, Option<Content>>;
    /// Keeps content, or does not: nothing depends on it.
    fn keep(&self, partition: Partition, content: &Content);
}

/// For whom something was fetched: one registry, and who we are to it at a repository. What one partition has fetched
/// is never shown to another, so that no tenant learns of another's images.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(Digest);

impl Partition {
    /// What is not divided: a source of evidence that knows no credentials.
    #[must_use]
    pub fn undivided() -> Self {
        Self(Digest::of(b"hallmark undivided partition"))
    }

    /// 64 characters of lower-case hex that tell partitions apart, and nothing else.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.encoded()
    }

    pub(crate) fn of(salt: &[u8; 32], credentials: &CredentialSource, repository: &Repository) -> Self {
        let identity = credentials.identity(repository);
        let mut hashed = Zeroizing::new(salt.to_vec());
        let parts = identity.iter().map(|secret| secret.expose().as_bytes());
        for part in std::iter::once(repository.host().as_bytes()).chain(parts) {
            // With its length, so that no two lists of parts are the same bytes.
            hashed.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hashed.extend(part);
        }
        Self(Digest::of(&hashed))
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Partition")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_share_a_partition_between_credentials_hosts_or_stores() {
        let nobody = CredentialSource::anonymous();
        let ann = nobody.with_password("r.example", "ann", "1");
        let same = nobody.with_password("r.example", "ann", "1");
        let of = |salt: u8, source: &CredentialSource, repository: &str| {
            Partition::of(&[salt; 32], source, &repository.parse().unwrap())
        };
        let anns = of(0, &ann, "r.example/a");
        assert_eq!(anns, of(0, &same, "r.example/b"));
        for other in [
            of(0, &nobody, "r.example/a"),
            of(0, &nobody.with_password("r.example", "ann", "2"), "r.example/a"),
            of(0, &nobody.with_password("r.example", "an", "n1"), "r.example/a"),
            of(0, &ann.with_password("r.example/a", "bob", "1"), "r.example/a"),
            of(0, &nobody.with_password("s.example", "ann", "1"), "s.example/a"),
            of(1, &ann, "r.example/a"),
        ] {
            assert_ne!(anns, other);
        }
        assert!(!format!("{anns:?}").contains(&anns.name()));
    }
}
