//! Attacks on whoever signs (group S): the program as a user runs it, against a registry that changes what it says
//! meanwhile.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::image::Digest;
use tempfile::TempDir;
use tokio::sync::Barrier;

use crate::harness::hostile::{Act, Fault, When};
use crate::harness::programs::hallmark;
use crate::harness::registry::{RUNTIME, TestRegistry};

const PASSPHRASE: &str = "correct horse battery staple";
const REPOSITORY: &str = "team/app";

/// A user with a key, and a registry with two images, the first under the tag `v1`.
struct Bench {
    folder: TempDir,
    registry: TestRegistry,
    first: Digest,
    second: Digest,
}

impl Bench {
    fn new() -> Self {
        let registry = TestRegistry::healthy();
        let first = registry.push_image(REPOSITORY, "v1", b"first");
        let second = registry.push_image(REPOSITORY, "other", b"second");
        assert_ne!(first, second);
        let bench = Self { folder: TempDir::new().unwrap(), registry, first, second };
        assert!(bench.run(&["key", "generate"]).status.success());
        fs::write(bench.folder.path().join("predicate.json"), "{}").unwrap();
        bench.registry.clear();
        bench
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(hallmark());
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("HOME", self.folder.path()).env("HALLMARK_PASSWORD", PASSPHRASE);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the program, which waits in its request of this number until the barrier has met.
    fn start_and_hold(&self, arguments: &[&str], request: u64) -> (Child, Arc<Barrier>) {
        let barrier = Arc::new(Barrier::new(2));
        let act = Act::Meet(Arc::clone(&barrier));
        self.registry.set_fault(Fault { when: When::Nth(request), method: None, path: String::new(), act });
        self.registry.clear();
        let child = self.command(arguments).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while self.registry.requests().len() < usize::try_from(request).unwrap() {
            assert!(Instant::now() < until, "the program did not come so far");
            std::thread::sleep(Duration::from_millis(5));
        }
        (child, barrier)
    }

    fn release(barrier: &Barrier) {
        RUNTIME.block_on(barrier.wait());
    }

    fn image(&self, digest: Digest) -> String {
        format!("{}/{REPOSITORY}@{digest}", self.registry.host())
    }
}

/// S03: what is signed is the digest that the tag named once, and it is said which; whoever moves the tag meanwhile has
/// nothing signed.
#[test]
fn s03_must_not_sign_what_a_tag_names_later() {
    let attest =
        ["attest", "--key", "hallmark.key", "--type", "https://example.com/built", "--predicate", "predicate.json"];
    let verify_attestation = ["verify-attestation", "--key", "hallmark.pub", "--type", "https://example.com/built"];
    for (sign, verify) in [
        (&["sign", "--key", "hallmark.key"][..], &["verify", "--key", "hallmark.pub"][..]),
        (&attest, &verify_attestation),
    ] {
        let bench = Bench::new();
        let tagged = format!("{}/{REPOSITORY}:v1", bench.registry.host());
        let (child, barrier) = bench.start_and_hold(&[sign, &[&tagged]].concat(), 2);
        assert_eq!(bench.registry.push_image(REPOSITORY, "v1", b"second"), bench.second);
        Bench::release(&barrier);
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{said}");
        assert!(said.contains(&bench.first.to_string()) && !said.contains(&bench.second.to_string()), "{said}");
        let verified = |digest| bench.run(&[verify, &[&bench.image(digest)]].concat()).status.code();
        assert_eq!(verified(bench.first), Some(0), "{sign:?}");
        assert_ne!(verified(bench.second), Some(0), "{sign:?}");
    }
}

/// S02: a passphrase is in no argument, and no core dump could hold it or the key.
#[test]
fn s02_must_not_leave_a_passphrase_where_others_look() {
    let bench = Bench::new();
    let tagged = format!("{}/{REPOSITORY}:v1", bench.registry.host());
    let (child, barrier) = bench.start_and_hold(&["sign", "--key", "hallmark.key", &tagged], 1);
    let of_process = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let limits = of_process("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    assert!(!of_process("cmdline").contains(PASSPHRASE));
    Bench::release(&barrier);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && !said.contains(PASSPHRASE), "{said}");
    // No flag of any verb takes one.
    for verb in ["sign", "attest", "key generate", "key import", "resign"] {
        let arguments: Vec<&str> = verb.split(' ').chain(["--password", PASSPHRASE]).collect();
        let refused = bench.run(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{verb}");
    }
}
