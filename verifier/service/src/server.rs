//! Listeners, connections and the end of the service.
//!
//! A connection is bounded on every side: how many there are, how long the TLS handshake and the first request may
//! take, how long it may be idle, how many streams and header bytes HTTP/2 may open. What is bounded per request is
//! in [`crate::api`].

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::metrics::Metrics;

/// Most concurrent streams of one HTTP/2 connection: an API server multiplexes all of its calls on one.
const HTTP2_STREAMS: u32 = 250;
/// Most bytes of the header fields of one request.
const HEADER_BYTES: u32 = 32 * 1024;
/// Most streams that a peer may have opened and reset before we have noticed (the "rapid reset" of CVE-2023-44487).
const HTTP2_RESETS: usize = 20;
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long its answer may take.
const HTTP2_PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// One listener with what it serves.
pub(crate) struct Server {
    /// Where connections come in.
    pub(crate) listener: TcpListener,
    /// What answers.
    pub(crate) router: Router,
    /// TLS, if it is spoken here.
    pub(crate) tls: Option<RustlsConfig>,
    /// To end it.
    pub(crate) handle: Handle<SocketAddr>,
    /// The bounds.
    pub(crate) limits: Limits,
    /// Where refused connections are counted.
    pub(crate) metrics: Arc<Metrics>,
}

impl Server {
    /// Serves until the handle is told to stop.
    pub(crate) async fn run(self) -> io::Result<()> {
        let bounded = Bounded {
            connections: Arc::new(Semaphore::new(self.limits.connections.min(Semaphore::MAX_PERMITS))),
            metrics: self.metrics,
        };
        let mut server = axum_server::from_tcp(self.listener)?
            .handle(self.handle)
            .first_request_timeout(self.limits.first_request_timeout.0);
        let builder = server.http_builder();
        // hyper's one timeout covers an idle connection and a slow header alike; the first header has its own.
        builder.http1().header_read_timeout(self.limits.idle_timeout.0);
        builder
            .http2()
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(HEADER_BYTES)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .keep_alive_interval(HTTP2_PING.0)
            .keep_alive_timeout(HTTP2_PING.1);
        let service = self.router.into_make_service();
        match self.tls {
            None => server.acceptor(bounded).serve(service).await,
            Some(tls) => server.acceptor(RustlsAcceptor::new(tls).acceptor(bounded)).serve(service).await,
        }
    }
}

/// Lets in so many connections at a time, without Nagle's delay, and closes the others at once.
#[derive(Clone)]
struct Bounded {
    connections: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl<S> Accept<TcpStream, S> for Bounded {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.metrics.count_refused_connection();
            return std::future::ready(Err(io::Error::other("too many connections")));
        };
        let counted = stream.set_nodelay(true).map(|()| (Counted { stream, _place: place }, service));
        std::future::ready(counted)
    }
}

/// A connection that gives its place back when it ends.
struct Counted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Runs servers until `shutdown`, then lets requests in flight finish.
///
/// `drain` is called first, so that readiness says it; then new connections are still taken for `accept_for`, because
/// whoever balances the load needs a moment to hear of it; then nothing new is taken, and what is under way has
/// `drain_for` to finish.
pub(crate) async fn run_until(
    servers: Vec<Server>,
    shutdown: impl Future<Output = ()>,
    drain: impl FnOnce(),
    accept_for: Duration,
    drain_for: Duration,
) -> io::Result<()> {
    let handles: Vec<_> = servers.iter().map(|server| server.handle.clone()).collect();
    let mut running = tokio::task::JoinSet::new();
    for server in servers {
        running.spawn(server.run());
    }
    let first_end = tokio::select! {
        ended = running.join_next() => ended,
        () = shutdown => {
            drain();
            tokio::time::sleep(accept_for).await;
            None
        }
    };
    for handle in handles {
        handle.graceful_shutdown(Some(drain_for));
    }
    let mut result = first_end.map_or(Ok(()), flatten);
    while let Some(ended) = running.join_next().await {
        result = result.and(flatten(ended));
    }
    result
}

fn flatten(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    ended.map_err(io::Error::other)?
}
