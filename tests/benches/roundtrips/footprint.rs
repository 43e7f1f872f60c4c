//! Goals G9 and G10: what the programs weigh, how long they take to start, and what an idle service holds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::peers::peer;
use crate::harness::programs::{hallmark, hallmark_verifier};
use crate::harness::service::Verifier;
use crate::harness::world::Key;
use crate::median;

/// Starts that a median is taken of.
const STARTS: usize = 31;

pub(crate) fn table() {
    println!("\nThe programs (goal: start at most 0.2x of cosign's, size at most 0.3x)\n");
    println!("| program | MiB | of cosign | start ms | of cosign |");
    println!("|---|---:|---:|---:|---:|");
    let cosign = peer("cosign-3").map(|cosign| PathBuf::from(cosign.command().get_program()));
    let mut programs = vec![("hallmark", hallmark()), ("hallmark-verifier", hallmark_verifier())];
    if let Some(cosign) = &cosign {
        programs.insert(0, ("cosign 3.1", cosign));
    }
    let mut first = None;
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); programs.len()];
    for _ in 0..STARTS {
        for ((_, program), times) in programs.iter().zip(&mut times) {
            times.push(start(program));
        }
    }
    for ((name, program), times) in programs.iter().zip(times) {
        let (bytes, time) = (std::fs::metadata(program).unwrap().len(), median(times));
        let (base_bytes, base_time) = *first.get_or_insert((bytes, time));
        let mebibytes = |bytes: u64| f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0;
        println!(
            "| {name} | {:.1} | {:.2}x | {:.1} | {:.2}x |",
            mebibytes(bytes),
            mebibytes(bytes) / mebibytes(base_bytes),
            time.as_secs_f64() * 1e3,
            time.as_secs_f64() / base_time.as_secs_f64()
        );
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(Verifier::start(&Key::new(1), "registry.example.com", ""));
    println!(
        "\nAn idle `hallmark-verifier` with one policy holds {} MiB (goal: at most 12).",
        service.resident() >> 20
    );
}

fn start(program: &Path) -> Duration {
    let begun = Instant::now();
    // Whether the program knows the word or not, it has started.
    let mut child = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.wait().unwrap();
    begun.elapsed()
}
