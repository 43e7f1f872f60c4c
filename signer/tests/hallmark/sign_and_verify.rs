//! `hallmark sign`, `verify`, `inspect`, `evidence` and `policy`, against a registry on loopback.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

/// A folder with a key pair `hallmark` and another `other`.
fn keys() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    hallmark(directory.path(), PASSPHRASE, &["key", "generate"]).done();
    hallmark(directory.path(), PASSPHRASE, &["key", "generate", "--output-key-prefix", "other"]).done();
    directory
}

fn sign(directory: &Path, arguments: &[&str]) -> Run {
    hallmark(directory, PASSPHRASE, &[&["sign", "--key", "hallmark.key", "-o", "json"], arguments].concat())
}

fn verify(directory: &Path, arguments: &[&str]) -> Run {
    hallmark(directory, &[], &[&["verify", "-o", "json"], arguments].concat())
}

#[test]
fn what_is_signed_verifies_in_both_formats_and_only_with_the_right_key() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let directory = keys.path();
    for (format, name) in [("bundle", "sigstore-bundle"), ("simple-signing", "simple-signing")] {
        let (image, digest) = registry.push(&format!("team/{format}:1.4"));
        assert_eq!(verify(directory, &["--key", "hallmark.pub", &image]).code, 10);
        let signed = sign(directory, &["--format", format, "-a", "commit=3f2a", &image]).done().json();
        assert_eq!(signed["complete"], true);
        let pinned = signed["images"][0]["pinned"].as_str().unwrap();
        assert!(pinned.ends_with(&digest));
        assert_eq!(signed["images"][0]["signatures"][0]["status"], "attached");

        let verdict = verify(directory, &["--key", "hallmark.pub", "-a", "commit=3f2a", &image]).done().json();
        assert_eq!(verdict["verdict"], "allow");
        assert_eq!(verdict["images"][0]["pinned"], pinned);
        let proof = &verdict["images"][0]["proof"][0];
        assert_eq!(proof["format"], name);
        assert_eq!(proof["keyId"], signed["keyId"]);
        assert_eq!(proof["name"], image);

        let wrong_key = verify(directory, &["--key", "other.pub", &image]);
        assert_eq!(wrong_key.code, 12);
        assert_eq!(wrong_key.json()["images"][0]["reasons"][0]["code"], "untrusted-key");
        let wrong_annotation = verify(directory, &["--key", "hallmark.pub", "-a", "commit=other", &image]);
        assert_eq!(wrong_annotation.code, 12);
        assert_eq!(wrong_annotation.json()["images"][0]["reasons"][0]["code"], "annotation-mismatch");
    }
}

#[test]
fn every_kind_of_key_signs_in_every_format_and_only_it_verifies() {
    let (registry, directory) = (TestRegistry::start(), tempfile::tempdir().unwrap());
    let kinds = ["p256", "p384", "ed25519", "rsa-3072", "rsa-4096"];
    for kind in kinds {
        let arguments = ["key", "generate", "--type", kind, "--output-key-prefix", kind];
        hallmark(directory.path(), PASSPHRASE, &arguments).done();
    }
    for (at, kind) in kinds.iter().enumerate() {
        let (public, other) = (format!("{kind}.pub"), format!("{}.pub", kinds[(at + 1) % kinds.len()]));
        let (image, _) = registry.push(&format!("{kind}/app:1"));
        let private = format!("{kind}.key");
        let both = ["sign", "--key", &private, "--format", "bundle", "--format", "simple-signing", &image];
        hallmark(directory.path(), PASSPHRASE, &both).done();
        let verdict = verify(directory.path(), &["--key", &public, &image]).done().json();
        assert_eq!(verdict["images"][0]["rejected"], json!([]), "{kind}");
        assert_eq!(verify(directory.path(), &["--key", &other, &image]).code, 12, "{kind}");
    }
}

