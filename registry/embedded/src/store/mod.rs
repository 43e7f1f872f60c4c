//! What the registry holds: which repository has which blobs, manifests, tags and referrers.
//!
//! The index below is always in memory. The content and, for a registry on a folder, a record of every entry are in the
//! [`Backing`]. Every change happens under the one write lock, record first, so that content can be deleted as soon as
//! no entry names it.

mod backing;
mod folder;
mod index;
mod staging;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use hallmark_policy::image::{Descriptor, Digest, Tag};

use self::backing::Backing;
pub(crate) use self::backing::Opened;
use self::folder::Folder;
pub use self::folder::OpenError;
use self::index::Index;
pub(crate) use self::index::{ManifestEntry, Page};
use self::staging::Staged;
pub(crate) use self::staging::{Session, Uploads};
use crate::budget::Budget;
use crate::document::Document;
use crate::endpoint::{Name, Reference};
use crate::limits::Limits;
use crate::refusal::Refusal;

/// Everything that one registry holds.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) limits: Limits,
    pub(crate) uploads: Uploads,
    index: RwLock<Index>,
    backing: Backing,
    budget: Arc<Budget>,
}

/// A manifest as it is served.
#[derive(Debug)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// A manifest as it is pushed.
#[derive(Debug)]
pub(crate) struct PushedManifest {
    pub(crate) reference: Reference,
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: Bytes,
}

impl Store {
    pub(crate) fn in_memory(limits: Limits) -> Self {
        let budget = Budget::new(limits.max_total_bytes, 0);
        Self::new(Backing::in_memory(), Index::new(limits.max_entries), budget, limits)
    }

    pub(crate) fn on_folder(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let folder = Folder::open(path)?;
        let mut index = Index::new(limits.max_entries);
        let bytes = folder.load(&mut index)?;
        let budget = Budget::new(limits.max_total_bytes, bytes);
        Ok(Self::new(Backing::Folder(folder), index, budget, limits))
    }

    fn new(backing: Backing, index: Index, budget: Arc<Budget>, limits: Limits) -> Self {
        let uploads = Uploads::new(limits.max_uploads, limits.upload_idle);
        Self { limits, uploads, index: RwLock::new(index), backing, budget }
    }

