//! Fetching what was listed: manifests and the blobs that they name, each once, within the bounds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::Code;
use hallmark_policy::evidence::{Fault, Retrieval};
use hallmark_policy::image::{Content, Descriptor, Digest, PinnedImage, media_type};
use hallmark_policy::limits::{
    MAX_EVIDENCE_BYTES, MAX_LARGE_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, MAX_SIGNATURES,
};
use hallmark_policy::signature::{Format, Statement};

use crate::budget::{Reserved, Stage};
use crate::listing::{self, Promise};
use crate::read::{Answer, Problem, contradiction};
use crate::registry::Shared;

/// Most requests of one gathering at one time. What they bring is reserved beforehand.
const CONCURRENCY: usize = 16;

/// The content of items, or what became of them.
pub(crate) type Items = BTreeMap<Digest, Retrieval>;

impl Shared {
    /// Which items are fetched, and up to how many bytes of each. Which ones are within the limits depends on what was
    /// listed and in which order, never on which answer comes first. `spent` is what the evidence will have anyway.
    pub(crate) async fn plan(
        &self,
        image: &PinnedImage,
        stage: Stage,
        wanted: Wanted,
        items: &mut Items,
        spent: usize,
        deadline: Instant,
    ) -> Plan {
        let kind = ItemKind::of(stage);
        let mut spent = Spent::by(items, spent);
        let mut fetches = Vec::new();
        for (index, digest) in wanted.order.iter().enumerate() {
            let (promise, most) = (Promise::Unsaid, MAX_SIGNATURE_BYTES);
            let unclaimed = Claim { size: u64::MAX, small: None, promise, most };
            let claim = wanted.claims.get(digest).copied().unwrap_or(unclaimed);
            match kind.read_limit(index, claim, &mut spent) {
                Ok(limit) => fetches.push((claim.promise, Fetch { digest: *digest, limit, most: claim.most })),
                Err(detail) => settle(items, *digest, limit_exceeded(detail)),
            }
        }
        // The order of the listing stays within what promises the same.
        fetches.sort_by_key(|(promise, _)| *promise);
        let fetches = fetches.into_iter().map(|(_, fetch)| fetch);
        let mut plan = Plan { fetches: Vec::new(), reserved: Vec::new() };
        let (large, small): (Vec<Fetch>, Vec<Fetch>) = fetches.partition(Fetch::is_large);
        // In the order of the stages: whoever waits for room for large ones holds what others do not wait for.
        for (stage, fetches) in [(stage, small), (Stage::Large, large)] {
            if fetches.is_empty() {
                continue;
            }
            match self.budget.reserve(image.repository.host(), stage, bytes_of(&fetches), deadline).await {
                Ok(reserved) => {
                    plan.reserved.push(reserved);
                    plan.fetches.extend(fetches);
                }
                Err(cause) => {
                    for fetch in fetches {
                        settle(items, fetch.digest, Retrieval::Unknown(cause.clone()));
                    }
                }
            }
        }
        plan
    }

    /// Fetches items a few at a time.
    pub(crate) async fn fetch(
        &self,
        image: &PinnedImage,
        kind: ItemKind,
        fetches: Vec<Fetch>,
        items: &mut Items,
        deadline: Instant,
    ) {
        let fetches = fetches
            .into_iter()
            .map(|fetch| async move { (fetch.digest, self.find_or_fetch_item(image, kind, fetch, deadline).await) });
        let mut fetched = stream::iter(fetches).buffer_unordered(CONCURRENCY);
        while let Some((digest, retrieval)) = fetched.next().await {
            settle(items, digest, retrieval);
        }
    }

    /// What was fetched before for the same partition, or else what the registry serves. The registry has just listed
    /// the digest for this partition, so that what is found tells nobody anything new.
    async fn find_or_fetch_item(
        &self,
        image: &PinnedImage,
        kind: ItemKind,
        fetch: Fetch,
        deadline: Instant,
    ) -> Retrieval {
        let Fetch { digest, limit, .. } = fetch;
        let Some(cache) = &self.content_cache else {
            return self.fetch_item(image, kind, fetch, deadline).await;
        };
        let partition = self.partition(&image.repository);
        if let Some(content) = cache.find(partition, digest).await
            && content.digest() == digest
            // A claimed size that is wrong is rejected whether or not the content is known.
            && content.bytes().len() <= limit
        {
            return Retrieval::Content(content);
        }
        let retrieval = self.fetch_item(image, kind, fetch, deadline).await;
        if let Retrieval::Content(content) = &retrieval {
            cache.keep(partition, content);
        }
        retrieval
    }

