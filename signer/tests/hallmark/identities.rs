//! Images that cosign signed without a key, verified by the identity in the certificate; and the roots that this rests on.

use std::path::{Path, PathBuf};

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "https://ci.example/build";

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/testdata/peers").join(name)
}

/// A registry with what cosign 3.1.1 signed under a private instance, the image, and the instance's root.
fn world() -> (TestRegistry, String, String) {
    let registry = TestRegistry::start();
    registry.push_recorded("team/app", &recorded("cosign-3.1.1-keyless-rekor1-mock"));
    let image = format!("{}/team/app:v1", registry.host);
    (registry, image, recorded("k3.trusted_root.json").display().to_string())
}

fn verify(image: &str, more: &[&str]) -> Run {
    hallmark(Path::new("/"), &[], &[&["verify"], more, &[image]].concat())
}

fn who<'a>(root: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let who = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER, "--trusted-root", root];
    [&who[..], more].concat()
}

#[test]
fn what_cosign_signed_without_a_key_is_verified_by_its_identity() {
    let (_registry, image, root) = world();
    let run = verify(&image, &who(&root, &["--require-timestamps", "1", "-o", "json"])).done().json();
    let proof = &run["images"][0]["proof"][0];
    assert_eq!((&proof["identity"]["issuer"], &proof["identity"]["subject"]), (&ISSUER.into(), &SUBJECT.into()));
    assert_eq!(proof["loggedBy"].as_array().unwrap().len(), 1);
    assert_eq!(proof["identity"]["publishedBy"].as_array().unwrap().len(), 1);
    assert!(proof.get("keyId").is_none() && proof["signedAt"].is_string(), "{proof}");
    let text = verify(&image, &who(&root, &[])).done().stdout;
    assert!(text.contains(&format!("by {SUBJECT} of {ISSUER}")), "{text}");
    let expression = ["--certificate-identity-regexp", "https://ci\\.example/.*", "--certificate-oidc-issuer", ISSUER];
    verify(&image, &[&expression[..], &["--trusted-root", &root]].concat()).done();
}

#[test]
fn must_not_verify_by_somebody_else_or_another_root() {
    let (_registry, image, root) = world();
    let denied = |more: &[&str], code: &str| {
        let run = verify(&image, more);
        assert_eq!(run.code, 12, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(code), "{}", run.stdout);
    };
    let by = |subject: &'static str, issuer: &'static str| {
        ["--certificate-identity", subject, "--certificate-oidc-issuer", issuer]
    };
    denied(&[&by("https://ci.example/other", ISSUER)[..], &["--trusted-root", &root]].concat(), "identity-mismatch");
    denied(&[&by(SUBJECT, "https://ci.example")[..], &["--trusted-root", &root]].concat(), "identity-mismatch");
    denied(&by(SUBJECT, ISSUER), "certificate-untrusted");
    for instance in ["public-good", "staging", "github"] {
        denied(&[&by(SUBJECT, ISSUER)[..], &["--trusted-root", instance]].concat(), "certificate-untrusted");
    }
    denied(&who(&root, &["--certificate-claim", "buildTrigger=push"]), "identity-mismatch");
    denied(&who(&root, &["--certificate-github-workflow-ref", "refs/heads/main"]), "identity-mismatch");
    let key = recorded("cosign.pub").display().to_string();
    denied(&["--key", &key], "untrusted-key");
}

#[test]
fn must_not_take_half_of_an_identity_nor_one_that_anybody_could_have() {
    let root = recorded("k3.trusted_root.json").display().to_string();
    let image = "r.example/a";
    for (arguments, message) in [
        (&["--certificate-identity", SUBJECT][..], "who vouches"),
        (&["--certificate-oidc-issuer", ISSUER], "whom the certificate"),
        (&["--certificate-identity-regexp", ".*", "--certificate-oidc-issuer", ISSUER], "somebody else"),
        (&["--certificate-identity", SUBJECT, "--certificate-oidc-issuer-regexp", ".*"], "somebody else"),
        (&["--certificate-identity-regexp", "(", "--certificate-oidc-issuer", ISSUER], "not a regular expression"),
        (&who(&root, &["--certificate-claim", "color=red"]), "no claim `color`"),
        (&who(&root, &["--require-logs", "2"]), "can never be met"),
        (&who(&root, &["--require-logs", "0"]), "nobody is to say when"),
    ] {
        verify(image, arguments).refused(2, message);
    }
    // GitHub's own instance has no logs: a timestamp is asked for where nothing is said, and a log cannot be.
    let github = ["--trusted-root", "github"];
    let of_github = |more: &[&str]| {
        let who = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER];
        verify(image, &[&who[..], &github, more].concat())
    };
    of_github(&["--require-logs", "1"]).refused(2, "can never be met");
    of_github(&["--require-certificate-logs", "1"]).refused(2, "can never be met");
    of_github(&["--require-timestamps", "0"]).refused(2, "nobody is to say when");
    for both in [&["--key", "k.pub"][..], &["--policy", "p.yaml"]] {
        assert_eq!(verify(image, &who(&root, both)).code, 2);
    }
    verify(image, &who("no-such-root.json", &[])).refused(21, "cannot be used");
}