    /// Runs work that may touch the disk, away from the threads that serve other requests. It runs to its end even
    /// when the client goes away, so that record and index never part.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if let Backing::Memory(_) = self.backing {
            return work(self);
        }
        let store = Arc::clone(self);
        let outcome = tokio::task::spawn_blocking(move || work(&store)).await;
        outcome.unwrap_or(Err(Refusal::Storage(std::io::ErrorKind::Interrupted)))
    }

    /// A new upload session for a repository.
    pub(crate) fn stage(&self, name: &Name) -> Result<Session, Refusal> {
        let sink = self.backing.sink()?;
        Ok(Session::new(name.clone(), sink, self.budget.reserve(), self.limits.max_blob_bytes))
    }

    /// Makes a finished upload a blob of the repository, if it has the digest that the client says.
    pub(crate) fn commit_blob(&self, name: &Name, digest: Digest, staged: Staged) -> Result<(), Refusal> {
        if !staged.matches(&digest)? {
            return Err(Refusal::DigestMismatch(digest));
        }
        let mut index = self.write();
        index.check_room(name, 1)?;
        self.backing.insert(&digest, staged)?;
        self.backing.record_blob(name, &digest)?;
        index.add_blob(name, digest);
        Ok(())
    }

    /// Makes another repository's blob one of this repository too; `false` when it does not have it.
    pub(crate) fn mount_blob(&self, name: &Name, from: &Name, digest: Digest) -> Result<bool, Refusal> {
        let mut index = self.write();
        if !index.has_blob(from, &digest) {
            return Ok(false);
        }
        index.check_room(name, 1)?;
        self.backing.record_blob(name, &digest)?;
        index.add_blob(name, digest);
        Ok(true)
    }

    pub(crate) fn open_blob(&self, name: &Name, digest: &Digest) -> Result<Opened, Refusal> {
        let index = self.read();
        if !index.has_blob(name, digest) {
            return Err(Refusal::BlobUnknown(*digest));
        }
        self.backing.open(digest)?.ok_or(Refusal::BlobUnknown(*digest))
    }

    pub(crate) fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        let mut index = self.write();
        if !index.has_blob(name, digest) {
            return Err(Refusal::BlobUnknown(*digest));
        }
        self.backing.erase_blob(name, digest)?;
        index.remove_blob(name, digest);
        self.collect(&index, digest)
    }

    /// Stores a manifest and gives back its digest and the subject that it refers to.
    pub(crate) fn put_manifest(
        &self,
        name: &Name,
        pushed: PushedManifest,
    ) -> Result<(Digest, Option<Digest>), Refusal> {
        let PushedManifest { reference, content_type, bytes } = pushed;
        let (digest, tag) = match reference {
            Reference::Digest(digest) if digest.matches(&bytes) => (digest, None),
            Reference::Digest(digest) => return Err(Refusal::DigestMismatch(digest)),
            Reference::Tag(tag) => (Digest::of(&bytes), Some(tag)),
            Reference::Neither(text) => {
                return Err(Refusal::ManifestInvalid(format!("`{text}` is neither a tag nor a digest")));
            }
        };
        let document = Document::parse(&bytes, content_type.as_deref())?;
        let subject = document.subject().map(|subject| subject.digest);
        let entry = ManifestEntry { media_type: document.served_type(content_type.as_deref()), subject };

        let mut index = self.write();
        check_references(&index, name, &document)?;
        index.check_room(name, 2)?;
        let mut reservation = self.budget.reserve();
        reservation.grow(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        self.backing.insert(&digest, Staged::in_memory(bytes, reservation))?;
        self.backing.record_manifest(name, &digest, &entry.media_type)?;
        index.add_manifest(name, digest, entry);
        if let Some(tag) = tag {
            self.backing.record_tag(name, &tag, &digest)?;
            index.add_tag(name, tag, digest);
        }
        Ok((digest, subject))
    }

    pub(crate) fn manifest(&self, name: &Name, reference: &Reference) -> Result<StoredManifest, Refusal> {
        let unknown = || Refusal::ManifestUnknown(reference.to_string());
        let index = self.read();
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => index.tag(name, tag).ok_or_else(unknown)?,
            Reference::Neither(_) => return Err(unknown()),
        };
        let media_type = index.manifest(name, &digest).ok_or_else(unknown)?.media_type.clone();
        let bytes = self.backing.read(&digest)?.ok_or_else(unknown)?;
        Ok(StoredManifest { digest, media_type, bytes })
    }

    /// Deletes a tag, or a manifest with all tags that point at it.
    pub(crate) fn delete_manifest(&self, name: &Name, reference: &Reference) -> Result<(), Refusal> {
        let unknown = || Refusal::ManifestUnknown(reference.to_string());
        let mut index = self.write();
        match reference {
            Reference::Digest(digest) => {
                index.manifest(name, digest).ok_or_else(unknown)?;
                for tag in index.tags_of(name, digest) {
                    self.erase_tag(&mut index, name, &tag)?;
                }
                self.backing.erase_manifest(name, digest)?;
                index.remove_manifest(name, digest);
                self.collect(&index, digest)
            }
            Reference::Tag(tag) => {
                index.tag(name, tag).ok_or_else(unknown)?;
                self.erase_tag(&mut index, name, tag)
            }
            Reference::Neither(_) => Err(unknown()),
        }
    }

    /// The tags after `last` in ASCII order, at most `count`.
    pub(crate) fn tags(&self, name: &Name, last: Option<&str>, count: usize) -> Result<Page<Tag>, Refusal> {
        self.read().tags(name, last, count).ok_or_else(|| Refusal::NameUnknown(name.to_string()))
    }

    /// The manifests that refer to a subject, in the order in which they were pushed, after the position `after`. One
    /// page ends at `referrers_per_page` descriptors or before it would be larger than a manifest may be.
    pub(crate) fn referrers(
        &self,
        name: &Name,
        subject: &Digest,
        after: u64,
        artifact_type: Option<&str>,
    ) -> Result<ReferrersPage, Refusal> {
        let index = self.read();
        let mut page = ReferrersPage { descriptors: Vec::new(), next: None };
        let mut room = self.limits.max_manifest_bytes;
        let mut position = after;
        for (at, digest) in index.referrers(name, subject, after) {
            let Some(descriptor) = self.describe(&index, name, digest)? else { continue };
            if artifact_type.is_some_and(|wanted| descriptor.artifact_type.as_deref() != Some(wanted)) {
                continue;
            }
            let size = serde_json::to_vec(&descriptor).map_or(0, |text| text.len());
            let is_full = page.descriptors.len() >= self.limits.referrers_per_page || size > room;
            if is_full && !page.descriptors.is_empty() {
                page.next = Some(position);
                break;
            }
            room = room.saturating_sub(size);
            position = at;
            page.descriptors.push(descriptor);
        }
        Ok(page)
    }

    fn describe(&self, index: &Index, name: &Name, digest: &Digest) -> Result<Option<Descriptor>, Refusal> {
        let (Some(entry), Some(bytes)) = (index.manifest(name, digest), self.backing.read(digest)?) else {
            return Ok(None);
        };
        let document = Document::parse(&bytes, None)?;
        let mut descriptor = Descriptor::of(&entry.media_type, &bytes);
        descriptor.digest = *digest;
        descriptor.artifact_type = document.listed_type().map(str::to_owned);
        descriptor.annotations = document.into_annotations();
        Ok(Some(descriptor))
    }

    fn erase_tag(&self, index: &mut Index, name: &Name, tag: &Tag) -> Result<(), Refusal> {
        self.backing.erase_tag(name, tag)?;
        index.remove_tag(name, tag);
        Ok(())
    }

    /// Deletes content that no repository names any more.
    fn collect(&self, index: &Index, digest: &Digest) -> Result<(), Refusal> {
        if !index.names(digest) {
            self.budget.release(self.backing.remove(digest)?);
        }
        Ok(())
    }

    // A panic while the lock is held cannot leave an entry half written: each is one insertion or removal.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One page of a referrers listing.
#[derive(Debug)]
pub(crate) struct ReferrersPage {
    pub(crate) descriptors: Vec<Descriptor>,
    /// The position after which the next page begins.
    pub(crate) next: Option<u64>,
}

/// OCI distribution-spec, "Pushing Manifests": what a manifest refers to is pushed before it; its subject need not be.
fn check_references(index: &Index, name: &Name, document: &Document) -> Result<(), Refusal> {
    let blob = document.blobs().find(|blob| !index.has_blob(name, &blob.digest));
    let child = document.children().find(|child| index.manifest(name, &child.digest).is_none());
    match blob.or(child) {
        Some(missing) => Err(Refusal::ManifestBlobUnknown(missing.digest)),
        None => Ok(()),
    }
}
