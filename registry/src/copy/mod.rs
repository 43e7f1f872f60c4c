//! Copying an image with everything that is attached to it, between registries and layouts.
//!
//! Everything is looked for first; a place that cannot be asked ends the copy before anything is written. Then it is
//! written from the bottom up: blobs, the images of an index, the image by its digest, what is attached, the lists of
//! that, and the tag last. So whoever finds the tag finds all of it, and a copy that was interrupted leaves nothing
//! that claims to be whole. What is there already is not sent again.

mod blob;
mod document;
mod error;
mod progress;
mod save;
mod source;
mod target;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hallmark_policy::image::{Descriptor, Digest};

use crate::Registry;
use crate::push::PushError;
use target::{Attached, BlobOutcome, Target};

pub(crate) use document::{Document, subject_of};
pub use error::CopyError;
pub use progress::Progress;
pub use save::SavedImage;
pub use source::Origin;
pub(crate) use source::Source;
pub use target::Destination;
pub(crate) use tree::Beside;
pub(crate) use tree::Tree;

/// How images are copied.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most blobs and manifests that are under way at one time; at least 1.
    pub jobs: usize,
    /// Look at both ends, and write nothing.
    pub dry_run: bool,
    /// Leave out what the source names and does not have, and say so.
    pub allow_missing: bool,
    /// How far it is.
    pub progress: Arc<Progress>,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The image's digest, the same at both ends.
    pub digest: Digest,
    /// What the target's name named before, if it named anything.
    pub named_before: Option<Digest>,
    /// Manifests that were written, and that were there before.
    pub manifests: Counts,
    /// Blobs that were written or mounted, and that were there before.
    pub blobs: Counts,
    /// How many bytes of blobs had to pass; those of blobs that were mounted or there are not among them.
    pub bytes: u64,
    /// Everything that is attached, in the order in which it was found.
    pub attached: Vec<AttachedItem>,
    /// Layers that are got from elsewhere, and were not copied.
    pub foreign: Vec<Descriptor>,
    /// What the source names and does not have.
    pub missing: Vec<Digest>,
}

/// How many were written, and how many were there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Written by this copy (in a dry run: would be).
    pub copied: usize,
    /// Taken over from another repository of the same registry, without being sent.
    pub mounted: usize,
    /// There before.
    pub already_there: usize,
}

/// A manifest that is attached to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedItem {
    /// The manifest.
    pub digest: Digest,
    /// What it is attached to.
    pub subject: Digest,
    /// What it says that it is.
    pub artifact_type: Option<String>,
    /// The tag by which it is found, where it is one of cosign's.
    pub tag: Option<String>,
}

impl Registry {
    /// Copies an image with everything that is attached to it.
    ///
    /// # Errors
    /// [`CopyError`] when anything is missing, unknown or wrong; the target's name was not written then.
    pub async fn copy(&self, from: &Origin, to: &Destination, options: &Options) -> Result<Copied, CopyError> {
        let (source, root) = Source::open(&self.shared, from).await?;
        if let Destination::Registry { digest: Some(wanted), .. } = to
            && *wanted != root.digest()
        {
            return Err(CopyError::DigestWanted { wanted: *wanted, found: root.digest() });
        }
        let tree = Tree::find(&source, root, options).await?;
        let target = Target::open(&self.shared, to, options.dry_run).await?;
        Copying { tree: &tree, source: &source, target: &target, options }.run().await
    }
}

/// One copy.
struct Copying<'a> {
    tree: &'a Tree,
    source: &'a Source<'a>,
    target: &'a Target<'a>,
    options: &'a Options,
}

