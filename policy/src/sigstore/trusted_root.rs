//! Trusted roots (`sigstore_trustroot.proto` of protobuf-specs): whom to believe, and for which time.
//!
//! A root that cannot be read in full is refused in full: a part that is left out is a part that an attacker chose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;

use super::certificate::Issuers;
use crate::image::Digest;
use crate::limits;
use crate::verify::{CertificateChain, PublicKey};

/// Whom to believe.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    digest: Digest,
    pub(super) authorities: Vec<CertificateAuthority>,
    pub(super) logs: Vec<Log>,
    pub(super) certificate_logs: Vec<Log>,
    pub(super) timestamp_authorities: Vec<TimestampService>,
}

/// Somebody whom a trusted root believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What they do.
    pub kind: MemberKind,
    /// Their address, or the name of the certificate.
    pub name: String,
    /// From when on they are believed.
    pub from: Timestamp,
    /// Until when, that moment included; none is open.
    pub until: Option<Timestamp>,
    /// Their certificates: name, first and last moment of validity.
    pub certificates: Vec<(String, Timestamp, Timestamp)>,
}

impl Member {
    fn new(kind: MemberKind, name: String, window: Window, certificates: Vec<(String, Timestamp, Timestamp)>) -> Self {
        Self { kind, name, from: window.start, until: window.end, certificates }
    }

    /// Whether they are believed at a time, and all their certificates are valid then.
    #[must_use]
    pub fn is_current(&self, at: Timestamp) -> bool {
        let valid = |(_, from, until): &(String, Timestamp, Timestamp)| *from <= at && at <= *until;
        Window { start: self.from, end: self.until }.covers(at) && self.certificates.iter().all(valid)
    }
}

/// What somebody does whom a trusted root believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// Issues certificates.
    CertificateAuthority,
    /// Publishes certificates.
    CertificateLog,
    /// Publishes signatures.
    Log,
    /// Says when it saw a signature.
    TimestampAuthority,
}

impl MemberKind {
    /// The words of reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate-authority",
            Self::CertificateLog => "certificate-log",
            Self::Log => "log",
            Self::TimestampAuthority => "timestamp-authority",
        }
    }
}

/// Why a document is not a trusted root that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TrustedRootError {
    /// What is wrong, as a clause that names the place.
    pub problem: String,
}

/// A certificate authority, and when it is believed.
#[derive(Debug, Clone)]
pub(super) struct CertificateAuthority {
    pub(super) issuers: Issuers,
    pub(super) window: Window,
}

/// A timestamp authority, and when it is believed.
#[derive(Debug, Clone)]
pub(super) struct TimestampService {
    pub(super) name: String,
    pub(super) chain: CertificateChain,
    pub(super) window: Window,
}

/// From and to, both included (`TimeRange` of protobuf-specs: a closed interval).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
}

impl Window {
    pub(super) fn covers(&self, time: Timestamp) -> bool {
        self.start <= time && self.end.is_none_or(|end| time <= end)
    }
}

/// A transparency log or a certificate transparency log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    name: String,
    id: Vec<u8>,
    checkpoint_hint: [u8; 4],
    key: LogKey,
    pub(super) window: Window,
}

/// A log's key. An old log of the staging instance has a bare RSA key.
#[derive(Debug, Clone)]
enum LogKey {
    Spki(PublicKey),
    BareRsa(Vec<u8>),
}

impl Log {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(super) fn checkpoint_hint(&self) -> [u8; 4] {
        self.checkpoint_hint
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            LogKey::Spki(key) => key.verifies(message, signature),
            LogKey::BareRsa(key) => {
                let algorithm = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
                aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
            }
        }
    }
}

