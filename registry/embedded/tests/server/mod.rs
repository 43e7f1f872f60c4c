//! A registry on a loopback port, and requests to it whose answers can be checked in one line.

use std::net::SocketAddr;
use std::path::Path;

use hallmark_embedded_registry::{Limits, Registry, serve};
use hallmark_policy::image::{Descriptor, Digest, Manifest, media_type};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running registry.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    client: Client,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Runs a test against a registry in memory and one on a folder.
pub(crate) async fn on_both(test: impl AsyncFn(&Server)) {
    on_both_within(|limits| limits, test).await;
}

/// The same with other limits.
pub(crate) async fn on_both_within(limits: impl Fn(Limits) -> Limits, test: impl AsyncFn(&Server)) {
    let server = Server::start(Registry::in_memory_within(limits(Limits::in_memory()))).await;
    test(&server).await;
    server.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), limits(Limits::on_folder())).await;
    test(&server).await;
    server.stop().await;
}

impl Server {
    pub(crate) async fn on_folder(path: &Path, limits: Limits) -> Self {
        Self::start(Registry::on_folder_within(path, limits).unwrap()).await
    }

    async fn start(registry: Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = serve(listener, &registry, async move { drop(stopped.await) });
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { address, client, stop, task }
    }

    pub(crate) async fn stop(self) {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], b"").await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let what = format!("{method} {path}");
        let mut request = self.client.request(method.clone(), format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !matches!(method, Method::GET | Method::HEAD) {
            request = request.body(body.to_vec());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { what, status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    /// Sends the beginning of a request, closes the connection, and waits until the registry has noticed.
    pub(crate) async fn send_raw_and_hang_up(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }

    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.send(Method::POST, &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes).await.has(201);
        digest
    }

    /// Pushes the empty blob and gives back its descriptor with a minimal manifest that is not pushed.
    pub(crate) async fn push_empty(&self, name: &str) -> (Descriptor, Vec<u8>) {
        self.push_blob(name, b"{}").await;
        let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
        let manifest = Manifest::new(config.clone(), Vec::new()).encode();
        (config, manifest)
    }

    pub(crate) async fn push_manifest(&self, name: &str, reference: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.send(Method::PUT, &path, &[("content-type", media_type)], bytes).await.has(201);
        Digest::of(bytes)
    }

    pub(crate) async fn push_referrer(&self, name: &str, subject: Digest, artifact_type: &str, note: &str) -> Digest {
        let (config, _) = self.push_empty(name).await;
        let mut manifest = Manifest::new(config.clone(), Vec::new());
        manifest.artifact_type = Some(artifact_type.to_owned());
        manifest.annotations.insert("note".to_owned(), note.to_owned());
        manifest.subject = Some(Descriptor { digest: subject, ..config });
        let bytes = manifest.encode();
        self.push_manifest(name, &Digest::of(&bytes).to_string(), media_type::OCI_MANIFEST, &bytes).await
    }

    /// Follows the links of a listing, whose pages must not be longer than `most`.
    pub(crate) async fn walk_referrers(&self, path: &str, most: usize) -> Vec<Digest> {
        let mut seen = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page = self.get(&path).await.has(200);
            let json = page.json();
            let listed = json["manifests"].as_array().unwrap();
            assert!(listed.len() <= most, "{path}");
            seen.extend(listed.iter().map(|one| one["digest"].as_str().unwrap().parse::<Digest>().unwrap()));
            next = page.next();
        }
        seen
    }
}

/// An answer, and what it was an answer to.
#[derive(Debug)]
pub(crate) struct Answer {
    what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn has(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str, value: &str) -> &Self {
        let found = self.headers.get(name).map(|found| found.to_str().unwrap());
        assert_eq!(found, Some(value), "{}: {name}", self.what);
        self
    }

    /// "A 4XX response code from the registry MAY return a body [...] in JSON format": here it always does.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}: {}", self.what, String::from_utf8_lossy(&self.body));
        assert_eq!(self.json()["errors"][0]["code"], code, "{}", self.what);
        self.header("content-type", "application/json");
    }

    #[track_caller]
    pub(crate) fn is_json(&self, expected: &Value) {
        assert_eq!(self.json(), *expected, "{}", self.what);
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }

    #[track_caller]
    pub(crate) fn location(&self) -> String {
        self.headers["location"].to_str().unwrap().to_owned()
    }

    /// The target of the link to the next page (RFC 8288).
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().unwrap();
        let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        Some(target.unwrap_or_else(|| panic!("{}: {link}", self.what)).to_owned())
    }
}
