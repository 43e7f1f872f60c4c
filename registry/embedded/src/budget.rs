//! The bytes that the registry may hold, content and uploads in progress together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::refusal::Refusal;

/// Counts bytes against a limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64, used: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(used) })
    }

    pub(crate) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    /// Gives back what a [`Reservation::keep`] took, when the content is deleted.
    pub(crate) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// Bytes taken from the budget, given back on drop unless they are kept.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        let within = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.budget.limit);
        self.budget.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).map_err(|_| Refusal::Full)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The bytes became content: they are released when it is deleted.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_grow_beyond_the_limit_and_gives_back_what_is_not_kept() {
        let budget = Budget::new(10, 3);
        let mut first = budget.reserve();
        first.grow(7).unwrap();
        let mut second = budget.reserve();
        assert_eq!(second.grow(1), Err(Refusal::Full));
        drop(first);
        second.grow(7).unwrap();
        second.keep();
        assert_eq!(budget.reserve().grow(1), Err(Refusal::Full));
        budget.release(7);
        assert_eq!(budget.reserve().grow(7), Ok(()));
    }
}
