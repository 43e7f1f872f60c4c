//! Fallback indexes that are wrong are made right: entries that were lost, whose manifest is gone, that are about
//! something else, or that describe their manifest wrongly (distribution-spec, "Referrers Tag Schema").
//!
//! Nothing is dropped that could not be looked at. What an index should have is found where it can be: at the tags of
//! the repository, and in its other indexes. What has no tag and is in no index cannot be found by anybody.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, PinnedImage, Repository, Tag, media_type};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;
use serde_json::Value;

use crate::Registry;
use crate::attach::{ListKind, TagList, converge};
use crate::copy::{CopyError, Document, Origin, Source};
use crate::push::PushError;
use crate::read::{Answer, ManifestName};
use crate::registry::Shared;
use crate::room::Room;
use plan::Plan;

/// Most entries of one index that are looked at.
const MAX_ENTRIES: usize = 4096;
/// Most times that an index is written because another writer was faster.
const MAX_ATTEMPTS: usize = 4;
/// The pause before the second look: a writer that read the index before us has written it by then.
const PAUSE: Duration = Duration::from_millis(400);

/// What of an index is held for each of its bytes: itself, and what it says.
const HELD_PER_BYTE: usize = 4;
/// What is held of a manifest beside its description, and of each annotation beside its text.
const HELD_PER_ITEM: usize = 512;
/// What is said of what there was no room for.
const NO_ROOM: &str = "there is no room in memory for it beside the others; repair single images";

/// How fallback indexes are repaired.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Most requests that are under way at one time; at least 1.
    pub jobs: usize,
    /// Look, and write nothing.
    pub dry_run: bool,
    /// Only the indexes of these; all of the repository where there are none.
    pub only: Option<BTreeSet<Digest>>,
    /// Most bytes that are held of indexes, and of what is known of manifests. What there is no room for is told of as
    /// not looked at, and stays as it is.
    pub held_bytes: usize,
}

impl RepairOptions {
    /// 256 MiB: some hundred thousand manifests.
    pub const HELD_BYTES: usize = 256 * 1024 * 1024;
}

/// What was found in a repository, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Every fallback index, also those that are right.
    pub indexes: Vec<RepairedIndex>,
    /// Tags that could not be looked at, and why: what they name might be missing in an index.
    pub not_looked_at: Vec<(Tag, String)>,
}

/// One fallback index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairedIndex {
    /// Its tag.
    pub tag: Tag,
    /// What it lists referrers of.
    pub subject: Digest,
    /// What is wrong with it; nothing where it is right.
    pub changes: Vec<Change>,
    /// Entries that could not be looked at, and stay as they are.
    pub unknown: Vec<(Digest, String)>,
    /// Why it was not written although it is wrong, or why nobody knows whether it is right.
    pub problem: Option<String>,
}

/// One thing that is wrong with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub kind: ChangeKind,
    /// The entry's manifest; none when it is about the index itself.
    pub manifest: Option<Digest>,
    /// What is wrong: the end of a sentence.
    pub why: String,
}

/// What is done to make an index right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// An entry that was lost is put back.
    Added,
    /// An entry, or the index, is described as it is.
    Corrected,
    /// An entry is taken out.
    Dropped,
}

impl Registry {
    /// Looks at the fallback indexes of a repository, and makes right what is wrong.
    ///
    /// # Errors
    /// [`CopyError`] when the repository's tags cannot be listed. What goes wrong with one index is told of there.
    pub async fn repair(&self, repository: &Repository, options: &RepairOptions) -> Result<Repaired, CopyError> {
        let shared = &self.shared;
        let tags = match shared.list_tags(repository, shared.deadline()).await {
            Observation::Found(tags) => tags,
            Observation::Absent => return Err(CopyError::Absent { what: format!("repository `{repository}`") }),
            Observation::Unknown(cause) => return Err(cause.into()),
        };
        let any = ImageReference::from(PinnedImage { repository: repository.clone(), digest: Digest::of(b"") });
        let origin = Origin::Registry(any);
        let room = Room::of(options.held_bytes);
        let survey = Survey { source: Source::of(shared, &origin), shared, repository, options, room };
        survey.run(tags).await
    }
}

struct Survey<'a> {
    source: Source<'a>,
    shared: &'a Shared,
    repository: &'a Repository,
    options: &'a RepairOptions,
    room: Room,
}

