//! Our own two programs, as a user runs them: built once for a test run, into the tests' own target directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::peers::Answer;
use super::repository;

/// The passphrase of every key that tests make.
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// The path of `hallmark`.
pub(crate) fn hallmark() -> &'static Path {
    &programs().0
}

/// The path of `hallmark-verifier`.
pub(crate) fn hallmark_verifier() -> &'static Path {
    &programs().1
}

fn programs() -> &'static (PathBuf, PathBuf) {
    static PROGRAMS: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        // A test binary is `TARGET/PROFILE/deps/NAME`.
        let binary = std::env::current_exe().unwrap();
        let profile = binary.ancestors().nth(2).unwrap().to_owned();
        // Tests are built as `debug`, benches as `release`: what they start is built in the same way.
        let is_release = profile.file_name() == Some(OsStr::new("release"));
        let output = Command::new(env!("CARGO"))
            .current_dir(repository())
            .args(["build", "--locked", "--quiet", "-p", "hallmark-signer", "-p", "hallmark-verifier-service"])
            .args(is_release.then_some("--release"))
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (profile.join("hallmark"), profile.join("hallmark-verifier"))
    })
}

/// Runs `hallmark` in a folder with an empty environment but for the passphrase.
pub(crate) fn run_hallmark<I, S>(folder: &Path, arguments: I) -> Answer
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run_hallmark_with(folder, &[], arguments)
}

/// The same, with some more variables.
pub(crate) fn run_hallmark_with<I, S>(folder: &Path, variables: &[(String, String)], arguments: I) -> Answer
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(hallmark());
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("HOME", folder).env("HALLMARK_PASSWORD", PASSPHRASE);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let shown: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let output = command.output().unwrap();
    Answer {
        command: format!("hallmark {}", shown.join(" ")),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
