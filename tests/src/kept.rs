//! What is kept from one question to the next, counted at the registry's own log: many askers, many images, restarts,
//! new policies, long lists, and registries that fail between two questions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_registry::{Configuration, ContentCache, Registry};
use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, Pipeline};
use tokio::task::JoinSet;

use crate::harness::hostile::{Act, Fault};
use crate::harness::registry::TestRegistry;
use crate::harness::world::{FORMATS, Key, PATIENCE, REPOSITORY, TAG, World, client, client_with, pipeline};

/// How many images are kept: enough to see that nothing grows with them. The benchmark has 10,000.
const IMAGES: usize = 500;

async fn verdict(pipeline: &Pipeline, trust: &TrustSnapshot, image: &ImageReference) -> Verdict {
    pipeline.verdict(trust, &Question::about(image.clone()), Instant::now() + PATIENCE).await
}

/// A registry with many images, each signed as cosign does.
struct Crowd {
    registry: TestRegistry,
    images: Vec<ImageReference>,
}

impl Crowd {
    fn new(count: usize, key: &Key) -> Self {
        let registry = TestRegistry::healthy();
        registry.push_blob(REPOSITORY, b"{}");
        let images = (0..count).map(|number| sign_one(&registry, number, key)).collect();
        Self { registry, images }
    }

    /// Asks about every image, some at a time, and gives how many requests that took.
    async fn ask(&self, pipeline: &Pipeline, trust: &TrustSnapshot, expected: Outcome) -> usize {
        self.registry.clear();
        let mut verdicts = stream::iter(&self.images)
            .map(|image| async move { (image, verdict(pipeline, trust, image).await) })
            .buffer_unordered(32);
        while let Some((image, verdict)) = verdicts.next().await {
            assert_eq!(verdict.outcome(), expected, "{image}: {verdict:?}");
        }
        self.registry.requests().len()
    }
}

fn sign_one(registry: &TestRegistry, number: usize, key: &Key) -> ImageReference {
    let tag = format!("v{number}");
    let config = format!(r#"{{"architecture":"amd64","os":"linux","author":"{number}"}}"#);
    registry.push_blob(REPOSITORY, config.as_bytes());
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new()).encode();
    let digest = registry.push_raw_manifest(REPOSITORY, &tag, media_type::OCI_MANIFEST, &manifest);
    let tagged: ImageReference = format!("{}/{REPOSITORY}:{tag}", registry.host()).parse().unwrap();
    let image = tagged.pin(digest);
    let statement = Statement::about(&tagged, &image, std::collections::BTreeMap::new());
    let bundle = key.sign(&statement, Format::SigstoreBundle);
    registry.push_blob(REPOSITORY, bundle.blob());
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle.blob());
    let mut signature = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    signature.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, &manifest));
    let bytes = signature.encode();
    registry.push_raw_manifest(REPOSITORY, &Digest::of(&bytes).to_string(), media_type::OCI_MANIFEST, &bytes);
    image.into()
}

