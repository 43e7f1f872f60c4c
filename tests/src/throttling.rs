//! Goal G12: a registry that asks for less traffic. Nothing becomes "unsigned", what is known keeps answering, and no more
//! than one request goes out in each window. (Many windows in a row are counted in `registry/src/transport/retry.rs`,
//! where the clock can be turned.)

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hallmark_policy::image::ImageReference;
use hallmark_policy::signature::Format;
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_registry::Registry;
use hallmark_verifier::{EvidenceLimits, Pipeline};

use crate::harness::hostile::{Act, Fault};
use crate::harness::world::{Key, REPOSITORY, World, client, pipeline};

/// How long an asker waits: longer than any throttled answer takes.
const DEADLINE: Duration = Duration::from_secs(10);

fn throttle(retry_after_seconds: u64) -> Fault {
    Fault::always(Act::Throttle { retry_after_seconds })
}

async fn verdict(pipeline: &Pipeline, trust: &TrustSnapshot, image: &ImageReference) -> Verdict {
    pipeline.verdict(trust, &Question::about(image.clone()), Instant::now() + DEADLINE).await
}

fn codes(verdict: &Verdict) -> Vec<Code> {
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

/// Another image in the world's repository, unsigned.
fn unsigned(world: &World, number: usize) -> ImageReference {
    let digest = world.registry.push_image(REPOSITORY, &format!("other{number}"), format!("{number}").as_bytes());
    world.tagged().pin(digest).into()
}

fn pauses(client: &Registry) -> u64 {
    client.traffic().iter().map(|host| host.pauses).sum()
}

/// A policy that takes held evidence for an hour.
fn taking_held_evidence(world: &World) -> TrustSnapshot {
    let policy = serde_json::json!({
        "apiVersion": "hallmark.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "test"},
        "spec": {
            "authorities": [{"name": "us", "keys": [{"publicKey": {"pem": Key::new(1).public().to_pem()}}]}],
            "rules": [{
                "name": "ours", "images": [format!("{}/**", world.registry.host())], "require": "us",
                "onUndetermined": {"useHeldEvidence": {"maxAge": "1h"}}
            }]
        }
    });
    let document = Document::parse("policy.json", &policy.to_string()).unwrap();
    let policy = TrustPolicy::compile(&document, &mut |name| Err(format!("no file `{name}`"))).unwrap();
    TrustSnapshot::new(vec![policy]).unwrap()
}

#[tokio::test]
async fn must_not_call_images_unsigned_nor_ask_again_and_again_while_a_registry_throttles() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let others: Vec<ImageReference> = (0..100).map(|number| unsigned(&world, number)).collect();
    let (registry, trust) = (client(), Key::new(1).trust());
    let pipeline = pipeline(&registry);
    assert_eq!(verdict(&pipeline, &trust, &world.pinned()).await.outcome(), Outcome::Allow);
    world.registry.set_fault(throttle(60));
    world.registry.clear();
    // One asker finds out, a hundred are told.
    let first = verdict(&pipeline, &trust, &world.tagged()).await;
    assert_eq!((first.outcome(), codes(&first)), (Outcome::Undetermined, vec![Code::RegistryThrottled]));
    assert!(first.reasons()[0].message.contains("for 60 s"), "{first:?}");
    let begun = Instant::now();
    for answer in join_all(others.iter().map(|image| verdict(&pipeline, &trust, image))).await {
        assert_eq!((answer.outcome(), codes(&answer)), (Outcome::Undetermined, vec![Code::RegistryThrottled]));
    }
    for _ in 0..100 {
        assert_eq!(verdict(&pipeline, &trust, &world.pinned()).await.outcome(), Outcome::Allow);
    }
    assert_eq!(world.lines().len(), 1, "one request in the window: {:?}", world.lines());
    assert_eq!(pauses(&registry), 1);
    assert!(begun.elapsed() < DEADLINE / 2, "nobody waits for what will not come in time");
    // Its twin: a registry that serves says what is unsigned.
    world.registry.heal();
    let fresh = verdict(&super::harness::world::pipeline(&client()), &trust, &others[0]).await;
    assert_eq!((fresh.outcome(), codes(&fresh)), (Outcome::Deny, vec![Code::Unsigned]));
}

