//! Everything that belongs to an image: what it consists of, and what is attached to any part of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hallmark_policy::image::{Descriptor, Digest, Tag};

use super::source::Source;
use super::{CopyError, Document, Options};

/// How much of an image is copied at once.
#[derive(Clone, Copy)]
struct Limits {
    /// Most manifests of one image with all that is attached to it.
    manifests: usize,
    /// Most steps from the image to what is attached to it, indexes on the way included.
    depth: usize,
    /// Most bytes of all these manifests, which are held while the image is copied.
    bytes: usize,
    /// Most bytes that all its blobs are said to have.
    blob_bytes: u64,
}

impl Limits {
    /// 64 platforms with 64 attachments each; and a pebibyte, beyond which sizes are made up and sums of them overflow.
    const STANDARD: Self = Self { manifests: 4096, depth: 8, bytes: 256 * 1024 * 1024, blob_bytes: 1 << 50 };
}

/// An image with everything that belongs to it.
pub(crate) struct Tree {
    pub(crate) root: Digest,
    /// Manifests in the order in which they were found, which is the same each time.
    pub(crate) found: Vec<Digest>,
    pub(crate) documents: BTreeMap<Digest, Document>,
    /// Bytes of manifests.
    held_bytes: usize,
    /// Blobs with their sizes.
    pub(crate) blobs: BTreeMap<Digest, u64>,
    /// What they have together.
    blob_bytes: u64,
    /// Layers that are got from elsewhere, and are not copied.
    pub(crate) foreign: BTreeMap<Digest, Descriptor>,
    /// What lists of referrers name.
    pub(crate) referrers: Vec<Referrer>,
    /// What tags beside an image name.
    pub(crate) beside: Vec<Beside>,
    /// What the source names and does not have.
    pub(crate) missing: BTreeSet<Digest>,
}

/// A manifest in a list of referrers.
pub(crate) struct Referrer {
    pub(crate) subject: Digest,
    pub(crate) manifest: Digest,
}

/// A manifest under a tag that is made of another manifest's digest.
pub(crate) struct Beside {
    pub(crate) subject: Digest,
    pub(crate) tag: Tag,
    pub(crate) manifest: Digest,
}

/// What is around one manifest.
struct Around {
    of: Digest,
    referrers: Vec<Digest>,
    beside: Vec<(Tag, Document)>,
}

impl Tree {
    /// Finds everything that belongs to an image. A place that cannot be asked is an error: what it might hold would be
    /// missing in the copy.
    pub(crate) async fn find(source: &Source<'_>, root: Document, options: &Options) -> Result<Self, CopyError> {
        Self::find_within(Limits::STANDARD, source, root, options).await
    }

    async fn find_within(
        limits: Limits,
        source: &Source<'_>,
        root: Document,
        options: &Options,
    ) -> Result<Self, CopyError> {
        let mut tree = Self {
            root: root.digest(),
            found: Vec::new(),
            documents: BTreeMap::new(),
            held_bytes: 0,
            blobs: BTreeMap::new(),
            blob_bytes: 0,
            foreign: BTreeMap::new(),
            referrers: Vec::new(),
            beside: Vec::new(),
            missing: BTreeSet::new(),
        };
        tree.hold(&root, limits)?;
        let mut level = vec![root];
        for _ in 0..=limits.depth {
            let mut wanted = WantedOnce::default();
            let digests: Vec<Digest> = level.iter().map(Document::digest).collect();
            for document in level {
                for child in &document.children {
                    wanted.add(child.digest, || Wanted::child(child, document.digest()));
                }
                tree.add(document, limits)?;
                tree.check_count(wanted.seen.len(), limits)?;
            }
            let looks = digests.into_iter().map(|digest| look_around(source, digest));
            let mut around = stream::iter(looks).buffered(options.jobs);
            level = Vec::new();
            while let Some(around) = around.try_next().await? {
                level.extend(tree.note(around, &level, &mut wanted, limits)?);
            }
            let mut wanted = wanted.list;
            wanted.retain(|one| !tree.has(one.listed.digest, &level));
            tree.check_count(tree.found.len() + level.len() + wanted.len(), limits)?;
            level.extend(tree.fetch(wanted, source, limits, options).await?);
            if level.is_empty() {
                let missing = &tree.missing;
                tree.referrers.retain(|referrer| !missing.contains(&referrer.manifest));
                return Ok(tree);
            }
        }
        Err(tree.limit(format!("what is attached is more than {} steps deep", limits.depth)))
    }

