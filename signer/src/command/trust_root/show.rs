//! `hallmark trust-root show`.

use super::Which;
use crate::command::registry_access;
use crate::error::{Exit, Failure};
use crate::output::{Format, Output};
use crate::report::TrustRootReport;

pub(super) const EXAMPLES: &str = "\
Nothing is asked on the network.

Examples:
  hallmark trust-root show
  hallmark trust-root show github
  hallmark trust-root show trusted_root.json -o json";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let (name, root) = arguments.which.read()?;
    let report = TrustRootReport::new(&name, &root, registry_access::clock()());
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::Success)
}
