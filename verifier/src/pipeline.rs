//! Question in, verdict out. The only code between the two that waits for anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::evidence::{Cause, DecodedEvidence, Evidence, Observation, Scope};
use hallmark_policy::image::{Digest, ImageReference, PinnedImage, Repository};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, decide_without_evidence, evaluate, scope};
use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_registry::{Partition, Registry};

use crate::content_store::ContentStore;
use crate::evidence_store::{EvidenceStore, Generation, Limits, Young};
use crate::flights::Flights;

/// How long gathering goes on for later askers when the first one's deadline has passed.
const GATHERING_BUDGET: Duration = Duration::from_secs(30);

/// Where evidence comes from: a registry client, or a stand-in for tests.
pub trait EvidenceSource: Send + Sync {
    /// What a reference names. No request for references with a digest.
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>>;
    /// Everything that can be learned about an image by a deadline.
    fn gather<'a>(&'a self, image: &'a ImageReference, deadline: Instant) -> BoxFuture<'a, Evidence>;
    /// The same, or less where `enough` says of what was learned that the rest is not needed. A source that cannot stop
    /// early learns everything.
    fn gather_until<'a>(
        &'a self,
        image: &'a ImageReference,
        deadline: Instant,
        _enough: &'a (dyn Fn(&Evidence) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Evidence> {
        self.gather(image, deadline)
    }
    /// Everything about an image that a scope asks for. A source that knows no relatives leaves them out; rules that
    /// need them are then undetermined.
    fn gather_within<'a>(
        &'a self,
        image: &'a ImageReference,
        _scope: &'a Scope,
        deadline: Instant,
    ) -> BoxFuture<'a, Evidence> {
        self.gather(image, deadline)
    }
    /// For whom evidence about a repository is gathered: what is on disk was written for one partition, and is read
    /// for no other. A source that knows no credentials has one partition.
    fn partition(&self, _: &Repository) -> Partition {
        Partition::undivided()
    }
    /// The settings that weaken the checks of the registries that are asked about a repository; for the audit line.
    fn dangers(&self, _: &Repository) -> Vec<&'static str> {
        Vec::new()
    }
}

impl EvidenceSource for Registry {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>> {
        Registry::resolve_on_route(self, image).boxed()
    }

    fn gather<'a>(&'a self, image: &'a ImageReference, deadline: Instant) -> BoxFuture<'a, Evidence> {
        Registry::gather(self, image, deadline).boxed()
    }

    fn gather_until<'a>(
        &'a self,
        image: &'a ImageReference,
        deadline: Instant,
        enough: &'a (dyn Fn(&Evidence) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Evidence> {
        Registry::gather_until(self, image, deadline, enough).boxed()
    }

    fn gather_within<'a>(
        &'a self,
        image: &'a ImageReference,
        scope: &'a Scope,
        deadline: Instant,
    ) -> BoxFuture<'a, Evidence> {
        Registry::gather_within(self, image, scope, deadline).boxed()
    }

    fn partition(&self, repository: &Repository) -> Partition {
        Registry::partition(self, repository)
    }

    fn dangers(&self, repository: &Repository) -> Vec<&'static str> {
        Registry::dangers(self, repository)
    }
}

/// The clock, handed in by `main`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What evidence is about: one image, and how much of what is around it, as one partition sees it. What was learned with
/// a credential that has been taken away is another subject, and answers nobody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) partition: Partition,
    pub(crate) image: PinnedImage,
    pub(crate) scope: Scope,
}

/// What a partition calls an image.
pub(crate) type Name = (Partition, ImageReference);

/// The one path from a question to a verdict. Cheap to clone; clones share their evidence.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    source: Arc<dyn EvidenceSource>,
    clock: Clock,
    store: EvidenceStore,
    /// Where evidence outlives the process.
    on_disk: Option<Arc<ContentStore>>,
    gathering: Flights<(Generation, Subject, Extent), DecodedEvidence>,
    resolving: Flights<(Generation, Name), Observation<Digest>>,
}

impl Pipeline {
    /// A pipeline over a source of evidence.
    #[must_use]
    pub fn new(source: Arc<dyn EvidenceSource>, clock: Clock, limits: Limits) -> Self {
        Self::with_content(source, clock, limits, None)
    }

    /// A pipeline whose evidence outlives the process, where the store has a disk: for rules that take held evidence.
    #[must_use]
    pub fn with_content(
        source: Arc<dyn EvidenceSource>,
        clock: Clock,
        limits: Limits,
        on_disk: Option<Arc<ContentStore>>,
    ) -> Self {
        let store = EvidenceStore::new(limits);
        let inner = Inner { source, clock, store, on_disk, gathering: Flights::new(), resolving: Flights::new() };
        Self { inner: Arc::new(inner) }
    }