/// A fallback index as it is.
struct Existing {
    subject: Digest,
    bytes: Vec<u8>,
    entries: Vec<Value>,
    /// What is wrong with the document itself.
    wrong_type: Option<String>,
}

/// What is known of a manifest that an entry names.
enum Looked {
    Absent,
    Found(Box<Known>),
    Unknown(String),
}

/// What counts of a manifest. The rest of it, which may have megabytes, is not held.
#[derive(Clone)]
struct Known {
    subject: Option<Digest>,
    described: Descriptor,
}

impl Known {
    fn of(document: &Document) -> Self {
        Self { subject: document.subject, described: document.described() }
    }

    /// Roughly, and twice: once by itself, and once beside the others that refer to the same.
    fn held_bytes(&self) -> usize {
        let Descriptor { media_type, artifact_type, annotations, .. } = &self.described;
        let texts = annotations.iter().map(|(key, value)| key.len() + value.len() + HELD_PER_ITEM);
        let texts = texts.sum::<usize>() + media_type.len() + artifact_type.as_ref().map_or(0, String::len);
        2 * (HELD_PER_ITEM + texts)
    }
}

impl Survey<'_> {
    async fn run(&self, tags: Vec<Tag>) -> Result<Repaired, CopyError> {
        let (indexes, others): (Vec<Tag>, Vec<Tag>) = tags.into_iter().partition(|tag| subject(tag).is_some());
        let mut result = Repaired { indexes: Vec::new(), not_looked_at: Vec::new() };
        let mut existing: BTreeMap<Digest, Existing> = BTreeMap::new();
        for tag in &indexes {
            let Some(subject) = subject(tag) else { continue };
            match self.read(subject).await {
                Ok(Some(index)) => {
                    existing.insert(subject, index);
                }
                Ok(None) => {}
                Err(problem) if self.is_meant(subject) => result.indexes.push(RepairedIndex {
                    tag: tag.clone(),
                    subject,
                    changes: Vec::new(),
                    unknown: Vec::new(),
                    problem: Some(problem),
                }),
                Err(problem) => result.not_looked_at.push((tag.clone(), problem)),
            }
        }
        let unreadable: BTreeSet<Digest> = result.indexes.iter().map(|index| index.subject).collect();
        let looked = self.look_at_all(&existing).await;
        let mut referrers = self.tagged_referrers(&others, &mut result.not_looked_at).await;
        for looked in looked.values() {
            if let Looked::Found(known) = looked {
                note(&mut referrers, known);
            }
        }
        for (subject, is_without) in self.without_index(&referrers, &existing, &unreadable).await {
            match is_without {
                Ok(()) => {
                    let empty = Existing { subject, bytes: Vec::new(), entries: Vec::new(), wrong_type: None };
                    existing.insert(subject, empty);
                }
                Err(problem) => result.not_looked_at.push((subject.fallback_tag(), problem)),
            }
        }
        for index in existing.values().filter(|index| self.is_meant(index.subject)) {
            result.indexes.push(self.repair(index, &looked, &referrers).await);
        }
        result.indexes.sort_by_key(|index| index.subject);
        Ok(result)
    }

    fn is_meant(&self, subject: Digest) -> bool {
        self.options.only.as_ref().is_none_or(|only| only.contains(&subject))
    }

    /// An index as it is; an error when it is there and is none.
    async fn read(&self, subject: Digest) -> Result<Option<Existing>, String> {
        let tag = subject.fallback_tag();
        let name = ManifestName::Tag(&tag);
        match self.shared.read_manifest(self.repository, name, MAX_MANIFEST_BYTES, self.shared.deadline()).await {
            Answer::Absent => Ok(None),
            Answer::Unknown(cause) => Err(cause.detail().to_owned()),
            Answer::TooLarge { limit } => Err(format!("it has more than {limit} bytes")),
            Answer::Found(served) => {
                let content = served.name_by_itself().map_err(|_| "its bytes are not what the registry says")?;
                if !self.room.take(content.bytes().len().saturating_mul(HELD_PER_BYTE)) {
                    return Err(NO_ROOM.to_owned());
                }
                Existing::parse(subject, content.bytes()).map(Some)
            }
        }
    }

    /// Every manifest that any of the indexes names.
    async fn look_at_all(&self, existing: &BTreeMap<Digest, Existing>) -> BTreeMap<Digest, Looked> {
        let entries = existing.values().flat_map(|index| index.entries.iter());
        let digests: BTreeSet<Digest> = entries.filter_map(digest).collect();
        let work = digests.into_iter().map(|digest| async move { (digest, self.look_at(digest).await) });
        stream::iter(work).buffer_unordered(self.options.jobs).collect().await
    }

    async fn look_at(&self, digest: Digest) -> Looked {
        match self.source.manifest(&Descriptor { digest, ..Descriptor::of("", b"") }).await {
            Ok(Some(document)) => match self.hold(&document) {
                Some(known) => Looked::Found(Box::new(known)),
                None => Looked::Unknown(NO_ROOM.to_owned()),
            },
            Ok(None) => Looked::Absent,
            Err(error) => Looked::Unknown(error.to_string()),
        }
    }

    fn hold(&self, document: &Document) -> Option<Known> {
        let known = Known::of(document);
        self.room.take(known.held_bytes()).then_some(known)
    }

    /// What the manifests under tags refer to.
    async fn tagged_referrers(&self, tags: &[Tag], unknown: &mut Vec<(Tag, String)>) -> Referrers {
        let work = tags.iter().map(|tag| async move { (tag, self.source.tagged(tag).await) });
        let mut looked = stream::iter(work).buffered(self.options.jobs);
        let mut referrers = Referrers::new();
        while let Some((tag, document)) = looked.next().await {
            match document {
                // What refers to nothing is not held.
                Ok(Some(document)) if document.subject.is_none() => {}
                Ok(Some(document)) => match self.hold(&document) {
                    Some(known) => note(&mut referrers, &known),
                    None => unknown.push((tag.clone(), NO_ROOM.to_owned())),
                },
                Ok(None) => {}
                Err(error) => unknown.push((tag.clone(), error.to_string())),
            }
        }
        referrers
    }

    /// Subjects that have referrers and no index, on a registry that needs one; or why nobody knows whether they do.
    async fn without_index(
        &self,
        referrers: &Referrers,
        existing: &BTreeMap<Digest, Existing>,
        unreadable: &BTreeSet<Digest>,
    ) -> Vec<(Digest, Result<(), String>)> {
        let mut without = Vec::new();
        for subject in referrers.keys() {
            if existing.contains_key(subject) || unreadable.contains(subject) || !self.is_meant(*subject) {
                continue;
            }
            let image = PinnedImage { repository: self.repository.clone(), digest: *subject };
            let needs_one = match self.shared.head(&image.clone().into(), self.shared.deadline()).await {
                Observation::Found(_) => self.needs_index(&image).await,
                Observation::Absent => Ok(false),
                Observation::Unknown(cause) => Err(cause.detail().to_owned()),
            };
            match needs_one {
                Ok(true) => without.push((*subject, Ok(()))),
                Ok(false) => {}
                Err(problem) => without.push((*subject, Err(problem))),
            }
        }
        without
    }

    /// Only where the referrers API says that it is not there, the index is what clients read.
    async fn needs_index(&self, image: &PinnedImage) -> Result<bool, String> {
        match self.shared.list_referrers(image, self.shared.deadline()).await.manifests {
            Observation::Found(_) => Ok(false),
            Observation::Absent => Ok(true),
            Observation::Unknown(cause) => Err(cause.detail().to_owned()),
        }
    }

    async fn repair(
        &self,
        index: &Existing,
        looked: &BTreeMap<Digest, Looked>,
        referrers: &Referrers,
    ) -> RepairedIndex {
        let image = PinnedImage { repository: self.repository.clone(), digest: index.subject };
        let needs_one = self.needs_index(&image).await;
        let lost = referrers.get(&index.subject).filter(|_| needs_one == Ok(true));
        let plan = Plan::of(index, looked, lost);
        let mut repaired = RepairedIndex {
            tag: index.subject.fallback_tag(),
            subject: index.subject,
            changes: plan.changes.clone(),
            unknown: plan.unknown.clone(),
            // Nobody knows whether something is missing in it.
            problem: needs_one.err(),
        };
        if !plan.changes.is_empty() && !self.options.dry_run && repaired.problem.is_none() {
            repaired.problem = self.write(index, plan, looked, lost).await.err().map(|error| error.to_string());
        }
        repaired
    }

    /// Writes an index, unless it was changed since it was looked at: then what was found counts for the new one.
    async fn write(
        &self,
        index: &Existing,
        mut plan: Plan,
        looked: &BTreeMap<Digest, Looked>,
        lost: Option<&BTreeMap<Digest, Descriptor>>,
    ) -> Result<(), CopyError> {
        let tag = index.subject.fallback_tag();
        let image = ImageReference::tagged(self.repository.clone(), tag.clone());
        let (shared, mut planned_for, mut throttled) = (self.shared, index.bytes.clone(), None);
        for _ in 0..MAX_ATTEMPTS {
            let turn = shared.take_turn(&image, shared.deadline()).await?;
            let name = ManifestName::Tag(&tag);
            let (bytes, etag) =
                match shared.read_manifest(self.repository, name, MAX_MANIFEST_BYTES, shared.deadline()).await {
                    Answer::Found(served) => (served.bytes.to_vec(), served.etag),
                    Answer::Absent => (Vec::new(), None),
                    Answer::Unknown(cause) => return Err(cause.into()),
                    Answer::TooLarge { limit } => {
                        let problem = format!("it has more than {limit} bytes");
                        return Err(CopyError::Limit { what: tag.to_string(), problem });
                    }
                };
            if bytes != planned_for {
                let malformed = |problem| CopyError::Unsupported { digest: index.subject, problem };
                let now = Existing::parse(index.subject, &bytes).map_err(malformed)?;
                plan = Plan::of(&now, looked, lost);
                planned_for = bytes;
            }
            let document = plan.document();
            let etag = etag.filter(|etag| etag.as_bytes().starts_with(b"\""));
            let pushed = shared.push_manifest_if(&image, media_type::OCI_INDEX, &document, etag, shared.deadline());
            match pushed.await {
                Ok(_) => {}
                Err(PushError::Refused { status: 412, .. }) => {
                    throttled = None;
                    continue;
                }
                // The next reading waits for as long as the registry wants, and what others wrote meanwhile is kept.
                Err(PushError::Unknown(cause)) if cause.code() == Code::RegistryThrottled => {
                    throttled = Some(cause);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            drop(turn);
            // Whoever was adding to it meanwhile wrote over it: what must be in it is put back, and theirs stays.
            tokio::time::sleep(PAUSE).await;
            let list = TagList::with(ListKind::Manifests, tag, &plan.kept());
            converge(shared, &image, list, shared.deadline()).await?;
            return Ok(());
        }
        let attempts = u32::try_from(MAX_ATTEMPTS).unwrap_or(u32::MAX);
        Err(throttled.map_or_else(|| crate::AttachError::Overwritten { tag, attempts }.into(), CopyError::from))
    }
}

/// Manifests by what they refer to.
type Referrers = BTreeMap<Digest, BTreeMap<Digest, Descriptor>>;

fn note(referrers: &mut Referrers, known: &Known) {
    if let Some(subject) = known.subject {
        referrers.entry(subject).or_default().insert(known.described.digest, known.described.clone());
    }
}

impl Existing {
    fn parse(subject: Digest, bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self { subject, bytes: Vec::new(), entries: Vec::new(), wrong_type: None });
        }
        let index = Index::parse(bytes).map_err(|error| error.to_string())?;
        if index.manifests.len() > MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} entries"));
        }
        let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let entries = match document.get("manifests") {
            Some(Value::Array(entries)) => entries.clone(),
            _ => Vec::new(),
        };
        let wrong_type = match index.media_type.as_deref() {
            Some(media_type::OCI_INDEX) => None,
            Some(other) => Some(format!("the index says that it is of type `{}`", crate::quote::quote(other))),
            None => Some("the index does not say of which type it is".to_owned()),
        };
        Ok(Self { subject, bytes: bytes.to_vec(), entries, wrong_type })
    }
}

fn digest(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

/// What an index under this tag would list referrers of.
fn subject(tag: &Tag) -> Option<Digest> {
    let (algorithm, encoded) = tag.as_str().split_once('-')?;
    format!("{algorithm}:{encoded}").parse().ok()
}
