//! The programs that Hallmark is tested against, as `tests/peers/install` unpacked them.
//!
//! A test that needs one asks for it by name and ends early where it is not there:
//!
//! ```ignore
//! let Some(cosign) = peer("cosign-3") else { return };
//! ```
//!
//! What is left out that way is named at the end of `tests/run`, and is a failure under `CI=true`.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A program that is there, with a home folder of its own, so that no test reads or writes the user's files.
pub(crate) struct Peer {
    name: String,
    program: PathBuf,
    home: TempDir,
}

/// What a peer answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The command, for messages.
    pub(crate) command: String,
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote on standard output.
    pub(crate) stdout: String,
    /// What it wrote on standard error.
    pub(crate) stderr: String,
}

/// The peer of this name (a line of `tests/peers/packages`), or `None` after saying that it is left out.
///
/// # Panics
///
/// Under `CI=true`, where nothing may be left out.
pub(crate) fn peer(name: &str) -> Option<Peer> {
    let Some(program) = folders().into_iter().map(|folder| folder.join("bin").join(name)).find(|path| path.exists())
    else {
        leave_out(&format!("what needs the program `{name}` (`tests/peers/install` gets it)"));
        return None;
    };
    Some(Peer { name: name.to_owned(), program, home: TempDir::new().unwrap() })
}

/// Says that a part of the tests is left out, and why.
///
/// # Panics
///
/// Under `CI=true`, where nothing may be left out.
pub(crate) fn leave_out(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "under CI=true nothing may be left out, but this is: {what}");
    eprintln!("left out: {what}");
    if let Some(file) = std::env::var_os("HALLMARK_LEFT_OUT") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        // One write, because tests append in parallel.
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }
}

impl Peer {
    /// A command with the peer's own home folder and without the settings of the user who runs the tests.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let home = self.home.path();
        command.env("HOME", home).env("XDG_CONFIG_HOME", home.join("config")).env("XDG_CACHE_HOME", home.join("cache"));
        command.env("XDG_RUNTIME_DIR", home).env("DOCKER_CONFIG", home.join("docker"));
        for setting in ["REGISTRY_AUTH_FILE", "COSIGN_PASSWORD", "COSIGN_REPOSITORY", "COSIGN_EXPERIMENTAL"] {
            command.env_remove(setting);
        }
        // Everything a test talks to is on loopback; a proxy would be asked for it otherwise.
        for setting in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(setting);
        }
        command
    }

    /// The folder that the peer's package was unpacked into: it is `bin/NAME -> ../roots/NAME/usr/bin/NAME`.
    pub(crate) fn root(&self) -> PathBuf {
        self.program.canonicalize().unwrap().ancestors().nth(3).unwrap().to_owned()
    }

    /// The folder that the peer takes for the user's home.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs the peer with these arguments and takes its answer, whatever it is.
    pub(crate) fn ask<I, S>(&self, arguments: I) -> Answer
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command();
        command.args(arguments);
        self.answer(&mut command)
    }

    /// Runs the peer with these arguments and gives its standard output.
    ///
    /// # Panics
    ///
    /// If the peer fails; the message has everything that it said.
    pub(crate) fn run<I, S>(&self, arguments: I) -> String
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.ask(arguments).expect_success()
    }

    /// Runs a command made by [`Peer::command`].
    pub(crate) fn answer(&self, command: &mut Command) -> Answer {
        let shown: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let Output { status, stdout, stderr } = command.output().unwrap();
        Answer {
            command: format!("{} {}", self.name, shown.join(" ")),
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Answer {
    /// Whether the peer ended with 0.
    pub(crate) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The standard output of a peer that succeeded.
    ///
    /// # Panics
    ///
    /// If it did not.
    pub(crate) fn expect_success(self) -> String {
        assert!(self.succeeded(), "`{}` ended with {:?}\n{}\n{}", self.command, self.code, self.stdout, self.stderr);
        self.stdout
    }
}

/// Where peers may be: the folder that `HALLMARK_PEERS` names, or `peers` in the target directory. A test binary is
/// `TARGET/PROFILE/deps/NAME`, and with a named target one folder further down.
fn folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("HALLMARK_PEERS") {
        return vec![PathBuf::from(folder)];
    }
    let binary = std::env::current_exe().unwrap();
    binary.ancestors().skip(3).take(2).map(|folder| folder.join("peers")).collect()
}

#[test]
fn a_failing_peer_is_not_taken_for_a_succeeding_one() {
    let Some(oras) = peer("oras") else { return };
    assert!(oras.ask(["version"]).succeeded());
    let answer = oras.ask(["manifest", "fetch", "--plain-http", "127.0.0.1:1/nothing:here"]);
    assert!(!answer.succeeded(), "{answer:?}");
    assert!(answer.stderr.contains("127.0.0.1:1"), "{answer:?}");
}
