//! The `hallmark` command. Everything is in the library; [`hallmark_signer::main`] is the place to start reading.

use std::process::ExitCode;

fn main() -> ExitCode {
    hallmark_signer::main()
}
