//! The verbs. Each is one file: its arguments, what it does, and how the answer is told.

mod attest;
mod bulk;
mod children;
mod complete;
mod completion;
mod copy;
mod copying;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod evidence;
mod foreign;
mod identities;
mod inspect;
mod interruption;
mod key;
mod load;
mod pauses;
mod policy;
mod registry_access;
mod repair;
mod resign;
mod save;
mod scan_report;
mod sign;
mod sign_bundle;
mod signing;
mod sigstore;
mod timestamps;
mod trust;
mod trust_root;
mod verify;
mod verify_attestation;
mod verify_bundle;
mod vouched;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hallmark_verifier::files;

use crate::error::{Exit, Failure};
use crate::hardening;
use crate::key::SigningKeyError;
use crate::output::{self, Format, Output};

/// Sign container images, verify them, and explain what was found.
///
/// Every verb exits with 0 when it is done or the answer is allow; 10 when the image is unsigned; 11 when it is not
/// there; 12 when there are signatures and none is acceptable; 14 for any other refusal; 20 when it could not be
/// found out; 21 when a policy, a key or a setting cannot be used; 2 when the command line is wrong; 1 otherwise.
#[derive(Debug, Parser)]
#[command(name = "hallmark", version, arg_required_else_help = true, max_term_width = 110)]
struct CommandLine {
    /// The form of the answer on stdout
    #[arg(short, long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    output: Format,