    /// The settings that weaken the checks of the registries that are asked about a repository.
    #[must_use]
    pub fn dangers(&self, repository: &Repository) -> Vec<&'static str> {
        self.inner.source.dangers(repository)
    }

    /// Registries are reached in another way from now on: what was learned before is asked again, however young it is.
    /// No question from now on waits for what is still being asked in the old way. What is held for rules that take held
    /// evidence stays held.
    pub fn ask_anew(&self) {
        self.inner.store.ask_anew();
    }

    /// The verdict about one image, by `deadline`.
    ///
    /// The rule is chosen first: a question that names alone decide causes no request. Evidence that is still young
    /// may allow; a denial rests on evidence that was gathered for this question, unless the limits say otherwise. What
    /// is not answered by the deadline goes on, so that the next asker finds it.
    pub async fn verdict(&self, trust: &TrustSnapshot, question: &Question, deadline: Instant) -> Verdict {
        if let Some(verdict) = decide_without_evidence(question, trust, (self.inner.clock)()) {
            return verdict;
        }
        match self.remembered_verdict(trust, question) {
            Some(verdict) => verdict,
            None => self.gathered_verdict(trust, question, deadline).await,
        }
    }

    /// The verdict that needs no request.
    fn remembered_verdict(&self, trust: &TrustSnapshot, question: &Question) -> Option<Verdict> {
        let (image, store) = (&question.image, &self.inner.store);
        let name = self.inner.name(image);
        if store.is_absent(&name) {
            let evidence = self.unresolved(image, Observation::Absent);
            return Some(evaluate(question, trust, &evidence, None, (self.inner.clock)()));
        }
        let (digest, age) = match image.digest() {
            Some(digest) => (digest, Duration::ZERO),
            None => store.tag(&name)?,
        };
        let (partition, _) = name;
        self.young_verdict(trust, question, digest, age, partition)
    }

    /// The verdict by evidence that was gathered a short time ago, where that may be one. `named` is how long ago the
    /// registry has said that the image is this digest.
    fn young_verdict(
        &self,
        trust: &TrustSnapshot,
        question: &Question,
        digest: Digest,
        named: Duration,
        partition: Partition,
    ) -> Option<Verdict> {
        let store = &self.inner.store;
        let subject = Subject { partition, image: question.image.pin(digest), scope: scope(question, trust) };
        let mut young = store.young(&subject);
        young.find_map(|Young { evidence, age }| {
            if !store.may_allow(age) && !store.may_deny(age) {
                return None;
            }
            let evidence = evidence.resolved_from(&question.image);
            let verdict = evaluate(question, trust, &evidence, None, (self.inner.clock)());
            let may_be_given = match verdict.outcome() {
                Outcome::Allow => store.may_allow(age),
                Outcome::Deny => store.may_deny(age) && store.may_deny(named),
                Outcome::Undetermined => false,
            };
            may_be_given.then_some(verdict)
        })
    }

    async fn gathered_verdict(&self, trust: &TrustSnapshot, question: &Question, deadline: Instant) -> Verdict {
        let (inner, asked) = (&self.inner, &question.image);
        let digest = match self.resolve(asked, deadline).await {
            Observation::Found(digest) => digest,
            unresolved => {
                let evidence = self.unresolved(asked, unresolved);
                return evaluate(question, trust, &evidence, None, (inner.clock)());
            }
        };
        if asked.digest().is_none()
            && let Some(verdict) =
                self.young_verdict(trust, question, digest, Duration::ZERO, inner.source.partition(asked.repository()))
        {
            return verdict;
        }
        let image = inner.subject(trust, question, digest);
        let mut gathered = self.gather(&image, Extent::Enough, trust, question, deadline).await;
        let mut verdict = self.judge(trust, question, digest, &gathered);
        // Somebody else's question was answered by a part of what there is, and this one is not.
        if verdict.outcome() != Outcome::Allow && gathered.evidence().stopped_early() {
            gathered = self.gather(&image, Extent::Everything, trust, question, deadline).await;
            verdict = self.judge(trust, question, digest, &gathered);
        }
        // Whoever asked the registry may have noticed that the credentials are others now.
        let image = inner.subject(trust, question, digest);
        if verdict.outcome() != Outcome::Undetermined || inner.store.held(&image).next().is_some() {
            return verdict;
        }
        match inner.held_on_disk(&image).await {
            Some(held) => {
                let (gathered, held) = (gathered.resolved_from(asked), held.resolved_from(asked));
                evaluate(question, trust, &gathered, Some(&held), (inner.clock)())
            }
            None => verdict,
        }
    }

    /// The verdict by evidence that was gathered for the question, and what is held beside it.
    fn judge(&self, trust: &TrustSnapshot, question: &Question, digest: Digest, gathered: &DecodedEvidence) -> Verdict {
        let (inner, asked) = (&self.inner, &question.image);
        if asked.digest().is_none() && gathered.evidence().resolution == Observation::Absent {
            // The registry has just named this digest itself, so it contradicts itself: nothing is known.
            inner.store.forget_tag(&inner.name(asked));
            let detail = format!("`{asked}` names `{digest}`, which is not there");
            let unknown = Observation::Unknown(Cause::new(Code::RegistryInconsistent, detail));
            return evaluate(question, trust, &self.unresolved(asked, unknown), None, (inner.clock)());
        }
        let gathered = gathered.resolved_from(asked);
        let by = |held: Option<&DecodedEvidence>| evaluate(question, trust, &gathered, held, (inner.clock)());
        let held = inner.store.held(&inner.subject(trust, question, digest));
        let mut verdicts = held.map(|held| by(Some(&held.resolved_from(asked))));
        verdicts.find(|verdict| verdict.outcome() != Outcome::Undetermined).unwrap_or_else(|| by(None))
    }

    /// Fresh evidence about one image, for recording and explaining.
    pub async fn evidence(&self, image: &ImageReference, deadline: Instant) -> Evidence {
        let parent = image.tag().filter(|_| image.digest().is_some());
        self.inner.source.gather_within(image, &Scope::everything(parent.cloned()), deadline).await
    }

    async fn resolve(&self, image: &ImageReference, deadline: Instant) -> Observation<Digest> {
        if let Some(digest) = image.digest() {
            return Observation::Found(digest);
        }
        if Instant::now() >= deadline {
            return Observation::Unknown(deadline_exceeded());
        }
        let inner = Arc::clone(&self.inner);
        let name = self.inner.name(image);
        let asked = name.clone();
        let work = || async move {
            let (began, generation) = (tokio::time::Instant::now(), inner.store.generation());
            let resolution = within_budget(inner.source.resolve(&asked.1)).await;
            match &resolution {
                // What was learned while the credentials or the way to the registry changed is nobody's.
                _ if inner.name(&asked.1) != asked || inner.store.generation() != generation => {}
                Observation::Found(digest) => inner.store.remember_tag(&asked, *digest, began),
                Observation::Absent => inner.store.remember_absent(&asked, began),
                Observation::Unknown(_) => {}
            }
            resolution
        };
        let flight = self.inner.resolving.join(&(self.inner.store.generation(), name), work);
        match tokio::time::timeout_at(deadline.into(), flight).await {
            Ok(Some(resolution)) => resolution,
            Ok(None) => Observation::Unknown(Cause::new(Code::RegistryUnavailable, "resolving the tag failed")),
            Err(_) => Observation::Unknown(deadline_exceeded()),
        }
    }

    /// Gathers evidence together with everybody who wants the same. What is enough is decided by the first of them.
    async fn gather(
        &self,
        subject: &Subject,
        extent: Extent,
        trust: &TrustSnapshot,
        question: &Question,
        deadline: Instant,
    ) -> DecodedEvidence {
        let image = subject.image.clone();
        // Work goes on after the deadline, but none begins: one late request may name thousands of images.
        if Instant::now() >= deadline {
            return self.unresolved(&image.into(), Observation::Unknown(deadline_exceeded()));
        }
        let inner = Arc::clone(&self.inner);
        let (about, trust, question) = (subject.clone(), trust.clone(), question.clone());
        let work = || async move { inner.gather(about, extent, &trust, &question).await };
        let key = (self.inner.store.generation(), subject.clone(), extent);
        let flight = self.inner.gathering.join(&key, work);
        match tokio::time::timeout_at(deadline.into(), flight).await {
            Ok(Some(evidence)) => evidence,
            Ok(None) => {
                let cause = Cause::new(Code::RegistryUnavailable, "gathering the evidence failed");
                self.unresolved(&image.into(), Observation::Unknown(cause))
            }
            Err(_) => self.unresolved(&image.into(), Observation::Unknown(deadline_exceeded())),
        }
    }

    fn unresolved(&self, image: &ImageReference, resolution: Observation<Digest>) -> DecodedEvidence {
        let gathered_at = (self.inner.clock)();
        let nothing = Cause::new(Code::RegistryUnavailable, "nothing was looked at");
        let evidence = Evidence { resolution, ..Evidence::unknown(image.clone(), gathered_at, nothing) };
        DecodedEvidence::new(evidence)
    }
}

