//! How many bytes all gatherings may hold together while they are under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::limits::MAX_EVIDENCE_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::remembered::Remembered;

/// Most bytes of manifests, and as many of blobs, that all gatherings hold at one time.
pub(crate) const MAX_GATHERED_BYTES: usize = 4 * MAX_EVIDENCE_BYTES;
/// Most bytes of each that gatherings at one host hold: a registry that stalls leaves half to the others.
const MAX_HOST_BYTES: usize = MAX_GATHERED_BYTES / 2;
/// Most hosts whose share is counted apart.
const MAX_HOSTS: usize = 4096;
/// How long a share is remembered after it was last asked for; longer than any gathering.
const SHARE_LIFETIME: Duration = Duration::from_secs(600);

/// A share of memory. Who holds manifests may wait for blobs, and who holds blobs waits for nothing, so that nobody
/// waits for ever.
pub(crate) struct Budget {
    all: Share,
    hosts: Remembered<String, Share>,
}

/// Which of the two kinds of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    Blobs,
    Manifests,
}

#[derive(Clone)]
struct Share {
    blobs: Arc<Semaphore>,
    manifests: Arc<Semaphore>,
}

/// Bytes that may be held until this is dropped.
#[must_use]
pub(crate) struct Reserved {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { all: Share::of(MAX_GATHERED_BYTES), hosts: Remembered::with_capacity(MAX_HOSTS) }
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
        let bytes = u32::try_from(bytes.min(MAX_EVIDENCE_BYTES)).unwrap_or(u32::MAX);
        let share = self.hosts.find_or_insert_with(host.to_owned(), SHARE_LIFETIME, || Share::of(MAX_HOST_BYTES));
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
    fn of(bytes: usize) -> Self {
        Self { blobs: Arc::new(Semaphore::new(bytes)), manifests: Arc::new(Semaphore::new(bytes)) }
    }

    fn of_stage(&self, stage: Stage) -> &Arc<Semaphore> {
        match stage {
            Stage::Blobs => &self.blobs,
            Stage::Manifests => &self.manifests,
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
}
