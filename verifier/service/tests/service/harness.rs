//! A running service whose verdicts are told by the image's name.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hallmark_policy::image::Digest;
use hallmark_policy::verdict::Question;
use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_verifier_service::config::Span;
use hallmark_verifier_service::session::Session;
use hallmark_verifier_service::verdict::{ImageVerdict, Mode, PolicyInForce, Proof, Reason};
use hallmark_verifier_service::{Config, Listeners, Load, LoadError, Loaded, ReloadHandle, Service, serve};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

/// How long tests wait for what comes soon. It is this long for machines with much else to do: nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Judges by name: `bad`, `warn`, `audit`, `slow`, `panic` and `unknown` in a repository's path do what they say, and
/// `held` waits for the gate; everything else is allowed. `only-NS` is allowed in the namespace `NS` alone.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) asked: Mutex<Vec<(String, Option<String>)>>,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
    pub(crate) gate: Gate,
    policies: Vec<PolicyInForce>,
}

/// Closed until it is opened.
pub(crate) struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Gate {
    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        let _ = self.0.acquire().await;
    }
}

impl Fake {
    pub(crate) fn named(name: &str) -> Self {
        let policies = vec![PolicyInForce { name: name.to_owned(), digest: Digest::of(name.as_bytes()).to_string() }];
        Self { policies, ..Self::default() }
    }

    async fn judge(&self, question: &Question) -> ImageVerdict {
        let image = question.image.to_string();
        self.asked.lock().unwrap().push((image.clone(), question.namespace.clone()));
        let path = question.image.repository().path().to_owned();
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let has = |word: &str| path.contains(word);
        if has("slow") {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        if has("held") {
            self.gate.pass().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!has("panic"), "a panic in the pipeline");
        self.running.fetch_sub(1, Ordering::SeqCst);
        let wrong_namespace = path
            .split_once("only-")
            .is_some_and(|(_, only)| question.namespace.as_deref().is_some_and(|namespace| namespace != only));
        let mode = if has("warn") {
            Mode::Warn
        } else if has("audit") {
            Mode::Audit
        } else {
            Mode::Enforce
        };
        if has("unknown") {
            return refused(image, Code::RegistryUnavailable, mode);
        }
        if has("bad") || wrong_namespace || mode != Mode::Enforce {
            return refused(image, Code::Unsigned, mode);
        }
        let proof = Proof {
            authority: "release-team".into(),
            format: "sigstore-bundle".into(),
            subject: None,
            key_id: Some("00".repeat(32)),
            artifact: Some(Digest::of(b"artifact").to_string()),
            signed_at: None,
            timestamped_by: Vec::new(),
            identity: None,
            logged_by: Vec::new(),
        };
        ImageVerdict {
            pinned: Some(question.image.pin(Digest::of(b"image")).to_string()),
            verdict: Outcome::Allow,
            admit: true,
            reasons: Vec::new(),
            proof: vec![proof],
            attestations: Vec::new(),
            exception: None,
            held_since: None,
            ..refused(image, Code::Unsigned, mode)
        }
    }
}

fn refused(image: String, code: Code, mode: Mode) -> ImageVerdict {
    let reason = Reason { code, message: code.meaning().to_owned(), hint: code.hint().to_owned() };
    let decided_at = "2026-11-23T09:00:00Z".parse::<Timestamp>().unwrap();
    ImageVerdict {
        admit: mode != Mode::Enforce,
        mode: Some(mode),
        rule: Some("production/prod".into()),
        ..ImageVerdict::unanswered(image, decided_at, reason)
    }
}

impl Session for Fake {
    fn policies(&self) -> &[PolicyInForce] {
        &self.policies
    }

