//! What is attested of images, by whom, and why other things that were found do not count.

use hallmark_policy::attestation::PredicateType;
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::verdict::{DemandMet, FoundAttestations, Grounds, Proof, Reason, Verdict, worst};
use hallmark_policy::verify::{Rejection, VerifiedAttestation};
use hallmark_policy::{Code, Outcome, Timestamp};
use serde::Serialize;

use super::maker::{Maker, Vouchers};
use super::verdict::{ExceptionReport, PolicyReport, VerdictsReport, rule_name};
use crate::error::{Exit, Failure};
use crate::output::{Output, Style, Text};

/// What was found of several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttestationsReport {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate_type: Option<String>,
    /// The documents by which it was judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<PolicyReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<Timestamp>,
    images: Vec<ImageAttested>,
}

/// What was found of one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageAttested {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    /// There is at least one.
    verified: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    judged: Option<Judged>,
    attestations: Vec<AttestationReport>,
    reasons: Vec<ReasonReport>,
    rejected: Vec<RejectedReport>,
    /// What to do with the image, and how that ends the program.
    #[serde(skip)]
    end: (Outcome, Exit),
}

/// What a trust policy makes of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    verdict: &'static str,
    admit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<ExceptionReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_since: Option<Timestamp>,
    /// What `verify` says, where that is not an allow.
    #[serde(skip)]
    refusal: Option<Text>,
}

/// An attestation that counts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttestationReport {
    #[serde(flatten)]
    demand: Option<Demand>,
    #[serde(flatten)]
    maker: Maker,
    #[serde(flatten)]
    vouchers: Vouchers,
    /// The statement that verified.
    statement: serde_json::Value,
}

/// The demand that it met.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Demand {
    demand: String,
    authority: String,
    predicate_type: String,
}

#[derive(Debug, Serialize)]
struct ReasonReport {
    code: &'static str,
    message: String,
    hint: &'static str,
}

#[derive(Debug, Serialize)]
struct RejectedReport {
    artifact: String,
    code: &'static str,
    message: String,
}

/// How it ends where there is what was asked for.
const ALLOWED: (Outcome, Exit) = (Outcome::Allow, Exit::Success);

impl AttestationsReport {
    /// The report about some images.
    pub(crate) fn new(predicate_type: &PredicateType, images: Vec<ImageAttested>) -> Self {
        Self::of(Some(predicate_type), images)
    }

    fn of(predicate_type: Option<&PredicateType>, images: Vec<ImageAttested>) -> Self {
        let predicate_type = predicate_type.map(PredicateType::to_string);
        let version = "hallmark.dev/attestations/v1";
        Self { version, predicate_type, policies: Vec::new(), decided_at: None, images }
    }

    /// What met the demands of the rules, where these allow; of one type, or of any.
    pub(crate) fn of_verdicts(predicate_type: Option<&PredicateType>, verdicts: &[Verdict]) -> Self {
        let images = verdicts.iter().map(|verdict| ImageAttested::of_verdict(verdict, predicate_type)).collect();
        let worst = worst(verdicts);
        let policies = worst.map(Verdict::policies).unwrap_or_default().iter().map(PolicyReport::new).collect();
        Self { policies, decided_at: worst.map(Verdict::decided_at), ..Self::of(predicate_type, images) }
    }

    /// How it ends the program: deny before undetermined before allow, and of these the first.
    pub(crate) fn exit(&self) -> Exit {
        let mut end = ALLOWED;
        for image in &self.images {
            if image.end.0 > end.0 {
                end = image.end;
            }
        }
        end.1
    }

    /// The predicates on stdout, everything else on stderr.
    pub(crate) fn tell(&self, output: Output) -> Result<(), Failure> {
        self.images.iter().try_for_each(|image| image.tell(output))
    }
}

impl ImageAttested {
    /// What was found of one image in some evidence.
    pub(crate) fn new(image: &ImageReference, evidence: &DecodedEvidence, found: &FoundAttestations) -> Self {
        let pinned = evidence.evidence().resolution.found().map(|digest| image.pin(*digest));
        Self {
            image: image.to_string(),
            pinned: pinned.as_ref().map(PinnedImage::to_string),
            verified: !found.verified.is_empty(),
            judged: None,
            attestations: found.verified.iter().map(AttestationReport::new).collect(),
            reasons: found.reasons.iter().map(ReasonReport::new).collect(),
            rejected: found.rejected.iter().map(RejectedReport::new).collect(),
            end: found.reasons.first().map_or(ALLOWED, |reason| (reason.code.outcome(), Exit::Reason(reason.code))),
        }
    }

    /// What met the demands of the rules for an image; nothing unless all of them allow it.
    fn of_verdict(verdict: &Verdict, predicate_type: Option<&PredicateType>) -> Self {
        let is_allowed = verdict.outcome() == Outcome::Allow;
        let is_wanted =
            |met: &&DemandMet| predicate_type.is_none_or(|wanted| wanted.as_str() == met.attestation.predicate_type());
        let met = verdict.attestations().into_iter().filter(|_| is_allowed).filter(is_wanted);
        let attestations: Vec<_> = met.map(|met| AttestationReport::of_demand(met, verdict)).collect();
        let mut reasons: Vec<_> = verdict.reasons().into_iter().map(ReasonReport::new).collect();
        let mut end = (verdict.outcome(), Exit::of_verdict(verdict));
        if is_allowed && attestations.is_empty() {
            reasons.push(nothing_to_show(verdict, predicate_type));
            end = (Outcome::Deny, Exit::Reason(Code::AttestationMissing));
        }
        Self {
            image: verdict.question().image.to_string(),
            pinned: verdict.pinned().map(PinnedImage::to_string),
            verified: !attestations.is_empty(),
            judged: Some(Judged::new(verdict)),
            attestations,
            reasons,
            rejected: verdict.rejected().iter().map(RejectedReport::new).collect(),
            end,
        }
    }

