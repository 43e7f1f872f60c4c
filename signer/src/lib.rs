//! The `hallmark` command: signs container images, verifies them, and explains what it found.
//!
//! This is the only package of Hallmark that ever holds a private key: [`key`]. Every verb is one file of `command`;
//! `report` is what it says, `output` and `progress` the only ones that write to the terminal, and `error` gives every failure its
//! words and exit code.

mod command;
mod error;
mod hardening;
pub mod key;
mod output;
mod progress;
mod report;
mod sigstore;
mod timestamp;

pub use command::main;
