//! A small, well-behaved OCI registry for the demo and the tests.
//!
//! It implements the OCI distribution specification 1.1 completely: pull, push (monolithic, chunked, mounted), content
//! discovery (tags, referrers) and content management (deletion). It keeps everything in memory or in a folder, trusts
//! nobody's digests, and has no authentication: it is meant for loopback. Whatever makes a registry old or hostile
//! lives in the tests' harness, not here.
//!
//! [`Registry`] is where to begin: [`Registry::router`] for those who serve it themselves, [`serve`] for the others.

mod api;
mod budget;
mod document;
mod endpoint;
mod limits;
mod refusal;
mod registry;
mod serve;
mod store;

pub use limits::Limits;
pub use registry::Registry;
pub use serve::serve;
pub use store::OpenError;
