//! One bundle, checked in full.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use jiff::{SignedDuration, Timestamp};

use super::body::{MakerBytes, Subject};
use super::bundle::{Maker, Signed, UnverifiedBundle};
use super::certificate::Leaf;
use super::entry::{self, Strictness};
use super::identity::{Identity, IdentityExpectation};
use super::sct;
use super::trusted_root::{Log, TrustedRoot};
use crate::image::Digest;
use crate::limits;
use crate::reason::Code;
use crate::signature::{ClaimFault, pre_authentication_encoding, subject_digests};
use crate::verify::{KeyId, PublicKey, verify_timestamp};

/// How many must vouch. What is missing is never made up for by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// Distinct transparency logs that hold an entry of exactly this signature.
    pub logs: usize,
    /// Distinct timestamp authorities that saw exactly this signature.
    pub timestamps: usize,
    /// Distinct certificate logs that promised to publish the certificate. Keys have none.
    pub certificate_logs: usize,
    /// How far a time may lie ahead of `now`, for clocks that differ.
    pub skew: SignedDuration,
}

impl Demands {
    /// What the public-good instance gives with every signature: one log, one certificate log.
    pub const PUBLIC_GOOD: Self = Self { logs: 1, timestamps: 0, certificate_logs: 1, skew: SignedDuration::ZERO };
}

/// Who must have signed.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// Somebody whom an authority checked.
    Identity(&'a IdentityExpectation),
    /// The holder of this key.
    Key(&'a PublicKey),
}

/// What must have been signed.
#[derive(Debug, Clone, Copy)]
pub enum Artifact<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The bytes with this digest.
    Digest(Digest),
}

/// Who signed, as verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Whom the certificate is about.
    Identity(Identity),
    /// The key.
    Key(KeyId),
}

/// A moment at which the signature existed, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub time: Timestamp,
    /// The log or the timestamp authority.
    pub by: String,
}

/// A bundle that was checked in full. Only [`verify_bundle`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBundle {
    signer: Signer,
    seen: Vec<Seen>,
    logs: Vec<String>,
    certificate_logs: Vec<String>,
}

impl VerifiedBundle {
    /// Who signed.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The moments at which it was seen, by logs and timestamp authorities.
    #[must_use]
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// The distinct logs that hold an entry of it.
    #[must_use]
    pub fn logs(&self) -> &[String] {
        &self.logs
    }

    /// The distinct certificate logs that promised to publish its certificate.
    #[must_use]
    pub fn certificate_logs(&self) -> &[String] {
        &self.certificate_logs
    }
}

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason code.
    pub code: Code,
    /// What is wrong, as a sentence without its full stop.
    pub message: String,
}

