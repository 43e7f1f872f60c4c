//! `hallmark doctor`, and what it says of registries.

use crate::registry::TestRegistry;
use crate::run::hallmark;

#[test]
fn a_registry_is_described_and_what_is_wrong_decides_the_exit_code() {
    let (registry, directory) = (TestRegistry::start(), tempfile::tempdir().unwrap());
    registry.push("team/app:1");
    let (host, scratch) = (&registry.host, format!("{}/team/scratch", registry.host));
    let run = hallmark(directory.path(), &[], &["doctor", host, "--write", &scratch, "-o", "json"]).done();
    let report = run.json();
    assert_eq!((&report["version"], &report["registry"]), (&"hallmark.dev/doctor/v1".into(), &host.as_str().into()));
    let checks = report["checks"].as_array().unwrap();
    let finding = |name: &str| checks.iter().find(|check| check["name"] == name).map(|check| check["finding"].clone());
    assert_eq!(finding("reach").unwrap(), "good");
    assert_eq!(finding("delete").unwrap(), "good");
    let repository = format!("{host}/team/app");
    let run = hallmark(directory.path(), &[], &["doctor", &repository]).done();
    assert!(run.stdout.contains("referrers-api"), "{}", run.stdout);

    let run = hallmark(directory.path(), &[], &["doctor", "127.0.0.1:1", "-o", "json"]);
    assert_eq!(run.code, 20, "{}{}", run.stdout, run.stderr);
    let report = run.json();
    let checks = report["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(check("connection")["finding"], "wrong");
    assert_eq!(check("reach")["code"], "registry-unavailable");
    hallmark(directory.path(), &[], &["doctor", "nowhere"]).refused(2, "`nowhere` is no registry");
    let other = ["doctor", host, "--write", "registry.example.com/a/b"];
    hallmark(directory.path(), &[], &other).refused(2, "is in another registry");
}
