//! Our own program at a terminal of its own, with somebody who reads what is shown and types.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::programs::{PASSPHRASE, hallmark};

/// A run of `hallmark` at a pseudoterminal.
pub(crate) struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: Vec<u8>,
}

impl Terminal {
    /// Starts `hallmark` in a folder, with an empty environment but for the passphrase and these variables.
    pub(crate) fn start(folder: &Path, variables: &[(String, String)], arguments: &[&str]) -> Self {
        let quoted = arguments.iter().map(|argument| format!("'{argument}'")).collect::<Vec<_>>().join(" ");
        // Nobody waits longer for what is not shown.
        let command = format!("timeout --foreground 100 '{}' {quoted}", hallmark().display());
        // util-linux: runs a command at a pseudoterminal, and ends as it does.
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .current_dir(folder)
            .env_clear()
            .env("HOME", folder)
            .env("HALLMARK_PASSWORD", PASSPHRASE)
            .env("NO_COLOR", "1")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (keyboard, screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        Self { script, keyboard, screen, shown: Vec::new() }
    }

    /// Waits until a text is shown, and gives all that was shown.
    ///
    /// # Panics
    ///
    /// If the program ends without it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut byte = [0];
        while !self.shown().contains(text) {
            assert_eq!(self.screen.read(&mut byte).unwrap_or(0), 1, "`{text}` was not shown: {}", self.shown());
            self.shown.push(byte[0]);
        }
        self.shown()
    }

    /// Types a line.
    pub(crate) fn write_line(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// The process that holds the terminal.
    pub(crate) fn script(&self) -> u32 {
        self.script.id()
    }

    /// Waits for the end: the exit code, and all that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        // Linux ends a terminal that nobody holds any more with an error.
        let _ = self.screen.read_to_end(&mut rest);
        self.shown.extend(rest);
        (self.script.wait().unwrap().code(), self.shown())
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown).replace("\r\n", "\n")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
