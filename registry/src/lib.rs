//! The only code that talks to a registry: reference in, evidence out; and what is attached.
//!
//! [`Registry::gather`] reads everything that may be a signature of an image and says of every place where one could
//! be whether it was found, is provably absent, or is unknown. [`Registry::attach`] writes signatures, and
//! takes only such as were verified. Nothing here decides what a signature is worth.

mod address;
mod attach;
mod attestations;
mod budget;
mod capability;
mod client_certificate;
mod configuration;
mod content_cache;
mod copy;
mod credentials;
mod doctor;
mod endpoint;
mod gather;
mod items;
mod layout;
mod link;
mod listing;
mod mirror;
mod push;
mod quote;
mod read;
mod registry;
mod relatives;
mod remembered;
mod repair;
mod revalidate;
mod room;
mod tags;
mod transport;
mod upload;

pub use attach::{AttachError, Attached};
pub use client_certificate::{ClientCertificate, ClientCertificateError};
pub use configuration::{Addresses, Clock, Configuration, ConfigurationError, HostConfiguration};
pub use content_cache::{ContentCache, Partition};
pub use copy::{
    AttachedItem, Copied, CopyError, Counts, Destination, Options as CopyOptions, Origin, Progress as CopyProgress,
    SavedImage,
};
pub use credentials::{CredentialError, CredentialSource, KEY_SECRETS};
pub use doctor::{Check, Finding};
pub use layout::{Layout, LayoutError, LayoutImage, LayoutName, LayoutReference, LayoutReferenceError};
pub use mirror::{Location, Mirror, Route, Routing, RoutingError, Serves};
pub use push::{PushError, PushedManifest};
pub use read::FetchedManifest;
pub use registry::Registry;
pub use repair::{Change, ChangeKind, RepairOptions, Repaired, RepairedIndex};
pub use transport::{HostTraffic, RateLimit};
