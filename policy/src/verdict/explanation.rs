//! Every signature and every check, for `policy explain`: what was expected, what was found, what to do next.

use jiff::Timestamp;

use super::assess::{Assessment, Budget, Subject, assess};
use super::{Question, RuleVerdict, Verdict, evaluate};
use crate::evidence::{DecodedEvidence, PlaceReport};
use crate::trust::{Requirement, Rule, Selection, TrustPolicy, TrustSnapshot};
use crate::verify::{Rejection, VerifiedSignature};

/// A verdict with everything that was looked at on the way.
#[derive(Debug)]
pub struct Explanation {
    /// The verdict; the same that [`evaluate`] gives.
    pub verdict: Verdict,
    /// What each place said.
    pub places: Vec<PlaceReport>,
    /// What each rule made of each signature.
    pub attempts: Vec<Attempt>,
}

/// One rule against all signatures.
#[derive(Debug)]
pub struct Attempt {
    /// Name of the document.
    pub policy: String,
    /// The rule as it is written.
    pub rule: Rule,
    /// What was expected, in words.
    pub requirement: String,
    /// The signatures that count.
    pub verified: Vec<VerifiedSignature>,
    /// Those that do not, each with the check that failed.
    pub rejected: Vec<Rejection>,
    /// What it comes to.
    pub decision: Option<RuleVerdict>,
}

/// Explains a verdict.
#[must_use]
pub fn explain(question: &Question, trust: &TrustSnapshot, evidence: &DecodedEvidence, now: Timestamp) -> Explanation {
    let verdict = evaluate(question, trust, evidence, None, now);
    let mut attempts = Vec::new();
    if let Selection::Rules(rules) = trust.select(&question.image, question.namespace.as_deref()) {
        for rule in rules {
            let assessment = match evidence.evidence().resolution.found() {
                Some(digest) => {
                    let tag = question.image.tag().filter(|_| question.image.digest().is_none());
                    let subject = Subject { digest: *digest, tag };
                    assess(question, &rule, evidence, &subject, now, &mut Budget::for_one_image())
                }
                None => Assessment::default(),
            };
            let is_this = |of: &&RuleVerdict| of.policy() == rule.policy.name && of.rule() == Some(&rule.rule.name);
            attempts.push(Attempt {
                policy: rule.policy.name.clone(),
                rule: rule.rule.clone(),
                requirement: describe(rule.policy, &rule.rule.require),
                verified: assessment.verified.into_values().flatten().collect(),
                rejected: assessment.rejections,
                decision: verdict.rules().iter().find(is_this).cloned(),
            });
        }
    }
    Explanation { verdict, places: evidence.evidence().places.clone(), attempts }
}

/// A requirement in words: "`a` and 2 of (`b`, `c`, `d`)".
fn describe(policy: &TrustPolicy, requirement: &Requirement) -> String {
    let list = |of: &[Requirement], separator: &str| {
        let parts: Vec<String> = of.iter().map(|element| nested(policy, element)).collect();
        parts.join(separator)
    };
    match requirement {
        Requirement::All(of) => list(of, " and "),
        Requirement::Any(of) => list(of, " or "),
        Requirement::Authority(index) => {
            policy.authority(*index).map_or_else(String::new, |authority| format!("`{}`", authority.name))
        }
        Requirement::Threshold { count, of } => format!("{count} of ({})", list(of, ", ")),
    }
}

fn nested(policy: &TrustPolicy, requirement: &Requirement) -> String {
    match requirement {
        Requirement::All(of) | Requirement::Any(of) if of.len() > 1 => format!("({})", describe(policy, requirement)),
        _ => describe(policy, requirement),
    }
}
