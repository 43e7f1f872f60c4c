//! The verdict: a total, pure function of policy, trust, evidence, question and time.

mod assess;
mod attested;
mod coverage;
mod denial;
mod evaluate;
mod exit;
mod explanation;
mod gates;
mod speakers;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::image::{Digest, ImageReference, PinnedImage};
use crate::reason::{Code, Outcome};
use crate::trust::Mode;
use crate::verify::{Rejection, VerifiedAttestation, VerifiedSignature};

pub use attested::{FoundAttestations, find_attestations};
pub use coverage::scope;
pub use evaluate::{decide_without_evidence, evaluate};
pub use exit::{exit_code, worst};
pub use explanation::{Attempt, Explanation, Relation, RelativeAttempt, explain};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The image.
    pub image: ImageReference,
    /// The Kubernetes namespace that it is for, where the asker has one.
    pub namespace: Option<String>,
    /// Annotations that the asker wants to see inside what was signed; usually none.
    pub annotations: BTreeMap<String, String>,
}

impl Question {
    /// May this image be used, by whoever asks?
    #[must_use]
    pub fn about(image: ImageReference) -> Self {
        Self { image, namespace: None, annotations: BTreeMap::new() }
    }

    /// May this image be used in this namespace?
    #[must_use]
    pub fn in_namespace(image: ImageReference, namespace: impl Into<String>) -> Self {
        Self { image, namespace: Some(namespace.into()), annotations: BTreeMap::new() }
    }
}

/// The answer to a question, with everything that it rests on. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    question: Question,
    pinned: Option<PinnedImage>,
    decided_at: Timestamp,
    policies: Vec<PolicyName>,
    rules: Vec<RuleVerdict>,
    rejected: Vec<Rejection>,
}

/// A trust policy document, by name and by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyName {
    /// `metadata.name`.
    pub name: String,
    /// Digest of the document and of the key material that it names.
    pub digest: Digest,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVerdict {
    policy: String,
    rule: Option<String>,
    mode: Mode,
    decision: Decision,
}

/// What a rule comes to. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Its requirement is met.
    Allow(Proof),
    /// Its requirement is not met; never empty.
    Deny(Vec<Reason>),
    /// It could not be looked at all that matters; never empty.
    Undetermined(Vec<Reason>),
}

/// Why an image is allowed. There is no way to make one outside of [`evaluate`], and none is ever empty.
///
/// ```compile_fail,E0451
/// use hallmark_policy::verdict::{Grounds, Proof};
/// let forged = Proof { grounds: Grounds::Default, attestations: Vec::new(), held_since: None };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    grounds: Grounds,
    attestations: Vec<DemandMet>,
    held_since: Option<Timestamp>,
}

/// A demand on attestations, with one of those that meet it for each authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemandMet {
    /// The demand's name in its rule.
    pub demand: String,
    /// The attestation.
    pub attestation: VerifiedAttestation,
}

/// What an allow rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grounds {
    /// No document covers the image, and every document says in writing that such images are allowed.
    Default,
    /// An exception of the document, with its owner and its reason.
    Exception {
        /// Who answers for it.
        owner: String,
        /// Why it exists.
        reason: String,
        /// When it ends.
        expires: Timestamp,
        /// What it waived.
        waived: Vec<Code>,
    },
    /// Signatures of distinct authorities, all about this one image; never empty.
    Signatures(Vec<VerifiedSignature>),
    /// What is attested of the image alone: the rule asks for no signature beside that. The attestations are never empty.
    Attestations,
}

impl Proof {
    /// What it rests on.
    #[must_use]
    pub fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// The signatures that it rests on; empty for exceptions, defaults and attestations alone.
    #[must_use]
    pub fn signatures(&self) -> &[VerifiedSignature] {
        match &self.grounds {
            Grounds::Signatures(signatures) => signatures,
            Grounds::Default | Grounds::Exception { .. } | Grounds::Attestations => &[],
        }
    }

    /// The attestations that it rests on, beside the grounds; empty where the rule demands none.
    #[must_use]
    pub fn attestations(&self) -> &[DemandMet] {
        &self.attestations
    }

    /// When the evidence was gathered, where the registry could not be asked and held evidence was used instead.
    #[must_use]
    pub fn held_since(&self) -> Option<Timestamp> {
        self.held_since
    }
}

