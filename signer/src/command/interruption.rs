//! Ctrl-C in a long run: what is begun is finished, the rest is reported as left. A second one ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Exit, Failure};

/// Whether the run was interrupted.
pub(super) struct Interruption {
    has_come: Arc<AtomicBool>,
}

impl Interruption {
    /// Listens from now on, in the runtime that it is called in.
    pub(super) fn listen() -> Result<Self, Failure> {
        let unavailable = |error: std::io::Error| Failure {
            exit: Exit::Unexpected,
            message: format!("the system does not tell of interruptions: {error}"),
            hint: None,
        };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
        let has_come = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&has_come);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    // The shell's number for a program that was interrupted.
                    std::process::exit(130);
                }
            }
        });
        Ok(Self { has_come })
    }

    pub(super) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }
}

/// Why an image was not begun.
pub(super) fn failure() -> Failure {
    let hint = "run the same command again; what is signed is not signed twice";
    Failure::new(Exit::Unexpected, "the run was interrupted before this image was begun", hint)
}
