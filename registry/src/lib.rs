//! The only code that talks to a registry: reference in, evidence out; and what is attached.
//!
//! [`Registry::gather`] reads everything that may be a signature of an image and says of every place where one could
//! be whether it was found, is provably absent, or is unknown. [`Registry::attach`] writes signatures, and
//! takes only such as were verified. Nothing here decides what a signature is worth.

mod address;
mod attach;
mod budget;
mod capability;
mod client_certificate;
mod configuration;
mod content_cache;
mod credentials;
mod endpoint;
mod gather;
mod items;
mod link;
mod listing;
mod mirror;
mod push;
mod quote;
mod read;
mod registry;
mod relatives;
mod remembered;
mod revalidate;
mod tags;
mod transport;

pub use attach::{AttachError, Attached};
pub use client_certificate::{ClientCertificate, ClientCertificateError};
pub use configuration::{Addresses, Clock, Configuration, ConfigurationError, HostConfiguration};
pub use content_cache::{ContentCache, Partition};
pub use credentials::{CredentialError, CredentialSource};
pub use mirror::{Location, Mirror, Route, Serves};
pub use push::{PushError, PushedManifest};
pub use read::FetchedManifest;
pub use registry::Registry;
pub use transport::{HostTraffic, RateLimit};
