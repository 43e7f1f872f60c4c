//! What a log entry is about. Each kind is bound to this signature, this key and what was signed: an entry that belongs
//! to another signature vouches for nothing (CVE-2022-36056).

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::image::Digest;

/// What an entry must be about.
pub(super) struct Subject<'a> {
    pub(super) signature: &'a [u8],
    /// What timestamps must be about.
    pub(super) timestamped: &'a [u8],
    /// Type and payload, where an envelope was signed.
    pub(super) envelope: Option<(&'a str, &'a [u8])>,
    /// The exact bytes under the signature, where they are at hand.
    pub(super) message: Option<&'a [u8]>,
    /// The artifact's digest, where only that is at hand.
    pub(super) message_digest: Option<Digest>,
    pub(super) maker: MakerBytes<'a>,
}

/// The exact bytes of what made a signature.
#[derive(Clone, Copy)]
pub(super) enum MakerBytes<'a> {
    Certificate(&'a [u8]),
    Spki(&'a [u8]),
}

/// A mismatch, as a clause.
type Mismatch = String;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    #[serde(borrow)]
    spec: &'a serde_json::value::RawValue,
}

/// Whether a body of the claimed kind is about `subject`.
pub(super) fn check(body: &[u8], kind: &str, version: &str, subject: &Subject<'_>) -> Result<(), Mismatch> {
    let envelope: Envelope<'_> = read(body)?;
    if envelope.kind != kind || envelope.api_version != version {
        return Err("it is of another kind than the bundle says".to_owned());
    }
    let spec = envelope.spec.get().as_bytes();
    match (kind, version) {
        ("hashedrekord", "0.0.1") => read::<HashedRekordV1>(spec)?.check(subject),
        ("hashedrekord", "0.0.2") => read::<HashedRekordV2Spec>(spec)?.hashed_rekord_v002.check(subject),
        ("dsse", "0.0.1") => read::<DsseV1>(spec)?.check(subject),
        ("dsse", "0.0.2") => read::<DsseV2Spec>(spec)?.dsse_v002.check(subject),
        ("intoto", "0.0.2") => read::<InTotoV2>(spec)?.content.check(subject),
        _ => Err(format!("entries of kind `{kind}` version `{version}` are not known")),
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Mismatch> {
    serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))
}

fn decode(text: &str) -> Result<Vec<u8>, Mismatch> {
    STANDARD.decode(text).map_err(|_| "it holds something that is not base64".to_owned())
}

fn same_signature(found: &[u8], subject: &Subject<'_>) -> Result<(), Mismatch> {
    if found == subject.signature { Ok(()) } else { Err("it is about another signature".to_owned()) }
}

/// A maker in PEM (Rekor v1): of the certificate or of the key. npm's has all of its base64 in one line, so only the
/// bytes are compared, not the lines.
fn same_pem(pem: &[u8], subject: &Subject<'_>) -> Result<(), Mismatch> {
    let text = std::str::from_utf8(pem).map_err(|_| "its key is not PEM".to_owned())?;
    let block = |label: &str| {
        let text = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
        let base64: String = text.strip_suffix(&format!("-----END {label}-----"))?.split_whitespace().collect();
        STANDARD.decode(base64).ok()
    };
    let found = match subject.maker {
        MakerBytes::Certificate(der) => block("CERTIFICATE").is_some_and(|found| found == der),
        MakerBytes::Spki(der) => block("PUBLIC KEY").is_some_and(|found| found == der),
    };
    if found { Ok(()) } else { Err("it is about another certificate or key".to_owned()) }
}

/// That a digest is of the bytes under the signature.
fn same_message(algorithm: &str, found: &[u8], subject: &Subject<'_>) -> Result<(), Mismatch> {
    let other = || "it is about something else than was signed".to_owned();
    let expected = match (subject.message, subject.message_digest) {
        (Some(message), _) => match_digest(algorithm, message)?,
        (None, Some(digest)) if algorithm == digest.algorithm() => hex::decode(digest.encoded()).unwrap_or_default(),
        _ => {
            return Err(
                "only the artifact itself tells whether it is about it: give the file, not its digest".to_owned()
            );
        }
    };
    if expected == found { Ok(()) } else { Err(other()) }
}

fn match_digest(algorithm: &str, message: &[u8]) -> Result<Vec<u8>, Mismatch> {
    let algorithm = match algorithm {
        "sha256" => &SHA256,
        "sha384" => &SHA384,
        "sha512" => &SHA512,
        _ => return Err("its digest is of an algorithm that is not known".to_owned()),
    };
    Ok(digest(algorithm, message).as_ref().to_vec())
}

/// That a SHA-256 in hex is of the envelope's payload.
fn same_payload(hash: &HexHash, subject: &Subject<'_>) -> Result<(), Mismatch> {
    let Some((_, payload)) = subject.envelope else {
        return Err("it is about an envelope, and the bundle holds none".to_owned());
    };
    let found = hex::decode(&hash.value).unwrap_or_default();
    if hash.algorithm == "sha256" && found == digest(&SHA256, payload).as_ref() {
        return Ok(());
    }
    Err("it is about another payload".to_owned())
}