    async fn fetch_item(&self, image: &PinnedImage, kind: ItemKind, fetch: Fetch, deadline: Instant) -> Retrieval {
        let Fetch { digest, limit, most } = fetch;
        let repository = &image.repository;
        match self.read_by_digest(repository, kind, digest, limit, deadline).await {
            Answer::Found(served) => match served.check(digest) {
                Ok(content) => Retrieval::Content(content),
                Err(Problem::Lie(detail)) => Retrieval::Rejected(Fault { code: Code::DigestMismatch, detail }),
                Err(problem @ Problem::CutOff) => Retrieval::Unknown(problem.cause(repository.host())),
            },
            Answer::Absent => {
                // It or one of its mirrors listed it, and none of them has it.
                let problem = format!("`{digest}` is listed, and is not there");
                Retrieval::Unknown(contradiction(repository.host(), &problem))
            }
            Answer::TooLarge { limit } if limit >= most => {
                limit_exceeded(format!("it has more than the limit of {limit} bytes"))
            }
            Answer::TooLarge { limit } => {
                let detail = format!("the registry sends more than the {limit} bytes that it says the item has");
                Retrieval::Rejected(Fault { code: Code::DigestMismatch, detail })
            }
            Answer::Unknown(cause) => Retrieval::Unknown(cause),
        }
    }
}

/// Manifests and blobs are asked for at different addresses, and have different bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ItemKind {
    Blob,
    Manifest,
}

impl ItemKind {
    fn of(stage: Stage) -> Self {
        match stage {
            Stage::Blobs | Stage::Large | Stage::MoreBlobs => Self::Blob,
            Stage::Listings | Stage::Manifests => Self::Manifest,
        }
    }

    /// Most items of this kind: each of the two listings may name [`MAX_SIGNATURES`].
    fn most(self) -> usize {
        2 * MAX_SIGNATURES
    }

    /// How many bytes are read of the item at this place in the order, or why it is not read at all.
    fn read_limit(self, index: usize, claim: Claim, spent: &mut Spent) -> Result<usize, String> {
        if index >= self.most() {
            return Err(format!("it comes after {} other items", self.most()));
        }
        let Claim { size, small, most, .. } = claim;
        let claimed = usize::try_from(size).unwrap_or(usize::MAX);
        let limit = match self {
            // The bytes of a listing's entry may be right where its size is wrong.
            Self::Manifest => claimed.min(most),
            Self::Blob if claimed > most => {
                return Err(format!("its size is {size} bytes, and the limit is {most}"));
            }
            Self::Blob => claimed,
        };
        match (spent.add(limit), small) {
            (Ok(()), _) => Ok(limit),
            // Whoever calls a signature large must not have it left out for want of room for what is large.
            (Err(_), Some(small)) if small < limit => spent.add(small).map(|()| small),
            (Err(detail), _) => Err(detail),
        }
    }
}

/// How many bytes the evidence about one image has. What is large has a bound of its own, so that it leaves no signature out.
struct Spent {
    small: usize,
    large: usize,
}

impl Spent {
    /// What was fetched, and at least so much that is not large.
    fn by(items: &Items, small: usize) -> Self {
        let (large, fetched): (Vec<usize>, Vec<usize>) =
            items.values().map(retrieved_bytes).partition(|bytes| *bytes > MAX_SIGNATURE_BYTES);
        Self { small: small.max(fetched.into_iter().sum()), large: large.into_iter().sum() }
    }

    fn add(&mut self, bytes: usize) -> Result<(), String> {
        let (sum, most, what) = match bytes > MAX_SIGNATURE_BYTES {
            true => (&mut self.large, MAX_LARGE_BYTES, "large attestations"),
            false => (&mut self.small, MAX_EVIDENCE_BYTES, "the evidence"),
        };
        let with = sum.saturating_add(bytes);
        if with > most {
            return Err(format!("with it, {what} would have more than {most} bytes"));
        }
        *sum = with;
        Ok(())
    }
}

/// One item to be fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch {
    pub(crate) digest: Digest,
    /// Up to how many bytes of it are read: as many as it is said to have.
    limit: usize,
    /// How many it may have.
    most: usize,
}

impl Fetch {
    fn is_large(&self) -> bool {
        self.limit > MAX_SIGNATURE_BYTES
    }
}

