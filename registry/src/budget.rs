//! How many bytes all gatherings may hold together while they are under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::limits::{MAX_EVIDENCE_BYTES, MAX_LARGE_BYTES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::remembered::Remembered;

/// How many hosts' worth of memory there is: a registry that stalls leaves half to the others.
const HOSTS: usize = 2;
/// Most hosts whose share is counted apart.
const MAX_HOSTS: usize = 4096;
/// How long a share is remembered after it was last asked for; longer than any gathering.
const SHARE_LIFETIME: Duration = Duration::from_secs(600);

/// A share of memory. Whoever holds bytes of one stage may wait for bytes of a later one, and for no others; so whoever
/// holds bytes of the last stage waits for nothing, and nobody waits for ever.
pub(crate) struct Budget {
    all: Share,
    hosts: Remembered<String, Share>,
}

/// What bytes are for, in the order in which a gathering holds them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    /// Bodies of listings.
    Listings,
    /// Listed manifests.
    Manifests,
    /// The blobs of manifests.
    Blobs,
    /// The blobs of manifests that were looked at because the first few were not enough.
    MoreBlobs,
    /// Attestations that are larger than signatures, of types that somebody asks for.
    Large,
}

impl Stage {
    /// Most bytes that all gatherings at one host hold at one time. A host has room for the largest gathering of each
    /// kind, and for two of the two that most gatherings have.
    fn host_bytes(self) -> usize {
        match self {
            Self::Listings | Self::MoreBlobs => MAX_EVIDENCE_BYTES,
            Self::Manifests | Self::Blobs => 2 * MAX_EVIDENCE_BYTES,
            Self::Large => MAX_LARGE_BYTES,
        }
    }

    /// Most bytes that one gathering fetches.
    fn most_bytes(self) -> usize {
        match self {
            Self::Listings | Self::Manifests | Self::Blobs | Self::MoreBlobs => MAX_EVIDENCE_BYTES,
            Self::Large => MAX_LARGE_BYTES,
        }
    }
}

#[derive(Clone)]
struct Share {
    listings: Arc<Semaphore>,
    manifests: Arc<Semaphore>,
    blobs: Arc<Semaphore>,
    more_blobs: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Bytes that may be held until this is dropped.
#[must_use]
pub(crate) struct Reserved {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { all: Share::of(HOSTS), hosts: Remembered::with_capacity(MAX_HOSTS) }
    }

    /// Waits until a gathering may hold so many bytes more, at most until the deadline.
    pub(crate) async fn reserve(
        &self,
        host: &str,
        stage: Stage,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Reserved, Cause> {
        // No gathering may fetch more than its own bound.
        let bytes = u32::try_from(bytes.min(stage.most_bytes())).unwrap_or(u32::MAX);
        let share = self.hosts.find_or_insert_with(host.to_owned(), SHARE_LIFETIME, || Share::of(1));
        let mut permits = Vec::new();
        for share in [&share, &self.all] {
            let permit = Arc::clone(share.of_stage(stage)).acquire_many_owned(bytes);
            match tokio::time::timeout_at(deadline.into(), permit).await {
                Ok(Ok(permit)) => permits.push(permit),
                // The semaphores are never closed.
                Ok(Err(_)) | Err(_) => {
                    let detail = format!("`{host}`: other evidence filled the memory until the deadline");
                    return Err(Cause::new(Code::DeadlineExceeded, detail));
                }
            }
        }
        Ok(Reserved { _permits: permits })
    }
}

impl Share {
    fn of(hosts: usize) -> Self {
        let stage = |stage: Stage| Arc::new(Semaphore::new(stage.host_bytes().saturating_mul(hosts)));
        Self {
            listings: stage(Stage::Listings),
            manifests: stage(Stage::Manifests),
            blobs: stage(Stage::Blobs),
            more_blobs: stage(Stage::MoreBlobs),
            large: stage(Stage::Large),
        }
    }

    fn of_stage(&self, stage: Stage) -> &Arc<Semaphore> {
        match stage {
            Stage::Listings => &self.listings,
            Stage::Manifests => &self.manifests,
            Stage::Blobs => &self.blobs,
            Stage::MoreBlobs => &self.more_blobs,
            Stage::Large => &self.large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn must_not_let_one_host_hold_everything_nor_all_hosts_more_than_the_bound() {
        let budget = Budget::new();
        let mut held = Vec::new();
        for host in ["a.example", "a.example", "b.example", "b.example"] {
            held.push(budget.reserve(host, Stage::Manifests, MAX_EVIDENCE_BYTES, soon()).await.unwrap());
            if held.len() == 2 {
                let cause = budget.reserve(host, Stage::Manifests, 1, soon()).await.err().unwrap();
                assert_eq!(cause.code(), Code::DeadlineExceeded);
            }
        }
        assert!(budget.reserve("c.example", Stage::Manifests, 1, soon()).await.is_err());
        assert!(budget.reserve("c.example", Stage::Blobs, 1, soon()).await.is_ok());
        held.pop();
        assert!(budget.reserve("c.example", Stage::Manifests, MAX_EVIDENCE_BYTES, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn must_not_let_what_is_held_for_one_stage_use_up_a_later_one() {
        let budget = Budget::new();
        let mut held = Vec::new();
        for stage in [Stage::Listings, Stage::Manifests, Stage::Blobs, Stage::MoreBlobs, Stage::Large] {
            for _ in 0..stage.host_bytes() / MAX_EVIDENCE_BYTES {
                held.push(budget.reserve("a.example", stage, MAX_EVIDENCE_BYTES, soon()).await.unwrap());
            }
            assert!(budget.reserve("a.example", stage, 1, soon()).await.is_err(), "{stage:?}");
            assert!(budget.reserve("b.example", stage, 1, soon()).await.is_ok(), "{stage:?}");
        }
    }
}