    fn verdict<'a>(&'a self, question: &'a Question, _deadline: Instant) -> BoxFuture<'a, ImageVerdict> {
        self.judge(question).boxed()
    }
}

/// A policy file whose whole text is the name of the policy; `broken` in it does not load, and `key NAME` needs a file
/// of that name beside it.
pub(crate) struct FakeLoad {
    pub(crate) session: Option<Arc<Fake>>,
    pub(crate) paths: Vec<PathBuf>,
}

impl Load for FakeLoad {
    fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        if let Some(session) = &self.session {
            let files = BTreeMap::from([(PathBuf::from("/dev/null"), Digest::of(b""))]);
            return Ok(Loaded { session: session.clone(), files, roots: BTreeMap::new() });
        }
        let mut files = BTreeMap::new();
        let mut name = String::new();
        for path in &self.paths {
            let fail = |message: String| LoadError { message, hint: "mend it".into() };
            let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
            if let Some(key) = text.strip_prefix("key ") {
                std::fs::read(path.with_file_name(key)).map_err(|error| fail(error.to_string()))?;
            }
            if text.contains("broken") || text.is_empty() {
                return Err(fail(format!("{}:1:1: `{text}` is not a policy", path.display())));
            }
            files.insert(path.clone(), Digest::of(text.as_bytes()));
            name.push_str(&text);
        }
        Ok(Loaded { session: Arc::new(Fake::named(&name)), files, roots: BTreeMap::new() })
    }
}

pub(crate) struct Running {
    pub(crate) api: String,
    pub(crate) operations: String,
    pub(crate) client: reqwest::Client,
    pub(crate) fake: Arc<Fake>,
    pub(crate) reload: ReloadHandle,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

pub(crate) fn test_config() -> Config {
    let mut config = Config {
        accept_while_draining: Span::seconds(0),
        drain_for: Span::seconds(5),
        reload_every: Span(Duration::from_millis(30)),
        ..Config::default()
    };
    config.limits.body_timeout = Span(Duration::from_millis(500));
    config
}

pub(crate) async fn start() -> Running {
    start_with(test_config()).await
}

pub(crate) async fn start_with(config: Config) -> Running {
    let fake = Arc::new(Fake::named("production"));
    start_loading(config, FakeLoad { session: Some(fake.clone()), paths: Vec::new() }, fake).await
}

pub(crate) async fn start_loading(config: Config, load: impl Load, fake: Arc<Fake>) -> Running {
    let listeners = Listeners { api: bind(), operations: bind() };
    let scheme = if config.api.tls.certificate_file.is_some() { "https" } else { "http" };
    let api = format!("{scheme}://localhost:{}", listeners.api.local_addr().unwrap().port());
    let operations = format!("http://localhost:{}", listeners.operations.local_addr().unwrap().port());
    let service = Service::new(config, Arc::new(load));
    let reload = service.reload_handle();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        serve(service, listeners, async { drop(stopped.await) }).await.unwrap();
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let running = Running { api, operations, client, fake, reload, stop: Some(stop), task };
    running.wait_for(|status, _| status.is_some()).await;
    running
}

fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl Running {
    pub(crate) async fn post(
        &self,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value, reqwest::header::HeaderMap) {
        let request = self.client.post(format!("{}{path}", self.api)).header("content-type", "application/json");
        answer(request.body(body)).await
    }

    pub(crate) async fn readiness(&self) -> (Option<u16>, Value) {
        match self.client.get(format!("{}/readyz", self.operations)).send().await {
            Err(_) => (None, Value::Null),
            Ok(response) => {
                let status = response.status().as_u16();
                (Some(status), serde_json::from_str(&response.text().await.unwrap()).unwrap())
            }
        }
    }

    /// Waits until so many questions are being judged.
    pub(crate) async fn wait_until_judging(&self, count: usize) {
        wait_until(async || self.fake.running.load(Ordering::SeqCst) == count).await;
    }

    /// Asks for readiness until it is as expected.
    pub(crate) async fn wait_for(&self, expected: impl Fn(Option<u16>, &Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (status, body) = self.readiness().await;
            if expected(status, &body) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "{status:?} {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.operations)).send().await.unwrap().text().await.unwrap()
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(self) {
        self.task.await.unwrap();
    }
}

pub(crate) async fn wait_until(condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "it has not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What must be in time is tried a few times: the machine may be busy with something else just then. The fastest counts.
pub(crate) async fn in_time(limit: Duration, attempt: impl AsyncFn()) {
    let mut fastest = Duration::MAX;
    for left in (0..5).rev() {
        let began = Instant::now();
        attempt().await;
        fastest = fastest.min(began.elapsed());
        if fastest < limit {
            break;
        }
        assert!(left > 0, "the fastest took {fastest:?}, and had {limit:?}");
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value, reqwest::header::HeaderMap) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)), headers)
}
