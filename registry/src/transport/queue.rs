//! Keeps the requests to one host below a bound, so that one stalling host never takes what others need.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{Failure, Request, Response, Transport};
use crate::endpoint::authority;
use crate::remembered::Remembered;

/// Most hosts with a queue of their own; redirects can name any number.
const CAPACITY: usize = 4096;
/// How long an idle host's queue is kept.
const LIFETIME: Duration = Duration::from_secs(600);

/// Keeps the requests to one host below a bound.
pub(super) struct Queue<T> {
    inner: T,
    requests_per_host: usize,
    hosts: Remembered<String, Arc<Semaphore>>,
}

impl<T: Transport> Queue<T> {
    pub(super) fn new(inner: T, requests_per_host: usize) -> Self {
        Self { inner, requests_per_host, hosts: Remembered::with_capacity(CAPACITY) }
    }

    async fn wait_and_send(&self, request: &Request) -> Result<Response, Failure> {
        let make = || Arc::new(Semaphore::new(self.requests_per_host));
        let host = self.hosts.find_or_insert_with(authority(&request.url), LIFETIME, make);
        let permit = tokio::time::timeout_at(request.deadline.into(), host.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Failure::Deadline) };
        self.inner.send(request).await
    }
}

impl<T: Transport> Transport for Queue<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.wait_and_send(request).boxed()
    }
}