fn refuse<T>(code: Code, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// Checks a bundle: signature, certificate, logs, timestamps, identity, and what it is about.
///
/// # Errors
/// [`Refusal`] with the code of the first thing that is wrong. There is no partial success.
pub fn verify_bundle(
    bundle: &UnverifiedBundle,
    artifact: Artifact<'_>,
    who: Who<'_>,
    root: &TrustedRoot,
    demands: &Demands,
    now: Timestamp,
) -> Result<VerifiedBundle, Refusal> {
    let untrusted = |problem: String| Refusal {
        code: Code::CertificateUntrusted,
        message: format!("the signing certificate is not trusted: {problem}"),
    };
    let leaf = match (&bundle.maker, who) {
        (Maker::Certificate(der), Who::Identity(_)) => Some(Leaf::read(der).map_err(untrusted)?),
        (Maker::Key, Who::Key(_)) => None,
        (Maker::Key, Who::Identity(_)) => {
            return refuse(Code::CertificateUntrusted, "it was made by a key, and has no certificate");
        }
        (Maker::Certificate(_), Who::Key(_)) => {
            return refuse(
                Code::UntrustedKey,
                "it was made by the key of a certificate, not by the key that is asked for",
            );
        }
    };
    let key = match (&leaf, who) {
        (Some(leaf), _) => &leaf.key,
        (None, Who::Key(key)) => key,
        (None, Who::Identity(_)) => return refuse(Code::CertificateUntrusted, "it has no certificate"),
    };
    let maker = match (&bundle.maker, who) {
        (Maker::Certificate(der), _) => MakerBytes::Certificate(der),
        (Maker::Key, _) => MakerBytes::Spki(key.spki()),
    };
    check_signature(bundle, artifact, key)?;
    let envelope;
    let (message, message_digest) = match (&bundle.signed, artifact) {
        (Signed::Envelope { payload_type, payload, .. }, _) => {
            envelope = pre_authentication_encoding(payload_type, payload);
            (Some(envelope.as_slice()), None)
        }
        (Signed::Message { .. }, Artifact::Bytes(bytes)) => (Some(bytes), None),
        (Signed::Message { .. }, Artifact::Digest(digest)) => (None, Some(digest)),
    };
    let subject = Subject { signed: &bundle.signed, message, message_digest, maker };
    let mut vouchers = logged(bundle, &subject, root, demands, now)?;
    let (services, problem) = timestamped(bundle, root, demands, now);
    // Whoever speaks twice is still one.
    let distinct = services.iter().map(|seen| &seen.by).collect::<BTreeSet<_>>().len();
    if distinct < demands.timestamps {
        let seen = format!("{distinct} of {} distinct timestamp authorities vouch for it", demands.timestamps);
        return match problem {
            Some(problem) => refuse(Code::TimestampUntrusted, format!("{seen}: {problem}")),
            None => refuse(Code::TimestampMissing, seen),
        };
    }
    vouchers.seen.extend(services);
    check_windows(&vouchers)?;
    let (signer, certificate_logs) = match (&leaf, who) {
        (Some(leaf), Who::Identity(expected)) => {
            let (identity, logs) = certified(leaf, expected, root, demands, &vouchers.seen, problem)?;
            (Signer::Identity(identity), logs)
        }
        _ => (Signer::Key(key.id()), Vec::new()),
    };
    check_about(bundle, artifact)?;
    Ok(VerifiedBundle { signer, seen: vouchers.seen, logs: vouchers.logs, certificate_logs })
}

struct Vouchers<'a> {
    seen: Vec<Seen>,
    logs: Vec<String>,
    /// Logs whose entries say no time of their own.
    timeless: Vec<&'a Log>,
}

/// A log that says no time (Rekor v2) must be believed when the signature was first seen by somebody else: what a
/// retired key of a log signs later counts for nothing.
fn check_windows(vouchers: &Vouchers<'_>) -> Result<(), Refusal> {
    let Some(first) = vouchers.seen.iter().map(|seen| seen.time).min() else { return Ok(()) };
    match vouchers.timeless.iter().find(|log| !log.window.covers(first)) {
        Some(log) => refuse(Code::LogEntryInvalid, format!("the log `{}` is not believed at {first}", log.name())),
        None => Ok(()),
    }
}

/// The entries of trusted logs. One that does not verify is somebody's forgery: it refuses the bundle.
fn logged<'a>(
    bundle: &UnverifiedBundle,
    subject: &Subject<'_>,
    root: &'a TrustedRoot,
    demands: &Demands,
    now: Timestamp,
) -> Result<Vouchers<'a>, Refusal> {
    let latest = now.saturating_add(demands.skew).unwrap_or(now);
    let strictness = Strictness { promise_is_enough: bundle.promise_is_enough, latest };
    let mut vouchers = Vouchers { seen: Vec::new(), logs: Vec::new(), timeless: Vec::new() };
    for (place, entry) in bundle.entries.iter().enumerate() {
        let verified = entry::verify(entry, subject, root, strictness);
        let verified = verified.map_err(|problem| Refusal {
            code: Code::LogEntryInvalid,
            message: format!("log entry {} does not vouch for this signature: {problem}", place + 1),
        })?;
        let Some(verified) = verified else { continue };
        let name = verified.log.name().to_owned();
        match verified.time {
            Some(time) => vouchers.seen.push(Seen { time, by: name.clone() }),
            None => vouchers.timeless.push(verified.log),
        }
        if !vouchers.logs.contains(&name) {
            vouchers.logs.push(name);
        }
    }
    if vouchers.logs.len() < demands.logs {
        let (found, carried) = (vouchers.logs.len(), bundle.entries.len());
        let seen = format!("{found} of {} distinct trusted logs hold an entry of it", demands.logs);
        return refuse(Code::LogEntryMissing, format!("{seen}, and it carries {carried}"));
    }
    Ok(vouchers)
}

