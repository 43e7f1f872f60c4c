//! The client protocol of sigstore-conformance (its `docs/cli_protocol.md`), and the workflow that runs that suite.

use std::path::Path;

use crate::run::hallmark;

/// Every form of both commands, in the protocol's own order of arguments. The files are missing, and that is what each
/// is refused for: the command line itself is right.
#[test]
fn every_command_of_the_protocol_is_understood() {
    let directory = tempfile::tempdir().unwrap();
    let verify = |more: &[&str], who: &[&str], root: &[&str], artifact: &str| {
        [&["verify-bundle"], more, &["--bundle", "missing.json"], who, root, &[artifact]].concat().join(" ")
    };
    let sign = |more: &[&str], services: &[&str]| {
        let token = &["--identity-token", "e30.e30.e30", "--bundle", "out.json"];
        [&["sign-bundle"], more, token, services, &["missing.txt"]].concat().join(" ")
    };
    let identity = ["--certificate-identity", "me", "--certificate-oidc-issuer", "https://issuer.example"];
    let digest = format!("sha256:{}", "0".repeat(64));
    let (root, config) = (["--trusted-root", "root.json"], ["--signing-config", "config.json"]);
    for command in [
        verify(&[], &identity, &[], "missing.txt"),
        verify(&["--staging"], &identity, &[], &digest),
        verify(&[], &identity, &root, &digest),
        verify(&[], &["--key", "missing.pub"], &root, "missing.txt"),
        sign(&[], &[]),
        sign(&["--staging"], &[]),
        sign(&[], &[&root[..], &config].concat()),
        sign(&["--in-toto"], &[&root[..], &config].concat()),
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let run = hallmark(directory.path(), &[], &arguments);
        assert!(![0, 2].contains(&run.code), "{command}: {}", run.stderr);
        assert!(run.stderr.contains("cannot be"), "{command}: {}", run.stderr);
    }
    let wrong = hallmark(directory.path(), &[], &["verify-bundle", "--bundle", "x", "--certificate-id", "me", "x"]);
    assert_eq!(wrong.code, 2, "its twin");
}

#[test]
fn the_workflow_runs_the_whole_suite_and_expects_nothing_to_fail() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows/conformance.yml");
    let workflow: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let job = &workflow["jobs"]["conformance"];
    assert_eq!(job["strategy"]["matrix"]["environment"], serde_json::json!(["production", "staging"]));
    let steps = job["steps"].as_array().unwrap();
    let suite = steps.last().unwrap();
    assert!(suite["uses"].as_str().unwrap().starts_with("sigstore/sigstore-conformance@v"));
    let with = suite["with"].as_object().unwrap();
    assert_eq!(
        with.keys().collect::<Vec<_>>(),
        ["entrypoint", "environment"],
        "nothing skipped, nothing expected to fail"
    );
    let built = steps.iter().filter_map(|step| step["run"].as_str()).collect::<Vec<_>>().join("\n");
    assert!(built.contains("cargo build --release") && built.contains("--bin hallmark"), "{built}");
    assert!(with["entrypoint"].as_str().unwrap().ends_with("/target/release/hallmark"));
}
