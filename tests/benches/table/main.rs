//! What a verdict costs, side by side with what it cannot be cheaper than. Prints tables; asserts nothing about time.
//!
//! Run it with `cargo bench -p hallmark-tests --bench table`, or one table with its word, `-- served`. Figures are
//! medians; compare the ratios, not the absolute times, on a machine that others use as well. `docs/performance.md` says
//! what is counted, and which table is which.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops when its set-up is wrong")]

mod fixture;
mod kept;
mod keyless;
mod served;
mod throttled;

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::signature::Format;
use hallmark_policy::verdict::{Question, evaluate};

/// Runs that a median is taken of.
const RUNS: usize = 31;

fn main() {
    if served::is_child() {
        return served::serve();
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let tables: [(&str, fn()); 7] = [
        ("verification", one_verification),
        ("keyless", keyless::one_verification),
        ("policies", rules_and_keys),
        ("kept", kept::warm_images),
        ("memory", kept::distinct_images),
        ("served", served::table),
        ("throttled", throttled::table),
    ];
    for (word, table) in tables {
        if wanted.as_ref().is_none_or(|wanted| wanted == word) {
            table();
        }
    }
}

/// Goal G5: the CPU of one cold verification against its primitive.
fn one_verification() {
    println!("One verification, cold: decode, authenticate, judge, decide (goal: at most 1.4x of the primitive)\n");
    println!("| case | µs | of the primitive |");
    println!("|---|---:|---:|");
    let key = fixture::Key::new(1);
    let message = vec![7_u8; 700];
    let signature = key.sign(&message);
    let point = key.point();
    let primitive = median(200, || {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).verify(&message, &signature).unwrap();
    });
    row("ECDSA P-256 verification alone (aws-lc-rs)", primitive, primitive);
    let trust = fixture::trust(1, 1, 1);
    for format in [Format::SigstoreBundle, Format::SimpleSigning] {
        let evidence = fixture::signed(&key, format);
        let question = Question::about(evidence.image.clone());
        let cold = median(200, || {
            let verdict = evaluate(&question, &trust, &DecodedEvidence::new(evidence.clone()), None, fixture::now());
            assert!(verdict.admit());
        });
        row(&format!("one {format} signature, from bytes to verdict"), cold, primitive);
    }
}

/// Goal G8: 10,000 rules or keys against 10.
fn rules_and_keys() {
    println!("\nOne warm verdict by the size of the policy (goal: at most 1.2x of 10)\n");
    println!("| rules | keys | µs | of 10 |");
    println!("|---:|---:|---:|---:|");
    let mut base = Duration::ZERO;
    for (rules, authorities, keys) in [(10, 1, 1), (10_000, 1, 1), (1, 10, 1), (1, 10_000, 1), (1, 1, 10_000)] {
        let trust = fixture::trust(rules, authorities, keys);
        let key = fixture::Key::new(1);
        let evidence = fixture::signed(&key, Format::SigstoreBundle);
        let question = Question::about(evidence.image.clone());
        let decoded = DecodedEvidence::new(evidence);
        let warm = median(200, || assert!(evaluate(&question, &trust, &decoded, None, fixture::now()).admit()));
        if rules == 10 || (rules, authorities) == (1, 10) {
            base = warm;
        }
        println!("| {rules} | {} | {} | {:.2}x |", authorities * keys, micros(warm), ratio(warm, base));
    }
}

fn row(case: &str, time: Duration, primitive: Duration) {
    println!("| {case} | {} | {:.2}x |", micros(time), ratio(time, primitive));
}

fn median(repeats: u32, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| work());
            start.elapsed() / repeats
        })
        .collect();
    times.sort();
    times.get(RUNS / 2).copied().unwrap_or_default()
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}

fn ratio(time: Duration, base: Duration) -> f64 {
    time.as_secs_f64() / base.as_secs_f64()
}
