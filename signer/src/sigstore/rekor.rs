//! Rekor, versions 1 and 2: an entry of a signature in a transparency log, and the log's answer for the bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::limits::MAX_LOG_BODY_BYTES;
use hallmark_policy::signature::Format;
use hallmark_policy::sigstore::{BundleContent, BundleMaker, LogAnswer};
use hallmark_policy::verify::{KeyKind, PublicKey};
use pem_rfc7468::LineEnding;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::http::{Answer, Http, Problem, Question, below};
use super::services::LogVersion;
use crate::error::{Exit, Failure};
use crate::key::Algorithm;

const WHO: &str = "the transparency log";
const WHEN_REFUSED: &str = "check that the log takes entries of this kind and this kind of key; its operator knows";
/// Most bytes of an answer: the entry in base64, and its proof.
const MAX_ANSWER_BYTES: usize = 2 * MAX_LOG_BODY_BYTES;

/// A log that is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) url: Url,
    pub(crate) version: LogVersion,
}

/// What is entered.
pub(super) struct Proposal<'a> {
    pub(super) content: BundleContent<'a>,
    /// The exact bytes under the signature.
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) maker: BundleMaker<'a>,
    pub(super) key: &'a PublicKey,
}

impl Log {
    /// Enters a signature. A log that has it already tells where, and that is as good.
    pub(super) async fn enter(&self, http: &Http, proposal: &Proposal<'_>) -> Result<LogAnswer, LogFailure> {
        let (path, body) = match self.version {
            LogVersion::One => ("v1", proposal.first()),
            LogVersion::Two => ("v2", proposal.second()),
        };
        let body = body.map_err(LogFailure::Final)?;
        let entries = below(&self.url, &["api", path, "log", "entries"]);
        let ask =
            async |url: Url, body: Option<(&'static str, Vec<u8>)>, accepted: &[u16]| -> Result<Answer, LogFailure> {
                let method = if body.is_some() { Method::POST } else { Method::GET };
                let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
                let question = Question { method, url, headers, body, accepted, most: MAX_ANSWER_BYTES, secret: None };
                http.ask(&question).await.map_err(|problem| self.failure(problem))
            };
        let proposed = Some(("application/json", body.to_string().into_bytes()));
        let mut answer = ask(entries.clone(), proposed, &[200, 201, 409]).await?;
        if answer.status == 409 {
            let name = answer.location.as_deref().and_then(entry_name);
            let name = name.ok_or_else(|| self.broken("it has the entry already, and does not say where"))?;
            let mut known = entries;
            if let Ok(mut segments) = known.path_segments_mut() {
                segments.push(name);
            }
            answer = ask(known, None, &[200]).await?;
        }
        let entry = match self.version {
            LogVersion::One => LogAnswer::of_rekor_v1(&answer.body),
            LogVersion::Two => LogAnswer::of_rekor_v2(&answer.body),
        };
        entry.map_err(|problem| self.broken(&format!("its answer is no entry: {problem}")))
    }

    fn broken(&self, problem: &str) -> LogFailure {
        self.failure(Problem::Broken(problem.to_owned()))
    }

    fn failure(&self, problem: Problem) -> LogFailure {
        let is_down = matches!(problem, Problem::Down(_));
        let failure = problem.of(WHO, &self.url, WHEN_REFUSED);
        if is_down { LogFailure::Down(failure) } else { LogFailure::Final(failure) }
    }
}

/// Why there is no entry.
pub(super) enum LogFailure {
    /// The log is down: another one may do, or a later time.
    Down(Failure),
    /// It would not be otherwise later.
    Final(Failure),
}

