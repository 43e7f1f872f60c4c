//! Files that are read again when they change: found by polling, read together, never half-written.
//!
//! Polling works on every file system, also through the symbolic links that Kubernetes swaps under a mounted
//! ConfigMap. A change counts once two looks in a row see the same, so that a file in the middle of being written is
//! left alone; and a set of files that changes while it is being read is read again.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hallmark_policy::image::Digest;

/// Most bytes of one file; the largest are policies of 2 MiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Most files in one directory that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Reads files and remembers which, and what they looked like.
#[derive(Debug, Default)]
pub struct FileReader {
    seen: BTreeMap<PathBuf, Stamp>,
    contents: BTreeMap<PathBuf, Digest>,
}

/// What a path looks like from outside: enough to notice every change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Directory(Vec<PathBuf>),
    File { inode: u64, length: u64, modified: (i64, i64), changed: (i64, i64) },
    Missing,
}

/// What a set of files looked like when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    stamps: BTreeMap<PathBuf, Stamp>,
    contents: BTreeMap<PathBuf, Digest>,
}

impl FileReader {
    /// The bytes of a file of at most 4 MiB.
    ///
    /// # Errors
    /// What the system says, or that the file is too large. The path is remembered even then: it may appear later.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        self.seen.insert(path.to_owned(), Stamp::of(path));
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES.saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
            return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
        }
        self.contents.insert(path.to_owned(), Digest::of(&bytes));
        Ok(bytes)
    }

    /// The files of a directory, in order of their names, without hidden ones; the path itself when it is a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn list(&mut self, path: &Path) -> Result<Vec<PathBuf>, String> {
        let stamp = Stamp::of(path);
        self.seen.insert(path.to_owned(), stamp.clone());
        match stamp {
            Stamp::Directory(entries) => Ok(entries),
            Stamp::File { .. } => Ok(vec![path.to_owned()]),
            Stamp::Missing => Err("there is no such file or directory".to_owned()),
        }
    }

    /// What was read, to be compared later.
    #[must_use]
    pub fn seen(self) -> Seen {
        Seen { stamps: self.seen, contents: self.contents }
    }
}

impl Seen {
    /// What the same paths look like now; equal to `self` in its looks when nothing changed.
    #[must_use]
    pub fn look_again(&self) -> Looks {
        Looks(self.stamps.keys().map(|path| (path.clone(), Stamp::of(path))).collect())
    }

    /// What the paths looked like when they were read.
    #[must_use]
    pub fn looks(&self) -> Looks {
        Looks(self.stamps.clone())
    }

    /// Whether the same files with the same bytes were read.
    #[must_use]
    pub fn same_contents(&self, other: &Self) -> bool {
        self.contents == other.contents
    }
}

/// What paths look like from outside, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks(BTreeMap<PathBuf, Stamp>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let Ok(metadata) = std::fs::metadata(path) else { return Self::Missing };
        if metadata.is_dir() {
            return Self::Directory(entries(path));
        }
        Self::File {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let hidden = |path: &PathBuf| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let entries = std::fs::read_dir(path).into_iter().flatten().take(MAX_ENTRIES);
    let mut entries: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !hidden(path)).collect();
    entries.sort();
    entries
}

/// When to read again: after a change, once two looks in a row agree.
#[derive(Debug, Default)]
pub struct Debounce {
    last: Option<Looks>,
}

impl Debounce {
    /// Takes a look and says whether the files are to be read: they do not look as they did when they were read, and
    /// they look as they did a look ago.
    pub fn is_due(&mut self, read: &Looks, now: Looks) -> bool {
        if now == *read {
            self.last = None;
            return false;
        }
        let settled = self.last.as_ref() == Some(&now);
        self.last = if settled { None } else { Some(now) };
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Seen {
        let mut reader = FileReader::default();
        for file in reader.list(path).unwrap() {
            reader.read(&file).unwrap();
        }
        reader.seen()
    }

    #[test]
    fn every_kind_of_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let seen = read(folder.path());
        assert_eq!(seen.look_again(), seen.looks());

        std::fs::write(folder.path().join("b.yaml"), "new").unwrap();
        assert_ne!(seen.look_again(), seen.looks(), "a new file");
        std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert_eq!(seen.look_again(), seen.looks());

        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, "two").unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_ne!(seen.look_again(), seen.looks(), "other bytes under an old date");

        let seen = read(folder.path());
        std::fs::remove_file(&file).unwrap();
        assert_ne!(seen.look_again(), seen.looks(), "a file less");
    }

    #[test]
    fn a_missing_file_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later.pub");
        let mut reader = FileReader::default();
        assert!(reader.read(&file).is_err());
        let seen = reader.seen();
        std::fs::write(&file, "here").unwrap();
        assert_ne!(seen.look_again(), seen.looks());
    }

    #[test]
    fn must_not_read_a_file_that_is_still_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let seen = read(folder.path());
        let mut debounce = Debounce::default();
        assert!(!debounce.is_due(&seen.looks(), seen.look_again()));
        for text in ["o", "on", "one m", "one more"] {
            std::fs::write(&file, text).unwrap();
            assert!(!debounce.is_due(&seen.looks(), seen.look_again()), "{text} is not settled");
        }
        assert!(debounce.is_due(&seen.looks(), seen.look_again()), "two looks agree");
    }

    #[test]
    fn a_touched_file_has_the_same_contents() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let before = read(folder.path());
        std::fs::write(&file, "one").unwrap();
        assert!(before.same_contents(&read(folder.path())));
        std::fs::write(&file, "two").unwrap();
        assert!(!before.same_contents(&read(folder.path())));
    }

    #[test]
    fn must_not_read_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("big");
        std::fs::File::create(&file).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(FileReader::default().read(&file).unwrap_err().contains("larger"));
        std::fs::File::create(&file).unwrap().set_len(MAX_FILE_BYTES).unwrap();
        assert!(FileReader::default().read(&file).is_ok());
    }
}
