//! Verdicts: the same shape as the service's `POST /v1/verdicts`, with a version.

use std::collections::BTreeMap;

use hallmark_policy::image::Digest;
use hallmark_policy::verdict::{DemandMet, Grounds, PolicyName, RuleVerdict, Verdict};
use hallmark_policy::verify::{Rejection, VerifiedSignature};
use hallmark_policy::{Outcome, Timestamp};
use serde::Serialize;

use super::maker::{Maker, Vouchers};
use super::style;
use crate::output::{Style, Text};

/// Verdicts about several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerdictsReport {
    version: &'static str,
    verdict: &'static str,
    admit: bool,
    policies: Vec<PolicyReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<Timestamp>,
    images: Vec<ImageVerdict>,
}

/// A document in force.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyReport {
    name: String,
    digest: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageVerdict {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    verdict: &'static str,
    admit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    proof: Vec<ProofReport>,
    /// The attestations that meet the rule's demands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attestations: Vec<AttestedReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<ExceptionReport>,
    /// When the evidence was gathered, where the registry could not be asked and held evidence was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_since: Option<Timestamp>,
    reasons: Vec<ReasonReport>,
    rejected: Vec<RejectedReport>,
    #[serde(skip)]
    outcome: Outcome,
}

/// A signature that counts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProofReport {
    authority: String,
    #[serde(flatten)]
    maker: Maker,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    vouchers: Vouchers,
    /// When it ends by its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

/// An attestation that meets a demand.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttestedReport {
    demand: String,
    authority: String,
    predicate_type: String,
    #[serde(flatten)]
    maker: Maker,
}

/// An exception that allows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExceptionReport {
    owner: String,
    reason: String,
    expires: Timestamp,
    waived: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReasonReport {
    code: &'static str,
    message: String,
    hint: &'static str,
}

/// A signature that does not count.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RejectedReport {
    artifact: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    code: &'static str,
    message: String,
    hint: &'static str,
}

impl VerdictsReport {
    /// The report about some verdicts, at least one.
    pub(crate) fn new(verdicts: &[Verdict]) -> Self {
        let worst = hallmark_policy::verdict::worst(verdicts);
        let policies = worst.map(Verdict::policies).unwrap_or_default();
        Self {
            version: "hallmark.dev/verdicts/v1",
            verdict: worst.map_or(Outcome::Undetermined, Verdict::outcome).as_str(),
            admit: !verdicts.is_empty() && verdicts.iter().all(Verdict::admit),
            policies: policies.iter().map(PolicyReport::new).collect(),
            decided_at: worst.map(Verdict::decided_at),
            images: verdicts.iter().map(ImageVerdict::new).collect(),
        }
    }

    /// Lines for people: the outcome, why, and what to do.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        for image in &self.images {
            image.tell(&mut text);
        }
        text
    }
}

impl PolicyReport {
    pub(super) fn new(policy: &PolicyName) -> Self {
        Self { name: policy.name.clone(), digest: policy.digest.to_string() }
    }
}

impl ImageVerdict {
    fn new(verdict: &Verdict) -> Self {
        let deciding = verdict.deciding_rule();
        let grounds = deciding.and_then(|rule| rule.decision().proof());
        Self {
            image: verdict.question().image.to_string(),
            pinned: verdict.pinned().map(ToString::to_string),
            verdict: verdict.outcome().as_str(),
            admit: verdict.admit(),
            rule: deciding.map(rule_name),
            mode: deciding.map(|rule| rule.mode().as_str()),
            proof: verdict
                .proof()
                .into_iter()
                .map(|signature| ProofReport::about(signature, verdict.pinned().map(|pinned| pinned.digest)))
                .collect(),
            attestations: verdict
                .attestations()
                .into_iter()
                .map(|met| AttestedReport::new(met, verdict.pinned().map(|pinned| pinned.digest)))
                .collect(),
            exception: grounds.and_then(|proof| ExceptionReport::new(proof.grounds())),
            held_since: grounds.and_then(hallmark_policy::verdict::Proof::held_since),
            reasons: verdict
                .reasons()
                .into_iter()
                .map(|reason| ReasonReport {
                    code: reason.code.as_str(),
                    message: reason.message.clone(),
                    hint: reason.hint(),
                })
                .collect(),
            rejected: verdict.rejected().iter().map(RejectedReport::new).collect(),
            outcome: verdict.outcome(),
        }
    }

    fn tell(&self, text: &mut Text) {
        let admitted = match self.mode {
            Some(mode) if self.admit && self.outcome != Outcome::Allow => {
                format!("  (admitted: the rule's mode is {mode})")
            }
            _ => String::new(),
        };
        text.parts([
            (style(self.outcome), self.verdict.to_owned()),
            (Style::Strong, format!("  {}", self.image)),
            (Style::Doubt, admitted),
        ]);
        if let Some(pinned) = &self.pinned {
            text.line(format!("  pinned    {pinned}"));
        }
        // `--key` stands for a document of one rule, which says nothing to whoever typed it.
        if let Some(rule) = self.rule.as_ref().filter(|rule| !rule.starts_with("command-line/")) {
            text.line(format!("  rule      {rule}"));
        }
        for proof in &self.proof {
            text.line(format!("  signed    {}", proof.words()));
        }
        for attested in &self.attestations {
            text.line(format!("  attested  {}", attested.words()));
        }
        if let Some(exception) = &self.exception {
            text.line(format!(
                "  exception {} until {}, owned by {}: {}",
                exception.waived.join(", "),
                exception.expires,
                exception.owner,
                exception.reason
            ));
        }
        if let Some(since) = self.held_since {
            text.styled(Style::Doubt, format!("  held      the registry could not be asked; evidence of {since}"));
        }
        for reason in &self.reasons {
            text.parts([
                (style(self.outcome), format!("  {}", reason.code)),
                (Style::Plain, format!(": {}", reason.message)),
            ]);
            text.styled(Style::Faint, format!("  hint: {}", reason.hint));
        }
        self.tell_rejected(text);
    }

