//! Sigstore's services on loopback: a certificate authority, logs of both versions, a certificate log and a timestamp
//! authority, in a process of their own (`tests/peers/sigstore/serve.js`).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peers::{Peer, peer};

/// The issuer of the tokens that tests make.
pub(crate) const ISSUER: &str = "https://issuer.example";
/// Whom they are about.
pub(crate) const SUBJECT: &str = "https://ci.example/build";

/// An instance with keys of its own.
pub(crate) struct Sigstore {
    process: Child,
    folder: TempDir,
    pub(crate) url: String,
    _peer: Peer,
}

/// The version of the log's API that a test signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    One,
    Two,
}

impl Log {
    pub(crate) const BOTH: [Self; 2] = [Self::One, Self::Two];

    /// Where entries are made.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::One => "/api/v1/log/entries",
            Self::Two => "/api/v2/log/entries",
        }
    }
}

impl Sigstore {
    /// A new instance, or `None` after saying that it is left out.
    pub(crate) fn start() -> Option<Self> {
        let peer = peer("sigstore-mock")?;
        let folder = TempDir::new().unwrap();
        let mut command = peer.command();
        // Its standard input ends with this process, and so does it.
        command.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Some(Self { process, folder, url: ready["url"].as_str().unwrap().to_owned(), _peer: peer })
    }

    /// The path of its trusted root.
    pub(crate) fn trusted_root(&self) -> String {
        self.file("trusted_root.json")
    }

    /// The path of a signing config with a log of this version.
    pub(crate) fn signing_config(&self, log: Log) -> String {
        match log {
            Log::One => self.file("signing_config.json"),
            Log::Two => self.file("signing_config.v2.json"),
        }
    }

    /// A document of it, changed, in a file of its own.
    pub(crate) fn changed(&self, path: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut document);
        let name = format!("changed-{}.json", std::fs::read_dir(self.folder.path()).unwrap().count());
        let path = self.folder.path().join(name);
        std::fs::write(&path, document.to_string()).unwrap();
        path.display().to_string()
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Lets a path answer with a status some times, before it does its work again.
    pub(crate) fn break_down(&self, path: &str, status: u16, times: u32) {
        let fault = json!({"path": path, "status": status, "times": times}).to_string();
        ask(&format!("{}/faults", self.url), Some(fault));
    }

    /// How often a path was asked.
    pub(crate) fn asked(&self, path: &str) -> u64 {
        let counts = ask(&format!("{}/counts", self.url), None);
        let counts: BTreeMap<String, u64> = serde_json::from_str(&counts).unwrap();
        counts.get(path).copied().unwrap_or_default()
    }
}

impl Drop for Sigstore {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(url: &str, body: Option<String>) -> String {
    let client = reqwest::Client::new();
    let request = match body {
        Some(body) => client.post(url).body(body),
        None => client.get(url),
    };
    super::registry::RUNTIME.block_on(async move { request.send().await?.error_for_status()?.text().await }).unwrap()
}

/// A token for ten minutes, whose claims are changed. Its signature is nobody's: the authority of the tests does not look
/// at it.
pub(crate) fn token_with(change: impl FnOnce(&mut Value)) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"iss": ISSUER, "sub": SUBJECT, "aud": "sigstore", "iat": now, "exp": now + 600});
    change(&mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({"alg": "RS256"})), part(&claims), URL_SAFE_NO_PAD.encode("signature"))
}

/// A token that the authority takes.
pub(crate) fn token() -> String {
    token_with(|_| {})
}

/// A token in a file.
pub(crate) fn token_file(folder: &Path) -> String {
    let path = folder.join("token.jwt");
    std::fs::write(&path, token()).unwrap();
    path.display().to_string()
}
