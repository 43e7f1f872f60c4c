//! What answers questions: one loaded set of trust policies with the pipeline behind it.
//!
//! A request takes the session that is in force when it begins and keeps it to its end, so that all of its images are
//! judged by the same documents even while new ones are being loaded.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use futures_util::future::BoxFuture;
use hallmark_policy::Timestamp;
use hallmark_policy::image::ImageReference;
use hallmark_policy::verdict::Question;

use crate::verdict::{ImageVerdict, PolicyInForce};

/// A loaded set of trust policies that can be asked. Never replaced in part: a reload makes a new one.
pub trait Session: Send + Sync + 'static {
    /// The documents in force, by name and digest.
    fn policies(&self) -> &[PolicyInForce];

    /// The settings that weaken the checks of the registries that are asked about an image now, as the configuration spells
    /// them; for the audit line.
    fn dangers(&self, _: &ImageReference) -> Vec<&'static str> {
        Vec::new()
    }

    /// The trusted roots that the documents name and that are refreshed; none where they name keys alone.
    fn trust_roots(&self) -> &[String] {
        &[]
    }

    /// Judges one image. A definite answer comes before `deadline`; what could not be looked at by then is
    /// undetermined.
    fn verdict<'a>(&'a self, question: &'a Question, deadline: Instant) -> BoxFuture<'a, ImageVerdict>;
}

/// The session in force, and what became of the last attempt to load another.
#[derive(Default)]
pub struct InForce {
    state: RwLock<State>,
}

#[derive(Default, Clone)]
struct State {
    session: Option<Arc<dyn Session>>,
    loaded_at: Option<Timestamp>,
    failure: Option<Failure>,
    registries_failure: Option<Failure>,
}

/// A reload that did not succeed; the last good set stays in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it was tried.
    pub at: Timestamp,
    /// What is wrong, for people.
    pub message: String,
}

/// What is in force, at one moment.
#[derive(Clone)]
pub struct Report {
    /// The documents; empty while none has been loaded.
    pub policies: Vec<PolicyInForce>,
    /// When they were loaded; none while none has been.
    pub loaded_at: Option<Timestamp>,
    /// The last attempt to load, when it failed.
    pub failure: Option<Failure>,
    /// The same for the files that say how registries are reached.
    pub registries_failure: Option<Failure>,
}

impl InForce {
    /// The session that answers from now on; none until a set of policies has been loaded.
    #[must_use]
    pub fn session(&self) -> Option<Arc<dyn Session>> {
        self.read().session
    }

    /// The names of the trusted roots in use.
    #[must_use]
    pub fn trust_roots(&self) -> Vec<String> {
        self.read().session.map(|session| session.trust_roots().to_vec()).unwrap_or_default()
    }

    /// What is in force, for readiness.
    #[must_use]
    pub fn report(&self) -> Report {
        let State { session, loaded_at, failure, registries_failure } = self.read();
        let policies = session.map(|session| session.policies().to_vec()).unwrap_or_default();
        Report { policies, loaded_at, failure, registries_failure }
    }

    /// Puts a session in force, whole, and forgets an earlier failure.
    pub fn replace(&self, session: Arc<dyn Session>, at: Timestamp) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let registries_failure = state.registries_failure.take();
        *state = State { session: Some(session), loaded_at: Some(at), failure: None, registries_failure };
    }

    /// Remembers that a set did not load. What was in force stays in force.
    pub fn failed(&self, failure: Failure) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).failure = Some(failure);
    }

    /// Forgets an earlier failure: the files say again what is in force.
    pub fn confirmed(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).failure = None;
    }

    /// Remembers that the files that say how registries are reached do not load, or that they do again.
    pub fn registries(&self, failure: Option<Failure>) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).registries_failure = failure;
    }

    fn read(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
