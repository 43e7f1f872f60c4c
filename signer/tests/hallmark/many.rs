//! `hallmark sign` with many images: lists, indexes, interruptions.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use serde_json::Value;

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

fn key() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    hallmark(directory.path(), PASSPHRASE, &["key", "generate"]).done();
    directory
}

fn statuses(report: &Value) -> Vec<&str> {
    let images = report["images"].as_array().unwrap();
    images.iter().map(|image| image["signatures"][0]["status"].as_str().unwrap()).collect()
}

fn allowed(directory: &tempfile::TempDir, image: &str) -> bool {
    hallmark(directory.path(), &[], &["verify", "--key", "hallmark.pub", image]).code == 0
}

#[test]
fn a_list_is_signed_in_one_run_and_a_second_run_signs_what_is_left() {
    let (registry, key) = (TestRegistry::start(), key());
    let images: Vec<String> = (0..30).map(|number| registry.push(&format!("team/app{number}:1")).0).collect();
    let missing = format!("{}/team/none:1", registry.host);
    let list = format!("# all of them\n{}\n{missing}\n{}\n", images.join("\n"), images[3]);
    fs::write(key.path().join("list"), list).unwrap();
    let sign = |more: &[&str]| -> Run {
        hallmark(key.path(), PASSPHRASE, &[&["sign", "--key", "hallmark.key", "--from-file", "list"], more].concat())
    };

    let first = sign(&["-o", "json", "--jobs", "7"]);
    assert_eq!(first.code, 11, "{}", first.stderr);
    let report = first.json();
    assert_eq!(report["summary"]["images"], 31);
    assert_eq!(report["summary"]["attached"], 30);
    assert_eq!(report["summary"]["left"], 1);
    assert_eq!(report["complete"], false);
    // The report has the order of the list, and a log has a line for each image.
    assert_eq!(report["images"][30]["image"], missing);
    assert_eq!(first.stderr.lines().filter(|line| line.contains("sigstore-bundle signed")).count(), 30);
    assert!(images.iter().all(|image| allowed(&key, image)));

    registry.push("team/none:1");
    let second = sign(&[]).done();
    assert!(second.stdout.contains("31 images, 1 signed, 30 signed already\n"), "{}", second.stdout);
    assert!(allowed(&key, &missing));
}

