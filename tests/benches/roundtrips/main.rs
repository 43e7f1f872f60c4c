//! What a verdict and a signature cost where each request takes 20 ms, side by side with others in the same run. Prints
//! tables; asserts nothing about time.
//!
//! Run it with `cargo bench -p hallmark-tests --bench roundtrips`, or one table with its word, `-- signing`. The programs
//! are built in the bench's own profile, so that no debug build is compared with a release. Programs take turns, figures
//! are medians; compare the ratios. `docs/performance.md` says what is counted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::allow_attributes,
    dead_code,
    unreachable_pub,
    reason = "a benchmark prints, and stops when its set-up is wrong; the tests' harness has more than it needs"
)]

#[path = "../../src/harness/mod.rs"]
mod harness;

mod bare;
mod crowd;
mod footprint;
mod signing;

use std::path::Path;
use std::time::{Duration, Instant};

use hallmark_policy::Outcome;
use hallmark_policy::signature::Format;
use tempfile::TempDir;

use harness::hostile::Hostility;
use harness::peers::{Peer, peer};
use harness::programs::run_hallmark;
use harness::world::{Key, World, ask, client};

/// What each request takes.
pub(crate) const DELAY: Duration = Duration::from_millis(20);
/// Pairs that a median is taken of.
const PAIRS: usize = 9;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let tables: [(&str, fn()); 4] =
        [("verdicts", verdicts), ("crowd", crowds), ("signing", signing::table), ("footprint", footprint::table)];
    for (word, table) in tables {
        if wanted.as_ref().is_none_or(|wanted| wanted == word) {
            table();
        }
    }
}

fn verdicts() {
    cold_verdicts(&tokio::runtime::Runtime::new().unwrap());
}

fn crowds() {
    tokio::runtime::Runtime::new().unwrap().block_on(crowd::tables());
}

/// A registry whose requests take their time, with one image that has so many bundles of key 1.
pub(crate) fn world(bundles: usize) -> World {
    let world = World::new();
    for number in 0..bundles {
        let mut statement = world.statement();
        statement.annotations.insert("n".to_owned(), number.to_string());
        world.attach_as_cosign(&Key::new(1).sign(&statement, Format::SigstoreBundle));
    }
    world.registry.change(|hostility| *hostility = Hostility { delay: DELAY, ..Hostility::default() });
    world
}

/// Goal G2.
fn cold_verdicts(runtime: &tokio::runtime::Runtime) {
    println!(
        "\nOne cold verdict by tag at {} ms a request (goal: at most 0.40x of cosign for one bundle, 0.17x for five, \
         and 1.15x of a bare client that walks the same chain)\n",
        DELAY.as_millis()
    );
    println!("| bundles | who | requests | ms | of the first |");
    println!("|---:|---|---:|---:|---:|");
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("key.pub"), Key::new(1).public().to_pem()).unwrap();
    let cosign = peer("cosign-3");
    for bundles in [1, 5] {
        let world = world(bundles);
        let image = world.tagged().to_string();
        let mut rows: Vec<Row> = Vec::new();
        if let Some(cosign) = &cosign {
            rows.push(Row::new("cosign, a process", || verify_with_cosign(cosign, folder.path(), &image)));
        }
        rows.push(Row::new("hallmark, a process", || {
            run_hallmark(folder.path(), ["verify", "--key", "key.pub", &image]).expect_success();
        }));
        compare(&world, bundles, rows);
        let trust = Key::new(1).trust();
        compare(
            &world,
            bundles,
            vec![
                Row::new("a bare client", || runtime.block_on(bare::walk(&world, bundles))),
                Row::new("hallmark, the library", || {
                    let verdict = runtime.block_on(ask(&client(), &trust, &world.tagged()));
                    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
                }),
            ],
        );
    }
}

/// One line of a table.
struct Row<'a> {
    name: &'static str,
    work: Box<dyn Fn() + 'a>,
    times: Vec<Duration>,
    requests: usize,
}

impl<'a> Row<'a> {
    fn new(name: &'static str, work: impl Fn() + 'a) -> Self {
        Self { name, work: Box::new(work), times: Vec::new(), requests: 0 }
    }
}

/// Runs the rows in turns, and prints them.
fn compare(world: &World, bundles: usize, mut rows: Vec<Row<'_>>) {
    for _ in 0..PAIRS {
        for row in &mut rows {
            world.registry.clear();
            let begun = Instant::now();
            (row.work)();
            row.times.push(begun.elapsed());
            row.requests = world.registry.requests().len();
        }
    }
    let mut first = None;
    for row in rows {
        let time = median(row.times);
        let base = *first.get_or_insert(time);
        println!(
            "| {bundles} | {} | {} | {} | {:.2}x |",
            row.name,
            row.requests,
            time.as_millis(),
            time.as_secs_f64() / base.as_secs_f64()
        );
    }
}

fn verify_with_cosign(cosign: &Peer, folder: &Path, image: &str) {
    let mut command = cosign.command();
    command.current_dir(folder).args(["verify", "--key", "key.pub", "--insecure-ignore-tlog=true"]);
    command.args(["--private-infrastructure=true", image]);
    cosign.answer(&mut command).expect_success();
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
