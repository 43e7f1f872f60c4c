//! The service over real sockets, with a stand-in for the pipeline: what the wire sees.

mod admission;
mod harness;
mod overload;
mod reload;
mod tls;
mod verdicts;
