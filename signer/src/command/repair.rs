//! `hallmark repair`: fallback indexes that are wrong are made right.

use std::collections::BTreeSet;

use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{ImageReference, Repository};
use hallmark_registry::{Registry, RepairOptions};

use super::children::children;
use super::{copying, registry_access};
use crate::error::{Exit, Failure};
use crate::output::{self, Output};
use crate::report::{RepairReport, RepositoryRepaired};

const EXAMPLES: &str = "\
A registry without the referrers API keeps what refers to an image in an index under the tag `sha256-<hex>`, and \
whoever writes it can get it wrong. Entries whose manifest is gone or is about another image are taken out, entries \
that describe their manifest wrongly are corrected, and entries that were lost are put back where they can be found: \
at the tags of the repository, and in its other indexes. What could not be looked at stays as it is.

It exits with 0 when every index is right, 20 when something could not be looked at, 11 when what is named is not there, and \
1 when an index is wrong and could not be written.

Examples:
  hallmark repair --dry-run registry.example.com/team/app
  hallmark repair registry.example.com/team/app
  hallmark repair registry.example.com/team/app:1.4 -o json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The repositories; or single images (with the images of an index), by tag or digest
    #[arg(value_name = "REPOSITORY", required = true)]
    targets: Vec<String>,
    /// Look at this many manifests at one time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=32))]
    jobs: u16,
    /// Show what is wrong, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

/// What is looked at.
enum Target {
    Image(ImageReference),
    Repository(Repository),
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let targets: Vec<Target> = arguments.targets.iter().map(|text| Target::parse(text)).collect::<Result<_, _>>()?;
    let images: Vec<ImageReference> = targets.iter().filter_map(Target::image).collect();
    let registry = arguments.registry.registry(&images, output)?;
    let mut exit = Exit::Success;
    let mut repositories = Vec::new();
    registry_access::wait(async {
        for (target, name) in targets.iter().zip(&arguments.targets) {
            match target.repair(&registry, arguments).await {
                Ok(repaired) => repositories.push(RepositoryRepaired::new(name, repaired, arguments.dry_run)),
                Err(failure) => {
                    exit = exit.worse(failure.exit);
                    repositories.push(RepositoryRepaired::left(name, &failure));
                }
            }
        }
    })?;
    let report = RepairReport::new(arguments.dry_run, repositories);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit.worse(if report.has_unknown() {
        Exit::Reason(Code::RegistryUnavailable)
    } else if report.has_problems() {
        Exit::Unexpected
    } else {
        Exit::Success
    }))
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text.parse() {
            Ok(repository) => Ok(Self::Repository(repository)),
            Err(_) => Ok(Self::Image(text.parse()?)),
        }
    }

    /// Any image of it, to know its registry by.
    fn image(&self) -> Option<ImageReference> {
        match self {
            Self::Image(image) => Some(image.clone()),
            Self::Repository(repository) => repository.to_string().parse().ok(),
        }
    }

    async fn repair(&self, registry: &Registry, arguments: &Arguments) -> Result<hallmark_registry::Repaired, Failure> {
        let (repository, only) = match self {
            Self::Repository(repository) => (repository, None),
            Self::Image(image) => {
                let digest = match registry.resolve(image).await {
                    Observation::Found(digest) => digest,
                    Observation::Absent => {
                        let (code, message) = (Code::ImageNotFound, format!("image `{image}` does not exist"));
                        return Err(Failure::new(Exit::Reason(code), message, code.hint()));
                    }
                    Observation::Unknown(cause) => {
                        return Err(Failure::new(Exit::Reason(cause.code()), cause.detail(), cause.code().hint()));
                    }
                };
                let below = children(registry, &image.pin(digest)).await?;
                let only: BTreeSet<_> = below.into_iter().map(|child| child.digest).chain([digest]).collect();
                (image.repository(), Some(only))
            }
        };
        let (jobs, held_bytes) = (usize::from(arguments.jobs), RepairOptions::HELD_BYTES);
        let options = RepairOptions { jobs, dry_run: arguments.dry_run, only, held_bytes };
        registry.repair(repository, &options).await.map_err(|error| copying::failure(&error))
    }
}
