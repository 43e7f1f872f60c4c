//! `hallmark attest` with many images: lists and indexes. What other programs make of attestations is tested with them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];
const TYPE: &str = "https://x.example/t";

/// A folder with a key and a predicate.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    hallmark(folder.path(), PASSPHRASE, &["key", "generate"]).done();
    fs::write(folder.path().join("predicate.json"), r#"{"a":1.50}"#).unwrap();
    folder
}

fn attest(folder: &Path, more: &[&str]) -> Run {
    hallmark(folder, PASSPHRASE, &[&["attest", "--key", "hallmark.key", "-o", "json"], more].concat())
}

fn attest_predicate(folder: &Path, more: &[&str]) -> Run {
    attest(folder, &[&["--type", TYPE, "--predicate", "predicate.json"], more].concat())
}

/// What became of each image: its digest, and the first attestation of it.
fn statuses(report: &Value) -> Vec<(String, String)> {
    let images = report["images"].as_array().unwrap().iter();
    let digest = |image: &Value| image["pinned"].as_str().unwrap().split('@').nth(1).unwrap().to_owned();
    images.map(|image| (digest(image), image["signatures"][0]["status"].as_str().unwrap().to_owned())).collect()
}

fn digest(pinned: &str) -> String {
    pinned.split('@').nth(1).unwrap().to_owned()
}

/// The digests that the statements which verify for an image are about.
fn subjects(folder: &Path, image: &str) -> Vec<String> {
    let verify = ["verify-attestation", "--key", "hallmark.pub", "--type", TYPE, "-o", "json", image];
    let report = hallmark(folder, &[], &verify).json();
    let found = report["images"][0]["attestations"].as_array().unwrap().iter();
    found
        .map(|one| format!("sha256:{}", one["statement"]["subject"][0]["digest"]["sha256"].as_str().unwrap()))
        .collect()
}

#[test]
fn every_image_of_an_index_is_attested_by_its_own_digest_and_once() {
    let (registry, folder) = (TestRegistry::start(), folder());
    let (index, children, attestation) = registry.push_index("team/multi:1");
    let alone = statuses(&attest_predicate(folder.path(), &[&index]).done().json());
    let [(root, status)] = alone.as_slice() else { panic!("{alone:?}") };
    assert_eq!(status, "attached");
    assert!(children.iter().all(|child| subjects(folder.path(), child).is_empty()));

    let both = ["--format", "bundle", "--format", "attestation-tag"];
    let report = attest_predicate(folder.path(), &[&["--recursive", &index], &both[..]].concat()).done().json();
    let expected = |status: &str| (status.to_owned(), "attached".to_owned());
    assert_eq!(
        statuses(&report),
        [(root.clone(), "already-signed".to_owned()), expected(&digest(&children[0])), expected(&digest(&children[1]))]
    );
    for image in [&children[0], &children[1]] {
        assert_eq!(subjects(folder.path(), image), [digest(image), digest(image)]);
    }
    assert_eq!(subjects(folder.path(), &attestation), Vec::<String>::new());
    let again = attest_predicate(folder.path(), &[&["--recursive", &index], &both[..]].concat()).done().json();
    assert_eq!((&again["summary"]["alreadySigned"], &again["summary"]["attached"]), (&json!(6), &json!(0)));
}

#[test]
fn a_list_is_attested_in_one_run_and_a_second_run_does_what_is_left() {
    let (registry, folder) = (TestRegistry::start(), folder());
    let images: Vec<String> = (0..12).map(|number| registry.push(&format!("team/app{number}:1")).0).collect();
    let missing = format!("{}/team/none:1", registry.host);
    fs::write(folder.path().join("list"), format!("{}\n{missing}\n", images.join("\n"))).unwrap();
    let list = ["--from-file", "list", "--jobs", "5"];
    let first = attest_predicate(folder.path(), &list);
    assert_eq!(first.code, 11, "{}", first.stderr);
    let report = first.json();
    assert_eq!((&report["summary"]["attached"], &report["summary"]["left"]), (&json!(12), &json!(1)));
    assert_eq!(report["images"][12]["image"], missing, "the order is that of the list");
    assert_eq!(first.stderr.lines().filter(|line| line.contains("sigstore-bundle signed")).count(), 12);
    registry.push("team/none:1");
    let second = attest_predicate(folder.path(), &list).done().json();
    assert_eq!((&second["summary"]["attached"], &second["summary"]["alreadySigned"]), (&json!(1), &json!(12)));
    assert!(images.iter().all(|image| subjects(folder.path(), image).len() == 1));
}

