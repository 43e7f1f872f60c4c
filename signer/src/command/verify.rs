//! `hallmark verify`: may these images be used?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::ImageReference;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, evaluate, worst};
use hallmark_verifier::read_recording;

use super::{registry_access, trust};
use crate::error::{Exit, Failure};
use crate::output::{Format, Output};
use crate::report::{VerdictsReport, cosign_documents};

const EXAMPLES: &str = "\
Examples:
  hallmark verify --key release.pub registry.example.com/team/app:1.4
  hallmark verify --policy policy.yaml --namespace prod registry.example.com/team/app:1.4 -o json
  hallmark verify --certificate-oidc-issuer https://token.actions.githubusercontent.com \\
      --certificate-identity-regexp 'https://github\\.com/acme/app/.*' registry.example.com/app:1.4
  hallmark verify --key release.pub -a commit=3f2a registry.example.com/team/app@sha256:...
  hallmark verify --policy policy.yaml --evidence recorded/ registry.example.com/team/app:1.4";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Demand this annotation inside what was signed; may be repeated
    #[arg(short, long = "annotations", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Judge by evidence that `hallmark evidence fetch` recorded; no request is made
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    trust: trust::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let annotations = registry_access::annotations(&arguments.annotations)?;
    let trust = arguments.trust.load()?;
    let judge = Judge {
        trust: &trust,
        namespace: arguments.trust.namespace.as_deref(),
        annotations,
        evidence: arguments.evidence.as_deref(),
        registry: &arguments.registry,
    };
    tell(&judge.verdicts(&images, output)?, output)
}

/// How images are judged: under this trust, by what is recorded or else by what their registries say.
pub(super) struct Judge<'a> {
    pub(super) trust: &'a TrustSnapshot,
    pub(super) namespace: Option<&'a str>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) evidence: Option<&'a Path>,
    pub(super) registry: &'a registry_access::Arguments,
}

impl Judge<'_> {
    /// The verdicts about some images, in their order.
    pub(super) fn verdicts(&self, images: &[ImageReference], output: Output) -> Result<Vec<Verdict>, Failure> {
        let questions = images.iter().map(|image| Question {
            image: image.clone(),
            namespace: self.namespace.map(str::to_owned),
            annotations: self.annotations.clone(),
        });
        let questions: Vec<_> = questions.collect();
        if let Some(folder) = self.evidence {
            let recorded = recorded(folder)?;
            let now = registry_access::clock()();
            return Ok(questions.iter().map(|question| evaluate(question, self.trust, &recorded, None, now)).collect());
        }
        let pipeline = self.registry.pipeline(images, output)?;
        let deadline = self.registry.deadline();
        registry_access::wait(async {
            let asked = questions.iter().map(|question| pipeline.verdict(self.trust, question, deadline));
            futures_util::future::join_all(asked).await
        })
    }
}

/// Reads recorded evidence.
pub(super) fn recorded(folder: &Path) -> Result<DecodedEvidence, Failure> {
    read_recording(folder)
        .map(DecodedEvidence::new)
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string(), error.hint()))
}

fn tell(verdicts: &[Verdict], output: Output) -> Result<Exit, Failure> {
    match output.format {
        Format::Text => output.text(&VerdictsReport::new(verdicts).text())?,
        Format::Json => output.json(&VerdictsReport::new(verdicts))?,
        Format::Cosign => {
            for verdict in verdicts {
                if verdict.outcome() == hallmark_policy::Outcome::Allow {
                    output.json(&cosign_documents(verdict))?;
                } else {
                    output.errors(&VerdictsReport::new(std::slice::from_ref(verdict)).text());
                }
            }
        }
    }
    Ok(worst(verdicts).map_or(Exit::Unexpected, Exit::of_verdict))
}
