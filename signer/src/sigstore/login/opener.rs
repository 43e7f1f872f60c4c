//! Opening a browser: the program that the desktop has for it, with the address as its one argument, and without a shell.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hallmark_registry::KEY_SECRETS;
use reqwest::Url;

/// freedesktop.org's launcher; on macOS that of the system.
const PROGRAM: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Whether this machine seems to have a browser that the person who waits can see.
pub(super) fn is_offered() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_seen = match cfg!(target_os = "macos") {
        true => !is_set("SSH_CONNECTION"),
        // BROWSER without a display: an editor or a container that hands addresses on to where its user is.
        false => ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"].into_iter().any(is_set),
    };
    is_seen && program().is_some()
}

/// Where the launcher is: never in a folder that is named relatively to where one happens to stand.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let absolute = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    absolute.map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

/// Opens an address, which is one with a scheme and a host and so never looks like a flag. Whether a browser showed it,
/// nobody says: the address is told in any case.
pub(super) fn open(url: &Url) {
    let Some(program) = program().filter(|_| is_offered()) else { return };
    let mut command = Command::new(program);
    command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for name in KEY_SECRETS {
        command.env_remove(name);
    }
    // A browser that starts with it is not to end with Ctrl-C here.
    let _ = command.process_group(0).spawn();
}
