//! From a question to a verdict: choose the rule, gather evidence, evaluate.
//!
//! This is the one pipeline behind `hallmark verify`, `hallmark policy explain` and the service. It holds what the
//! pure core cannot: the files that trust comes from, the evidence that was gathered before, and the waiting.

mod content_store;
mod evidence_store;
pub mod example_keys;
pub mod files;
mod flights;
mod pipeline;
mod recording;
mod trust_files;
pub mod trust_root;

pub use content_store::{ContentLimits, ContentStore, DiskCounts};
pub use evidence_store::Limits as EvidenceLimits;
pub use pipeline::{Clock, EvidenceSource, Pipeline};
pub use recording::{RecordingError, read_recording, write_recording};
pub use trust_files::{LoadedTrust, TrustFilesError, load_trust, load_trust_with};
