//! `hallmark key`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::run::hallmark;

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

fn testdata(name: &str) -> String {
    format!("{}/testdata/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_key_is_encrypted_and_shown_by_its_id_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let made = hallmark(directory.path(), PASSPHRASE, &["key", "generate", "-o", "json"]).done().json();
    assert_eq!(made["version"], "hallmark.dev/key/v1");
    assert_eq!(made["kind"], "ECDSA P-256");
    assert_eq!(made["files"], serde_json::json!({"private": "hallmark.key", "public": "hallmark.pub"}));
    let id = made["keyId"].as_str().unwrap();
    assert_eq!(id.len(), 64);

    let private = fs::read_to_string(directory.path().join("hallmark.key")).unwrap();
    assert!(private.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("hallmark.key"), mode("hallmark.pub")), (0o600, 0o644));
    assert_eq!(fs::read_to_string(directory.path().join("hallmark.pub")).unwrap(), made["publicKey"]);

    let by_variable = [("COSIGN_PASSWORD", "correct horse"), ("KEY", private.as_str())];
    for (variables, name) in [(PASSPHRASE, "hallmark.key"), (&[], "hallmark.pub"), (&by_variable, "env://KEY")] {
        let shown = hallmark(directory.path(), variables, &["key", "inspect", name]).done();
        assert!(shown.stdout.contains(id), "{}", shown.stdout);
        let shown = hallmark(directory.path(), variables, &["key", "inspect", name, "-o", "json"]).done();
        assert_eq!(shown.json()["keyId"], id);
    }
}

#[test]
fn the_text_can_be_pasted_into_a_policy() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(testdata("p256.pub"), directory.path().join("release.pub")).unwrap();
    let shown = hallmark(directory.path(), &[], &["key", "inspect", "release.pub"]).done();
    let id = hallmark(directory.path(), &[], &["key", "inspect", "release.pub", "-o", "json"]).json()["keyId"].clone();
    let expected = format!(
        "public ECDSA P-256 key\n  id       {}\n  public   release.pub\n\n\
         To trust it, name it under `spec` of a trust policy:\n\n  authorities:\n    - name: release-team\n      keys:\n        \
         - publicKey: {{file: release.pub}}\n",
        id.as_str().unwrap()
    );
    assert_eq!(shown.stdout, expected);
    assert_eq!(shown.stderr, "");
}

#[test]
fn imported_keys_keep_their_id_whatever_form_they_had() {
    let directory = tempfile::tempdir().unwrap();
    let import = |key: &str, prefix: &str| {
        let arguments = ["key", "import", "--key", key, "--output-key-prefix", prefix, "-o", "json"];
        hallmark(directory.path(), PASSPHRASE, &arguments).done().json()["keyId"].clone()
    };
    let id = import(&testdata("p256-pkcs8.pem"), "pkcs8");
    assert_eq!(import(&testdata("p256-sec1.pem"), "sec1"), id);
    assert_eq!(import("pkcs8.key", "again"), id);
}

#[test]
fn must_not_overwrite_a_key() {
    let directory = tempfile::tempdir().unwrap();
    for taken in ["hallmark.key", "hallmark.pub"] {
        fs::write(directory.path().join(taken), "mine").unwrap();
        let refused = hallmark(directory.path(), PASSPHRASE, &["key", "generate"]);
        refused.refused(21, &format!("error: `{taken}` is there already"));
        assert_eq!(names(directory.path()), [taken]);
        assert_eq!(fs::read_to_string(directory.path().join(taken)).unwrap(), "mine");
        fs::remove_file(directory.path().join(taken)).unwrap();
    }
}

#[test]
fn must_not_ask_or_make_a_key_without_a_terminal_or_a_passphrase() {
    let directory = tempfile::tempdir().unwrap();
    let refused = hallmark(directory.path(), &[], &["key", "generate"]);
    refused.refused(21, "a passphrase is needed, and there is no terminal");
    assert!(names(directory.path()).is_empty());
    // Set to nothing is set: somebody has said so, as with cosign.
    hallmark(directory.path(), &[("COSIGN_PASSWORD", "")], &["key", "generate"]).done();
}

