//! What a verdict and a signature cost where each request takes 20 ms, side by side with others in the same run. Prints
//! tables; asserts nothing about time.
//!
//! Run it with `cargo bench -p hallmark-tests --bench roundtrips`; a debug build (`--profile dev`) shows much the same,
//! because waiting dominates. Programs take turns, figures are medians; compare the ratios.

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

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hallmark_policy::Outcome;
use hallmark_policy::signature::Format;
use tempfile::TempDir;

use harness::hostile::Hostility;
use harness::peers::{Peer, peer};
use harness::programs::{PASSPHRASE, hallmark, run_hallmark};
use harness::world::{Key, World, ask, client};

/// What each request takes.
pub(crate) const DELAY: Duration = Duration::from_millis(20);
/// Pairs that a median is taken of.
const PAIRS: usize = 9;
/// Images of the table of goal G11.
const MANY: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    cold_verdicts(&runtime);
    runtime.block_on(crowd::tables());
    signing();
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

/// Goal G11.
fn signing() {
    println!(
        "\nSigning {MANY} images at {} ms a request, in one process, as bundles (goal: at most 5 s; with three requests \
         to push, one to resolve and one to look, 32 at a time, waiting alone takes 3.1 s)\n",
        DELAY.as_millis()
    );
    println!("| jobs | s | requests an image |");
    println!("|---:|---:|---:|");
    for jobs in [32, 64] {
        let folder = TempDir::new().unwrap();
        run_hallmark(folder.path(), ["key", "generate"]).expect_success();
        let world = World::new();
        let names: Vec<String> = (0..MANY)
            .map(|number| {
                let repository = format!("many/app{number}");
                world.registry.push_image(&repository, "v1", repository.as_bytes());
                format!("{}/{repository}:v1\n", world.registry.host())
            })
            .collect();
        std::fs::write(folder.path().join("list"), names.concat()).unwrap();
        world.registry.change(|hostility| hostility.delay = DELAY);
        world.registry.clear();
        let begun = Instant::now();
        let mut command = Command::new(hallmark());
        command.args(["sign", "--key", "hallmark.key", "--from-file", "list", "--jobs", &jobs.to_string()]);
        command.current_dir(folder.path()).env_clear().env("HOME", folder.path()).env("HALLMARK_PASSWORD", PASSPHRASE);
        let output = command.output().unwrap();
        let time = begun.elapsed();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let requests = world.registry.requests().len();
        println!("| {jobs} | {:.1} | {}.{} |", time.as_secs_f64(), requests / MANY, requests % MANY * 10 / MANY);
    }
}
