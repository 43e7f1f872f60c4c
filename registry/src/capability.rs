//! What registries can do and what they lack, remembered so that later askers skip the probe.

use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Repository;

use crate::remembered::Remembered;

/// How long the lack of a referrers API is believed: a registry that is upgraded is asked again within this time.
const REFERRERS_LIFETIME: Duration = Duration::from_secs(300);
/// How long a refusal of descriptors with `data` is believed.
const INLINE_LIFETIME: Duration = Duration::from_secs(3600);
/// How long the empty configuration is believed to be in a repository; registries collect garbage.
const EMPTY_LIFETIME: Duration = Duration::from_secs(300);
/// How long the way in which a registry takes small blobs is believed, and that it keeps what it says it has stored.
const PUSH_LIFETIME: Duration = Duration::from_secs(3600);
/// Most hosts or repositories that are remembered.
const CAPACITY: usize = 4096;

/// What is known about registries, none of it needed for a right answer.
pub(crate) struct Capabilities {
    without_referrers: Remembered<String, Timestamp>,
    without_inline: Remembered<String, ()>,
    with_empty: Remembered<Repository, ()>,
    small_blobs: Remembered<String, SmallBlobs>,
    keeping: Remembered<String, ()>,
}

/// How a registry takes a blob that fits into one request (distribution-spec, "Single POST": the registry may support
/// it, and says with 202 that it does not).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SmallBlobs {
    /// One POST, as was seen and looked at.
    AtOnce,
    /// POST for an upload, then PUT.
    InTwoSteps,
}

impl Capabilities {
    pub(crate) fn new() -> Self {
        Self {
            without_referrers: Remembered::with_capacity(CAPACITY),
            without_inline: Remembered::with_capacity(CAPACITY),
            with_empty: Remembered::with_capacity(CAPACITY),
            small_blobs: Remembered::with_capacity(CAPACITY),
            keeping: Remembered::with_capacity(CAPACITY),
        }
    }

    /// When the registry was last seen to have no referrers API at all, if that is not long ago.
    pub(crate) fn lacks_referrers_since(&self, host: &str) -> Option<Timestamp> {
        self.without_referrers.find(&host.to_owned())
    }

    /// Has the registry asked again the next time.
    pub(crate) fn forget_no_referrers(&self, host: &str) {
        self.without_referrers.forget(&host.to_owned());
    }

    pub(crate) fn remember_no_referrers(&self, host: &str, seen_at: Timestamp) {
        self.without_referrers.insert(host.to_owned(), seen_at, REFERRERS_LIFETIME);
    }

    pub(crate) fn refuses_inline(&self, host: &str) -> bool {
        self.without_inline.find(&host.to_owned()).is_some()
    }

    pub(crate) fn remember_no_inline(&self, host: &str) {
        self.without_inline.insert(host.to_owned(), (), INLINE_LIFETIME);
    }

    pub(crate) fn has_empty(&self, repository: &Repository) -> bool {
        self.with_empty.find(repository).is_some()
    }

    pub(crate) fn remember_empty(&self, repository: &Repository) {
        self.with_empty.insert(repository.clone(), (), EMPTY_LIFETIME);
    }

    /// How the registry takes small blobs, if that is known.
    pub(crate) fn small_blobs(&self, host: &str) -> Option<SmallBlobs> {
        self.small_blobs.find(&host.to_owned())
    }

    pub(crate) fn remember_small_blobs(&self, host: &str, way: SmallBlobs) {
        self.small_blobs.insert(host.to_owned(), way, PUSH_LIFETIME);
    }

    /// Whether a manifest that the registry said it had stored was seen to be there, not long ago.
    pub(crate) fn keeps_what_it_names(&self, host: &str) -> bool {
        self.keeping.find(&host.to_owned()).is_some()
    }

    pub(crate) fn remember_keeping(&self, host: &str) {
        self.keeping.insert(host.to_owned(), (), PUSH_LIFETIME);
    }

    pub(crate) fn forget_empty(&self, repository: &Repository) {
        self.with_empty.forget(repository);
    }
}
