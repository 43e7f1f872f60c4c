//! Hot reload of trust policies and keys: all documents together, or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Digest;
use hallmark_policy::limits::{MAX_POLICY_BYTES, MAX_PUBLIC_KEY_BYTES};
use hallmark_verifier::trust_root::TrustRoots;
use hallmark_verifier::{ContentStore, Pipeline};
use tokio::sync::watch;

use crate::files;
use crate::metrics::Metrics;
use crate::registries::Registries;
use crate::session::{Failure, InForce, Session};
use crate::text::printable;
use crate::watch::{Debounce, Looks};

/// What makes sessions out of files.
pub trait Load: Send + Sync + 'static {
    /// The files and directories that are named in the configuration.
    fn paths(&self) -> &[PathBuf];

    /// Where evidence is kept, for the metrics.
    fn content(&self) -> Option<Arc<ContentStore>> {
        None
    }

    /// How registries are reached, and whose evidence depends on it: for the metrics, and to be read again.
    fn registries(&self) -> Option<(Arc<Registries>, Pipeline)> {
        None
    }

    /// The trusted roots that are refreshed in the background.
    fn trust_roots(&self) -> Option<Arc<TrustRoots>> {
        None
    }

    /// Reads every document and key, all together or not at all. Called where blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`]; what is in force stays in force then.
    fn load(&self) -> Result<Loaded, LoadError>;
}

/// A session, and the files that it was made from.
pub struct Loaded {
    /// The session.
    pub session: Arc<dyn Session>,
    /// Every file that was read, with the digest of its bytes.
    pub files: BTreeMap<PathBuf, Digest>,
    /// The trusted roots that were refreshed, of those that the documents name, by their digests.
    pub roots: BTreeMap<String, Digest>,
}

/// Why a set of documents does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// What is wrong, with file, line and column.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Asks for the files to be read at once, whatever they look like. Cheap to clone.
#[derive(Clone)]
pub struct ReloadHandle(Arc<watch::Sender<()>>);

impl Default for ReloadHandle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }
}

impl ReloadHandle {
    /// Asks for it; returns before it is done.
    pub fn reload(&self) {
        self.0.send_replace(());
    }

    /// Is told from now on when somebody asks for it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// Keeps what is in force equal to what is in the files.
pub(crate) struct Reloader {
    load: Arc<dyn Load>,
    in_force: Arc<InForce>,
    metrics: Arc<Metrics>,
    asked: watch::Receiver<()>,
    /// The files that made what is in force.
    files: BTreeMap<PathBuf, Digest>,
    /// The refreshed roots with which they were loaded.
    roots: BTreeMap<String, Digest>,
    /// What everything looked like when it was last read.
    looks: Looks,
    /// Why the last attempt failed, if it did.
    failing: Option<LoadError>,
}

/// After a failure the files are read again every so many looks, changed or not: what was missing may be in a place
/// that is not looked at, such as a key file that no loaded document has named yet.
pub(crate) const LOOKS_BETWEEN_RETRIES: u32 = 5;

impl Reloader {
    /// A reloader that has read nothing yet.
    pub(crate) fn new(
        load: Arc<dyn Load>,
        in_force: Arc<InForce>,
        metrics: Arc<Metrics>,
        handle: &ReloadHandle,
    ) -> Self {
        let asked = handle.subscribe();
        Self {
            load,
            in_force,
            metrics,
            asked,
            files: BTreeMap::new(),
            roots: BTreeMap::new(),
            looks: Looks::default(),
            failing: None,
        }
    }

    /// Looks at the files every so often, and reads them again when they have changed or when it is asked to.
    pub(crate) async fn watch(mut self, every: Duration) {
        let mut debounce = Debounce::default();
        let mut since_failure = 0_u32;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                Ok(()) = self.asked.changed() => true,
            };
            let looks = self.looks.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || looks.again()).await else { continue };
            since_failure = if self.failing.is_some() { since_failure.saturating_add(1) } else { 0 };
            // A retry must not catch a file in the middle of being written either.
            let retry = since_failure >= LOOKS_BETWEEN_RETRIES && now == self.looks;
            if asked || debounce.is_due(&self.looks, now) || retry {
                since_failure = 0;
                self.read().await;
            }
        }
    }

    /// Reads the files once and puts them in force, if they load.
    pub(crate) async fn read(&mut self) {
        let load = Arc::clone(&self.load);
        let known = self.files.clone();
        let attempt = tokio::task::spawn_blocking(move || attempt(&*load, &known)).await;
        let (looks, result) = attempt.unwrap_or_else(|_panic| {
            let message = "reading the trust policies failed in the verifier itself".to_owned();
            (self.looks.clone(), Err(LoadError { message, hint: "this is a bug in the verifier".to_owned() }))
        });
        self.looks = looks;
        match result {
            Ok(loaded) if self.files != loaded.files || self.roots != loaded.roots => self.put_in_force(loaded),
            Ok(_) => self.confirm(),
            Err(error) if self.failing.as_ref() == Some(&error) => {}
            Err(error) => self.keep(error),
        }
    }

    fn put_in_force(&mut self, Loaded { session, files, roots }: Loaded) {
        self.metrics.policies_loaded(session.policies());
        let policies: Vec<_> =
            session.policies().iter().map(|policy| format!("{}@{}", policy.name, policy.digest)).collect();
        tracing::info!(policies = policies.join(","), files = files.len(), "trust policies are in force");
        self.in_force.replace(session, Timestamp::now());
        (self.files, self.roots) = (files, roots);
        self.failing = None;
    }

    fn confirm(&mut self) {
        self.failing = None;
        self.in_force.confirmed();
        self.metrics.policies_confirmed();
    }

    fn keep(&mut self, error: LoadError) {
        self.metrics.policies_failed();
        let message = printable(&error.message);
        let kept = self.in_force.session().is_some();
        tracing::error!(error = message, hint = error.hint, kept, "the trust policies do not load");
        self.in_force.failed(Failure { at: Timestamp::now(), message: format!("{message}; hint: {}", error.hint) });
        self.failing = Some(error);
    }
}

/// Reads once. Files that change while they are being read are not believed: half of one set and half of another
/// could make a third that nobody wrote.
fn attempt(load: &dyn Load, known: &BTreeMap<PathBuf, Digest>) -> (Looks, Result<Loaded, LoadError>) {
    let before = Looks::at(load.paths().iter().chain(known.keys()));
    match load.load() {
        Ok(loaded) => {
            // A key file that was read for the first time is looked at for the first time here.
            let looks = Looks::at(load.paths().iter().chain(loaded.files.keys()));
            let torn = before.again() != before || !loaded.files.iter().all(|(path, digest)| holds(path, *digest));
            if torn { (before, Err(changing())) } else { (looks, Ok(loaded)) }
        }
        Err(error) => (before, Err(error)),
    }
}

/// What was read is at most as large as a policy or a key may be; what is larger now is something else.
fn holds(path: &Path, digest: Digest) -> bool {
    let most = MAX_POLICY_BYTES.max(MAX_PUBLIC_KEY_BYTES);
    files::read(path, u64::try_from(most).unwrap_or(u64::MAX)).is_ok_and(|bytes| digest.matches(&bytes))
}

fn changing() -> LoadError {
    LoadError {
        message: "the files changed while they were being read".to_owned(),
        hint: "they are read again at the next look; replace files by renaming".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_read_without_end_to_find_out_whether_a_file_is_still_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, "one").unwrap();
        assert!(holds(&file, Digest::of(b"one")) && !holds(&file, Digest::of(b"two")));
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert!(!holds(&file, Digest::of(b"one")));
    }
}
