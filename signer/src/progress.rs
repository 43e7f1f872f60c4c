//! How far a long run is: a bar on a terminal, plain lines elsewhere, nothing for a single piece of work. All on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::printable;

/// How far a long run is.
pub(crate) struct Progress {
    verb: &'static str,
    shown: Shown,
}

enum Shown {
    /// There is only one piece of work.
    Nothing,
    /// On a terminal.
    Bar(ProgressBar),
    /// In a log: one line for each piece.
    Lines,
}

impl Progress {
    /// A run of so many pieces begins.
    pub(crate) fn start(verb: &'static str, pieces: usize) -> Self {
        if pieces < 2 {
            return Self { verb, shown: Shown::Nothing };
        }
        let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        if !is_terminal {
            return Self { verb, shown: Shown::Lines };
        }
        let length = u64::try_from(pieces).unwrap_or(u64::MAX);
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len}  {per_sec}  {eta} left") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(verb);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { verb, shown: Shown::Bar(bar) }
    }

    /// Something happened that a log should have; on a terminal, only what went wrong is shown above the bar.
    pub(crate) fn tell(&self, line: &Line) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) if line.is_bad => bar.suspend(|| write(&line.text)),
            Shown::Bar(_) => {}
            Shown::Lines => write(&line.text),
        }
    }

    /// Nothing goes on at the moment, and why. A log has a line for each new reason, a bar always says the latest.
    pub(crate) fn waits(&self, why: &str, is_new: bool) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(format!("{}, {}", self.verb, printable(why))),
            Shown::Lines | Shown::Nothing if is_new => write(why),
            Shown::Lines | Shown::Nothing => {}
        }
    }

    /// It goes on.
    pub(crate) fn goes_on(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.set_message(self.verb);
        }
    }

    /// One more piece is done.
    pub(crate) fn advance(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// One line about one piece of work.
pub(crate) struct Line {
    /// What happened.
    pub(crate) text: String,
    /// It went wrong.
    pub(crate) is_bad: bool,
}

fn write(text: &str) {
    // There is nowhere left to tell that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}
