//! OCI image layouts (OCI image-spec, "Image Layout"): folders, and tar files of them that are never unpacked.
//!
//! A layout comes from anywhere. Nothing in it is believed: digests are computed again, links are not followed, and a
//! tar file is read where it lies, so that no name in it ever becomes a path.

mod archive;
mod archive_writer;
mod error;
mod folder;
mod index;
mod reference;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hallmark_policy::image::{Content, Descriptor, Digest, Tag};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;

use crate::read::is_manifest_type;
use archive::Archive;
use folder::Folder;
use index::LayoutIndex;

pub(crate) use archive_writer::ArchiveWriter;
pub use error::LayoutError;
pub(crate) use folder::LayoutWriter;
pub(crate) use index::{Addition, added};
pub use reference::{LayoutName, LayoutReference, LayoutReferenceError};

/// The file that says that a folder is a layout.
const MARKER: &str = "oci-layout";
/// Its content, as every layout of today has it.
const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists what is in a layout.
const INDEX: &str = "index.json";
/// How much of a blob is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// A layout that is read.
pub struct Layout {
    files: Arc<Files>,
    index: LayoutIndex,
    /// Manifests by the digest that their `subject` names.
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
}

enum Files {
    Archive(Archive),
    Folder(Folder),
}

/// One name of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutImage {
    /// `org.opencontainers.image.ref.name`; none for what is listed without one.
    pub name: Option<String>,
    /// What it names.
    pub descriptor: Descriptor,
}

impl LayoutImage {
    /// Whether somebody gave it its name; what is attached to an image has names that are made of digests.
    #[must_use]
    pub fn is_image(&self) -> bool {
        index::is_image_name(self)
    }
}

impl Layout {
    /// Opens a folder or a tar file, and reads what is listed in it.
    ///
    /// # Errors
    /// [`LayoutError`] when it is no layout, or has something in it that a layout never has.
    pub async fn open(path: &Path) -> Result<Self, LayoutError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_now(&path)).await;
        opened.map_err(|_| LayoutError::Interrupted)?
    }

    fn open_now(path: &Path) -> Result<Self, LayoutError> {
        let files =
            if path.is_dir() { Files::Folder(Folder::open(path)?) } else { Files::Archive(Archive::open(path)?) };
        let no_layout = |problem: &str| LayoutError::NoLayout { path: path.to_owned(), problem: problem.to_owned() };
        let marker =
            files.whole(MARKER, MAX_MANIFEST_BYTES)?.ok_or_else(|| no_layout("it has no file `oci-layout`"))?;
        check_marker(&marker).map_err(|problem| no_layout(&problem))?;
        let index = files.whole(INDEX, MAX_MANIFEST_BYTES)?.ok_or_else(|| no_layout("it has no file `index.json`"))?;
        let index = LayoutIndex::parse(&index).map_err(|problem| no_layout(&problem))?;
        let mut layout = Self { files: Arc::new(files), index, referrers: BTreeMap::new() };
        layout.referrers = layout.find_referrers()?;
        Ok(layout)
    }

    /// Everything that is listed, in the order of the index.
    #[must_use]
    pub fn images(&self) -> Vec<LayoutImage> {
        self.index.images()
    }

    /// What a name of the layout names. Without a name, the only one that there is.
    ///
    /// # Errors
    /// [`LayoutError::Ambiguous`] when no name was given and several are there.
    pub fn resolve(&self, name: Option<&LayoutName>) -> Result<Option<LayoutImage>, LayoutError> {
        self.index.resolve(name)
    }

    /// What has a manifest as its `subject`.
    pub(crate) fn referrers(&self, subject: Digest) -> &[Descriptor] {
        self.referrers.get(&subject).map(Vec::as_slice).unwrap_or_default()
    }

    /// What a tag beside an image names: `sha256-<hex>.sig` and the like.
    pub(crate) fn beside(&self, image: Option<&str>, tag: &Tag) -> Option<Descriptor> {
        self.index.beside(image, tag)
    }

    /// A manifest; `None` when it is not there.
    pub(crate) fn manifest(&self, digest: Digest) -> Result<Option<Content>, LayoutError> {
        let Some(bytes) = self.files.whole(&blob_name(&digest), MAX_MANIFEST_BYTES)? else { return Ok(None) };
        let mismatch = |_| LayoutError::Altered { path: self.files.path().to_owned(), digest };
        Content::check(digest, bytes).map(Some).map_err(mismatch)
    }

    /// A blob and its length; `None` when it is not there.
    pub(crate) fn blob(&self, digest: Digest) -> Result<Option<Section>, LayoutError> {
        self.files.open(&blob_name(&digest))
    }

    fn find_referrers(&self) -> Result<BTreeMap<Digest, Vec<Descriptor>>, LayoutError> {
        let mut referrers: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        for image in self.index.images() {
            if !is_manifest_type(&image.descriptor.media_type) {
                continue;
            }
            let Some(content) = self.manifest(image.descriptor.digest)? else { continue };
            let known = |entries: &Vec<Descriptor>| entries.iter().any(|entry| entry.digest == content.digest());
            if let Some(subject) = crate::copy::subject_of(content.bytes()) {
                let entries = referrers.entry(subject).or_default();
                if !known(entries) {
                    entries.push(image.descriptor);
                }
            }
        }
        Ok(referrers)
    }
}

impl Files {
    fn path(&self) -> &Path {
        match self {
            Self::Archive(archive) => archive.path(),
            Self::Folder(folder) => folder.path(),
        }
    }

    /// A file of at most so many bytes.
    fn whole(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(section) = self.open(name)? else { return Ok(None) };
        section.whole(limit).map(Some)
    }

    fn open(&self, name: &str) -> Result<Option<Section>, LayoutError> {
        match self {
            Self::Archive(archive) => archive.open_section(name),
            Self::Folder(folder) => folder.open_section(name),
        }
    }
}

/// A part of a file: a blob in a tar file, or a whole file.
#[derive(Clone)]
pub(crate) struct Section {
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
    length: u64,
}

impl Section {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn whole(&self, limit: usize) -> Result<Vec<u8>, LayoutError> {
        let length = usize::try_from(self.length).ok().filter(|length| *length <= limit);
        let Some(length) = length else {
            return Err(LayoutError::TooLarge { path: self.path.clone(), limit });
        };
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.offset).map_err(|error| LayoutError::reading(&self.path, error))?;
        Ok(bytes)
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LayoutError> {
        if self.length == 0 {
            return Ok(None);
        }
        let section = self.clone();
        let wanted = usize::try_from(self.length).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; wanted];
            section.file.read_exact_at(&mut piece, section.offset).map(|()| piece)
        });
        let piece = read.await.map_err(|_| LayoutError::Interrupted)?;
        let piece = piece.map_err(|error| LayoutError::reading(&self.path, error))?;
        let taken = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(taken);
        self.length = self.length.saturating_sub(taken);
        Ok(Some(piece.into()))
    }
}

/// Where a blob is in a layout. Digests parse to lower-case hex only, so that a name made of one stays inside.
fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.encoded())
}

/// OCI image-spec, "oci-layout file": a version 1 is read.
fn check_marker(bytes: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker: Marker = serde_json::from_slice(bytes).map_err(|error| format!("its `oci-layout`: {error}"))?;
    match marker.image_layout_version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(format!("its version `{}` is not 1", crate::quote::quote(&marker.image_layout_version))),
    }
}