    /// After an allow it is enough to know that there are others; after anything else each may be the answer. What a
    /// reason says already is not said twice.
    fn tell_rejected(&self, text: &mut Text) {
        if self.outcome == Outcome::Allow {
            match self.rejected.len() {
                0 => {}
                1 => text
                    .styled(Style::Faint, "  besides   1 signature that does not count; `hallmark inspect` shows it"),
                count => text.styled(
                    Style::Faint,
                    format!("  besides   {count} signatures that do not count; `hallmark inspect` shows them"),
                ),
            }
            return;
        }
        let said = |rejected: &RejectedReport| self.reasons.iter().any(|reason| reason.message == rejected.message);
        for rejected in self.rejected.iter().filter(|rejected| !said(rejected)) {
            text.styled(Style::Faint, format!("  rejected  {}", rejected.words()));
        }
    }
}

impl ProofReport {
    /// A signature with the manifest that it is about, unless that is `pinned`.
    pub(super) fn about(signature: &VerifiedSignature, pinned: Option<Digest>) -> Self {
        let subject = Some(signature.subject()).filter(|subject| pinned != Some(*subject));
        Self { maker: Maker::of_signature(signature, subject), ..Self::new(signature) }
    }

    pub(super) fn new(signature: &VerifiedSignature) -> Self {
        Self {
            authority: signature.authority().to_owned(),
            maker: Maker::of_signature(signature, None),
            name: signature.name().map(str::to_owned),
            annotations: signature.annotations().clone(),
            vouchers: Vouchers::new(signature.time(), signature.logs()),
            expires: signature.expires(),
        }
    }

    /// In one line.
    pub(super) fn words(&self) -> String {
        let annotations: Vec<_> = self.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let annotations = if annotations.is_empty() { String::new() } else { format!(" [{}]", annotations.join(", ")) };
        // Keys and identities of the command line speak for nobody but themselves.
        let is_named = !matches!(self.authority.as_str(), "key" | "identity");
        let authority = if is_named { format!("{}, ", self.authority) } else { String::new() };
        let Self { maker, vouchers, .. } = self;
        let expires = self.expires.map(|expires| format!(", until {expires}")).unwrap_or_default();
        let (who, about, seen) = (maker.who(), maker.about(), vouchers.words());
        format!("by {authority}{who} ({}){about}{annotations}{seen}{expires}", maker.format)
    }

    pub(super) fn artifact(&self) -> &str {
        &self.maker.artifact
    }
}

impl AttestedReport {
    fn new(met: &DemandMet, pinned: Option<Digest>) -> Self {
        let attestation = &met.attestation;
        let subject = Some(attestation.subject()).filter(|subject| pinned != Some(*subject));
        Self {
            demand: met.demand.clone(),
            authority: attestation.authority().to_owned(),
            predicate_type: attestation.predicate_type().to_owned(),
            maker: Maker::of_attestation(attestation, subject),
        }
    }

    /// In one line.
    fn words(&self) -> String {
        let Self { demand, authority, predicate_type, maker } = self;
        format!("{demand}: {predicate_type} by {authority}, {}{}", maker.who(), maker.about())
    }
}

impl RejectedReport {
    pub(super) fn new(rejection: &Rejection) -> Self {
        Self {
            artifact: rejection.artifact.to_string(),
            format: rejection.format.map(hallmark_policy::signature::Format::as_str),
            code: rejection.code.as_str(),
            message: rejection.message.clone(),
            hint: rejection.code.hint(),
        }
    }

    /// In one line.
    pub(super) fn words(&self) -> String {
        format!("{} {}: {}: {}", self.artifact, self.format.unwrap_or("artifact"), self.code, self.message)
    }

    /// Why, without what.
    pub(super) fn why(&self) -> String {
        format!("{}: {}", self.code, self.message)
    }

    pub(super) fn artifact(&self) -> &str {
        &self.artifact
    }
}

impl ExceptionReport {
    pub(super) fn new(grounds: &Grounds) -> Option<Self> {
        match grounds {
            Grounds::Exception { owner, reason, expires, waived } => Some(Self {
                owner: owner.clone(),
                reason: reason.clone(),
                expires: *expires,
                waived: waived.iter().map(|code| code.as_str()).collect(),
            }),
            Grounds::Default | Grounds::Signatures(_) | Grounds::Attestations => None,
        }
    }
}

/// `document/rule`, or the document's default.
pub(super) fn rule_name(rule: &RuleVerdict) -> String {
    match rule.rule() {
        Some(name) => format!("{}/{name}", rule.policy()),
        None => format!("{} (default)", rule.policy()),
    }
}
