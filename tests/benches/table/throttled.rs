//! Goal G12: a registry that asks for less traffic for five seconds, one second at a time, while a hundred askers go on
//! asking about images that nobody knows yet, and one asks about an image that is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use hallmark_embedded_registry::Registry as Embedded;
use hallmark_policy::image::{Descriptor, ImageReference, Manifest, PinnedImage, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::Question;
use hallmark_policy::{Outcome, Timestamp};
use hallmark_registry::{Configuration, Registry};
use hallmark_verifier::{EvidenceLimits, Pipeline};

const ASKERS: usize = 100;
const SECONDS: u64 = 5;

/// What the registry does, and when it was asked while it throttled.
#[derive(Clone, Default)]
struct Switch {
    throttles: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

async fn throttle(State(switch): State<Switch>, request: Request, next: Next) -> Response {
    if !switch.throttles.load(Ordering::SeqCst) {
        return next.run(request).await;
    }
    switch.asked.lock().unwrap().push(Instant::now());
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
}

/// Verdicts by the second in which they were given.
#[derive(Default)]
struct Given(Mutex<BTreeMap<(u64, &'static str), usize>>);

impl Given {
    fn count(&self, begun: Instant, what: &'static str) {
        *self.0.lock().unwrap().entry((begun.elapsed().as_secs(), what)).or_default() += 1;
    }

    fn of(&self, second: u64, what: &'static str) -> usize {
        self.0.lock().unwrap().get(&(second, what)).copied().unwrap_or_default()
    }
}

pub(crate) fn table() {
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let switch = Switch::default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let router = Embedded::in_memory().router().layer(from_fn_with_state(switch.clone(), throttle));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let registry = Registry::new(Configuration::default(), Arc::new(Timestamp::now)).unwrap();
    let key = crate::fixture::Key::new(1);
    let known = push(&registry, &host, 0).await;
    sign(&registry, &key, &known).await;
    let mut unknown = Vec::new();
    for number in 1..=ASKERS {
        unknown.push(push(&registry, &host, number).await);
    }
    let trust = TrustSnapshot::for_keys(vec![key.public()]);
    let pipeline = Pipeline::new(Arc::new(registry), Arc::new(Timestamp::now), EvidenceLimits::STANDARD);
    let ask = async |image: &PinnedImage| {
        let question = Question::about(image.clone().into());
        let deadline = Instant::now() + Duration::from_secs(10);
        pipeline.verdict(&trust, &question, deadline).await.outcome()
    };
    assert_eq!(ask(&known).await, Outcome::Allow);

    switch.throttles.store(true, Ordering::SeqCst);
    let (begun, given) = (Instant::now(), Given::default());
    let goes_on = || begun.elapsed() < Duration::from_secs(SECONDS);
    let (goes_on, given, ask) = (&goes_on, &given, &ask);
    let strangers = unknown.iter().map(|image| async move {
        while goes_on() {
            given.count(begun, ask(image).await.as_str());
            // An API server that was told "undetermined" asks again a little later.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let friend = async {
        while goes_on() {
            let what = if ask(&known).await == Outcome::Allow { "known, allowed" } else { "known, not allowed" };
            given.count(begun, what);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(join_all(strangers), friend);

    println!(
        "\nA registry that throttles (429, `Retry-After: 1`), {ASKERS} askers of unknown images and one of a known one"
    );
    println!("(goal: one request a window, never \"unsigned\", the known image keeps being allowed)\n");
    println!(
        "| second | requests | unknown: undetermined | unknown: denied as unsigned | known: allowed | known: not |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    let asked = switch.asked.lock().unwrap();
    for second in 0..SECONDS {
        let requests = asked.iter().filter(|at| at.duration_since(begun).as_secs() == second).count();
        let [undetermined, denied, allowed, not] =
            ["undetermined", "deny", "known, allowed", "known, not allowed"].map(|what| given.of(second, what));
        println!("| {second} | {requests} | {undetermined} | {denied} | {allowed} | {not} |");
    }
}

async fn push(registry: &Registry, host: &str, number: usize) -> PinnedImage {
    let image: ImageReference = format!("{host}/team/app:{number}").parse().unwrap();
    let config = format!(r#"{{"architecture":"amd64","os":"linux","author":"{number}"}}"#);
    registry.push_blob(image.repository(), config.as_bytes()).await.unwrap();
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new()).encode();
    let pushed = registry.push_manifest(&image, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    image.pin(pushed.digest)
}

async fn sign(registry: &Registry, key: &crate::fixture::Key, image: &PinnedImage) {
    let statement = Statement::about(&image.clone().into(), image, BTreeMap::new());
    let unsigned = statement.unsigned(Format::SigstoreBundle).unwrap();
    let signature = key.sign(unsigned.message());
    let encoded = unsigned.encode(&key.public(), &signature);
    registry.danger_attach_unverified_bundle(image, encoded.blob(), BTreeMap::new()).await.unwrap();
}
