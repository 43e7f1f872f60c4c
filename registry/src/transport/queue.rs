//! What is known of each host that is dialled: how many requests are under way, whether it wants to be left alone by an
//! account, and what it says of its limits. One stalling host never takes what others need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::advice::{RateLimit, pace};
use super::gate::{Entry, Gate, Pace};
use super::{Account, Failure, Request, Response, now};
use crate::endpoint::authority;
use crate::remembered::Remembered;

/// Most other hosts with a queue of their own; redirects can name any number.
const CAPACITY: usize = 4096;
/// How long an idle host's queue is kept; longer than any window.
const LIFETIME: Duration = Duration::from_secs(600);
/// Most registries that are kept apart from the other hosts. References name them, and rules name those by host, so that
/// there are as many as an operator has written down.
const MAX_REGISTRIES: usize = 256;
/// Most accounts of one host that are told apart; they are in the operator's files of credentials, or are what programs
/// that the operator names say. Beyond them the one that asked nothing for longest is forgotten: that costs a request.
const MAX_ACCOUNTS: usize = 1024;

/// Every host that is dialled.
pub(crate) struct Hosts {
    requests_per_host: usize,
    /// By their name in references. No number of redirects makes one of them be forgotten.
    registries: Mutex<BTreeMap<String, Arc<Host>>>,
    /// Storage and token services, by host and port.
    others: Remembered<String, Arc<Host>>,
}

/// What one registry made of our requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTraffic {
    /// The registry, as references name it.
    pub host: String,
    /// For how long it is left alone from now on, because it asked for that; zero while the one request is under way
    /// that finds out whether it takes others again. Of several accounts, the one that waits longest.
    pub paused_for: Option<Duration>,
    /// How often it asked for that: windows, of all accounts.
    pub pauses: u64,
    /// How many requests it turned away: 429, or 503 with a time.
    pub refused: u64,
    /// Its limit for us, where it tells, as of its last answer.
    pub rate_limit: Option<RateLimit>,
}

impl Hosts {
    pub(super) fn new(requests_per_host: usize) -> Self {
        let others = Remembered::with_capacity(CAPACITY);
        Self { requests_per_host, registries: Mutex::default(), others }
    }

    /// The host that a request goes to, and how its account stands with it.
    pub(super) fn of(&self, request: &Request) -> Caller {
        let host = self.host(request);
        let quota = host.quotas.find_or_insert_with(request.account, LIFETIME, Arc::default);
        Caller { host, quota }
    }

    fn host(&self, request: &Request) -> Arc<Host> {
        let make = || Arc::new(Host::new(self.requests_per_host));
        if request.endpoint.is_origin_of(&request.url) {
            let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(host) = registries.get(&request.endpoint.name) {
                return Arc::clone(host);
            }
            if registries.len() < MAX_REGISTRIES {
                return Arc::clone(registries.entry(request.endpoint.name.clone()).or_insert_with(make));
            }
        }
        self.others.find_or_insert_with(authority(&request.url), LIFETIME, make)
    }

    /// What the registries made of our requests, by name.
    pub(crate) fn traffic(&self) -> Vec<HostTraffic> {
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        registries.iter().map(|(name, host)| host.traffic(name)).collect()
    }
}

/// One host.
struct Host {
    permits: Semaphore,
    quotas: Remembered<Account, Arc<Quota>>,
    pauses: AtomicU64,
    refused: AtomicU64,
    rate_limit: Mutex<Option<RateLimit>>,
}

/// How one account stands with a host.
#[derive(Default)]
struct Quota {
    gate: Gate,
    rate_limit: Mutex<Option<RateLimit>>,
}

/// One account at one host.
pub(super) struct Caller {
    host: Arc<Host>,
    quota: Arc<Quota>,
}

impl Host {
    fn new(requests: usize) -> Self {
        Self {
            permits: Semaphore::new(requests),
            quotas: Remembered::with_capacity(MAX_ACCOUNTS),
            pauses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            rate_limit: Mutex::new(None),
        }
    }

    fn traffic(&self, name: &str) -> HostTraffic {
        let windows = self.quotas.values().into_iter().filter_map(|quota| quota.gate.window());
        HostTraffic {
            host: name.to_owned(),
            paused_for: windows.map(|window| window.until.saturating_duration_since(now())).max(),
            pauses: self.pauses.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            rate_limit: *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Caller {
    pub(super) fn gate(&self) -> &Gate {
        &self.quota.gate
    }

    /// A place among the requests under way; `None` when the host asked to be left alone before there was one.
    pub(super) async fn admit(&self, deadline: Instant) -> Result<Option<Pass<'_>>, Failure> {
        let permit = tokio::time::timeout_at(deadline.into(), self.host.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else { return Err(Failure::Deadline) };
        let entry = self.gate().enter();
        Ok(entry.map(|entry| Pass { caller: self, entry: Some(entry), _permit: permit }))
    }

    /// What the host says of its limit for this account.
    pub(super) fn rate_limit(&self) -> Option<RateLimit> {
        *self.quota.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send one request.
pub(super) struct Pass<'a> {
    caller: &'a Caller,
    entry: Option<Entry>,
    _permit: SemaphorePermit<'a>,
}

impl Pass<'_> {
    /// Tells the account's other askers what the answer means for them.
    pub(super) fn report(mut self, result: &Result<Response, Failure>) -> Pace {
        let Caller { host, quota } = self.caller;
        if let Ok(response) = result
            && let Some(limit) = RateLimit::of(&response.headers)
        {
            for rate_limit in [&host.rate_limit, &quota.rate_limit] {
                *rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
            }
        }
        let pace = pace(result);
        if matches!(pace, Pace::Slower { .. }) {
            host.refused.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(entry) = self.entry.take()
            && quota.gate.report(entry, pace)
        {
            host.pauses.fetch_add(1, Ordering::Relaxed);
        }
        pace
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // Whoever asked has left. Others wait for this probe: the next one takes its place.
        if let Some(entry) = self.entry.take() {
            self.caller.gate().give_back(entry);
        }
    }
}