#[test]
fn inspect_says_whom_to_ask_for() {
    let (_registry, image, root) = world();
    let inspect = |more: &[&str]| hallmark(Path::new("/"), &[], &[&["inspect", &image], more].concat()).done();
    let text = inspect(&[]).stdout;
    assert!(
        text.contains(&format!("says {SUBJECT} of {ISSUER}")) && text.contains("nothing is verified yet"),
        "{text}"
    );
    let text = inspect(&who(&root, &[])).stdout;
    assert!(text.contains("verified") && text.contains(SUBJECT), "{text}");
}

#[test]
fn an_explanation_names_whom_the_rule_asks_for_and_who_must_vouch() {
    let (_registry, image, root) = world();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root, folder.path().join("private.json")).unwrap();
    let policy = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: p}}\nspec:\n  \
         trustRoots: [{{name: private, file: private.json}}]\n  authorities:\n    - name: ci\n      keyless:\n        \
         - {{issuer: \"{ISSUER}\", subject: \"{SUBJECT}\", claims: {{buildTrigger: push}}, trustRoot: private}}\n        \
         - {{issuer: \"{ISSUER}\", subject: \"https://ci.example/*\", trustRoot: private}}\n      \
         evidence: {{logs: 1, timestamps: 1, logProof: inclusion}}\n  \
         rules: [{{name: r, images: [\"{}\"], require: ci}}]\n",
        image.trim_end_matches(":v1")
    );
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let explain = |more: &[&str]| {
        let arguments = [&["policy", "explain", "--policy", "policy.yaml", &image], more].concat();
        hallmark(folder.path(), &[], &arguments).done()
    };
    let text = explain(&[]).stdout;
    for words in [
        "`ci` is any of".to_owned(),
        format!("{SUBJECT} of {ISSUER}, buildTrigger: push (trust root `private`)"),
        format!("https://ci.example/* of {ISSUER} (trust root `private`)"),
        "each vouched for by 1 log with a proof of inclusion, 1 timestamp authority, 1 certificate log".to_owned(),
    ] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    let report = explain(&["-o", "json"]).json();
    let authority = &report["rules"][0]["authorities"][0];
    let identity = &authority["identities"][0];
    assert_eq!((&identity["issuer"], &identity["subject"]), (&ISSUER.into(), &SUBJECT.into()));
    assert_eq!((&identity["subjectKind"], &identity["claims"]["buildTrigger"]), (&"uri".into(), &"push".into()));
    assert_eq!(identity["trustRoot"], "private");
    assert_eq!((&authority["evidence"]["logs"], &authority["evidence"]["timestamps"]), (&1.into(), &1.into()));
    assert_eq!((&authority["name"], authority.get("keys")), (&"ci".into(), None));
}

#[test]
fn a_trust_root_is_shown_and_checked_without_a_request() {
    let run = |arguments: &[&str]| hallmark(Path::new("/"), &[], &[&["trust-root"], arguments].concat());
    let shown = run(&["show", "-o", "json"]).done().json();
    let kinds: Vec<_> =
        shown["members"].as_array().unwrap().iter().map(|member| member["kind"].as_str().unwrap()).collect();
    for kind in ["certificate-authority", "certificate-log", "log", "timestamp-authority"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(run(&["show"]).done().stdout.contains("rekor.sigstore.dev"));
    assert!(run(&["check"]).done().stdout.contains("what is signed today can verify under it"));
    assert!(run(&["check", "--staging"]).done().stdout.contains("staging"));
    let github = run(&["show", "github"]).done().stdout;
    assert!(github.contains("github (built in)") && github.contains("timestamp.githubapp.com"), "{github}");
    assert!(run(&["check", "github"]).stdout.contains("trust root github (built in)"));
    assert_eq!(run(&["show", "public-good"]).done().stdout, run(&["show"]).done().stdout);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ended.json");
    let root = std::fs::read_to_string(recorded("k3.trusted_root.json")).unwrap();
    let mut root: serde_json::Value = serde_json::from_str(&root).unwrap();
    for authority in root["certificateAuthorities"].as_array_mut().unwrap() {
        let start = authority["validFor"]["start"].clone();
        authority["validFor"]["end"] = start;
    }
    std::fs::write(&file, root.to_string()).unwrap();
    let ended = run(&["check", &file.display().to_string()]);
    assert_eq!(ended.code, 21, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("none-current") && ended.stdout.contains("cannot verify"), "{}", ended.stdout);
    run(&["show", "/nowhere.json"]).refused(21, "cannot be used");
}
