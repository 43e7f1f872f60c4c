//! Everything that belongs to an image: what it consists of, and what is attached to any part of it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hallmark_policy::image::{Descriptor, Digest, Tag};

use super::source::Source;
use super::{CopyError, Document, Options};

/// Most manifests of one image with all that is attached to it: 64 platforms with 64 attachments each.
const MAX_MANIFESTS: usize = 4096;
/// Most steps from the image to what is attached to it, indexes on the way included.
const MAX_DEPTH: usize = 8;
/// Most bytes of all these manifests, which are held while the image is copied.
const MAX_MANIFEST_BYTES: usize = 256 * 1024 * 1024;

/// An image with everything that belongs to it.
pub(crate) struct Tree {
    pub(crate) root: Digest,
    /// Manifests in the order in which they were found, which is the same each time.
    pub(crate) found: Vec<Digest>,
    pub(crate) documents: BTreeMap<Digest, Document>,
    /// Blobs with their sizes.
    pub(crate) blobs: BTreeMap<Digest, u64>,
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
        let mut tree = Self {
            root: root.digest(),
            found: Vec::new(),
            documents: BTreeMap::new(),
            blobs: BTreeMap::new(),
            foreign: BTreeMap::new(),
            referrers: Vec::new(),
            beside: Vec::new(),
            missing: BTreeSet::new(),
        };
        let mut level = vec![root];
        for _ in 0..=MAX_DEPTH {
            let mut wanted: Vec<Wanted> = Vec::new();
            let digests: Vec<Digest> = level.iter().map(Document::digest).collect();
            for document in level {
                wanted.extend(document.children.iter().map(|child| Wanted::child(child, document.digest())));
                tree.add(document)?;
            }
            let looks = digests.into_iter().map(|digest| look_around(source, digest));
            let around: Vec<Around> = stream::iter(looks).buffered(options.jobs).try_collect().await?;
            level = Vec::new();
            for one in around {
                for (tag, document) in one.beside {
                    tree.beside.push(Beside { subject: one.of, tag, manifest: document.digest() });
                    if !tree.has(document.digest(), &level) {
                        level.push(document);
                    }
                }
                for manifest in one.referrers {
                    tree.referrers.push(Referrer { subject: one.of, manifest });
                    wanted.push(Wanted::referrer(manifest, one.of));
                }
            }
            let mut asked = BTreeSet::new();
            wanted.retain(|one| !tree.has(one.listed.digest, &level) && asked.insert(one.listed.digest));
            if tree.found.len() + level.len() + wanted.len() > MAX_MANIFESTS {
                return Err(tree.limit(format!("more than {MAX_MANIFESTS} manifests belong to it")));
            }
            let fetches = wanted.into_iter().map(|one| fetch(source, one));
            let mut fetched = stream::iter(fetches).buffered(options.jobs);
            while let Some(result) = fetched.next().await {
                match result {
                    Ok(document) => level.push(document),
                    Err(CopyError::Missing { digest, .. }) if options.allow_missing => {
                        tree.missing.insert(digest);
                    }
                    Err(error) => return Err(error),
                }
            }
            if level.is_empty() {
                let missing = &tree.missing;
                tree.referrers.retain(|referrer| !missing.contains(&referrer.manifest));
                return Ok(tree);
            }
        }
        Err(tree.limit(format!("what is attached is more than {MAX_DEPTH} steps deep")))
    }

    fn has(&self, digest: Digest, more: &[Document]) -> bool {
        self.documents.contains_key(&digest) || more.iter().any(|document| document.digest() == digest)
    }

    fn add(&mut self, document: Document) -> Result<(), CopyError> {
        let digest = document.digest();
        for blob in &document.blobs {
            let known = *self.blobs.entry(blob.digest).or_insert(blob.size);
            if known != blob.size {
                let problem = format!("one manifest says that it has {known} bytes, another {}", blob.size);
                return Err(CopyError::Untrue { digest: blob.digest, problem });
            }
        }
        self.foreign.extend(document.foreign.iter().map(|layer| (layer.digest, layer.clone())));
        self.found.push(digest);
        self.documents.insert(digest, document);
        let bytes: usize = self.documents.values().map(|document| document.content.bytes().len()).sum();
        if bytes > MAX_MANIFEST_BYTES {
            return Err(self.limit(format!("its manifests have more than {MAX_MANIFEST_BYTES} bytes")));
        }
        Ok(())
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