#[tokio::test]
async fn askers_wait_for_a_short_window_and_its_one_probe_and_are_all_answered() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SimpleSigning);
    let others: Vec<ImageReference> = (0..50).map(|number| unsigned(&world, number)).collect();
    let (registry, trust) = (client(), Key::new(1).trust());
    let pipeline = pipeline(&registry);
    world.registry.set_fault(Fault { when: crate::harness::hostile::When::First(1), ..throttle(1) });
    let tagged = world.tagged();
    // The window begins later than this, so that it is not over a second from here, however busy the machine is.
    let (begun, window) = (Instant::now(), Duration::from_secs(1));
    let first = verdict(&pipeline, &trust, &tagged);
    let rest = async {
        while pauses(&registry) == 0 {
            tokio::task::yield_now().await;
        }
        let asked = join_all(others.iter().map(|image| verdict(&pipeline, &trust, image)));
        let watch = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let lines = world.lines();
                if begun.elapsed() >= window {
                    return;
                }
                assert_eq!(lines.len(), 1, "nothing in the window but what began it: {lines:?}");
            }
        };
        let (answers, ()) = tokio::join!(asked, watch);
        assert!(begun.elapsed() >= window, "{:?}", begun.elapsed());
        answers
    };
    let (first, rest) = tokio::join!(first, rest);
    assert_eq!(first.outcome(), Outcome::Allow, "{first:?}");
    assert!(rest.iter().all(|answer| codes(answer) == [Code::Unsigned]));
    assert_eq!(pauses(&registry), 1);
    // Every request but the one that was turned away was needed once.
    let mut lines = world.lines();
    let all = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(all, lines.len() + 1);
}

#[tokio::test]
async fn must_not_forget_what_is_known_while_a_registry_throttles_and_allows_no_more_than_before() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let other = unsigned(&world, 1);
    let client = client();
    // Nothing is fresh in this pipeline, so that every answer without a request rests on held evidence.
    let limits = EvidenceLimits { listing_life: Duration::ZERO, ..EvidenceLimits::STANDARD };
    let pipeline = Pipeline::new(std::sync::Arc::new(client.clone()), std::sync::Arc::new(Timestamp::now), limits);
    let (strict, held) = (Key::new(1).trust(), taking_held_evidence(&world));
    for image in [&world.pinned(), &other] {
        verdict(&pipeline, &strict, image).await;
    }
    world.registry.set_fault(throttle(60));
    assert_eq!(codes(&verdict(&pipeline, &strict, &world.tagged()).await), [Code::RegistryThrottled]);
    world.registry.clear();
    let known = verdict(&pipeline, &held, &world.pinned()).await;
    assert_eq!(known.outcome(), Outcome::Allow, "{known:?}");
    assert!(known.rules()[0].decision().proof().unwrap().held_since().is_some());
    // Its twins: without the rule's leave, for an image that nobody has signed, and for one that nobody knows.
    assert_eq!(codes(&verdict(&pipeline, &strict, &world.pinned()).await), [Code::RegistryThrottled]);
    assert_ne!(verdict(&pipeline, &held, &other).await.outcome(), Outcome::Allow);
    let unknown = verdict(&pipeline, &held, &unsigned(&world, 2)).await;
    assert_eq!((unknown.outcome(), codes(&unknown)), (Outcome::Undetermined, vec![Code::RegistryThrottled]));
    assert!(world.lines().is_empty(), "{:?}", world.lines());
}

/// Docker Hub's headers, from the answer to the verdict's message.
#[tokio::test]
async fn what_a_registry_says_of_its_limits_is_told_to_the_user() {
    let world = World::new();
    let headers = [("retry-after", "3600"), ("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")];
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    world.registry.set_fault(Fault::always(Act::Answer { status: 429, headers, body: Vec::new() }));
    let client = client();
    let answer = verdict(&pipeline(&client), &Key::new(1).trust(), &world.tagged()).await;
    let reason = &answer.reasons()[0];
    assert_eq!(reason.code, Code::RegistryThrottled);
    for part in ["answered 429", "for 300 s", "0 of 100 requests in 6 h are left"] {
        assert!(reason.message.contains(part), "{part}: {reason:?}");
    }
    let hint = reason.code.hint();
    assert!(hint.contains("log in") && hint.contains("mirror"), "{hint}");
    let limit = client.traffic()[0].rate_limit.unwrap();
    assert_eq!((limit.limit, limit.remaining), (100, 0));
}
