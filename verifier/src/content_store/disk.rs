//! Files in one folder, named by digests.
//!
//! Plain files, not a database: entries are immutable or replaced whole, nothing is looked up but by name, and a file
//! that is damaged costs one fetch and not the store. Each is written beside its place and renamed into it. Contents
//! are not synced: after a power cut a file may be short, which its reader notices, because it checks every byte.
//!
//! Every operation is relative to the folder's own handle and follows no symbolic link.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallmark_policy::image::Digest;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// The folder in the folder that was given, which may belong to others (a volume of Kubernetes does).
const FOLDER: &str = "hallmark-evidence-v1";
/// The file with the salt.
const SALT: &str = "salt";
/// What unfinished files end with.
const UNFINISHED: &str = ".part";
/// Most bytes of one file: a record of the evidence about one image.
const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes that wait to be written; what comes on top is not kept.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Most files that wait to be written.
const MAX_WAITING: usize = 4096;
/// What a file takes at least, by the blocks of usual file systems: it bounds the number of files too.
const BLOCK_BYTES: u64 = 4096;
/// How long nothing is written after a write has failed.
const PAUSE: Duration = Duration::from_secs(30);

/// What happened on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Files that were read.
    pub read: u64,
    /// Files that were written.
    pub written: u64,
    /// Files that were not what was written, and were removed.
    pub damaged: u64,
    /// Writes that failed, or were left out because of that or because too many waited.
    pub failed: u64,
    /// Bytes that the files take.
    pub bytes: u64,
}

/// The folder, what is in it, and the thread that writes.
pub(super) struct Disk {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
}

enum Job {
    Flush(SyncSender<()>),
    Write { name: Digest, bytes: Vec<u8> },
}

struct Shared {
    folder: OwnedFd,
    max_bytes: u64,
    index: Mutex<Index>,
    waiting_bytes: AtomicUsize,
    read: AtomicU64,
    written: AtomicU64,
    damaged: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct Index {
    files: HashMap<Digest, Entry>,
    bytes: u64,
    uses: u64,
}

struct Entry {
    bytes: u64,
    last_use: u64,
}

impl Disk {
    /// Opens or makes the folder; gives its salt too.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<(Self, [u8; 32]), String> {
        let folder = open_folder(path).map_err(|error| error.to_string())?;
        let salt = find_or_make_salt(&folder).map_err(|error| error.to_string())?;
        let index = Index::of(&folder).map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared {
            folder,
            max_bytes,
            index: Mutex::new(index),
            waiting_bytes: AtomicUsize::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        shared.evict();
        let (jobs, work) = sync_channel(MAX_WAITING);
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("evidence-writer".to_owned())
            .spawn(move || writer.write_all(&work))
            .map_err(|error| error.to_string())?;
        Ok((Self { shared, jobs }, salt))
    }

    pub(super) fn has(&self, name: &Digest) -> bool {
        self.shared.index().files.contains_key(name)
    }

