//! Goals G1 and G11: registry requests of a cold verdict and of a signature, counted at the registry's own log. What a
//! registry provably does not have is asked for at the same time as what it has, and counted apart.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::image::ImageReference;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::{Outcome, Timestamp};
use hallmark_registry::{Configuration, ContentCache, CredentialSource, Registry};
use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, Pipeline};
use tokio::sync::Barrier;

use crate::harness::hostile::{Act, Fault};
use crate::harness::programs::run_hallmark;
use crate::harness::world::{FORMATS, Key, PATIENCE, REPOSITORY, World, ask, client, client_with, pipeline};

/// How many requests a verdict took, those to places that hold nothing apart.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    needed: usize,
    probes: usize,
}

async fn count(world: &World, client: &Registry, image: &ImageReference) -> Count {
    world.registry.clear();
    let verdict = ask(client, &Key::new(1).trust(), image).await;
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
    let requests = world.registry.requests();
    let digest = world.digest;
    let holds_nothing = |path: &str| {
        let is_place =
            |end: String| path.ends_with(&end) && world.registry.tag(REPOSITORY, end.trim_start_matches('/')).is_none();
        let referrers = format!("/v2/{REPOSITORY}/referrers/{digest}");
        is_place(format!("/{}", digest.signature_tag()))
            || is_place(format!("/{}", digest.fallback_tag()))
            || (path == referrers && lists_nothing(world, &referrers))
    };
    let probes = requests.iter().filter(|request| holds_nothing(&request.path)).count();
    Count { needed: requests.len() - probes, probes }
}

/// An old registry has no list at all; what the embedded one under it has is not to be had.
fn lists_nothing(world: &World, referrers: &str) -> bool {
    let mut is_old = false;
    world.registry.change(|hostility| is_old = hostility.no_referrers);
    let listed = world.registry.direct(http::Method::GET, referrers, &[], b"");
    let index: serde_json::Value = serde_json::from_slice(&listed.body).unwrap();
    is_old || index["manifests"].as_array().is_none_or(Vec::is_empty)
}

#[tokio::test]
async fn a_cold_verdict_takes_as_few_requests_as_there_are_steps() {
    let key = Key::new(1);
    for (format, is_ours, by_tag, by_digest) in [
        (Format::SigstoreBundle, false, 4, 3),
        (Format::SimpleSigning, false, 3, 2),
        (Format::SigstoreBundle, true, 3, 2),
        (Format::SimpleSigning, true, 2, 1),
    ] {
        for world in [World::new(), World::old()] {
            if is_ours {
                assert!(world.sign(&key, format).await.inlined);
            } else {
                world.sign_as_cosign(&key, format);
            }
            for (image, needed) in [(world.tagged(), by_tag), (world.pinned(), by_digest)] {
                let counted = count(&world, &client(), &image).await;
                assert_eq!(counted, Count { needed, probes: 2 }, "{format} {is_ours} {image} {:?}", world.lines());
            }
        }
    }
}

/// The program as a user runs it: a process that knows nothing yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hallmark_verify_takes_no_request_more() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.pub"), Key::new(1).public().to_pem()).unwrap();
    for (format, is_ours, by_tag, by_digest) in [
        (Format::SigstoreBundle, false, 4, 3),
        (Format::SimpleSigning, false, 3, 2),
        (Format::SigstoreBundle, true, 3, 2),
        (Format::SimpleSigning, true, 2, 1),
    ] {
        let world = World::new();
        if is_ours {
            world.sign(&Key::new(1), format).await;
        } else {
            world.sign_as_cosign(&Key::new(1), format);
        }
        for (image, needed) in [(world.tagged(), by_tag), (world.pinned(), by_digest)] {
            world.registry.clear();
            run_hallmark(folder.path(), ["verify", "--key", "key.pub", &image.to_string()]).expect_success();
            assert_eq!(world.lines().len(), needed + 2, "{format} {is_ours} {image} {:?}", world.lines());
        }
    }
}

#[tokio::test]
async fn a_missing_referrers_api_is_probed_once() {
    let world = World::old();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let client = client();
    assert_eq!(count(&world, &client, &world.pinned()).await, Count { needed: 3, probes: 2 });
    assert_eq!(count(&world, &client, &world.pinned()).await, Count { needed: 3, probes: 1 });
}