    /// Notes what is around one manifest: what is to be fetched of it is wanted from now on. Gives what is there already
    /// and is new, beside what the level has.
    fn note(
        &mut self,
        around: Around,
        level: &[Document],
        wanted: &mut WantedOnce,
        limits: Limits,
    ) -> Result<Vec<Document>, CopyError> {
        let mut new: Vec<Document> = Vec::new();
        for (tag, document) in around.beside {
            let digest = document.digest();
            self.beside.push(Beside { subject: around.of, tag, manifest: digest });
            if !self.has(digest, level) && new.iter().all(|known| known.digest() != digest) {
                self.hold(&document, limits)?;
                new.push(document);
            }
        }
        for manifest in around.referrers {
            self.referrers.push(Referrer { subject: around.of, manifest });
            wanted.add(manifest, || Wanted::referrer(manifest, around.of));
        }
        self.check_count(wanted.seen.len().max(self.referrers.len()), limits)?;
        Ok(new)
    }

    /// What is wanted. What the source does not have is noted, where that is allowed.
    async fn fetch(
        &mut self,
        wanted: Vec<Wanted>,
        source: &Source<'_>,
        limits: Limits,
        options: &Options,
    ) -> Result<Vec<Document>, CopyError> {
        let fetches = wanted.into_iter().map(|one| fetch(source, one));
        let mut fetching = stream::iter(fetches).buffered(options.jobs);
        let mut fetched = Vec::new();
        while let Some(result) = fetching.next().await {
            match result {
                Ok(document) => {
                    self.hold(&document, limits)?;
                    fetched.push(document);
                }
                Err(CopyError::Missing { digest, .. }) if options.allow_missing => {
                    self.missing.insert(digest);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fetched)
    }

    fn has(&self, digest: Digest, more: &[Document]) -> bool {
        self.documents.contains_key(&digest) || more.iter().any(|document| document.digest() == digest)
    }

    fn add(&mut self, document: Document, limits: Limits) -> Result<(), CopyError> {
        let digest = document.digest();
        for blob in &document.blobs {
            let known = match self.blobs.entry(blob.digest) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    self.blob_bytes = self.blob_bytes.saturating_add(blob.size);
                    *new.insert(blob.size)
                }
            };
            if known != blob.size {
                let problem = format!("one manifest says that it has {known} bytes, another {}", blob.size);
                return Err(CopyError::Untrue { digest: blob.digest, problem });
            }
        }
        if self.blob_bytes > limits.blob_bytes {
            return Err(self.limit(format!("its blobs are said to have more than {} bytes", limits.blob_bytes)));
        }
        self.foreign.extend(document.foreign.iter().map(|layer| (layer.digest, layer.clone())));
        self.found.push(digest);
        self.documents.insert(digest, document);
        Ok(())
    }

    /// Counts a manifest that is kept from now on: before the next one is fetched, and not when all are there.
    fn hold(&mut self, document: &Document, limits: Limits) -> Result<(), CopyError> {
        self.held_bytes = self.held_bytes.saturating_add(document.content.bytes().len());
        match self.held_bytes <= limits.bytes {
            true => Ok(()),
            false => Err(self.limit(format!("its manifests have more than {} bytes", limits.bytes))),
        }
    }

    fn check_count(&self, manifests: usize, limits: Limits) -> Result<(), CopyError> {
        match manifests <= limits.manifests {
            true => Ok(()),
            false => Err(self.limit(format!("more than {} manifests belong to it", limits.manifests))),
        }
    }

    fn limit(&self, problem: String) -> CopyError {
        CopyError::Limit { what: self.root.to_string(), problem }
    }

    /// The manifests in groups, each of which may be written once those before it are there: children before their
    /// index, then the image itself, then what is attached.
    pub(crate) fn waves(&self) -> Vec<Vec<&Document>> {
        let mut ranks: BTreeMap<Digest, usize> = BTreeMap::new();
        self.rank(self.root, &mut ranks);
        let mut base = ranks.get(&self.root).copied().unwrap_or(0) + 1;
        // A manifest is found after what it is attached to, so that one pass is enough.
        for digest in &self.found {
            if !ranks.contains_key(digest) {
                let subject = self.documents.get(digest).and_then(|document| document.subject);
                let after = subject.and_then(|subject| ranks.get(&subject)).map_or(base, |rank| base.max(rank + 1));
                let mut below = BTreeMap::new();
                self.rank(*digest, &mut below);
                for (one, rank) in below {
                    ranks.entry(one).or_insert(after + rank);
                }
                base = base.max(after);
            }
        }
        let mut waves: BTreeMap<usize, Vec<&Document>> = BTreeMap::new();
        for digest in &self.found {
            if let (Some(rank), Some(document)) = (ranks.get(digest), self.documents.get(digest)) {
                waves.entry(*rank).or_default().push(document);
            }
        }
        waves.into_values().collect()
    }

