//! What the handlers share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use hallmark_verifier::trust_root::RootReport;
use tokio::sync::Semaphore;

use super::body::BodyBudget;
use crate::config::{Config, Limits};
use crate::metrics::Metrics;
use crate::session::InForce;

/// What the handlers share.
pub struct ApiState {
    /// The trust policies in force.
    pub in_force: Arc<InForce>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The bounds on requests.
    pub limits: Limits,
    /// Whether a namespace in `/v1/verdicts` is believed: the callers are authenticated, or the operator says so.
    pub believe_namespaces: bool,
    pub(super) requests: Semaphore,
    /// Three quarters of [`ApiState::requests`]: whoever floods `/v1/verdicts` leaves the rest to admission.
    pub(super) verdict_requests: Semaphore,
    pub(super) bodies: BodyBudget,
    /// [`ApiState::bodies`], a quarter of it left to admission.
    pub(super) verdict_bodies: BodyBudget,
    draining: AtomicBool,
    roots: OnceLock<Roots>,
}

/// Where the trusted roots in use are seen.
type Roots = Arc<dyn Fn() -> Vec<RootReport> + Send + Sync>;

impl ApiState {
    /// The state of a service that starts.
    #[must_use]
    pub fn new(config: &Config, in_force: Arc<InForce>, metrics: Arc<Metrics>) -> Self {
        let limits = config.limits.clone();
        let requests = limits.requests.min(Semaphore::MAX_PERMITS);
        let bodies_bytes = limits.all_bodies_bytes.max(limits.body_bytes);
        let bodies = BodyBudget::new(bodies_bytes);
        // One whole body must fit in what verdicts may take.
        let for_admission = (bodies_bytes / 4).min(bodies_bytes - limits.body_bytes);
        Self {
            in_force,
            metrics,
            believe_namespaces: config.api.danger_believe_namespaces || config.api.tls.requires_client_certificates(),
            requests: Semaphore::new(requests),
            verdict_requests: Semaphore::new(requests - requests / 4),
            verdict_bodies: bodies.leaving(for_admission),
            bodies,
            limits,
            draining: AtomicBool::new(false),
            roots: OnceLock::new(),
        }
    }

    /// Shows from now on, in readiness and metrics, how fresh the trusted roots in use are.
    pub fn show_roots(&self, roots: impl Fn() -> Vec<RootReport> + Send + Sync + 'static) {
        let roots: Roots = Arc::new(roots);
        let shared = Arc::clone(&roots);
        self.metrics.observe_roots(move || shared());
        // The first stays: there is one set in a service.
        let _ = self.roots.set(roots);
    }

    /// The trusted roots in use; none where policies name keys alone.
    #[must_use]
    pub fn roots(&self) -> Vec<RootReport> {
        self.roots.get().map(|roots| roots()).unwrap_or_default()
    }

    /// From now on the service is not ready: it is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the service is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_must_not_take_the_slots_of_admission() {
        let mut config = Config::default();
        config.limits.requests = 8;
        let state = ApiState::new(&config, Arc::default(), Arc::default());
        let mut held = Vec::new();
        while let (Ok(share), Ok(slot)) = (state.verdict_requests.try_acquire(), state.requests.try_acquire()) {
            held.push((share, slot));
        }
        assert_eq!(held.len(), 6);
        assert_eq!(state.requests.available_permits(), 2);
    }
}
