//! What a registry asks of those who come in, learned by one request on behalf of all that come at the same time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use tokio::sync::{Mutex as Turn, MutexGuard};

use super::challenge::{Challenge, challenges};
use super::{Failure, Response, now};

/// How long it is believed; what is wrong costs one 401.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Longest time that others wait for the first request's answer. A registry that takes longer has other troubles than a
/// few more 401s.
const HEAD_START: Duration = Duration::from_secs(1);

/// What a registry asks of those who come in. Nothing in the list: everybody may.
pub(super) type Asked = Arc<[Challenge]>;

/// What is known about one registry.
#[derive(Default)]
pub(super) struct Door {
    known: Mutex<Option<(Asked, Instant)>>,
    first: Turn<()>,
    /// How those say who they are whom nobody has asked.
    unasked: Turn<Option<(Asked, Instant)>>,
}

/// How a request comes to the door.
pub(super) enum Knock<'a> {
    /// It is the first one; the others wait until this is dropped.
    First(#[expect(dead_code, reason = "held until the answer is there")] MutexGuard<'a, ()>),
    /// It is known what will be asked.
    Known(Asked),
    /// Whoever came first has no answer yet.
    Unanswered,
}

impl Door {
    /// Waits for what the first request learns, unless this is the first one.
    pub(super) async fn knock(&self, deadline: Instant) -> Knock<'_> {
        if let Some(known) = self.known() {
            return Knock::Known(known);
        }
        let until = deadline.min(now() + HEAD_START);
        let turn = tokio::time::timeout_at(until.into(), self.first.lock()).await;
        match (self.known(), turn) {
            (Some(known), _) => Knock::Known(known),
            (None, Ok(first)) => Knock::First(first),
            (None, Err(_)) => Knock::Unanswered,
        }
    }

    /// What an answer tells: what a 401 asks for, and that nothing is asked for where none was needed. Gives what the
    /// 401 asks for.
    pub(super) fn learn(&self, response: &Response, was_answered: bool) -> Option<Asked> {
        let asked: Asked = match response.status {
            StatusCode::UNAUTHORIZED => challenges(&response.headers).into(),
            status if !was_answered && (status.is_success() || status == StatusCode::NOT_FOUND) => {
                // A door that asks at some repositories only is known by what it asks for there.
                if self.known().is_none() {
                    self.remember(Vec::new().into());
                }
                return None;
            }
            _ => return None,
        };
        if asked.is_empty() {
            return None;
        }
        self.remember(Arc::clone(&asked));
        Some(asked)
    }

    /// How to say who we are without being asked; `find_out` does so on behalf of all that come at the same time.
    pub(super) async fn unasked(
        &self,
        deadline: Instant,
        find_out: impl Future<Output = Result<Asked, Failure>>,
    ) -> Result<Asked, Failure> {
        if let Some(asked) = self.known().filter(|asked| !asked.is_empty()) {
            return Ok(asked);
        }
        let turn = tokio::time::timeout_at(deadline.into(), self.unasked.lock()).await;
        let mut turn = turn.map_err(|_| Failure::Deadline)?;
        if let Some((asked, _)) = turn.as_ref().filter(|(_, until)| *until > now()) {
            return Ok(Arc::clone(asked));
        }
        let asked = find_out.await?;
        *turn = Some((Arc::clone(&asked), now() + LIFETIME));
        Ok(asked)
    }

    fn known(&self) -> Option<Asked> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(_, until)| *until > now()).map(|(asked, _)| Arc::clone(asked))
    }

    fn remember(&self, asked: Asked) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, now() + LIFETIME));
    }
}
