//! What is attested of images, by whom, and why other things that were found do not count.

use hallmark_policy::attestation::PredicateType;
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::verdict::{FoundAttestations, Reason};
use hallmark_policy::verify::{Rejection, VerifiedAttestation};
use serde::Serialize;

use super::maker::{Maker, Vouchers};
use crate::error::Failure;
use crate::output::{Output, Style, Text};

/// What was found of several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttestationsReport {
    version: &'static str,
    predicate_type: String,
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
    attestations: Vec<AttestationReport>,
    reasons: Vec<ReasonReport>,
    rejected: Vec<RejectedReport>,
}

/// An attestation that counts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttestationReport {
    #[serde(flatten)]
    maker: Maker,
    #[serde(flatten)]
    vouchers: Vouchers,
    /// The statement that verified.
    statement: serde_json::Value,
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

impl AttestationsReport {
    /// The report about some images.
    pub(crate) fn new(predicate_type: &PredicateType, images: Vec<ImageAttested>) -> Self {
        Self { version: "hallmark.dev/attestations/v1", predicate_type: predicate_type.to_string(), images }
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
            attestations: found.verified.iter().map(AttestationReport::new).collect(),
            reasons: found.reasons.iter().map(ReasonReport::new).collect(),
            rejected: found.rejected.iter().map(RejectedReport::new).collect(),
        }
    }

    fn tell(&self, output: Output) -> Result<(), Failure> {
        for AttestationReport { maker, vouchers, statement } in &self.attestations {
            let (who, seen) = (maker.who(), vouchers.words());
            output.detail(&format!("{}: by {who}{seen} ({}, {})", self.image, maker.format, maker.artifact));
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

impl AttestationReport {
    fn new((attestation, statement): &(VerifiedAttestation, Vec<u8>)) -> Self {
        Self {
            maker: Maker::of_attestation(attestation, None),
            vouchers: Vouchers::new(attestation.time(), attestation.logs()),
            statement: serde_json::from_slice(statement).unwrap_or_default(),
        }
    }
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
