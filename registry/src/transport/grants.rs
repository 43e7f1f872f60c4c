//! Tokens that many requests share: asked for once, and again before they end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallmark_policy::image::Repository;
use tokio::sync::watch;
use url::Url;

use super::account::Shown;
use super::token::{Granted, bearer, grant};
use super::{Access, Account, Failure, Request, Transport, now};
use crate::credentials::Credential;
use crate::remembered::Remembered;

/// Most tokens that are remembered.
const CAPACITY: usize = 4096;
/// How long a token that nobody uses is kept at most; no token is believed to live longer.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a token service may take, whoever waits for it: who leaves first does not end it for the others.
const LONGEST: Duration = Duration::from_secs(15);
/// Time before its end when a token is no longer used, because it must still be good when the request arrives; of a token
/// with a short life a quarter of it.
const MARGIN: Duration = Duration::from_secs(10);

/// What a token is for: one repository at one registry, and one kind of access. With other files of credentials we may
/// be somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scope {
    registry: String,
    repository: Repository,
    access: Access,
    beside: Option<Repository>,
    generation: u64,
}

/// The tokens that are held, and the requests for some that are under way.
pub(super) struct Grants {
    slots: Remembered<Scope, Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The request that is under way.
    flight: Option<Flight>,
}

/// What a request for a token comes to, for everybody who waits for it.
type Outcome = Result<Shown, Failure>;
type Flight = watch::Receiver<Option<Outcome>>;

/// A token in the form in which it is sent.
struct Held {
    shown: Shown,
    /// When a new one is asked for, while this one is still used.
    renew_at: Instant,
    until: Instant,
}

/// Whom to ask, and as whom.
pub(super) struct Service<'a> {
    pub(super) realm: &'a Url,
    pub(super) name: Option<&'a str>,
    pub(super) credential: Option<&'a Credential>,
    pub(super) account: Account,
    /// Of the files that the credential is from.
    pub(super) generation: u64,
}

impl Grants {
    pub(super) fn new() -> Self {
        Self { slots: Remembered::with_capacity(CAPACITY) }
    }

    /// What shows a token that is held, and whether it is time for the next one. Who we are need not be known for it.
    pub(super) fn held(&self, request: &Request, generation: u64, refused: Option<&Shown>) -> Option<(Shown, bool)> {
        match self.slots.find(&Scope::of(request, generation))?.held_or_asked_for(refused) {
            Ready::Good(shown) => Some((shown, false)),
            Ready::Renew(shown) => Some((shown, true)),
            Ready::AskedFor(_) | Ready::Nothing => None,
        }
    }

    /// What to show for a request; `refused` is what the registry did not accept just now.
    pub(super) async fn header<T: Transport + 'static>(
        &self,
        transport: &Arc<T>,
        request: &Request,
        service: Service<'_>,
        refused: Option<&Shown>,
    ) -> Outcome {
        let slot = self.slots.find_or_insert_with(Scope::of(request, service.generation), KEPT, Arc::default);
        let mut flight = match slot.held_or_asked_for(refused) {
            Ready::Good(shown) => return Ok(shown),
            Ready::Renew(shown) => {
                slot.begin(transport, request, &service);
                return Ok(shown);
            }
            Ready::AskedFor(flight) => flight,
            Ready::Nothing => slot.begin(transport, request, &service),
        };
        let outcome = tokio::time::timeout_at(request.deadline.into(), flight.wait_for(Option::is_some)).await;
        match outcome {
            Err(_) => Err(Failure::Deadline),
            Ok(Err(_)) => Err(Failure::Connection("the request for a token was broken off".to_owned())),
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Failure::Deadline)),
        }
    }
}

impl Scope {
    fn of(request: &Request, generation: u64) -> Self {
        let registry = request.endpoint.name.clone();
        let (repository, beside) = (request.repository.clone(), request.beside.clone());
        Self { registry, repository, access: request.access, beside, generation }
    }
}

/// What there is for an asker.
enum Ready {
    Good(Shown),
    /// Good as well, and it is time to ask for the next one.
    Renew(Shown),
    AskedFor(Flight),
    Nothing,
}

impl Slot {
    fn held_or_asked_for(&self, refused: Option<&Shown>) -> Ready {
        let mut state = self.lock();
        let state = &mut *state;
        // One that broke off without an outcome, with the runtime that it was on.
        state.flight.take_if(|flight| flight.has_changed().is_err());
        let now = now();
        state.held.take_if(|held| held.until <= now || refused == Some(&held.shown));
        match (&state.held, &state.flight) {
            (Some(held), None) if held.renew_at <= now => Ready::Renew(held.shown.clone()),
            (Some(held), _) => Ready::Good(held.shown.clone()),
            (None, Some(flight)) => Ready::AskedFor(flight.clone()),
            (None, None) => Ready::Nothing,
        }
    }

    /// Asks for a token on behalf of all who wait now, unless somebody else just did.
    fn begin<T: Transport + 'static>(
        self: &Arc<Self>,
        transport: &Arc<T>,
        request: &Request,
        service: &Service<'_>,
    ) -> Flight {
        let mut state = self.lock();
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (tell, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        drop(state);
        let (slot, transport) = (Arc::clone(self), Arc::clone(transport));
        let begun = now();
        let account = service.account;
        let request = Request { account, deadline: request.deadline.max(begun + LONGEST), ..request.clone() };
        let (realm, name) = (service.realm.clone(), service.name.map(str::to_owned));
        let credential = service.credential.cloned();
        tokio::spawn(async move {
            let granted = grant(&*transport, &request, &realm, name.as_deref(), credential.as_ref()).await;
            let outcome = slot.keep(granted, account, begun);
            // Everybody may have left.
            let _ = tell.send(Some(outcome));
        });
        flight
    }

    fn keep(&self, granted: Result<Granted, Failure>, account: Account, begun: Instant) -> Outcome {
        let outcome =
            granted.and_then(|granted| Ok((Shown { header: bearer(&granted.token)?, account }, granted.lifetime)));
        let mut state = self.lock();
        state.flight = None;
        match outcome {
            Ok((shown, lifetime)) => {
                // Its life is counted from when it was asked for: it may have been made at any time since then.
                let until = begun + lifetime.saturating_sub(MARGIN.min(lifetime / 4));
                let renew_at = until.checked_sub(lifetime / 4).unwrap_or(begun);
                state.held = Some(Held { shown: shown.clone(), renew_at, until });
                Ok(shown)
            }
            Err(failure) => {
                // What is held stays good; the next attempt comes in the middle of what is left of it.
                if let Some(held) = &mut state.held {
                    let now = now();
                    held.renew_at = now + held.until.saturating_duration_since(now) / 2;
                }
                Err(failure)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: a panic leaves a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
