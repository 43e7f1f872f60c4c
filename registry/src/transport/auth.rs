//! Answers challenges. The real request goes first; what its 401 asks for is remembered for the next ones.

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use ::http::header::{AUTHORIZATION, HeaderValue};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::image::Repository;
use tokio::sync::Mutex;

use super::challenge::{Challenge, challenge};
use super::{Access, Failure, Request, Response, Transport, token};
use crate::credentials::{Credential, CredentialSource, Lookup, Secret};
use crate::remembered::Remembered;

/// How long a registry's challenge is believed; a wrong one costs one 401.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);
/// How long the lock of a token is kept when nobody waits for it.
const LOCK_LIFETIME: Duration = Duration::from_secs(600);
/// Most registries, and most tokens, that are remembered.
const CAPACITY: usize = 4096;

/// A token is for one repository and one kind of access; the repository's name carries the host.
type TokenKey = (Repository, Access);

/// Answers challenges.
pub(super) struct Auth<T> {
    inner: T,
    credentials: CredentialSource,
    challenges: Remembered<String, Challenge>,
    tokens: Remembered<TokenKey, Secret>,
    /// One asker at a time for each token: the others find it when their turn comes.
    locks: Remembered<TokenKey, Arc<Mutex<()>>>,
}

impl<T: Transport> Auth<T> {
    pub(super) fn new(inner: T, credentials: CredentialSource) -> Self {
        Self {
            inner,
            credentials,
            challenges: Remembered::with_capacity(CAPACITY),
            tokens: Remembered::with_capacity(CAPACITY),
            locks: Remembered::with_capacity(CAPACITY),
        }
    }

    async fn send_as_ourselves(&self, request: &Request) -> Result<Response, Failure> {
        // Nothing that a registry merely names is shown who we are.
        if !request.endpoint.is_origin_of(&request.url) {
            return self.inner.send(request).await;
        }
        let lookup = self.credentials.find(&request.repository);
        let host = &request.endpoint.name;
        let mut used = None;
        if let Some(known) = self.challenges.find(host) {
            used = self.answer(request, &known, &lookup, None).await?;
        }
        let response = self.inner.send(&with_authorization(request, used.clone())).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(asked) = challenge(&response.headers) else {
            return Err(Failure::Unauthorized(refusal(&lookup, used.is_some())));
        };
        self.challenges.insert(host.clone(), asked.clone(), CHALLENGE_LIFETIME);
        let next = self.answer(request, &asked, &lookup, used.as_ref()).await?;
        let is_new = next.is_some() && next != used;
        if !is_new {
            return Err(Failure::Unauthorized(refusal(&lookup, used.is_some())));
        }
        let response = self.inner.send(&with_authorization(request, next)).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(Failure::Unauthorized(refusal(&lookup, true)));
        }
        Ok(response)
    }

    /// The header that answers a challenge; `refused` is one that the registry did not accept just now.
    async fn answer(
        &self,
        request: &Request,
        challenge: &Challenge,
        lookup: &Lookup,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        match (challenge, &lookup.credential) {
            (Challenge::Basic, Some(Credential::Basic { username, password })) => {
                token::basic(username, password).map(Some)
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service }, credential) => {
                let key = (request.repository.clone(), request.access);
                let lock = self.locks.find_or_insert_with(key.clone(), LOCK_LIFETIME, Arc::default);
                let turn = tokio::time::timeout_at(request.deadline.into(), lock.lock()).await;
                let Ok(_turn) = turn else { return Err(Failure::Deadline) };
                if let Some(token) = self.tokens.find(&key) {
                    let header = token::bearer(&token)?;
                    if refused != Some(&header) {
                        return Ok(Some(header));
                    }
                    self.tokens.forget(&key);
                }
                let granted = token::grant(&self.inner, request, realm, service.as_deref(), credential.as_ref()).await;
                let granted = granted.map_err(|failure| explain(failure, lookup))?;
                let header = token::bearer(&granted.token)?;
                self.tokens.insert(key, granted.token, granted.lifetime);
                Ok(Some(header))
            }
        }
    }
}

impl<T: Transport> Transport for Auth<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.send_as_ourselves(request).boxed()
    }
}

fn with_authorization(request: &Request, header: Option<HeaderValue>) -> Request {
    let mut request = request.clone();
    if let Some(header) = header {
        request.headers.insert(AUTHORIZATION, header);
    }
    request
}

/// Why a 401 is final.
fn refusal(lookup: &Lookup, was_answered: bool) -> String {
    match (&lookup.credential, &lookup.note) {
        (Some(_), _) => "refuses the credentials".to_owned(),
        (None, Some(note)) => format!("asks for credentials: {note}"),
        (None, None) if was_answered => "refuses anonymous access".to_owned(),
        (None, None) => "asks for credentials, and there are none for it".to_owned(),
    }
}

/// A refusal by the token service, with what is known about why we came without credentials.
fn explain(failure: Failure, lookup: &Lookup) -> Failure {
    match (failure, &lookup.note) {
        (Failure::Unauthorized(problem), Some(note)) => Failure::Unauthorized(format!("{problem}; {note}")),
        (failure, _) => failure,
    }
}