#[test]
fn several_keys_sign_in_one_run_and_each_is_needed_where_the_policy_says_so() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let directory = keys.path();
    let policy = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: two}}\nspec:\n  authorities:\n    \
         - {{name: team, keys: [{{publicKey: {{file: hallmark.pub}}}}]}}\n    \
         - {{name: release, keys: [{{publicKey: {{file: other.pub}}}}]}}\n  rules:\n    \
         - {{name: all, images: [\"{}/**\"], require: {{all: [team, release]}}}}\n",
        registry.host
    );
    fs::write(directory.join("policy.yaml"), policy).unwrap();
    let (image, _) = registry.push("team/app:1.4");
    let both = ["sign", "--key", "hallmark.key", "--key", "other.key", "-o", "json", &image];
    let signed = hallmark(directory, PASSPHRASE, &both).done().json();
    assert_eq!(signed["keyId"], serde_json::Value::Null);
    assert_eq!(signed["summary"]["attached"], 2);
    let signatures = signed["images"][0]["signatures"].as_array().unwrap();
    assert_ne!(signatures[0]["keyId"], signatures[1]["keyId"]);
    verify(directory, &["--policy", "policy.yaml", &image]).done();

    // One after the other comes to the same: the second countersigns what the first has signed.
    let (image, _) = registry.push("team/web:1");
    sign(directory, &[&image]).done();
    let one = verify(directory, &["--policy", "policy.yaml", &image]);
    assert_eq!((one.code, &one.json()["images"][0]["reasons"][0]["code"]), (12, &json!("threshold-not-met")));
    let resigned = ["resign", "--from", "hallmark.pub", "--to", "other.key", &image];
    hallmark(directory, PASSPHRASE, &resigned).done();
    verify(directory, &["--policy", "policy.yaml", &image]).done();
    let again = hallmark(directory, PASSPHRASE, &both[..6]).code;
    assert_eq!(again, 2, "no image");
}

#[test]
fn must_not_count_one_key_twice_nor_sign_when_one_of_the_keys_does_not_open() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, _) = registry.push("team/app:1.4");
    let twice =
        hallmark(keys.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", "--key", "./hallmark.key", &image]);
    twice.refused(2, "is a key that was named before");
    let missing = hallmark(keys.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", "--key", "gone.key", &image]);
    missing.refused(21, "there is no such file");
    assert_eq!(verify(keys.path(), &["--key", "hallmark.pub", &image]).code, 10);
}

#[test]
fn signing_again_changes_nothing_and_says_so() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, _) = registry.push("team/app:1.4");
    let both = ["--format", "bundle", "--format", "simple-signing", image.as_str()];
    let first = sign(keys.path(), &both).done().json();
    let second = sign(keys.path(), &both).done().json();
    for index in 0..2 {
        let (first, second) = (&first["images"][0]["signatures"][index], &second["images"][0]["signatures"][index]);
        assert_eq!(first["status"], "attached");
        assert_eq!(second["status"], "already-signed");
        assert_eq!(first["artifact"], second["artifact"]);
    }
    let found = |run: Run| run.done().json()["artifacts"].as_array().unwrap().len();
    assert_eq!(found(hallmark(keys.path(), &[], &["inspect", &image, "-o", "json"])), 2);
    // Another statement is another signature.
    sign(keys.path(), &["-a", "commit=3f2a", &image]).done();
    assert_eq!(found(hallmark(keys.path(), &[], &["inspect", &image, "-o", "json"])), 3);
}

#[test]
fn the_end_of_a_signature_is_signed_told_and_not_moved_by_every_run() {
    let (registry, keys) = (TestRegistry::start(), keys());
    for format in ["bundle", "simple-signing"] {
        let (image, _) = registry.push(&format!("team/{format}:1"));
        let status = |lifetime: &[&str]| -> String {
            let report = sign(keys.path(), &[&["--format", format, &image], lifetime].concat()).done().json();
            report["images"][0]["signatures"][0]["status"].as_str().unwrap().to_owned()
        };
        assert_eq!(status(&["--expires", "90d"]), "attached");
        let verdict = verify(keys.path(), &["--key", "hallmark.pub", &image]).done().json();
        let expires = verdict["images"][0]["proof"][0]["expires"].as_str().unwrap().to_owned();
        assert!(expires.starts_with("20") && expires.ends_with('Z'), "{expires}");
        assert_eq!(status(&["--expires", "90d"]), "already-signed");
        assert_eq!(status(&["--expires", "52w"]), "attached");
        assert_eq!(status(&[]), "attached");
    }
    let wrong =
        hallmark(keys.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", "--expires", "soon", "r.example/a"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("such as `90d`"), "{}", wrong.stderr);
}

#[test]
fn a_dry_run_shows_what_would_be_signed_and_writes_nothing() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, digest) = registry.push("team/app:1.4");
    let shown = sign(keys.path(), &["--dry-run", "--output-bundle", "bundle.json", &image]).done().json();
    let signature = &shown["images"][0]["signatures"][0];
    assert_eq!(signature["status"], "would-attach");
    assert_eq!(signature["payload"]["subject"][0]["name"], image);
    assert!(digest.ends_with(signature["payload"]["subject"][0]["digest"]["sha256"].as_str().unwrap()));
    assert!(!keys.path().join("bundle.json").exists());
    assert_eq!(verify(keys.path(), &["--key", "hallmark.pub", &image]).code, 10);

    sign(keys.path(), &["--output-bundle", "bundle.json", &image]).done();
    let bundle: serde_json::Value =
        serde_json::from_slice(&fs::read(keys.path().join("bundle.json")).unwrap()).unwrap();
    assert_eq!(bundle["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
}

#[test]
fn several_images_end_with_the_worst_and_name_what_is_left() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, _) = registry.push("team/app:1.4");
    let missing = format!("{}/team/app:none", registry.host);
    let signed = sign(keys.path(), &[&image, &missing]);
    assert_eq!(signed.code, 11);
    let report = signed.json();
    assert_eq!(report["complete"], false);
    assert_eq!(report["images"][0]["signatures"][0]["status"], "attached");
    assert_eq!(report["images"][1]["signatures"][0]["status"], "left");
    let text = hallmark(keys.path(), PASSPHRASE, &["sign", "--key", "hallmark.key", &missing]);
    assert_eq!(text.code, 11);
    assert!(text.stdout.contains("left to do:"), "{}", text.stdout);
    assert!(text.stdout.contains("hint: "), "{}", text.stdout);

    let verified = verify(keys.path(), &["--key", "hallmark.pub", &image, &missing]);
    assert_eq!(verified.code, 11);
    assert_eq!(verified.json()["images"][0]["verdict"], "allow");
    assert_eq!(verified.json()["verdict"], "deny");
}

