//! Every signature and every check, for `policy explain`: what was expected, what was found, what to do next.

use jiff::Timestamp;

use super::assess::{Assessment, Subject, assess};
use super::speakers::Budget;
use super::{Question, RuleVerdict, Verdict, evaluate};
use crate::evidence::{DecodedEvidence, Listing, PlaceReport, Scope};
use crate::image::{Digest, PlatformName, Platforms};
use crate::trust::{Applicable, Authority, Requirement, Rule, Selection, SignedParent, TrustPolicy, TrustSnapshot};
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
    /// The authorities that the rule names, also in its demands on attestations.
    pub authorities: Vec<Authority>,
    /// The signatures that count.
    pub verified: Vec<VerifiedSignature>,
    /// Those that do not, each with the check that failed.
    pub rejected: Vec<Rejection>,
    /// The same for other manifests that the rule looks at.
    pub relatives: Vec<RelativeAttempt>,
    /// What it comes to.
    pub decision: Option<RuleVerdict>,
}

/// Another manifest that a rule looks at when it decides about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// A manifest that the image, an index, lists.
    Child,
    /// The index under the tag by which the image was reached.
    Parent,
}

/// One rule against all signatures of a relative.
#[derive(Debug)]
pub struct RelativeAttempt {
    /// What it is to the image.
    pub relation: Relation,
    /// Its digest.
    pub digest: Digest,
    /// The platform that the index says it is for.
    pub platform: Option<PlatformName>,
    /// The signatures about it that count.
    pub verified: Vec<VerifiedSignature>,
    /// Those that do not, each with the check that failed.
    pub rejected: Vec<Rejection>,
}

/// Explains a verdict.
#[must_use]
pub fn explain(question: &Question, trust: &TrustSnapshot, evidence: &DecodedEvidence, now: Timestamp) -> Explanation {
    let verdict = evaluate(question, trust, evidence, None, now);
    let mut attempts = Vec::new();
    if let Selection::Rules(rules) = trust.select(&question.image, question.namespace.as_deref()) {
        for rule in rules {
            let about = |digest: Digest, evidence: &DecodedEvidence| {
                // As in the verdict: a digest that was asked for says nothing about the tag beside it.
                let tag = question.image.tag().filter(|_| question.image.digest() != Some(digest));
                assess(question, &rule, evidence, &Subject { digest, tag }, now, &mut Budget::for_one_image())
            };
            let resolved = evidence.evidence().resolution.found().copied();
            let assessment = resolved.map_or_else(Assessment::default, |digest| about(digest, evidence));
            let relatives = relatives(&rule, evidence).into_iter().map(|(relation, digest, platform, of)| {
                let Assessment { verified, rejections } = about(digest, of);
                let verified = verified.into_values().flatten().collect();
                RelativeAttempt { relation, digest, platform, verified, rejected: rejections }
            });
            let relatives = relatives.collect();
            let is_this = |of: &&RuleVerdict| of.policy() == rule.policy.name && of.rule() == Some(&rule.rule.name);
            attempts.push(Attempt {
                policy: rule.policy.name.clone(),
                rule: rule.rule.clone(),
                requirement: required(&rule),
                authorities: named(&rule),
                verified: assessment.verified.into_values().flatten().collect(),
                rejected: assessment.rejections,
                relatives,
                decision: verdict.rules().iter().find(is_this).cloned(),
            });
        }
    }
    Explanation { verdict, places: evidence.evidence().places.clone(), attempts }
}

/// The other manifests that a rule looks at, as far as there is evidence about them: the children of an index that it asks
/// for, or the index by which an image was reached.
fn relatives<'a>(
    rule: &Applicable<'_>,
    evidence: &'a DecodedEvidence,
) -> Vec<(Relation, Digest, Option<PlatformName>, &'a DecodedEvidence)> {
    let platforms = &rule.rule.platforms;
    if *platforms == Platforms::Requested {
        let accepts = rule.rule.signed_parent == SignedParent::Accept;
        let parent = evidence.parent().filter(|_| accepts);
        let digest = parent.and_then(|parent| parent.evidence().resolution.found().copied());
        return parent
            .zip(digest)
            .map(|(parent, digest)| (Relation::Parent, digest, None, parent))
            .into_iter()
            .collect();
    }
    let own = evidence.evidence();
    let Some(Listing::Index(index)) = own.resolution.found().map(|digest| own.relatives.listing(*digest)) else {
        return Vec::new();
    };
    let scope = Scope { children: vec![platforms.clone()], ..Scope::IMAGE };
    let children = scope.children_of(&index).into_iter().filter_map(|child| {
        let platform = child.platform.as_ref().and_then(PlatformName::of);
        let found = evidence.children().get(&child.digest)?;
        Some((Relation::Child, child.digest, platform, found))
    });
    children.collect()
}

/// Whom a rule names.
fn named(rule: &Applicable<'_>) -> Vec<Authority> {
    rule.rule.authorities().into_iter().filter_map(|index| rule.policy.authority(index)).cloned().collect()
}

/// Who must have signed, in words.
fn required(rule: &Applicable<'_>) -> String {
    let require = rule.rule.require.as_ref();
    require.map_or_else(|| "nobody: what is attested suffices".to_owned(), |require| describe(rule.policy, require))
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
