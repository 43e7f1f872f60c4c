//! The registry itself, as a library.

use std::path::Path;
use std::sync::Arc;

use axum::Router;

use crate::limits::Limits;
use crate::store::{OpenError, Store};

/// An OCI registry. Clones share their content.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Arc<Store>,
}

impl Registry {
    /// A registry whose content lives as long as it does, within [`Limits::in_memory`].
    #[must_use]
    pub fn in_memory() -> Self {
        Self::in_memory_within(Limits::in_memory())
    }

    /// A registry whose content lives as long as it does.
    #[must_use]
    pub fn in_memory_within(limits: Limits) -> Self {
        Self { store: Arc::new(Store::in_memory(limits)) }
    }

    /// A registry on a folder, which is created where there is none, within [`Limits::on_folder`]. What clients pushed
    /// is there again after a restart; uploads in progress are not. One process at a time may use a folder.
    ///
    /// # Errors
    /// [`OpenError`] when the folder cannot be used or holds something else than such a registry.
    pub fn on_folder(path: &Path) -> Result<Self, OpenError> {
        Self::on_folder_within(path, Limits::on_folder())
    }

    /// As [`Registry::on_folder`], within other limits.
    ///
    /// # Errors
    /// [`OpenError`] when the folder cannot be used or holds something else than such a registry.
    pub fn on_folder_within(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        Ok(Self { store: Arc::new(Store::on_folder(path, limits)?) })
    }

    /// The HTTP interface: everything below `/v2/`. Every other path is a 404 in the registry's own form.
    pub fn router(&self) -> Router {
        crate::api::router(Arc::clone(&self.store))
    }
}