#[test]
fn must_not_call_an_image_unsigned_when_its_registry_is_down() {
    let keys = keys();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let image = format!("127.0.0.1:{port}/team/app:1");
    let verdict = verify(keys.path(), &["--key", "hallmark.pub", "--timeout", "5", &image]);
    assert_eq!(verdict.code, 20, "{}", verdict.stdout);
    assert_eq!(verdict.json()["verdict"], "undetermined");
    assert!(!verdict.stdout.contains("\"unsigned\""));
    assert_eq!(sign(keys.path(), &["--timeout", "5", &image]).code, 20);
    assert_eq!(hallmark(keys.path(), &[], &["inspect", "--timeout", "5", &image]).code, 20);
}

#[test]
fn recorded_evidence_gives_the_same_verdict_without_a_registry() {
    let keys = keys();
    let (image, before) = {
        let registry = TestRegistry::start();
        let (image, _) = registry.push("team/app:1.4");
        sign(keys.path(), &["--format", "bundle", "--format", "simple-signing", &image]).done();
        hallmark(keys.path(), &[], &["evidence", "fetch", &image, "-d", "recorded"]).done();
        (image.clone(), verify(keys.path(), &["--key", "hallmark.pub", &image]).done().json())
    };
    let mut after = verify(keys.path(), &["--key", "hallmark.pub", "--evidence", "recorded", &image]).done().json();
    after["decidedAt"] = before["decidedAt"].clone();
    assert_eq!(after, before);
    let shown = hallmark(keys.path(), &[], &["evidence", "show", "recorded", "-o", "json"]).done().json();
    assert_eq!(shown["complete"], true);
    assert_eq!(shown["artifacts"].as_array().unwrap().len(), 2);

    let other = verify(keys.path(), &["--key", "hallmark.pub", "--evidence", "recorded", "r.example/other:1"]);
    assert_ne!(other.code, 0, "{}", other.stdout);
    let again = hallmark(keys.path(), &[], &["evidence", "fetch", &image, "-d", "recorded", "--timeout", "5"]);
    again.refused(1, "is not empty");
    let blob = fs::read_dir(keys.path().join("recorded/blobs/sha256")).unwrap().next().unwrap().unwrap().path();
    fs::write(blob, "altered").unwrap();
    verify(keys.path(), &["--key", "hallmark.pub", "--evidence", "recorded", &image]).refused(21, "altered");
}

#[test]
fn a_policy_decides_and_explains() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, _) = registry.push("prod/app:1.4");
    let policy = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: production}}\nspec:\n  authorities:\n    \
         - name: release-team\n      keys:\n        - publicKey: {{file: hallmark.pub}}\n  rules:\n    \
         - name: prod\n      images: [\"{}/prod/**\"]\n      require: release-team\n",
        registry.host
    );
    fs::write(keys.path().join("policy.yaml"), policy).unwrap();
    let checked = hallmark(keys.path(), &[], &["policy", "check", "policy.yaml", "-o", "json"]).done().json();
    assert_eq!(checked["policies"][0]["name"], "production");
    assert_eq!(checked["remarks"][0]["code"], "reference-any");
    assert_eq!(verify(keys.path(), &["--policy", "policy.yaml", &image]).code, 10);
    sign(keys.path(), &[&image]).done();
    let verdict = verify(keys.path(), &["--policy", "policy.yaml", &image]).done().json();
    assert_eq!(verdict["images"][0]["rule"], "production/prod");
    assert_eq!(verdict["images"][0]["proof"][0]["authority"], "release-team");

    let explained = hallmark(keys.path(), &[], &["policy", "explain", "--policy", "policy.yaml", &image]).done();
    for words in [
        "allow",
        "rule production/prod",
        "expected  signed by `release-team`",
        "`release-team` is any of",
        "key ",
        "counts",
        "referrers-api",
    ] {
        assert!(explained.stdout.contains(words), "{words}: {}", explained.stdout);
    }
    // No rule covers it: no request is made, so that nobody needs to be there.
    let uncovered = verify(keys.path(), &["--policy", "policy.yaml", "nobody.invalid/app:1"]);
    assert_eq!(uncovered.code, 14);
    assert_eq!(uncovered.json()["images"][0]["reasons"][0]["code"], "no-matching-rule");
    let explained = hallmark(keys.path(), &[], &["policy", "explain", "--policy", "policy.yaml", "nobody.invalid/app"]);
    assert_eq!(explained.code, 14);
}

