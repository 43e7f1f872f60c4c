//! Uploads in progress: bytes that do not have a digest yet.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use bytes::{Bytes, BytesMut};
use hallmark_policy::image::Digest;
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use crate::budget::Reservation;
use crate::endpoint::Name;
use crate::refusal::Refusal;

/// How many bytes of a file are hashed at a time.
const HASH_BYTES: usize = 256 * 1024;

/// The uploads in progress, by their identifier.
#[derive(Debug)]
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<String, Entry>>,
    max_uploads: usize,
    idle: Duration,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    session: SharedSession,
    touched: Instant,
}

/// A session that one request at a time may write to. It is `None` once the upload is over.
pub(crate) type SharedSession = Arc<tokio::sync::Mutex<Option<Session>>>;

impl Uploads {
    pub(crate) fn new(max_uploads: usize, idle: Duration) -> Self {
        Self { sessions: Mutex::new(HashMap::new()), max_uploads, idle }
    }

    /// Registers a session and gives back its identifier, which nobody can guess.
    pub(crate) fn begin(&self, session: Session) -> Result<String, Refusal> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Refusal::Storage(io::ErrorKind::Other))?;
        let id = hex::encode(random);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= self.max_uploads {
            sessions.retain(|_, entry| entry.touched.elapsed() < self.idle);
        }
        if sessions.len() >= self.max_uploads {
            return Err(Refusal::TooManyUploads);
        }
        let name = session.name.clone();
        let session = Arc::new(tokio::sync::Mutex::new(Some(session)));
        sessions.insert(id.clone(), Entry { name, session, touched: Instant::now() });
        Ok(id)
    }

    /// The session with an identifier, if it belongs to the repository.
    pub(crate) fn find(&self, name: &Name, id: &str) -> Result<SharedSession, Refusal> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = sessions.get_mut(id).filter(|entry| entry.name == *name).ok_or(Refusal::BlobUploadUnknown)?;
        entry.touched = Instant::now();
        Ok(Arc::clone(&entry.session))
    }

    /// Forgets a session: its upload is over.
    pub(crate) fn end(&self, id: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// One upload in progress.
#[derive(Debug)]
pub(crate) struct Session {
    name: Name,
    sink: Sink,
    received: u64,
    max_bytes: u64,
    reservation: Reservation,
}

impl Session {
    pub(crate) fn new(name: Name, sink: Sink, reservation: Reservation, max_bytes: u64) -> Self {
        Self { name, sink, received: 0, max_bytes, reservation }
    }

    /// Number of bytes that arrived so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Refuses a body that says of itself that it is too large.
    pub(crate) fn check_size(&self, announced: u64) -> Result<(), Refusal> {
        match self.received.checked_add(announced) {
            Some(size) if size <= self.max_bytes => Ok(()),
            _ => Err(Refusal::SizeInvalid(self.max_bytes)),
        }
    }

    /// Adds bytes at the end. When the client goes away in the middle, what was not counted is written over.
    pub(crate) async fn append(&mut self, chunk: Bytes) -> Result<(), Refusal> {
        let size = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.check_size(size)?;
        self.reservation.grow(size)?;
        match &mut self.sink {
            Sink::File { file, .. } => {
                file.seek(SeekFrom::Start(self.received)).await?;
                file.write_all(&chunk).await?;
                file.flush().await?;
            }
            Sink::Memory(bytes) => bytes.extend_from_slice(&chunk),
        }
        self.received += size;
        Ok(())
    }

    /// Ends the upload: its bytes, ready to be checked and kept.
    pub(crate) async fn finish(self) -> Result<Staged, Refusal> {
        let content = match self.sink {
            Sink::File { file, path } => {
                file.set_len(self.received).await?;
                Content::File(file.into_std().await, path)
            }
            Sink::Memory(bytes) => Content::Memory(bytes.freeze()),
        };
        Ok(Staged { content, reservation: self.reservation })
    }
}

/// Where the bytes of an upload go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A file that is removed unless it becomes content.
    File {
        /// Open for reading and writing.
        file: tokio::fs::File,
        /// Its path, in the folder of temporary files.
        path: TempPath,
    },
    /// Memory.
    Memory(BytesMut),
}

impl Sink {
    pub(super) fn file(file: NamedTempFile) -> Self {
        let (file, path) = file.into_parts();
        Self::File { file: tokio::fs::File::from_std(file), path }
    }

    pub(super) fn memory() -> Self {
        Self::Memory(BytesMut::new())
    }
}

/// Bytes whose upload is over.
#[derive(Debug)]
pub(crate) struct Staged {
    content: Content,
    reservation: Reservation,
}

/// The bytes themselves.
#[derive(Debug)]
pub(crate) enum Content {
    File(File, TempPath),
    Memory(Bytes),
}

impl Staged {
    pub(crate) fn in_memory(bytes: Bytes, reservation: Reservation) -> Self {
        Self { content: Content::Memory(bytes), reservation }
    }

    /// Whether the bytes have this digest, recomputed from what was stored.
    pub(crate) fn matches(&self, digest: &Digest) -> io::Result<bool> {
        match &self.content {
            Content::File(file, _) => Ok(encoded_digest(file, digest.algorithm())? == digest.encoded()),
            Content::Memory(bytes) => Ok(digest.matches(bytes)),
        }
    }

    pub(super) fn into_parts(self) -> (Reservation, Content) {
        (self.reservation, self.content)
    }

    /// The bytes, reserved for good.
    pub(super) fn keep_in_memory(self) -> io::Result<Bytes> {
        let bytes = match self.content {
            Content::File(file, _) => Bytes::from(read_whole(&file)?),
            Content::Memory(bytes) => bytes,
        };
        self.reservation.keep();
        Ok(bytes)
    }
}

fn encoded_digest(mut file: &File, algorithm: &str) -> io::Result<String> {
    let mut context = Context::new(if algorithm == "sha512" { &SHA512 } else { &SHA256 });
    let mut buffer = vec![0; HASH_BYTES];
    file.seek(SeekFrom::Start(0))?;
    loop {
        let count = file.read(&mut buffer)?;
        match buffer.get(..count) {
            None | Some([]) => return Ok(hex::encode(context.finish())),
            Some(bytes) => context.update(bytes),
        }
    }
}

fn read_whole(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
