//! Counts the requests that go out, each redirect and each retry by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::{Failure, Request, Response, Transport};

/// Counts the requests that go out.
pub(super) struct Count<T> {
    pub(super) inner: T,
    pub(super) sent: Arc<AtomicU64>,
}

impl<T: Transport> Transport for Count<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(method = %request.method, host = %request.endpoint.name, path = request.url.path(), "registry request");
        self.inner.send(request)
    }
}
