//! Bodies that are too large to be held: they pass through, a piece at a time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Failure;
use super::http::connection;

/// Longest silence within a body. A registry that is alive sends something within it.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Which body of an exchange is not held.
#[derive(Clone, Debug)]
pub(crate) enum Transfer {
    /// A successful response's body is left in the slot, unread.
    Download(Slot<Incoming>),
    /// The request's body is what the slot has. It can be sent once: whoever wants to try again fills the slot again.
    Upload(Slot<Outgoing>),
    /// Both bodies are held.
    Whole,
}

/// A place where one layer of the transport leaves something for another.
pub(crate) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    pub(crate) fn empty() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn with(value: T) -> Self {
        Self(Arc::new(Mutex::new(Some(value))))
    }

    pub(crate) fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// A body that arrives.
pub(crate) struct Incoming {
    response: reqwest::Response,
    deadline: Instant,
}

impl Incoming {
    pub(super) fn new(response: reqwest::Response, deadline: Instant) -> Self {
        Self { response, deadline }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let silence = Instant::now() + MAX_SILENCE;
        let until = self.deadline.min(silence);
        match tokio::time::timeout_at(until.into(), self.response.chunk()).await {
            Ok(piece) => piece.map_err(connection),
            Err(_) if until == self.deadline => Err(Failure::Deadline),
            Err(_) => Err(Failure::Timeout),
        }
    }
}

/// Why a body ends early: the details are with whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source of the body failed")]
pub(crate) struct BrokenOff;

/// A body that is sent.
pub(crate) struct Outgoing {
    /// Its length. One that ends before is never complete for the registry.
    pub(crate) size: u64,
    pub(crate) pieces: BoxStream<'static, Result<Bytes, BrokenOff>>,
}

impl Outgoing {
    pub(super) fn into_body(self) -> reqwest::Body {
        reqwest::Body::wrap_stream(self.pieces)
    }
}

/// A body that passes through is gone when it was sent.
pub(super) fn sent_already() -> Failure {
    Failure::Connection("the upload has to begin again".to_owned())
}
