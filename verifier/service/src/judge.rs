//! From the core's verdict to the view that the outside sees.

use hallmark_policy::sigstore::Certified;
use hallmark_policy::trust;
use hallmark_policy::verdict as core;
use hallmark_policy::verify::{Rejection, VerifiedSignature};

use crate::verdict::{Attested, Exception, Identity, ImageVerdict, Mode, Proof, Reason, Rejected, RuleVerdict};

impl From<&core::Verdict> for ImageVerdict {
    fn from(verdict: &core::Verdict) -> Self {
        let deciding = verdict.deciding_rule();
        let several = verdict.rules().len() > 1;
        let grounds = || verdict.rules().iter().filter_map(|rule| rule.decision().proof());
        Self {
            image: verdict.question().image.to_string(),
            pinned: verdict.pinned().map(ToString::to_string),
            verdict: verdict.outcome(),
            admit: verdict.admit(),
            rule: deciding.and_then(rule_name),
            rules: if several { verdict.rules().iter().map(RuleVerdict::from).collect() } else { Vec::new() },
            mode: deciding.map(|rule| rule.mode().into()),
            proof: verdict.proof().into_iter().map(|signature| Proof::of(signature, verdict)).collect(),
            attestations: verdict.attestations().into_iter().map(|met| Attested::of(met, verdict)).collect(),
            exception: grounds().find_map(|proof| exception(proof.grounds())),
            held_since: grounds().find_map(core::Proof::held_since),
            reasons: verdict.reasons().into_iter().map(Reason::from).collect(),
            rejected: verdict.rejected().iter().map(Rejected::from).collect(),
            decided_at: verdict.decided_at(),
        }
    }
}

fn exception(grounds: &core::Grounds) -> Option<Exception> {
    let core::Grounds::Exception { owner, reason, expires, waived } = grounds else { return None };
    let (owner, reason) = (owner.clone(), reason.clone());
    Some(Exception { owner, reason, expires: *expires, waived: waived.clone() })
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

impl Proof {
    fn of(signature: &VerifiedSignature, verdict: &core::Verdict) -> Self {
        let is_pinned = verdict.pinned().is_some_and(|pinned| pinned.digest == signature.subject());
        Self {
            subject: (!is_pinned).then(|| signature.subject().to_string()),
            authority: signature.authority().to_owned(),
            format: signature.format().as_str().to_owned(),
            key_id: signature.certified().is_none().then(|| signature.key().to_string()),
            identity: signature.certified().map(Identity::from),
            artifact: Some(signature.artifact().to_string()),
            signed_at: signature.time().map(|time| time.time().to_string()),
            timestamped_by: signature.time().map(|time| time.vouchers().to_vec()).unwrap_or_default(),
            logged_by: signature.logs().to_vec(),
        }
    }
}

impl From<&Certified> for Identity {
    fn from(certified: &Certified) -> Self {
        let identity = certified.identity();
        Self {
            issuer: identity.issuer().unwrap_or_default().to_owned(),
            subject: certified.subject().to_owned(),
            claims: identity.claims().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            trust_root: certified.root().to_owned(),
            published_by: certified.certificate_logs().to_vec(),
        }
    }
}

impl Attested {
    fn of(met: &core::DemandMet, verdict: &core::Verdict) -> Self {
        let attestation = &met.attestation;
        let is_pinned = verdict.pinned().is_some_and(|pinned| pinned.digest == attestation.subject());
        Self {
            demand: met.demand.clone(),
            authority: attestation.authority().to_owned(),
            predicate_type: attestation.predicate_type().to_owned(),
            format: attestation.format().as_str().to_owned(),
            key_id: attestation.certified().is_none().then(|| attestation.key().to_string()),
            identity: attestation.certified().map(Identity::from),
            subject: (!is_pinned).then(|| attestation.subject().to_string()),
            artifact: attestation.artifact().to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
    use hallmark_policy::verdict::{Question, decide_without_evidence};
    use hallmark_policy::{Code, Outcome, Timestamp};

    const DOCUMENT: &str = r#"
apiVersion: hallmark.dev/v1alpha1
kind: TrustPolicy
metadata: {name: NAME}
spec:
  authorities: [{name: release-team, keys: [{publicKey: {file: a.pub}}]}]
  rules: [{name: prod, images: ["r.example/prod/**"], require: release-team, tags: deny, mode: MODE}]
"#;

    fn view(documents: &[(&str, &str)], image: &str) -> ImageVerdict {
        let compile = |(name, mode): &(&str, &str)| {
            let text = DOCUMENT.replace("NAME", name).replace("MODE", mode);
            let key = include_bytes!("../../../policy/testdata/cosign.pub");
            TrustPolicy::compile(&Document::parse(name, &text).unwrap(), &mut |_| Ok(key.to_vec())).unwrap()
        };
        let trust = TrustSnapshot::new(documents.iter().map(compile).collect()).unwrap();
        let question = Question::about(image.parse().unwrap());
        ImageVerdict::from(&decide_without_evidence(&question, &trust, Timestamp::UNIX_EPOCH).unwrap())
    }

    #[test]
    fn an_image_without_a_rule_is_denied_without_a_rule() {
        let view = view(&[("one", "enforce")], "nginx");
        assert_eq!((view.verdict, view.admit, view.rule), (Outcome::Deny, false, None));
        assert_eq!(view.reasons.first().unwrap().code, Code::NoMatchingRule);
        assert!(!view.reasons.first().unwrap().hint.is_empty());
        assert!(view.rules.is_empty() && view.proof.is_empty());
    }

    #[test]
    fn a_rule_that_warns_admits_and_one_that_enforces_beside_it_does_not() {
        let warned = view(&[("one", "warn")], "r.example/prod/app:1");
        assert_eq!((warned.verdict, warned.admit, warned.mode), (Outcome::Deny, true, Some(Mode::Warn)));
        assert_eq!(warned.rule.as_deref(), Some("one/prod"));
        let refused = view(&[("one", "warn"), ("two", "enforce")], "r.example/prod/app:1");
        assert_eq!((refused.verdict, refused.admit, refused.mode), (Outcome::Deny, false, Some(Mode::Enforce)));
        assert_eq!(refused.rule.as_deref(), Some("two/prod"), "the rule that decides is named");
        assert_eq!(refused.rules.len(), 2);
    }

    #[test]
    fn the_use_of_an_exception_is_recorded_with_its_owner() {
        let expires: Timestamp = "2026-12-31T00:00:00Z".parse().unwrap();
        let grounds = core::Grounds::Exception {
            owner: "ann".to_owned(),
            reason: "TICKET-7".to_owned(),
            expires,
            waived: vec![Code::Unsigned],
        };
        let recorded = exception(&grounds).unwrap();
        assert_eq!((recorded.owner.as_str(), recorded.reason.as_str()), ("ann", "TICKET-7"));
        assert_eq!((recorded.expires, recorded.waived), (expires, vec![Code::Unsigned]));
        assert_eq!(exception(&core::Grounds::Default), None);
    }
}