/// What trusted timestamp authorities say, each as often as it says it: every time is held against the certificate. A
/// timestamp of somebody who is not trusted here says nothing, and harms nothing.
fn timestamped(
    bundle: &UnverifiedBundle,
    root: &TrustedRoot,
    demands: &Demands,
    now: Timestamp,
) -> (Vec<Seen>, Option<String>) {
    let latest = now.saturating_add(demands.skew).unwrap_or(now);
    let mut seen: Vec<Seen> = Vec::new();
    let mut problem = None;
    let mut checks_left = limits::MAX_TIMESTAMP_CHECKS;
    for response in &bundle.timestamps {
        for service in &root.timestamp_authorities {
            let Some(left) = checks_left.checked_sub(1) else {
                let most = limits::MAX_TIMESTAMP_CHECKS;
                return (seen, Some(format!("no more than {most} pairs of timestamp and authority are looked at")));
            };
            checks_left = left;
            match verify_timestamp(response, bundle.signed.signature(), &service.chain) {
                Ok(time) if !service.window.covers(time) => {
                    problem = Some(format!("`{}` is not believed at {time}", service.name));
                }
                Ok(time) if time > latest => problem = Some(format!("its time {time} has not come yet")),
                Ok(time) => seen.push(Seen { time, by: service.name.clone() }),
                Err(why) => {
                    problem.get_or_insert(why);
                }
            }
        }
    }
    (seen, problem)
}

/// The certificate: issued by a trusted authority, valid whenever it was seen, published, and about whom it must be.
fn certified(
    leaf: &Leaf,
    expected: &IdentityExpectation,
    root: &TrustedRoot,
    demands: &Demands,
    seen: &[Seen],
    problem: Option<String>,
) -> Result<(Identity, Vec<String>), Refusal> {
    let untrusted = |problem: String| Refusal {
        code: Code::CertificateUntrusted,
        message: format!("the signing certificate is not trusted: {problem}"),
    };
    if seen.is_empty() {
        let code = if problem.is_some() { Code::TimestampUntrusted } else { Code::TimestampMissing };
        let because = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        return refuse(code, format!("nobody who is trusted says when it was made{because}"));
    }
    let times: Vec<Timestamp> = seen.iter().map(|seen| seen.time).collect();
    let issuers = leaf.issuer(root, &times).map_err(untrusted)?;
    let logs = sct::vouchers(leaf, issuers, root).map_err(untrusted)?;
    if logs.len() < demands.certificate_logs {
        let (found, demanded) = (logs.len(), demands.certificate_logs);
        return Err(untrusted(format!("{found} of {demanded} distinct certificate logs promised to publish it")));
    }
    let identity = Identity::read(&leaf.certificate.content).map_err(untrusted)?;
    expected.check(&identity).map_err(|message| Refusal { code: Code::IdentityMismatch, message })?;
    Ok((identity, logs))
}

fn check_signature(bundle: &UnverifiedBundle, artifact: Artifact<'_>, key: &PublicKey) -> Result<(), Refusal> {
    let verifies = match (&bundle.signed, artifact) {
        (Signed::Envelope { payload_type, payload, signature }, _) => {
            key.verifies(&pre_authentication_encoding(payload_type, payload), signature)
        }
        (Signed::Message { signature, digest: claimed }, Artifact::Bytes(bytes)) => {
            // What the bundle says of the artifact is compared, so that a wrong artifact is told from a wrong signature.
            if let Some(("sha256", claimed)) = claimed
                && claimed != digest(&SHA256, bytes).as_ref()
            {
                return refuse(Code::DigestMismatch, "it is about another artifact");
            }
            key.verifies(bytes, signature)
        }
        (Signed::Message { signature, digest: claimed }, Artifact::Digest(digest)) => {
            if let Some((algorithm, claimed)) = claimed
                && (*algorithm != digest.algorithm() || hex::encode(claimed) != digest.encoded())
            {
                return refuse(Code::DigestMismatch, "it is about another artifact");
            }
            match verifies_digest(key, &digest, signature) {
                Some(verifies) => verifies,
                None => {
                    let why =
                        "a signature of this kind of key can only be checked with the artifact itself, not its digest";
                    return refuse(Code::Unsupported, why);
                }
            }
        }
    };
    if verifies { Ok(()) } else { refuse(Code::SignatureInvalid, "the signature does not verify") }
}

