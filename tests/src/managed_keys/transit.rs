//! A stand-in for the transit engine of Vault and OpenBao. It answers as their HTTP API says, and refuses what they refuse,
//! and more: fields that mean nothing there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};

use crate::harness::registry::RUNTIME;

/// The token that the stand-in takes.
pub(super) const TOKEN: &str = "hvs.CAESIJ-right-token";
const NAMESPACE: &str = "teams/release";
const MOUNT: &str = "engines/transit";

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Says 503 to the first of every three requests.
    BusyAtFirst,
    Floods,
    Honest,
    Redirects,
    Sealed,
    SignsNonsense,
    SignsWithAnotherKey,
    SignsWithAnotherVersion,
}

/// A running server.
pub(super) struct Transit {
    address: String,
    state: Arc<Engine>,
}

struct Engine {
    behaviour: Behaviour,
    keys: BTreeMap<&'static str, Vec<Key>>,
    requests: AtomicUsize,
    strays: AtomicUsize,
}

enum Key {
    Ed25519(Ed25519KeyPair),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(RsaKeyPair),
}

impl Transit {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        Self::start_over(behaviour, None)
    }

    /// The same behind a certificate.
    pub(super) fn start_over(behaviour: Behaviour, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let p256 = |seed: u8| Key::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap());
        let mut keys = BTreeMap::from([
            ("ecdsa-p256", vec![p256(1)]),
            ("rotated", vec![p256(2), p256(3)]),
            ("ecdsa-p384", vec![Key::P384(p384::ecdsa::SigningKey::from_slice(&[4; 48]).unwrap())]),
            ("ed25519", vec![Key::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap())]),
        ]);
        if behaviour == Behaviour::Honest {
            keys.insert("rsa-3072", vec![Key::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).unwrap())]);
            keys.insert("rsa-4096", vec![Key::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).unwrap())]);
        }
        let (requests, strays) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let state = Arc::new(Engine { behaviour, keys, requests, strays });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            match tls {
                None => axum::serve(listener, router).await.unwrap(),
                Some(tls) => axum::serve(Tls { listener, acceptor: tls.into() }, router).await.unwrap(),
            }
        });
        Self { address, state }
    }

    /// Requests that got as far as the server's own code.
    pub(super) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub(super) fn environment(&self, prefix: &str, token: &str) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (format!("{prefix}_{name}"), value.to_owned());
        vec![
            own("ADDR", &self.address),
            own("TOKEN", token),
            own("NAMESPACE", NAMESPACE),
            ("TRANSIT_SECRET_ENGINE_PATH".to_owned(), MOUNT.to_owned()),
        ]
    }

    /// Requests that were led astray by a redirect.
    pub(super) fn strays(&self) -> usize {
        self.state.strays.load(Ordering::SeqCst)
    }
}

