//! `hallmark-verifier` as a process of its own, so that what it holds can be counted: memory, descriptors, answers.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::attacker::{CANARY, USER};
use super::programs::hallmark_verifier;
use super::world::Key;

/// How long the service may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running service. Dropping it ends the process.
pub(crate) struct Verifier {
    process: Child,
    api: String,
    operations: String,
    client: reqwest::Client,
    /// The password was in a line of the log.
    is_leaky: Arc<AtomicBool>,
    _folder: TempDir,
}

impl Verifier {
    /// A service that trusts one key for every image of one host, where its credential is the canary.
    pub(crate) async fn start(key: &Key, host: &str, settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let pem = key.public().to_pem().replace('\n', "\\n");
        let policy = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: test}}\nspec:\n  authorities:\n    \
             - {{name: us, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}\n  rules:\n    \
             - {{name: all, images: [\"{host}/**\"], require: us}}\n"
        );
        std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        let auths = serde_json::json!({"auths": {host: {"username": USER, "password": CANARY}}});
        std::fs::write(folder.path().join("config.json"), auths.to_string()).unwrap();
        let config = format!(
            "policies: [{}]\napi: {{listen: '127.0.0.1:0'}}\noperations: {{listen: '127.0.0.1:0'}}\n{settings}",
            folder.path().join("policy.yaml").display()
        );
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        let mut process = Command::new(hallmark_verifier())
            .arg("--config")
            .arg(folder.path().join("config.yaml"))
            .env_clear()
            .env("HOME", folder.path())
            .env("DOCKER_CONFIG", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let is_leaky = Arc::new(AtomicBool::new(false));
        let Some((api, operations)) = wait_for_listening(log, &is_leaky) else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("hallmark-verifier did not listen within {START_TIMEOUT:?}");
        };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let service = Self { process, api, operations, client, is_leaky, _folder: folder };
        let ready = format!("http://{}/readyz", service.operations);
        let begun = Instant::now();
        while !service.client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(begun.elapsed() < START_TIMEOUT, "not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service
    }

    /// `127.0.0.1:PORT` of the listener for verdicts.
    pub(crate) fn api(&self) -> &str {
        &self.api
    }

    /// The first image's verdict.
    pub(crate) async fn ask(&self, image: &str) -> Value {
        self.ask_with(&self.client, image).await
    }

    pub(crate) async fn ask_with(&self, client: &reqwest::Client, image: &str) -> Value {
        let body = serde_json::json!({"images": [image]}).to_string();
        let url = format!("http://{}/v1/verdicts?timeout=20s", self.api);
        let answer = client.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(!text.contains(CANARY), "{text}");
        let mut document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        document["images"][0].take()
    }

    pub(crate) async fn metrics(&self) -> String {
        self.client.get(format!("http://{}/metrics", self.operations)).send().await.unwrap().text().await.unwrap()
    }

    /// Bytes of memory that are in use now.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Most bytes of memory that were in use since the last [`Verifier::forget_peak`].
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Begins a new measurement of the peak (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    /// Open files and sockets.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // Nothing to be done where it has already ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        assert!(std::thread::panicking() || !self.is_leaky.load(Ordering::SeqCst), "the log shows the password");
    }
}

/// Reads the log until it names the listeners, and goes on reading so that the service never blocks on a full pipe.
fn wait_for_listening(
    log: BufReader<std::process::ChildStderr>,
    is_leaky: &Arc<AtomicBool>,
) -> Option<(String, String)> {
    let (sender, receiver) = mpsc::channel();
    let is_leaky = Arc::clone(is_leaky);
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if line.contains(CANARY) {
                is_leaky.store(true, Ordering::SeqCst);
            }
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if let (Some(api), Some(operations)) = (line["api"].as_str(), line["operations"].as_str()) {
                let _ = sender.send((api.to_owned(), operations.to_owned()));
            }
        }
    });
    receiver.recv_timeout(START_TIMEOUT).ok()
}
