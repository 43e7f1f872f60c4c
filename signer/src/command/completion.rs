//! `hallmark completion`: scripts that let a shell complete the command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::CommandLine;
use crate::error::{Exit, Failure};
use crate::output::Output;

/// Examples.
const EXAMPLES: &str = "\
Examples:
  hallmark completion bash > ~/.local/share/bash-completion/completions/hallmark
  hallmark completion zsh > ~/.zfunc/_hallmark
  hallmark completion fish > ~/.config/fish/completions/hallmark.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "hallmark", &mut script);
    output.raw(&script)?;
    Ok(Exit::Success)
}