impl Copying<'_> {
    async fn run(&self) -> Result<Copied, CopyError> {
        let named_before = self.target.tagged().await?;
        let (blobs, bytes) = self.blobs().await?;
        let (manifests, unlisted) = self.manifests().await?;
        if !self.options.dry_run {
            self.target.list_and_name(self.tree.attached(unlisted)?).await?;
        }
        let tree = self.tree;
        Ok(Copied {
            digest: tree.root,
            named_before,
            manifests,
            blobs,
            bytes,
            attached: tree.items(),
            foreign: tree.foreign.values().cloned().collect(),
            missing: tree.missing.iter().copied().collect(),
        })
    }

    async fn blobs(&self) -> Result<(Counts, u64), CopyError> {
        self.options.progress.expect_bytes(self.tree.blobs.values().sum());
        let work = self.tree.blobs.iter().map(|(digest, size)| async move {
            let outcome = self.target.ensure_blob(self.source, *digest, *size, self.options).await?;
            if outcome != BlobOutcome::Copied || self.options.dry_run {
                self.options.progress.add_bytes(*size);
            }
            Ok::<_, CopyError>((outcome, *size))
        });
        let mut outcomes = stream::iter(work).buffer_unordered(self.options.jobs);
        let (mut counts, mut bytes) = (Counts::default(), 0_u64);
        while let Some((outcome, size)) = outcomes.try_next().await? {
            match outcome {
                BlobOutcome::AlreadyThere => counts.already_there += 1,
                BlobOutcome::Mounted => counts.mounted += 1,
                BlobOutcome::Copied => {
                    counts.copied += 1;
                    bytes = bytes.saturating_add(size);
                }
            }
        }
        Ok((counts, bytes))
    }

    /// Writes the manifests; gives the referrers that the target does not list by itself, by their subjects.
    async fn manifests(&self) -> Result<(Counts, BTreeMap<Digest, Vec<Descriptor>>), CopyError> {
        let mut counts = Counts::default();
        let mut listed: BTreeMap<Digest, bool> = BTreeMap::new();
        for wave in self.tree.waves() {
            let work = wave.into_iter().map(|document| async move {
                let was_there = self.target.has_manifest(document.digest()).await?;
                // What refers to another manifest is written again: only then does a registry say that it lists it.
                let must_write = !was_there || document.subject.is_some();
                let is_listed = match must_write && !self.options.dry_run {
                    true => {
                        self.target.write_manifest(document).await.map_err(|error| self.explain(error, document))?
                    }
                    false => false,
                };
                Ok::<_, CopyError>((document.digest(), was_there, is_listed))
            });
            let mut done = stream::iter(work).buffer_unordered(self.options.jobs);
            while let Some((digest, was_there, is_listed)) = done.try_next().await? {
                match was_there {
                    true => counts.already_there += 1,
                    false => counts.copied += 1,
                }
                listed.insert(digest, is_listed);
            }
        }
        let mut unlisted: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        for referrer in &self.tree.referrers {
            let Some(document) = self.tree.documents.get(&referrer.manifest) else { continue };
            let says_so = document.subject == Some(referrer.subject);
            if !(says_so && listed.get(&referrer.manifest) == Some(&true)) {
                unlisted.entry(referrer.subject).or_default().push(document.described());
            }
        }
        Ok((counts, unlisted))
    }
}

impl Copying<'_> {
    /// A registry may look whether it has what an index lists (distribution-spec, "Pushing Manifests").
    fn explain(&self, error: CopyError, document: &Document) -> CopyError {
        let missing = document.children.iter().filter(|child| self.tree.missing.contains(&child.digest)).count();
        match error {
            CopyError::Push(refusal @ PushError::Refused { .. }) if missing > 0 => {
                CopyError::Sparse { index: document.digest(), missing, refusal }
            }
            error => error,
        }
    }
}

impl Tree {
    /// What is written when everything else is there.
    fn attached(&self, unlisted: BTreeMap<Digest, Vec<Descriptor>>) -> Result<Attached<'_>, CopyError> {
        let missing = || CopyError::Missing { digest: self.root, by: "as the image itself".to_owned() };
        let root = self.documents.get(&self.root).ok_or_else(missing)?;
        let documents = self.found.iter().filter_map(|digest| self.documents.get(digest));
        let referrers = documents.filter(|document| document.subject.is_some() && document.digest() != self.root);
        let beside = self.beside.iter().filter_map(|one| Some((one, self.documents.get(&one.manifest)?)));
        Ok(Attached { root, unlisted, referrers: referrers.collect(), beside: beside.collect() })
    }

    fn items(&self) -> Vec<AttachedItem> {
        let artifact_type = |digest| self.documents.get(digest).and_then(|document| document.artifact_type.clone());
        let referrers = self.referrers.iter().map(|one| AttachedItem {
            digest: one.manifest,
            subject: one.subject,
            artifact_type: artifact_type(&one.manifest),
            tag: None,
        });
        let beside = self.beside.iter().map(|one| AttachedItem {
            digest: one.manifest,
            subject: one.subject,
            artifact_type: artifact_type(&one.manifest),
            tag: Some(one.tag.to_string()),
        });
        referrers.chain(beside).collect()
    }
}
