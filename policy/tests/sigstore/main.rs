//! Sigstore bundles: real ones with their expected outcome, and what must become of each when it is altered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod corpus;
mod fuzz;
mod mutants;
mod peers;
mod recorded;
mod trusted_root;
