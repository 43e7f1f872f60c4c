//! Debian's nginx in front of a registry: TLS, answers that come late, and answers that do not come at all (429).
//!
//! nginx listens on a socket in a folder, because it cannot say which port the system has chosen for it; a few lines
//! here carry the bytes from a port to it.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use super::peers::{Peer, peer};
use super::registry::RUNTIME;

/// How long nginx may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What nginx does besides passing on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// How many requests are let through, such as `50r/s` or `1r/m`; the others wait, or are refused.
    pub(crate) rate: Option<&'static str>,
    /// How many may wait. Whoever comes after them is refused with 429.
    pub(crate) waiting: u32,
    /// Certificate chain and key in PEM, for TLS.
    pub(crate) tls: Option<(String, String)>,
}

/// A running nginx. Dropping it ends the process.
pub(crate) struct Nginx {
    process: Child,
    host: String,
    folder: TempDir,
    carrier: AbortHandle,
    _peer: Peer,
}

impl Nginx {
    /// Starts nginx in front of the registry at `HOST:PORT`, or gives `None` after saying that it is left out.
    pub(crate) fn start(registry: &str, manners: &Manners) -> Option<Self> {
        let peer = peer("nginx")?;
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("nginx.conf"), configuration(registry, manners, &folder)).unwrap();
        let mut process = peer
            .command()
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let socket = folder.path().join("nginx.sock");
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if begun.elapsed() > START_TIMEOUT || process.try_wait().unwrap().is_some() {
                let _ = process.kill();
                let _ = process.wait();
                panic!("nginx does not listen on {}", socket.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let carrier = RUNTIME.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            // Connections end with the set, that is, with this task.
            let mut connections = JoinSet::new();
            while let Ok((mut outside, _)) = listener.accept().await {
                let socket = socket.clone();
                connections.spawn(async move {
                    if let Ok(mut inside) = UnixStream::connect(socket).await {
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Some(Self { process, host, folder, carrier: carrier.abort_handle(), _peer: peer })
    }

    /// `127.0.0.1:PORT`, as it stands in front of an image's name.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The requests so far, as `METHOD path status`. nginx writes a line after its answer, so that many are waited for.
    pub(crate) fn requests(&self, expected: usize) -> Vec<String> {
        let log = || {
            let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let begun = Instant::now();
        while log().len() < expected && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        log()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.carrier.abort();
        // Nothing to be done where it has already ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One process without privileges; every file it writes is in the folder.
fn configuration(registry: &str, manners: &Manners, folder: &TempDir) -> String {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (zone, limit) = match manners.rate {
        None => (String::new(), String::new()),
        Some(rate) => (
            format!("limit_req_zone $scheme zone=all:1m rate={rate}; limit_req_status 429;"),
            match manners.waiting {
                0 => "limit_req zone=all;".to_owned(),
                waiting => format!("limit_req zone=all burst={waiting};"),
            },
        ),
    };
    let (listen, tls) = match &manners.tls {
        None => ("", String::new()),
        Some((certificate, key)) => {
            std::fs::write(path("tls.pem"), certificate).unwrap();
            std::fs::write(path("tls.key"), key).unwrap();
            (" ssl", format!("ssl_certificate {}; ssl_certificate_key {};", path("tls.pem"), path("tls.key")))
        }
    };
    let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let scratch: String = scratch.iter().map(|name| format!("    {name}_temp_path {};\n", path(name))).collect();
    format!(
        "daemon off;\nmaster_process off;\npid {pid};\nerror_log stderr warn;\nevents {{}}\nhttp {{\n{scratch}    \
         log_format short '$request_method $request_uri $status';\n    access_log {log} short;\n    {zone}\n    \
         server {{\n        listen unix:{socket}{listen};\n        {tls}\n        client_max_body_size 0;\n        \
         keepalive_timeout 60s;\n        location / {{\n            {limit}\n            proxy_pass http://{registry};\n            \
         proxy_set_header Host $http_host;\n            proxy_set_header X-Forwarded-Proto $scheme;\n        }}\n    }}\n}}\n",
        pid = path("pid"),
        log = path("access.log"),
        socket = path("nginx.sock"),
    )
}
