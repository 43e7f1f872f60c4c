//! Evidence that was gathered before, by digest.
//!
//! What is kept is evidence, never a verdict: a changed policy or a passed date counts on the next question, without a
//! request to any registry. Only complete evidence is kept; a failure is never remembered as an absence.

use std::time::{Duration, Instant};

use hallmark_policy::evidence::{DecodedEvidence, Retrieval};
use hallmark_policy::image::PinnedImage;
use moka::sync::Cache;

/// How much evidence is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Evidence younger than this may allow an image without asking its registry again. It never denies one: before a
    /// denial, the registry is asked.
    pub listing_life: Duration,
    /// Evidence is held this long for rules with `onUndetermined: useHeldEvidence`; each rule's `maxAge` is shorter.
    pub held_life: Duration,
    /// Bytes of evidence in memory.
    pub max_bytes: u64,
}

impl Limits {
    /// One minute, one day, 128 MiB.
    pub const STANDARD: Self = Self {
        listing_life: Duration::from_secs(60),
        held_life: Duration::from_secs(24 * 60 * 60),
        max_bytes: 128 * 1024 * 1024,
    };
}

/// Bytes that an entry costs beside its contents, as measured roughly for one decoded signature.
const ENTRY_OVERHEAD_BYTES: usize = 4096;

/// The evidence in memory.
pub(crate) struct EvidenceStore {
    listing_life: Duration,
    held_life: Duration,
    /// With when it was gathered, where that was in this process.
    kept: Cache<PinnedImage, (Option<Instant>, DecodedEvidence)>,
}

impl EvidenceStore {
    pub(crate) fn new(limits: Limits) -> Self {
        let weigh = |_: &PinnedImage, (_, evidence): &(Option<Instant>, DecodedEvidence)| weight(evidence);
        let kept =
            Cache::builder().max_capacity(limits.max_bytes).weigher(weigh).time_to_live(limits.held_life).build();
        Self { listing_life: limits.listing_life, held_life: limits.held_life, kept }
    }

    /// Evidence that is young enough to allow an image.
    pub(crate) fn fresh(&self, image: &PinnedImage) -> Option<DecodedEvidence> {
        let (gathered, evidence) = self.kept.get(image)?;
        gathered.is_some_and(|gathered| gathered.elapsed() < self.listing_life).then_some(evidence)
    }

    /// Evidence of any age that is still held.
    pub(crate) fn held(&self, image: &PinnedImage) -> Option<DecodedEvidence> {
        self.kept.get(image).map(|(_, evidence)| evidence)
    }

    /// Keeps complete evidence about an image that exists, and says whether it is that.
    pub(crate) fn keep(&self, image: PinnedImage, evidence: &DecodedEvidence) -> bool {
        let is_complete = is_complete(evidence);
        if is_complete {
            self.kept.insert(image, (Some(Instant::now()), evidence.clone()));
        }
        is_complete
    }

    /// Holds evidence of an earlier process, which is not fresh.
    pub(crate) fn hold(&self, image: PinnedImage, evidence: &DecodedEvidence) {
        if is_complete(evidence) {
            self.kept.entry(image).or_insert((None, evidence.clone()));
        }
    }

    pub(crate) fn held_life(&self) -> Duration {
        self.held_life
    }
}

fn is_complete(evidence: &DecodedEvidence) -> bool {
    evidence.causes().is_empty() && evidence.evidence().resolution.found().is_some()
}

fn weight(evidence: &DecodedEvidence) -> u32 {
    let contents = evidence.evidence().items.values().map(|item| match item {
        Retrieval::Content(content) => content.bytes().len(),
        Retrieval::Rejected(_) | Retrieval::Unknown(_) => 0,
    });
    // Contents lie there as evidence, and once more for each signature that was decoded from them.
    let overhead = evidence.signatures().len().saturating_add(1).saturating_mul(ENTRY_OVERHEAD_BYTES);
    let bytes = contents.sum::<usize>().saturating_add(evidence.decoded_bytes()).saturating_add(overhead);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
