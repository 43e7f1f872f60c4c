//! Runs a program that gives credentials: no shell, within bounds, and gone when nobody waits for it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::limits::{LINGER, MAX_ANSWER_BYTES, MAX_COMPLAINT_BYTES, MAX_STDERR_BYTES};
use crate::quote::quote;

/// What other people's programs inherit of our environment is all but this: what opens signing keys (passphrases, PINs, the
/// tokens of key servers, the token that says who signs) is for nobody else.
pub const KEY_SECRETS: [&str; 8] = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "BAO_TOKEN",
    "COSIGN_PASSWORD",
    "COSIGN_PKCS11_PIN",
    "HALLMARK_PASSWORD",
    "HALLMARK_PKCS11_PIN",
    "SIGSTORE_ID_TOKEN",
    "VAULT_TOKEN",
];
/// How often a program is started again that somebody is just writing.
const MAX_STARTS: u32 = 5;

/// A program and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Added to our own environment.
    pub(super) environment: Vec<(String, String)>,
}

/// What a program said.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Zeroizing<Vec<u8>>,
    /// Its complaints, fit for a message.
    pub(super) complaint: String,
}

/// Why a program said nothing that counts: the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RunError {
    /// The system does not start it.
    #[error("cannot be started: {0}")]
    Start(String),
    /// It did not end in time.
    #[error("did not end within {} ms and was stopped", .0.as_millis())]
    Timeout(Duration),
    /// It writes without end.
    #[error("writes more than {0} bytes and was stopped")]
    TooMuch(usize),
    /// The pipes to it broke.
    #[error("cannot be read: {0}")]
    Broken(String),
}

/// Runs a program: `input` goes to it, and what it says comes back. It is stopped when the time is over, when it says
/// too much, and when the future is dropped.
pub(super) async fn run(program: &Program, input: &[u8], timeout: Duration) -> Result<Output, RunError> {
    let mut running = start(program).await?;
    let mut stdout = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
    let mut stderr = Vec::new();
    let conversation = converse(&mut running, input, &mut stdout, &mut stderr);
    let status = tokio::time::timeout(timeout, conversation).await.map_err(|_| RunError::Timeout(timeout))??;
    running.group = None;
    Ok(Output { status, stdout, complaint: quote(String::from_utf8_lossy(&stderr).trim()) })
}

/// The executable file of this name in the first of some directories that has one.
pub(super) fn find_program(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    // A relative directory would be whatever lies where we were started.
    directories
        .iter()
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_program(path))
}

/// Whether a path leads to an executable file.
pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The directories of a `PATH`.
pub(super) fn directories(path: Option<OsString>) -> Vec<PathBuf> {
    path.map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// A program that runs. Dropping it stops it.
struct Running {
    child: Child,
    /// Its process group, so that what it has started ends with it.
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // The program was not waited for, so that its number is still its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn start(program: &Program) -> Result<Running, RunError> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).envs(program.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in KEY_SECRETS {
        command.env_remove(name);
    }
    // At a terminal it stays in our group: it may have to ask for a passphrase there, and Ctrl-C is for it, too.
    let is_grouped = !has_terminal();
    if is_grouped {
        command.process_group(0);
    }
    let mut starts = 1;
    let child = loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && starts < MAX_STARTS => {
                starts += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            spawned => break spawned.map_err(|error| RunError::Start(error.to_string()))?,
        }
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    Ok(Running { child, group: pid.filter(|_| is_grouped) })
}

fn has_terminal() -> bool {
    std::fs::File::open(Path::new("/dev/tty")).is_ok()
}

async fn converse(
    running: &mut Running,
    input: &[u8],
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> Result<ExitStatus, RunError> {
    let child = &mut running.child;
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async move {
        // Who does not want to hear the question may still answer.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
        Ok(())
    };
    let talk = async { tokio::try_join!(feed, read_all(out, stdout), read_head(err, stderr)).map(|_| ()) };
    tokio::pin!(talk);
    let broken = |error: io::Error| RunError::Broken(error.to_string());
    let early = tokio::select! {
        said = &mut talk => { said?; None }
        status = child.wait() => Some(status.map_err(broken)?),
    };
    match early {
        Some(status) => {
            // All that it wrote is in the pipes; only their end may never come.
            if let Ok(said) = tokio::time::timeout(LINGER, talk).await {
                said?;
            }
            Ok(status)
        }
        None => child.wait().await.map_err(broken),
    }
}

/// Reads all that there is, within the bound.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), RunError> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = Zeroizing::new([0; 4096]);
    loop {
        let count = pipe.read(&mut buffer[..]).await.map_err(|error| RunError::Broken(error.to_string()))?;
        if count == 0 {
            return Ok(());
        }
        if into.len() + count > MAX_ANSWER_BYTES {
            return Err(RunError::TooMuch(MAX_ANSWER_BYTES));
        }
        into.extend(buffer.iter().take(count));
    }
}

/// Reads all that there is, within a wide bound, and keeps its beginning.
async fn read_head(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), RunError> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = [0; 4096];
    let mut seen = 0;
    loop {
        let count = pipe.read(&mut buffer).await.map_err(|error| RunError::Broken(error.to_string()))?;
        if count == 0 {
            return Ok(());
        }
        seen += count;
        if seen > MAX_STDERR_BYTES {
            return Err(RunError::TooMuch(MAX_STDERR_BYTES));
        }
        let room = MAX_COMPLAINT_BYTES.saturating_sub(into.len());
        into.extend(buffer.iter().take(count.min(room)));
    }
}
