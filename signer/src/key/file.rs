//! Key files: read within a bound, and written so that nothing that is there is ever replaced.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, fchmod, fstat, open, openat, statat, unlinkat};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::SigningKeyError;

/// Most bytes of a key file. cosign's has about 700; 64 KiB is what the trust policy's public keys may have, too.
pub(super) const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// Where the two halves of a key pair are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// `PREFIX.key`
    pub private: PathBuf,
    /// `PREFIX.pub`
    pub public: PathBuf,
}

impl KeyFiles {
    /// The two files of a prefix, which may contain directories: `keys/release` means `keys/release.key` and
    /// `keys/release.pub`.
    ///
    /// # Errors
    /// [`SigningKeyError::Malformed`] when the prefix does not end in a name.
    pub fn of_prefix(prefix: &Path) -> Result<Self, SigningKeyError> {
        let ends_in_name = !prefix.as_os_str().as_encoded_bytes().ends_with(b"/");
        let Some(name) = prefix.file_name().filter(|_| ends_in_name) else {
            return Err(SigningKeyError::Malformed {
                what: "a prefix for key files",
                problem: format!("`{}` does not end in a name", prefix.display()),
            });
        };
        let with = |extension: &str| {
            let mut file = name.to_owned();
            file.push(extension);
            prefix.with_file_name(file)
        };
        Ok(Self { private: with(".key"), public: with(".pub") })
    }

    /// Whether both files could be written now. To be asked before a passphrase is, so that nobody types one in vain;
    /// [`KeyFiles::write`] decides.
    ///
    /// # Errors
    /// As [`KeyFiles::write`].
    pub fn check_free(&self) -> Result<(), SigningKeyError> {
        let directory = Directory::of(&self.private)?;
        directory.check_free(&self.private)?;
        directory.check_free(&self.public)
    }

    /// Writes the public half alone, of a key whose private half is kept elsewhere.
    ///
    /// # Errors
    /// As [`KeyFiles::write`].
    pub fn write_public(&self, public: &str) -> Result<(), SigningKeyError> {
        let directory = Directory::of(&self.public)?;
        directory.write(&self.public, 0o644, public)?;
        directory.flush()
    }

    /// Writes both halves: the private one with mode 0600, the public one with 0644, both new files and flushed to the
    /// disk. When one of them cannot be written, neither is left.
    ///
    /// # Errors
    /// [`SigningKeyError::AlreadyThere`] when either name is taken, be it by a file, a directory or a link;
    /// [`SigningKeyError::Directory`] and [`SigningKeyError::Io`].
    pub fn write(&self, private: &str, public: &str) -> Result<(), SigningKeyError> {
        let directory = Directory::of(&self.private)?;
        directory.check_free(&self.public)?;
        directory.write(&self.private, 0o600, private)?;
        let done = directory.write(&self.public, 0o644, public).and_then(|()| directory.flush());
        if done.is_err() {
            directory.remove(&self.private);
        }
        done
    }
}

/// Reads a text of at most [`MAX_KEY_FILE_BYTES`].
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, SigningKeyError> {
    let failed = |error: io::Error| failure("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    // As large as it can get, so that no half-filled copy is left behind when it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_KEY_FILE_BYTES + 1).unwrap_or_default()));
    file.take(MAX_KEY_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_KEY_FILE_BYTES) {
        return Err(SigningKeyError::TooLarge { path: path.display().to_string() });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| SigningKeyError::Malformed {
        what: "PEM text",
        problem: format!("`{}` holds other bytes; DER is converted by `openssl pkey -inform DER`", path.display()),
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// An open directory. Everything is done relative to it, so that exchanging the path for a link in between has no
/// effect.
struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory of a file and checks that nobody else can exchange what is written there.
    fn of(file: &Path) -> Result<Self, SigningKeyError> {
        let path = match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = open(&path, flags, Mode::empty()).map_err(|error| failure("open", &path, &error.into()))?;
        let directory = Self { descriptor, path };
        directory.check_owner()?;
        Ok(directory)
    }

    fn check_owner(&self) -> Result<(), SigningKeyError> {
        const WRITABLE_BY_ALL: RawMode = 0o002;
        const STICKY: RawMode = 0o1000;
        let unsafe_place = |problem| SigningKeyError::Directory { path: self.path.display().to_string(), problem };
        let status = fstat(&self.descriptor).map_err(|error| failure("open", &self.path, &error.into()))?;
        if status.st_mode & WRITABLE_BY_ALL != 0 && status.st_mode & STICKY == 0 {
            return Err(unsafe_place("everybody may write to that directory"));
        }
        let user = geteuid();
        // Root may work in the directories of others: a mounted volume in a container is one.
        let ours = user.is_root() || status.st_uid == user.as_raw() || status.st_uid == 0;
        if ours { Ok(()) } else { Err(unsafe_place("that directory belongs to another user")) }
    }

    fn check_free(&self, file: &Path) -> Result<(), SigningKeyError> {
        match statat(&self.descriptor, name(file), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(SigningKeyError::AlreadyThere { path: file.display().to_string() }),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(failure("create", file, &error.into())),
        }
    }

    /// Writes a new file, or leaves none.
    fn write(&self, path: &Path, mode: RawMode, contents: &str) -> Result<(), SigningKeyError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = match openat(&self.descriptor, name(path), flags, Mode::from_raw_mode(mode & 0o600)) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::LOOP) => {
                return Err(SigningKeyError::AlreadyThere { path: path.display().to_string() });
            }
            Err(error) => return Err(failure("create", path, &error.into())),
        };
        let mut file = File::from(descriptor);
        let written = fchmod(&file, Mode::from_raw_mode(mode))
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(contents.as_bytes()))
            .and_then(|()| file.sync_all());
        written.map_err(|error| {
            self.remove(path);
            failure("write", path, &error)
        })
    }

    /// Makes the new names survive a loss of power.
    fn flush(&self) -> Result<(), SigningKeyError> {
        match rustix::fs::fsync(&self.descriptor) {
            // Some file systems cannot flush directories.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(error) => Err(failure("write", &self.path, &error.into())),
        }
    }

    /// Takes back a file that this run has created. There is nothing left to do when that fails, too.
    fn remove(&self, file: &Path) {
        let is_file = statat(&self.descriptor, name(file), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile);
        if is_file {
            let _ = unlinkat(&self.descriptor, name(file), AtFlags::empty());
        }
    }
}

