//! `hallmark trust-root update`, against a TUF repository on loopback.

use std::path::Path;

use crate::run::hallmark;

#[path = "../../../verifier/src/trust_root/tests/published.rs"]
mod published;

use published::{PUBLIC_GOOD, Publisher, STAGING, Served};

/// A repository that is served, and a directory with the root by which it is entered.
struct World {
    served: Served,
    address: String,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(publisher: &Publisher) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let served = Served::of(publisher.files());
        let (address, _) = runtime.block_on(served.listen());
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("root.json"), publisher.own_root()).unwrap();
        Self { served, address, directory, _runtime: runtime }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn update(&self, more: &[&str]) -> crate::run::Run {
        let base = ["trust-root", "update", "acme", "--mirror", &self.address, "--root", "root.json"];
        hallmark(self.path(), &[("HALLMARK_TRUST_ROOTS", "kept")], &[&base[..], more].concat())
    }
}

#[test]
fn the_newest_root_is_verified_kept_and_written() {
    let publisher = Publisher::lasting();
    let world = World::new(&publisher);
    let report = world.update(&["--write", "trusted_root.json", "-o", "json"]).done().json();
    assert_eq!(report["version"], "hallmark.dev/trust-root-update/v1");
    assert_eq!((&report["root"], &report["isNew"]), (&"acme".into(), &true.into()));
    assert_eq!((&report["tufRootVersion"], &report["tufTimestampVersion"]), (&1.into(), &1.into()));
    assert_eq!(report["freshUntil"], publisher.expires);
    assert_eq!(std::fs::read(world.path().join("trusted_root.json")).unwrap(), PUBLIC_GOOD);
    // What was written is a trust root like any other.
    hallmark(world.path(), &[], &["trust-root", "show", "trusted_root.json"]).done();
    assert!(world.update(&[]).done().stdout.contains("nothing has changed"));
    world.served.put(publisher.next(STAGING).files());
    let run = world.update(&["--write", "trusted_root.json"]).done();
    assert!(run.stdout.contains("a new root is kept"), "{}", run.stdout);
    assert_eq!(std::fs::read(world.path().join("trusted_root.json")).unwrap(), STAGING);
}

#[test]
fn must_not_write_or_keep_a_root_that_nobody_vouches_for() {
    let publisher = Publisher::lasting();
    let world = World::new(&publisher);
    world.served.put(publisher.next(STAGING).files());
    world.update(&["--write", "trusted_root.json"]).done();
    // An older one, one of somebody else, one that has expired, none at all.
    world.served.put(publisher.files());
    world.update(&["--write", "trusted_root.json"]).refused(21, "older than before");
    let mut stranger = publisher.next(PUBLIC_GOOD);
    (stranger.timestamp, stranger.root_keys, stranger.online_key) = (9, vec![11, 12, 13], 19);
    world.served.put(stranger.files());
    world.update(&["--write", "trusted_root.json"]).refused(21, "cannot be believed");
    let mut ended = publisher.next(PUBLIC_GOOD);
    (ended.timestamp, ended.expires) = (9, "2026-01-01T00:00:00Z");
    world.served.put(ended.files());
    world.update(&["--write", "trusted_root.json"]).refused(21, "expired");
    world.served.take("timestamp.json");
    world.update(&["--write", "trusted_root.json"]).refused(1, "cannot be read");
    assert_eq!(std::fs::read(world.path().join("trusted_root.json")).unwrap(), STAGING);
    // Somebody else's repository in the place of one that is known.
    let known = ["trust-root", "update", "--mirror", &world.address];
    world.served.put(publisher.files());
    hallmark(world.path(), &[("HALLMARK_TRUST_ROOTS", "kept")], &known).refused(21, "cannot be believed");
    let run = hallmark(world.path(), &[("HALLMARK_TRUST_ROOTS", "kept")], &["trust-root", "show"]).done();
    assert!(run.stdout.contains("public-good (built in)"), "{}", run.stdout);
    assert_eq!(run.stderr, "");
}

#[test]
fn must_not_believe_or_fail_by_what_is_kept() {
    let world = World::new(&Publisher::lasting());
    let kept = world.path().join("kept/public-good");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("last-good.json"), r#"{"version": 1}"#).unwrap();
    let run = hallmark(world.path(), &[("HALLMARK_TRUST_ROOTS", "kept")], &["trust-root", "show"]).done();
    assert!(run.stdout.contains("public-good (built in)"), "{}", run.stdout);
    assert!(run.stderr.contains("is not believed") && run.stderr.contains("built in is used"), "{}", run.stderr);
    // One who cannot keep anything is told so.
    std::fs::write(world.path().join("file"), "").unwrap();
    world.update(&["--directory", "file"]).refused(1, "could not be kept");
}

/// That the kept root is not believed is said only where it is looked at.
#[test]
fn the_kept_root_is_looked_at_for_a_log_of_keys_too() {
    let world = World::new(&Publisher::lasting());
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/keys/p256.pub"), world.path().join("release.pub"))
        .unwrap();
    let kept = world.path().join("kept/public-good");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("last-good.json"), r#"{"version": 1}"#).unwrap();
    for (evidence, is_looked_at) in [("evidence: {logs: 1}, ", true), ("", false)] {
        let policy = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: p}}\nspec:\n  \
             authorities: [{{name: a, {evidence}keys: [{{publicKey: {{file: release.pub}}}}]}}]\n  \
             rules: [{{name: r, images: [r.example/x], require: a}}]\n"
        );
        std::fs::write(world.path().join("policy.yaml"), policy).unwrap();
        let run = hallmark(world.path(), &[("HALLMARK_TRUST_ROOTS", "kept")], &["policy", "check", "policy.yaml"]);
        assert_eq!(run.stderr.contains("is not believed"), is_looked_at, "{}", run.stderr);
    }
}

#[test]
fn what_is_asked_for_makes_sense() {
    let world = World::new(&Publisher::lasting());
    let run = |arguments: &[&str]| hallmark(world.path(), &[], &[&["trust-root", "update"], arguments].concat());
    let mirror = world.address.as_str();
    run(&[]).refused(2, "nothing says where trust roots are kept");
    let kept = ["--directory", "kept"];
    run(&[&kept[..], &["acme"]].concat()).refused(2, "`acme` is no instance that is known");
    run(&[&kept[..], &["--mirror", "ftp://a"]].concat()).refused(2, "is not the address of a TUF repository");
    let private = |name| run(&[&kept[..], &[name, "--mirror", mirror, "--root", "root.json"]].concat());
    private("../up").refused(2, "cannot be the name");
    private("staging").refused(2, "cannot be the name");
    let root = |file| run(&[&kept[..], &["acme", "--mirror", mirror, "--root", file]].concat());
    root("missing.json").refused(21, "cannot be read");
    std::fs::write(world.path().join("junk.json"), "{}").unwrap();
    root("junk.json").refused(21, "the TUF root cannot be used");
    assert!(world.served.requests().is_empty(), "nothing was asked: {:?}", world.served.requests());
    root("root.json").done();
    // In the user's cache, where nothing else is said.
    let home = world.path().display().to_string();
    let arguments = ["trust-root", "update", "acme", "--mirror", mirror, "--root", "root.json"];
    hallmark(world.path(), &[("HOME", &home)], &arguments).done();
    assert!(world.path().join(".cache/hallmark/trust-roots/acme/last-good.json").exists());
}