#[test]
fn must_not_repeat_a_secret_in_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let plain = fs::read_to_string(testdata("p256-pkcs8.pem")).unwrap();
    hallmark(directory.path(), PASSPHRASE, &["key", "generate"]).done();
    let secret = plain.lines().nth(1).unwrap();
    let environment = format!("env://{secret}");
    for (variables, arguments, code) in [
        (vec![("HALLMARK_PASSWORD", "wrong hunter2")], vec!["key", "inspect", "hallmark.key"], 21),
        (vec![], vec!["key", "inspect", plain.as_str()], 2),
        (vec![], vec!["key", "inspect", environment.as_str()], 2),
        (vec![], vec!["key", "generate", "--password=hunter2"], 2),
        (vec![], vec!["key", "generate", "--passphrase", "hunter2"], 2),
        (vec![("KEY", "-----BEGIN PRIVATE KEY-----\nhunter2")], vec!["key", "inspect", "env://KEY"], 21),
    ] {
        let refused = hallmark(directory.path(), &variables, &arguments);
        refused.refused(code, "error: ");
        for leak in ["hunter2", secret] {
            assert!(!refused.stderr.contains(leak), "{}", refused.stderr);
        }
    }
}

#[test]
fn must_not_leave_a_core_dump() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // It waits for the other end of the pipe, and can be looked at meanwhile.
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(["key", "inspect"])
        .arg(&pipe)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let core_limit = || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", waiting.id())).unwrap_or_default();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default().to_owned();
        line.split_whitespace().skip(4).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let hardened = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        core_limit() == ["0", "0"]
    });
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    assert!(hardened);
}

#[test]
fn every_kind_of_key_is_made_and_imported_from_every_form() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, name) in [
        ("p256", "ECDSA P-256"),
        ("p384", "ECDSA P-384"),
        ("ed25519", "Ed25519"),
        ("rsa-3072", "RSA-3072"),
        ("rsa-4096", "RSA-4096"),
    ] {
        let arguments = ["key", "generate", "--type", kind, "--output-key-prefix", kind, "-o", "json"];
        let made = hallmark(directory.path(), PASSPHRASE, &arguments).done().json();
        assert_eq!(made["kind"], name);
        let public = format!("{kind}.pub");
        let shown = hallmark(directory.path(), &[], &["key", "inspect", &public, "-o", "json"]).done().json();
        assert_eq!((&shown["kind"], &shown["keyId"]), (&made["kind"], &made["keyId"]));
    }
    for (form, public) in
        [("p384-sec1.pem", "p384.pub"), ("ed25519-pkcs8.pem", "ed25519.pub"), ("rsa3072-pkcs1.pem", "rsa3072.pub")]
    {
        let arguments = ["key", "import", "--key", &testdata(form), "--output-key-prefix", form];
        hallmark(directory.path(), PASSPHRASE, &arguments).done();
        let written = fs::read_to_string(directory.path().join(format!("{form}.pub"))).unwrap();
        assert_eq!(written, fs::read_to_string(testdata(public)).unwrap(), "{form}");
        let private = format!("{form}.key");
        let shown = hallmark(directory.path(), PASSPHRASE, &["key", "inspect", &private, "-o", "json"]).done().json();
        assert_eq!(shown["publicKey"], written, "{form}");
    }
}

#[test]
fn an_encrypted_pkcs8_key_keeps_its_passphrase() {
    let directory = tempfile::tempdir().unwrap();
    for form in ["p256-pkcs8-encrypted.pem", "p256-pkcs8-scrypt.pem"] {
        let arguments = ["key", "import", "--key", &testdata(form), "--output-key-prefix", form];
        let wrong = hallmark(directory.path(), PASSPHRASE, &arguments);
        wrong.refused(21, "the passphrase does not open the key");
        assert!(!directory.path().join(format!("{form}.key")).exists());
        let passphrase = [("HALLMARK_PASSWORD", "test")];
        hallmark(directory.path(), &passphrase, &arguments).done();
        hallmark(directory.path(), &passphrase, &["key", "inspect", &format!("{form}.key")]).done();
        let written = fs::read_to_string(directory.path().join(format!("{form}.pub"))).unwrap();
        assert_eq!(written, fs::read_to_string(testdata("p256.pub")).unwrap());
    }
}

#[test]
fn must_not_import_what_cannot_sign() {
    let directory = tempfile::tempdir().unwrap();
    for (name, message) in [
        ("rsa-pkcs8.pem", "RSA-1024 keys do not sign here"),
        ("rsa2048-pkcs8.pem", "RSA-2048 keys do not sign here"),
        ("secp256k1-sec1.pem", "secp256k1 keys do not sign here"),
        ("p256-sec1-encrypted.pem", "an encrypted traditional OpenSSL key cannot be read"),
        ("p256-pkcs8-pbkdf2-greedy.pem", "more than 10000000 iterations"),
        ("p256-pkcs8-scrypt-greedy.pem", "the key file asks for scrypt with N 16384, r 8, p 16"),
        ("p256.pub", "this is a public key"),
        ("missing.pem", "there is no such file or directory"),
    ] {
        let refused = hallmark(directory.path(), PASSPHRASE, &["key", "import", "--key", &testdata(name)]);
        refused.refused(21, message);
    }
    assert!(names(directory.path()).is_empty());
}