/// The registry turns away every push until it has been left alone for a second.
#[test]
fn a_registry_that_asks_for_less_traffic_is_waited_for_and_the_run_says_so() {
    let (switch, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (throttles, count) = (Arc::clone(&switch), Arc::clone(&refused));
    let registry = TestRegistry::start_behind(move |router| {
        router.layer(from_fn(move |request: Request, next: Next| {
            let is_refused = request.method() == "POST" && throttles.swap(false, Ordering::SeqCst);
            count.fetch_add(usize::from(is_refused), Ordering::SeqCst);
            async move {
                match is_refused {
                    true => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
                    false => next.run(request).await,
                }
            }
        }))
    });
    let key = key();
    let images: Vec<String> = (0..5).map(|number| registry.push(&format!("team/app{number}:1")).0).collect();
    fs::write(key.path().join("list"), images.join("\n")).unwrap();
    switch.store(true, Ordering::SeqCst);
    let run = hallmark(key.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", "--from-file", "list"]).done();
    assert_eq!(refused.load(Ordering::SeqCst), 1);
    let waits: Vec<&str> = run.stderr.lines().filter(|line| line.contains("asks for less traffic")).collect();
    assert_eq!(waits, [format!("waiting 1 s for `{}`, which asks for less traffic", registry.host)]);
    assert!(run.stdout.contains("5 images, 5 signed"), "{}", run.stdout);
    assert!(images.iter().all(|image| allowed(&key, image)));
    // Its twin: a run that need not wait does not speak of it.
    let run = hallmark(key.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", "--from-file", "list"]).done();
    assert!(!run.stderr.contains("waiting"), "{}", run.stderr);
}

#[test]
fn a_list_may_come_from_standard_input() {
    let (registry, key) = (TestRegistry::start(), key());
    let (image, _) = registry.push("team/app:1");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(["sign", "--key", "hallmark.key", "--from-file", "-"])
        .current_dir(key.path())
        .env_clear()
        .envs(PASSPHRASE.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{image}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(allowed(&key, &image));
}

#[test]
fn an_interrupted_run_says_what_is_left_and_the_next_one_completes_it() {
    let (registry, key) = (TestRegistry::start(), key());
    let images: Vec<String> = (0..200).map(|number| registry.push(&format!("team/app{number}:1")).0).collect();
    fs::write(key.path().join("list"), images.join("\n")).unwrap();
    let arguments = ["sign", "--key", "hallmark.key", "--from-file", "list", "--jobs", "2", "-o", "json"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(arguments)
        .current_dir(key.path())
        .env_clear()
        .envs(PASSPHRASE.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line in the log says that the run has begun to sign.
    let mut log = BufReader::new(child.stderr.take().unwrap());
    log.read_line(&mut String::new()).unwrap();
    let process = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let drained = std::thread::spawn(move || log.lines().count());
    let output = child.wait_with_output().unwrap();
    drained.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (attached, left) =
        (report["summary"]["attached"].as_u64().unwrap(), report["summary"]["left"].as_u64().unwrap());
    assert!(attached >= 1 && left >= 1 && attached + left == 200, "{attached} {left}");

    let report = hallmark(key.path(), PASSPHRASE, &arguments).done().json();
    assert_eq!(report["summary"]["attached"], left);
    assert_eq!(report["summary"]["alreadySigned"], attached);
}

#[test]
fn a_save_that_is_interrupted_ends_at_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // A registry that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/team/app:1", silent.local_addr().unwrap());
    let child = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(["save", &image, "--to", "app.tar"])
        .current_dir(folder.path())
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let connection = silent.accept().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    drop(connection);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("error: the run was interrupted\nhint: "), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_image_of_an_index_is_signed_and_its_attestations_are_not() {
    let (registry, key) = (TestRegistry::start(), key());
    let (index, children, attestation) = registry.push_index("team/multi:1");
    let sign = |more: &[&str]| {
        let arguments = ["sign", "--key", "hallmark.key", "-o", "json", index.as_str()];
        hallmark(key.path(), PASSPHRASE, &[&arguments, more].concat()).done().json()
    };
    assert_eq!(statuses(&sign(&[])), ["attached"]);
    assert!(allowed(&key, &index));
    assert!(children.iter().all(|child| !allowed(&key, child)));

    let report = sign(&["--recursive"]);
    assert_eq!(statuses(&report), ["already-signed", "attached", "attached"]);
    assert!(children.iter().all(|child| allowed(&key, child)));
    assert!(!allowed(&key, &attestation));
}

#[test]
fn must_not_follow_indexes_without_end_and_signs_nothing_then() {
    let (registry, key) = (TestRegistry::start(), key());
    let sign =
        |image: &str| hallmark(key.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", "-r", "-o", "json", image]);
    let shallow = sign(&registry.push_nested("team/shallow:1", 4)).done().json();
    assert_eq!(statuses(&shallow), ["attached"; 5]);

    let deep = registry.push_nested("team/deep:1", 5);
    let run = sign(&deep);
    assert_eq!(run.code, 12, "{}{}", run.stdout, run.stderr);
    assert_eq!(statuses(&run.json()), ["left"]);
    assert!(!allowed(&key, &deep));
}

#[test]
fn an_explanation_shows_the_signatures_of_every_image_that_the_rule_asks_for() {
    let (registry, key) = (TestRegistry::start(), key());
    let (index, children, attestation) = registry.push_index("team/multi:1");
    let explain = |rule: &str, image: &str, format: &str| {
        let policy = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: p}}\nspec:\n  authorities:\n    \
             - {{name: us, keys: [{{publicKey: {{file: hallmark.pub}}}}]}}\n  rules:\n    \
             - {{name: all, images: [\"{}/**\"], require: us, {rule}}}\n",
            registry.host
        );
        fs::write(key.path().join("policy.yaml"), policy).unwrap();
        hallmark(key.path(), &[], &["policy", "explain", "--policy", "policy.yaml", "-o", format, image])
    };
    let sign = |more: &[&str], image: &str| {
        hallmark(key.path(), PASSPHRASE, &[&["sign", "--key", "hallmark.key", image], more].concat()).done()
    };
    let digest = |image: &str| image.split_once('@').unwrap().1.to_owned();
    // The index alone is signed: what it lists is named, and that nothing was found of it. The attestation has no platform
    // here, so that a machine might run it.
    sign(&[], &index);
    let explained = explain("platforms: every-child", &index, "json");
    assert_eq!(explained.code, 12, "{}", explained.stdout);
    let listed = [&children[0], &children[1], &attestation].map(|child| digest(child));
    let shown = |report: &Value| -> Vec<(String, String, usize)> {
        let relatives = report["rules"][0]["relatives"].as_array().unwrap();
        let one = |one: &Value| {
            let text = |field: &str| one[field].as_str().unwrap().to_owned();
            (text("relation"), text("digest"), one["verified"].as_array().unwrap().len())
        };
        relatives.iter().map(one).collect()
    };
    let expected = |counts: [usize; 3]| -> Vec<(String, String, usize)> {
        let both = listed.iter().zip(counts);
        both.map(|(digest, count)| ("child".to_owned(), digest.clone(), count)).collect()
    };
    assert_eq!(shown(&explained.json()), expected([0, 0, 0]));
    assert_eq!(explained.json()["rules"][0]["verified"].as_array().unwrap().len(), 1);
    // One child is signed: it counts, and the others are what is missing.
    sign(&[], &children[0]);
    let explained = explain("platforms: every-child", &index, "text");
    assert_eq!(explained.code, 12, "{}", explained.stdout);
    let told = |digest: &str| {
        let after = explained.stdout.split_once(&format!("child     {digest}")).unwrap().1;
        after.lines().nth(1).unwrap().trim().to_owned()
    };
    assert!(told(&listed[0]).starts_with("counts"), "{}", explained.stdout);
    assert_eq!(told(&listed[1]), "found     no signature", "{}", explained.stdout);
    sign(&["--recursive"], &index);
    sign(&[], &attestation);
    assert_eq!(shown(&explain("platforms: every-child", &index, "json").done().json()), expected([2, 1, 1]));
    // A rule that asks for nothing but the image has no others.
    let report = explain("platforms: requested", &index, "json").done().json();
    assert_eq!(report["rules"][0].get("relatives"), None);
}
