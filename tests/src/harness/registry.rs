//! A registry for tests: the embedded one on a loopback port, with a request log, and hostile on demand.
//!
//! It runs on a runtime of its own, so every method is an ordinary function: tests may be async, or block on a program
//! that talks to the registry.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, mpsc};

use axum::Router;
use axum::body::{Body, Bytes};
use hallmark_embedded_registry::{Limits, Registry};
use hallmark_policy::image::{Descriptor, Digest, Index, Manifest, Platform, media_type};
use http::{HeaderMap, Method, Request};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::hostile::{self, CloseConnection, Fault, Hostility, Logged, Switches};

pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// How a test's registry begins.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) hostility: Hostility,
    pub(crate) limits: Limits,
    /// In memory if there is none.
    pub(crate) folder: Option<PathBuf>,
    /// Plain HTTP if there is none.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { hostility: Hostility::default(), limits: Limits::in_memory(), folder: None, tls: None }
    }
}

/// A running registry. It stops, and closes its connections, when it is dropped.
#[derive(Debug)]
pub(crate) struct TestRegistry {
    host: String,
    router: Router,
    switches: Arc<Switches>,
    server: AbortHandle,
}

impl TestRegistry {
    /// Starts a registry on a free port of 127.0.0.1.
    pub(crate) fn start(options: Options) -> Self {
        let registry = match options.folder {
            Some(folder) => Registry::on_folder_within(&folder, options.limits).unwrap(),
            None => Registry::in_memory_within(options.limits),
        };
        let router = registry.router();
        let switches = Arc::new(Switches::default());
        *switches.hostility.lock().unwrap() = options.hostility;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let wrapped = hostile::wrap(router.clone(), &switches);
        let server = RUNTIME.spawn(accept(listener, wrapped, options.tls)).abort_handle();
        Self { host, router, switches, server }
    }

    /// A well-behaved registry in memory.
    pub(crate) fn healthy() -> Self {
        Self::start(Options::default())
    }

    /// `127.0.0.1:PORT`, as it stands in image references.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Every request since the start or the last [`TestRegistry::clear`], in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Logged> {
        self.switches.log.lock().unwrap().clone()
    }

    /// Empties the log; the next request is number 1.
    pub(crate) fn clear(&self) {
        self.switches.log.lock().unwrap().clear();
    }

    /// Makes one thing go wrong from now on, instead of what went wrong before.
    pub(crate) fn set_fault(&self, fault: Fault) {
        self.set_faults(vec![fault]);
    }

    /// Makes several things go wrong; of those that match a request, the first happens.
    pub(crate) fn set_faults(&self, faults: Vec<Fault>) {
        *self.switches.faults.lock().unwrap() = faults.into_iter().map(|fault| (fault, 0)).collect();
    }

    /// Ends all faults; the hostility stays.
    pub(crate) fn heal(&self) {
        self.set_faults(Vec::new());
    }

    /// Changes how the registry behaves from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Hostility)) {
        change(&mut self.switches.hostility.lock().unwrap());
    }

    /// Lets in whoever comes with this bearer token, for one scope: as if another token service had given it.
    pub(crate) fn accept_token(&self, token: &str, scope: &str) {
        self.switches.tokens.lock().unwrap().insert(token.to_owned(), vec![scope.to_owned()]);
    }

    /// Pushes a minimal OCI image of one layer and gives back its manifest's digest. The same seed gives the same image.
    pub(crate) fn push_image(&self, repository: &str, tag: &str, seed: &[u8]) -> Digest {
        let layer = tar("seed", seed);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]}
        });
        let config = config.to_string().into_bytes();
        self.push_blob(repository, &layer);
        self.push_blob(repository, &config);
        let manifest = Manifest::new(
            Descriptor::of(media_type::OCI_CONFIG, &config),
            vec![Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer)],
        );
        self.push_raw_manifest(repository, tag, media_type::OCI_MANIFEST, &manifest.encode())
    }

    /// Pushes an index over manifests that are there, each with a platform `linux/<architecture>`.
    pub(crate) fn push_index(&self, repository: &str, tag: &str, children: &[(&str, Digest)]) -> Digest {
        let descriptors = children.iter().map(|(architecture, digest)| {
            let bytes = self.direct(Method::GET, &format!("/v2/{repository}/manifests/{digest}"), &[], b"").body;
            let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
            let (architecture, os) = ((*architecture).to_owned(), "linux".to_owned());
            let platform = Platform { architecture, os, os_version: None, os_features: None, variant: None };
            descriptor.platform = Some(platform);
            descriptor
        });
        let index = Index::new(descriptors.collect());
        self.push_raw_manifest(repository, tag, media_type::OCI_INDEX, &index.encode())
    }

    /// Pushes a blob.
    pub(crate) fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.direct(Method::POST, &path, &[], bytes);
        assert_eq!(answer.status, 201, "{path}: {}", String::from_utf8_lossy(&answer.body));
        digest
    }

    /// Pushes the bytes of a manifest under a tag or a digest. What the registry would refuse can be served all the same
    /// with [`hostile::Act::Answer`].
    pub(crate) fn push_raw_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Digest {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.direct(Method::PUT, &path, &[("content-type", media_type)], bytes);
        assert_eq!(answer.status, 201, "{path}: {}", String::from_utf8_lossy(&answer.body));
        Digest::of(bytes)
    }

    /// The digest that a tag points at, if there is such a tag.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        let answer = self.direct(Method::HEAD, &format!("/v2/{repository}/manifests/{tag}"), &[], b"");
        (answer.status == 200).then(|| answer.headers["docker-content-digest"].to_str().unwrap().parse().unwrap())
    }

    /// Sends a request past all layers: it meets no hostility and is not in the log.
    pub(crate) fn direct(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Direct {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_vec())).unwrap();
        let (sender, receiver) = mpsc::channel();
        let router = self.router.clone();
        RUNTIME.spawn(async move {
            let response = router.oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            sender.send(Direct { status: parts.status.as_u16(), headers: parts.headers, body }).unwrap();
        });
        receiver.recv().unwrap()
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer to [`TestRegistry::direct`].
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

async fn accept(listener: std::net::TcpListener, router: Router, tls: Option<Arc<rustls::ServerConfig>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let tls = tls.map(TlsAcceptor::from);
    // Connections end with the set, that is, with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let _ = stream.set_nodelay(true);
                    let router = router.clone();
                    match tls.clone() {
                        None => drop(connections.spawn(serve_connection(stream, router))),
                        // A handshake that the client breaks off is the purpose of some tests.
                        Some(tls) => drop(connections.spawn(async move {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve_connection(stream, router).await;
                            }
                        })),
                    }
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await.unwrap();
            match response.extensions().get::<CloseConnection>() {
                Some(CloseConnection) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                None => Ok(response),
            }
        }
    });
    // A connection that a fault broke off ends with an error; that is its purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A tar archive (POSIX ustar) of one file, so that real clients can unpack the layer.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 512];
    let mut field = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = block.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
