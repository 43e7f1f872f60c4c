//! `hallmark doctor`: what a registry can do, and what is in the way.

use hallmark_policy::image::{ImageReference, Repository};

use super::registry_access;
use crate::error::{Exit, Failure};
use crate::output::{self, Output};
use crate::report::DoctorReport;

const EXAMPLES: &str = "\
Without `--write` nothing is written. With a repository, its own answers are looked at, with the credentials that it \
is entered with (whose names are shown, and never their secrets). `--write` pushes a small image with something \
attached to it into the repository that it names, looks at what becomes of them, and deletes them again.

It exits with 0 when nothing is wrong, 20 when something could not be found out, and 1 when something is wrong.

Examples:
  hallmark doctor registry.example.com
  hallmark doctor registry.example.com/team/app
  hallmark doctor registry.example.com --write registry.example.com/team/scratch -o json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The registry, or a repository in it
    #[arg(value_name = "REGISTRY[/REPOSITORY]")]
    target: String,
    /// Also write into this repository, and clean up
    #[arg(long, value_name = "REPOSITORY")]
    write: Option<String>,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let (repository, is_meant) = match arguments.target.trim_end_matches('/') {
        host if !host.contains('/') => (parse_repository(&format!("{host}/hallmark-doctor"))?, false),
        name => (parse_repository(name)?, true),
    };
    // A word that is no host becomes part of a path at Docker Hub.
    if !is_meant && !matches!(repository.path(), "hallmark-doctor" | "library/hallmark-doctor") {
        let hint = "write a host as in image references, such as `registry.example.com` or `localhost:5000`";
        return Err(Failure::new(Exit::Usage, format!("`{}` is no registry", arguments.target), hint));
    }
    let scratch: Option<Repository> = arguments.write.as_deref().map(parse_repository).transpose()?;
    if let Some(scratch) = scratch.as_ref().filter(|scratch| scratch.host() != repository.host()) {
        let hint = "let both be in one registry";
        return Err(Failure::new(Exit::Usage, format!("`{scratch}` is in another registry"), hint));
    }
    let image: ImageReference = repository.to_string().parse()?;
    let registry = arguments.registry.registry(&[image], output)?;
    let checks = registry_access::wait(async {
        let mut checks = registry.diagnose(&repository, is_meant).await;
        if let Some(scratch) = &scratch {
            checks.extend(registry.diagnose_by_writing(scratch).await);
        }
        checks
    })?;
    let report = DoctorReport::new(repository.host(), is_meant.then_some(&repository), checks);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(report.exit())
}

fn parse_repository(name: &str) -> Result<Repository, Failure> {
    name.parse().map_err(|error| {
        let hint = "name a registry (`registry.example.com`) or a repository in it (`registry.example.com/team/app`), \
                    without a tag or digest";
        Failure { hint: Some(hint.to_owned()), ..Failure::from(error) }
    })
}