fn name(file: &Path) -> &OsStr {
    file.file_name().unwrap_or_default()
}

fn failure(action: &'static str, path: &Path, error: &io::Error) -> SigningKeyError {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "part of the path is not a directory".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    };
    SigningKeyError::Io { action, path: path.display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn files(directory: &tempfile::TempDir) -> KeyFiles {
        KeyFiles::of_prefix(&directory.path().join("release")).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn both_halves_are_written_with_their_modes() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        files.check_free().unwrap();
        files.write("private", "public").unwrap();
        assert_eq!(mode(&files.private), 0o600);
        assert_eq!(mode(&files.public), 0o644);
        assert_eq!(read(&files.private).unwrap().as_str(), "private");
        assert_eq!(read(&files.public).unwrap().as_str(), "public");
    }

    #[test]
    fn must_not_replace_or_follow_what_is_there() {
        type Obstacle = fn(&Path);
        let obstacles: [Obstacle; 4] = [
            |path| fs::write(path, "old").unwrap(),
            |path| fs::create_dir(path).unwrap(),
            |path| symlink("elsewhere", path).unwrap(),
            |path| symlink("/etc/hostname", path).unwrap(),
        ];
        for obstacle in obstacles {
            for half in [".key", ".pub"] {
                let directory = tempfile::tempdir().unwrap();
                let files = files(&directory);
                let taken = directory.path().join(format!("release{half}"));
                obstacle(&taken);
                let before = fs::symlink_metadata(&taken).unwrap();
                let refusal = Err(SigningKeyError::AlreadyThere { path: taken.display().to_string() });
                assert_eq!(files.check_free(), refusal);
                assert_eq!(files.write("private", "public"), refusal);
                let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
                assert_eq!(left, std::slice::from_ref(&taken), "half a pair was left");
                assert_eq!(fs::symlink_metadata(&taken).unwrap().modified().unwrap(), before.modified().unwrap());
            }
        }
    }

    #[test]
    fn must_not_leave_a_private_key_when_the_public_one_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let private = directory.path().join("release.key");
        // The name is free at first, and taken by the private half when the public one's turn comes.
        let files = KeyFiles { private: private.clone(), public: private.clone() };
        assert!(matches!(files.write("private", "public"), Err(SigningKeyError::AlreadyThere { .. })));
        assert!(!private.exists());
    }

    #[test]
    fn must_not_write_where_everybody_can_exchange_the_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(files(&directory).write("private", "public"), Err(SigningKeyError::Directory { .. })));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(files(&directory).write("private", "public"), Ok(()));
    }

    #[test]
    fn must_not_read_more_than_a_key_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big");
        let limit = usize::try_from(MAX_KEY_FILE_BYTES).unwrap();
        fs::write(&path, "a".repeat(limit)).unwrap();
        assert!(read(&path).is_ok());
        fs::write(&path, "a".repeat(limit + 1)).unwrap();
        assert_eq!(read(&path).err(), Some(SigningKeyError::TooLarge { path: path.display().to_string() }));
        assert!(matches!(read(Path::new("/dev/zero")), Err(SigningKeyError::TooLarge { .. })));
        assert!(matches!(read(directory.path()), Err(SigningKeyError::Io { .. })));
    }

    #[test]
    fn a_prefix_ends_in_a_name() {
        let files = KeyFiles::of_prefix(Path::new("keys/release.2026")).unwrap();
        assert_eq!(files.private, Path::new("keys/release.2026.key"));
        assert_eq!(files.public, Path::new("keys/release.2026.pub"));
        for bad in ["", "/", "keys/", ".."] {
            assert!(KeyFiles::of_prefix(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
