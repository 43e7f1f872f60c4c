//! `hallmark trust-root check`: what a trust root will no longer do, and when.

use super::Which;
use crate::command::registry_access;
use crate::error::{Exit, Failure};
use crate::output::{Format, Output};
use crate::report::TrustRootReport;

pub(super) const EXAMPLES: &str = "\
It exits with 0 when what is signed today verifies under the root, whatever it remarks, and with 21 when it does not: when \
no certificate authority, or nobody who says a time, is believed now. Nothing is asked on the network.

Examples:
  hallmark trust-root check
  hallmark trust-root check github
  hallmark trust-root check trusted_root.json -o json";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let (name, root) = arguments.which.read()?;
    let report = TrustRootReport::new(&name, &root, registry_access::clock()()).with_remarks();
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(if report.is_usable() { Exit::Success } else { Exit::Invalid })
}
