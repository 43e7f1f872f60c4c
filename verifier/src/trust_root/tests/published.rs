//! A TUF repository that a test publishes, written from the specification (sections 4.2 to 4.6), so that it can be wrong
//! in any way; and places from which it is served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hallmark_policy::image::Digest;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, Repository};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(super) const PUBLIC_GOOD: &[u8] = include_bytes!("../../../../policy/data/trusted_root.production.json");
pub(super) const STAGING: &[u8] = include_bytes!("../../../../policy/data/trusted_root.staging.json");

/// The files of a repository, by their path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Whoever publishes: versions, keys by their seeds, dates, and the document.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) root: u64,
    pub(super) root_keys: Vec<u8>,
    pub(super) root_threshold: usize,
    pub(super) online_key: u8,
    pub(super) timestamp: u64,
    pub(super) snapshot: u64,
    pub(super) targets: u64,
    pub(super) expires: &'static str,
    pub(super) root_expires: &'static str,
    pub(super) document: Vec<u8>,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self {
            root: 1,
            root_keys: vec![1, 2, 3],
            root_threshold: 2,
            online_key: 9,
            timestamp: 1,
            snapshot: 1,
            targets: 1,
            expires: "2026-12-01T00:00:00Z",
            root_expires: "2027-06-01T00:00:00Z",
            document: PUBLIC_GOOD.to_vec(),
        }
    }

    /// One whose word holds whatever the clock says: for programs that read it.
    pub(super) fn lasting() -> Self {
        Self { expires: "2999-01-01T00:00:00Z", root_expires: "2999-01-01T00:00:00Z", ..Self::new() }
    }

    /// The next edition of everything but the root.
    pub(super) fn next(&self, document: &[u8]) -> Self {
        Self {
            timestamp: self.timestamp + 1,
            snapshot: self.snapshot + 1,
            targets: self.targets + 1,
            document: document.to_vec(),
            ..self.clone()
        }
    }

    /// The root, signed by these keys.
    pub(super) fn root_by(&self, signers: &[u8]) -> Vec<u8> {
        let keys: BTreeMap<_, _> =
            self.root_keys.iter().chain([&self.online_key]).map(|seed| (key_id(*seed), public(*seed))).collect();
        let root_ids: Vec<_> = self.root_keys.iter().map(|seed| key_id(*seed)).collect();
        let online = json!({"keyids": [key_id(self.online_key)], "threshold": 1});
        let roles = json!({
            "root": {"keyids": root_ids, "threshold": self.root_threshold},
            "timestamp": online,
            "snapshot": online,
            "targets": {"keyids": root_ids, "threshold": 1},
        });
        let more = json!({"consistent_snapshot": true, "keys": keys, "roles": roles});
        signed("root", self.root, self.root_expires, more, signers)
    }

    pub(super) fn own_root(&self) -> Vec<u8> {
        self.root_by(&self.root_keys)
    }

    /// All files of this edition; the root is added by whoever serves them.
    pub(super) fn files(&self) -> Files {
        let hash = Digest::of(&self.document).encoded();
        let described = json!({"length": self.document.len(), "hashes": {"sha256": hash}});
        let targets = json!({"targets": {"trusted_root.json": described}});
        let targets = signed("targets", self.targets, self.expires, targets, &self.root_keys[..1]);
        let snapshot = json!({"meta": {"targets.json": {"version": self.targets}}});
        let snapshot = signed("snapshot", self.snapshot, self.expires, snapshot, &[self.online_key]);
        let pinned = json!({"version": self.snapshot, "length": snapshot.len(),
            "hashes": {"sha256": Digest::of(&snapshot).encoded()}});
        let timestamp = json!({"meta": {"snapshot.json": pinned}});
        let timestamp = signed("timestamp", self.timestamp, self.expires, timestamp, &[self.online_key]);
        BTreeMap::from([
            ("timestamp.json".to_owned(), timestamp),
            (format!("{}.snapshot.json", self.snapshot), snapshot),
            (format!("{}.targets.json", self.targets), targets),
            (format!("targets/{hash}.trusted_root.json"), self.document.clone()),
        ])
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> Value {
    let pem = key(seed).verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}})
}

fn key_id(seed: u8) -> String {
    format!("{seed:064x}")
}

fn signed(kind: &str, version: u64, expires: &str, more: Value, signers: &[u8]) -> Vec<u8> {
    let mut payload = json!({"_type": kind, "spec_version": "1.0.31", "version": version, "expires": expires});
    payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    // Canonical JSON: sorted, without blanks, and line breaks as they are (in keys; there is no other control character).
    let message = payload.to_string().replace("\\n", "\n");
    let sign = |seed: &u8| {
        let signature: p256::ecdsa::Signature = key(*seed).sign(message.as_bytes());
        let hexadecimal: String = signature.to_der().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"keyid": key_id(*seed), "sig": hexadecimal})
    };
    let signatures: Vec<_> = signers.iter().map(sign).collect();
    json!({"signed": payload, "signatures": signatures}).to_string().into_bytes()
}

/// Files in memory that can be exchanged while they are served.
#[derive(Clone, Default)]
pub(super) struct Served {
    files: Arc<Mutex<Files>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub(super) fn of(files: Files) -> Self {
        let served = Self::default();
        served.put(files);
        served
    }

    /// Adds these files, in place of those with the same names.
    pub(super) fn put(&self, files: Files) {
        self.files.lock().unwrap().extend(files);
    }

    pub(super) fn take(&self, name: &str) {
        self.files.lock().unwrap().remove(name).unwrap();
    }

    /// What was asked for over HTTP.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn find(&self, name: &str) -> Option<Vec<u8>> {
        self.files.lock().unwrap().get(name).cloned()
    }

    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.find(name) {
            Some(bytes) if u64::try_from(bytes.len()).unwrap() > most => Err(Error::transport("too large")),
            found => Ok(found),
        }
    }

    /// Serves them over HTTP; a file whose content is `endless` never ends. Counts the bytes of those.
    pub(super) async fn listen(&self) -> (String, Arc<Mutex<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (served, sent) = (self.clone(), Arc::new(Mutex::new(0)));
        let counted = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                served.requests.lock().unwrap().push(path.clone());
                let (status, body) = match served.find(&path) {
                    Some(bytes) if bytes.starts_with(b"status ") => {
                        (String::from_utf8(bytes[7..].to_vec()).unwrap(), Vec::new())
                    }
                    Some(bytes) => ("200 OK".to_owned(), bytes),
                    None => ("404 Not Found".to_owned(), Vec::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
                if stream.write_all(head.as_bytes()).await.is_err() {
                    continue;
                }
                if body == b"endless" {
                    while stream.write_all(&[b' '; 8192]).await.is_ok() {
                        *counted.lock().unwrap() += 8192;
                    }
                } else {
                    let _ = stream.write_all(&body).await;
                }
            }
        });
        (address, sent)
    }
}

impl Repository for Served {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(std::future::ready(self.read(name, max_length)))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(std::future::ready(self.read(&format!("targets/{path}"), max_length)))
    }
}