fn pipeline_on(folder: &Path) -> (Pipeline, Arc<ContentStore>) {
    let limits = ContentLimits { directory: Some(folder.to_owned()), ..ContentLimits::STANDARD };
    let store = Arc::new(ContentStore::open(&limits));
    let content_cache: Option<Arc<dyn ContentCache>> = Some(Arc::<ContentStore>::clone(&store));
    let client = client_with(Configuration { content_cache, ..Configuration::default() });
    let on_disk = Some(Arc::clone(&store));
    let clock = Arc::new(Timestamp::now);
    (Pipeline::with_content(Arc::new(client), clock, EvidenceLimits::STANDARD, on_disk), store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g07_new_policies_cost_no_request_and_a_restart_costs_listings_only() {
    let crowd = Crowd::new(IMAGES, &Key::new(1));
    let folder = tempfile::tempdir().unwrap();
    let (warm, store) = pipeline_on(folder.path());
    let ours = Key::new(1).trust();
    assert_eq!(crowd.ask(&warm, &ours, Outcome::Allow).await, 5 * IMAGES, "three listings, a manifest and a blob each");
    let more = TrustSnapshot::for_keys(vec![Key::new(2).public(), Key::new(1).public()]);
    for trust in [&ours, &more] {
        assert_eq!(crowd.ask(&warm, trust, Outcome::Allow).await, 0, "a policy that was loaded anew");
    }
    // Our key is revoked: that is in force for the next question. Before a denial the registry is asked what it lists.
    let other = Key::new(2).trust();
    assert_eq!(crowd.ask(&warm, &other, Outcome::Deny).await, 3 * IMAGES);
    assert_eq!(crowd.ask(&warm, &ours, Outcome::Allow).await, 0, "and put back in force");
    store.flush().await;
    let (restarted, _) = pipeline_on(folder.path());
    assert_eq!(crowd.ask(&restarted, &ours, Outcome::Allow).await, 3 * IMAGES, "the listings");
    for request in crowd.registry.requests() {
        assert!(!request.path.contains("/blobs/") && !request.path.contains("/manifests/sha256:"), "{request:?}");
    }
}

/// G4: a thousand askers, of whom half do not wait for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g04_a_thousand_cold_askers_cost_one_set_of_requests_whoever_leaves() {
    for format in FORMATS {
        let world = World::new();
        world.sign_as_cosign(&Key::new(1), format);
        // The tag takes its time as well: who asks after it was answered asks for it again, and rightly so.
        let tag = Fault::at(&format!("/v2/{REPOSITORY}/manifests/{TAG}"), Act::Slow(Duration::from_secs(1)));
        let referrers = format!("/v2/{REPOSITORY}/referrers/{}", world.digest);
        world.registry.set_faults(vec![tag, Fault::at(&referrers, Act::Slow(Duration::from_secs(1)))]);
        let (pipeline, trust) = (pipeline(&client()), Key::new(1).trust());
        world.registry.clear();
        let asked = (0..1000).map(|number| {
            let (pipeline, trust, image) = (pipeline.clone(), trust.clone(), world.tagged());
            async move {
                let answer = verdict(&pipeline, &trust, &image);
                match number % 4 {
                    // Some leave while the tag is resolved, some while signatures are gathered.
                    0 => tokio::time::timeout(Duration::from_millis(200), answer).await.ok(),
                    2 => tokio::time::timeout(Duration::from_millis(1500), answer).await.ok(),
                    _ => Some(answer.await),
                }
            }
        });
        let answers = join_all(asked).await;
        let stayed: Vec<&Verdict> = answers.iter().flatten().collect();
        assert!((500..1000).contains(&stayed.len()), "{} stayed", stayed.len());
        assert!(stayed.iter().all(|verdict| verdict.outcome() == Outcome::Allow));
        let blobs = if format == Format::SigstoreBundle { 2 } else { 1 };
        assert_eq!(world.lines().len(), 4 + blobs, "{format}: {:?}", world.lines());
    }
}

/// G4: images that have nothing to do with each other do not wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g04_a_hundred_cold_images_overlap() {
    let crowd = Crowd::new(100, &Key::new(1));
    let pause = Duration::from_millis(200);
    let slow = |image: &ImageReference| {
        Fault::at(&format!("/v2/{REPOSITORY}/referrers/{}", image.digest().unwrap()), Act::Slow(pause))
    };
    crowd.registry.set_faults(crowd.images.iter().map(slow).collect());
    let (pipeline, trust) = (pipeline(&client()), Key::new(1).trust());
    let begun = Instant::now();
    let answers = join_all(crowd.images.iter().map(|image| verdict(&pipeline, &trust, image))).await;
    assert!(answers.iter().all(|verdict| verdict.outcome() == Outcome::Allow));
    assert!(begun.elapsed() < pause * 50, "one after the other: {:?}", begun.elapsed());
}

