//! What was learned before: evidence by digest, digests by tag, and images that are not there.
//!
//! What is kept is evidence, never a verdict: a changed policy or a passed date counts on the next question, without a
//! request to any registry. A failure is never kept, and never becomes an absence.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::Digest;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::pipeline::{Name, Subject};

/// How much evidence is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Evidence younger than this may allow an image without asking its registry again.
    pub listing_life: Duration,
    /// Evidence younger than this may also deny an image without asking its registry again, and so may the answer that
    /// there is no such image. With zero, the registry is asked before every denial, so that an image that was signed a
    /// moment ago is found.
    pub absence_life: Duration,
    /// What a tag named may allow an image for this long without asking its registry again. With zero, a tag is resolved
    /// for every question, so that one that has moved is noticed.
    pub tag_life: Duration,
    /// Evidence is held this long for rules with `onUndetermined: useHeldEvidence`; each rule's `maxAge` is shorter.
    pub held_life: Duration,
    /// Bytes of evidence in memory.
    pub max_bytes: u64,
}

impl Limits {
    /// Listings for one minute, absences and tags not at all, held for one day; 128 MiB.
    pub const STANDARD: Self = Self {
        listing_life: Duration::from_secs(60),
        absence_life: Duration::ZERO,
        tag_life: Duration::ZERO,
        held_life: Duration::from_secs(24 * 60 * 60),
        max_bytes: 128 * 1024 * 1024,
    };
}

/// Bytes that an entry costs beside its contents, as measured roughly for one decoded signature.
const ENTRY_OVERHEAD_BYTES: usize = 4096;
/// Most tags whose digests are remembered, and most images that are remembered not to be there. A name has at most 400
/// bytes.
const MAX_NAMES: u64 = 16 * 1024;

/// What is remembered.
pub(crate) struct EvidenceStore {
    limits: Limits,
    fresh: RwLock<Fresh>,
    kept: Cache<Subject, Kept>,
    tags: Cache<Name, (Instant, Digest)>,
    absent: Cache<Name, Instant>,
}

/// What counts as fresh.
#[derive(Clone, Copy)]
struct Fresh {
    generation: Generation,
    /// What was asked before is not fresh, however young it is.
    since: Option<Instant>,
}

/// How often the way in which registries are reached has changed. Work that began under one answers no question of a
/// later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Generation(u64);

/// What is kept about one subject. A part, which was enough for somebody, never takes the place of the whole: it may lack
/// the very signature that the next question needs.
#[derive(Clone, Default)]
struct Kept {
    whole: Option<Held>,
    /// Newer than the whole.
    part: Option<Held>,
}

/// Evidence, and for how long it is held.
#[derive(Clone)]
struct Held {
    /// When gathering began, where that was in this process.
    gathered: Option<Instant>,
    until: Instant,
    evidence: DecodedEvidence,
}

impl Kept {
    /// What is still held, the newest first.
    fn held(self) -> impl Iterator<Item = Held> {
        let now = Instant::now();
        self.part.into_iter().chain(self.whole).filter(move |held| now < held.until)
    }

    fn with(self, held: Held) -> Self {
        match held.evidence.is_complete() {
            true => Self { whole: Some(held), part: None },
            false => Self { part: Some(held), ..self },
        }
    }
}

/// Evidence with its age. A denial may need it to be younger than an allow does.
pub(crate) struct Young {
    pub(crate) evidence: DecodedEvidence,
    pub(crate) age: Duration,
}

impl EvidenceStore {
    pub(crate) fn new(limits: Limits) -> Self {
        let weigh = |_: &Subject, kept: &Kept| {
            let evidence = kept.whole.iter().chain(&kept.part).map(|held| weight(&held.evidence));
            evidence.fold(0, u32::saturating_add)
        };
        let kept =
            Cache::builder().max_capacity(limits.max_bytes).weigher(weigh).time_to_live(limits.held_life).build();
        let tags = Cache::builder().max_capacity(MAX_NAMES).time_to_live(limits.tag_life).build();
        let absent = Cache::builder().max_capacity(MAX_NAMES).time_to_live(limits.absence_life).build();
        let fresh = RwLock::new(Fresh { generation: Generation(0), since: None });
        Self { limits, fresh, kept, tags, absent }
    }

    /// From now on nothing that was learned before is fresh. It is still held.
    pub(crate) fn ask_anew(&self) {
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        *fresh = Fresh { generation: Generation(fresh.generation.0.wrapping_add(1)), since: Some(Instant::now()) };
    }

