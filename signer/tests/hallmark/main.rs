//! Transcripts of the `hallmark` command: what a user types, and what comes out.
//!
//! The program is run as it is shipped, with an environment of its own.

mod command_line;
mod key;
mod registry;
mod run;
mod sign_and_verify;