/// The name of an entry at the end of a `Location` on the log itself: hex, of a tree and a leaf, or of a leaf.
fn entry_name(location: &str) -> Option<&str> {
    let (_, name) = location.rsplit_once('/')?;
    (matches!(name.len(), 64 | 80) && name.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(name)
}

impl Proposal<'_> {
    /// `ProposedEntry` of version 1: `dsse` for envelopes, `hashedrekord` for artifacts.
    fn first(&self) -> Result<Value, Failure> {
        let maker = STANDARD.encode(self.maker_pem());
        match self.content {
            BundleContent::Envelope { payload_type, payload } => {
                let envelope = envelope(payload_type, payload, self.signature).to_string();
                let proposed = json!({"envelope": envelope, "verifiers": [maker]});
                Ok(json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": proposed}}))
            }
            BundleContent::Message(_) => {
                let (algorithm, digest) = self.hashed()?;
                let value: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let spec = json!({
                    "data": {"hash": {"algorithm": algorithm, "value": value}},
                    "signature": {"content": STANDARD.encode(self.signature), "publicKey": {"content": maker}},
                });
                Ok(json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}))
            }
        }
    }

    /// `CreateEntryRequest` of version 2: `hashedrekord` over the bytes under the signature, as cosign 3 enters
    /// envelopes, too.
    fn second(&self) -> Result<Value, Failure> {
        let key_details = match self.key.kind() {
            KeyKind::EcdsaP256 => "PKIX_ECDSA_P256_SHA_256",
            KeyKind::EcdsaP384 => "PKIX_ECDSA_P384_SHA_384",
            // Without a digest there is no entry: see below.
            KeyKind::Ed25519 => "PKIX_ED25519",
            KeyKind::Rsa2048 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            KeyKind::Rsa3072 => "PKIX_RSA_PKCS1V15_3072_SHA256",
            KeyKind::Rsa4096 => "PKIX_RSA_PKCS1V15_4096_SHA256",
        };
        let (kind, der) = match self.maker {
            BundleMaker::Certificate(der) => ("x509Certificate", der),
            BundleMaker::Key(key) => ("publicKey", key.spki()),
        };
        let verifier = json!({kind: {"rawBytes": STANDARD.encode(der)}, "keyDetails": key_details});
        let (_, digest) = self.hashed()?;
        let signature = json!({"content": STANDARD.encode(self.signature), "verifier": verifier});
        Ok(json!({"hashedRekordRequestV002": {"digest": STANDARD.encode(digest), "signature": signature}}))
    }

    /// The digest under the signature.
    fn hashed(&self) -> Result<(&'static str, Vec<u8>), Failure> {
        let algorithm = Algorithm::written(self.key.kind(), Format::SigstoreBundle)?;
        let name = if algorithm == Algorithm::EcdsaSha384 { "sha384" } else { "sha256" };
        let digest = algorithm.digest(self.message).ok_or_else(|| {
            let hint =
                "sign with a key of another kind; version 1 of Rekor takes envelopes of Ed25519 keys, and no files";
            Failure::new(Exit::Usage, "an Ed25519 signature cannot be entered: it is over no digest", hint)
        })?;
        Ok((name, digest.as_ref().to_vec()))
    }

    fn maker_pem(&self) -> String {
        match self.maker {
            BundleMaker::Key(key) => key.to_pem(),
            BundleMaker::Certificate(der) => {
                pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
            }
        }
    }
}

/// An envelope as DSSE writes it in JSON.
fn envelope(payload_type: &str, payload: &[u8], signature: &[u8]) -> Value {
    let signature = json!({"sig": STANDARD.encode(signature), "keyid": ""});
    json!({"payload": STANDARD.encode(payload), "payloadType": payload_type, "signatures": [signature]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_follow_a_location_to_anything_but_an_entry() {
        let (leaf, entry) = ("a".repeat(64), "0".repeat(80));
        assert_eq!(entry_name(&format!("/api/v1/log/entries/{leaf}")), Some(leaf.as_str()));
        assert_eq!(entry_name(&format!("https://other.example/api/{entry}")), Some(entry.as_str()));
        for bad in ["", "/", "/api/v1/log/entries/..", "/api/v1/log/entries/%2e", &format!("/x/{leaf}?a=b"), &leaf] {
            assert_eq!(entry_name(bad), None, "{bad}");
        }
    }
}