/// How much of what there is about an image is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Extent {
    /// Until it allows the image.
    Enough,
    /// All of it.
    Everything,
}

impl Inner {
    /// What a question is about, as we are known to its registry now.
    fn subject(&self, trust: &TrustSnapshot, question: &Question, digest: Digest) -> Subject {
        let image = question.image.pin(digest);
        Subject { partition: self.source.partition(&image.repository), image, scope: scope(question, trust) }
    }

    fn name(&self, image: &ImageReference) -> Name {
        (self.source.partition(image.repository()), image.clone())
    }

    async fn gather(
        &self,
        subject: Subject,
        extent: Extent,
        trust: &TrustSnapshot,
        question: &Question,
    ) -> DecodedEvidence {
        let (began, generation) = (tokio::time::Instant::now(), self.store.generation());
        let budget = Instant::now() + GATHERING_BUDGET;
        let reference = ImageReference::from(subject.image.clone());
        let evidence = match extent {
            // What is around an image is not gathered by halves.
            _ if !subject.scope.is_image() => {
                DecodedEvidence::new(self.source.gather_within(&reference, &subject.scope, budget).await)
            }
            Extent::Everything => DecodedEvidence::new(self.source.gather(&reference, budget).await),
            Extent::Enough => self.gather_until_allowed(&reference, trust, question, budget).await,
        };
        // What was learned while the credentials or the way to the registry changed is nobody's.
        let is_ours = self.source.partition(&subject.image.repository) == subject.partition;
        if !is_ours || self.store.generation() != generation {
            return evidence;
        }
        if evidence.evidence().resolution == Observation::Absent {
            self.store.remember_absent(&(subject.partition, reference), began);
        }
        if self.store.keep(subject.clone(), &evidence, began)
            && let Some(store) = &self.on_disk
            && (evidence.is_complete() || !self.has_whole(&subject).await)
        {
            store.keep_evidence(&subject, evidence.evidence());
        }
        evidence
    }

