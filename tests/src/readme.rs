//! The README's commands, run word for word, and the demo that it starts with.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::programs::{PASSPHRASE, hallmark, hallmark_verifier};
use crate::harness::registry::TestRegistry;
use crate::harness::repository;

/// What marks a block that is run.
const MARK: &str = "<!-- run -->\n```sh\n";

fn blocks(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(page)).unwrap();
    let parts = text.split(MARK).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// Two addresses that nobody listens on. Another process may take them before ours does; then the test says so.
fn free_ports() -> [u16; 2] {
    let bound = [0, 0].map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_readme_works_word_for_word() {
    let registry = TestRegistry::healthy();
    registry.push_image("team/app", "1.4", b"the image of the README");
    let blocks = blocks("README.md");
    let jobs =
        ["sign", "resign", "verify", "policy", "copy", "save", "load", "doctor"].map(|verb| format!("hallmark {verb}"));
    for job in jobs.iter().map(String::as_str).chain(["hallmark-verifier"]) {
        assert!(blocks.iter().any(|block| block.contains(job)), "no block that is run shows `{job}`");
    }
    // The service's default ports may be taken on this machine; everything else is as it is written.
    let [api, operations] = free_ports();
    let script = blocks.join("\n");
    let script = script.replace("127.0.0.1:8080", &format!("127.0.0.1:{api}"));
    let script = script.replace("127.0.0.1:8081", &format!("127.0.0.1:{operations}"));
    let folder = tempfile::tempdir().unwrap();
    let programs = [hallmark(), hallmark_verifier()].map(|program| program.parent().unwrap().display().to_string());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(folder.path()).stdin(Stdio::null());
    bash.env("PATH", format!("{}:{}", programs[0], std::env::var("PATH").unwrap()));
    bash.env("IMAGE", format!("{}/team/app:1.4", registry.host()));
    bash.env("HALLMARK_PASSWORD", PASSPHRASE).env("HOME", folder.path());
    bash.env("HALLMARK_API_LISTEN", format!("127.0.0.1:{api}"));
    bash.env("HALLMARK_OPERATIONS_LISTEN", format!("127.0.0.1:{operations}"));
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        bash.env_remove(proxy);
    }
    let output = bash.output().unwrap();
    let log = std::fs::read_to_string(folder.path().join("verifier.log")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{log}", text(&output));
    let shown = text(&output);
    assert_eq!(
        shown.matches("\"verdict\":\"allow\"").count(),
        4,
        "two answers, each for all and for the image: {shown}"
    );
    assert!(shown.contains("signed    by release-team"), "{shown}");
}

#[test]
fn the_demo_ends_by_itself_with_the_verdicts_that_it_promises_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(hallmark())
        .args(["demo", "-o", "json"])
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("PATH", std::env::var("PATH").unwrap())
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let story: Value = serde_json::from_slice(&output.stdout).unwrap();
    let images: Vec<Value> = story["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["command"].as_str().is_some_and(|command| command.contains("/v1/verdicts")))
        .map(|step| serde_json::from_str(step["output"].as_str().unwrap()).unwrap())
        .collect();
    let verdict = |image: &'_ Value| {
        let code = image["reasons"][0]["code"].as_str().map(str::to_owned);
        (image["verdict"].as_str().unwrap().to_owned(), code)
    };
    let verdicts: Vec<_> = images.iter().map(verdict).collect();
    let expected = [("allow", None), ("deny", Some("unsigned")), ("deny", Some("digest-mismatch"))];
    let expected = expected.map(|(verdict, code): (&str, Option<&str>)| (verdict.to_owned(), code.map(str::to_owned)));
    assert_eq!(verdicts, expected);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "it leaves nothing behind");
}
