//! Serving a registry on a listener that the caller owns.

use std::future::{Future, IntoFuture as _};
use std::io;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::registry::Registry;

/// How long requests in progress may go on after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves a registry in a task of the current runtime, until `shutdown` completes. Requests in progress get three
/// seconds more.
///
/// The task ends with an error when the listener fails. Dropping the handle does not stop it.
pub fn serve(
    listener: TcpListener,
    registry: &Registry,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    // Answers are small and latency is what clients measure, so nothing waits for a full segment. A socket that
    // refuses the option still works.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (stop, stopped) = oneshot::channel();
    let server = axum::serve(listener, registry.router()).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody is left to hear it only when the server ended first.
        let _ = stop.send(());
    });
    let drained = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(DRAIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            outcome = server.into_future() => outcome,
            () = drained => Ok(()),
        }
    })
}
