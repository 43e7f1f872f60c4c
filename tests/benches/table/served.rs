//! Goal G3: server CPU of a warm verdict over HTTP, against a bare handler that parses the same body and writes the
//! same line. Each server is a process of its own, so that its CPU is counted apart from the client's.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Tells a child which server it is.
const ROLE: &str = "HALLMARK_BENCHMARK_SERVER";
/// Requests of one run.
const REQUESTS: u32 = 5_000;
/// Runs that a median is taken of, alternating between the two servers.
const RUNS: usize = 5;

pub(crate) fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Runs as the server that the environment names.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match std::env::var(ROLE).unwrap().as_str() {
        "bare" => runtime.block_on(bare()),
        _ => runtime.block_on(hallmark()),
    }
}

/// What a verdict cannot be cheaper than: HTTP, the body parsed into types, the same line written with nothing looked
/// at, an answer of the same size.
async fn bare() {
    use axum::Json;
    use axum::routing::post;

    #[derive(serde::Deserialize)]
    struct Question {
        images: Vec<String>,
    }

    let answer = serde_json::json!({"verdict": "allow", "padding": "x".repeat(700)});
    let digest = "sha256:738f10ded011d56bea4ed5825b6fd99f1e0fc2a832bab610a30e82f5be166570";
    let handler = move |Json(question): Json<Question>| async move {
        let image = question.images.first().cloned().unwrap_or_default();
        tracing::info!(
            target: "audit",
            endpoint = "verdicts",
            image,
            namespace = "",
            namespace_claimed = false,
            dry_run = false,
            verdict = "allow",
            admit = true,
            pinned = image,
            rule = "benchmark/r",
            codes = "",
            authorities = "a",
            keys = digest.trim_start_matches("sha256:"),
            exception = "",
            held_since = "",
            dangers = "",
            policies = digest,
            took_us = 7,
            "verdict"
        );
        Json(answer)
    };
    let app = axum::Router::new().route("/v1/verdicts", post(handler));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    log();
    announce(&listener.local_addr().unwrap().to_string(), "registry.example.com/team-1/app:1.4");
    axum::serve(listener, app).await.unwrap();
}

/// The service itself, with a registry beside it that holds one signed image.
async fn hallmark() {
    use std::sync::Arc;

    use hallmark_embedded_registry::Registry as Embedded;
    use hallmark_policy::image::{Descriptor, ImageReference, Manifest, media_type};
    use hallmark_policy::signature::{Format, Statement};
    use hallmark_registry::{Configuration, Registry};
    use hallmark_verifier_service::{Config, Listeners, PipelineLoader, Service};

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(hallmark_embedded_registry::serve(listener, &Embedded::in_memory(), std::future::pending()));

    let key = crate::fixture::Key::new(1);
    let image: ImageReference = format!("{host}/team/app:1").parse().unwrap();
    let registry = Registry::new(Configuration::default(), Arc::new(crate::fixture::now)).unwrap();
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    registry.push_blob(image.repository(), b"{}").await.unwrap();
    let manifest = Manifest::new(config, Vec::new()).encode();
    registry.push_manifest(&image, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    let pinned = image.pin(Descriptor::of(media_type::OCI_MANIFEST, &manifest).digest);
    let statement = Statement::about(&image, &pinned, std::collections::BTreeMap::new());
    let unsigned = statement.unsigned(Format::SigstoreBundle).unwrap();
    let signature = key.sign(unsigned.message());
    let encoded = unsigned.encode(&key.public(), &signature);
    registry.danger_attach_unverified_bundle(&pinned, encoded.blob(), std::collections::BTreeMap::new()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let pem = key.public().to_pem().replace('\n', "\\n");
    let text = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: benchmark}}\nspec:\n  authorities:\n    - {{name: a, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}\n  rules:\n    - {{name: r, images: [\"{host}/**\"], require: a}}\n"
    );
    std::fs::write(&policy, text).unwrap();
    let config = Config { policies: vec![policy], ..Config::default() };
    let load = PipelineLoader::new(&config).unwrap();
    let bind = || std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listeners = Listeners { api: bind(), operations: bind() };
    let api = listeners.api.local_addr().unwrap().to_string();
    log();
    announce(&api, &pinned.to_string());
    hallmark_verifier_service::serve(Service::new(config, Arc::new(load)), listeners, std::future::pending())
        .await
        .unwrap();
}

/// The log is JSON on stderr, as in production; the parent throws it away.
fn log() {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr).init();
}

fn announce(address: &str, image: &str) {
    println!("{address} {image}");
}

/// A server in a process of its own.
struct Server {
    child: Child,
    address: String,
    image: String,
}

impl Server {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, image) = line.trim().split_once(' ').unwrap();
        let (address, image) = (address.to_owned(), image.to_owned());
        Self { child, address, image }
    }

    /// Nanoseconds of CPU that the process has used (`schedstat`, first field, of each of its threads).
    fn cpu(&self) -> u64 {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        let threads = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path().join("schedstat"));
        threads
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    /// CPU of one request, by the mean over one run of requests on one connection.
    async fn cpu_per_request(&self, client: &reqwest::Client) -> Duration {
        let body = serde_json::json!({"images": [self.image]}).to_string();
        let url = format!("http://{}/v1/verdicts", self.address);
        let ask = || async {
            let request = client.post(&url).header("content-type", "application/json").body(body.clone());
            let answer = request.send().await.unwrap().text().await.unwrap();
            assert!(answer.contains("\"allow\""), "{answer}");
        };
        // Warm: connection, evidence, facts. The service may need a moment to load its policy.
        for _ in 0..100 {
            match client.post(&url).header("content-type", "application/json").body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => {}
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        let before = self.cpu();
        for _ in 0..REQUESTS {
            ask().await;
        }
        Duration::from_nanos((self.cpu() - before) / u64::from(REQUESTS))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The table of goal G3.
pub(crate) fn table() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (bare, hallmark) = (Server::start("bare"), Server::start("hallmark"));
    let (mut of_bare, mut of_hallmark) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        of_bare.push(runtime.block_on(bare.cpu_per_request(&client)));
        of_hallmark.push(runtime.block_on(hallmark.cpu_per_request(&client)));
    }
    of_bare.sort();
    of_hallmark.sort();
    let [bare, hallmark] = [&of_bare, &of_hallmark].map(|times| times.get(RUNS / 2).copied().unwrap_or_default());
    println!(
        "\nServer CPU of one warm verdict by digest over HTTP, audit line on (goal: at most 1.5x of the bare handler)\n"
    );
    println!("| server | µs a request | of the bare handler |");
    println!("|---|---:|---:|");
    for (name, time) in [("bare axum handler", bare), ("hallmark-verifier", hallmark)] {
        let ratio = time.as_secs_f64() / bare.as_secs_f64();
        println!("| {name} | {:.1} | {ratio:.2}x |", time.as_secs_f64() * 1e6);
    }
}
