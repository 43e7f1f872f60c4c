//! The embedded registry behind a script that may answer in its place, and a log of what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hallmark_policy::Timestamp;
use hallmark_policy::evidence::Evidence;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, PinnedImage, media_type};
use hallmark_registry::{Configuration, Registry};

/// Before: answer in the registry's place. After: change its answer.
pub(crate) type Before = Arc<dyn Fn(&Request) -> Option<Response> + Send + Sync>;
pub(crate) type After = Arc<dyn Fn(&str, Response) -> Response + Send + Sync>;

#[derive(Clone)]
struct Script {
    before: Before,
    after: After,
    log: Arc<Mutex<Vec<String>>>,
}

/// A registry on loopback.
pub(crate) struct Scripted {
    pub(crate) host: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// The embedded registry as it is.
    pub(crate) async fn plain() -> Self {
        Self::with(|_| None, |_, response| response).await
    }

    /// Without referrers API, as Debian's docker-registry: the route does not exist.
    pub(crate) async fn without_referrers() -> Self {
        Self::with(
            |request| request.uri().path().contains("/referrers/").then(|| text(404, "404 page not found\n")),
            |_, mut response| {
                response.headers_mut().remove("oci-subject");
                response
            },
        )
        .await
    }

    pub(crate) async fn with(
        before: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
        after: impl Fn(&str, Response) -> Response + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let script = Script { before: Arc::new(before), after: Arc::new(after), log: Arc::clone(&log) };
        let router = hallmark_embedded_registry::Registry::in_memory().router();
        let router = router.layer(from_fn_with_state(script, play));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { host, log }
    }

    /// What was asked since the last time.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub(crate) fn reference(&self, rest: &str) -> ImageReference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    /// Pushes a small image, each with content of its own, under the tag `v1` of a repository.
    pub(crate) async fn push_image(&self, registry: &Registry, repository: &str) -> PinnedImage {
        let image = self.reference(&format!("{repository}:v1"));
        let config = format!(r#"{{"architecture":"amd64","os":"linux","author":"{repository}"}}"#);
        registry.push_blob(image.repository(), config.as_bytes()).await.unwrap();
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new()).encode();
        let pushed = registry.push_manifest(&image, media_type::OCI_MANIFEST, &manifest).await.unwrap();
        self.take_log();
        image.pin(pushed.digest)
    }
}

async fn play(State(script): State<Script>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    script.log.lock().unwrap().push(line.clone());
    let response = match (script.before)(&request) {
        Some(response) => response,
        None => next.run(request).await,
    };
    (script.after)(&line, response)
}

pub(crate) fn text(status: u16, body: &str) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "text/plain")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// A client that knows nothing yet.
pub(crate) fn client() -> Registry {
    client_with(Configuration::default())
}

pub(crate) fn client_with(configuration: Configuration) -> Registry {
    Registry::new(configuration, Arc::new(|| Timestamp::UNIX_EPOCH)).unwrap()
}

pub(crate) async fn gather(registry: &Registry, image: &ImageReference) -> Evidence {
    registry.gather(image, Instant::now() + Duration::from_secs(20)).await
}

pub(crate) fn annotations() -> BTreeMap<String, String> {
    [("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned())].into()
}

/// A bundle as another program attaches it: the blob is not carried in the descriptor.
pub(crate) async fn attach_foreign_bundle(registry: &Registry, subject: &PinnedImage, bundle: &[u8]) -> Digest {
    let repository = &subject.repository;
    registry.push_blob(repository, bundle).await.unwrap();
    registry.push_blob(repository, b"{}").await.unwrap();
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle);
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.subject = found(registry.describe(subject).await);
    let bytes = manifest.encode();
    let image = PinnedImage { repository: repository.clone(), digest: Digest::of(&bytes) }.into();
    registry.push_manifest(&image, media_type::OCI_MANIFEST, &bytes).await.unwrap().digest
}

/// A simple-signing payload as cosign 2 attaches it.
pub(crate) async fn attach_foreign_simple_signing(registry: &Registry, subject: &PinnedImage, payload: &[u8]) {
    let repository = &subject.repository;
    registry.push_blob(repository, payload).await.unwrap();
    registry.push_blob(repository, b"{}").await.unwrap();
    let layer = Descriptor::of(media_type::SIMPLE_SIGNING, payload);
    let bytes = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), vec![layer]).encode();
    let image = ImageReference::tagged(repository.clone(), subject.digest.signature_tag());
    registry.push_manifest(&image, media_type::OCI_MANIFEST, &bytes).await.unwrap();
}

fn found<T>(observation: hallmark_policy::evidence::Observation<T>) -> Option<T> {
    match observation {
        hallmark_policy::evidence::Observation::Found(value) => Some(value),
        _ => None,
    }
}
