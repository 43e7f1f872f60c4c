//! `hallmark resign`: a new key takes over from an old one.

use serde_json::Value;

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

/// A folder with the key pairs `old`, `new` and `other`.
fn keys() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["old", "new", "other"] {
        hallmark(directory.path(), PASSPHRASE, &["key", "generate", "--output-key-prefix", name]).done();
    }
    directory
}

fn run(directory: &tempfile::TempDir, arguments: &[&str]) -> Run {
    hallmark(directory.path(), PASSPHRASE, &[arguments, &["-o", "json"]].concat())
}

fn verify(directory: &tempfile::TempDir, key: &str, more: &[&str], image: &str) -> i32 {
    run(directory, &[&["verify", "--key", key], more, &[image]].concat()).code
}

fn summary(report: &Value) -> [u64; 3] {
    ["images", "attached", "left"].map(|count| report["summary"][count].as_u64().unwrap())
}

#[test]
fn everything_that_the_old_key_has_signed_is_signed_again_and_nothing_else() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let repository = format!("{}/team/app", registry.host);
    let (one, _) = registry.push("team/app:1");
    let (two, _) = registry.push("team/app:2");
    let (unsigned, _) = registry.push("team/app:3");
    let (foreign, _) = registry.push("team/app:4");
    let (index, children, _) = registry.push_index("team/app:multi");
    run(&keys, &["sign", "--key", "old.key", "-a", "commit=3f2a", &one]).done();
    run(&keys, &["sign", "--key", "old.key", "--format", "bundle", "--format", "simple-signing", &two]).done();
    run(&keys, &["sign", "--key", "other.key", &foreign]).done();
    run(&keys, &["sign", "--key", "old.key", "--recursive", &index]).done();

    let resign = ["resign", "--from", "old.pub", "--to", "new.key", repository.as_str()];
    let dry = run(&keys, &[&resign[..], &["--dry-run"]].concat()).done().json();
    assert_eq!(dry["summary"]["wouldAttach"], 6);
    assert_eq!(verify(&keys, "new.pub", &[], &one), 12);

    let report = run(&keys, &resign).done().json();
    // Two images with three signatures, the index and its two images.
    assert_eq!(summary(&report), [5, 6, 0]);
    assert_eq!(verify(&keys, "new.pub", &["-a", "commit=3f2a"], &one), 0);
    assert_eq!(verify(&keys, "old.pub", &[], &one), 0);
    for image in [&two, &index, &children[0], &children[1]] {
        assert_eq!(verify(&keys, "new.pub", &[], image), 0, "{image}");
    }
    assert_eq!(verify(&keys, "new.pub", &[], &unsigned), 10);
    assert_eq!(verify(&keys, "new.pub", &[], &foreign), 12);

    let stranger = ["resign", "--from", "new.pub", "--to", "other.key", "--dry-run", unsigned.as_str()];
    let nothing = hallmark(keys.path(), PASSPHRASE, &stranger).done();
    assert!(nothing.stdout.contains("nothing to sign"), "{}", nothing.stdout);

    let again = run(&keys, &resign).done().json();
    assert_eq!(summary(&again), [5, 0, 0]);
}

#[test]
fn an_image_without_a_tag_is_found_by_the_tag_of_its_signature() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, digest) = registry.push("team/app:1");
    run(&keys, &["sign", "--key", "old.key", "--format", "simple-signing", &image]).done();
    // The tag moves on; the first image is still pulled by its digest.
    registry.push_as("team/app:1", "another image");
    let first = format!("{}/team/app@{digest}", registry.host);
    run(&keys, &["resign", "--from", "old.pub", "--to", "new.key", &format!("{}/team/app", registry.host)]).done();
    assert_eq!(verify(&keys, "new.pub", &[], &first), 0);
    assert_eq!(verify(&keys, "new.pub", &[], &image), 10);
}

#[test]
fn must_not_sign_what_does_not_verify_or_was_signed_for_another_image() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (signed, _) = registry.push("team/app:1");
    let (copied_to, _) = registry.push("team/app:2");
    run(&keys, &["sign", "--key", "old.key", &signed]).done();
    registry.move_signature(&signed, &copied_to);
    assert_eq!(verify(&keys, "old.pub", &[], &copied_to), 12);
    let repository = format!("{}/team/app", registry.host);
    let report = run(&keys, &["resign", "--from", "old.pub", "--to", "new.key", &repository]).done().json();
    assert_eq!(summary(&report), [1, 1, 0]);
    assert_eq!(verify(&keys, "new.pub", &[], &signed), 0);
    assert_eq!(verify(&keys, "new.pub", &[], &copied_to), 12);
}

#[test]
fn must_not_call_a_repository_resigned_that_could_not_be_read() {
    let keys = keys();
    let resign = |target: &str| run(&keys, &["resign", "--from", "old.pub", "--to", "new.key", target]);
    let unreachable = resign("127.0.0.1:1/team/app");
    assert_eq!(unreachable.code, 20, "{}", unreachable.stderr);
    assert_eq!(summary(&unreachable.json()), [1, 0, 1]);
    let registry = TestRegistry::start();
    assert_eq!(resign(&format!("{}/team/none", registry.host)).code, 1);
    run(&keys, &["resign", "--from", "old.pub", "--to", "old.key", "r.example/a"]).refused(2, "both keys are the same");
}
