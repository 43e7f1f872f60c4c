//! How far a copy is, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a copy is. Shared by whoever copies and whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    expected_bytes: AtomicU64,
}

impl Progress {
    /// How many bytes of blobs have passed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many bytes of blobs are known to have to pass; it grows while images are looked at.
    #[must_use]
    pub fn expected_bytes(&self) -> u64 {
        self.expected_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn expect_bytes(&self, bytes: u64) {
        self.expected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
