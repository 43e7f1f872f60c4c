//! `hallmark trust-root update`: the newest trust root of a TUF repository, verified and kept.

use std::path::PathBuf;

use hallmark_policy::Timestamp;
use hallmark_verifier::trust_root::{
    Mirror, RefreshError, RefreshedRoot, RootSource, SourceError, TrustRootFolder, refresh,
};

use super::kept;
use crate::command::{files, registry_access};
use crate::error::{Exit, Failure};
use crate::output::{Format, Output};
use crate::report::UpdatedRootReport;

pub(super) const EXAMPLES: &str = "\
What is good is kept in the directory, and used from then on by whatever names `public-good`, `staging` or `github`: trust \
policies, and every verb that verifies or signs under it. Nothing is ever asked for on the way to a verdict; \
run this now and then. The directory is HALLMARK_TRUST_ROOTS, or `hallmark/trust-roots` in XDG_CACHE_HOME or in `~/.cache`.

A private instance is entered by the `root.json` of its TUF repository, which you believe; name the file that --write makes \
in trust policies, and in `--trusted-root`.

It exits with 0 when the root is the newest one, 1 when the repository cannot be read, and 21 when what it says cannot be \
believed or used; what was good before stays in use.

Examples:
  hallmark trust-root update
  hallmark trust-root update github
  hallmark trust-root update --mirror https://tuf-mirror.example.com
  hallmark trust-root update acme --mirror https://tuf.acme.example --root root.json \\
      --write trusted_root.json";

/// Most bytes of a TUF root.
const MAX_ROOT_BYTES: u64 = 128 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `public-good`, `staging`, `github`, or with --root any name for a private instance
    #[arg(value_name = "NAME", default_value = "public-good")]
    name: String,
    /// Read the repository here
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// The root.json by which a private instance's repository is entered
    #[arg(long, value_name = "FILE", requires = "mirror")]
    root: Option<PathBuf>,
    /// Also write the trusted_root.json to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Keep roots in this directory
    #[arg(long, value_name = "DIRECTORY", env = kept::VARIABLE)]
    directory: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let source = arguments.source()?;
    let folder = kept::folder(arguments.directory.clone()).ok_or_else(|| {
        let hint = "give `--directory`, or set HALLMARK_TRUST_ROOTS";
        Failure::new(Exit::Usage, "nothing says where trust roots are kept", hint)
    })?;
    let now = registry_access::clock()();
    let before = folder.last_good(&source, now).ok().flatten().map(|before| before.root.digest());
    let updated = registry_access::wait(refresh(&source, Some(&folder), now))?.map_err(|error| failure(&error))?;
    // What could not be kept is in nobody's use.
    check_kept(&folder, &source, &updated, now)?;
    if let Some(file) = &arguments.write {
        write(file, &updated.document)?;
    }
    let report = UpdatedRootReport::new(source.name(), &source.mirror().to_string(), &updated, before);
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::Success)
}

impl Arguments {
    fn source(&self) -> Result<RootSource, Failure> {
        let usage = |error: SourceError| Failure::new(Exit::Usage, error.to_string(), error.hint());
        let mirror = self.mirror.as_deref().map(Mirror::at).transpose().map_err(usage)?;
        match (&self.root, mirror) {
            (Some(file), Some(mirror)) => {
                let entry = files::read(file, MAX_ROOT_BYTES).map_err(|problem| {
                    let message = format!("`{}` cannot be read: {problem}", file.display());
                    Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
                })?;
                RootSource::private(&self.name, entry, mirror).map_err(|error| match error {
                    SourceError::Entry { .. } => Failure::new(Exit::Invalid, error.to_string(), error.hint()),
                    other => usage(other),
                })
            }
            (_, mirror) => {
                let source = RootSource::known(&self.name).ok_or_else(|| {
                    let hint = "write `public-good`, `staging` or `github`, or give the `root.json` of your own with \
                                `--root` and its address with `--mirror`";
                    Failure::new(Exit::Usage, format!("`{}` is no instance that is known", self.name), hint)
                })?;
                Ok(match mirror {
                    Some(mirror) => source.from_mirror(mirror),
                    None => source,
                })
            }
        }
    }
}

fn check_kept(
    folder: &TrustRootFolder,
    source: &RootSource,
    updated: &RefreshedRoot,
    now: Timestamp,
) -> Result<(), Failure> {
    let problem = match folder.last_good(source, now) {
        Ok(Some(kept)) if kept.root.digest() == updated.root.digest() => return Ok(()),
        Ok(_) => String::new(),
        Err(error) => format!(": {error}"),
    };
    let hint = "check that the directory given by `--directory` or HALLMARK_TRUST_ROOTS can be written to";
    Err(Failure::new(Exit::Unexpected, format!("the trust root is good, and could not be kept{problem}"), hint))
}

fn failure(error: &RefreshError) -> Failure {
    let exit = match error {
        RefreshError::Busy | RefreshError::Unreachable { .. } => Exit::Unexpected,
        RefreshError::Expired { .. }
        | RefreshError::RolledBack { .. }
        | RefreshError::Untrusted { .. }
        | RefreshError::Unusable { .. } => Exit::Invalid,
    };
    Failure::new(exit, error.to_string(), error.hint())
}

/// Beside its place, then renamed into it: whoever watches the file sees the old one or the new one.
fn write(file: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let written = std::fs::write(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, file));
    written.map_err(|error| {
        let message = format!("`{}` cannot be written: {error}", file.display());
        Failure::new(Exit::Unexpected, message, "check the path and that you may write there")
    })
}
