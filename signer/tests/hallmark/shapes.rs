//! The JSON of every verb, as scripts rely on it. What differs from run to run is replaced by its kind.

use std::fs;

use serde_json::Value;

use crate::registry::TestRegistry;
use crate::run::hallmark;

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

#[test]
fn every_answer_keeps_its_shape() {
    let registry = TestRegistry::start();
    let directory = tempfile::tempdir().unwrap();
    let (image, _) = registry.push("team/app:1.4");
    let (unsigned, _) = registry.push("team/other:1");
    let (attested, _) = registry.push("team/attested:1");
    let host = &registry.host;
    let (copy, absent, prefix) =
        (format!("{host}/mirror/app"), format!("{host}/team/none:1"), format!("{host}/loaded/"));
    let mirrored = format!("{host}/mirror/app");
    let policy = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: production}}\nspec:\n  authorities:\n    \
         - name: release-team\n      keys:\n        - publicKey: {{file: hallmark.pub}}\n  rules:\n    \
         - name: team\n      images: [\"{}/team/**\"]\n      require: release-team\n",
        registry.host
    );
    fs::write(directory.path().join("policy.yaml"), &policy).unwrap();
    fs::write(directory.path().join("predicate.json"), r#"{"buildDefinition":{},"runDetails":{}}"#).unwrap();
    let predicate = ["--predicate", "predicate.json", "--type", "slsaprovenance1"];
    let attest = [&["attest", "--key", "hallmark.key", &attested], &predicate[..]].concat();
    let verify_attestation = ["verify-attestation", "--key", "hallmark.pub", &attested, "--type"];
    for (name, code, arguments) in [
        ("key-generate", 0, vec!["key", "generate"]),
        ("key-inspect", 0, vec!["key", "inspect", "hallmark.pub"]),
        ("sign", 0, vec!["sign", "--key", "hallmark.key", "--format", "bundle", "--format", "simple-signing", &image]),
        ("sign-dry-run", 0, vec!["sign", "--key", "hallmark.key", "--dry-run", &unsigned]),
        ("verify-allow", 0, vec!["verify", "--policy", "policy.yaml", &image]),
        ("verify-deny", 10, vec!["verify", "--policy", "policy.yaml", &image, &unsigned]),
        ("verify-cosign", 0, vec!["verify", "--key", "hallmark.pub", &image, "-o", "cosign"]),
        ("attest", 0, attest.to_vec()),
        ("verify-attestation", 0, [&verify_attestation, &["slsaprovenance1"][..]].concat()),
        ("verify-attestation-missing", 12, [&verify_attestation, &["spdx"][..]].concat()),
        ("inspect", 0, vec!["inspect", "--key", "hallmark.pub", &image]),
        ("evidence-fetch", 0, vec!["evidence", "fetch", &unsigned, "-d", "recorded"]),
        ("copy", 0, vec!["copy", &image, &copy]),
        ("copy-left", 11, vec!["copy", &absent, "oci:layout"]),
        ("save", 0, vec!["save", &image, "--to", "app.tar"]),
        ("load", 0, vec!["load", "app.tar", &prefix]),
        ("repair", 0, vec!["repair", &mirrored]),
        ("policy-check", 0, vec!["policy", "check", "policy.yaml"]),
        ("policy-explain", 10, vec!["policy", "explain", "--policy", "policy.yaml", &unsigned]),
    ] {
        let form = if arguments.contains(&"-o") { &[][..] } else { &["-o", "json"] };
        let run = hallmark(directory.path(), PASSPHRASE, &[&arguments, form].concat());
        assert_eq!(run.code, code, "{name}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.stderr, "", "{name}");
        insta::assert_json_snapshot!(name, without_accidents(run.json(), &registry.host));
    }
    let demands = "      attestations: [{name: built, types: [slsaprovenance1], from: release-team}]\n";
    fs::write(directory.path().join("demands.yaml"), policy + demands).unwrap();
    let attest = [&["attest", "--key", "hallmark.key", &image], &predicate[..]].concat();
    hallmark(directory.path(), PASSPHRASE, &attest).done();
    let judged = ["verify-attestation", "--policy", "demands.yaml", &image, "-o", "json"];
    let report = hallmark(directory.path(), PASSPHRASE, &judged).done().json();
    insta::assert_json_snapshot!("verify-attestation-policy", without_accidents(report, &registry.host));
}

fn without_accidents(value: Value, host: &str) -> Value {
    match value {
        Value::String(text) => Value::String(kind_of(&text.replace(host, "registry.example.com"))),
        Value::Array(values) => values.into_iter().map(|value| without_accidents(value, host)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| match key.as_str() {
                "sizeBytes" => (key, Value::from("SIZE")),
                "hint" if value.as_str().is_some_and(|hint| hint.ends_with('=')) => (key, Value::from("HINT")),
                _ => (key, without_accidents(value, host)),
            });
            Value::Object(fields.collect())
        }
        other => other,
    }
}

fn kind_of(text: &str) -> String {
    if text.starts_with("-----BEGIN") {
        return "PEM".to_owned();
    }
    if text.starts_with("20") && text.ends_with('Z') {
        return "TIME".to_owned();
    }
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.as_bytes().windows(64).position(|window| window.iter().all(u8::is_ascii_hexdigit)) {
        let (before, hex) = rest.split_at(at);
        replaced.push_str(before);
        replaced.push_str("HEX");
        rest = hex.split_at(64).1;
    }
    replaced + rest
}
