//! `hallmark copy`, `save` and `load`: what was signed is still signed where it arrives.

use std::fs;

use serde_json::Value;

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

/// A registry with a signed index and a signed image, and a folder with the key.
struct Bench {
    registry: TestRegistry,
    folder: tempfile::TempDir,
    index: String,
    children: [String; 2],
    image: String,
}

impl Bench {
    fn new() -> Self {
        let (registry, folder) = (TestRegistry::start(), tempfile::tempdir().unwrap());
        let (index, children, _) = registry.push_index("team/multi:1.4");
        let (image, _) = registry.push("team/app:1.4");
        let bench = Self { registry, folder, index, children, image };
        bench.run(&["key", "generate", "--output-key-prefix", "k"]).done();
        let formats = ["--format", "bundle", "--format", "simple-signing"];
        let sign = [&["sign", "--key", "k.key", "--recursive"][..], &formats, &[&bench.index, &bench.image]].concat();
        bench.run(&sign).done();
        bench
    }

    fn run(&self, arguments: &[&str]) -> Run {
        hallmark(self.folder.path(), PASSPHRASE, arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["-o", "json"]].concat()).done().json()
    }

    #[track_caller]
    fn verify(&self, image: &str, code: i32) {
        let run = self.run(&["verify", "--key", "k.pub", image]);
        assert_eq!(run.code, code, "{image}: {}{}", run.stdout, run.stderr);
    }
}

/// The same image in another repository.
fn moved(image: &str, host: &str, path: &str) -> String {
    let (_, digest) = image.split_once('@').unwrap();
    format!("{host}/{path}@{digest}")
}

#[test]
fn what_was_signed_is_signed_where_it_was_copied() {
    let (bench, other) = (Bench::new(), TestRegistry::start());
    let to = format!("{}/mirror/multi:1.4", other.host);
    let dry = bench.json(&["copy", "--dry-run", &bench.index, &to]);
    assert_eq!((&dry["images"][0]["status"], &dry["dryRun"]), (&Value::from("would-copy"), &Value::from(true)));
    bench.verify(&to, 11);
    let report = bench.json(&["copy", &bench.index, &to]);
    assert_eq!(report["complete"], true);
    // Three signed manifests, each in two formats.
    assert_eq!(report["images"][0]["attached"].as_array().unwrap().len(), 6);
    bench.verify(&to, 0);
    for child in &bench.children {
        bench.verify(&moved(child, &other.host, "mirror/multi"), 0);
    }
    let again = bench.json(&["copy", &bench.index, &format!("{}/mirror/multi", other.host)]);
    assert_eq!((&again["images"][0]["status"], &again["images"][0]["bytes"]), (&"already-there".into(), &0.into()));
    // Without its signatures it would have been found unsigned.
    other.push("mirror/plain:1");
    bench.verify(&format!("{}/mirror/plain:1", other.host), 10);
}

#[test]
fn several_images_are_copied_from_a_list_and_one_that_fails_does_not_keep_the_others() {
    let bench = Bench::new();
    let host = &bench.registry.host;
    let list = format!(
        "# nightly\n{} {host}/m/multi\n\n{host}/team/none:1 {host}/m/none\n{} {host}/m/app\n",
        bench.index, bench.image
    );
    fs::write(bench.folder.path().join("list"), list).unwrap();
    let run = bench.run(&["copy", "--from-file", "list", "-o", "json"]);
    assert_eq!(run.code, 11, "{}", run.stderr);
    let statuses: Vec<Value> =
        run.json()["images"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, ["copied", "left", "copied"]);
    bench.verify(&format!("{host}/m/multi:1.4"), 0);
    bench.verify(&format!("{host}/m/app:1.4"), 0);
    fs::write(bench.folder.path().join("list"), "one two three\n").unwrap();
    bench.run(&["copy", "--from-file", "list"]).refused(2, "line 1 of `list` has 3 words");
    bench.run(&["copy", &bench.image, "docker://x/y"]).refused(2, "`docker://` is not needed");
}

#[test]
fn an_image_goes_over_an_air_gap_and_is_still_signed() {
    let (bench, other) = (Bench::new(), TestRegistry::start());
    bench.json(&["save", &bench.index, &bench.image, "--to", "release.tar"]);
    let first = fs::read(bench.folder.path().join("release.tar")).unwrap();
    bench.json(&["save", &bench.index, &bench.image, "--to", "release.tar"]);
    assert!(first == fs::read(bench.folder.path().join("release.tar")).unwrap());
    bench.json(&["save", &bench.index, &bench.image, "--to", "layout"]);
    for (from, prefix) in [("release.tar", "tar"), ("layout", "folder")] {
        let to = format!("{}/{prefix}/", other.host);
        let dry = bench.json(&["load", "--dry-run", from, &to]);
        assert_eq!(dry["images"][0]["status"], "would-copy");
        let report = bench.json(&["load", from, &to]);
        assert_eq!(report["images"].as_array().unwrap().len(), 2);
        bench.verify(&format!("{to}team/multi:1.4"), 0);
        bench.verify(&format!("{to}team/app:1.4"), 0);
        for child in &bench.children {
            bench.verify(&moved(child, &other.host, &format!("{prefix}/team/multi")), 0);
        }
    }
    // One of them, by its name in the file.
    let one = format!("{}/one/app:2", other.host);
    bench.json(&["copy", &format!("oci:release.tar:{}", bench.image), &one]);
    bench.verify(&one, 0);
    bench.run(&["copy", "oci:release.tar", &one]).json_left("the layout has several names");
}

#[test]
fn must_not_push_anything_of_a_file_that_was_altered() {
    let (bench, other) = (Bench::new(), TestRegistry::start());
    bench.json(&["save", &bench.image, "--to", "app.tar"]);
    let path = bench.folder.path().join("app.tar");
    let whole = fs::read(&path).unwrap();
    let target = format!("{}/team/app", other.host);
    let needle = b"simplesigning".as_slice();
    let at = whole.windows(needle.len()).position(|window| window == needle).unwrap();
    for (bytes, code) in [
        (whole[..whole.len() / 2].to_vec(), 21),
        (b"#!/bin/sh\n".repeat(100), 21),
        ([&whole[..at], b"simplesigninG", &whole[at + needle.len()..]].concat(), 21),
    ] {
        fs::write(&path, bytes).unwrap();
        let run = bench.run(&["load", "app.tar", &target]);
        assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
        bench.verify(&format!("{target}:1.4"), 11);
    }
    fs::write(&path, whole).unwrap();
    bench.json(&["load", "app.tar", &target]);
    bench.verify(&format!("{target}:1.4"), 0);
}

impl Run {
    /// Checks that the report says that the image is left, and why.
    #[track_caller]
    fn json_left(&self, message: &str) {
        assert_ne!(self.code, 0);
        assert!(format!("{}{}", self.stdout, self.stderr).contains(message), "{}{}", self.stdout, self.stderr);
    }
}
