//! `hallmark demo`: the whole job on this machine, with nothing installed.
//!
//! An embedded registry and the verifier service run on loopback inside this process. Every step is then taken by the
//! command that a user would type, run for real, and its output is shown as it is.

mod images;
mod script;
mod stage;

use crate::error::{Exit, Failure};
use crate::output::Output;

const EXAMPLES: &str = "\
It ends by itself and leaves nothing behind. With --keep, the registry and the service stay up until Ctrl-C.

Examples:
  hallmark demo
  hallmark demo --keep
  hallmark demo -o json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Leave registry and service up, to be played with from another terminal
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let mut stage = stage::Stage::build()?;
    let as_expected = script::play(&mut stage, output)?;
    if arguments.keep && as_expected {
        script::say_how_to_play(&stage, output)?;
        stage.wait_for_the_end()?;
    }
    stage.strike()?;
    Ok(if as_expected { Exit::Success } else { Exit::Unexpected })
}

/// A step of the set-up failed: on a machine where loopback and the temporary folder work, this is a bug.
fn broken(what: &str, error: impl std::fmt::Display) -> Failure {
    let hint = "the demo needs loopback addresses and a temporary folder that can be written";
    Failure::new(Exit::Unexpected, format!("{what}: {error}"), hint)
}
