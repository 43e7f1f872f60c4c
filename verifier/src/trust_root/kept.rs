//! What outlives the process: one file with the last good root and all that proves it, and beside it the newest metadata
//! that was ever verified, below which nothing is believed.
//!
//! The disk is not believed. What is read is verified again from the root that was built in or given, so that whoever may
//! write there can take a root away, or bring back one that was good once, and cannot make one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Value, json};
use sigstore_tuf::Error;

use super::refresh::verify;
use super::{RefreshedRoot, RootSource};

/// Most bytes of the file with the last good root: every root since the one that was built in, and three lists.
const MAX_KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Most bytes of one document of metadata.
const MAX_METADATA_BYTES: u64 = 1024 * 1024;
const FILE: &str = "last-good.json";
/// The file that is locked while somebody refreshes.
const TURN: &str = ".refreshing";
/// Longest wait for somebody else's refresh, which takes three documents of 20 seconds at most and seldom a second.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const VERSION: u64 = 1;

/// A folder of this user alone, with one folder in it for each repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRootFolder {
    path: PathBuf,
}

/// The right to refresh one root in a folder, until it is dropped.
pub(super) struct Turn {
    _locked: Option<File>,
}

/// Why what was kept is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not believed: {problem}")]
pub struct FolderError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl FolderError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "the root that was built in is used instead; the next refresh replaces the file"
    }
}

/// Everything that proves one root, of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) refreshed_at: Timestamp,
    /// Metadata by the names under which `sigstore-tuf` stores it.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) document: Vec<u8>,
}

impl TrustRootFolder {
    /// A folder, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The last good root of a repository; nothing when there never was one.
    ///
    /// # Errors
    /// [`FolderError`] when there is something that cannot be read, does not verify, is from the future, or is older than
    /// what was built in.
    pub fn last_good(&self, source: &RootSource, now: Timestamp) -> Result<Option<RefreshedRoot>, FolderError> {
        let path = self.file(source);
        let refused = |problem: String| FolderError { path: path.clone(), problem };
        let bytes = match read(&path, MAX_KEPT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error.to_string())),
        };
        let generation = Generation::decode(&bytes).ok_or_else(|| refused("it is not what was written".to_owned()))?;
        if generation.refreshed_at > now {
            return Err(refused(format!("it says that it was written at {}", generation.refreshed_at)));
        }
        // Keys that were taken back since then must not come back with the kept one when a newer program is installed.
        if source.newest_at().is_some_and(|newest_at| generation.refreshed_at < newest_at) {
            return Err(refused(format!("it is of {}, and what was built in is newer", generation.refreshed_at)));
        }
        verify(source, &generation).map(Some).map_err(refused)
    }

    /// Writes the last good root, in place of the one before.
    pub(super) fn keep(&self, source: &RootSource, generation: &Generation) -> Result<(), String> {
        write(&self.file(source), &generation.encode()).map_err(|error| error.to_string())
    }

    /// Waits until no other process refreshes this repository's root here: of two at once, the one that was given an older
    /// edition could write it down over the newer one. Nothing, when another one goes on for too long.
    ///
    /// Where nothing can be written or locked, there is nobody to wait for.
    pub(super) async fn turn(&self, source: &RootSource) -> Option<Turn> {
        let folder = self.path.join(source.name());
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let opened = made.and_then(|()| Ok(rustix::fs::open(folder.join(TURN), flags, Mode::RUSR | Mode::WUSR)?));
        let Ok(file) = opened.map(File::from) else { return Some(Turn { _locked: None }) };
        let mut waited = Duration::ZERO;
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            if waited >= LONGEST_WAIT {
                return None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            waited = waited.saturating_add(LOOK_AGAIN);
        }
        Some(Turn { _locked: Some(file) })
    }

    /// Where the metadata of a repository is.
    pub(super) fn of(&self, source: &RootSource) -> Metadata {
        Metadata(self.path.join(source.name()).join("metadata"))
    }

    fn file(&self, source: &RootSource) -> PathBuf {
        self.path.join(source.name()).join(FILE)
    }
}

impl Generation {
    fn encode(&self) -> Vec<u8> {
        let files: BTreeMap<_, _> = self.files.iter().map(|(name, bytes)| (name, STANDARD.encode(bytes))).collect();
        let document = STANDARD.encode(&self.document);
        let value = json!({
            "version": VERSION,
            "refreshedAt": self.refreshed_at.to_string(),
            "metadata": files,
            "trustedRoot": document,
        });
        value.to_string().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        if value.get("version")?.as_u64()? != VERSION {
            return None;
        }
        let decode = |value: &Value| STANDARD.decode(value.as_str()?).ok();
        let files = value.get("metadata")?.as_object()?.iter();
        Some(Self {
            refreshed_at: value.get("refreshedAt")?.as_str()?.parse().ok()?,
            files: files.map(|(name, bytes)| Some((name.clone(), decode(bytes)?))).collect::<Option<_>>()?,
            document: decode(value.get("trustedRoot")?)?,
        })
    }
}

/// The newest metadata of one repository, a file each.
pub(super) struct Metadata(PathBuf);

impl Metadata {
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name)?;
        match read(&path, MAX_METADATA_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("reading `{}`", path.display()), error)),
        }
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(name)?;
        write(&path, bytes).map_err(|error| Error::io(format!("writing `{}`", path.display()), error))
    }

    /// Names come from metadata in part: those of delegated roles. None leads out of the folder.
    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
        if name.len() > 200 || name.split('/').count() > 2 || !name.split('/').all(is_plain) {
            return Err(Error::io("naming a file", io::Error::other("it is not a name for a file")));
        }
        Ok(self.0.join(name))
    }
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Without NONBLOCK, somebody's named pipe would be waited for.
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("it is larger than {most} bytes")))
}

/// Beside its place, synced, then renamed into it: a reader sees the old file or the new one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it is not a name for a file"));
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let unfinished = folder.join(format!(".{}.{:016x}", name.to_string_lossy(), u64::from_le_bytes(random)));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let finished = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&unfinished, path));
    if finished.is_err() {
        // Nothing can be done when it cannot be taken away either.
        let _ = fs::remove_file(&unfinished);
    }
    finished
}
