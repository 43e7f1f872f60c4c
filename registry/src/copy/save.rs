//! Images as one tar file: an OCI layout with everything that is attached to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hallmark_policy::image::{Descriptor, Digest, ImageReference};

use super::source::Source;
use super::target::{beside, open};
use super::{AttachedItem, CopyError, Options, Origin, Tree};
use crate::Registry;
use crate::attach::{ListKind, TagList};
use crate::layout::{Addition, ArchiveWriter, added};

/// An image that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedImage {
    /// Its name in the layout: as it was asked for, in normal form.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// How many manifests and blobs it has with everything that is attached.
    pub manifests: usize,
    /// How many blobs.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// Everything that is attached.
    pub attached: Vec<AttachedItem>,
    /// Layers that are got from elsewhere, and are not in the file.
    pub foreign: Vec<Descriptor>,
    /// What the registry names and does not have.
    pub missing: Vec<Digest>,
}

/// Where the bytes of a blob are.
enum Kept<'a> {
    Held(&'a [u8]),
    /// At the source of the image with this number.
    Source(usize, u64),
}

impl Registry {
    /// Saves images with everything that is attached to them as a tar file: always the same bytes for the same images.
    ///
    /// # Errors
    /// [`CopyError`] when anything is missing, unknown or wrong; there is no file then.
    pub async fn save_archive(
        &self,
        images: &[ImageReference],
        path: &Path,
        options: &Options,
    ) -> Result<Vec<SavedImage>, CopyError> {
        let origins: Vec<Origin> = images.iter().cloned().map(Origin::Registry).collect();
        let (mut sources, mut trees) = (Vec::new(), Vec::new());
        for origin in &origins {
            let (source, root) = Source::open(&self.shared, origin).await?;
            trees.push(Tree::find(&source, root, options).await?);
            sources.push(source);
        }
        let fallbacks: Vec<Fallbacks> = trees.iter().map(Fallbacks::of).collect::<Result<_, _>>()?;
        let mut additions = Vec::new();
        let mut kept: BTreeMap<Digest, Kept<'_>> = BTreeMap::new();
        for (number, ((image, tree), fallback)) in images.iter().zip(&trees).zip(&fallbacks).enumerate() {
            let attached = tree.attached(BTreeMap::new())?;
            additions.extend(attached.additions(Some(image.to_string()), Some(image.repository())));
            for (subject, bytes) in &fallback.indexes {
                let descriptor = Descriptor::of(super::target::LAYOUT_INDEX, bytes);
                kept.insert(descriptor.digest, Kept::Held(bytes));
                let name = beside(Some(image.repository()), &subject.fallback_tag());
                additions.push(Addition { name: Some(name), descriptor });
            }
            kept.extend(tree.documents.iter().map(|(digest, one)| (*digest, Kept::Held(one.content.bytes()))));
            for (digest, size) in &tree.blobs {
                kept.entry(*digest).or_insert(Kept::Source(number, *size));
            }
        }
        let malformed = |problem| CopyError::Unsupported { digest: Digest::of(b""), problem };
        let index = added(None, &additions).map_err(malformed)?;
        if !options.dry_run {
            write(path, &index, &kept, &sources, options).await?;
        }
        Ok(images.iter().zip(&trees).map(|(image, tree)| SavedImage::of(image, tree)).collect())
    }
}

async fn write(
    path: &Path,
    index: &[u8],
    kept: &BTreeMap<Digest, Kept<'_>>,
    sources: &[Source<'_>],
    options: &Options,
) -> Result<(), CopyError> {
    let sizes = kept.values().map(|one| match one {
        Kept::Held(_) => 0,
        Kept::Source(_, size) => *size,
    });
    options.progress.expect_bytes(sizes.sum());
    let algorithms: BTreeSet<&str> = kept.keys().map(Digest::algorithm).collect();
    let mut archive = ArchiveWriter::create(path, index, &algorithms.into_iter().collect::<Vec<_>>())?;
    for (digest, one) in kept {
        match one {
            Kept::Held(bytes) => {
                archive.begin_blob(*digest, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
                archive.write(bytes)?;
            }
            Kept::Source(number, size) => {
                let Some(source) = sources.get(*number) else { continue };
                archive.begin_blob(*digest, *size)?;
                let mut blob = open(source, *digest, *size, &options.progress).await?;
                while let Some(piece) = blob.next().await? {
                    archive.write(&piece)?;
                }
            }
        }
    }
    Ok(archive.finish()?)
}

/// Fallback indexes for referrers that do not say themselves what they refer to.
struct Fallbacks {
    indexes: BTreeMap<Digest, Vec<u8>>,
}

impl Fallbacks {
    fn of(tree: &Tree) -> Result<Self, CopyError> {
        let mut entries: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        for referrer in &tree.referrers {
            let Some(document) = tree.documents.get(&referrer.manifest) else { continue };
            if document.subject != Some(referrer.subject) {
                entries.entry(referrer.subject).or_default().push(document.described());
            }
        }
        let mut indexes = BTreeMap::new();
        for (subject, entries) in entries {
            let mut list = TagList::with(ListKind::Manifests, subject.fallback_tag(), &entries);
            if let Some(written) = list.written(None)? {
                indexes.insert(subject, written.bytes);
            }
        }
        Ok(Self { indexes })
    }
}

impl SavedImage {
    fn of(image: &ImageReference, tree: &Tree) -> Self {
        let manifests = tree.documents.values().map(|document| document.content.bytes().len());
        let manifest_bytes = u64::try_from(manifests.sum::<usize>()).unwrap_or(u64::MAX);
        Self {
            name: image.to_string(),
            digest: tree.root,
            manifests: tree.documents.len(),
            blobs: tree.blobs.len(),
            bytes: tree.blobs.values().sum::<u64>().saturating_add(manifest_bytes),
            attached: tree.items(),
            foreign: tree.foreign.values().cloned().collect(),
            missing: tree.missing.iter().copied().collect(),
        }
    }
}
