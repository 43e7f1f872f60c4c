//! `hallmark evidence`: record what a verdict rests on, and look into a recording.

use std::path::PathBuf;

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::ImageReference;
use hallmark_verifier::write_recording;

use super::{inspect, registry_access, verify};
use crate::error::{Exit, Failure};
use crate::output::Output;
use crate::report::EvidenceReport;

/// What can be done with evidence.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Record everything that a verdict about an image rests on
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch(Box<FetchArguments>),
    /// Show what was recorded; no request is made
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
}

const FETCH_EXAMPLES: &str = "\
The recording is an OCI layout with `evidence.json` beside it. `hallmark verify --evidence DIR` judges by it without a \
network. It exits with 20 when something is unknown; that is recorded, too.

Examples:
  hallmark evidence fetch registry.example.com/team/app:1.4 -d recorded/";

const SHOW_EXAMPLES: &str = "\
Examples:
  hallmark evidence show recorded/
  hallmark evidence show recorded/ -o json";

#[derive(Debug, clap::Args)]
pub(super) struct FetchArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The folder to write; it must be new or empty
    #[arg(short, long, value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArguments {
    /// The folder that was written
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(verb: Verb, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Fetch(arguments) => fetch(&arguments, output),
        Verb::Show(arguments) => show(&arguments, output),
    }
}

fn fetch(arguments: &FetchArguments, output: Output) -> Result<Exit, Failure> {
    let image: ImageReference = arguments.image.parse()?;
    let pipeline = arguments.registry.pipeline(std::slice::from_ref(&image), output)?;
    let deadline = arguments.registry.deadline();
    let evidence = registry_access::wait(pipeline.evidence(&image, deadline))?;
    write_recording(&arguments.directory, &evidence)
        .map_err(|error| Failure::new(Exit::Unexpected, error.to_string(), error.hint()))?;
    output.detail(&format!("recorded in {}", arguments.directory.display()));
    let decoded = DecodedEvidence::new(evidence);
    inspect::tell(&EvidenceReport::new(&decoded, None), output)?;
    Ok(inspect::exit(&decoded))
}

fn show(arguments: &ShowArguments, output: Output) -> Result<Exit, Failure> {
    let decoded = verify::recorded(&arguments.directory)?;
    inspect::tell(&EvidenceReport::new(&decoded, None), output)?;
    Ok(Exit::Success)
}
