//! From the core's verdict to the view that the outside sees.

use hallmark_policy::trust;
use hallmark_policy::verdict as core;
use hallmark_policy::verify::{Rejection, VerifiedSignature};

use crate::verdict::{ImageVerdict, Mode, Proof, Reason, Rejected, RuleVerdict};

impl From<&core::Verdict> for ImageVerdict {
    fn from(verdict: &core::Verdict) -> Self {
        let deciding = verdict.deciding_rule();
        let several = verdict.rules().len() > 1;
        Self {
            image: verdict.question().image.to_string(),
            pinned: verdict.pinned().map(ToString::to_string),
            verdict: verdict.outcome(),
            admit: verdict.admit(),
            rule: deciding.and_then(rule_name),
            rules: if several { verdict.rules().iter().map(RuleVerdict::from).collect() } else { Vec::new() },
            mode: deciding.map(|rule| rule.mode().into()),
            proof: verdict.proof().into_iter().map(Proof::from).collect(),
            reasons: verdict.reasons().into_iter().map(Reason::from).collect(),
            rejected: verdict.rejected().iter().map(Rejected::from).collect(),
            decided_at: verdict.decided_at(),
        }
    }
}

/// `POLICY/RULE`; none where no rule covers the image and the document's default decides.
fn rule_name(rule: &core::RuleVerdict) -> Option<String> {
    rule.rule().map(|name| format!("{}/{name}", rule.policy()))
}

impl From<&core::RuleVerdict> for RuleVerdict {
    fn from(rule: &core::RuleVerdict) -> Self {
        Self {
            rule: rule_name(rule).unwrap_or_else(|| format!("{}/default", rule.policy())),
            mode: rule.mode().into(),
            verdict: rule.decision().outcome(),
        }
    }
}

impl From<trust::Mode> for Mode {
    fn from(mode: trust::Mode) -> Self {
        match mode {
            trust::Mode::Audit => Self::Audit,
            trust::Mode::Enforce => Self::Enforce,
            trust::Mode::Warn => Self::Warn,
        }
    }
}

impl From<&VerifiedSignature> for Proof {
    fn from(signature: &VerifiedSignature) -> Self {
        Self {
            authority: signature.authority().to_owned(),
            format: signature.format().as_str().to_owned(),
            key_id: Some(signature.key().to_string()),
            artifact: Some(signature.artifact().to_string()),
        }
    }
}

impl From<&core::Reason> for Reason {
    fn from(reason: &core::Reason) -> Self {
        Self { code: reason.code, message: reason.message.clone(), hint: reason.hint().to_owned() }
    }
}

impl From<&Rejection> for Rejected {
    fn from(rejection: &Rejection) -> Self {
        Self {
            artifact: rejection.artifact.to_string(),
            format: rejection.format.map(|format| format.as_str().to_owned()),
            code: rejection.code,
            message: rejection.message.clone(),
            hint: rejection.code.hint().to_owned(),
        }
    }
}