/// Forty signatures, each of another key.
fn signed_by_forty() -> World {
    let world = World::new();
    for seed in 1..=40 {
        world.sign_as_cosign(&Key::new(seed), Format::SigstoreBundle);
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_signatures_no_more_are_fetched_than_the_policy_needs() {
    let world = signed_by_forty();
    let everybody = TrustSnapshot::for_keys((1..=40).map(|seed| Key::new(seed).public()).collect());
    world.registry.clear();
    let pipeline = pipeline(&client());
    assert_eq!(verdict(&pipeline, &everybody, &world.pinned()).await.outcome(), Outcome::Allow);
    assert_eq!(world.lines().len(), 3 + 2 * 16);
    assert_eq!(verdict(&pipeline, &everybody, &world.pinned()).await.outcome(), Outcome::Allow);
    assert_eq!(world.lines().len(), 3 + 2 * 16, "the part that was enough is kept");
    // Whoever is content with one of them only finds it, wherever it is in the list; and after him everybody does.
    for seed in 1..=40 {
        assert_eq!(verdict(&pipeline, &Key::new(seed).trust(), &world.pinned()).await.outcome(), Outcome::Allow);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_deny_before_every_listed_signature_was_looked_at() {
    let world = signed_by_forty();
    let stranger = Key::new(99).trust();
    world.registry.clear();
    let denied = world.ask(&stranger, &world.pinned()).await;
    assert_eq!((denied.outcome(), denied.reasons()[0].code), (Outcome::Deny, Code::UntrustedKey));
    let paths: Vec<String> = world.lines();
    assert_eq!(paths.len(), 3 + 2 * 40);
    let blobs: Vec<&String> = paths.iter().filter(|line| line.contains("/blobs/")).collect();
    let last = blobs.last().unwrap().trim_start_matches("GET ");
    world.registry.set_fault(Fault::at(last, Act::Status(403)));
    let unknown = world.ask(&stranger, &world.pinned()).await;
    assert_eq!((unknown.outcome(), unknown.reasons()[0].code), (Outcome::Undetermined, Code::RegistryUnauthorized));
}

/// A client that knows the listings of before asks by their entity tags. Whatever goes wrong then, the image is not
/// called unsigned, and nothing of it is remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_say_unsigned_because_a_call_goes_wrong_that_asks_whether_a_listing_has_changed() {
    let mut cases = JoinSet::new();
    for format in FORMATS {
        for is_old in [false, true] {
            cases.spawn(one_revalidation_goes_wrong(format, is_old));
        }
    }
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}

async fn one_revalidation_goes_wrong(format: Format, is_old: bool) {
    let world = if is_old { World::old() } else { World::new() };
    world.sign_as_cosign(&Key::new(1), format);
    let (trust, image) = (Key::new(1).trust(), world.pinned());
    let pipeline = asking_each_time(&client());
    assert_eq!(verdict(&pipeline, &trust, &image).await.outcome(), Outcome::Allow);
    let acts = [304, 404, 500].map(Act::Status).into_iter().chain([Act::AlterBytes, Act::AlterDigest, Act::Truncate]);
    for act in acts {
        for call in 1..=3 {
            world.registry.clear();
            world.registry.set_fault(Fault::nth(call, act.clone()));
            let faulty = verdict(&pipeline, &trust, &image).await;
            let context = format!("call {call} of {format}, old: {is_old}, {act:?}: {faulty:?}, {:?}", world.lines());
            let is_asserted = matches!(act, Act::Status(404));
            assert!(is_asserted || faulty.reasons().iter().all(|reason| reason.code != Code::Unsigned), "{context}");
            world.registry.heal();
            assert_eq!(verdict(&pipeline, &trust, &image).await.outcome(), Outcome::Allow, "after {context}");
        }
    }
}

/// A pipeline that asks the registry for every question.
fn asking_each_time(client: &Registry) -> Pipeline {
    let limits = EvidenceLimits { listing_life: Duration::ZERO, ..EvidenceLimits::STANDARD };
    Pipeline::new(Arc::new(client.clone()), Arc::new(Timestamp::now), limits)
}