#[tokio::test]
async fn every_place_is_asked_at_the_same_time() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    // None of the three is answered before all of them are there.
    let barrier = Arc::new(Barrier::new(3));
    let meets = |path: String| Fault::at(&path, Act::Meet(Arc::clone(&barrier)));
    let digest = world.digest;
    world.registry.set_faults(vec![
        meets(format!("/referrers/{digest}")),
        meets(format!("/manifests/{}", digest.fallback_tag())),
        meets(format!("/manifests/{}", digest.signature_tag())),
    ]);
    // Whether the registry asks for a token is found out by one request on behalf of all; here that is known.
    let client = client();
    assert!(client.resolve(&world.tagged()).await.found().is_some());
    let verdict = ask(&client, &Key::new(1).trust(), &world.pinned()).await;
    assert_eq!(verdict.outcome(), Outcome::Allow, "one after the other: {verdict:?}");
}

/// Goal G7, with an image that is known: the key is taken out of the policy, and counts no more on the next question. The
/// registry is asked for its three listings before that denial, so that an image that was signed anew a moment ago is
/// found wherever it was signed; with `absenceLife` it is not asked at all.
#[tokio::test]
async fn a_denial_after_a_revocation_takes_the_listings_and_none_while_absences_live() {
    for (absence_life, requests) in [(Duration::ZERO, 3), (PATIENCE, 0)] {
        let world = World::new();
        world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
        let limits = EvidenceLimits { absence_life, ..EvidenceLimits::STANDARD };
        // What was fetched by digest is kept, as the service keeps it.
        let content: Arc<dyn ContentCache> = Arc::new(ContentStore::open(&ContentLimits::STANDARD));
        let client = client_with(Configuration { content_cache: Some(content), ..Configuration::default() });
        let pipeline = Pipeline::new(Arc::new(client), Arc::new(Timestamp::now), limits);
        let question = Question::about(world.pinned());
        for (key, outcome, expected) in
            [(1, Outcome::Allow, None), (2, Outcome::Deny, Some(requests)), (1, Outcome::Allow, Some(0))]
        {
            world.registry.clear();
            let verdict = pipeline.verdict(&Key::new(key).trust(), &question, Instant::now() + PATIENCE).await;
            assert_eq!(verdict.outcome(), outcome, "{verdict:?}");
            assert!(expected.is_none_or(|expected| world.lines().len() == expected), "{:?}", world.lines());
        }
        // Its twin: signed anew with the key that is trusted now, it is allowed when absences do not live any more.
        world.sign_as_cosign(&Key::new(2), Format::SimpleSigning);
        let verdict = pipeline.verdict(&Key::new(2).trust(), &question, Instant::now() + PATIENCE).await;
        let is_asked = absence_life.is_zero();
        assert_eq!(verdict.outcome() == Outcome::Allow, is_asked, "{verdict:?}");
    }
}

#[tokio::test]
async fn a_warm_verdict_by_digest_takes_no_request_and_one_by_tag_takes_one() {
    let trust = Key::new(1).trust();
    for format in FORMATS {
        let world = World::new();
        world.sign_as_cosign(&Key::new(1), format);
        let pipeline = pipeline(&client());
        for (image, expected) in [(world.tagged(), 0), (world.pinned(), 0), (world.tagged(), 1)] {
            world.registry.clear();
            let question = Question::about(image.clone());
            let verdict = pipeline.verdict(&trust, &question, Instant::now() + PATIENCE).await;
            assert_eq!(verdict.outcome(), Outcome::Allow);
            let is_first = expected == 0 && image.digest().is_none();
            if !is_first {
                assert_eq!(world.lines().len(), expected, "{image}: {:?}", world.lines());
            }
        }
    }
}

