//! What the process gives up before it reads anything: core dumps, tracing by others, and panics that talk.

use std::process;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes sure that no secret leaves the process by the back door. To be called first in `main`.
///
/// No core dump is written, other processes of the same user can neither trace this one nor read its
/// `/proc/<pid>/environ` (where a passphrase may be), and a panic prints where it happened but not what was at hand.
///
/// The passphrase variables stay in this process's environment. Credential helpers are started without them, and
/// `hallmark demo` runs itself with the passphrase of its own throw-away key instead.
pub(crate) fn harden() {
    install_panic_hook();
    // A kernel that refuses either call leaves the process as it was; that is no reason not to sign.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// A panic ends the process with exit code 1. Its message is left out of what users run, since it could repeat what was
/// in memory; developers see it.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        use std::io::Write as _;
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let _ = writeln!(
            std::io::stderr(),
            "error: hallmark stopped because of a mistake of its own at {place}\nhint: please report this line"
        );
        if cfg!(debug_assertions) {
            let _ = writeln!(std::io::stderr(), "{panic}");
        }
        process::exit(1);
    }));
}
