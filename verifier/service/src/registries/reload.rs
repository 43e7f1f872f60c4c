//! Keeps the way in which registries are reached equal to what is in the files.

use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_verifier::Pipeline;
use tokio::sync::watch;

use super::{Registries, RegistrySetupError, Written};
use crate::metrics::Metrics;
use crate::reload::{LOOKS_BETWEEN_RETRIES, LoadError, ReloadHandle};
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
    refused: Option<Refused>,
}

/// What was tried and does not load.
struct Refused {
    look: Look,
    why: LoadError,
    /// How often it was seen again since it was tried.
    looks: u32,
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
        let is_due = asked || self.is_due(&look);
        if !is_settled || !is_due {
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

    /// What was refused may load without a change of the files: what was missing may be in a place that is not looked at,
    /// such as the program of a credential provider.
    fn is_due(&mut self, look: &Look) -> bool {
        match &mut self.refused {
            Some(refused) if refused.look == *look => {
                refused.looks = refused.looks.saturating_add(1);
                refused.looks >= LOOKS_BETWEEN_RETRIES
            }
            _ => true,
        }
    }

    fn keep(&mut self, look: Look, error: LoadError) {
        let message = printable(&error.message);
        if self.refused.as_ref().is_none_or(|refused| refused.why != error) {
            self.metrics.count_registries_load(false);
            tracing::error!(
                error = message,
                hint = error.hint,
                "registries are reached as before: the files do not load"
            );
            let message = format!("{message}; hint: {}", error.hint);
            self.in_force.registries(Some(Failure { at: Timestamp::now(), message }));
        }
        self.refused = Some(Refused { look, why: error, looks: 0 });
    }
}

fn load_error(error: &RegistrySetupError) -> LoadError {
    LoadError { message: error.to_string(), hint: error.hint().to_owned() }
}

#[cfg(test)]
mod tests {
    use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, EvidenceSource};

    use super::super::tests::{PROVIDERS, write};
    use super::*;
    use crate::config::{CredentialProviders, Registry as Settings};

    /// One whose provider `p` is there, and is about to be named otherwise.
    fn reloader(folder: &std::path::Path) -> RegistriesReloader {
        let config_file = write(folder, "providers.yaml", &PROVIDERS.replace("AGE", "1h"));
        write(folder, "bin/p", "");
        let credential_providers =
            CredentialProviders { config_file: Some(config_file), bin_directory: Some(folder.join("bin")) };
        let settings = Settings { credential_providers, ..Settings::default() };
        let clock: hallmark_verifier::Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
        let content = Arc::new(ContentStore::open(&ContentLimits::STANDARD));
        let registries = Arc::new(Registries::open(&settings, content, Arc::clone(&clock)).unwrap());
        let source: Arc<dyn EvidenceSource> = Arc::<Registries>::clone(&registries);
        let pipeline = Pipeline::new(source, clock, EvidenceLimits::STANDARD);
        let handle = ReloadHandle::default();
        RegistriesReloader::new(registries, pipeline, Arc::default(), Arc::default(), &handle)
    }

    impl RegistriesReloader {
        fn look(&mut self, asked: bool) {
            let look = self.registries.read().map_err(|error| load_error(&error));
            self.take(look, asked);
        }

        fn failure(&self) -> Option<String> {
            self.in_force.report().registries_failure.map(|failure| failure.message)
        }
    }

    #[test]
    fn must_not_refuse_for_ever_what_was_missing_in_a_place_that_is_not_looked_at() {
        for asked in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut reloader = reloader(folder.path());
            write(folder.path(), "providers.yaml", &PROVIDERS.replace("AGE", "1h").replace("name: p", "name: later"));
            reloader.look(asked);
            reloader.look(asked);
            assert!(reloader.failure().unwrap().contains("`later` is no program"), "{:?}", reloader.failure());
            // What is still missing is tried now and then, and told of once.
            for _ in 0..=2 * LOOKS_BETWEEN_RETRIES {
                reloader.look(asked);
            }
            let loads = reloader.metrics.encode().unwrap();
            assert!(loads.contains("registry_settings_loads_total{result=\"failure\"} 1\n"), "{loads}");
            // Every so often, or at once when it is asked for.
            write(folder.path(), "bin/later", "");
            let looks = (1..=LOOKS_BETWEEN_RETRIES).find(|_| {
                reloader.look(asked);
                reloader.failure().is_none()
            });
            assert!(looks.is_some_and(|looks| looks == 1 || !asked), "{looks:?}");
            assert!(reloader.registries.is_in_force(&reloader.registries.read().unwrap()));
        }
    }
}
