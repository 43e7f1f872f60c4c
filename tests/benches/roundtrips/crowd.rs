//! Goal G4: many who ask at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hallmark_policy::Outcome;
use hallmark_policy::image::ImageReference;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::Question;

use crate::harness::world::{Key, PATIENCE, client, pipeline};
use crate::{DELAY, median, world};

/// How many ask for the same image.
const CROWD: usize = 1_000;
/// How many different images are asked for.
const IMAGES: usize = 100;
/// Runs that a median is taken of.
const RUNS: usize = 7;

pub(crate) async fn tables() {
    println!(
        "\nMany cold questions at once, by digest, at {} ms a request (goal: one fetch and one verification, p99 at most 1.3x of a single \
         question; who leaves harms nobody)\n",
        DELAY.as_millis()
    );
    println!("| questions | requests | verifications | p50 ms | p99 ms | p99 of a single one |");
    println!("|---|---:|---:|---:|---:|---:|");
    let single = row("1", 1, 0, None).await;
    row("1,000 for one image", CROWD, 0, Some(single)).await;
    row("1,000 for one image, every second one leaves", CROWD, CROWD / 2, Some(single)).await;
    distinct(single).await;
}

/// Asks so often for one image, of a pipeline that knows nothing; some leave soon. Gives the p99.
async fn row(name: &str, askers: usize, leavers: usize, single: Option<Duration>) -> Duration {
    let world = world(1);
    let (mut p50, mut p99, mut requests, mut checks) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..RUNS {
        let key = Key::new(1).public();
        let trust = TrustSnapshot::for_keys(vec![key.clone()]);
        let pipeline = pipeline(&client());
        world.registry.clear();
        let question = Question::about(world.pinned());
        let asking = (0..askers).map(async |number| {
            let begun = Instant::now();
            let asked = pipeline.verdict(&trust, &question, begun + PATIENCE);
            if leavers > 0 && number % (askers / leavers) == 0 {
                // The first asker is one of them.
                let left = tokio::time::timeout(DELAY / 2, asked).await;
                assert!(left.is_err(), "it was answered before it left");
                return None;
            }
            let verdict = asked.await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
            Some(begun.elapsed())
        });
        let mut times: Vec<Duration> = join_all(asking).await.into_iter().flatten().collect();
        times.sort();
        p50.push(times[times.len() / 2]);
        p99.push(times[(times.len() * 99 / 100).min(times.len() - 1)]);
        (requests, checks) = (world.registry.requests().len(), key.checks());
    }
    let (p50, p99) = (median(p50), median(p99));
    print(name, requests, checks, p50, p99, single);
    p99
}

/// A hundred images, each asked for once, at the same time.
async fn distinct(single: Duration) {
    let world = world(0);
    let key = Key::new(1);
    let images: Vec<ImageReference> = (0..IMAGES)
        .map(|number| {
            let repository = format!("team/app{number}");
            let digest = world.registry.push_image(&repository, "v1", repository.as_bytes());
            let tagged: ImageReference = format!("{}/{repository}:v1", world.registry.host()).parse().unwrap();
            let pinned = tagged.pin(digest);
            let statement = Statement::about(&tagged, &pinned, std::collections::BTreeMap::new());
            let bundle = key.sign(&statement, Format::SigstoreBundle);
            world.registry.push_blob(&repository, bundle.blob());
            world.attach_referrer(&repository, digest, bundle.blob());
            pinned.into()
        })
        .collect();
    let (mut p50, mut p99, mut requests, mut checks) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..RUNS {
        let public = key.public();
        let trust = TrustSnapshot::for_keys(vec![public.clone()]);
        let pipeline = pipeline(&client());
        world.registry.clear();
        let asking = images.iter().map(async |image| {
            let begun = Instant::now();
            let verdict = pipeline.verdict(&trust, &Question::about(image.clone()), begun + PATIENCE).await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
            begun.elapsed()
        });
        let mut times = join_all(asking).await;
        times.sort();
        p50.push(times[times.len() / 2]);
        p99.push(times[times.len() - 1]);
        (requests, checks) = (world.registry.requests().len(), public.checks());
    }
    print("100 for 100 images", requests, checks, median(p50), median(p99), Some(single));
}

fn print(name: &str, requests: usize, checks: u64, p50: Duration, p99: Duration, single: Option<Duration>) {
    let ratio = single.map_or(1.0, |single| p99.as_secs_f64() / single.as_secs_f64());
    println!("| {name} | {requests} | {checks} | {} | {} | {ratio:.2}x |", p50.as_millis(), p99.as_millis());
}
