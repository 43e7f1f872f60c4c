//! Keeping trusted roots fresh in the background: never on the way to a verdict, and whatever fails, the last good root
//! stays in use.

use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_verifier::trust_root::TrustRoots;

use crate::reload::ReloadHandle;
use crate::session::InForce;
use crate::text::printable;

/// How often it is looked at whether a root is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Refreshes the roots that the policies in force name, each as often as that; policies of keys alone cause no request.
pub(crate) async fn keep_fresh(roots: Arc<TrustRoots>, in_force: Arc<InForce>, reload: ReloadHandle, every: Duration) {
    let mut ticks = tokio::time::interval(LOOK_EVERY.min(every));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let names = in_force.trust_roots();
        for name in names.iter().filter(|name| roots.is_due(name, every, Timestamp::now())) {
            match roots.refresh(name, Timestamp::now()).await {
                Ok(true) => {
                    tracing::info!(root = name, "a newer trusted root is good; the trust policies are loaded with it");
                    reload.reload();
                }
                Ok(false) => tracing::debug!(root = name, "the trusted root is fresh"),
                Err(error) => {
                    let (problem, hint) = (printable(&error.to_string()), error.hint());
                    tracing::warn!(
                        root = name,
                        problem,
                        hint,
                        "the trusted root was not refreshed; the last good one stays"
                    );
                }
            }
        }
    }
}
