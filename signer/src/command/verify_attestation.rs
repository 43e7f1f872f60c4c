//! `hallmark verify-attestation`: what is attested of an image by a key or an identity, and by nobody else.

use std::time::Instant;

use hallmark_policy::attestation::PredicateType;
use hallmark_policy::evidence::{DecodedEvidence, Large, Scope};
use hallmark_policy::image::ImageReference;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::find_attestations;
use hallmark_policy::verify::PublicKey;
use hallmark_registry::Registry;

use super::{identities, registry_access};
use crate::error::{Exit, Failure};
use crate::key::KeyReference;
use crate::output::{Format, Output};
use crate::report::{AttestationsReport, ImageAttested};

const EXAMPLES: &str = "\
In text, each verified predicate is printed as one line of JSON on stdout, with what is beyond ASCII escaped; `--verbose` says \
on stderr who made it. `-o json` has the whole statements, who made them and who vouches for that. Of several keys, or of keys \
and an identity, any suffices.

Examples:
  hallmark verify-attestation --key release.pub --type slsaprovenance1 registry.example.com/app:1.4
  hallmark verify-attestation --key ci.pub --type vuln registry.example.com/app:1.4 | jq .metadata
  hallmark verify-attestation --key release.pub --type spdx -o json r.example.com/app@sha256:...
  hallmark verify-attestation --type slsaprovenance1 \\
      --certificate-oidc-issuer https://token.actions.githubusercontent.com \\
      --certificate-identity-regexp 'https://github\\.com/acme/app/.*' registry.example.com/app:1.4";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Trust this public key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, any of them suffices
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// The type of the predicate: slsaprovenance, slsaprovenance1, spdx, cyclonedx, openvex, vuln, link, custom or a URI
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: PredicateType,
    #[command(flatten)]
    identities: identities::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

impl Arguments {
    /// Whose attestations count.
    fn trust(&self) -> Result<TrustSnapshot, Failure> {
        let keys = self.key.iter().map(|text| text.parse::<KeyReference>()?.public_key());
        let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
        match (self.identities.load_if_named()?, keys.is_empty()) {
            (None, false) => Ok(TrustSnapshot::for_keys(keys)),
            (Some(named), true) => Ok(TrustSnapshot::for_identities(vec![named.identity], named.evidence)),
            (Some(named), false) => Ok(TrustSnapshot::for_anybody(keys, vec![named.identity], named.evidence)),
            (None, true) => {
                let hint = "give `--key release.pub`, or `--certificate-identity` and `--certificate-oidc-issuer`";
                Err(Failure::new(Exit::Usage, "nothing says whose attestations count", hint))
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let trust = arguments.trust()?;
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
        let attestations = find_attestations(evidence, &trust, &arguments.predicate_type, now);
        let reason = attestations.reasons.first();
        exit = exit.worse(reason.map_or(Exit::Success, |reason| Exit::Reason(reason.code)));
        reports.push(ImageAttested::new(image, evidence, &attestations));
    }
    let report = AttestationsReport::new(&arguments.predicate_type, reports);
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => report.tell(output)?,
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