    /// A manifest's rank is above those of its children. Digests make circles impossible, and the depth is bounded.
    fn rank(&self, digest: Digest, ranks: &mut BTreeMap<Digest, usize>) -> usize {
        if let Some(rank) = ranks.get(&digest) {
            return *rank;
        }
        let children = self.documents.get(&digest).map(|document| document.children.as_slice()).unwrap_or_default();
        let known: Vec<Digest> =
            children.iter().map(|child| child.digest).filter(|child| self.documents.contains_key(child)).collect();
        let rank = known.into_iter().map(|child| self.rank(child, ranks) + 1).max().unwrap_or(0);
        ranks.insert(digest, rank);
        rank
    }
}

/// A manifest that is to be fetched.
struct Wanted {
    listed: Descriptor,
    by: String,
    /// The size in an index is part of the image; one in a list of referrers may be wrong where the bytes are right.
    size_counts: bool,
}

/// What is to be fetched, each once, in the order in which it was named.
#[derive(Default)]
struct WantedOnce {
    seen: BTreeSet<Digest>,
    list: Vec<Wanted>,
}

impl WantedOnce {
    fn add(&mut self, digest: Digest, wanted: impl FnOnce() -> Wanted) {
        if self.seen.insert(digest) {
            self.list.push(wanted());
        }
    }
}

impl Wanted {
    fn child(listed: &Descriptor, of: Digest) -> Self {
        Self { listed: listed.clone(), by: format!("in the index `{of}`"), size_counts: true }
    }

    fn referrer(digest: Digest, of: Digest) -> Self {
        // Of what the list claims nothing but the digest is used.
        let listed = Descriptor { digest, ..Descriptor::of("", b"") };
        Self { listed, by: format!("attached to `{of}`"), size_counts: false }
    }
}

async fn fetch(source: &Source<'_>, wanted: Wanted) -> Result<Document, CopyError> {
    let Wanted { listed, by, size_counts } = wanted;
    let digest = listed.digest;
    let document = source.manifest(&listed).await?.ok_or(CopyError::Missing { digest, by })?;
    let length = u64::try_from(document.content.bytes().len()).unwrap_or(u64::MAX);
    if size_counts && length != listed.size {
        let problem = format!("it has {length} bytes, and {} were announced", listed.size);
        return Err(CopyError::Untrue { digest, problem });
    }
    Ok(document)
}

