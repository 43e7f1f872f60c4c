//! A proxy as `HTTPS_PROXY` names one: it makes tunnels and forwards, all of it to one place, and keeps what it was told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::registry::RUNTIME;

/// Most bytes of the head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Forward,
    /// 407: it does not know who we are.
    Refuse,
}

/// A running proxy. Whatever host is asked for, it goes to `target`: nobody but the proxy resolves names.
pub(crate) struct Proxy {
    host: String,
    heads: Arc<Mutex<Vec<String>>>,
    server: AbortHandle,
}

impl Proxy {
    pub(crate) fn start(target: &str, manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heads = Arc::default();
        let server = RUNTIME.spawn(accept(listener, target.to_owned(), manner, Arc::clone(&heads))).abort_handle();
        Self { host, heads, server }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The heads of all requests to it.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: std::net::TcpListener, target: String, manner: Manner, heads: Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((connection, _)) = listener.accept().await {
        let (target, heads) = (target.clone(), Arc::clone(&heads));
        tokio::spawn(async move { serve(connection, &target, manner, &heads).await });
    }
}

async fn serve(mut client: TcpStream, target: &str, manner: Manner, heads: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    heads.lock().unwrap().push(head.clone());
    if manner == Manner::Refuse {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await.ok();
    }
    let mut server = TcpStream::connect(target).await.ok()?;
    match head.strip_prefix("CONNECT ") {
        Some(_) => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?,
        None => {
            // One request a connection, so that every head is seen; what is for the proxy stays here.
            let lines = head.trim_end().split("\r\n").filter(|line| !line.to_lowercase().starts_with("proxy-"));
            let forwarded = lines.chain(["connection: close", "", ""]).collect::<Vec<_>>().join("\r\n");
            server.write_all(forwarded.as_bytes()).await.ok()?;
        }
    }
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}