/// Goal G4: one set of requests and one verification, whoever asks and whoever leaves.
#[tokio::test]
async fn a_thousand_who_ask_for_one_image_at_once_cost_what_one_costs() {
    for format in FORMATS {
        let world = World::new();
        world.sign_as_cosign(&Key::new(1), format);
        let (key, other) = (Key::new(1).public(), Key::new(2).public());
        let trust = TrustSnapshot::for_keys(vec![key.clone(), other.clone()]);
        let pipeline = pipeline(&client());
        world.registry.clear();
        let question = Question::about(world.pinned());
        let asking = (0..1_000).map(async |number| {
            let asked = pipeline.verdict(&trust, &question, Instant::now() + PATIENCE);
            if number % 2 == 1 {
                return Some(asked.await);
            }
            // It has begun, the first one the work for all, and leaves before there is an answer.
            tokio::select! {
                biased;
                _ = asked => panic!("it was answered before it left"),
                () = tokio::task::yield_now() => None,
            }
        });
        let verdicts: Vec<Verdict> = futures_util::future::join_all(asking).await.into_iter().flatten().collect();
        assert_eq!(verdicts.len(), 500);
        assert!(verdicts.iter().all(|verdict| verdict.outcome() == Outcome::Allow));
        let (needed, probes) = if format == Format::SigstoreBundle { (3, 2) } else { (2, 2) };
        assert_eq!(world.lines().len(), needed + probes, "{format}: {:?}", world.lines());
        // A legacy signature names no key, so that the other one may be tried before.
        assert_eq!(key.checks(), 1, "{format}");
        assert!(other.checks() <= u64::from(format == Format::SimpleSigning), "{format}");
    }
}

/// Goal G6: eight equal images in one review are one.
#[tokio::test]
async fn eight_equal_images_cost_one_verification_and_another_policy_costs_none() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let key = Key::new(1).public();
    let trust = TrustSnapshot::for_keys(vec![key.clone()]);
    let pipeline = pipeline(&client());
    let question = Question::about(world.pinned());
    for trust in [trust.clone(), trust, TrustSnapshot::for_keys(vec![key.clone(), Key::new(2).public()])] {
        let asking = (0..8).map(|_| pipeline.verdict(&trust, &question, Instant::now() + PATIENCE));
        let verdicts = futures_util::future::join_all(asking).await;
        assert!(verdicts.iter().all(|verdict| verdict.outcome() == Outcome::Allow));
        assert_eq!(key.checks(), 1);
    }
}

#[tokio::test]
async fn p01_an_image_that_no_rule_covers_takes_no_request() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    for (repository, outcome) in [("team/other", Outcome::Deny), (REPOSITORY, Outcome::Allow)] {
        let trust = covering(&format!("{}/{repository}", world.registry.host()));
        world.registry.clear();
        let verdict = world.ask(&trust, &world.tagged()).await;
        assert_eq!(verdict.outcome(), outcome, "{verdict:?}");
        assert_eq!(world.lines().is_empty(), outcome == Outcome::Deny, "{:?}", world.lines());
    }
}

/// A policy with one rule, for one repository.
fn covering(repository: &str) -> TrustSnapshot {
    let policy = serde_json::json!({
        "apiVersion": "hallmark.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "test"},
        "spec": {
            "authorities": [{"name": "us", "keys": [{"publicKey": {"pem": Key::new(1).public().to_pem()}}]}],
            "rules": [{"name": "ours", "images": [repository], "require": "us"}]
        }
    });
    let document = Document::parse("policy.json", &policy.to_string()).unwrap();
    let policy = TrustPolicy::compile(&document, &mut |name| Err(format!("no file `{name}`"))).unwrap();
    TrustSnapshot::new(vec![policy]).unwrap()
}

/// cosign puts the repository into the payload, without a tag, so that it can be written again from what is known.
#[tokio::test]
async fn a_legacy_payload_that_can_be_rebuilt_is_not_fetched() {
    let key = Key::new(1);
    for (name, by_tag, by_digest) in [(None, 2, 1), (Some("r.example/elsewhere"), 3, 2)] {
        let world = World::new();
        let repository = world.tagged().repository().to_string();
        let name = name.map_or(repository, str::to_owned);
        let statement = Statement { name, ..world.statement() };
        world.attach_as_cosign(&key.sign(&statement, Format::SimpleSigning));
        for (image, needed) in [(world.tagged(), by_tag), (world.pinned(), by_digest)] {
            let counted = count(&world, &client(), &image).await;
            assert_eq!(counted, Count { needed, probes: 2 }, "{image} {:?}", world.lines());
        }
    }
}