async fn look_around(source: &Source<'_>, of: Digest) -> Result<Around, CopyError> {
    let [signatures, attestations, bill] = of.attachment_tags();
    let tagged = async |tag: Tag| source.tagged(&tag).await.map(|found| found.map(|document| (tag, document)));
    let (referrers, one, two, three) =
        futures_util::future::try_join4(source.referrers(of), tagged(signatures), tagged(attestations), tagged(bill))
            .await?;
    Ok(Around { of, referrers, beside: [one, two, three].into_iter().flatten().collect() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hallmark_policy::Timestamp;
    use hallmark_policy::image::{Index, Manifest, media_type};

    use super::super::Origin;
    use super::*;
    use crate::layout::Layout;
    use crate::{Configuration, Registry};

    fn write(folder: &Path, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        std::fs::write(folder.join("blobs/sha256").join(descriptor.digest.encoded()), bytes).unwrap();
        descriptor
    }

    /// A layout of one image: so many manifests in an index, so many more indexes around that; and its bytes.
    fn layout(manifests: usize, indexes: usize) -> (tempfile::TempDir, usize) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let mut bytes = 0;
        let mut put = |media_type: &str, document: &[u8]| {
            bytes += document.len();
            write(folder.path(), media_type, document)
        };
        let children = (0..manifests).map(|number| {
            let config = Descriptor::of(media_type::OCI_CONFIG, number.to_string().as_bytes());
            put(media_type::OCI_MANIFEST, &Manifest::new(config, Vec::new()).encode())
        });
        let mut entries: Vec<Descriptor> = children.collect();
        for _ in 0..=indexes {
            entries = vec![put(media_type::OCI_INDEX, &Index::new(entries).encode())];
        }
        std::fs::write(folder.path().join("index.json"), Index::new(entries).encode()).unwrap();
        (folder, bytes)
    }

    async fn find(folder: &Path, limits: Limits) -> Result<usize, CopyError> {
        let registry = Registry::new(Configuration::default(), Arc::new(|| Timestamp::UNIX_EPOCH)).unwrap();
        let origin = Origin::Layout(Arc::new(Layout::open(folder).await.unwrap()), None);
        let (source, root) = Source::open(&registry.shared, &origin).await.unwrap();
        let options = Options { jobs: 4, dry_run: true, allow_missing: false, progress: Arc::default() };
        Ok(Tree::find_within(limits, &source, root, &options).await?.found.len())
    }

    async fn check(folder: &Path, limits: Limits, found: Option<usize>) {
        match (find(folder, limits).await, found) {
            (Ok(manifests), Some(expected)) => assert_eq!(manifests, expected),
            (Err(CopyError::Limit { .. }), None) => {}
            (other, expected) => panic!("{other:?} is not {expected:?}"),
        }
    }

    #[tokio::test]
    async fn must_not_copy_more_manifests_or_deeper_or_larger_ones_than_the_bounds_allow() {
        const LARGE: Limits = Limits { manifests: 1000, depth: 1000, bytes: 1_000_000, blob_bytes: 1_000_000 };
        // The index and its manifests.
        let (folder, bytes) = layout(9, 0);
        for (manifests, found) in [(9, None), (10, Some(10)), (11, Some(10))] {
            check(folder.path(), Limits { manifests, ..LARGE }, found).await;
        }
        for (bytes, found) in [(bytes - 1, None), (bytes, Some(10)), (bytes + 1, Some(10))] {
            check(folder.path(), Limits { bytes, ..LARGE }, found).await;
        }
        // An image within four indexes is four steps from the outermost.
        let (folder, _) = layout(1, 3);
        for (depth, found) in [(3, None), (4, Some(5)), (5, Some(5))] {
            check(folder.path(), Limits { depth, ..LARGE }, found).await;
        }
    }

    /// The bound is for what is held, at any time: it is met before the rest is fetched.
    #[tokio::test]
    async fn must_not_hold_more_than_the_bound_while_one_level_is_fetched() {
        let (folder, bytes) = layout(9, 0);
        let index = Layout::open(folder.path()).await.unwrap().images().remove(0).descriptor.digest;
        let blob = |digest: Digest| folder.path().join("blobs/sha256").join(digest.encoded());
        let last = Index::parse(&std::fs::read(blob(index)).unwrap()).unwrap().manifests.pop().unwrap();
        std::fs::remove_file(blob(last.digest)).unwrap();
        let size = usize::try_from(last.size).unwrap();
        for (held, is_fetched) in [(bytes - 2 * size - 1, false), (bytes - size, true)] {
            let limits = Limits { bytes: held, ..Limits::STANDARD };
            match find(folder.path(), limits).await {
                Err(CopyError::Missing { digest, .. }) if is_fetched => assert_eq!(digest, last.digest),
                Err(CopyError::Limit { .. }) if !is_fetched => {}
                other => panic!("{held}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn must_not_fall_over_blobs_that_are_said_to_have_more_bytes_than_there_are() {
        const MOST: u64 = Limits::STANDARD.blob_bytes;
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let rest = MOST - config.size;
        for (sizes, found) in [
            (vec![rest], Some(1)),
            (vec![rest - 1, 1], Some(1)),
            (vec![rest + 1], None),
            (vec![rest, 1], None),
            (vec![u64::MAX], None),
            (vec![u64::MAX, u64::MAX, 2], None),
        ] {
            let layer = |(number, size): (usize, &u64)| {
                let described =
                    Descriptor::of("application/vnd.oci.image.layer.v1.tar", &[u8::try_from(number).unwrap()]);
                Descriptor { size: *size, ..described }
            };
            let layers = sizes.iter().enumerate().map(layer).collect();
            let (folder, _) = layout(0, 0);
            let image = Manifest::new(config.clone(), layers).encode();
            let entry = write(folder.path(), media_type::OCI_MANIFEST, &image);
            std::fs::write(folder.path().join("index.json"), Index::new(vec![entry]).encode()).unwrap();
            check(folder.path(), Limits::STANDARD, found).await;
        }
    }

    #[tokio::test]
    async fn the_bounds_of_a_copy_are_what_they_are_said_to_be() {
        let Limits { manifests, depth, bytes, blob_bytes } = Limits::STANDARD;
        assert_eq!((manifests, depth, bytes, blob_bytes), (64 * 64, 8, 256 << 20, 1 << 50));
        for (indexes, found) in [(depth - 1, Some(depth + 1)), (depth, None)] {
            check(layout(1, indexes).0.path(), Limits::STANDARD, found).await;
        }
        for (children, found) in [(manifests - 1, Some(manifests)), (manifests, None)] {
            check(layout(children, 0).0.path(), Limits::STANDARD, found).await;
        }
    }
}
