//! Writes a layout as a tar file, in one pass, always the same bytes for the same content.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hallmark_policy::image::Digest;
use tar::{EntryType, Header};

use super::{INDEX, LayoutError, MARKER, MARKER_CONTENT, blob_name};

/// What a tar file consists of.
const BLOCK: u64 = 512;

/// A tar file that gets its name when it is whole.
pub(crate) struct ArchiveWriter {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
    /// How many bytes of the entry that was begun are still to come, and how many follow to the end of its block.
    left: u64,
    padding: u64,
    is_finished: bool,
}

impl ArchiveWriter {
    /// Begins a layout with this index.
    pub(crate) fn create(path: &Path, index: &[u8], algorithms: &[&str]) -> Result<Self, LayoutError> {
        let random = getrandom::u64().map_err(|_| LayoutError::writing(path, std::io::ErrorKind::Other))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".unfinished-{random:016x}"));
        let unfinished = path.with_file_name(name);
        let file = File::options().write(true).create_new(true).open(&unfinished);
        let file = file.map_err(|error| LayoutError::writing(path, error))?;
        let mut writer = Self { file, path: path.to_owned(), unfinished, left: 0, padding: 0, is_finished: false };
        writer.entry(MARKER, MARKER_CONTENT)?;
        writer.entry(INDEX, index)?;
        writer.begin(EntryType::Directory, "blobs/", 0)?;
        for algorithm in algorithms {
            writer.begin(EntryType::Directory, &format!("blobs/{algorithm}/"), 0)?;
        }
        Ok(writer)
    }

    /// Begins a blob of this size.
    pub(crate) fn begin_blob(&mut self, digest: Digest, size: u64) -> Result<(), LayoutError> {
        self.begin(EntryType::Regular, &blob_name(&digest), size)
    }

    /// The next bytes of what was begun.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or_else(|| self.failed(std::io::ErrorKind::InvalidData))?;
        self.put(bytes)?;
        if self.left == 0 {
            let padding = std::mem::take(&mut self.padding);
            self.put(&vec![0; usize::try_from(padding).unwrap_or(0)])?;
        }
        Ok(())
    }

    /// Gives the file its name.
    pub(crate) fn finish(mut self) -> Result<(), LayoutError> {
        if self.left > 0 {
            return Err(self.failed(std::io::ErrorKind::UnexpectedEof));
        }
        self.put(&[0; 1024])?;
        self.file.sync_all().map_err(|error| self.failed(error))?;
        std::fs::rename(&self.unfinished, &self.path).map_err(|error| self.failed(error))?;
        self.is_finished = true;
        Ok(())
    }

    fn entry(&mut self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        self.begin(EntryType::Regular, name, u64::try_from(content.len()).unwrap_or(u64::MAX))?;
        self.write(content)
    }

    fn begin(&mut self, kind: EntryType, name: &str, size: u64) -> Result<(), LayoutError> {
        if self.left > 0 {
            return Err(self.failed(std::io::ErrorKind::UnexpectedEof));
        }
        // Nothing of the time, the user or the machine.
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(|error| self.failed(error))?;
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK).saturating_sub(size);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        self.file.write_all(bytes).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl Into<std::io::Error>) -> LayoutError {
        LayoutError::writing(&self.path, error)
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // What is left over has a name that says what it is.
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}
