//! The service as a whole: what it is made of, and how it runs.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;

use crate::api::{self, ApiState};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::registries::RegistriesReloader;
use crate::reload::{Load, ReloadHandle, Reloader};
use crate::server::{Server, run_until};
use crate::session::InForce;
use crate::tls::{TlsError, server_config};
use crate::trust_roots::keep_fresh;
use crate::watch::{Debounce, Looks};

/// A service that can be run.
pub struct Service {
    config: Config,
    state: Arc<ApiState>,
    load: Arc<dyn Load>,
    reload: ReloadHandle,
}

/// Where connections come in. The caller binds and owns the addresses; port 0 is fine.
pub struct Listeners {
    /// For verdicts.
    pub api: TcpListener,
    /// For orchestrators and monitoring.
    pub operations: TcpListener,
}

/// Why a service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener fails.
    #[error("a listener failed: {0}")]
    Listener(#[from] io::Error),
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Service {
    /// A service that has read nothing yet; its policies are loaded when it is served.
    #[must_use]
    pub fn new(config: Config, load: Arc<dyn Load>) -> Self {
        let state = ApiState::new(&config, Arc::new(InForce::default()), Arc::new(Metrics::default()));
        Self { config, state: Arc::new(state), load, reload: ReloadHandle::default() }
    }

    /// Asks the running service to read its files at once: SIGHUP.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reload.clone()
    }
}

/// Runs a service until `shutdown`, then stops being ready, finishes what is under way, and returns.
///
/// # Errors
/// [`ServeError`] when the TLS files cannot be used or a listener fails. Policies that do not load are no error: the
/// service is not ready then, admits nothing, and tries again when the files change.
pub async fn serve(
    service: Service,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Service { config, state, load, reload } = service;
    let tls = load_tls(&config)?;
    if let Some(content) = load.content() {
        state.metrics.observe_content(content);
    }
    let roots = load.trust_roots();
    if let Some(roots) = &roots {
        let (roots, in_force) = (Arc::clone(roots), Arc::clone(&state.in_force));
        state.show_roots(move || roots.report(&in_force.trust_roots()));
    }
    let (in_force, metrics) = (Arc::clone(&state.in_force), Arc::clone(&state.metrics));
    let mut background = tokio::task::JoinSet::new();
    if let Some((registries, pipeline)) = load.registries() {
        let seen = Arc::clone(&registries);
        metrics.observe_traffic(move || seen.client().traffic());
        let reloader =
            RegistriesReloader::new(registries, pipeline, Arc::clone(&in_force), Arc::clone(&metrics), &reload);
        background.spawn(reloader.watch(config.reload_every.0));
    }
    let mut reloader = Reloader::new(load, in_force, metrics, &reload);
    reloader.read().await;

    background.spawn(reloader.watch(config.reload_every.0));
    let every = config.trust_roots.refresh_every.0;
    if let Some(roots) = roots.filter(|_| !every.is_zero()) {
        background.spawn(keep_fresh(roots, Arc::clone(&state.in_force), reload, every));
    }
    if let Some(tls) = tls.clone() {
        background.spawn(watch_tls(config.clone(), tls, Arc::clone(&state.metrics)));
    }
    let server = |listener, router, tls| Server {
        listener,
        router,
        tls,
        handle: Handle::new(),
        limits: config.limits.clone(),
        metrics: Arc::clone(&state.metrics),
    };
    let servers = vec![
        server(listeners.api, api::api(Arc::clone(&state)), tls),
        server(listeners.operations, api::operations(Arc::clone(&state)), None),
    ];
    let (accept_for, drain_for) = (config.accept_while_draining.0, config.drain_for.0);
    run_until(servers, shutdown, || state.drain(), accept_for, drain_for).await?;
    // Dropping the set ends the watchers.
    drop(background);
    Ok(())
}

fn load_tls(config: &Config) -> Result<Option<RustlsConfig>, TlsError> {
    match server_config(&config.api.tls) {
        Ok(config) => Ok(Some(RustlsConfig::from_config(config))),
        Err(TlsError::NotConfigured) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes new certificates into use when the files change; those that do not load leave the old ones in use.
async fn watch_tls(config: Config, tls: RustlsConfig, metrics: Arc<Metrics>) {
    let files = &config.api.tls;
    let paths = [&files.certificate_file, &files.key_file, &files.client_ca_file];
    let mut read = Looks::at(paths.into_iter().flatten());
    let mut debounce = Debounce::default();
    let mut ticks = tokio::time::interval(config.reload_every.0);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = read.again();
        if !debounce.is_due(&read, now.clone()) {
            continue;
        }
        read = now;
        let result = server_config(files);
        metrics.count_certificate_load(result.is_ok());
        match result {
            Ok(config) => {
                tls.reload_from_config(config);
                tracing::info!("new TLS files are in use");
            }
            Err(error) => tracing::error!(error = %error, "the TLS files do not load; the old ones stay in use"),
        }
    }
}
