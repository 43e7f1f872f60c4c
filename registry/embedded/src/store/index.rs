//! The index in memory: names, no content.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use hallmark_policy::image::{Digest, Tag};

use crate::endpoint::Name;
use crate::refusal::Refusal;

/// Which repository has what.
#[derive(Debug)]
pub(crate) struct Index {
    repositories: BTreeMap<Name, Repository>,
    max_entries: usize,
    entries: usize,
    pushes: u64,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, ManifestEntry>,
    tags: BTreeMap<String, (Tag, Digest)>,
    /// By subject, which need not be there, then by the order of pushing.
    referrers: BTreeMap<Digest, BTreeMap<u64, Digest>>,
}

/// What is remembered of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestEntry {
    pub(crate) media_type: String,
    pub(crate) subject: Option<Digest>,
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) has_more: bool,
}

impl Index {
    pub(crate) fn new(max_entries: usize) -> Self {
        Self { repositories: BTreeMap::new(), max_entries, entries: 0, pushes: 0 }
    }

    /// Refuses when there is no room for so many more entries, and for the repository if it is a new one.
    pub(crate) fn check_room(&self, name: &Name, more: usize) -> Result<(), Refusal> {
        let more = more + usize::from(!self.repositories.contains_key(name));
        if self.entries.saturating_add(more) > self.max_entries { Err(Refusal::Full) } else { Ok(()) }
    }

    pub(crate) fn add_blob(&mut self, name: &Name, digest: Digest) {
        let is_new = self.repository(name).blobs.insert(digest);
        self.entries += usize::from(is_new);
    }

    pub(crate) fn has_blob(&self, name: &Name, digest: &Digest) -> bool {
        self.repositories.get(name).is_some_and(|repository| repository.blobs.contains(digest))
    }

    pub(crate) fn remove_blob(&mut self, name: &Name, digest: &Digest) {
        let was_there = self.repository(name).blobs.remove(digest);
        self.entries -= usize::from(was_there);
    }

    pub(crate) fn add_manifest(&mut self, name: &Name, digest: Digest, entry: ManifestEntry) {
        self.pushes += 1;
        let at = self.pushes;
        let repository = self.repository(name);
        let subject = entry.subject;
        // The same bytes pushed again keep their place in the listing of referrers.
        let is_new = repository.manifests.insert(digest, entry).is_none();
        if let (true, Some(subject)) = (is_new, subject) {
            repository.referrers.entry(subject).or_default().insert(at, digest);
        }
        self.entries += usize::from(is_new);
    }

    pub(crate) fn manifest(&self, name: &Name, digest: &Digest) -> Option<&ManifestEntry> {
        self.repositories.get(name)?.manifests.get(digest)
    }

    pub(crate) fn remove_manifest(&mut self, name: &Name, digest: &Digest) {
        let repository = self.repository(name);
        let Some(entry) = repository.manifests.remove(digest) else { return };
        if let Some(subject) = entry.subject
            && let Some(listing) = repository.referrers.get_mut(&subject)
        {
            listing.retain(|_, referrer| referrer != digest);
            if listing.is_empty() {
                repository.referrers.remove(&subject);
            }
        }
        self.entries -= 1;
    }

    /// The referrers of a subject that were pushed after a position, each with its own.
    pub(crate) fn referrers(&self, name: &Name, subject: &Digest, after: u64) -> impl Iterator<Item = (u64, &Digest)> {
        let listing = self.repositories.get(name).and_then(|repository| repository.referrers.get(subject));
        let range = (Bound::Excluded(after), Bound::Unbounded);
        listing.into_iter().flat_map(move |listing| listing.range(range)).map(|(at, digest)| (*at, digest))
    }

    pub(crate) fn add_tag(&mut self, name: &Name, tag: Tag, digest: Digest) {
        let is_new = self.repository(name).tags.insert(tag.as_str().to_owned(), (tag, digest)).is_none();
        self.entries += usize::from(is_new);
    }

    pub(crate) fn tag(&self, name: &Name, tag: &Tag) -> Option<Digest> {
        self.repositories.get(name)?.tags.get(tag.as_str()).map(|(_, digest)| *digest)
    }

    pub(crate) fn remove_tag(&mut self, name: &Name, tag: &Tag) {
        let was_there = self.repository(name).tags.remove(tag.as_str()).is_some();
        self.entries -= usize::from(was_there);
    }

    /// The tags that point at a manifest.
    pub(crate) fn tags_of(&self, name: &Name, digest: &Digest) -> Vec<Tag> {
        let tags = self.repositories.get(name).into_iter().flat_map(|repository| repository.tags.values());
        tags.filter(|(_, target)| target == digest).map(|(tag, _)| tag.clone()).collect()
    }

    /// The tags after `last`, which need not be one of them; `None` when there is no such repository.
    pub(crate) fn tags(&self, name: &Name, last: Option<&str>, count: usize) -> Option<Page<Tag>> {
        let repository = self.repositories.get(name)?;
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = repository.tags.range::<str, _>((after, Bound::Unbounded)).map(|(_, (tag, _))| tag.clone());
        let items = rest.by_ref().take(count).collect();
        Some(Page { items, has_more: rest.next().is_some() })
    }

    /// Whether any repository has content with this digest.
    pub(crate) fn names(&self, digest: &Digest) -> bool {
        let has =
            |repository: &Repository| repository.blobs.contains(digest) || repository.manifests.contains_key(digest);
        self.repositories.values().any(has)
    }

    fn repository(&mut self, name: &Name) -> &mut Repository {
        if !self.repositories.contains_key(name) {
            self.entries += 1;
        }
        self.repositories.entry(name.clone()).or_default()
    }
}