#[derive(Deserialize)]
struct HexHash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct HashedRekordV1 {
    data: DataV1,
    signature: SignatureV1,
}

#[derive(Deserialize)]
struct DataV1 {
    hash: HexHash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureV1 {
    content: String,
    public_key: ContentV1,
}

#[derive(Deserialize)]
struct ContentV1 {
    content: String,
}

impl HashedRekordV1 {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Mismatch> {
        same_signature(&decode(&self.signature.content)?, subject)?;
        same_pem(&decode(&self.signature.public_key.content)?, subject)?;
        let found = hex::decode(&self.data.hash.value).map_err(|_| "its digest is not hex".to_owned())?;
        same_message(&self.data.hash.algorithm, &found, subject)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedRekordV2Spec {
    hashed_rekord_v002: HashedRekordV2,
}

#[derive(Deserialize)]
struct HashedRekordV2 {
    data: DigestV2,
    signature: SignatureV2,
}

#[derive(Deserialize)]
struct DigestV2 {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
struct SignatureV2 {
    content: String,
    verifier: VerifierV2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerifierV2 {
    x509_certificate: Option<RawBytes>,
    public_key: Option<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    raw_bytes: String,
}

impl SignatureV2 {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Mismatch> {
        same_signature(&decode(&self.content)?, subject)?;
        let (found, expected) = match (&self.verifier.x509_certificate, &self.verifier.public_key, subject.maker) {
            (Some(found), None, MakerBytes::Certificate(der)) => (found, der),
            (None, Some(found), MakerBytes::Spki(der)) => (found, der),
            _ => return Err("it is about another certificate or key".to_owned()),
        };
        if decode(&found.raw_bytes)? == expected {
            Ok(())
        } else {
            Err("it is about another certificate or key".to_owned())
        }
    }
}

impl DigestV2 {
    fn algorithm(&self) -> Result<&'static str, Mismatch> {
        match self.algorithm.as_str() {
            "SHA2_256" => Ok("sha256"),
            "SHA2_384" => Ok("sha384"),
            "SHA2_512" => Ok("sha512"),
            _ => Err("its digest is of an algorithm that is not known".to_owned()),
        }
    }
}

impl HashedRekordV2 {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Mismatch> {
        self.signature.check(subject)?;
        same_message(self.data.algorithm()?, &decode(&self.data.digest)?, subject)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DsseV1 {
    payload_hash: HexHash,
    signatures: Vec<DsseSignatureV1>,
}

#[derive(Deserialize)]
struct DsseSignatureV1 {
    signature: String,
    verifier: String,
}

impl DsseV1 {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Mismatch> {
        let [signature] = self.signatures.as_slice() else {
            return Err("it is about several signatures".to_owned());
        };
        same_signature(&decode(&signature.signature)?, subject)?;
        same_pem(&decode(&signature.verifier)?, subject)?;
        same_payload(&self.payload_hash, subject)
    }
}

#[derive(Deserialize)]
struct DsseV2Spec {
    #[serde(rename = "dsseV002")]
    dsse_v002: DsseV2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DsseV2 {
    payload_hash: DigestV2,
    signatures: Vec<SignatureV2>,
}

impl DsseV2 {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Mismatch> {
        let [signature] = self.signatures.as_slice() else {
            return Err("it is about several signatures".to_owned());
        };
        signature.check(subject)?;
        let value = hex::encode(decode(&self.payload_hash.digest)?);
        same_payload(&HexHash { algorithm: self.payload_hash.algorithm()?.to_owned(), value }, subject)
    }
}

#[derive(Deserialize)]
struct InTotoV2 {
    content: InTotoContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InTotoContent {
    envelope: InTotoEnvelope,
    payload_hash: HexHash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InTotoEnvelope {
    payload_type: String,
    signatures: Vec<InTotoSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InTotoSignature {
    sig: String,
    public_key: String,
}

impl InTotoContent {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Mismatch> {
        let [signature] = self.envelope.signatures.as_slice() else {
            return Err("it is about several signatures".to_owned());
        };
        // Rekor encodes the envelope's own base64 once more.
        let inner = decode(&signature.sig)?;
        let inner = std::str::from_utf8(&inner).map_err(|_| "its signature is not text".to_owned())?;
        same_signature(&decode(inner)?, subject)?;
        same_pem(&decode(&signature.public_key)?, subject)?;
        let Some((payload_type, _)) = subject.envelope else {
            return Err("it is about an envelope, and the bundle holds none".to_owned());
        };
        if payload_type != self.envelope.payload_type {
            return Err("it is about a payload of another type".to_owned());
        }
        same_payload(&self.payload_hash, subject)
    }
}
