//! The trusted roots in use, by the names that trust policies know: what was built in, until something newer is good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Digest;
use hallmark_policy::trust::KnownRoots;

use super::refresh::{Remembered, refresh_after};
use super::{RefreshError, RefreshedRoot, RootSource, TrustRootFolder};

/// How long after a failure the repository is asked again, at the latest.
const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);

/// The trusted roots in use. Shared by whoever refreshes them and whoever loads trust policies.
#[derive(Debug)]
pub struct TrustRoots {
    sources: Vec<RootSource>,
    folder: Option<TrustRootFolder>,
    states: Mutex<BTreeMap<String, State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    current: Option<RefreshedRoot>,
    /// Below this nothing is believed, whether or not there is a folder.
    remembered: Arc<Remembered>,
    failure: Option<RefreshFailure>,
    refreshed: u64,
    failed: u64,
}

/// The last attempt to refresh a root, when it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshFailure {
    /// When it was tried.
    pub at: Timestamp,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// One root in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootReport {
    /// Its name.
    pub name: String,
    /// The digest of the document that was refreshed; none while what was built in is in use.
    pub digest: Option<Digest>,
    /// When the repository vouched for it last; none while what was built in is in use.
    pub refreshed_at: Option<Timestamp>,
    /// Until when that word holds.
    pub fresh_until: Option<Timestamp>,
    /// The last attempt, when it failed.
    pub failure: Option<RefreshFailure>,
    /// Attempts that succeeded.
    pub refreshed: u64,
    /// Attempts that failed.
    pub failed: u64,
}

impl TrustRoots {
    /// The roots that were built in, to be refreshed from these repositories, and kept in the folder where there is one.
    #[must_use]
    pub fn new(sources: Vec<RootSource>, folder: Option<TrustRootFolder>) -> Self {
        Self { sources, folder, states: Mutex::default() }
    }

    /// Takes what the folder has for good. What is not believed there is said in the log, and is no failure.
    #[must_use]
    pub fn restored(self, now: Timestamp) -> Self {
        for source in &self.sources {
            match self.folder.as_ref().map(|folder| folder.last_good(source, now)) {
                Some(Ok(Some(root))) => self.change(source.name(), |state| state.current = Some(root)),
                Some(Err(error)) => {
                    let (error, hint) = (error.to_string(), error.hint());
                    tracing::warn!(root = source.name(), error, hint, "the trusted root on disk is left alone");
                }
                Some(Ok(None)) | None => {}
            }
        }
        self
    }

    /// The roots by their names, for trust policies.
    #[must_use]
    pub fn known(&self) -> KnownRoots {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().fold(KnownRoots::embedded(), |known, (name, state)| match &state.current {
            Some(current) => known.with(name, current.root.clone()),
            None => known,
        })
    }

    /// The digest of a root that was refreshed; none while what was built in is in use.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<Digest> {
        self.state(name).current.map(|current| current.root.digest())
    }

    /// Whether a root is to be refreshed: its last good word is as old as that, or the last attempt failed a while ago.
    #[must_use]
    pub fn is_due(&self, name: &str, every: Duration, now: Timestamp) -> bool {
        let elapsed = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let state = self.state(name);
        match (&state.failure, &state.current) {
            (Some(failure), _) => elapsed(failure.at) >= every.min(RETRY_AFTER),
            (None, Some(current)) => elapsed(current.refreshed_at) >= every,
            (None, None) => true,
        }
    }

    /// Asks a repository. Whether the root is another one now; a failure leaves what was good before in use.
    ///
    /// # Errors
    /// [`RefreshError`], which is also remembered for the report.
    pub async fn refresh(&self, name: &str, now: Timestamp) -> Result<bool, RefreshError> {
        let Some(source) = self.sources.iter().find(|source| source.name() == name) else { return Ok(false) };
        let State { current, remembered, .. } = self.state(name);
        let before = current.as_ref().map(|current| current.root.digest());
        let mut remembered = Arc::unwrap_or_clone(remembered);
        let refreshed = refresh_after(source, self.folder.as_ref(), &mut remembered, now).await;
        self.change(name, |state| state.remembered = Arc::new(remembered));
        match refreshed.and_then(|root| current.map_or(Ok(()), |current| not_older(&root, &current)).map(|()| root)) {
            Ok(root) => {
                let is_new = before != Some(root.root.digest());
                self.change(name, |state| {
                    state.refreshed += 1;
                    state.failure = None;
                    state.current = Some(root);
                });
                Ok(is_new)
            }
            Err(error) => {
                let failure = RefreshFailure { at: now, problem: error.to_string(), hint: error.hint() };
                self.change(name, |state| {
                    state.failed += 1;
                    state.failure = Some(failure);
                });
                Err(error)
            }
        }
    }

    /// What is in use under some names.
    #[must_use]
    pub fn report(&self, names: &[String]) -> Vec<RootReport> {
        let report = |name: &String| {
            let State { current, failure, refreshed, failed, .. } = self.state(name);
            RootReport {
                name: name.clone(),
                digest: current.as_ref().map(|current| current.root.digest()),
                refreshed_at: current.as_ref().map(|current| current.refreshed_at),
                fresh_until: current.as_ref().map(|current| current.fresh_until),
                failure,
                refreshed,
                failed,
            }
        };
        names.iter().map(report).collect()
    }

    fn state(&self, name: &str) -> State {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut State)) {
        change(self.states.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default());
    }
}

/// A folder that somebody has put back says less than what is in use. A new TUF root may number the timestamps anew.
fn not_older(root: &RefreshedRoot, current: &RefreshedRoot) -> Result<(), RefreshError> {
    let (new, old) = ((root.root_version, root.timestamp_version), (current.root_version, current.timestamp_version));
    if new.0 > old.0 || (new.0 == old.0 && new.1 >= old.1) {
        return Ok(());
    }
    let problem = format!("root {} with timestamp {} after root {} with timestamp {}", new.0, new.1, old.0, old.1);
    Err(RefreshError::RolledBack { problem })
}