impl TrustedRoot {
    /// Reads a trusted root in JSON.
    ///
    /// # Errors
    /// [`TrustedRootError`] when any part of it cannot be read, has no start, or has a key of a kind that is not accepted.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustedRootError> {
        Self::read(bytes).map_err(|problem| TrustedRootError { problem })
    }

    /// The root of the public-good instance as it was when this program was built.
    ///
    /// # Errors
    /// [`TrustedRootError`] never, unless the program was built with a root that it does not accept.
    pub fn public_good() -> Result<Self, TrustedRootError> {
        Self::parse(include_bytes!("../../data/trusted_root.production.json"))
    }

    /// The root of the staging instance as it was when this program was built.
    ///
    /// # Errors
    /// As for [`TrustedRoot::public_good`].
    pub fn staging() -> Result<Self, TrustedRootError> {
        Self::parse(include_bytes!("../../data/trusted_root.staging.json"))
    }

    /// The root of GitHub's own instance, which signs what workflows attest in private repositories, as it was when this
    /// program was built.
    ///
    /// # Errors
    /// As for [`TrustedRoot::public_good`].
    pub fn github() -> Result<Self, TrustedRootError> {
        Self::parse(include_bytes!("../../data/trusted_root.github.json"))
    }

    /// The document's digest, which names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether its authorities publish certificates, so that a certificate without that promise is not one of theirs.
    #[must_use]
    pub fn publishes_certificates(&self) -> bool {
        !self.certificate_logs.is_empty()
    }

    /// How many distinct logs, timestamp authorities and certificate logs it has: more can never vouch.
    #[must_use]
    pub fn vouchers(&self) -> [usize; 3] {
        let logs = |logs: &[Log]| distinct(logs.iter().map(Log::name));
        let services = self.timestamp_authorities.iter().map(|service| service.name.as_str());
        [logs(&self.logs), distinct(services), logs(&self.certificate_logs)]
    }

    /// Everybody whom it believes, in the order of the document, kind by kind: to show, never to trust.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let log = |kind: MemberKind| move |log: &Log| Member::new(kind, log.name.clone(), log.window, Vec::new());
        let authority = |authority: &CertificateAuthority| {
            let certificates = authority.issuers.described();
            let name = certificates.first().map(|(name, ..)| name.clone()).unwrap_or_default();
            Member::new(MemberKind::CertificateAuthority, name, authority.window, certificates)
        };
        let service = |service: &TimestampService| {
            let (name, certificates) = (service.name.clone(), service.chain.described());
            Member::new(MemberKind::TimestampAuthority, name, service.window, certificates)
        };
        let mut members: Vec<Member> = self.authorities.iter().map(authority).collect();
        members.extend(self.certificate_logs.iter().map(log(MemberKind::CertificateLog)));
        members.extend(self.logs.iter().map(log(MemberKind::Log)));
        members.extend(self.timestamp_authorities.iter().map(service));
        members
    }

    /// How many certificate authorities it has, and how many timestamp authorities, each with its chain: what a
    /// signature costs to check.
    pub(crate) fn chains(&self) -> [usize; 2] {
        [self.authorities.len(), self.timestamp_authorities.len()]
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > limits::MAX_TRUSTED_ROOT_BYTES {
            return Err(format!("it is larger than {} bytes", limits::MAX_TRUSTED_ROOT_BYTES));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !wire.media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return Err("its media type is not that of a trusted root".to_owned());
        }
        let parts = [&wire.tlogs.len(), &wire.ctlogs.len(), &wire.certificate_authorities.len()];
        if parts.into_iter().chain([&wire.timestamp_authorities.len()]).any(|count| *count > limits::MAX_TRUST_ANCHORS)
        {
            return Err(format!("a list in it has more than {} elements", limits::MAX_TRUST_ANCHORS));
        }
        let authority = |(place, authority): (usize, &WireAuthority)| {
            let at = |problem: String| format!("certificateAuthorities[{place}]: {problem}");
            let issuers = Issuers::from_der(authority.certificates().map_err(at)?).map_err(at)?;
            Ok::<_, String>(CertificateAuthority { issuers, window: authority.valid_for.window().map_err(at)? })
        };
        let service = |(place, authority): (usize, &WireAuthority)| {
            let at = |problem: String| format!("timestampAuthorities[{place}]: {problem}");
            let chain = CertificateChain::from_der(authority.certificates().map_err(at)?);
            let chain = chain.map_err(|error| at(error.problem))?;
            let window = authority.valid_for.window().map_err(at)?;
            let name =
                if authority.uri.is_empty() { format!("timestamp authority {place}") } else { authority.uri.clone() };
            Ok::<_, String>(TimestampService { name, chain, window })
        };
        let logs = |field: &'static str, logs: &[WireLog]| -> Result<Vec<Log>, String> {
            let read =
                |(place, log): (usize, &WireLog)| log.read().map_err(|problem| format!("{field}[{place}]: {problem}"));
            logs.iter().enumerate().map(read).collect()
        };
        Ok(Self {
            digest: Digest::of(bytes),
            authorities: wire.certificate_authorities.iter().enumerate().map(authority).collect::<Result<_, _>>()?,
            logs: logs("tlogs", &wire.tlogs)?,
            certificate_logs: logs("ctlogs", &wire.ctlogs)?,
            timestamp_authorities: wire
                .timestamp_authorities
                .iter()
                .enumerate()
                .map(service)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<WireLog>,
    #[serde(default)]
    certificate_authorities: Vec<WireAuthority>,
    #[serde(default)]
    ctlogs: Vec<WireLog>,
    #[serde(default)]
    timestamp_authorities: Vec<WireAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuthority {
    #[serde(default)]
    uri: String,
    cert_chain: WireChain,
    valid_for: WireWindow,
}

#[derive(Deserialize)]
struct WireChain {
    certificates: Vec<WireBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBytes {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct WireWindow {
    start: String,
    end: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    #[serde(default)]
    base_url: String,
    hash_algorithm: String,
    public_key: WireKey,
    log_id: WireLogId,
    checkpoint_key_id: Option<WireLogId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    raw_bytes: String,
    key_details: String,
    valid_for: WireWindow,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLogId {
    key_id: String,
}

impl WireAuthority {
    fn certificates(&self) -> Result<Vec<Vec<u8>>, String> {
        self.cert_chain.certificates.iter().map(|certificate| decode(&certificate.raw_bytes)).collect()
    }
}

impl WireWindow {
    fn window(&self) -> Result<Window, String> {
        let time = |text: &str| text.parse::<Timestamp>().map_err(|error| format!("validFor: {error}"));
        let window = Window { start: time(&self.start)?, end: self.end.as_deref().map(time).transpose()? };
        if window.end.is_some_and(|end| end < window.start) {
            return Err("validFor: it ends before it starts".to_owned());
        }
        Ok(window)
    }
}

impl WireLog {
    fn read(&self) -> Result<Log, String> {
        if self.hash_algorithm != "SHA2_256" {
            return Err("its hash algorithm is not SHA2_256".to_owned());
        }
        let bytes = decode(&self.public_key.raw_bytes)?;
        let spki = |bytes: &[u8]| PublicKey::from_spki(bytes).map(LogKey::Spki).map_err(|error| error.to_string());
        let key = match self.public_key.key_details.as_str() {
            "PKIX_ECDSA_P256_SHA_256"
            | "PKIX_ECDSA_P384_SHA_384"
            | "PKIX_ED25519"
            | "PKIX_RSA_PKCS1V5"
            | "PKIX_RSA_PKCS1V15_2048_SHA256"
            | "PKIX_RSA_PKCS1V15_3072_SHA256"
            | "PKIX_RSA_PKCS1V15_4096_SHA256" => spki(&bytes)?,
            "PKCS1_RSA_PKCS1V5" => LogKey::BareRsa(bytes),
            _ => return Err("the kind of its key is not accepted".to_owned()),
        };
        let id = decode(&self.log_id.key_id)?;
        let hint = self.checkpoint_key_id.as_ref().map(|id| decode(&id.key_id)).transpose()?;
        let hint = hint.as_deref().unwrap_or(&id).first_chunk::<4>().copied().ok_or("its id is too short")?;
        let name = if self.base_url.is_empty() { hex::encode(&id) } else { self.base_url.clone() };
        Ok(Log { name, id, checkpoint_hint: hint, key, window: self.public_key.valid_for.window()? })
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.collect::<std::collections::BTreeSet<_>>().len()
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("not base64: {error}"))
}
