//! `policy explain`: the verdict, and every check that led to it.

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::verdict::{Attempt, Explanation, Relation, RelativeAttempt};
use serde::Serialize;

use super::authority::AuthorityReport;
use super::evidence::EvidenceReport;
use super::verdict::{ProofReport, RejectedReport, VerdictsReport};
use crate::output::{Style, Text};

/// A verdict with everything that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplanationReport {
    version: &'static str,
    verdict: VerdictsReport,
    rules: Vec<RuleReport>,
    evidence: EvidenceReport,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleReport {
    policy: String,
    rule: String,
    mode: &'static str,
    /// Where it is written.
    line: u64,
    /// Who must have signed, in words.
    requirement: String,
    /// Those whom the rule names, also in its demands on attestations.
    authorities: Vec<AuthorityReport>,
    /// How far the name inside what was signed is bound.
    reference: &'static str,
    outcome: &'static str,
    verified: Vec<ProofReport>,
    rejected: Vec<RejectedReport>,
    /// Other manifests that the rule looks at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relatives: Vec<RelativeReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RelativeReport {
    /// `child`, which the image lists, or `parent`, by which it was reached.
    relation: &'static str,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    verified: Vec<ProofReport>,
    rejected: Vec<RejectedReport>,
}

impl ExplanationReport {
    /// The report about an explanation.
    pub(crate) fn new(explanation: &Explanation, decoded: &DecodedEvidence) -> Self {
        Self {
            version: "hallmark.dev/explanation/v1",
            verdict: VerdictsReport::new(std::slice::from_ref(&explanation.verdict)),
            rules: explanation.attempts.iter().map(RuleReport::new).collect(),
            evidence: EvidenceReport::new(decoded, None),
        }
    }

    /// Lines for people: the verdict, then for each rule what it expects and what it found, then where was looked.
    pub(crate) fn text(&self) -> Text {
        let mut text = self.verdict.text();
        for rule in &self.rules {
            text.line("");
            text.parts([
                (Style::Strong, format!("rule {}/{}", rule.policy, rule.rule)),
                (Style::Faint, format!("  (line {}, {})", rule.line, rule.mode)),
            ]);
            text.line(format!("  expected  signed by {}; name inside: {}", rule.requirement, rule.reference));
            rule.authorities.iter().for_each(|authority| authority.tell(&mut text));
            text.line(format!("  outcome   {}", rule.outcome));
            tell_found(&mut text, &rule.verified, &rule.rejected);
            for relative in &rule.relatives {
                let platform = relative.platform.as_ref().map(|name| format!("  ({name})")).unwrap_or_default();
                text.line(format!("  {:<9} {}{platform}", relative.relation, relative.digest));
                tell_found(&mut text, &relative.verified, &relative.rejected);
            }
        }
        text.line("");
        text.styled(Style::Strong, "where was looked");
        self.evidence.tell_places(&mut text);
        self.evidence.tell_unknown(&mut text);
        text
    }
}

fn tell_found(text: &mut Text, verified: &[ProofReport], rejected: &[RejectedReport]) {
    for proof in verified {
        text.styled(Style::Good, format!("  counts    {}", proof.words()));
        text.styled(Style::Faint, format!("            {}", proof.artifact()));
    }
    for rejected in rejected {
        text.styled(Style::Bad, format!("  rejected  {}", rejected.why()));
        text.styled(Style::Faint, format!("            {}", rejected.artifact()));
    }
    if verified.is_empty() && rejected.is_empty() {
        text.line("  found     no signature");
    }
}

impl RelativeReport {
    fn new(attempt: &RelativeAttempt) -> Self {
        Self {
            relation: match attempt.relation {
                Relation::Child => "child",
                Relation::Parent => "parent",
            },
            digest: attempt.digest.to_string(),
            platform: attempt.platform.as_ref().map(ToString::to_string),
            verified: attempt.verified.iter().map(ProofReport::new).collect(),
            rejected: attempt.rejected.iter().map(RejectedReport::new).collect(),
        }
    }
}

impl RuleReport {
    fn new(attempt: &Attempt) -> Self {
        let decision = attempt.decision.as_ref().map(|rule| rule.decision().outcome());
        Self {
            policy: attempt.policy.clone(),
            rule: attempt.rule.name.clone(),
            mode: attempt.rule.mode.as_str(),
            line: attempt.rule.position.line,
            requirement: attempt.requirement.clone(),
            authorities: attempt.authorities.iter().map(AuthorityReport::new).collect(),
            reference: attempt.rule.reference.as_str(),
            outcome: decision.map_or("undetermined", hallmark_policy::Outcome::as_str),
            verified: attempt.verified.iter().map(ProofReport::new).collect(),
            rejected: attempt.rejected.iter().map(RejectedReport::new).collect(),
            relatives: attempt.relatives.iter().map(RelativeReport::new).collect(),
        }
    }
}
