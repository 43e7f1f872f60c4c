//! `hallmark verify-attestation`: what is attested of an image by a key or an identity, or what meets the demands of a
//! trust policy; and nothing else.

mod by_policy;

use std::path::PathBuf;
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

With `--policy`, the image is judged as by `hallmark verify --policy`, and where it is allowed, the attestations that met the \
demands of its rules are printed; otherwise nothing is, and the reasons and the exit code are those of `verify`.

Examples:
  hallmark verify-attestation --key release.pub --type slsaprovenance1 registry.example.com/app:1.4
  hallmark verify-attestation --key ci.pub --type vuln registry.example.com/app:1.4 | jq .metadata
  hallmark verify-attestation --key release.pub --type spdx -o json r.example.com/app@sha256:...
  hallmark verify-attestation --type slsaprovenance1 \\
      --certificate-oidc-issuer https://token.actions.githubusercontent.com \\
      --certificate-identity-regexp 'https://github\\.com/acme/app/.*' registry.example.com/app:1.4
  hallmark verify-attestation --policy policy.yaml --namespace prod registry.example.com/app:1.4
  hallmark verify-attestation --policy policy.yaml --type spdx --evidence recorded/ \\
      registry.example.com/app:1.4";

/// What names whose attestations count, in place of a policy. It stands beside `requires = "policy"` too: clap asks for nothing
/// that conflicts with what is there.
const SPEAKERS: [&str; 5] = [
    "key",
    "certificate_identity",
    "certificate_identity_regexp",
    "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp",
];

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Trust this public key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, any of them suffices
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// Judge by this trust policy, and show what met its demands: a file or a folder; may be repeated, all of them must allow
    #[arg(long, value_name = "FILE", conflicts_with_all = SPEAKERS)]
    policy: Vec<PathBuf>,
    /// The Kubernetes namespace that the image is for
    #[arg(long, value_name = "NAME", requires = "policy", conflicts_with_all = SPEAKERS)]
    namespace: Option<String>,
    /// Judge by evidence that `hallmark evidence fetch` recorded; no request is made
    #[arg(long, value_name = "DIR", requires = "policy", conflicts_with_all = SPEAKERS)]
    evidence: Option<PathBuf>,
    /// The type of the predicate: slsaprovenance, slsaprovenance1, spdx, cyclonedx, openvex, vuln, link, custom or a URI;
    /// with `--policy`, only what is of this type is shown
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "policy")]
    predicate_type: Option<PredicateType>,
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
                let hint = "give `--key release.pub`, `--certificate-identity` and `--certificate-oidc-issuer`, or \
                            `--policy policy.yaml`";
                Err(Failure::new(Exit::Usage, "nothing says whose attestations count", hint))
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let report = match &arguments.predicate_type {
        Some(predicate_type) if arguments.policy.is_empty() => by_speakers(arguments, &images, predicate_type, output)?,
        _ => by_policy::report(arguments, &images, output)?,
    };
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => report.tell(output)?,
    }
    Ok(report.exit())
}

/// What those whom the flags name attested, whatever else they did.
fn by_speakers(
    arguments: &Arguments,
    images: &[ImageReference],
    predicate_type: &PredicateType,
    output: Output,
) -> Result<AttestationsReport, Failure> {
    let trust = arguments.trust()?;
    let registry = arguments.registry.registry(images, output)?;
    let deadline = arguments.registry.deadline();
    let now = registry_access::clock()();
    let found = registry_access::wait(async {
        let asked = images.iter().map(|image| look(&registry, image, predicate_type, deadline));
        futures_util::future::join_all(asked).await
    })?;
    let reports = images.iter().zip(&found).map(|(image, evidence)| {
        ImageAttested::new(image, evidence, &find_attestations(evidence, &trust, predicate_type, now))
    });
    Ok(AttestationsReport::new(predicate_type, reports.collect()))
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
