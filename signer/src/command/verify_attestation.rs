//! `hallmark verify-attestation`: what is attested of an image by a key, and by nobody else.

use std::time::Instant;

use hallmark_policy::attestation::PredicateType;
use hallmark_policy::evidence::{DecodedEvidence, Large, Scope};
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::verdict::{FoundAttestations, find_attestations};
use hallmark_policy::verify::PublicKey;
use hallmark_registry::Registry;
use serde::Serialize;

use super::registry_access;
use crate::error::{Exit, Failure};
use crate::key::KeyReference;
use crate::output::{Format, Output, Style, Text};

const EXAMPLES: &str = "\
In text, each verified predicate is printed as one line of JSON on stdout, with what is beyond ASCII escaped.

Examples:
  hallmark verify-attestation --key release.pub --type slsaprovenance1 registry.example.com/app:1.4
  hallmark verify-attestation --key ci.pub --type vuln registry.example.com/app:1.4 | jq .metadata
  hallmark verify-attestation --key release.pub --type spdx -o json r.example.com/app@sha256:...";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Trust this public key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, any of them suffices
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<String>,
    /// The type of the predicate: slsaprovenance, slsaprovenance1, spdx, cyclonedx, openvex, vuln, link, custom or a URI
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: PredicateType,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

/// What was found of several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    version: &'static str,
    predicate_type: String,
    images: Vec<ImageReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageReport {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    /// There is at least one.
    verified: bool,
    attestations: Vec<AttestationReport>,
    reasons: Vec<ReasonReport>,
    rejected: Vec<RejectedReport>,
}

/// An attestation that verifies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttestationReport {
    key_id: String,
    format: &'static str,
    artifact: String,
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

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let keys = arguments.key.iter().map(|text| text.parse::<KeyReference>()?.public_key());
    let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
    let registry = arguments.registry.registry(&images, output)?;
    let deadline = arguments.registry.deadline();
    let now = registry_access::clock()();
    let found = registry_access::wait(async {
        let asked = images.iter().map(|image| look(&registry, image, &arguments.predicate_type, deadline));
        futures_util::future::join_all(asked).await
    })?;
    let mut exit = Exit::Success;
    let mut reports = Vec::new();
    for (image, evidence) in images.iter().zip(&found) {
        let attestations = find_attestations(evidence, &keys, &arguments.predicate_type, now);
        let reason = attestations.reasons.first();
        exit = exit.worse(reason.map_or(Exit::Success, |reason| Exit::Reason(reason.code)));
        reports.push(ImageReport::new(image, evidence, &attestations));
    }
    match output.format {
        Format::Json => {
            let predicate_type = arguments.predicate_type.to_string();
            output.json(&Report { version: "hallmark.dev/attestations/v1", predicate_type, images: reports })?;
        }
        Format::Text | Format::Cosign => {
            for report in &reports {
                report.tell(output)?;
            }
        }
    }
    Ok(exit)
}

/// Everything that may be an attestation of an image.
async fn look(
    registry: &Registry,
    image: &ImageReference,
    predicate_type: &PredicateType,
    deadline: Instant,
) -> DecodedEvidence {
    let scope = Scope { attestations: true, large: Large::of_type(predicate_type), ..Scope::IMAGE };
    DecodedEvidence::new(registry.gather_within(image, &scope, deadline).await)
}

impl ImageReport {
    fn new(image: &ImageReference, evidence: &DecodedEvidence, found: &FoundAttestations) -> Self {
        let pinned = evidence.evidence().resolution.found().map(|digest| image.pin(*digest));
        let attestations = found.verified.iter().map(|(attestation, statement)| AttestationReport {
            key_id: attestation.key().to_string(),
            format: attestation.format().as_str(),
            artifact: attestation.artifact().to_string(),
            statement: serde_json::from_slice(statement).unwrap_or_default(),
        });
        let reasons = found.reasons.iter().map(|reason| ReasonReport {
            code: reason.code.as_str(),
            message: reason.message.clone(),
            hint: reason.hint(),
        });
        let rejected = found.rejected.iter().map(|rejection| RejectedReport {
            artifact: rejection.artifact.to_string(),
            code: rejection.code.as_str(),
            message: rejection.message.clone(),
        });
        Self {
            image: image.to_string(),
            pinned: pinned.as_ref().map(PinnedImage::to_string),
            verified: !found.verified.is_empty(),
            attestations: attestations.collect(),
            reasons: reasons.collect(),
            rejected: rejected.collect(),
        }
    }

    /// The predicates on stdout, everything else on stderr.
    fn tell(&self, output: Output) -> Result<(), Failure> {
        for attestation in &self.attestations {
            let AttestationReport { key_id, format, artifact, statement } = attestation;
            output.detail(&format!("{}: by key {key_id} ({format}, {artifact})", self.image));
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
        for rejected in &self.rejected {
            text.styled(
                Style::Faint,
                format!("  rejected  {} {}: {}", rejected.artifact, rejected.code, rejected.message),
            );
        }
        output.errors(&text);
        Ok(())
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
