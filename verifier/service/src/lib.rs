//! The verifier service: verdicts over HTTP and Kubernetes admission.
//!
//! The only place that knows HTTP serving or Kubernetes. A caller hands in listeners and a shutdown to [`serve`], so
//! that a test or a demonstration can embed the whole service.

pub mod admission;
pub mod api;
pub mod asking;
mod audit;
pub mod config;
pub mod deadline;
mod files;
pub mod judge;
pub mod metrics;
pub mod open_files;
pub mod pipeline;
pub mod registries;
pub mod reload;
mod server;
pub mod service;
pub mod session;
mod span;
pub mod text;
mod tls;
mod trust_roots;
pub mod verdict;
mod watch;

pub use config::Config;
pub use pipeline::PipelineLoader;
pub use registries::RegistrySetupError;
pub use reload::{Load, LoadError, Loaded, ReloadHandle};
pub use service::{Listeners, ServeError, Service, serve};
pub use tls::{TlsError, check_tls};
