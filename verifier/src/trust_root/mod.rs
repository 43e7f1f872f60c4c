//! Trusted roots that are kept fresh by TUF (The Update Framework, specification 1.0): in the background, or when
//! somebody asks for it. Never on the way to a verdict, and never fatal: whatever goes wrong, the last good root stays.
//!
//! That metadata is genuine, new enough and of one piece is for `sigstore-tuf` to verify, from a root that was built in
//! or is given. What is ours: where it comes from and how much of it ([`RootSource`], `mirror`), that it is a trusted root
//! that can be used, and that what is kept on disk is verified again before it is believed ([`TrustRootFolder`]).

mod kept;
mod mirror;
mod refresh;
mod roots;
mod source;
#[cfg(test)]
mod tests;

use hallmark_policy::Timestamp;
use hallmark_policy::sigstore::TrustedRoot;

pub use kept::{FolderError, TrustRootFolder};
pub use mirror::Mirror;
pub use refresh::{RefreshError, refresh};
pub use roots::{RefreshFailure, RootReport, TrustRoots};
pub use source::{RootSource, SourceError};

/// The name of the document in a TUF repository of Sigstore.
const TARGET: &str = "trusted_root.json";

/// Most roots that one refresh walks through. The public-good instance has made 16 in five years.
const MAX_ROOT_ROTATIONS: u32 = 64;
/// Most bytes of one root; the public-good one has 6 KiB.
const MAX_ROOT_BYTES: u64 = 128 * 1024;
/// Most bytes of a timestamp; the public-good one has 1 KiB.
const MAX_TIMESTAMP_BYTES: u64 = 16 * 1024;
/// Most bytes of a snapshot or of one list of targets; the public-good ones have 1 and 7 KiB.
const MAX_LIST_BYTES: u64 = 256 * 1024;
/// Most lists of targets that are looked at to find the document.
const MAX_DELEGATIONS: u32 = 8;

/// A trusted root that a TUF repository vouches for.
#[derive(Debug, Clone)]
pub struct RefreshedRoot {
    /// The root, which can be used.
    pub root: TrustedRoot,
    /// The document as it was published.
    pub document: Vec<u8>,
    /// When the repository vouched for it last.
    pub refreshed_at: Timestamp,
    /// Until when that word holds: a repository that is alive says it anew before then.
    pub fresh_until: Timestamp,
    /// Version of the TUF root.
    pub root_version: u64,
    /// Version of the TUF timestamp.
    pub timestamp_version: u64,
}

/// The bounds of one refresh.
fn bounds() -> sigstore_tuf::UpdaterConfig {
    let mut bounds = sigstore_tuf::UpdaterConfig::default();
    bounds.root_max_length = MAX_ROOT_BYTES;
    bounds.timestamp_max_length = MAX_TIMESTAMP_BYTES;
    bounds.snapshot_max_length = MAX_LIST_BYTES;
    bounds.targets_max_length = MAX_LIST_BYTES;
    bounds.target_max_length = u64::try_from(hallmark_policy::limits::MAX_TRUSTED_ROOT_BYTES).unwrap_or(u64::MAX);
    bounds.max_root_rotations = MAX_ROOT_ROTATIONS;
    bounds.max_delegations = MAX_DELEGATIONS;
    bounds
}

/// An error with all that is behind it, in one line that is fit to be shown.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_PROBLEM_CHARS).collect()
}

/// Longest text of a problem: parts of it come from the repository.
const MAX_PROBLEM_CHARS: usize = 512;
