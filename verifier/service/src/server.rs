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
use tokio::time::Sleep;

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
            write_timeout: self.limits.write_timeout.0,
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
    write_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl<S> Accept<TcpStream, S> for Bounded {
    type Stream = Connection<TcpStream>;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Connection<TcpStream>, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.metrics.count_refused_connection();
            return std::future::ready(Err(io::Error::other("too many connections")));
        };
        let accepted = stream.set_nodelay(true).map(|()| {
            (Connection { stream, write_timeout: self.write_timeout, stalled: None, _place: place }, service)
        });
        std::future::ready(accepted)
    }
}

/// A connection that gives its place back when it ends, and that ends when its peer takes nothing for too long: the
/// answers that wait for such a peer would fill the memory.
struct Connection<S> {
    stream: S,
    write_timeout: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn watch<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, progress)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let write_timeout = Duration::from_millis(200);
        let mut connection = Connection { stream: ours, write_timeout, stalled: None, _place: place };
        let reader = tokio::spawn(async move {
            // Slow, but it takes something each time: nobody is given up for that.
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
            theirs
        });
        connection.write_all(&[0; 128]).await.unwrap();
        let _theirs = reader.await.unwrap();
        assert_eq!(connection.write_all(&[0; 128]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