/// A payload that is rebuilt is compared by its digest: it makes no signature good.
#[tokio::test]
async fn must_not_allow_a_rebuilt_payload_that_another_key_signed() {
    let world = World::new();
    let statement = Statement { name: world.tagged().repository().to_string(), ..world.statement() };
    world.attach_as_cosign(&Key::new(2).sign(&statement, Format::SimpleSigning));
    assert_eq!(world.ask(&Key::new(1).trust(), &world.pinned()).await.outcome(), Outcome::Deny);
    assert_eq!(world.ask(&Key::new(2).trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

fn store(folder: &Path) -> Arc<ContentStore> {
    let limits = ContentLimits { directory: Some(folder.to_owned()), ..ContentLimits::STANDARD };
    Arc::new(ContentStore::open(&limits))
}

fn client_over(store: &Arc<ContentStore>, credentials: CredentialSource) -> Registry {
    let content_cache: Option<Arc<dyn ContentCache>> = Some(Arc::<ContentStore>::clone(store));
    client_with(Configuration { content_cache, credentials, ..Configuration::default() })
}

/// G7: what a restart with a disk costs: the three listings, and the tag where one was asked for.
#[tokio::test]
async fn after_a_restart_with_a_disk_listings_are_asked_for_and_nothing_else() {
    for format in FORMATS {
        let world = World::new();
        for key in 1..=5 {
            world.sign_as_cosign(&Key::new(key), format);
        }
        let folder = tempfile::tempdir().unwrap();
        let first = store(folder.path());
        let trust = Key::new(5).trust();
        let verdict = ask(&client_over(&first, CredentialSource::anonymous()), &trust, &world.pinned()).await;
        assert_eq!(verdict.outcome(), Outcome::Allow);
        let contents = world.lines().iter().filter(|line| line.contains("/blobs/sha256:")).count();
        assert!(contents >= 1, "{:?}", world.lines());
        first.flush().await;
        for (image, resolutions) in [(world.pinned(), 0), (world.tagged(), 1)] {
            world.registry.clear();
            let restarted = store(folder.path());
            let verdict = ask(&client_over(&restarted, CredentialSource::anonymous()), &trust, &image).await;
            assert_eq!(verdict.outcome(), Outcome::Allow);
            let lines = world.lines();
            let is_listing = |line: &&String| {
                line.contains("/referrers/")
                    || line.ends_with(world.digest.fallback_tag().as_str())
                    || line.ends_with(world.digest.signature_tag().as_str())
            };
            assert_eq!(lines.iter().filter(is_listing).count(), 3, "{lines:?}");
            assert_eq!(lines.len(), 3 + resolutions, "{lines:?}");
        }
    }
}

/// What is on disk proves nothing: a registry that does not list a signature any more has none.
#[tokio::test]
async fn must_not_allow_by_content_on_disk_that_the_registry_lists_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SimpleSigning);
    let first = store(folder.path());
    let trust = Key::new(1).trust();
    let client = client_over(&first, CredentialSource::anonymous());
    assert_eq!(ask(&client, &trust, &world.pinned()).await.outcome(), Outcome::Allow);
    first.flush().await;
    world.attach_as_cosign(&Key::new(2).sign(&world.statement(), Format::SimpleSigning));
    let client = client_over(&store(folder.path()), CredentialSource::anonymous());
    assert_eq!(ask(&client, &trust, &world.pinned()).await.outcome(), Outcome::Deny);
}

/// Two tenants, one store: what one has fetched, the other asks for itself.
#[tokio::test]
async fn must_not_serve_one_credential_what_another_has_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let shared = store(folder.path());
    let tenant = |name: &str| CredentialSource::anonymous().with_password(world.registry.host(), name, name);
    let trust = Key::new(1).trust();
    for (name, contents) in [("one", 2), ("two", 2), ("one", 0), ("two", 0)] {
        world.registry.clear();
        let client = client_over(&shared, tenant(name));
        assert_eq!(ask(&client, &trust, &world.pinned()).await.outcome(), Outcome::Allow);
        let lines = world.lines();
        assert_eq!(lines.len(), 3 + contents, "{name}: {lines:?}");
        shared.flush().await;
    }
}