    fn tell(&self, output: Output) -> Result<(), Failure> {
        if let Some(refusal) = self.judged.as_ref().and_then(|judged| judged.refusal.as_ref()) {
            output.errors(refusal);
            return Ok(());
        }
        for AttestationReport { demand, maker, vouchers, statement } in &self.attestations {
            let (who, about, seen) = (maker.who(), maker.about(), vouchers.words());
            let demand = demand.as_ref().map(Demand::words).unwrap_or_default();
            let place = format!("({}, {})", maker.format, maker.artifact);
            output.detail(&format!("{}: {demand}by {who}{about}{seen} {place}", self.image));
            let predicate = statement.get("predicate").cloned().unwrap_or_default();
            output.raw(format!("{}\n", ascii(&predicate.to_string())).as_bytes())?;
        }
        if self.verified {
            return Ok(());
        }
        let mut text = Text::new();
        text.styled(Style::Strong, &self.image);
        for reason in &self.reasons {
            text.styled(Style::Bad, format!("  {}: {}", reason.code, reason.message));
            text.styled(Style::Faint, format!("  hint: {}", reason.hint));
        }
        let said = |rejected: &RejectedReport| self.reasons.iter().any(|reason| reason.message == rejected.message);
        for rejected in self.rejected.iter().filter(|rejected| !said(rejected)) {
            let RejectedReport { artifact, code, message } = rejected;
            text.styled(Style::Faint, format!("  rejected  {artifact} {code}: {message}"));
        }
        output.errors(&text);
        Ok(())
    }
}

impl Judged {
    fn new(verdict: &Verdict) -> Self {
        let is_allowed = verdict.outcome() == Outcome::Allow;
        let deciding = verdict.deciding_rule();
        let proof = deciding.and_then(|rule| rule.decision().proof());
        Self {
            verdict: verdict.outcome().as_str(),
            admit: verdict.admit(),
            rule: deciding.map(rule_name),
            mode: deciding.map(|rule| rule.mode().as_str()),
            exception: proof.and_then(|proof| ExceptionReport::new(proof.grounds())),
            held_since: proof.and_then(Proof::held_since),
            refusal: (!is_allowed).then(|| VerdictsReport::new(std::slice::from_ref(verdict)).text()),
        }
    }
}

impl AttestationReport {
    fn new(attestation: &VerifiedAttestation) -> Self {
        Self {
            demand: None,
            maker: Maker::of_attestation(attestation, None),
            vouchers: Vouchers::new(attestation.time(), attestation.logs()),
            statement: serde_json::from_slice(attestation.statement()).unwrap_or_default(),
        }
    }

    fn of_demand(met: &DemandMet, verdict: &Verdict) -> Self {
        let attestation = &met.attestation;
        let pinned = verdict.pinned().map(|pinned| pinned.digest);
        let subject = Some(attestation.subject()).filter(|subject| pinned != Some(*subject));
        let demand = Demand {
            demand: met.demand.clone(),
            authority: attestation.authority().to_owned(),
            predicate_type: attestation.predicate_type().to_owned(),
        };
        let maker = Maker::of_attestation(attestation, subject);
        Self { demand: Some(demand), maker, ..Self::new(attestation) }
    }
}

impl Demand {
    /// In front of who made it.
    fn words(&self) -> String {
        format!("{}: {} by {}, ", self.demand, self.predicate_type, self.authority)
    }
}

/// Why nothing of an image that is allowed can be shown.
fn nothing_to_show(verdict: &Verdict, predicate_type: Option<&PredicateType>) -> ReasonReport {
    let proofs = verdict.rules().iter().filter_map(|rule| rule.decision().proof());
    let is_excepted = proofs.map(Proof::grounds).any(|grounds| matches!(grounds, Grounds::Exception { .. }));
    let (message, hint) = match predicate_type {
        Some(wanted) if !verdict.attestations().is_empty() => (
            format!("the image is allowed, and what met the demands on attestations is not of type `{wanted}`"),
            "leave `--type` out to see what met them",
        ),
        _ if is_excepted => (
            "the image is allowed by an exception, and no attestation met a demand".to_owned(),
            "`hallmark verify --policy` names the exception; `hallmark policy explain` says what is missing",
        ),
        _ => (
            "the image is allowed, and no attestation met a demand".to_owned(),
            "`hallmark policy explain` says why it is allowed",
        ),
    };
    ReasonReport { code: Code::AttestationMissing.as_str(), message, hint }
}

impl ReasonReport {
    fn new(reason: &Reason) -> Self {
        Self { code: reason.code.as_str(), message: reason.message.clone(), hint: reason.hint() }
    }
}

impl RejectedReport {
    fn new(rejection: &Rejection) -> Self {
        Self {
            artifact: rejection.artifact.to_string(),
            code: rejection.code.as_str(),
            message: rejection.message.clone(),
        }
    }
}

/// The same JSON in ASCII (RFC 8259, section 7): nothing remote can steer a terminal, and nothing is lost.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    let mut units = [0_u16; 2];
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_print_what_steers_a_terminal_and_loses_nothing() {
        let value = serde_json::json!({"a": "\u{1b}[2J\u{9b}31m\u{202e}x\u{1f600}\u{7f}", "\u{e9}": 1});
        let printed = ascii(&value.to_string());
        assert!(printed.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }
}