#[test]
fn each_image_of_a_list_is_attested_what_its_own_file_says() {
    let (registry, folder) = (TestRegistry::start(), folder());
    let images = ["app", "web"].map(|name| registry.push(&format!("team/{name}:1")).0);
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("app.json", r#"{"of":"app"}"#);
    file("list", &format!("# images and what is said of them\n{} app.json\n{}\tweb.json\n", images[0], images[1]));
    let attest = || attest(folder.path(), &["--type", TYPE, "--from-file", "list"]);
    let predicates = |image: &str| {
        let verify = ["verify-attestation", "--key", "hallmark.pub", "--type", TYPE, image];
        hallmark(folder.path(), &[], &verify).stdout
    };
    // One file that cannot be read keeps nobody else's from being attested.
    let first = attest();
    assert_eq!(
        (first.code, &first.json()["summary"]["attached"], &first.json()["summary"]["left"]),
        (2, &json!(1), &json!(1))
    );
    file("web.json", r#"{"of":"web"}"#);
    let second = attest().done().json();
    assert_eq!((&second["summary"]["attached"], &second["summary"]["alreadySigned"]), (&json!(1), &json!(1)));
    assert_eq!(images.each_ref().map(|image| predicates(image)), ["{\"of\":\"app\"}\n", "{\"of\":\"web\"}\n"]);
    file("list", &images[0]);
    attest().refused(2, "there is no file behind the image");
}

/// Where a statement is given, it says itself what it is about.
#[test]
fn must_not_attest_a_statement_of_an_image_that_it_does_not_name() {
    let (registry, folder) = (TestRegistry::start(), folder());
    let (index, children, _) = registry.push_index("team/multi:1");
    let statement = |digests: &[String]| {
        let subject =
            |digest: &String| json!({"name": "x", "digest": {"sha256": digest.trim_start_matches("sha256:")}});
        let subjects: Vec<Value> = digests.iter().map(subject).collect();
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": TYPE, "predicate": {"a": 1}
        });
        fs::write(folder.path().join("statement.json"), statement.to_string()).unwrap();
    };
    let attest = |more: &[&str]| attest(folder.path(), &[&["--statement", "statement.json", &index], more].concat());
    statement(&[digest(&children[1])]);
    let refused = attest(&[]);
    assert_eq!((refused.code, statuses(&refused.json())[0].1.as_str()), (2, "left"));
    let report = attest(&["--recursive"]).done().json();
    assert_eq!(statuses(&report), [(digest(&children[1]), "attached".to_owned())]);
    assert!(subjects(folder.path(), &children[0]).is_empty() && subjects(folder.path(), &index).is_empty());
    // About two of them, it is the same statement of both.
    statement(&children.each_ref().map(|child| digest(child)));
    assert_eq!(attest(&["--recursive"]).done().json()["summary"]["attached"], 2);
    // About nothing that is there, it is attested of nothing.
    statement(&[format!("sha256:{}", "0".repeat(64))]);
    let refused = attest(&["--recursive"]);
    assert_eq!((refused.code, refused.json()["summary"]["left"].as_u64()), (2, Some(1)));
}

#[test]
fn must_not_read_the_list_and_the_predicate_from_one_input() {
    let folder = folder();
    let both = ["attest", "--key", "hallmark.key", "--type", TYPE, "--predicate", "-", "--from-file", "-"];
    hallmark(folder.path(), PASSPHRASE, &both).refused(2, "both the list and the predicate");
}