    /// Whether everything that there is about an image is held, also by an earlier process.
    async fn has_whole(&self, subject: &Subject) -> bool {
        self.store.holds_whole(subject) || self.held_on_disk(subject).await.is_some_and(|held| held.is_complete())
    }

    /// What an earlier process knew of an image. It is never fresh.
    async fn held_on_disk(&self, subject: &Subject) -> Option<DecodedEvidence> {
        let store = self.on_disk.as_ref()?;
        let evidence = store.find_evidence(subject).await?;
        let now = (self.clock)();
        let age = now.duration_since(evidence.gathered_at);
        // A clock that was wrong then, or is now: nobody knows how old it is.
        if age.is_negative() || age.unsigned_abs() > self.store.held_life() {
            return None;
        }
        let held = DecodedEvidence::new(evidence);
        self.store.hold(subject.clone(), &held, age.unsigned_abs());
        Some(held)
    }

    async fn gather_until_allowed(
        &self,
        image: &ImageReference,
        trust: &TrustSnapshot,
        question: &Question,
        deadline: Instant,
    ) -> DecodedEvidence {
        let decoded = Mutex::new(None);
        let allows = |evidence: &Evidence| {
            let part = DecodedEvidence::new(evidence.clone());
            let verdict = evaluate(question, trust, &part.resolved_from(&question.image), None, (self.clock)());
            *decoded.lock().unwrap_or_else(PoisonError::into_inner) = Some(part);
            verdict.outcome() == Outcome::Allow
        };
        let evidence = self.source.gather_until(image, deadline, &allows).await;
        // What was verified to find out whether it is enough is not verified again.
        let decoded: Option<DecodedEvidence> = decoded.into_inner().unwrap_or_else(PoisonError::into_inner);
        match decoded {
            Some(part) if *part.evidence() == evidence => part,
            _ => DecodedEvidence::new(evidence),
        }
    }
}

fn deadline_exceeded() -> Cause {
    Cause::new(Code::DeadlineExceeded, "the registry did not answer within the time allowed")
}

async fn within_budget(resolving: BoxFuture<'_, Observation<Digest>>) -> Observation<Digest> {
    match tokio::time::timeout(GATHERING_BUDGET, resolving).await {
        Ok(resolution) => resolution,
        Err(_) => Observation::Unknown(deadline_exceeded()),
    }
}
