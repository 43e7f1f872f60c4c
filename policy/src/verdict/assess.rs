//! Every signature of some evidence, held against the authorities of one rule.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Question;
use super::speakers::{Budget, speakers};
use crate::evidence::DecodedEvidence;
use crate::image::{Digest, Tag};
use crate::trust::{Applicable, AuthorityIndex};
use crate::verify::{Expectation, Rejection, VerifiedSignature, judge};

/// What the signatures of an image come to under one rule.
#[derive(Debug, Default)]
pub(super) struct Assessment {
    /// The signatures that count, by the authority that they speak for.
    pub(super) verified: BTreeMap<AuthorityIndex, Vec<VerifiedSignature>>,
    /// The others, and what could not be read as a signature.
    pub(super) rejections: Vec<Rejection>,
}

/// The manifest that signatures must be about, and the tag that names it.
pub(super) struct Subject<'a> {
    pub(super) digest: Digest,
    pub(super) tag: Option<&'a Tag>,
}

/// Holds every signature against the rule's authorities. One signature speaks for one authority.
pub(super) fn assess(
    question: &Question,
    rule: &Applicable<'_>,
    evidence: &DecodedEvidence,
    subject: &Subject<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Assessment {
    let expectation = Expectation {
        digest: subject.digest,
        names: rule.policy.names_of(question.image.repository()),
        tag: subject.tag,
        reference: rule.rule.reference,
        annotations: &question.annotations,
    };
    let asked = rule.rule.signers();
    let mut assessment = Assessment { rejections: evidence.rejections().to_vec(), ..Assessment::default() };
    if asked.is_empty() {
        return assessment;
    }
    for (found, speaker) in speakers(rule, &asked, evidence.signatures(), now, budget) {
        let speaker = match speaker {
            Ok(speaker) => speaker,
            Err(unheard) => {
                assessment.rejections.push(unheard.rejection);
                continue;
            }
        };
        let (name, facts, window, time) = (speaker.name, &speaker.facts, speaker.window, &speaker.time);
        match judge(found.artifact, name, facts, window, time, &expectation, now) {
            Ok(signature) => {
                let vouched = signature.vouched(speaker.certified, speaker.logs);
                assessment.verified.entry(speaker.authority).or_default().push(vouched);
            }
            Err(rejections) => assessment.rejections.extend(rejections),
        }
    }
    assessment
}