/// Whether a signature is over the artifact with this digest; nothing where only the artifact itself could tell.
fn verifies_digest(key: &PublicKey, digest: &Digest, signature: &[u8]) -> Option<bool> {
    if digest.algorithm() != "sha256" {
        return None;
    }
    key.verifies_sha256(&hex::decode(digest.encoded()).ok()?, signature)
}

/// That a verified envelope is about the artifact.
fn check_about(bundle: &UnverifiedBundle, artifact: Artifact<'_>) -> Result<(), Refusal> {
    let Signed::Envelope { payload_type, payload, .. } = &bundle.signed else { return Ok(()) };
    let subjects = match subject_digests(payload_type, payload) {
        Ok(subjects) => subjects,
        Err(ClaimFault::Malformed { problem }) => {
            return refuse(Code::Malformed, format!("the statement cannot be read: {problem}"));
        }
        Err(ClaimFault::PayloadType { .. } | ClaimFault::PredicateType { .. }) => {
            let why = "what was signed is not an in-toto statement of a version that is known";
            return refuse(Code::PayloadTypeMismatch, why);
        }
    };
    if subjects.len() > limits::MAX_SUBJECTS {
        return refuse(Code::LimitExceeded, format!("the statement has more than {} subjects", limits::MAX_SUBJECTS));
    }
    let digests = match artifact {
        Artifact::Bytes(bytes) => {
            vec![("sha256", hex::encode(digest(&SHA256, bytes))), ("sha512", hex::encode(digest(&SHA512, bytes)))]
        }
        Artifact::Digest(digest) => vec![(digest.algorithm(), digest.encoded())],
    };
    let names = |subject: &BTreeMap<String, String>| {
        digests.iter().any(|(algorithm, digest)| subject.get(*algorithm) == Some(digest))
    };
    if subjects.iter().any(names) {
        return Ok(());
    }
    refuse(Code::DigestMismatch, "the statement is about another artifact")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_read_a_statement_that_can_be_read_in_two_ways() {
        let artifact = Digest::of(b"artifact");
        let (ours, theirs) = (artifact.encoded(), Digest::of(b"another").encoded());
        let about = |payload: String| {
            let payload_type = "application/vnd.in-toto+json".to_owned();
            let signed = Signed::Envelope { payload_type, payload: payload.into_bytes(), signature: Vec::new() };
            let (entries, timestamps) = (Vec::new(), Vec::new());
            let bundle = UnverifiedBundle { promise_is_enough: false, maker: Maker::Key, signed, entries, timestamps };
            check_about(&bundle, Artifact::Digest(artifact)).map_err(|refusal| refusal.code)
        };
        let good = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{ours}"}}}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{}}}}"#
        );
        assert_eq!(about(good.clone()), Ok(()));
        assert_eq!(about(good.replace(&ours, &theirs)), Err(Code::DigestMismatch));
        assert_eq!(about(good.replace("Statement/v1", "Statement/v9")), Err(Code::PayloadTypeMismatch));
        for twice in [
            good.replace(r#""sha256":"#, &format!(r#""sha256":"{theirs}","sha256":"#)),
            good.replace(r#""digest":"#, r#""digest":{},"digest":"#),
            good.replace(r#""subject":"#, r#""subject":[],"subject":"#),
        ] {
            assert_eq!(about(twice.clone()), Err(Code::Malformed), "{twice}");
        }
    }
}
