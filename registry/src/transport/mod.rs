//! From a request to a bounded response: a stack of layers with one job each, over one trait.
//!
//! From the outside in: [`auth`] answers challenges ([`door`] keeps what a registry asks for, [`grants`] the tokens,
//! [`sight`] what an answer to nobody in particular is worth), [`redirect`] follows where following is safe, [`retry`] repeats
//! what may be repeated and leaves a host alone that asks for that ([`queue`] keeps what is known of each host, [`gate`]
//! its windows for one [`account`]), [`count`] counts what really goes out, and [`http`] sends.

mod account;
mod advice;
mod auth;
mod challenge;
mod clients;
mod count;
mod door;
mod gate;
mod grants;
mod http;
mod queue;
mod redirect;
mod retry;
mod sight;
mod stream;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::image::Repository;
use url::Url;

use crate::address::Refused;
use crate::configuration::{Configuration, ConfigurationError};
use crate::endpoint::Endpoint;

pub(crate) use account::Account;
pub use advice::RateLimit;
pub(crate) use clients::{Clients, Probe};
pub(crate) use gate::backoff;
pub use queue::HostTraffic;
pub(crate) use queue::Hosts;
pub(crate) use redirect::check_target;
pub(crate) use stream::{BrokenOff, Incoming, Outgoing, Slot, Transfer};

/// From a request to a bounded response.
pub(crate) trait Transport: Send + Sync {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>>;
}

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    /// The registry on whose behalf it is made, wherever it goes.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The repository that it is about: credentials and tokens are scoped to it.
    pub(crate) repository: Repository,
    pub(crate) access: Access,
    /// Another repository of the registry that it reads: the source of a mount. Its token is for both.
    pub(crate) beside: Option<Repository>,
    /// Nobody's, until [`auth`] shows who we are.
    pub(crate) account: Account,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Bodies that are not held: what passes through instead of `body`, or of the response's body.
    pub(crate) transfer: Transfer,
    pub(crate) redirects: Redirects,
    /// Most bytes of a successful response's body.
    pub(crate) limit: usize,
    /// When there is no more use for the response.
    pub(crate) deadline: Instant,
    pub(crate) waits: Waits,
}

/// Whether a request waits while its host asks for less traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Not at all: what it says would be out of date after the wait.
    Briefly,
    /// As long as the configuration allows.
    Patiently,
}

/// What a request does to the repository: the scope of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// Whether redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    Follow,
    Refuse,
}

/// A response with its whole body.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the protocol says where the body ends. Where it does not, a body that was cut off looks whole.
    pub(crate) is_framed: bool,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection failed, or broke off before the body's end.
    Connection(String),
    /// Who should know our credentials has failed to say them.
    Credentials(String),
    /// The operation's deadline passed.
    Deadline,
    /// The answer contradicts the request: compressed unasked, a redirect that must not be followed.
    Inconsistent(String),
    /// The host's address may not be dialled.
    Refused(Refused),
    /// The request cannot be sent as things are set up.
    Setup(String),
    /// The host asks for less traffic for longer than we can wait.
    Throttled(String),
    /// No answer within the time for one request.
    Timeout,
    /// The body is larger than the limit.
    TooLarge { limit: usize },
    /// No TLS comes about: mostly because the certificate is not believed.
    Tls(String),
    /// Credentials are refused, missing, or would go to someone else.
    Unauthorized(String),
    /// The host says that it serves nobody for longer than we can wait.
    Unavailable(String),
}

impl Failure {
    /// What the failure means for what was asked.
    pub(crate) fn cause(&self, request: &Request) -> Cause {
        let to = &request.endpoint.name;
        match self {
            Self::Connection(problem) | Self::Tls(problem) => {
                Cause::new(Code::RegistryUnavailable, format!("`{to}`: {problem}"))
            }
            Self::Credentials(problem) => Cause::new(Code::CredentialsUnavailable, format!("`{to}`: {problem}")),
            Self::Deadline => Cause::new(Code::DeadlineExceeded, format!("`{to}` had not answered at the deadline")),
            Self::Inconsistent(problem) => Cause::new(Code::RegistryInconsistent, format!("`{to}`: {problem}")),
            Self::Refused(refused) => Cause::new(Code::RegistryAddressRefused, format!("`{to}`: {refused}")),
            Self::Setup(problem) => Cause::new(Code::RegistryUnavailable, format!("`{to}`: {problem}")),
            Self::Throttled(problem) => Cause::new(Code::RegistryThrottled, format!("`{to}`: {problem}")),
            Self::Timeout => {
                Cause::new(Code::RegistryUnavailable, format!("`{to}` did not answer within the time for one request"))
            }
            Self::TooLarge { limit } => {
                Cause::new(Code::RegistryInconsistent, format!("`{to}` answered with more than {limit} bytes"))
            }
            Self::Unauthorized(problem) => Cause::new(Code::RegistryUnauthorized, format!("`{to}` {problem}")),
            Self::Unavailable(problem) => Cause::new(Code::RegistryUnavailable, format!("`{to}`: {problem}")),
        }
    }
}

