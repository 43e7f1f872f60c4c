//! Goals G7 and G9: what 10,000 warm images cost, and what memory does over many distinct ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use hallmark_policy::Outcome;
use hallmark_policy::evidence::{Evidence, Observation};
use hallmark_policy::image::{Digest, ImageReference};
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::Question;
use hallmark_registry::{ContentCache as _, Partition};
use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, EvidenceSource, Pipeline};

use crate::fixture;

/// How many images are warm.
const WARM: usize = 10_000;
/// How many distinct images are asked about while memory is looked at, and how often it is.
const DISTINCT: usize = 60_000;
const LOOKS: usize = 6;

/// Evidence of one signature about every image that is asked for, counted.
struct Source {
    key: fixture::Key,
    gathered: AtomicUsize,
    /// Contents go here as a registry client would put them there.
    content: Option<Arc<ContentStore>>,
}

impl EvidenceSource for Source {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>> {
        async move { image.digest().map_or(Observation::Absent, Observation::Found) }.boxed()
    }

    fn gather<'a>(&'a self, image: &'a ImageReference, _: Instant) -> BoxFuture<'a, Evidence> {
        async move {
            self.gathered.fetch_add(1, Ordering::Relaxed);
            let evidence = fixture::signed_image(&self.key, Format::SigstoreBundle, image);
            for content in evidence.contents() {
                if let Some(store) = &self.content {
                    store.keep(Partition::undivided(), content);
                }
            }
            evidence
        }
        .boxed()
    }
}

fn image(number: usize) -> ImageReference {
    let digest = Digest::of(format!("image {number}").as_bytes());
    format!("registry.example.com/team-1/app@{digest}").parse().unwrap()
}

async fn ask(pipeline: &Pipeline, trust: &TrustSnapshot, numbers: std::ops::Range<usize>) -> usize {
    let verdicts = stream::iter(numbers).map(|number| async move {
        let question = Question::about(image(number));
        pipeline.verdict(trust, &question, Instant::now() + Duration::from_secs(60)).await.outcome()
    });
    verdicts.buffer_unordered(16).filter(|outcome| std::future::ready(*outcome == Outcome::Allow)).count().await
}

/// The resident memory of this process in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Goal G7.
pub(crate) fn warm_images() {
    tokio::runtime::Runtime::new().unwrap().block_on(warm());
}

/// Goal G9, in a process of its own where it is asked for by its word.
pub(crate) fn distinct_images() {
    tokio::runtime::Runtime::new().unwrap().block_on(distinct());
}

async fn warm() {
    let source = Arc::new(Source { key: fixture::Key::new(1), gathered: AtomicUsize::new(0), content: None });
    let pipeline = Pipeline::new(Arc::<Source>::clone(&source), Arc::new(fixture::now), EvidenceLimits::STANDARD);
    println!("\n{WARM} images, each asked about once (goal: 0 gatherings for a new policy)\n");
    println!("| | allowed | gatherings | ms | MiB |");
    println!("|---|---:|---:|---:|---:|");
    for (case, trust) in [
        ("cold", fixture::trust(1, 1, 1)),
        ("warm", fixture::trust(1, 1, 1)),
        ("another policy that trusts the key", fixture::trust(1, 1, 2)),
    ] {
        let (before, begun) = (source.gathered.load(Ordering::Relaxed), Instant::now());
        let allowed = ask(&pipeline, &trust, 0..WARM).await;
        let gathered = source.gathered.load(Ordering::Relaxed) - before;
        println!("| {case} | {allowed} | {gathered} | {} | {:.0} |", begun.elapsed().as_millis(), resident());
    }
}

async fn distinct() {
    let content = Arc::new(ContentStore::open(&ContentLimits::STANDARD));
    let source = Source { key: fixture::Key::new(1), gathered: AtomicUsize::new(0), content: Some(content) };
    let pipeline = Pipeline::new(Arc::new(source), Arc::new(fixture::now), EvidenceLimits::STANDARD);
    let trust = fixture::trust(1, 1, 1);
    println!("\nMemory over {DISTINCT} distinct images (goal: flat once the stores are full: 128 and 64 MiB)\n");
    println!("| images | MiB |");
    println!("|---:|---:|");
    for look in 1..=LOOKS {
        let step = DISTINCT / LOOKS;
        ask(&pipeline, &trust, WARM + (look - 1) * step..WARM + look * step).await;
        println!("| {} | {:.0} |", look * step, resident());
    }
}
