//! `hallmark demo`.

use std::fs;

use crate::run::hallmark;

#[test]
fn the_demo_shows_the_whole_job_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_str().unwrap();
    let run = hallmark(directory.path(), &[("TMPDIR", folder)], &["demo"]).done();
    for words in [
        "$ hallmark key generate",
        "$ hallmark sign --key release.key",
        "/v1/verdicts",
        "\"verdict\": \"allow\"",
        "\"unsigned\"",
        "\"digest-mismatch\"",
        "allow  127.0.0.1:",
        "deny  127.0.0.1:",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(!run.stdout.contains("error: "), "{}", run.stdout);
    assert_eq!(run.stderr, "");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let json = hallmark(directory.path(), &[("TMPDIR", folder)], &["demo", "-o", "json"]).done().json();
    assert_eq!(json["version"], "hallmark.dev/demo/v1");
}
