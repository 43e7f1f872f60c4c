//! From evidence to verdict. Read this file from the top: it is the whole decision.

use jiff::{SignedDuration, Timestamp};

use super::coverage::Judging;
use super::speakers::Budget;
use super::{Decision, Grounds, PolicyName, Proof, Question, Reason, RuleVerdict, Verdict};
use crate::evidence::{DecodedEvidence, Observation};
use crate::image::{Digest, PinnedImage};
use crate::reason::Code;
use crate::trust::{Applicable, Exception, Mode, OnUndetermined, Selection, TagPolicy, TrustPolicy, TrustSnapshot};
use crate::verify::Rejection;

/// The verdict, when names alone decide it: no rule covers the image, or the rule takes digests only.
///
/// Whoever gathers evidence asks this first: an image that no rule covers causes no request to any registry.
#[must_use]
pub fn decide_without_evidence(question: &Question, trust: &TrustSnapshot, now: Timestamp) -> Option<Verdict> {
    by_names(question, trust, &trust.select(&question.image, question.namespace.as_deref()), now)
}

fn by_names(question: &Question, trust: &TrustSnapshot, selection: &Selection<'_>, now: Timestamp) -> Option<Verdict> {
    let rules = match selection {
        Selection::Default { allow, policies } => {
            policies.iter().map(|policy| by_default(question, policy, *allow)).collect()
        }
        Selection::Rules(rules) => {
            let refused: Vec<_> = rules.iter().filter_map(|rule| tag_refused(question, rule)).collect();
            // A rule that merely warns leaves the others to be looked at.
            if refused.len() < rules.len() && refused.iter().all(RuleVerdict::admits) {
                return None;
            }
            refused
        }
    };
    Some(verdict(question, trust, question.image.pinned(), rules, Vec::new(), now))
}

/// The verdict about an image, from the evidence about it. Total: there is no error to fail open on.
///
/// `held` is evidence that was gathered earlier. It is looked at only where `fresh` leaves a rule undetermined, the
/// rule takes held evidence, and the question names a digest.
#[must_use]
pub fn evaluate(
    question: &Question,
    trust: &TrustSnapshot,
    fresh: &DecodedEvidence,
    held: Option<&DecodedEvidence>,
    now: Timestamp,
) -> Verdict {
    let selection = trust.select(&question.image, question.namespace.as_deref());
    if let Some(verdict) = by_names(question, trust, &selection, now) {
        return verdict;
    }
    let Selection::Rules(rules) = selection else {
        // Defaults were decided above; without rules, a verdict is undetermined and admits nothing.
        return verdict(question, trust, None, Vec::new(), Vec::new(), now);
    };
    let mut rejected = Vec::new();
    let mut pinned = None;
    let mut decided = Vec::new();
    for rule in &rules {
        let decision = decide(question, rule, fresh, held, now, &mut rejected, &mut pinned);
        decided.push(rule_verdict(rule, decision));
    }
    verdict(question, trust, pinned, decided, rejected, now)
}

/// What one rule comes to: by fresh evidence, else by held evidence, else by an exception.
fn decide(
    question: &Question,
    rule: &Applicable<'_>,
    fresh: &DecodedEvidence,
    held: Option<&DecodedEvidence>,
    now: Timestamp,
    rejected: &mut Vec<Rejection>,
    pinned: &mut Option<PinnedImage>,
) -> Decision {
    if let Some(refused) = tag_refused(question, rule) {
        return refused.decision;
    }
    let decision = decide_by(question, rule, fresh, now, rejected, pinned);
    if decision.outcome() != crate::Outcome::Undetermined {
        return decision;
    }
    let Some(held) = held.filter(|held| may_use_held(question, rule, held, now)) else {
        return decision;
    };
    match decide_by(question, rule, held, now, rejected, pinned) {
        Decision::Allow(proof) => Decision::Allow(Proof { held_since: Some(held.evidence().gathered_at), ..proof }),
        Decision::Deny(_) | Decision::Undetermined(_) => decision,
    }
}

