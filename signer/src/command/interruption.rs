//! Ctrl-C in a long run: what is begun is finished, the rest is reported as left. A second one ends the program at once.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Exit, Failure};

/// Whether the run was interrupted.
pub(super) struct Interruption {
    has_come: Arc<AtomicBool>,
}

impl Interruption {
    /// Listens from now on, in the runtime that it is called in.
    pub(super) fn listen() -> Result<Self, Failure> {
        let mut signals = Signals::listen()?;
        let has_come = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&has_come);
        tokio::spawn(async move {
            loop {
                signals.next().await;
                if flag.swap(true, Ordering::Relaxed) {
                    // The shell's number for a program that was interrupted.
                    std::process::exit(130);
                }
                // There is nowhere left to tell that stderr is closed. On a terminal, a bar may stand in the line.
                let begin = if std::io::stderr().is_terminal() { "\n" } else { "" };
                let _ = writeln!(std::io::stderr(), "{begin}interrupted: what is begun is finished; once more ends it");
            }
        });
        Ok(Self { has_come })
    }

    pub(super) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }
}

/// Does work that is of no use when it is not finished: an interruption ends it, and what it has begun is cleared away.
pub(super) async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        result = work => result,
        () = signals.next() => {
            Err(Failure::new(Exit::Unexpected, "the run was interrupted", "run the same command again"))
        }
    }
}

/// What asks the program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let unavailable = |error: std::io::Error| Failure {
            exit: Exit::Unexpected,
            message: format!("the system does not tell of interruptions: {error}"),
            hint: None,
        };
        let interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate()).map_err(unavailable)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Why an image was not begun.
pub(super) fn failure() -> Failure {
    let hint = "run the same command again; what is done is not done twice";
    Failure::new(Exit::Unexpected, "the run was interrupted before this image was begun", hint)
}