fn bytes_of(fetches: &[Fetch]) -> usize {
    fetches.iter().fold(0, |sum, fetch| sum.saturating_add(fetch.limit))
}

/// What is fetched, the most promising first.
pub(crate) struct Plan {
    pub(crate) fetches: Vec<Fetch>,
    /// The memory for all of it.
    pub(crate) reserved: Vec<Reserved>,
}

impl Plan {
    pub(crate) fn bytes(&self) -> usize {
        bytes_of(&self.fetches)
    }

    /// Takes away all but the first few.
    pub(crate) fn split_off(&mut self, first: usize) -> Vec<Fetch> {
        self.fetches.split_off(first.min(self.fetches.len()))
    }
}

/// What is to be fetched, in the order in which it was listed, with what is claimed of it.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) order: Vec<Digest>,
    claims: BTreeMap<Digest, Claim>,
}

#[derive(Clone, Copy)]
struct Claim {
    size: u64,
    /// The largest claim by which it is no larger than a signature.
    small: Option<usize>,
    promise: Promise,
    /// How many bytes it may have.
    most: usize,
}

impl Wanted {
    /// The manifests of listings.
    pub(crate) fn of<'a>(entries: impl Iterator<Item = &'a listing::Entry>) -> Self {
        let mut wanted = Self::default();
        for entry in entries {
            wanted.add(entry.digest, entry.size, entry.promise, MAX_MANIFEST_BYTES);
        }
        wanted
    }

    /// Two places may claim different sizes for one item. The largest claim within the limit counts, so that a wrong
    /// claim in one place never spoils a right one in another; the digest decides about the bytes anyway.
    pub(crate) fn add(&mut self, digest: Digest, size: u64, promise: Promise, most: usize) {
        let small = usize::try_from(size).ok().filter(|size| *size <= MAX_SIGNATURE_BYTES);
        match self.claims.entry(digest) {
            Entry::Vacant(entry) => {
                self.order.push(digest);
                entry.insert(Claim { size, small, promise, most });
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.small = known.small.max(small);
                known.promise = known.promise.min(promise);
                known.most = known.most.max(most);
                let limit = u64::try_from(known.most).unwrap_or(u64::MAX);
                if known.size > limit || (size <= limit && size > known.size) {
                    known.size = size;
                }
            }
        }
    }
}

/// The payload of a legacy signature, where it is the one that cosign writes for this image when nobody asks for
/// anything else (cosign `SIGNATURE_SPEC.md`): it saves the request for the blob. The digest of the layer decides, so
/// that a guess that is wrong is only a guess.
pub(crate) fn rebuilt(image: &PinnedImage, layer: &Descriptor) -> Option<Content> {
    if layer.media_type != media_type::SIMPLE_SIGNING {
        return None;
    }
    let repository = &image.repository;
    // cosign writes Docker Hub's old name.
    let old = (repository.host() == "docker.io").then(|| format!("index.docker.io/{}", repository.path()));
    [Some(repository.to_string()), old].into_iter().flatten().find_map(|name| {
        let statement = Statement { image: image.clone(), name, annotations: BTreeMap::new(), expires: None };
        let payload = statement.unsigned(Format::SimpleSigning).ok()?.payload().to_vec();
        (u64::try_from(payload.len()).ok()? == layer.size).then_some(())?;
        Content::check(layer.digest, payload).ok()
    })
}

fn retrieved_bytes(item: &Retrieval) -> usize {
    match item {
        Retrieval::Content(content) => content.bytes().len(),
        Retrieval::Rejected(_) | Retrieval::Unknown(_) => 0,
    }
}

pub(crate) fn limit_exceeded(detail: String) -> Retrieval {
    Retrieval::Rejected(Fault { code: Code::LimitExceeded, detail })
}

/// Records what became of an item that may be named twice, as a manifest and as a layer: content outweighs all, and
/// not knowing outweighs a rejection.
pub(crate) fn settle(items: &mut Items, digest: Digest, retrieval: Retrieval) {
    match items.entry(digest) {
        Entry::Vacant(entry) => {
            entry.insert(retrieval);
        }
        Entry::Occupied(mut entry) => match (entry.get(), &retrieval) {
            (Retrieval::Content(_), _) | (Retrieval::Unknown(_), Retrieval::Rejected(_)) => {}
            _ => {
                entry.insert(retrieval);
            }
        },
    }
}
