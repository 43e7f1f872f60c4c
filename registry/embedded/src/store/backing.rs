//! Where content lives: in memory, or in a folder that also records every entry of the index.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hallmark_policy::image::{Digest, Tag};

use super::folder::Folder;
use super::staging::{Sink, Staged};
use crate::endpoint::Name;
use crate::refusal::Refusal;

/// Content by digest, and the records of a registry that survives a restart.
#[derive(Debug)]
pub(super) enum Backing {
    Folder(Folder),
    Memory(Mutex<HashMap<Digest, Bytes>>),
}

/// Content that is about to be sent.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A file and its size.
    File(File, u64),
    /// The content itself.
    Memory(Bytes),
}

impl Opened {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Memory(bytes) => length(bytes),
        }
    }
}

impl Backing {
    pub(super) fn in_memory() -> Self {
        Self::Memory(Mutex::new(HashMap::new()))
    }

    /// A place for the bytes of an upload.
    pub(super) fn sink(&self) -> Result<Sink, Refusal> {
        match self {
            Self::Folder(folder) => Ok(Sink::file(folder.temporary()?)),
            Self::Memory(_) => Ok(Sink::memory()),
        }
    }

    /// Keeps content, and the bytes that it reserved. Content that is there already is not written again.
    pub(super) fn insert(&self, digest: &Digest, staged: Staged) -> Result<(), Refusal> {
        match self {
            Self::Folder(folder) => {
                if folder.size(digest)?.is_none() {
                    let (reservation, content) = staged.into_parts();
                    folder.insert(digest, content)?;
                    reservation.keep();
                }
            }
            Self::Memory(contents) => {
                let mut contents = lock(contents);
                if !contents.contains_key(digest) {
                    let bytes = staged.keep_in_memory()?;
                    contents.insert(*digest, bytes);
                }
            }
        }
        Ok(())
    }

    /// Deletes content and gives back how many bytes it had.
    pub(super) fn remove(&self, digest: &Digest) -> io::Result<u64> {
        match self {
            Self::Folder(folder) => folder.remove(digest),
            Self::Memory(contents) => Ok(lock(contents).remove(digest).map_or(0, |bytes| length(&bytes))),
        }
    }

    /// All bytes of a manifest.
    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        match self {
            Self::Folder(folder) => folder.read(digest),
            Self::Memory(contents) => Ok(lock(contents).get(digest).cloned()),
        }
    }

    pub(super) fn open(&self, digest: &Digest) -> io::Result<Option<Opened>> {
        match self {
            Self::Folder(folder) => Ok(folder.open_content(digest)?.map(|(file, size)| Opened::File(file, size))),
            Self::Memory(contents) => Ok(lock(contents).get(digest).cloned().map(Opened::Memory)),
        }
    }

    pub(super) fn record_blob(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| folder.record_blob(name, digest))
    }

    pub(super) fn erase_blob(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| folder.erase_blob(name, digest))
    }

    pub(super) fn record_manifest(&self, name: &Name, digest: &Digest, media_type: &str) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| folder.record_manifest(name, digest, media_type))
    }

    pub(super) fn erase_manifest(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| folder.erase_manifest(name, digest))
    }

    pub(super) fn record_tag(&self, name: &Name, tag: &Tag, digest: &Digest) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| folder.record_tag(name, tag, digest))
    }

    pub(super) fn erase_tag(&self, name: &Name, tag: &Tag) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| folder.erase_tag(name, tag))
    }

    fn folder(&self) -> Option<&Folder> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Memory(_) => None,
        }
    }
}

fn lock(contents: &Mutex<HashMap<Digest, Bytes>>) -> MutexGuard<'_, HashMap<Digest, Bytes>> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
