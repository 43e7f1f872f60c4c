//! Attestations of one type by some keys, without a rule: what `verify-attestation` asks.

use jiff::Timestamp;

use super::Reason;
use crate::attestation::{PredicateType, Wanted};
use crate::evidence::{DecodedEvidence, Observation};
use crate::limits;
use crate::reason::Code;
use crate::trust::KeyWindow;
use crate::verify::{PublicKey, Rejection, TimeEvidence, VerifiedAttestation, authenticate, judge_attestation};

/// What was found.
#[derive(Debug)]
pub struct FoundAttestations {
    /// The attestations that verify, each with the exact bytes of its statement.
    pub verified: Vec<(VerifiedAttestation, Vec<u8>)>,
    /// Other attestations, and what could not be read.
    pub rejected: Vec<Rejection>,
    /// Why there is none; empty when there is one. Unknown where not all could be looked at.
    pub reasons: Vec<Reason>,
}

/// The attestations of an image that are of a type and by one of these keys.
#[must_use]
pub fn find_attestations(
    evidence: &DecodedEvidence,
    keys: &[PublicKey],
    predicate_type: &PredicateType,
    now: Timestamp,
) -> FoundAttestations {
    let mut found =
        FoundAttestations { verified: Vec::new(), rejected: evidence.rejections().to_vec(), reasons: Vec::new() };
    let digest = match &evidence.evidence().resolution {
        Observation::Found(digest) => *digest,
        Observation::Absent => {
            let message = format!("`{}` is not in the registry", evidence.image());
            found.reasons.push(Reason::new(Code::ImageNotFound, message));
            return found;
        }
        Observation::Unknown(cause) => {
            found.reasons.push(Reason::new(cause.code(), cause.detail()));
            return found;
        }
    };
    let mut checks_left = limits::MAX_SIGNATURE_CHECKS;
    for signature in evidence.signatures() {
        let facts = keys.iter().find_map(|key| {
            checks_left = checks_left.checked_sub(1)?;
            authenticate(&signature.signature, key, &signature.memo)
        });
        let Some(facts) = facts else {
            let format = Some(signature.signature.format());
            let message = "none of these keys verifies it: it was made with another key, or altered".to_owned();
            found.rejected.push(Rejection::new(signature.artifact, format, Code::UntrustedKey, message));
            continue;
        };
        let wanted = Wanted::Types(std::slice::from_ref(predicate_type));
        let window = KeyWindow::UNBOUNDED;
        let none = TimeEvidence::NONE;
        match judge_attestation(signature.artifact, "key", &facts, &window, &none, digest, wanted, now) {
            Some(Ok(attestation)) => {
                let statement = signature.signature.statement().unwrap_or_default().to_vec();
                found.verified.push((attestation, statement));
            }
            Some(Err(rejection)) => found.rejected.push(rejection),
            // A plain signature is no attestation, and nothing is wrong with it.
            None => {}
        }
    }
    if found.verified.is_empty() {
        found.reasons = missing(evidence, predicate_type, &found.rejected);
    }
    found
}

fn missing(evidence: &DecodedEvidence, predicate_type: &PredicateType, rejected: &[Rejection]) -> Vec<Reason> {
    let unknown: Vec<Reason> =
        evidence.causes().iter().map(|cause| Reason::new(cause.code(), cause.detail())).collect();
    if !unknown.is_empty() {
        return unknown;
    }
    let others = match rejected.len() {
        0 => String::new(),
        count => format!("; {count} other items do not count"),
    };
    let message = format!("no attestation of type `{predicate_type}` by these keys{others}");
    vec![Reason::new(Code::AttestationMissing, message)]
}
