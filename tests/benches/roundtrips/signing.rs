//! Goal G11: a thousand images signed in one process, and cosign in a loop over the first few.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::DELAY;
use crate::harness::hostile::Hostility;
use crate::harness::peers::peer;
use crate::harness::programs::{PASSPHRASE, hallmark, run_hallmark};
use crate::harness::registry::{Options, TestRegistry};

/// Images that we sign.
const MANY: usize = 1_000;
/// Images that cosign signs; the time for the others is extrapolated.
const FEW: usize = 20;

pub(crate) fn table() {
    println!(
        "\nSigning {MANY} images, each in a repository of its own, at {} ms a request, in one process, as bundles (goal: at \
         most 5 s; with three requests to push, one to resolve and one to look, 32 at a time, waiting alone takes 3.1 \
         s)\n",
        DELAY.as_millis()
    );
    println!("| who | registry | requests an image | s |");
    println!("|---|---|---:|---:|");
    for (registry, hostility) in [
        ("takes a blob with the POST", Hostility::default()),
        ("takes it in two steps", Hostility { no_single_post: true, ..Hostility::default() }),
        ("has no referrers API", Hostility { no_referrers: true, ..Hostility::default() }),
    ] {
        let (registry_there, names) = images(hostility, MANY);
        let folder = TempDir::new().unwrap();
        run_hallmark(folder.path(), ["key", "generate"]).expect_success();
        std::fs::write(folder.path().join("list"), names.join("\n")).unwrap();
        let mut command = Command::new(hallmark());
        command.args(["sign", "--key", "hallmark.key", "--from-file", "list"]).current_dir(folder.path());
        command.env_clear().env("HOME", folder.path()).env("HALLMARK_PASSWORD", PASSPHRASE);
        let begun = Instant::now();
        let output = command.output().unwrap();
        let time = begun.elapsed();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        row("hallmark", registry, &registry_there, MANY, time);
    }
    cosign();
}

/// One process an image, as a loop in a shell does it.
fn cosign() {
    let Some(cosign) = peer("cosign-3") else { return };
    let (registry, names) = images(Hostility::default(), FEW);
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = cosign.command();
        command.current_dir(folder.path()).args(arguments).env("COSIGN_PASSWORD", PASSPHRASE);
        cosign.answer(&mut command).expect_success();
    };
    run(&["generate-key-pair"]);
    registry.clear();
    let begun = Instant::now();
    for name in &names {
        run(&["sign", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "-y", name]);
    }
    let time = begun.elapsed();
    row("cosign, 20 processes", "takes a blob with the POST", &registry, FEW, time);
    let all = time.as_secs_f64() * f64::from(u32::try_from(MANY / FEW).unwrap());
    println!("\nFor {MANY} images, extrapolated from these {FEW}, cosign takes {all:.0} s.");
}

fn images(hostility: Hostility, count: usize) -> (TestRegistry, Vec<String>) {
    let registry = TestRegistry::start(Options::default());
    let names = (0..count).map(|number| {
        let repository = format!("many/app{number}");
        registry.push_image(&repository, "v1", repository.as_bytes());
        format!("{}/{repository}:v1", registry.host())
    });
    let names = names.collect();
    registry.change(|now| *now = Hostility { delay: DELAY, ..hostility });
    registry.clear();
    (registry, names)
}

fn row(who: &str, what: &str, registry: &TestRegistry, images: usize, time: Duration) {
    let requests = registry.requests().len();
    let tenths = requests * 10 / images;
    println!("| {who} | {what} | {}.{} | {:.1} |", tenths / 10, tenths % 10, time.as_secs_f64());
}
