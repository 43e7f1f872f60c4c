//! The pure core of Hallmark: what was signed, by whom, and whether we trust it.
//!
//! Nothing here opens a file or a socket, reads a clock, or is asynchronous. Bytes, trust and time come in as
//! arguments; a [`verdict::Verdict`] goes out. The same arguments give the same verdict, byte for byte.
//!
//! Read [`verdict::evaluate`] first; everything else is what it uses.

pub mod attestation;
pub mod evidence;
pub mod image;
pub mod limits;
pub mod reason;

pub mod signature;
pub mod sigstore;
pub mod trust;
pub mod verdict;
pub mod verify;
mod x509;

pub use jiff::Timestamp;
pub use reason::{Code, Outcome};
