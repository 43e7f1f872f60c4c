//! Every bound of the registry. All of them can be set by whoever starts it.

use std::time::Duration;

/// Bounds on what clients can make the registry hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one blob.
    pub max_blob_bytes: u64,
    /// Most bytes of one manifest. OCI distribution-spec 1.1, "Pushing Manifests": at least 4 MiB must be accepted.
    pub max_manifest_bytes: usize,
    /// Most bytes of all content, uploads in progress included.
    pub max_total_bytes: u64,
    /// Most repositories, blobs in a repository, manifests and tags, counted together.
    pub max_entries: usize,
    /// Most uploads that are in progress at one time.
    pub max_uploads: usize,
    /// An upload that is not touched for this long may be given up to make room for a new one.
    pub upload_idle: Duration,
    /// Most requests that are answered at one time; more of them wait.
    pub max_requests: usize,
    /// Most tags in one page of a listing, whatever the client asks for.
    pub tags_per_page: usize,
    /// Most descriptors in one page of a referrers listing.
    pub referrers_per_page: usize,
}

impl Limits {
    /// For a registry in memory: 256 MiB a blob, 1 GiB in all.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            max_blob_bytes: 256 * 1024 * 1024,
            max_manifest_bytes: hallmark_policy::limits::MAX_MANIFEST_BYTES,
            max_total_bytes: 1024 * 1024 * 1024,
            max_entries: 1_000_000,
            max_uploads: 1024,
            upload_idle: Duration::from_secs(600),
            max_requests: 128,
            tags_per_page: 1000,
            referrers_per_page: 100,
        }
    }

    /// For a registry on a folder: 8 GiB a blob, 256 GiB in all.
    #[must_use]
    pub fn on_folder() -> Self {
        let gibibyte = 1024 * 1024 * 1024;
        Self { max_blob_bytes: 8 * gibibyte, max_total_bytes: 256 * gibibyte, ..Self::in_memory() }
    }
}
