//! One bundle, checked in full.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use jiff::{SignedDuration, Timestamp};

use super::body::{MakerBytes, Subject};
use super::bundle::{Signed, UnverifiedBundle};
use super::certificate::Leaf;
use super::holder::{Holder, untrusted};
use super::identity::{Identity, IdentityExpectation};
use super::testimony::Testimony;
use super::trusted_root::TrustedRoot;
use crate::image::Digest;
use crate::limits;
use crate::reason::Code;
use crate::signature::{ClaimFault, pre_authentication_encoding, subject_digests};
use crate::verify::{KeyId, PublicKey};

/// How many must vouch. What is missing is never made up for by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// Distinct transparency logs that hold an entry of exactly this signature.
    pub logs: usize,
    /// Distinct timestamp authorities that saw exactly this signature.
    pub timestamps: usize,
    /// Distinct certificate logs that promised to publish the certificate. Keys have none.
    pub certificate_logs: usize,
    /// What a log must give.
    pub log_proof: LogProof,
    /// How far a time may lie ahead of `now`, for clocks that differ.
    pub skew: SignedDuration,
}

/// What a log must give for its entry to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogProof {
    /// A proof that the entry is in a tree that the log signed.
    Inclusion,
    /// Its promise to take the entry in is enough, where the format has no more: bundles of version 0.1 and annotations.
    Promise,
}

impl Demands {
    /// What the public-good instance gives with every signature: one log, one certificate log.
    pub const PUBLIC_GOOD: Self =
        Self { logs: 1, timestamps: 0, certificate_logs: 1, log_proof: LogProof::Promise, skew: SignedDuration::ZERO };
    /// What GitHub's own instance gives with every signature: the word of its timestamp authority. It has no logs.
    pub const GITHUB: Self = Self { logs: 0, timestamps: 1, certificate_logs: 0, ..Self::PUBLIC_GOOD };
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

pub(super) fn refuse<T>(code: Code, message: impl Into<String>) -> Result<T, Refusal> {
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
    let leaf = match (&bundle.material.certificate, who) {
        (Some(der), Who::Identity(_)) => Some(Leaf::read(der).map_err(|problem| untrusted(&problem))?),
        (None, Who::Key(_)) => None,
        (None, Who::Identity(_)) => {
            return refuse(Code::CertificateUntrusted, "it was made by a key, and has no certificate");
        }
        (Some(_), Who::Key(_)) => {
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
    check_signature(bundle, artifact, key)?;
    let testimony = hear(bundle, artifact, key, root)?;
    let vouchers = testimony.weigh(demands, None, now)?;
    let (signer, certificate_logs) = match (&leaf, who) {
        (Some(leaf), Who::Identity(expected)) => {
            let holder = Holder::of(leaf, root);
            let (identity, logs) = holder.certify(&vouchers, demands)?;
            expected.check(identity).map_err(|message| Refusal { code: Code::IdentityMismatch, message })?;
            (Signer::Identity(identity.clone()), logs.to_vec())
        }
        _ => (Signer::Key(key.id()), Vec::new()),
    };
    check_about(bundle, artifact)?;
    Ok(VerifiedBundle { signer, seen: vouchers.seen, logs: vouchers.logs, certificate_logs })
}

/// What logs and timestamp authorities say about a bundle whose signature `key` has verified.
fn hear(
    bundle: &UnverifiedBundle,
    artifact: Artifact<'_>,
    key: &PublicKey,
    root: &TrustedRoot,
) -> Result<Testimony, Refusal> {
    let envelope;
    let (message, message_digest) = match (&bundle.signed, artifact) {
        (Signed::Envelope { payload_type, payload, .. }, _) => {
            envelope = pre_authentication_encoding(payload_type, payload);
            (Some(envelope.as_slice()), None)
        }
        (Signed::Message { .. }, Artifact::Bytes(bytes)) => (Some(bytes), None),
        (Signed::Message { .. }, Artifact::Digest(digest)) => (None, Some(digest)),
    };
    let maker = match &bundle.material.certificate {
        Some(der) => MakerBytes::Certificate(der),
        None => MakerBytes::Spki(key.spki()),
    };
    let (signature, envelope) = (bundle.signed.signature(), bundle.signed.envelope());
    let subject = Subject { signature, timestamped: signature, envelope, message, message_digest, maker };
    Testimony::hear(&bundle.material, &bundle.timestamps, &subject, root)
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
        Err(ClaimFault::TooLarge) => return refuse(Code::LimitExceeded, "the statement is larger than is looked at"),
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
    use super::super::bundle::Material;
    use super::*;

    #[test]
    fn must_not_read_a_statement_that_can_be_read_in_two_ways() {
        let artifact = Digest::of(b"artifact");
        let (ours, theirs) = (artifact.encoded(), Digest::of(b"another").encoded());
        let about = |payload: String| {
            let payload_type = "application/vnd.in-toto+json".to_owned();
            let signed = Signed::Envelope { payload_type, payload: payload.into_bytes(), signature: Vec::new() };
            let bundle = UnverifiedBundle { signed, material: Material::KEY, timestamps: Vec::new() };
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
