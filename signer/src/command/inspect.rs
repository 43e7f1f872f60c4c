//! `hallmark inspect`: everything that is attached to an image.

use hallmark_policy::Code;
use hallmark_policy::evidence::{DecodedEvidence, Observation};
use hallmark_policy::image::ImageReference;
use hallmark_policy::verdict::{Question, explain};

use super::{registry_access, trust};
use crate::error::{Exit, Failure};
use crate::output::{Format, Output};
use crate::report::EvidenceReport;

const EXAMPLES: &str = "\
It exits with 0 when everything could be looked at, whatever it found; 11 when there is no such image; 20 when \
something is unknown.

Examples:
  hallmark inspect registry.example.com/team/app:1.4
  hallmark inspect --key release.pub registry.example.com/team/app:1.4 -o json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    trust: trust::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let image: ImageReference = arguments.image.parse()?;
    let trust = arguments.trust.load_if_named()?;
    let pipeline = arguments.registry.pipeline(std::slice::from_ref(&image), output)?;
    let deadline = arguments.registry.deadline();
    let evidence = registry_access::wait(pipeline.evidence(&image, deadline))?;
    let decoded = DecodedEvidence::new(evidence);
    let question = Question { namespace: arguments.trust.namespace.clone(), ..Question::about(image) };
    let explanation = trust.map(|trust| explain(&question, &trust, &decoded, registry_access::clock()()));
    tell(&EvidenceReport::new(&decoded, explanation.as_ref()), output)?;
    Ok(exit(&decoded))
}

/// Tells what was found.
pub(super) fn tell(report: &EvidenceReport, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.json(report),
        Format::Text | Format::Cosign => output.text(&report.text()),
    }
}

/// Whether everything could be looked at.
pub(super) fn exit(decoded: &DecodedEvidence) -> Exit {
    if decoded.evidence().resolution == Observation::Absent {
        return Exit::Reason(Code::ImageNotFound);
    }
    decoded.causes().first().map_or(Exit::Success, |cause| Exit::Reason(cause.code()))
}