/// What one rule comes to by one body of evidence.
fn decide_by(
    question: &Question,
    rule: &Applicable<'_>,
    evidence: &DecodedEvidence,
    now: Timestamp,
    rejected: &mut Vec<Rejection>,
    pinned: &mut Option<PinnedImage>,
) -> Decision {
    let digest = match image_of(question, evidence) {
        Observation::Found(digest) => digest,
        Observation::Absent => {
            let image = &question.image;
            return Decision::Deny(vec![Reason::new(Code::ImageNotFound, format!("`{image}` is not in the registry"))]);
        }
        Observation::Unknown(cause) => {
            return Decision::Undetermined(vec![Reason::new(cause.code(), cause.detail())]);
        }
    };
    let image = question.image.pin(digest);
    *pinned = Some(image.clone());
    let (budget, gate_budget) = (Budget::for_one_image(), Budget::for_one_image());
    let mut judging = Judging { question, rule, now, budget, gate_budget, rejected };
    match judging.coverage(&image, evidence) {
        Decision::Deny(reasons) => match rule.policy.exception(&image).and_then(|e| excepted(e, &reasons, now)) {
            Some(grounds) => Decision::Allow(Proof { grounds, attestations: Vec::new(), held_since: None }),
            None => Decision::Deny(reasons),
        },
        decision => decision,
    }
}

/// The digest that is judged, when the evidence is about the image that is asked about.
fn image_of(question: &Question, evidence: &DecodedEvidence) -> Observation<Digest> {
    let inconsistent =
        |detail: String| Observation::Unknown(crate::evidence::Cause::new(Code::RegistryInconsistent, detail));
    let recorded = evidence.evidence();
    let asked = &question.image;
    if evidence.image().repository() != asked.repository() {
        return inconsistent(format!("the evidence is about `{}`, not about `{asked}`", evidence.image()));
    }
    match (&recorded.resolution, asked.digest()) {
        (Observation::Found(found), Some(digest)) if *found != digest => {
            inconsistent(format!("the evidence is about digest `{found}`, not about `{asked}`"))
        }
        (_, None) if evidence.image().tag() != asked.tag() => {
            inconsistent(format!("the evidence is about `{}`, not about `{asked}`", evidence.image()))
        }
        (resolution, _) => resolution.clone(),
    }
}

/// An exception holds until it expires, and only when it waives everything that is wrong.
fn excepted(exception: &Exception, reasons: &[Reason], now: Timestamp) -> Option<Grounds> {
    let waived: Vec<Code> = reasons.iter().map(|reason| reason.code).collect();
    let holds = now < exception.expires && waived.iter().all(|code| exception.waives.contains(code));
    holds.then(|| Grounds::Exception {
        owner: exception.owner.clone(),
        reason: exception.reason.clone(),
        expires: exception.expires,
        waived,
    })
}

fn may_use_held(question: &Question, rule: &Applicable<'_>, held: &DecodedEvidence, now: Timestamp) -> bool {
    let OnUndetermined::UseHeldEvidence { max_age } = rule.rule.on_undetermined else {
        return false;
    };
    let age = now.duration_since(held.evidence().gathered_at);
    question.image.digest().is_some() && age >= SignedDuration::ZERO && age <= max_age
}

fn tag_refused(question: &Question, rule: &Applicable<'_>) -> Option<RuleVerdict> {
    if rule.rule.tags != TagPolicy::Deny || question.image.digest().is_some() {
        return None;
    }
    let message = format!("`{}` is asked for by tag, and the rule takes digests only", question.image);
    Some(rule_verdict(rule, Decision::Deny(vec![Reason::new(Code::TagNotAllowed, message)])))
}

fn by_default(question: &Question, policy: &TrustPolicy, allow: bool) -> RuleVerdict {
    let decision = if allow {
        Decision::Allow(Proof { grounds: Grounds::Default, attestations: Vec::new(), held_since: None })
    } else {
        let message = format!("no rule of `{}` covers `{}`", policy.name, question.image.repository());
        Decision::Deny(vec![Reason::new(Code::NoMatchingRule, message)])
    };
    RuleVerdict { policy: policy.name.clone(), rule: None, mode: Mode::Enforce, decision }
}

fn rule_verdict(rule: &Applicable<'_>, decision: Decision) -> RuleVerdict {
    RuleVerdict { policy: rule.policy.name.clone(), rule: Some(rule.rule.name.clone()), mode: rule.rule.mode, decision }
}

fn verdict(
    question: &Question,
    trust: &TrustSnapshot,
    pinned: Option<PinnedImage>,
    rules: Vec<RuleVerdict>,
    mut rejected: Vec<Rejection>,
    now: Timestamp,
) -> Verdict {
    rejected.sort();
    let policies = trust.digests().map(|(name, digest)| PolicyName { name: name.to_owned(), digest }).collect();
    Verdict { question: question.clone(), pinned, decided_at: now, policies, rules, rejected }
}
