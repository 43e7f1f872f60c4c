//! `hallmark trust-root`: whom to believe about certificates, logs and times.

mod check;
mod kept;
mod show;
mod update;

use std::path::{Path, PathBuf};

use hallmark_policy::limits;
use hallmark_policy::sigstore::TrustedRoot;

pub(super) use kept::{known_root, known_roots};

use super::files;
use crate::error::{Exit, Failure};
use crate::output::Output;

/// What can be done with trust roots.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Say what has ended, what ends soon and what is missing
    #[command(after_help = check::EXAMPLES)]
    Check(check::Arguments),
    /// Show whom a trust root believes, and from when to when
    #[command(after_help = show::EXAMPLES)]
    Show(show::Arguments),
    /// Ask a TUF repository for the newest trust root, and keep it
    #[command(after_help = update::EXAMPLES)]
    Update(update::Arguments),
}

/// Which root.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// A trusted_root.json, in place of the public-good instance's that is in use
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The staging instance's
    #[arg(long, conflicts_with = "file")]
    staging: bool,
}

impl Which {
    /// The root, and what to call it.
    fn read(&self) -> Result<(String, TrustedRoot), Failure> {
        let named = |name: &str| {
            let root = known_root(name)?.root.clone();
            let origin = if kept::is_kept(name) { "kept by `trust-root update`" } else { "built in" };
            Ok((format!("{name} ({origin})"), root))
        };
        match (&self.file, self.staging) {
            (Some(file), _) => Ok((file.display().to_string(), read(file)?)),
            (None, true) => named("staging"),
            (None, false) => named("public-good"),
        }
    }
}

pub(super) fn run(verb: Verb, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Check(arguments) => check::run(&arguments, output),
        Verb::Show(arguments) => show::run(&arguments, output),
        Verb::Update(arguments) => update::run(&arguments, output),
    }
}

/// Reads a trust root from a file.
pub(super) fn read(file: &Path) -> Result<TrustedRoot, Failure> {
    let name = format!("`{}`", file.display());
    let most = u64::try_from(limits::MAX_TRUSTED_ROOT_BYTES).unwrap_or(u64::MAX);
    let bytes = files::read(file, most).map_err(|problem| unusable(&name, &problem))?;
    TrustedRoot::parse(&bytes).map_err(|error| unusable(&name, &error.problem))
}

pub(super) fn unusable(which: &str, problem: &str) -> Failure {
    let hint = "give a complete `trusted_root.json` of the instance that signs";
    Failure::new(Exit::Invalid, format!("the trusted root cannot be used ({which}): {problem}"), hint)
}
