//! `verify-bundle`, as sigstore-conformance calls it.

use std::path::Path;

use crate::run::{Run, hallmark};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const IDENTITY: &str =
    "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19";
const DIGEST: &str = "sha256:";

fn data() -> String {
    format!("{}/../policy/testdata/sigstore", env!("CARGO_MANIFEST_DIR"))
}

fn bundle(name: &str) -> String {
    format!("{}/bundles/{name}", data())
}

/// The SHA-256 that the index says for a bundle.
fn digest(name: &str) -> String {
    let index = std::fs::read_to_string(format!("{}/index.json", data())).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let case = index.as_array().unwrap().iter().find(|case| case["bundle"] == name).unwrap();
    format!("{DIGEST}{}", case["digest"]["sha256"].as_str().unwrap())
}

fn verify(name: &str, more: &[&str], artifact: &str) -> Run {
    let file = bundle(name);
    let arguments = [&["verify-bundle", "--bundle", &file], more, &[artifact]].concat();
    hallmark(Path::new("/"), &[], &arguments)
}

const SLSA: &str = "pypi_attestations-0.0.19.tar.gz.publish.sigstore.json";

#[test]
fn a_public_bundle_verifies_for_its_identity_without_a_request() {
    let who = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];
    let run = verify(SLSA, &who, &digest(SLSA)).done();
    assert!(run.stdout.contains(IDENTITY) && run.stdout.contains("rekor.sigstore.dev"), "{}", run.stdout);
    let run = verify(SLSA, &[&who[..], &["-o", "json"]].concat(), &digest(SLSA)).done().json();
    assert_eq!(run["identity"]["issuer"], ISSUER);
    assert_eq!(run["identity"]["claims"]["sourceRepositoryRef"], "refs/tags/v0.0.19");
    let root = format!("{}/../policy/data/trusted_root.production.json", env!("CARGO_MANIFEST_DIR"));
    verify(SLSA, &[&who[..], &["--trusted-root", &root]].concat(), &digest(SLSA)).done();
}

#[test]
fn must_not_verify_for_somebody_else_or_something_else() {
    let who = |identity, issuer| ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer];
    let digest = digest(SLSA);
    verify(SLSA, &who("me@example.com", ISSUER), &digest).refused(12, "identity-mismatch");
    verify(SLSA, &who(IDENTITY, "https://example.com"), &digest).refused(12, "identity-mismatch");
    let other = format!("{DIGEST}{}", "0".repeat(64));
    verify(SLSA, &who(IDENTITY, ISSUER), &other).refused(12, "digest-mismatch");
    let staging = [&who(IDENTITY, ISSUER)[..], &["--staging"]].concat();
    verify(SLSA, &staging, &digest).refused(12, "log-entry-missing");
    verify(SLSA, &who(IDENTITY, ISSUER), "no such file").refused(21, "cannot be read");
    verify("no such bundle", &who(IDENTITY, ISSUER), &digest).refused(21, "cannot be read");
    verify(SLSA, &[], &digest).refused(2, "nothing says who must have signed");
    let key = bundle("npm-publish-key.pem");
    verify(SLSA, &["--key", &key], &digest).refused(12, "untrusted-key");
}

/// What a workflow attested in a private repository, by the instance that GitHub runs for that.
#[test]
fn what_githubs_own_instance_signed_verifies_by_its_name() {
    let file = format!("{}/github/provenance.sigstore.json", data());
    let image = "sha256:d57f9212097b86c8d75158ea1d974721e7c6f8c33bd77838b242c8f6a2d21813";
    let subject =
        "https://github.com/github/artifact-attestations-opa-provider/.github/workflows/docker.yaml@refs/pull/31/merge";
    let verify = |directory: &Path, root: &[&str], subject: &str| {
        let who = ["--certificate-identity", subject, "--certificate-oidc-issuer", ISSUER];
        hallmark(directory, &[], &[&["verify-bundle", "--bundle", &file], &who[..], root, &[image]].concat())
    };
    let (nowhere, named) = (Path::new("/"), ["--trusted-root", "github"]);
    let run = verify(nowhere, &named, subject).done();
    assert!(run.stdout.contains("timestamp.githubapp.com"), "{}", run.stdout);
    verify(nowhere, &named, "https://github.com/acme/app").refused(12, "identity-mismatch");
    for other in [&["--trusted-root", "public-good"][..], &["--staging"], &[]] {
        verify(nowhere, other, subject).refused(12, "log-entry-missing");
    }
    verify(nowhere, &["--trusted-root", "gitlab"], subject).refused(21, "cannot be used");
    // Its own file is held to what files are held to; and which of two things is meant is never guessed.
    let folder = tempfile::tempdir().unwrap();
    let root = format!("{}/../policy/data/trusted_root.github.json", env!("CARGO_MANIFEST_DIR"));
    verify(folder.path(), &["--trusted-root", &root], subject).refused(12, "log-entry-missing");
    std::fs::copy(root, folder.path().join("github")).unwrap();
    verify(folder.path(), &named, subject).refused(2, "is the name of an instance and of a file");
    verify(folder.path(), &["--trusted-root", "./github"], subject).refused(12, "log-entry-missing");
}

#[test]
fn must_not_take_a_key_and_an_identity_at_once() {
    let key = bundle("npm-publish-key.pem");
    let both = ["--key", &key, "--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];
    assert_eq!(verify(SLSA, &both, &digest(SLSA)).code, 2);
    assert_eq!(verify(SLSA, &["--certificate-identity", IDENTITY], &digest(SLSA)).code, 2);
}