    /// The generation of work that begins now.
    pub(crate) fn generation(&self) -> Generation {
        self.fresh.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    fn is_fresh(&self, asked: Instant) -> bool {
        let fresh = *self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        fresh.since.is_none_or(|since| asked >= since)
    }

    /// Evidence of this process, the newest first.
    pub(crate) fn young(&self, image: &Subject) -> impl Iterator<Item = Young> + use<> {
        let mut held: Vec<Held> = self.kept.get(image).unwrap_or_default().held().collect();
        held.retain(|held| held.gathered.is_some_and(|gathered| self.is_fresh(gathered)));
        held.into_iter().filter_map(|held| Some(Young { age: held.gathered?.elapsed(), evidence: held.evidence }))
    }

    /// Whether what was learned so long ago may allow an image.
    pub(crate) fn may_allow(&self, age: Duration) -> bool {
        age < self.limits.listing_life
    }

    /// Whether what was learned so long ago may deny an image.
    pub(crate) fn may_deny(&self, age: Duration) -> bool {
        age < self.limits.absence_life
    }

    /// What a tag named, and how long ago.
    pub(crate) fn tag(&self, image: &Name) -> Option<(Digest, Duration)> {
        if self.limits.tag_life.is_zero() {
            return None;
        }
        let (asked, digest) = self.tags.get(image)?;
        let age = asked.elapsed();
        (age < self.limits.tag_life && self.is_fresh(asked)).then_some((digest, age))
    }

    /// Remembers what a registry that was asked at some time said that a tag names.
    pub(crate) fn remember_tag(&self, image: &Name, digest: Digest, asked: Instant) {
        if image.1.digest().is_none() && !self.limits.tag_life.is_zero() {
            self.tags.insert(image.clone(), (asked, digest));
        }
    }

    pub(crate) fn forget_tag(&self, image: &Name) {
        self.tags.invalidate(image);
    }

    /// Whether the registry has said a short time ago that there is no such image.
    pub(crate) fn is_absent(&self, image: &Name) -> bool {
        !self.limits.absence_life.is_zero()
            && self.absent.get(image).is_some_and(|asked| self.may_deny(asked.elapsed()) && self.is_fresh(asked))
    }

    /// Remembers that a registry that was asked at some time has said that there is no such image.
    pub(crate) fn remember_absent(&self, image: &Name, asked: Instant) {
        if !self.limits.absence_life.is_zero() {
            self.absent.insert(image.clone(), asked);
        }
    }

    /// Evidence of any age that is still held, the newest first.
    pub(crate) fn held(&self, image: &Subject) -> impl Iterator<Item = DecodedEvidence> + use<> {
        self.kept.get(image).unwrap_or_default().held().map(|held| held.evidence)
    }

    /// Whether everything that there is about an image is held.
    pub(crate) fn holds_whole(&self, image: &Subject) -> bool {
        self.held(image).any(|evidence| evidence.is_complete())
    }

    /// Keeps evidence about an image that exists, and says whether it was kept: only where nothing went wrong.
    pub(crate) fn keep(&self, image: Subject, evidence: &DecodedEvidence, began: Instant) -> bool {
        let is_sound = is_sound(evidence);
        if is_sound {
            let held = Held { gathered: Some(began), until: began + self.limits.held_life, evidence: evidence.clone() };
            self.kept
                .entry(image)
                .and_upsert_with(|entry| entry.map(|entry| entry.into_value()).unwrap_or_default().with(held));
            self.make_room();
        }
        is_sound
    }

    /// Holds evidence of an earlier process, which is not fresh and has an age.
    pub(crate) fn hold(&self, image: Subject, evidence: &DecodedEvidence, age: Duration) {
        if is_sound(evidence) {
            let until = Instant::now() + self.limits.held_life.saturating_sub(age);
            let held = Held { gathered: None, until, evidence: evidence.clone() };
            // What this process has gathered is newer.
            self.kept.entry(image).and_upsert_with(|entry| match entry.map(|entry| entry.into_value()) {
                Some(Kept { whole: None, part }) if held.evidence.is_complete() => Kept { whole: Some(held), part },
                Some(kept) => kept,
                None => Kept::default().with(held),
            });
            self.make_room();
        }
    }

    /// The cache lets go of what is too much only now and then, a few hundred entries late. These may have 32 MiB each.
    fn make_room(&self) {
        self.kept.run_pending_tasks();
    }

    pub(crate) fn held_life(&self) -> Duration {
        self.limits.held_life
    }
}

/// Nothing is unknown, but for what was left out because it was not needed: while something is, evidence does not deny.
fn is_sound(evidence: &DecodedEvidence) -> bool {
    let is_known = evidence.is_complete() || evidence.evidence().stopped_early();
    is_known && evidence.evidence().resolution.found().is_some()
}

fn weight(evidence: &DecodedEvidence) -> u32 {
    let contents = evidence.evidence().contents().map(|content| content.bytes().len());
    // Contents lie there as evidence, and once more for each signature that was decoded from them.
    let overhead = evidence.signatures().len().saturating_add(1).saturating_mul(ENTRY_OVERHEAD_BYTES);
    let bytes = contents.sum::<usize>().saturating_add(evidence.decoded_bytes()).saturating_add(overhead);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