/// Connections whose handshake has succeeded.
struct Tls {
    listener: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Whoever does not like our certificate hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn answer(
    State(engine): State<Arc<Engine>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let number = engine.requests.fetch_add(1, Ordering::SeqCst);
    if uri.path() == "/elsewhere" {
        engine.strays.fetch_add(1, Ordering::SeqCst);
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match engine.behaviour {
        Behaviour::BusyAtFirst if number.is_multiple_of(3) => return errors(503, &["Vault is changing its leader"]),
        Behaviour::Redirects => {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response();
        }
        Behaviour::Sealed => return errors(503, &["Vault is sealed"]),
        _ => {}
    }
    if header("x-vault-namespace") != NAMESPACE {
        return errors(404, &[]);
    }
    if header("x-vault-token") != TOKEN {
        return errors(403, &["1 error occurred:\n\t* permission denied\n\n"]);
    }
    assert_eq!(header("x-vault-request"), "true");
    let Some(path) = uri.path().strip_prefix(&format!("/v1/{MOUNT}/")) else { return errors(404, &[]) };
    let Some((verb, name)) = path.split_once('/') else { return errors(404, &[]) };
    let Some(versions) = engine.keys.get(name) else { return errors(404, &[]) };
    match (method.as_str(), verb) {
        ("GET", "keys") => shown(name, versions).into_response(),
        ("POST", "sign") => match signed(&engine, versions, &body) {
            Ok(answer) => answer.to_string().into_response(),
            Err(problem) => errors(400, &[&problem]),
        },
        _ => errors(405, &["unsupported operation"]),
    }
}

fn errors(status: u16, errors: &[&str]) -> Response {
    (StatusCode::from_u16(status).unwrap(), json!({"errors": errors}).to_string()).into_response()
}

/// `GET keys/:name`.
fn shown(name: &str, versions: &[Key]) -> String {
    let version = |(at, key): (usize, &Key)| {
        let public = match key {
            Key::Ed25519(key) => STANDARD.encode(key.public_key().as_ref()),
            Key::P256(key) => key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap(),
            Key::P384(key) => key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap(),
            Key::Rsa(key) => pem(key),
        };
        (format!("{}", at + 1), json!({"public_key": public, "creation_time": "2026-11-25T09:00:00Z", "name": "x"}))
    };
    let keys: serde_json::Map<String, Value> = versions.iter().enumerate().map(version).collect();
    let kind = if name == "rotated" { "ecdsa-p256" } else { name };
    json!({"data": {"name": name, "type": kind, "latest_version": versions.len(), "keys": keys, "supports_signing": true}})
        .to_string()
}

fn pem(key: &RsaKeyPair) -> String {
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let encoded = STANDARD.encode(spki.as_ref());
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// `POST sign/:name`.
fn signed(engine: &Engine, versions: &[Key], body: &[u8]) -> Result<Value, String> {
    let question: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let fields = question.as_object().ok_or("the body is no object")?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let version = fields.get("key_version").and_then(Value::as_u64).unwrap_or(0);
    let version = if version == 0 { versions.len() } else { usize::try_from(version).unwrap() };
    let key = versions.get(version - 1).ok_or("requested version for signing is higher than the latest key version")?;
    let input = STANDARD.decode(text("input").ok_or("missing input")?).map_err(|error| error.to_string())?;
    let is_prehashed = fields.get("prehashed").and_then(Value::as_bool).unwrap_or(false);
    let mut known = vec!["input", "key_version", "prehashed"];
    let signature = match key {
        Key::Ed25519(key) if !is_prehashed => key.sign(&input).as_ref().to_vec(),
        Key::Ed25519(_) => return Err("Ed25519ph is a feature of Vault Enterprise".to_owned()),
        _ if !is_prehashed => return Err("this server was to be given digests only".to_owned()),
        Key::P256(key) => {
            known.extend(["hash_algorithm", "marshaling_algorithm"]);
            is_digest(&input, text("hash_algorithm"), &[("sha2-256", 32)])?;
            is_asn1(text("marshaling_algorithm"))?;
            let other = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
            let key = if engine.behaviour == Behaviour::SignsWithAnotherKey { &other } else { key };
            let signature: p256::ecdsa::Signature = key.sign_prehash(&input).unwrap();
            signature.to_der().as_bytes().to_vec()
        }
        Key::P384(key) => {
            known.extend(["hash_algorithm", "marshaling_algorithm"]);
            is_digest(&input, text("hash_algorithm"), &[("sha2-256", 32), ("sha2-384", 48)])?;
            is_asn1(text("marshaling_algorithm"))?;
            let signature: p384::ecdsa::Signature = key.sign_prehash(&input).unwrap();
            signature.to_der().as_bytes().to_vec()
        }
        Key::Rsa(key) => {
            known.extend(["hash_algorithm", "signature_algorithm"]);
            is_digest(&input, text("hash_algorithm"), &[("sha2-256", 32)])?;
            // Without it, the engine pads by PSS.
            if text("signature_algorithm") != Some("pkcs1v15") {
                return Err("this server was to pad by PKCS #1 v1.5".to_owned());
            }
            let digest = aws_lc_rs::digest::Digest::import_less_safe(&input, &aws_lc_rs::digest::SHA256).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).unwrap();
            signature
        }
    };
    if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("`{unknown}` means nothing for this key"));
    }
    let signature = match engine.behaviour {
        Behaviour::Floods => "A".repeat(2 << 20),
        Behaviour::SignsNonsense => "vault:v1:****".to_owned(),
        Behaviour::SignsWithAnotherVersion => format!("vault:v{}:{}", version + 1, STANDARD.encode(signature)),
        _ => format!("vault:v{version}:{}", STANDARD.encode(signature)),
    };
    Ok(json!({"request_id": "x", "data": {"signature": signature, "key_version": version}}))
}

fn is_digest(input: &[u8], named: Option<&str>, allowed: &[(&str, usize)]) -> Result<(), String> {
    let named = named.unwrap_or("sha2-256");
    let length = allowed.iter().find(|(name, _)| *name == named).ok_or("hash algorithm not supported")?.1;
    if input.len() == length { Ok(()) } else { Err("input must be hashed message".to_owned()) }
}

fn is_asn1(named: Option<&str>) -> Result<(), String> {
    if matches!(named, None | Some("asn1")) { Ok(()) } else { Err("another marshaling algorithm".to_owned()) }
}
