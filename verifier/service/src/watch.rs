//! When files are to be read again: found by polling, never while they are being written.
//!
//! Polling works on every file system, also through the symbolic links that Kubernetes swaps under a mounted
//! ConfigMap. A change counts once two looks in a row see the same.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most entries of one directory that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// What some paths look like from outside, at one moment: enough to notice every change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Looks(BTreeMap<PathBuf, Stamp>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Directory(Vec<(PathBuf, Option<FileStamp>)>),
    File(FileStamp),
    Missing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Looks {
    /// Looks at files and directories; of a directory also at what is in it, one level deep.
    pub(crate) fn at<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), Stamp::of(path))).collect())
    }

    /// Looks at the same paths again.
    pub(crate) fn again(&self) -> Self {
        Self::at(self.0.keys())
    }
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Err(_) => Self::Missing,
            Ok(metadata) if metadata.is_dir() => Self::Directory(entries(path)),
            Ok(metadata) => Self::File(FileStamp::of(&metadata)),
        }
    }
}

impl FileStamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn entries(path: &Path) -> Vec<(PathBuf, Option<FileStamp>)> {
    let paths = std::fs::read_dir(path).into_iter().flatten().take(MAX_ENTRIES).filter_map(|e| Some(e.ok()?.path()));
    let stamp = |path: &PathBuf| std::fs::metadata(path).ok().map(|metadata| FileStamp::of(&metadata));
    let mut entries: Vec<_> = paths.map(|path| (path.clone(), stamp(&path))).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
}

/// Says when to read again: the files do not look as they did when they were read, and they look as they did a
/// look ago.
#[derive(Debug, Default)]
pub(crate) struct Debounce {
    last: Option<Looks>,
}

impl Debounce {
    /// Takes a look.
    pub(crate) fn is_due(&mut self, read: &Looks, now: Looks) -> bool {
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

    #[test]
    fn every_kind_of_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        for watched in [folder.path().to_owned(), file.clone()] {
            let looks = Looks::at([&watched]);
            assert_eq!(looks.again(), looks);
            let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
            std::fs::write(&file, "two").unwrap();
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
            assert_ne!(looks.again(), looks, "other bytes of the same length under an old date");
        }
        let looks = Looks::at([&folder.path().to_owned()]);
        std::fs::write(folder.path().join("b.yaml"), "new").unwrap();
        assert_ne!(looks.again(), looks, "a new file");
        std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert_eq!(looks.again(), looks);
        std::fs::remove_file(&file).unwrap();
        assert_ne!(looks.again(), looks, "a file less");
    }

    #[test]
    fn the_links_that_kubernetes_swaps_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("a.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let looks = Looks::at([&folder.path().to_owned()]);
        std::os::unix::fs::symlink("..2", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(looks.again(), looks);
    }

    #[test]
    fn a_missing_file_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later.pub");
        let looks = Looks::at([&file]);
        std::fs::write(&file, "here").unwrap();
        assert_ne!(looks.again(), looks);
    }

    #[test]
    fn must_not_read_a_file_that_is_still_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let read = Looks::at([&file]);
        let mut debounce = Debounce::default();
        assert!(!debounce.is_due(&read, read.again()));
        for text in ["o", "on", "one m", "one more"] {
            std::fs::write(&file, text).unwrap();
            assert!(!debounce.is_due(&read, read.again()), "{text} is not settled");
        }
        assert!(debounce.is_due(&read, read.again()), "two looks agree");
    }
}
