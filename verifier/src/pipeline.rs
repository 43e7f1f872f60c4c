//! Question in, verdict out. The only code between the two that waits for anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::evidence::{Cause, DecodedEvidence, Evidence, Observation};
use hallmark_policy::image::{Digest, ImageReference, PinnedImage, Repository};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, decide_without_evidence, evaluate};
use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_registry::{Partition, Registry};

use crate::content_store::ContentStore;
use crate::evidence_store::{EvidenceStore, Limits};
use crate::flights::Flights;

/// How long gathering goes on for later askers when the first one's deadline has passed.
const GATHERING_BUDGET: Duration = Duration::from_secs(30);

/// Where evidence comes from: a registry client, or a stand-in for tests.
pub trait EvidenceSource: Send + Sync {
    /// What a reference names. No request for references with a digest.
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>>;
    /// Everything that can be learned about an image by a deadline.
    fn gather<'a>(&'a self, image: &'a ImageReference, deadline: Instant) -> BoxFuture<'a, Evidence>;
    /// For whom evidence about a repository is gathered: what is on disk was written for one partition, and is read
    /// for no other. A source that knows no credentials has one partition.
    fn partition(&self, _: &Repository) -> Partition {
        Partition::undivided()
    }
}

impl EvidenceSource for Registry {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>> {
        Registry::resolve(self, image).boxed()
    }

    fn gather<'a>(&'a self, image: &'a ImageReference, deadline: Instant) -> BoxFuture<'a, Evidence> {
        Registry::gather(self, image, deadline).boxed()
    }

    fn partition(&self, repository: &Repository) -> Partition {
        Registry::partition(self, repository)
    }
}

/// The clock, handed in by `main`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

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
    gathering: Flights<PinnedImage, DecodedEvidence>,
    resolving: Flights<ImageReference, Observation<Digest>>,
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

    /// The verdict about one image, by `deadline`.
    ///
    /// The rule is chosen first: a question that names alone decide causes no request. Evidence that is still fresh
    /// may allow; a denial always rests on evidence that was gathered for this question. What is not answered by the
    /// deadline goes on, so that the next asker finds it.
    pub async fn verdict(&self, trust: &TrustSnapshot, question: &Question, deadline: Instant) -> Verdict {
        let inner = &self.inner;
        if let Some(verdict) = decide_without_evidence(question, trust, (inner.clock)()) {
            return verdict;
        }
        let digest = match self.resolve(&question.image, deadline).await {
            Observation::Found(digest) => digest,
            unresolved => {
                let evidence = self.unresolved(&question.image, unresolved);
                return evaluate(question, trust, &evidence, None, (inner.clock)());
            }
        };
        let image = question.image.pin(digest);
        if let Some(fresh) = inner.store.fresh(&image) {
            let verdict = evaluate(question, trust, &fresh.resolved_from(&question.image), None, (inner.clock)());
            if verdict.outcome() == Outcome::Allow {
                return verdict;
            }
        }
        let gathered = self.gather(image.clone(), deadline).await.resolved_from(&question.image);
        if question.image.digest().is_none() && gathered.evidence().resolution == Observation::Absent {
            // The registry has just named this digest itself, so it contradicts itself: nothing is known.
            let detail = format!("`{}` names `{digest}`, which is not there", question.image);
            let unknown = Observation::Unknown(Cause::new(Code::RegistryInconsistent, detail));
            let evidence = self.unresolved(&question.image, unknown);
            return evaluate(question, trust, &evidence, None, (inner.clock)());
        }
        let held = inner.store.held(&image).map(|held| held.resolved_from(&question.image));
        let verdict = evaluate(question, trust, &gathered, held.as_ref(), (inner.clock)());
        if verdict.outcome() != Outcome::Undetermined || held.is_some() {
            return verdict;
        }
        match self.held_on_disk(&image).await {
            Some(held) => {
                let held = held.resolved_from(&question.image);
                evaluate(question, trust, &gathered, Some(&held), (inner.clock)())
            }
            None => verdict,
        }
    }

    /// What an earlier process knew of an image. It is never fresh.
    async fn held_on_disk(&self, image: &PinnedImage) -> Option<DecodedEvidence> {
        let inner = &self.inner;
        let store = inner.on_disk.as_ref()?;
        let evidence = store.find_evidence(inner.source.partition(&image.repository), image).await?;
        let now = (inner.clock)();
        let age = now.duration_since(evidence.gathered_at);
        // A clock that was wrong then, or is now: nobody knows how old it is.
        if age.is_negative() || age.unsigned_abs() > inner.store.held_life() {
            return None;
        }
        let held = DecodedEvidence::new(evidence);
        inner.store.hold(image.clone(), &held);
        Some(held)
    }

    /// Fresh evidence about one image, for recording and explaining.
    pub async fn evidence(&self, image: &ImageReference, deadline: Instant) -> Evidence {
        self.inner.source.gather(image, deadline).await
    }

    async fn resolve(&self, image: &ImageReference, deadline: Instant) -> Observation<Digest> {
        if let Some(digest) = image.digest() {
            return Observation::Found(digest);
        }
        if Instant::now() >= deadline {
            return Observation::Unknown(deadline_exceeded());
        }
        let inner = Arc::clone(&self.inner);
        let asked = image.clone();
        let work = || async move { within_budget(inner.source.resolve(&asked)).await };
        let flight = self.inner.resolving.join(image, work);
        match tokio::time::timeout_at(deadline.into(), flight).await {
            Ok(Some(resolution)) => resolution,
            Ok(None) => Observation::Unknown(Cause::new(Code::RegistryUnavailable, "resolving the tag failed")),
            Err(_) => Observation::Unknown(deadline_exceeded()),
        }
    }

    async fn gather(&self, image: PinnedImage, deadline: Instant) -> DecodedEvidence {
        // Work goes on after the deadline, but none begins: one late request may name thousands of images.
        if Instant::now() >= deadline {
            return self.unresolved(&image.into(), Observation::Unknown(deadline_exceeded()));
        }
        let inner = Arc::clone(&self.inner);
        let about = image.clone();
        let work = || async move {
            let budget = Instant::now() + GATHERING_BUDGET;
            let evidence = DecodedEvidence::new(inner.source.gather(&about.clone().into(), budget).await);
            if inner.store.keep(about.clone(), &evidence)
                && let Some(store) = &inner.on_disk
            {
                store.keep_evidence(inner.source.partition(&about.repository), &about, evidence.evidence());
            }
            evidence
        };
        let flight = self.inner.gathering.join(&image, work);
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

fn deadline_exceeded() -> Cause {
    Cause::new(Code::DeadlineExceeded, "the registry did not answer within the time allowed")
}

async fn within_budget(resolving: BoxFuture<'_, Observation<Digest>>) -> Observation<Digest> {
    match tokio::time::timeout(GATHERING_BUDGET, resolving).await {
        Ok(resolution) => resolution,
        Err(_) => Observation::Unknown(deadline_exceeded()),
    }
}
