//! A layout in a folder. Every step into it is taken from the folder above (`openat`) and follows no link, so that
//! nothing outside of it is read or written, whoever made it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hallmark_policy::image::{Digest, Hasher};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::index::{Addition, added};
use super::{INDEX, LayoutError, MARKER, MARKER_CONTENT, Section, blob_name, check_marker};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A layout in a folder.
pub(super) struct Folder {
    root: OwnedFd,
    path: PathBuf,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, LayoutError> {
        let root =
            rustix::fs::open(path, FOLDER, Mode::empty()).map_err(|error| LayoutError::reading(path, error.into()))?;
        Ok(Self { root, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file by its name inside of the layout; `None` when it is not there.
    pub(super) fn open_section(&self, name: &str) -> Result<Option<Section>, LayoutError> {
        let path = self.path.join(name);
        let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
        let failed = |error: Errno| match error {
            Errno::NOENT => Ok(None),
            Errno::LOOP | Errno::NOTDIR | Errno::MLINK => {
                Err(LayoutError::Refused { path: path.clone(), problem: "it is a link, or below one".to_owned() })
            }
            error => Err(LayoutError::reading(&path, error.into())),
        };
        let folder = match self.folder(folders) {
            Ok(folder) => folder,
            Err(error) => return failed(error),
        };
        // Without NONBLOCK, a pipe in a file's place would hold the program.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, file, flags, Mode::empty()) {
            Ok(file) => file,
            Err(error) => return failed(error),
        };
        let about = rustix::fs::fstat(&file).map_err(|error| LayoutError::reading(&path, error.into()))?;
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
            return Err(LayoutError::Refused { path, problem: "it is no file".to_owned() });
        }
        let length = u64::try_from(about.st_size).unwrap_or(0);
        Ok(Some(Section { file: Arc::new(File::from(file)), path, offset: 0, length }))
    }

    fn folder(&self, names: &str) -> Result<OwnedFd, Errno> {
        let mut folder = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for name in names.split('/').filter(|name| !name.is_empty()) {
            folder = rustix::fs::openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(folder)
    }
}

/// A layout in a folder that is written to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LayoutWriter {
    folder: Arc<Folder>,
}

impl LayoutWriter {
    /// Whether a folder is a layout already.
    pub(crate) fn is_there(path: &Path) -> bool {
        path.join(MARKER).is_file()
    }

    /// Makes the folder a layout, unless it is one. A folder with other things in it is left as it is.
    pub(crate) async fn create(path: &Path) -> Result<Self, LayoutError> {
        let path = path.to_owned();
        blocking(move || {
            std::fs::create_dir_all(&path).map_err(|error| LayoutError::writing(&path, error))?;
            let writer = Self { folder: Arc::new(Folder::open(&path)?) };
            match writer.folder.open_section(MARKER)? {
                Some(marker) => {
                    check_marker(&marker.whole(MAX_MANIFEST_BYTES)?)
                        .map_err(|problem| LayoutError::NoLayout { path: path.clone(), problem })?;
                }
                None => {
                    let mut entries = std::fs::read_dir(&path).map_err(|error| LayoutError::reading(&path, error))?;
                    if entries.next().is_some() {
                        let problem = "it has other things in it".to_owned();
                        return Err(LayoutError::NoLayout { path, problem });
                    }
                    let mut file = writer.begin_file("")?;
                    file.write(MARKER_CONTENT)?;
                    file.finish(MARKER)?;
                }
            }
            Ok(writer)
        })
        .await
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a blob is there, whole. What another program left half-written is not.
    pub(crate) async fn has_blob(&self, digest: Digest) -> Result<bool, LayoutError> {
        let Some(mut section) = self.folder.open_section(&blob_name(&digest))? else { return Ok(false) };
        let mut hasher = Hasher::like(digest);
        while let Some(piece) = section.next().await? {
            hasher.update(&piece);
        }
        Ok(hasher.finish() == digest)
    }

    /// Begins a blob. It gets its name when it is finished, and not before.
    pub(crate) fn begin_blob(&self, digest: Digest) -> Result<NewFile, LayoutError> {
        for name in ["blobs".to_owned(), format!("blobs/{}", digest.algorithm())] {
            let (above, name) = name.rsplit_once('/').unwrap_or(("", name.as_str()));
            let made = self.folder.folder(above).and_then(|above| rustix::fs::mkdirat(above, name, Mode::from(0o755)));
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(LayoutError::writing(self.path(), error)),
            }
        }
        self.begin_file(&format!("blobs/{}", digest.algorithm()))
    }

