//! What the tests stand on: other programs, registries, keys.

pub(crate) mod attacker;
pub(crate) mod docker_registry;
pub(crate) mod hostile;
pub(crate) mod issuer;
pub(crate) mod nginx;
pub(crate) mod peers;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod service;
pub(crate) mod sigstore;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod token_server;
pub(crate) mod world;

use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