    /// Tell more on stderr
    #[arg(long, global = true)]
    verbose: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Sign what is said about images (how they were built, what is in them) and attach it
    Attest(Box<attest::Arguments>),
    /// Enter into the log what was signed while it was down
    Complete(Box<complete::Arguments>),
    /// Print the completion script of a shell
    Completion(completion::Arguments),
    /// Copy images with everything that is attached to them
    Copy(Box<copy::Arguments>),
    /// Show the whole job on this machine: registry, keys, signatures, service, verdicts
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Say what a registry can do, and what is in the way
    Doctor(Box<doctor::Arguments>),
    /// Record what a verdict rests on, and look into a recording
    #[command(subcommand)]
    Evidence(evidence::Verb),
    /// Show everything that is attached to an image
    Inspect(Box<inspect::Arguments>),
    /// Make, import and look at keys
    #[command(subcommand)]
    Key(key::Verb),
    /// Push what `save` wrote, with everything that is attached
    Load(Box<load::Arguments>),
    /// Check, explain and describe trust policies
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Mend fallback indexes that are wrong: lost, gone or misplaced entries
    Repair(Box<repair::Arguments>),
    /// Sign again with another key what one key has signed
    Resign(Box<resign::Arguments>),
    /// Save images with everything that is attached to them, for where no network goes
    Save(Box<save::Arguments>),
    /// Sign images and attach the signatures to them
    Sign(Box<sign::Arguments>),
    /// Sign a file into a Sigstore bundle, by who you are or by a key
    SignBundle(Box<sign_bundle::Arguments>),
    /// Look at Sigstore trust roots, and ask for newer ones: whom they believe, and until when
    #[command(subcommand)]
    TrustRoot(trust_root::Verb),
    /// Say whether images may be used, and why
    Verify(Box<verify::Arguments>),
    /// Show what is attested of images: by a key, by an identity, or as a trust policy demands
    VerifyAttestation(Box<verify_attestation::Arguments>),
    /// Verify a Sigstore bundle for a file: who signed it, by certificate or by key
    VerifyBundle(verify_bundle::Arguments),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    hardening::harden();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let exit = run(arguments).unwrap_or_else(|failure| {
        output::report(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}

fn run(arguments: Vec<OsString>) -> Result<Exit, Failure> {
    // Before anything can repeat an argument: a key itself where its name belongs.
    if arguments.iter().any(|argument| argument.to_string_lossy().contains("-----BEGIN")) {
        return Err(SigningKeyError::InlineKey.into());
    }
    let command_line = match CommandLine::try_parse_from(arguments) {
        Ok(command_line) => command_line,
        Err(error) => return explain(&error),
    };
    if command_line.output == Format::Cosign && !matches!(command_line.verb, Verb::Verify(_)) {
        return Err(Failure::new(Exit::Usage, "`-o cosign` is for `verify` only", "use `-o text` or `-o json`"));
    }
    let output = Output::new(command_line.output, command_line.verbose);
    match command_line.verb {
        Verb::Attest(arguments) => attest::run(&arguments, output),
        Verb::Complete(arguments) => complete::run(&arguments, output),
        Verb::Completion(arguments) => completion::run(&arguments, output),
        Verb::Copy(arguments) => copy::run(&arguments, output),
        #[cfg(feature = "demo")]
        Verb::Demo(arguments) => demo::run(&arguments, output),
        Verb::Doctor(arguments) => doctor::run(&arguments, output),
        Verb::Evidence(verb) => evidence::run(verb, output),
        Verb::Inspect(arguments) => inspect::run(&arguments, output),
        Verb::Key(verb) => key::run(verb, output),
        Verb::Load(arguments) => load::run(&arguments, output),
        Verb::Policy(verb) => policy::run(verb, output),
        Verb::Repair(arguments) => repair::run(&arguments, output),
        Verb::Resign(arguments) => resign::run(&arguments, output),
        Verb::Save(arguments) => save::run(&arguments, output),
        Verb::Sign(arguments) => sign::run(&arguments, output),
        Verb::SignBundle(arguments) => sign_bundle::run(&arguments, output),
        Verb::TrustRoot(verb) => trust_root::run(verb, output),
        Verb::Verify(arguments) => verify::run(&arguments, output),
        Verb::VerifyAttestation(arguments) => verify_attestation::run(&arguments, output),
        Verb::VerifyBundle(arguments) => verify_bundle::run(&arguments, output),
    }
}

/// Help and version are answers; anything else is a mistake, and those that cosign's users make have a hint of their
/// own.
fn explain(error: &clap::Error) -> Result<Exit, Failure> {
    if let Some(failure) = foreign::failure(error) {
        return Err(failure);
    }
    let written = error.print();
    match error.exit_code() {
        0 => written.map(|()| Exit::Success).map_err(|error| Failure::output(&error)),
        _ => Ok(Exit::Usage),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    /// Paragraphs are wrapped for the terminal, and so would be an example that is too long: it could not be pasted.
    fn check_lines(verb: &str, help: &str) {
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ') && line != "Examples:";
        let lines: Vec<&str> = help.lines().collect();
        for pair in lines.windows(2) {
            assert!(!pair.iter().copied().all(is_prose), "{verb}: a paragraph is broken by hand: {pair:?}");
        }
        for line in lines.iter().filter(|line| !is_prose(line)) {
            assert!(line.len() <= 100, "{verb}: an example is too long to be shown in one line: {line}");
        }
    }

    /// What stands under each shared heading of the help texts.
    fn shared_flags() -> BTreeMap<&'static str, Vec<String>> {
        fn ids<A: clap::Args>() -> Vec<String> {
            let command = A::augment_args(clap::Command::new("shared"));
            command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
        }
        BTreeMap::from([
            ("Identities in certificates", ids::<identities::Arguments>()),
            ("Registry", ids::<registry_access::Arguments>()),
            ("Sigstore", ids::<sigstore::Arguments>()),
            ("Timestamps", ids::<timestamps::Arguments>()),
            ("Trust", ids::<trust::Arguments>()),
        ])
    }

    #[test]
    fn must_not_show_a_verbs_own_flags_under_a_heading_of_others() {
        fn check(command: &clap::Command, shared: &BTreeMap<&'static str, Vec<String>>) {
            for argument in command.get_arguments() {
                let Some(heading) = argument.get_help_heading() else { continue };
                let id = argument.get_id().to_string();
                let name = command.get_name();
                assert!(shared[heading].contains(&id), "{name}: `{id}` stands under `{heading}`: move it up");
            }
            command.get_subcommands().for_each(|verb| check(verb, shared));
        }
        check(&CommandLine::command(), &shared_flags());
    }

    #[test]
    fn every_verb_says_what_it_does_and_shows_examples() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            let verbs: Vec<_> = command.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
            if verbs.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("hallmark "), "{} has no example", command.get_name());
                check_lines(command.get_name(), &help);
            }
            verbs.into_iter().for_each(check);
        }
        check(&CommandLine::command());
    }
}
