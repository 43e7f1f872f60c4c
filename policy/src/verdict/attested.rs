//! Attestations of one type by those whom trust names, without a demand on what they say: what `verify-attestation` asks.

use jiff::Timestamp;

use super::Reason;
use super::speakers::{Budget, speakers};
use crate::attestation::{PredicateType, Wanted};
use crate::evidence::{DecodedEvidence, Observation};
use crate::image::Digest;
use crate::reason::Code;
use crate::trust::{Applicable, Selection, TrustSnapshot};
use crate::verify::{Rejection, VerifiedAttestation, judge_attestation};

/// What was found.
#[derive(Debug)]
pub struct FoundAttestations {
    /// The attestations that count.
    pub verified: Vec<VerifiedAttestation>,
    /// Other attestations, and what could not be read.
    pub rejected: Vec<Rejection>,
    /// Why there is none; empty when there is one. Unknown where not all could be asked for, [`Code::LimitExceeded`] where
    /// not all was looked at.
    pub reasons: Vec<Reason>,
}

/// The attestations of an image that are of a type and by somebody whom the rules for it name: the same who speak in a
/// verdict, by keys or by certificates, with the logs and timestamps that are demanded of them.
#[must_use]
pub fn find_attestations(
    evidence: &DecodedEvidence,
    trust: &TrustSnapshot,
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
    let Selection::Rules(rules) = trust.select(evidence.image(), None) else {
        let message = format!("no rule covers `{}`", evidence.image().repository());
        found.reasons.push(Reason::new(Code::NoMatchingRule, message));
        return found;
    };
    for rule in &rules {
        found.look(rule, evidence, digest, predicate_type, now);
    }
    if found.verified.is_empty() {
        found.reasons = missing(evidence, predicate_type, &found.rejected);
    }
    found
}

impl FoundAttestations {
    /// Adds what one rule's authorities attested.
    fn look(
        &mut self,
        rule: &Applicable<'_>,
        evidence: &DecodedEvidence,
        digest: Digest,
        predicate_type: &PredicateType,
        now: Timestamp,
    ) {
        let wanted = Wanted::Types(std::slice::from_ref(predicate_type));
        let mut budget = Budget::for_one_image();
        for (signature, speaker) in speakers(rule, &rule.rule.authorities(), evidence.signatures(), now, &mut budget) {
            let speaker = match speaker {
                Ok(speaker) => speaker,
                Err(unheard) => {
                    self.rejected.push(unheard.rejection);
                    continue;
                }
            };
            let (name, facts, window, time) = (speaker.name, &speaker.facts, speaker.window, &speaker.time);
            match judge_attestation(signature.artifact, name, facts, window, time, digest, wanted, now) {
                Some(Ok(attestation)) => self.verified.push(attestation.vouched(speaker.certified, speaker.logs)),
                Some(Err(rejection)) => self.rejected.push(rejection),
                // A plain signature is no attestation, and nothing is wrong with it.
                None => {}
            }
        }
    }
}

fn missing(evidence: &DecodedEvidence, predicate_type: &PredicateType, rejected: &[Rejection]) -> Vec<Reason> {
    let unknown: Vec<Reason> =
        evidence.causes().iter().map(|cause| Reason::new(cause.code(), cause.detail())).collect();
    if !unknown.is_empty() {
        return unknown;
    }
    // What lies beyond a bound may be what was asked for.
    if let Some(unseen) = rejected.iter().find(|rejection| rejection.code == Code::LimitExceeded) {
        return vec![Reason::new(unseen.code, unseen.message.clone())];
    }
    let others = match rejected.len() {
        0 => String::new(),
        1 => "; 1 other item does not count".to_owned(),
        count => format!("; {count} other items do not count"),
    };
    let message = format!("no attestation of type `{predicate_type}` by whom it must be{others}");
    let mut reasons = vec![Reason::new(Code::AttestationMissing, message)];
    // Why one by whom it must be does not count. One of another type is neither here nor there.
    let of_asked = rejected.iter().filter(|rejection| rejection.authority.is_some());
    for rejection in of_asked.filter(|rejection| rejection.code != Code::PredicateTypeMismatch) {
        if reasons.iter().all(|known| known.code != rejection.code) {
            reasons.push(Reason::new(rejection.code, rejection.message.clone()));
        }
    }
    reasons
}
