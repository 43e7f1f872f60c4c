//! A registry's folder. Content is laid out as in an OCI image layout; beside it, one small file for each entry:
//!
//! ```text
//! oci-layout
//! blobs/sha256/<hex>
//! repositories/<name>/_blobs/sha256-<hex>         empty
//! repositories/<name>/_manifests/sha256-<hex>     the media type
//! repositories/<name>/_tags/<tag>                 the digest
//! temporary/                                      uploads in progress, emptied at the start
//! ```
//!
//! Paths are made of parsed names, tags and digests only, none of which can climb out of the folder. Every file is
//! written beside and renamed, so that a process that dies leaves either the old or the new one. Nothing is forced to
//! the disk: what a power cut leaves is the file system's matter.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hallmark_policy::image::{Digest, Tag};
use tempfile::NamedTempFile;

use super::index::{Index, ManifestEntry};
use super::staging::Content;
use crate::document::Document;
use crate::endpoint::Name;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something is there that this registry did not write, or that was damaged since.
    #[error("`{}` is not a part of a registry's folder: {problem}", path.display())]
    Foreign {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file system refused.
    #[error("cannot use `{}`: {source}", path.display())]
    Io {
        /// Where it happened.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// The root of the folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens or creates the folder, and removes uploads that a former process left.
    pub(super) fn open(root: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(failed)?;
        let is_empty = fs::read_dir(root).map_err(failed)?.next().is_none();
        if !is_empty && !root.join("oci-layout").is_file() {
            return Err(foreign(root, "it holds other files"));
        }
        let folder = Self { root: root.to_owned() };
        let temporary = root.join("temporary");
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(failed)?;
        }
        for path in [temporary, root.join("blobs"), root.join("repositories")] {
            fs::create_dir_all(path).map_err(failed)?;
        }
        folder.write(&root.join("oci-layout"), LAYOUT).map_err(failed)?;
        Ok(folder)
    }

    /// Reads every entry into the index, and gives back how many bytes the content has.
    pub(super) fn load(&self, index: &mut Index) -> Result<u64, OpenError> {
        let repositories = self.root.join("repositories");
        let mut folders = vec![repositories.clone()];
        while let Some(folder) = folders.pop() {
            for (path, text) in entries(&folder)? {
                if !text.starts_with('_') {
                    folders.push(path);
                    continue;
                }
                let relative = folder.strip_prefix(&repositories).ok().and_then(Path::to_str);
                let name = relative.and_then(|name| name.parse::<Name>().ok());
                let name = name.ok_or_else(|| foreign(&folder, "it is not a repository's name"))?;
                self.load_entries(index, &name, &path, &text)?;
            }
        }
        let mut bytes = 0_u64;
        for (algorithm, _) in entries(&self.root.join("blobs"))? {
            for (path, _) in entries(&algorithm)? {
                bytes += fs::metadata(&path).map_err(|source| OpenError::Io { path, source })?.len();
            }
        }
        Ok(bytes)
    }

    fn load_entries(&self, index: &mut Index, name: &Name, folder: &Path, kind: &str) -> Result<(), OpenError> {
        for (path, text) in entries(folder)? {
            index.check_room(name, 1).map_err(|_| foreign(&path, "there are more entries than the limit"))?;
            match kind {
                "_blobs" => index.add_blob(name, recorded_digest(&path, &text)?),
                "_manifests" => {
                    let digest = recorded_digest(&path, &text)?;
                    index.add_manifest(name, digest, self.load_manifest(&path, &digest)?);
                }
                "_tags" => {
                    let tag: Tag = text.parse().map_err(|_| foreign(&path, "it is not a tag"))?;
                    let digest = read_text(&path)?.parse().map_err(|_| foreign(&path, "it does not hold a digest"))?;
                    index.add_tag(name, tag, digest);
                }
                _ => return Err(foreign(folder, "it is no kind of entry")),
            }
        }
        Ok(())
    }

    fn load_manifest(&self, path: &Path, digest: &Digest) -> Result<ManifestEntry, OpenError> {
        let media_type = read_text(path)?;
        let bytes = self.read(digest).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let bytes = bytes.ok_or_else(|| foreign(path, "its content is missing"))?;
        if !digest.matches(&bytes) {
            return Err(foreign(path, "its content does not have its digest"));
        }
        let document = Document::parse(&bytes, None).map_err(|_| foreign(path, "its content is not a manifest"))?;
        Ok(ManifestEntry { media_type, subject: document.subject().map(|subject| subject.digest) })
    }

    /// A temporary file on the same file system, so that it can be renamed.
    pub(super) fn temporary(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.root.join("temporary"))
    }

    pub(super) fn insert(&self, digest: &Digest, content: Content) -> io::Result<()> {
        let path = self.content(digest);
        match content {
            Content::File(_, temporary) => {
                create_parent(&path)?;
                temporary.persist(&path).map_err(|error| error.error)
            }
            Content::Memory(bytes) => self.write(&path, &bytes),
        }
    }

    pub(super) fn remove(&self, digest: &Digest) -> io::Result<u64> {
        let size = self.size(digest)?.unwrap_or(0);
        remove(&self.content(digest))?;
        Ok(size)
    }

    pub(super) fn size(&self, digest: &Digest) -> io::Result<Option<u64>> {
        found(fs::metadata(self.content(digest)).map(|metadata| metadata.len()))
    }

    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        found(fs::read(self.content(digest)).map(Bytes::from))
    }

    pub(super) fn open_content(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        let Some(file) = found(File::open(self.content(digest)))? else { return Ok(None) };
        let size = file.metadata()?.len();
        Ok(Some((file, size)))
    }

    pub(super) fn record_blob(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        self.write(&self.entry(name, "_blobs", &file_name(digest)), b"")
    }

    pub(super) fn erase_blob(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        remove(&self.entry(name, "_blobs", &file_name(digest)))
    }

    pub(super) fn record_manifest(&self, name: &Name, digest: &Digest, media_type: &str) -> io::Result<()> {
        self.write(&self.entry(name, "_manifests", &file_name(digest)), media_type.as_bytes())
    }

    pub(super) fn erase_manifest(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        remove(&self.entry(name, "_manifests", &file_name(digest)))
    }

    pub(super) fn record_tag(&self, name: &Name, tag: &Tag, digest: &Digest) -> io::Result<()> {
        self.write(&self.entry(name, "_tags", tag.as_str()), digest.to_string().as_bytes())
    }

    pub(super) fn erase_tag(&self, name: &Name, tag: &Tag) -> io::Result<()> {
        remove(&self.entry(name, "_tags", tag.as_str()))
    }

    fn content(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm()).join(digest.encoded())
    }

    fn entry(&self, name: &Name, kind: &str, text: &str) -> PathBuf {
        self.root.join("repositories").join(name.as_str()).join(kind).join(text)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        create_parent(path)?;
        let mut file = self.temporary()?;
        file.write_all(bytes)?;
        file.persist(path).map(drop).map_err(|error| error.error)
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.encoded())
}

fn recorded_digest(path: &Path, text: &str) -> Result<Digest, OpenError> {
    text.replacen('-', ":", 1).parse().map_err(|_| foreign(path, "it is not named by a digest"))
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>, OpenError> {
    let failed = |source| OpenError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let text = path.file_name().and_then(|text| text.to_str()).map(str::to_owned);
        let text = text.ok_or_else(|| foreign(&path, "its name is not text"))?;
        found.push((path, text));
    }
    // The order of pushing is not recorded; after a restart it is that of the digests.
    found.sort();
    Ok(found)
}

fn read_text(path: &Path) -> Result<String, OpenError> {
    fs::read_to_string(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

fn foreign(path: &Path, problem: &'static str) -> OpenError {
    OpenError::Foreign { path: path.to_owned(), problem }
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn remove(path: &Path) -> io::Result<()> {
    found(fs::remove_file(path)).map(drop)
}

/// Absence is an answer, not an error.
fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
