//! Every signature of some evidence, held against the authorities of one rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Question;
use crate::evidence::{DecodedEvidence, FoundSignature};
use crate::image::{Digest, Tag};
use crate::limits;
use crate::reason::Code;
use crate::trust::{Applicable, AuthorityIndex, TrustedKey};
use crate::verify::{
    Authenticated, Expectation, KeyId, Rejection, VerifiedSignature, authenticate, judge, trusted_time,
};

/// Most keys that are tried on a signature that names a key which nobody trusts.
const MAX_TRIES_AGAINST_HINT: usize = 64;

/// What the signatures of an image come to under one rule.
#[derive(Debug, Default)]
pub(super) struct Assessment {
    /// The signatures that count, by the authority that they speak for.
    pub(super) verified: BTreeMap<AuthorityIndex, Vec<VerifiedSignature>>,
    /// The others, and what could not be read as a signature.
    pub(super) rejections: Vec<Rejection>,
}

/// What is left of the bounds on work for one image under one rule, its relatives included.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) checks: usize,
    pub(super) times: usize,
}

impl Budget {
    pub(super) fn for_one_image() -> Self {
        Self { checks: limits::MAX_SIGNATURE_CHECKS, times: limits::MAX_TIMESTAMP_CHECKS }
    }
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
    let asked = rule.rule.require.authorities();
    let mut assessment = Assessment { rejections: evidence.rejections().to_vec(), ..Assessment::default() };
    // Signatures that name a trusted key cost one check each; they go first, so that others cannot use up the budget.
    let names_trusted_key =
        |found: &&FoundSignature| found.signature.key_hint().is_some_and(|hint| rule.policy.key(&hint).is_some());
    let (hinted, others): (Vec<_>, Vec<_>) = evidence.signatures().iter().partition(names_trusted_key);
    for found in hinted.into_iter().chain(others) {
        match speaker(rule, &asked, found, &mut budget.checks) {
            Ok(speaker) => {
                let known = rule.policy.authority(speaker.authority);
                let (name, required) = known.map_or(("", 0), |known| (known.name.as_str(), known.timestamps));
                let authorities = &rule.policy.timestamp_authorities;
                let time = trusted_time(&found.signature, authorities, required, &found.memo, now, &mut budget.times);
                let window = &speaker.key.window;
                match judge(found.artifact, name, &speaker.facts, window, &time, &expectation, now) {
                    Ok(signature) => assessment.verified.entry(speaker.authority).or_default().push(signature),
                    Err(rejections) => assessment.rejections.extend(rejections),
                }
            }
            Err(rejection) => assessment.rejections.push(rejection),
        }
    }
    assessment
}

/// The one authority that a signature speaks for, as a fact.
pub(super) struct Speaker<'a> {
    pub(super) authority: AuthorityIndex,
    pub(super) key: &'a TrustedKey,
    pub(super) facts: Arc<Authenticated>,
}

pub(super) fn speaker<'a>(
    rule: &Applicable<'a>,
    asked: &[AuthorityIndex],
    found: &FoundSignature,
    checks_left: &mut usize,
) -> Result<Speaker<'a>, Rejection> {
    let reject = |code, message| Rejection::new(found.artifact, Some(found.signature.format()), code, message);
    let hint = found.signature.key_hint();
    let hinted = hint.and_then(|hint| rule.policy.key(&hint));
    if let Some((authority, key)) = hinted
        && let Some(facts) = authenticate(&found.signature, &key.key, &found.memo)
    {
        if asked.contains(&authority) {
            return Ok(Speaker { authority, key, facts });
        }
        let name = rule.policy.authority(authority).map_or("", |authority| authority.name.as_str());
        let message = format!("key `{}` is that of `{name}`, which this rule does not ask for", key.key.id());
        return Err(reject(Code::UntrustedKey, message));
    }
    // A hint is only a hint: the other keys of the rule's authorities are tried as well.
    let tries = if hint.is_some() { MAX_TRIES_AGAINST_HINT } else { usize::MAX };
    let keys = asked.iter().flat_map(|authority| {
        let keys = rule.policy.authority(*authority).map(|known| known.keys.as_slice()).unwrap_or_default();
        keys.iter().map(move |key| (*authority, key))
    });
    for (authority, key) in keys.take(tries) {
        let Some(left) = checks_left.checked_sub(1) else {
            let message =
                format!("more than {} keys were tried on this image's signatures", limits::MAX_SIGNATURE_CHECKS);
            return Err(reject(Code::LimitExceeded, message));
        };
        *checks_left = left;
        if let Some(facts) = authenticate(&found.signature, &key.key, &found.memo) {
            return Ok(Speaker { authority, key, facts });
        }
    }
    let (code, message) = nobody(found, hint, hinted.is_some());
    Err(reject(code, message))
}

/// Why no trusted key speaks: the most precise thing that can be said without believing the envelope.
fn nobody(found: &FoundSignature, hint: Option<KeyId>, hint_is_trusted: bool) -> (Code, String) {
    match hint {
        Some(hint) if hint_is_trusted => {
            (Code::SignatureInvalid, format!("it names the trusted key `{hint}`, which does not verify it"))
        }
        Some(hint) => (Code::UntrustedKey, format!("it names key `{hint}`, which is not trusted here")),
        None if found.signature.has_certificate() => {
            let message = "it was made with a certificate instead of a key, which this version does not verify";
            (Code::Unsupported, message.to_owned())
        }
        None => {
            let message = "no trusted key verifies it: it was made with another key, or altered";
            (Code::UntrustedKey, message.to_owned())
        }
    }
}
