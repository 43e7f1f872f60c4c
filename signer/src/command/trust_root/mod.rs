//! `hallmark trust-root`: whom to believe about certificates, logs and times.

mod check;
mod kept;
mod show;
mod update;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hallmark_policy::limits;
use hallmark_policy::sigstore::TrustedRoot;
use hallmark_policy::trust::{KnownRoots, NamedRoot};

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
    /// A trusted_root.json, or the name of an instance, whose root that is in use is meant: `public-good` (when nothing is
    /// said), `staging` or `github`
    #[arg(value_name = "FILE_OR_NAME")]
    root: Option<PathBuf>,
    /// The staging instance's
    #[arg(long, conflicts_with = "root")]
    staging: bool,
}

impl Which {
    /// The root, and what to call it.
    fn read(&self) -> Result<(String, TrustedRoot), Failure> {
        let name = match (&self.root, self.staging) {
            (Some(root), _) => match instance(root)? {
                Some(name) => name,
                None => return Ok((root.display().to_string(), read(root)?)),
            },
            (None, true) => "staging",
            (None, false) => "public-good",
        };
        let root = known_root(name)?.root.clone();
        let origin = if kept::is_kept(name) { "kept by `trust-root update`" } else { "built in" };
        Ok((format!("{name} ({origin})"), root))
    }
}

pub(super) fn run(verb: Verb, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Check(arguments) => check::run(&arguments, output),
        Verb::Show(arguments) => show::run(&arguments, output),
        Verb::Update(arguments) => update::run(&arguments, output),
    }
}

/// The instance that a `FILE_OR_NAME` names; none where it is a file. Nobody is to guess which of the two was meant.
pub(super) fn instance(root: &Path) -> Result<Option<&'static str>, Failure> {
    let Some(name) = KnownRoots::names().find(|name| Path::new(name) == root) else { return Ok(None) };
    if root.exists() {
        let message = format!("`{name}` is the name of an instance and of a file that is here");
        let hint = format!("write `./{name}` for the file, or name the instance where no file is called so");
        return Err(Failure::new(Exit::Usage, message, hint));
    }
    Ok(Some(name))
}

/// The trust root that a `FILE_OR_NAME` means.
pub(super) fn find(root: &Path) -> Result<Arc<NamedRoot>, Failure> {
    match instance(root)? {
        Some(name) => known_root(name),
        None => Ok(Arc::new(NamedRoot { name: root.display().to_string(), root: read(root)? })),
    }
}

/// Reads a trust root from a file.
fn read(file: &Path) -> Result<TrustedRoot, Failure> {
    let name = format!("`{}`", file.display());
    let most = u64::try_from(limits::MAX_TRUSTED_ROOT_BYTES).unwrap_or(u64::MAX);
    let bytes = files::read(file, most).map_err(|problem| unusable(&name, &problem))?;
    TrustedRoot::parse(&bytes).map_err(|error| unusable(&name, &error.problem))
}

pub(super) fn unusable(which: &str, problem: &str) -> Failure {
    let hint = "give a complete `trusted_root.json` of the instance that signs, or one of the names `public-good`, `staging` \
                and `github`";
    Failure::new(Exit::Invalid, format!("the trusted root cannot be used ({which}): {problem}"), hint)
}