    /// The bytes of a file, of which nothing is known yet.
    pub(super) fn read(&self, name: &Digest) -> Option<Vec<u8>> {
        match read_file(&self.shared.folder, &name.encoded()) {
            Ok(bytes) => {
                self.shared.read.fetch_add(1, Ordering::Relaxed);
                self.shared.index().touch(name);
                Some(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.shared.index().forget(name);
                None
            }
            Err(_) => {
                self.discard(name);
                None
            }
        }
    }

    /// Removes a file that is not what was written.
    pub(super) fn discard(&self, name: &Digest) {
        self.shared.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(file = %name.encoded(), "a file of kept evidence is damaged: it is removed and fetched again");
        self.shared.remove(name);
    }

    /// Has a file written, unless it is there or too much waits.
    pub(super) fn write(&self, name: Digest, bytes: Vec<u8>) {
        if !self.has(&name) {
            self.replace(name, bytes);
        }
    }

    /// Has a file written, whether or not one is there.
    pub(super) fn replace(&self, name: Digest, bytes: Vec<u8>) {
        let size = bytes.len();
        let waiting = self.shared.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let has_room = size <= MAX_FILE_BYTES && waiting.saturating_add(size) <= MAX_WAITING_BYTES;
        if !has_room || self.jobs.try_send(Job::Write { name, bytes }).is_err() {
            self.shared.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.jobs.send(Job::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    pub(super) fn counts(&self) -> DiskCounts {
        let shared = &self.shared;
        DiskCounts {
            read: shared.read.load(Ordering::Relaxed),
            written: shared.written.load(Ordering::Relaxed),
            damaged: shared.damaged.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
            bytes: shared.index().bytes,
        }
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Every change of the index is whole before anything can panic.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the writing thread: it ends with the store.
    fn write_all(&self, work: &Receiver<Job>) {
        let mut paused_until: Option<Instant> = None;
        while let Ok(job) = work.recv() {
            match job {
                Job::Flush(done) => {
                    let _ = done.send(());
                }
                Job::Write { name, bytes } => {
                    self.waiting_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                    if paused_until.is_some_and(|until| Instant::now() < until) {
                        self.failed.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    paused_until = None;
                    if let Err(error) = self.write(name, &bytes) {
                        self.failed.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%error, "evidence cannot be written to disk; nothing is written for a while");
                        paused_until = Some(Instant::now() + PAUSE);
                    }
                }
            }
        }
    }

    fn write(&self, name: Digest, bytes: &[u8]) -> io::Result<()> {
        let file_name = name.encoded();
        write_file(&self.folder, &file_name, bytes, Durability::NoticedWhenLost)?;
        self.written.fetch_add(1, Ordering::Relaxed);
        self.index().add(name, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.evict();
        Ok(())
    }

    fn remove(&self, name: &Digest) {
        self.index().forget(name);
        // When it cannot be removed, its next reader finds it damaged again.
        let _ = rustix::fs::unlinkat(&self.folder, name.encoded(), AtFlags::empty());
    }

    /// Removes what was not used for longest until a tenth of the space is free.
    fn evict(&self) {
        // The lock must be free again before anything is removed.
        let oldest = self.index().oldest_beyond(self.max_bytes);
        for name in oldest {
            self.remove(&name);
        }
    }
}

impl Index {
    /// What is in the folder; unfinished files of a process that was killed go.
    fn of(folder: &OwnedFd) -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(folder)? {
            let entry = entry?;
            let Ok(file_name) = entry.file_name().to_str() else { continue };
            if file_name.ends_with(UNFINISHED) {
                let _ = rustix::fs::unlinkat(folder, file_name, AtFlags::empty());
                continue;
            }
            let Ok(name) = format!("sha256:{file_name}").parse::<Digest>() else { continue };
            let status = rustix::fs::statat(folder, file_name, AtFlags::SYMLINK_NOFOLLOW)?;
            found.push((status.st_mtime, name, u64::try_from(status.st_size).unwrap_or_default()));
        }
        found.sort();
        let mut index = Self::default();
        for (_, name, bytes) in found {
            index.add(name, bytes);
        }
        Ok(index)
    }

    fn add(&mut self, name: Digest, bytes: u64) {
        self.forget(&name);
        let bytes = bytes.max(BLOCK_BYTES);
        self.uses = self.uses.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.files.insert(name, Entry { bytes, last_use: self.uses });
    }

    fn touch(&mut self, name: &Digest) {
        self.uses = self.uses.saturating_add(1);
        if let Some(entry) = self.files.get_mut(name) {
            entry.last_use = self.uses;
        }
    }

    fn forget(&mut self, name: &Digest) {
        if let Some(entry) = self.files.remove(name) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    fn oldest_beyond(&self, max_bytes: u64) -> Vec<Digest> {
        if self.bytes <= max_bytes {
            return Vec::new();
        }
        let mut by_age: Vec<_> = self.files.iter().map(|(name, entry)| (entry.last_use, *name, entry.bytes)).collect();
        by_age.sort();
        let mut excess = self.bytes.saturating_sub(max_bytes / 10 * 9);
        let mut oldest = Vec::new();
        for (_, name, bytes) in by_age {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            oldest.push(name);
        }
        oldest
    }
}

/// Whether a file must survive a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Whoever reads it notices.
    NoticedWhenLost,
    /// It cannot be had again.
    Synced,
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let own = path.join(FOLDER);
    std::fs::create_dir_all(path)?;
    match std::fs::DirBuilder::new().mode(0o700).create(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::open(&own, flags, Mode::empty())?);
    let metadata = folder.metadata()?;
    // What others may write there, they could also replace while it is in use.
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.permissions().mode() & 0o077 != 0 {
        let problem = format!("`{}` must belong to this user, and nobody else may have access (0700)", own.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    Ok(folder.into())
}

fn find_or_make_salt(folder: &OwnedFd) -> io::Result<[u8; 32]> {
    if let Ok(bytes) = read_file(folder, SALT)
        && let Ok(salt) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(salt);
    }
    // Without its salt, nothing that is there can be found: it goes when its space is needed.
    let salt = random()?;
    write_file(folder, SALT, &salt, Durability::Synced)?;
    Ok(salt)
}

/// 32 random bytes.
pub(super) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn read_file(folder: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    // Without NONBLOCK, somebody's named pipe would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    Ok(bytes)
}

fn write_file(folder: &OwnedFd, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let unfinished = format!("{}{UNFINISHED}", Digest::of(&random()?).encoded());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file.write_all(bytes).and_then(|()| match durability {
        Durability::NoticedWhenLost => Ok(()),
        Durability::Synced => file.sync_all(),
    });
    let finished = written.and_then(|()| Ok(rustix::fs::renameat(folder, &unfinished, folder, name)?));
    if finished.is_err() {
        let _ = rustix::fs::unlinkat(folder, &unfinished, AtFlags::empty());
    }
    finished
}
