//! The reasons of a denial: the most telling first, each code once.

use super::Reason;
use super::assess::Assessment;
use crate::evidence::DecodedEvidence;
use crate::image::PinnedImage;
use crate::reason::Code;
use crate::trust::{Applicable, AuthorityIndex};

/// Codes from the most to the least telling. What contradicts comes before what is missing, so that an exception for
/// an absence is never mistaken for one of a contradiction.
const ORDER: [Code; 22] = [
    Code::KeyCompromised,
    Code::KeyRevoked,
    Code::DigestMismatch,
    Code::ReferenceMismatch,
    Code::ReferenceMissing,
    Code::AnnotationMismatch,
    Code::KeyExpired,
    Code::SignatureExpired,
    Code::KeyNotYetValid,
    Code::SignatureInvalid,
    Code::LogEntryInvalid,
    Code::PayloadTypeMismatch,
    Code::PredicateTypeMismatch,
    Code::TimestampUntrusted,
    Code::TimestampMissing,
    Code::LogEntryMissing,
    Code::CertificateUntrusted,
    Code::IdentityMismatch,
    Code::UntrustedKey,
    Code::LimitExceeded,
    Code::Malformed,
    Code::Unsupported,
];

/// Why a rule is not met, by complete evidence. Never empty.
pub(super) fn reasons(
    rule: &Applicable<'_>,
    assessment: &Assessment,
    image: &PinnedImage,
    evidence: &DecodedEvidence,
) -> Vec<Reason> {
    let asked = rule.rule.signers();
    if assessment.verified.is_empty() && assessment.rejections.is_empty() {
        return vec![Reason::new(Code::Unsigned, unsigned(image, evidence))];
    }
    let mut reasons = Vec::new();
    if !assessment.verified.is_empty() {
        reasons.push(Reason::new(Code::ThresholdNotMet, not_enough(rule, &asked, assessment)));
    }
    let satisfied = |name: &Option<String>| {
        let name = name.as_deref();
        assessment.verified.values().flatten().any(|signature| Some(signature.authority()) == name)
    };
    let mut open: Vec<_> = assessment.rejections.iter().filter(|rejection| !satisfied(&rejection.authority)).collect();
    open.sort_by_key(|rejection| ORDER.iter().position(|code| *code == rejection.code).unwrap_or(ORDER.len()));
    for rejection in &open {
        if reasons.iter().all(|reason: &Reason| reason.code != rejection.code) {
            let more = open.iter().filter(|other| other.code == rejection.code).count() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            reasons.push(Reason::new(rejection.code, format!("{}{more}", rejection.message)));
        }
    }
    if reasons.is_empty() {
        // Every rejection is of an authority that has signed, and none has: impossible, and still no allow.
        reasons.push(Reason::new(Code::ThresholdNotMet, not_enough(rule, &asked, assessment)));
    }
    reasons
}

fn unsigned(image: &PinnedImage, evidence: &DecodedEvidence) -> String {
    let places: Vec<_> = evidence.evidence().places.iter().map(|report| report.place.as_str()).collect();
    let others = match evidence.others().len() {
        0 => String::new(),
        count => format!("; {count} other artifacts are attached"),
    };
    format!("`{image}` has no signature (looked at: {}{others})", places.join(", "))
}

fn not_enough(rule: &Applicable<'_>, asked: &[AuthorityIndex], assessment: &Assessment) -> String {
    let names = |signed: bool| {
        let of = asked.iter().filter(|authority| assessment.verified.contains_key(authority) == signed);
        let names = of.filter_map(|authority| rule.policy.authority(*authority));
        let names: Vec<_> = names.map(|authority| format!("`{}`", authority.name)).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    };
    format!("signed by {}; not by {}", names(true), names(false))
}
