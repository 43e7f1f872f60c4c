//! A source of evidence that counts, fails and stalls on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::evidence::{Cause, Evidence, Observation, Place, PlaceReport, Retrieval};
use hallmark_policy::image::{Content, Descriptor, Digest, ImageReference, Manifest, Repository, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::verify::PublicKey;
use hallmark_policy::{Code, Timestamp};
use hallmark_registry::Partition;
use hallmark_verifier::{EvidenceLimits, EvidenceSource, Pipeline};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

/// Longer than any answer takes.
pub(crate) const LONG: Duration = Duration::from_secs(5);
pub(crate) const TAGGED: &str = "r.example/team/app:1";

/// What the one image of the registry is, and how the registry behaves.
pub(crate) struct Source {
    pub(crate) image: Mutex<Digest>,
    pub(crate) signed: Mutex<Vec<Digest>>,
    /// The keys that have signed, by their seeds, in the order in which their signatures are listed.
    pub(crate) seeds: Mutex<Vec<u8>>,
    /// There is no such image.
    pub(crate) missing: AtomicBool,
    pub(crate) failing: Mutex<Option<Code>>,
    pub(crate) partition: Mutex<Partition>,
    pub(crate) delay: Duration,
    /// How long a tag takes.
    pub(crate) tag_delay: Mutex<Duration>,
    pub(crate) resolved: AtomicUsize,
    pub(crate) gathered: AtomicUsize,
}

pub(crate) fn key() -> p256::ecdsa::SigningKey {
    key_of(1)
}

pub(crate) fn key_of(seed: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()
}

pub(crate) fn public(key: &p256::ecdsa::SigningKey) -> PublicKey {
    PublicKey::from_spki(key.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-11-23T09:00:00Z".parse().unwrap()
}

impl Source {
    pub(crate) fn new(delay: Duration) -> Arc<Self> {
        let image = Digest::of(b"image");
        Arc::new(Self {
            image: Mutex::new(image),
            signed: Mutex::new(vec![image]),
            seeds: Mutex::new(vec![1]),
            missing: AtomicBool::new(false),
            failing: Mutex::new(None),
            partition: Mutex::new(Partition::undivided()),
            delay,
            tag_delay: Mutex::new(Duration::ZERO),
            resolved: AtomicUsize::new(0),
            gathered: AtomicUsize::new(0),
        })
    }

    pub(crate) fn requests(&self) -> (usize, usize) {
        (self.resolved.load(Ordering::SeqCst), self.gathered.load(Ordering::SeqCst))
    }

    fn evidence(&self, image: &ImageReference) -> Evidence {
        let digest = image.digest().unwrap();
        let is_missing = self.missing.load(Ordering::SeqCst);
        let cause = self.failing.lock().unwrap().map(|code| Cause::new(code, "on purpose"));
        let report = |place, manifests| PlaceReport { place, observed_at: now(), manifests, truncated: false };
        let mut items = BTreeMap::new();
        let mut found = Observation::Absent;
        if self.signed.lock().unwrap().contains(&digest) {
            let mut listed = Vec::new();
            for seed in self.seeds.lock().unwrap().iter() {
                let contents = signature(image, digest, &key_of(*seed));
                listed.push(contents[0].digest());
                items.extend(contents.map(|content| (content.digest(), Retrieval::Content(content))));
            }
            found = Observation::Found(listed);
        }
        Evidence {
            relatives: hallmark_policy::evidence::Relatives::NONE,
            image: image.clone(),
            gathered_at: now(),
            resolution: if is_missing { Observation::Absent } else { Observation::Found(digest) },
            places: vec![
                report(Place::ReferrersApi, cause.map_or(found, Observation::Unknown)),
                report(Place::FallbackTag, Observation::Absent),
                report(Place::SignatureTag, Observation::Absent),
            ],
            items,
        }
    }
}

/// The manifest and the bundle of one signature.
fn signature(image: &ImageReference, digest: Digest, key: &p256::ecdsa::SigningKey) -> [Content; 2] {
    let unsigned = Statement::about(image, &image.pin(digest), BTreeMap::new());
    let unsigned = unsigned.unsigned(Format::SigstoreBundle).unwrap();
    let signature: p256::ecdsa::Signature = key.sign(unsigned.message());
    let bundle = unsigned.encode(&public(key), signature.to_der().as_bytes());
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle.blob());
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    let mut subject = Descriptor::of(media_type::OCI_MANIFEST, b"");
    subject.digest = digest;
    manifest.subject = Some(subject);
    [manifest.encode(), bundle.blob().to_vec()].map(Content::named_by_itself)
}

impl EvidenceSource for Source {
    fn partition(&self, _: &Repository) -> Partition {
        *self.partition.lock().unwrap()
    }

    fn resolve<'a>(&'a self, _: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>> {
        self.resolved.fetch_add(1, Ordering::SeqCst);
        let delay = *self.tag_delay.lock().unwrap();
        async move {
            tokio::time::sleep(delay).await;
            match self.missing.load(Ordering::SeqCst) {
                true => Observation::Absent,
                false => Observation::Found(*self.image.lock().unwrap()),
            }
        }
        .boxed()
    }

    /// Looks at the first listed signature, and at the others when that is not enough.
    fn gather_until<'a>(
        &'a self,
        image: &'a ImageReference,
        deadline: Instant,
        enough: &'a (dyn Fn(&Evidence) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Evidence> {
        async move {
            let whole = self.gather(image, deadline).await;
            let mut part = whole.clone();
            for (manifest, _) in whole.listed().into_iter().skip(1) {
                part.items
                    .insert(manifest, Retrieval::Unknown(Cause::new(Code::NotFetched, "not fetched: not needed")));
            }
            if part != whole && enough(&part) { part } else { whole }
        }
        .boxed()
    }

    fn gather<'a>(&'a self, image: &'a ImageReference, _: Instant) -> BoxFuture<'a, Evidence> {
        self.gathered.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(self.delay).await;
            self.evidence(image)
        }
        .boxed()
    }
}

pub(crate) fn pipeline_with(source: &Arc<Source>, limits: EvidenceLimits) -> Pipeline {
    let source: Arc<dyn EvidenceSource> = Arc::<Source>::clone(source);
    Pipeline::new(source, Arc::new(now), limits)
}

pub(crate) fn pipeline(source: &Arc<Source>) -> Pipeline {
    pipeline_with(source, EvidenceLimits::STANDARD)
}

pub(crate) fn trusting(key: &p256::ecdsa::SigningKey) -> TrustSnapshot {
    TrustSnapshot::for_keys(vec![public(key)])
}

pub(crate) async fn ask(pipeline: &Pipeline, trust: &TrustSnapshot, image: &str, within: Duration) -> Verdict {
    // The clock of the runtime, which some tests put forward.
    let deadline = (tokio::time::Instant::now() + within).into_std();
    pipeline.verdict(trust, &Question::about(image.parse().unwrap()), deadline).await
}