/// The whole stack, and what can be seen of it from outside.
pub(crate) struct Stack {
    pub(crate) transport: Arc<dyn Transport>,
    /// How many requests went out.
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) clients: Arc<Clients>,
}

impl Stack {
    pub(crate) fn new(configuration: &Configuration) -> Result<Self, ConfigurationError> {
        let (sent, hosts) = (Arc::default(), Arc::new(Hosts::new(configuration.requests_per_host)));
        Self::over(configuration, sent, hosts)
    }

    /// A stack that goes on with what another one has counted and knows of hosts.
    pub(crate) fn over(
        configuration: &Configuration,
        sent: Arc<AtomicU64>,
        hosts: Arc<Hosts>,
    ) -> Result<Self, ConfigurationError> {
        let http = http::Http::new(configuration)?;
        let clients = http.clients();
        let inner = count::Count { inner: http, sent: Arc::clone(&sent) };
        let retry = retry::Retry { inner, hosts: Arc::clone(&hosts), patience: configuration.throttle_patience };
        let redirect = redirect::Redirect { inner: retry };
        let auth = auth::Auth::new(redirect, configuration.credentials.clone());
        Ok(Self { transport: Arc::new(auth), sent, hosts, clients })
    }
}

/// The time; tests turn the clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What the layers' tests share: a request, and a transport that answers from a list.
#[cfg(test)]
mod fake {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::{
        Access, Account, Arc, BoxFuture, Bytes, Endpoint, Failure, HeaderMap, Method, Redirects, Request, Response,
        StatusCode, Transfer, Transport, Url, Waits, now,
    };

    /// Answers from a list, and keeps the requests.
    pub(super) struct Fake {
        answers: Mutex<VecDeque<Result<Response, Failure>>>,
        pub(super) seen: Mutex<Vec<Request>>,
    }

    impl Fake {
        pub(super) fn new(answers: impl IntoIterator<Item = Result<Response, Failure>>) -> Self {
            Self { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() }
        }
    }

    impl Transport for Fake {
        fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
            self.seen.lock().unwrap().push(request.clone());
            let answer = self.answers.lock().unwrap().pop_front();
            async move { answer.unwrap_or(Err(Failure::Connection("no more answers".to_owned()))) }.boxed()
        }
    }

    /// Answers nothing until it is told to.
    #[derive(Default)]
    pub(super) struct Stalls {
        answers: AtomicBool,
        seen: AtomicUsize,
    }

    impl Stalls {
        pub(super) fn answer_from_now_on(&self) {
            self.answers.store(true, Ordering::SeqCst);
        }

        pub(super) fn seen(&self) -> usize {
            self.seen.load(Ordering::SeqCst)
        }
    }

    impl Transport for Stalls {
        fn send<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
            self.seen.fetch_add(1, Ordering::SeqCst);
            match self.answers.load(Ordering::SeqCst) {
                true => std::future::ready(answer(200, &[])).boxed(),
                false => std::future::pending().boxed(),
            }
        }
    }

    pub(super) fn request(method: Method, repository: &str) -> Request {
        let repository: hallmark_policy::image::Repository = repository.parse().unwrap();
        let endpoint = Endpoint::new(repository.host(), None).unwrap();
        Request {
            url: endpoint.url(&repository, "blobs/x"),
            endpoint: Arc::new(endpoint),
            repository,
            access: Access::Pull,
            beside: None,
            account: Account::Nobody,
            method,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            transfer: Transfer::Whole,
            redirects: Redirects::Follow,
            limit: 1024,
            deadline: now() + Duration::from_secs(30),
            waits: Waits::Patiently,
        }
    }

    pub(super) fn answer(status: u16, headers: &[(&'static str, &str)]) -> Result<Response, Failure> {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Response { status, headers, body: Bytes::new(), is_framed: true })
    }

    pub(super) fn url(text: &str) -> Url {
        text.parse().unwrap()
    }
}