#[test]
fn a_policy_that_does_not_load_is_shown_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bad.yaml"), "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nsped: {}\n")
        .unwrap();
    let checked = hallmark(directory.path(), &[], &["policy", "check", "bad.yaml"]);
    checked.refused(21, "bad.yaml:");
    let checked = hallmark(directory.path(), &[], &["policy", "check", "bad.yaml", "-o", "json"]);
    assert_eq!(checked.code, 21);
    let report = checked.json();
    assert_eq!(report["valid"], false);
    assert!(report["errors"][0]["line"].as_u64().unwrap() > 0);
    hallmark(directory.path(), &[], &["verify", "--policy", "bad.yaml", "a.example/b"]).refused(21, "bad.yaml:");
    hallmark(directory.path(), &[], &["policy", "schema"]).done().json();
}

#[test]
fn inspect_shows_a_tree_and_what_a_key_makes_of_it() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, digest) = registry.push("team/app:1.4");
    sign(keys.path(), &[&image]).done();
    let shown = hallmark(keys.path(), &[], &["inspect", &image]).done();
    for words in
        [&digest, "referrers-api", "signature-tag", "nothing there", "sigstore-bundle", "nothing is verified yet"]
    {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }
    let judged = |key: &str| hallmark(keys.path(), &[], &["inspect", "--key", key, &image, "-o", "json"]).done().json();
    assert_eq!(judged("hallmark.pub")["artifacts"][0]["verified"][0]["authority"], "key");
    assert_eq!(judged("other.pub")["artifacts"][0]["rejected"][0]["code"], "untrusted-key");
}

#[test]
fn cosigns_own_form_is_printed_for_what_is_allowed() {
    let (registry, keys) = (TestRegistry::start(), keys());
    let (image, digest) = registry.push("team/app:1.4");
    let arguments = ["verify", "-o", "cosign", "--key", "hallmark.pub", image.as_str()];
    let refused = hallmark(keys.path(), &[], &arguments);
    refused.refused(10, "unsigned");
    sign(keys.path(), &["--format", "simple-signing", "-a", "commit=3f2a", &image]).done();
    let printed = hallmark(keys.path(), &[], &arguments).done().json();
    let expected = json!([{
        "critical": {
            "identity": {"docker-reference": image},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {"commit": "3f2a"},
    }]);
    assert_eq!(printed, expected);
}

#[test]
fn must_not_sign_with_a_key_that_lies_in_the_clear_or_is_public() {
    let directory = tempfile::tempdir().unwrap();
    for (name, message) in
        [("p256-pkcs8.pem", "the private key is not encrypted"), ("p256.pub", "this is a public key")]
    {
        let key = format!("{}/testdata/keys/{name}", env!("CARGO_MANIFEST_DIR"));
        hallmark(directory.path(), PASSPHRASE, &["sign", "--key", &key, "r.example/a:1"]).refused(21, message);
    }
}

#[test]
fn bad_input_ends_with_2_and_a_hint() {
    let keys = keys();
    for arguments in [
        &["verify", "--key", "hallmark.pub", "UPPER/Case"][..],
        &["verify", "--key", "hallmark.pub", "https://r.example/a"],
        &["verify", "r.example/a"],
        &["verify", "--key", "hallmark.pub", "--rekor-url", "https://x", "r.example/a"],
        &["verify", "--certificate-identity=x", "r.example/a"],
        &["sign", "--key", "hallmark.key", "--tlog-upload=false", "r.example/a"],
        &["sign", "--key", "hallmark.key", "-a", "novalue", "r.example/a"],
        &["sign", "--key", "hallmark.key", "--recursive", "--output-bundle", "b", "r.example/a"],
        &["sign", "--key", "hallmark.key", "--from-file", "no-such-list"],
        &["sign", "--key", "hallmark.key", "--output-bundle", "b", "r.example/a", "r.example/b"],
    ] {
        hallmark(keys.path(), PASSPHRASE, arguments).refused(2, "error: ");
    }
    let private = hallmark(keys.path(), &[], &["verify", "--key", "hallmark.key", "r.example/a"]);
    private.refused(21, "this is a private key");
}