/// One reason of a denial or of an open question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The stable code.
    pub code: Code,
    /// What was expected and what was found: one sentence, lower case, no full stop.
    pub message: String,
}

impl Reason {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }
}

impl RuleVerdict {
    /// Name of the document.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Name of the rule; none where the document's default decides.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The rule's mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the rule comes to.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Whether the rule lets the image in: it allows it, or its mode only warns or watches.
    #[must_use]
    pub fn admits(&self) -> bool {
        matches!(self.decision, Decision::Allow(_)) || self.mode != Mode::Enforce
    }
}

impl Decision {
    /// Its outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Allow(_) => Outcome::Allow,
            Self::Deny(_) => Outcome::Deny,
            Self::Undetermined(_) => Outcome::Undetermined,
        }
    }

    /// The proof, when it is an allow.
    #[must_use]
    pub fn proof(&self) -> Option<&Proof> {
        match self {
            Self::Allow(proof) => Some(proof),
            Self::Deny(_) | Self::Undetermined(_) => None,
        }
    }

    /// The reasons, when it is not an allow.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Allow(_) => &[],
            Self::Deny(reasons) | Self::Undetermined(reasons) => reasons,
        }
    }
}

impl Verdict {
    /// The truth about the image: the worst of what the rules say. Never better than undetermined without rules.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.rules.iter().map(|rule| rule.decision.outcome()).max().unwrap_or(Outcome::Undetermined)
    }

    /// What the rules' modes make of it: whether the image may be used.
    #[must_use]
    pub fn admit(&self) -> bool {
        !self.rules.is_empty() && self.rules.iter().all(RuleVerdict::admits)
    }

    /// What was asked.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The image that was judged, once its digest is known. This is what to deploy.
    #[must_use]
    pub fn pinned(&self) -> Option<&PinnedImage> {
        self.pinned.as_ref()
    }

    /// When it was decided.
    #[must_use]
    pub fn decided_at(&self) -> Timestamp {
        self.decided_at
    }

    /// The documents in force.
    #[must_use]
    pub fn policies(&self) -> &[PolicyName] {
        &self.policies
    }

    /// What each rule says; never empty.
    #[must_use]
    pub fn rules(&self) -> &[RuleVerdict] {
        &self.rules
    }

    /// The rule that decides: the first with the worst outcome, enforcing ones before others.
    #[must_use]
    pub fn deciding_rule(&self) -> Option<&RuleVerdict> {
        let weight = |rule: &RuleVerdict| (!rule.admits(), rule.decision.outcome());
        let mut best: Option<&RuleVerdict> = None;
        for rule in &self.rules {
            if best.is_none_or(|best| weight(rule) > weight(best)) {
                best = Some(rule);
            }
        }
        best
    }

    /// The reasons of every rule that does not allow, the deciding rule's first, each once.
    #[must_use]
    pub fn reasons(&self) -> Vec<&Reason> {
        let mut reasons: Vec<&Reason> = Vec::new();
        let first = self.deciding_rule().into_iter();
        for reason in first.chain(&self.rules).flat_map(|rule| rule.decision.reasons()) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// The signatures that an allow rests on, over all rules, each once.
    #[must_use]
    pub fn proof(&self) -> Vec<&VerifiedSignature> {
        let mut proof: Vec<&VerifiedSignature> = Vec::new();
        for signature in self.rules.iter().filter_map(|rule| rule.decision.proof()).flat_map(Proof::signatures) {
            if !proof.contains(&signature) {
                proof.push(signature);
            }
        }
        proof
    }

    /// The attestations that an allow rests on, over all rules, each once.
    #[must_use]
    pub fn attestations(&self) -> Vec<&DemandMet> {
        let mut met: Vec<&DemandMet> = Vec::new();
        for demand in self.rules.iter().filter_map(|rule| rule.decision.proof()).flat_map(Proof::attestations) {
            if !met.contains(&demand) {
                met.push(demand);
            }
        }
        met
    }

    /// Signatures that were found and do not count, each once, in a stable order.
    #[must_use]
    pub fn rejected(&self) -> &[Rejection] {
        &self.rejected
    }
}
