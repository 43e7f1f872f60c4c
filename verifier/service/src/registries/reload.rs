//! Keeps the way in which registries are reached equal to what is in the files.

use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_verifier::Pipeline;
use tokio::sync::watch;

use super::{Registries, RegistrySetupError, Written};
use crate::metrics::Metrics;
use crate::reload::{LoadError, ReloadHandle};
use crate::session::{Failure, InForce};
use crate::text::printable;

/// What is written, or why it cannot be read.
type Look = Result<Written, LoadError>;

/// Reads the files every so often. What they say counts once two looks in a row see the same, so that no file is read in
/// the middle of being written. What does not load leaves the last good one in force, and policies do not wait for it.
pub(crate) struct RegistriesReloader {
    registries: Arc<Registries>,
    pipeline: Pipeline,
    in_force: Arc<InForce>,
    metrics: Arc<Metrics>,
    asked: watch::Receiver<()>,
    /// What the last look saw, if that is not in force.
    last: Option<Look>,
    /// What was tried and does not load, and why.
    refused: Option<(Look, LoadError)>,
}

impl RegistriesReloader {
    pub(crate) fn new(
        registries: Arc<Registries>,
        pipeline: Pipeline,
        in_force: Arc<InForce>,
        metrics: Arc<Metrics>,
        handle: &ReloadHandle,
    ) -> Self {
        metrics.count_registries_load(true);
        let asked = handle.subscribe();
        Self { registries, pipeline, in_force, metrics, asked, last: None, refused: None }
    }

    /// Returns at once where no setting names a file.
    pub(crate) async fn watch(mut self, every: Duration) {
        if !self.registries.names_files() {
            return;
        }
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                Ok(()) = self.asked.changed() => true,
            };
            let registries = Arc::clone(&self.registries);
            let look = tokio::task::spawn_blocking(move || registries.read().map_err(|error| load_error(&error)));
            // A look that panicked saw nothing.
            if let Ok(look) = look.await {
                self.take(look, asked);
            }
        }
    }

    fn take(&mut self, look: Look, asked: bool) {
        if let Ok(written) = &look
            && self.registries.is_in_force(written)
        {
            self.last = None;
            if self.refused.take().is_some() {
                self.metrics.registries_confirmed();
                self.in_force.registries(None);
                tracing::info!("the files say again how registries are reached");
            }
            return;
        }
        let is_settled = asked || self.last.as_ref() == Some(&look);
        self.last = Some(look.clone());
        if !is_settled || self.refused.as_ref().is_some_and(|(refused, _)| *refused == look) {
            return;
        }
        let outcome =
            look.clone().and_then(|written| self.registries.put_in_force(written).map_err(|error| load_error(&error)));
        match outcome {
            Ok(()) => {
                self.pipeline.ask_anew();
                self.last = None;
                self.refused = None;
                self.metrics.count_registries_load(true);
                self.in_force.registries(None);
                tracing::info!("registries are reached as the changed files say");
            }
            Err(error) => self.keep(look, error),
        }
    }

    fn keep(&mut self, look: Look, error: LoadError) {
        let message = printable(&error.message);
        if self.refused.as_ref().is_none_or(|(_, known)| *known != error) {
            self.metrics.count_registries_load(false);
            tracing::error!(
                error = message,
                hint = error.hint,
                "registries are reached as before: the files do not load"
            );
            let message = format!("{message}; hint: {}", error.hint);
            self.in_force.registries(Some(Failure { at: Timestamp::now(), message }));
        }
        self.refused = Some((look, error));
    }
}

fn load_error(error: &RegistrySetupError) -> LoadError {
    LoadError { message: error.to_string(), hint: error.hint().to_owned() }
}
