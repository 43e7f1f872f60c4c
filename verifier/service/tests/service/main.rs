//! The service over real sockets, with a stand-in for the pipeline: what the wire sees.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a test is a failed test")]

mod admission;
mod harness;
mod overload;
mod pipeline;
mod registries;
mod reload;
mod tls;
mod trust_roots;
mod verdicts;