    /// Writes a blob that is held.
    pub(crate) async fn write_blob(&self, digest: Digest, bytes: &[u8]) -> Result<(), LayoutError> {
        let (writer, bytes) = (self.clone(), bytes.to_vec());
        blocking(move || {
            let mut file = writer.begin_blob(digest)?;
            file.write(&bytes)?;
            file.finish(&digest.encoded())
        })
        .await
    }

    /// The index as it is; `None` when there is none yet.
    pub(crate) fn index(&self) -> Result<Option<Vec<u8>>, LayoutError> {
        let section = self.folder.open_section(INDEX)?;
        section.map(|section| section.whole(MAX_MANIFEST_BYTES)).transpose()
    }

    /// Adds to the index, in one step: who reads it finds all of it, or nothing. Writers take turns.
    pub(crate) async fn add(&self, additions: Vec<Addition>) -> Result<(), LayoutError> {
        let writer = self.clone();
        blocking(move || {
            // The lock is the folder's, so that no file is left behind; it ends with the descriptor.
            let lock = Folder::open(writer.path())?;
            rustix::fs::flock(lock.root.as_fd(), FlockOperation::LockExclusive)
                .map_err(|error| LayoutError::writing(writer.path(), error))?;
            let no_layout = |problem| LayoutError::NoLayout { path: writer.path().to_owned(), problem };
            let existing = writer.index()?;
            let index = added(existing.as_deref(), &additions).map_err(no_layout)?;
            if existing.as_deref() == Some(index.as_slice()) {
                return Ok(());
            }
            if index.len() > MAX_MANIFEST_BYTES {
                return Err(LayoutError::TooLarge { path: writer.path().join(INDEX), limit: MAX_MANIFEST_BYTES });
            }
            let mut file = writer.begin_file("")?;
            file.write(&index)?;
            file.finish(INDEX)
        })
        .await
    }

    fn begin_file(&self, folder: &str) -> Result<NewFile, LayoutError> {
        let failed = |error: Errno| LayoutError::writing(&self.path().join(folder), error);
        let random = getrandom::u64().map_err(|_| failed(Errno::IO))?;
        let name = format!(".unfinished-{random:016x}");
        let folder = self.folder.folder(folder).map_err(failed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name.as_str(), flags, Mode::from(0o644)).map_err(failed)?;
        Ok(NewFile { folder, file: File::from(file), name, path: self.path().to_owned(), is_finished: false })
    }
}

/// A file without its name yet. It is removed when it is not finished.
pub(crate) struct NewFile {
    folder: OwnedFd,
    file: File,
    name: String,
    path: PathBuf,
    is_finished: bool,
}

impl NewFile {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        self.file.write_all(bytes).map_err(|error| LayoutError::writing(&self.path, error))
    }

    /// Gives the file its name, once its bytes are on the disk.
    pub(crate) fn finish(mut self, name: &str) -> Result<(), LayoutError> {
        self.file.sync_data().map_err(|error| LayoutError::writing(&self.path, error))?;
        rustix::fs::renameat(&self.folder, self.name.as_str(), &self.folder, name)
            .map_err(|error| LayoutError::writing(&self.path, error))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // What is left over does no harm: it has no name that anybody looks for.
            let _ = rustix::fs::unlinkat(&self.folder, self.name.as_str(), AtFlags::empty());
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, LayoutError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| LayoutError::Interrupted)?
}
