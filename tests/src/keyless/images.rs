//! Images in a registry: signed keyless, or with keys whose signatures are logged.

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::hostile::Logged;
use crate::harness::peers::{Answer, Peer, peer};
use crate::harness::programs::run_hallmark;
use crate::harness::registry::TestRegistry;
use crate::harness::sigstore::{ISSUER, Log, SUBJECT, Sigstore, token_file};

pub(super) const CERTIFICATES: &str = "/api/v2/signingCert";

/// A folder, a registry with an image, and an instance.
pub(super) struct Yard {
    pub(super) folder: TempDir,
    pub(super) registry: TestRegistry,
    pub(super) sigstore: Sigstore,
}

impl Yard {
    pub(super) fn new() -> Option<Self> {
        let sigstore = Sigstore::start()?;
        Some(Self { folder: TempDir::new().unwrap(), registry: TestRegistry::healthy(), sigstore })
    }

    pub(super) fn image(&self, name: &str) -> String {
        self.registry.push_image(name, "v1", name.as_bytes());
        format!("{}/{name}:v1", self.registry.host())
    }

    pub(super) fn hallmark(&self, arguments: &[&str]) -> Answer {
        run_hallmark(self.folder.path(), arguments)
    }

    /// How often something was written to the registry.
    fn puts(&self) -> usize {
        let puts = |request: &&Logged| request.method == "PUT";
        self.registry.requests().iter().filter(puts).count()
    }

    /// `sign` with the instance.
    fn sign(&self, log: Log, more: &[&str]) -> Answer {
        let (root, config) = (self.sigstore.trusted_root(), self.sigstore.signing_config(log));
        let instance = ["sign", "-o", "json", "--trusted-root", &root, "--signing-config", &config];
        self.hallmark(&[&instance[..], more].concat())
    }

    fn sign_keyless(&self, log: Log, more: &[&str]) -> Answer {
        let token = token_file(self.folder.path());
        self.sign(log, &[&["--identity-token", &token], more].concat())
    }

    /// cosign's `verify` with the instance's trusted root, and log entries demanded.
    fn cosign(&self, cosign: &Peer, who: &[&str], image: &str) -> Answer {
        let root = self.sigstore.trusted_root();
        let flags = ["--new-bundle-format=true", "--use-signed-timestamps", "--trusted-root", &root];
        let arguments = [&["verify"], who, &flags, &[image]].concat();
        cosign.answer(cosign.command().args(arguments).current_dir(self.folder.path()))
    }
}

/// The first signature in a report.
pub(super) fn signature(answer: Answer) -> Value {
    let report: Value = serde_json::from_str(&answer.expect_success()).unwrap();
    report["images"][0]["signatures"][0].clone()
}

pub(super) const WHO: [&str; 4] = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER];

#[test]
fn images_that_we_sign_keyless_cosign_verifies_for_us_and_nobody_else_and_once_is_enough() {
    let (Some(yard), Some(cosign)) = (Yard::new(), peer("cosign-3")) else { return };
    for log in Log::BOTH {
        let image = yard.image(&format!("keyless/{}", if log == Log::One { "one" } else { "two" }));
        assert!(!yard.cosign(&cosign, &WHO, &image).succeeded());
        let signed = signature(yard.sign_keyless(log, &[&image, "-a", "commit=3f2a"]));
        assert_eq!((&signed["status"], &signed["identity"]["subject"]), (&"attached".into(), &SUBJECT.into()));
        assert_eq!(signed["identity"]["issuer"], ISSUER);
        yard.cosign(&cosign, &WHO, &image).expect_success();
        yard.cosign(&cosign, &[&WHO[..], &["-a", "commit=3f2a"]].concat(), &image).expect_success();
        let other = ["--certificate-identity", "https://ci.example/other", "--certificate-oidc-issuer", ISSUER];
        assert!(!yard.cosign(&cosign, &other, &image).succeeded());
        // Whoever has signed it signs it no second time, unless something else is to be said.
        let entries = yard.sigstore.asked(log.path());
        let again = signature(yard.sign_keyless(log, &[&image, "-a", "commit=3f2a"]));
        assert_eq!((&again["status"], &again["artifact"]), (&"already-signed".into(), &signed["artifact"]));
        assert_eq!(yard.sigstore.asked(log.path()), entries);
        let anew = signature(yard.sign_keyless(log, &[&image, "-a", "commit=77aa"]));
        assert_eq!(anew["status"], "attached");
    }
}

#[test]
fn ours_stands_beside_what_cosign_signs_keyless_and_both_count() {
    let (Some(yard), Some(cosign)) = (Yard::new(), peer("cosign-3")) else { return };
    let image = yard.image("theirs/app");
    let (root, config) = (yard.sigstore.trusted_root(), yard.sigstore.signing_config(Log::One));
    let token = crate::harness::sigstore::token();
    let flags = ["--signing-config", &config, "--trusted-root", &root, "--identity-token", &token, "-y", &image];
    cosign.answer(cosign.command().arg("sign").args(flags).current_dir(yard.folder.path())).expect_success();
    yard.cosign(&cosign, &WHO, &image).expect_success();
    // Theirs carries no image name, and ours does: so ours is another one, and both count.
    let signed = signature(yard.sign_keyless(Log::One, &[&image]));
    assert_eq!(signed["status"], "attached");
    yard.cosign(&cosign, &WHO, &image).expect_success();
}

#[test]
fn one_certificate_signs_all_images_of_a_run() {
    let Some(yard) = Yard::new() else { return };
    let images: Vec<String> = (0..6).map(|number| yard.image(&format!("many/app-{number}"))).collect();
    std::fs::write(yard.folder.path().join("images.txt"), images.join("\n")).unwrap();
    let report: Value =
        serde_json::from_str(&yard.sign_keyless(Log::One, &["--from-file", "images.txt"]).expect_success()).unwrap();
    assert_eq!((&report["summary"]["attached"], &report["complete"]), (&6.into(), &true.into()));
    assert_eq!((yard.sigstore.asked(CERTIFICATES), yard.sigstore.asked(Log::One.path())), (1, 6));
    // A run that is started again goes on where it stopped.
    let seventh = yard.image("many/app-6");
    std::fs::write(yard.folder.path().join("images.txt"), [images, vec![seventh]].concat().join("\n")).unwrap();
    let report: Value =
        serde_json::from_str(&yard.sign_keyless(Log::One, &["--from-file", "images.txt"]).expect_success()).unwrap();
    assert_eq!((&report["summary"]["attached"], &report["summary"]["alreadySigned"]), (&1.into(), &6.into()));
    assert_eq!(yard.sigstore.asked(Log::One.path()), 7);
}

#[test]
fn signatures_of_keys_are_logged_and_timestamped_where_services_are_named() {
    let (Some(yard), Some(cosign)) = (Yard::new(), peer("cosign-3")) else { return };
    yard.hallmark(&["key", "generate", "--output-key-prefix", "release"]).expect_success();
    let key = ["--key", "release.pub"];
    for log in Log::BOTH {
        let image = yard.image(&format!("keys/{}", if log == Log::One { "one" } else { "two" }));
        yard.hallmark(&["sign", "--key", "release.key", &image]).expect_success();
        // What no log holds is not enough for cosign, and is not what is asked for here.
        assert!(!yard.cosign(&cosign, &key, &image).succeeded());
        let signed = signature(yard.sign(log, &["--key", "release.key", &image]));
        assert_eq!((&signed["status"], &signed["identity"]), (&"attached".into(), &Value::Null));
        yard.cosign(&cosign, &key, &image).expect_success();
        yard.hallmark(&["verify", "--key", "release.pub", &image]).expect_success();
        // What is there is written to a file, too, and an authority that is named twice is one.
        let stamps = format!("{}/api/v1/timestamp", yard.sigstore.url);
        let twice = ["--timestamp-url", &stamps, "--timestamp-url", &stamps, "--output-bundle", "known.json"];
        let again = signature(yard.sign(log, &[&["--key", "release.key", &image], &twice[..]].concat()));
        assert!(yard.folder.path().join("known.json").is_file());
        assert_eq!((&again["status"], &again["artifact"]), (&"already-signed".into(), &signed["artifact"]));
    }
    assert_eq!(yard.sigstore.asked(CERTIFICATES), 0);
}

#[test]
fn must_not_attach_what_its_own_trusted_root_does_not_verify() {
    let (Some(yard), Some(other)) = (Yard::new(), Sigstore::start()) else { return };
    let image = yard.image("strange/app");
    let (root, config) = (other.trusted_root(), yard.sigstore.signing_config(Log::One));
    let token = token_file(yard.folder.path());
    let before = yard.puts();
    let instance = ["sign", "--trusted-root", &root, "--signing-config", &config, "--identity-token", &token, &image];
    let refused = yard.hallmark(&instance);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("does not verify"), "{refused:?}");
    assert_eq!(yard.puts(), before);
    // Nothing is asked of anybody for a look at what would be signed.
    let asked = yard.sigstore.asked(CERTIFICATES);
    let shown = signature(yard.sign_keyless(Log::One, &["--dry-run", &image]));
    assert_eq!(shown["status"], "would-attach");
    assert_eq!(shown["payload"]["predicateType"], "https://sigstore.dev/cosign/sign/v1");
    assert_eq!((yard.sigstore.asked(CERTIFICATES), yard.puts()), (asked, before));
}

#[test]
fn must_not_sign_for_nobody_nor_for_two() {
    let Some(yard) = Yard::new() else { return };
    let image = yard.image("nobody/app");
    for (flags, message) in [
        (&[][..], "nothing says who you are"),
        (&["--identity-token", "x", "--format", "simple-signing"], "only bundles hold what services say"),
        (&["--identity-token", "x", "--key", "release.key"], "both a key and an identity"),
        (
            &["--oidc-provider", "google", "--rekor-url", "https://rekor.example.com", "--key", "release.key"],
            "both a key and an identity",
        ),
        (&["--rekor-url", "http://rekor.example.com", "--key", "release.key"], "is not https"),
    ] {
        let refused = yard.hallmark(&[&["sign", &image], flags].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(message) && refused.stderr.contains("hint: "), "{refused:?}");
    }
}

#[test]
fn must_not_sign_with_a_key_where_nobody_would_see_it() {
    let Some(yard) = Yard::new() else { return };
    let image = yard.image("unseen/app");
    yard.hallmark(&["key", "generate", "--output-key-prefix", "release"]).expect_success();
    std::fs::write(yard.folder.path().join("app"), "an artifact").unwrap();
    let without = |lists: &[&str]| {
        yard.sigstore.changed(&yard.sigstore.signing_config(Log::One), |config| {
            for list in lists {
                config[format!("{list}Urls")] = serde_json::json!([]);
                config[format!("{list}Config")] = serde_json::json!({});
            }
        })
    };
    let root = yard.sigstore.trusted_root();
    let sign = |config: &str, what: &[&str]| {
        let instance = ["--key", "release.key", "--trusted-root", &root, "--signing-config", config];
        yard.hallmark(&[what, &instance[..]].concat())
    };
    let (file, before) = (["sign-bundle", "--bundle", "app.json", "app"], yard.puts());
    for what in [&["sign", &image][..], &file] {
        let refused = sign(&without(&["rekorTlog", "tsa"]), what);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("neither log nor timestamp what a key signs"), "{refused:?}");
        assert!(refused.stderr.contains("hint: name a log with `--rekor-url`"), "{refused:?}");
    }
    assert!(!yard.folder.path().join("app.json").exists());
    assert_eq!(yard.puts(), before);
    // One of the two is somebody.
    for list in ["rekorTlog", "tsa"] {
        sign(&without(&[list]), &["sign", &image, "-a", &format!("without={list}")]).expect_success();
    }
}

#[test]
fn what_is_signed_while_the_log_is_down_is_completed_when_it_is_back() {
    let (Some(yard), Some(cosign)) = (Yard::new(), peer("cosign-3")) else { return };
    yard.hallmark(&["key", "generate", "--output-key-prefix", "release"]).expect_success();
    let root = yard.sigstore.trusted_root();
    for (log, name) in [(Log::One, "one"), (Log::Two, "two")] {
        let image = yard.image(&format!("later/{name}"));
        let config = yard.sigstore.signing_config(log);
        let complete = |more: &[&str]| {
            let instance = ["complete", "-o", "json", "--trusted-root", &root, "--signing-config", &config];
            let patience = ["--sigstore-timeout", "0", &image];
            let answer = yard.hallmark(&[&instance[..], &patience, more].concat());
            let report: Value =
                serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
            (answer.code, report["images"][0]["signatures"].clone())
        };
        yard.sigstore.break_down(log.path(), 503, 5);
        let impatient = ["--sigstore-timeout", "0", &image];
        // Only who asks for it gets a signature without an entry.
        assert_eq!(yard.sign_keyless(log, &impatient).code, Some(1));
        let later = [&impatient[..], &["--log-later"]].concat();
        let signed = signature(yard.sign_keyless(log, &later));
        assert_eq!(signed["status"], "attached");
        assert!(signed["hint"].as_str().unwrap().contains("hallmark complete"), "{signed}");
        signature(yard.sign(log, &[&later[..], &["--key", "release.key"]].concat()));
        assert!(!yard.cosign(&cosign, &WHO, &image).succeeded());
        // It is still down; then it is back.
        let (code, left) = complete(&[]);
        assert_eq!((code, &left[0]["status"]), (Some(1), &"left".into()), "{left}");
        yard.sigstore.break_down(log.path(), 503, 0);
        // Who asks with another instance's trusted root is not told that nothing waits.
        let elsewhere = ["complete", "--trusted-root", "public-good", "--signing-config", &config, &image];
        let answer = yard.hallmark(&elsewhere);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(answer.stderr.contains("1 without a log entry by certificates that the trusted root"), "{answer:?}");
        // Nobody else's is entered for whom is named.
        let other = ["--certificate-identity", "https://ci.example/other", "--certificate-oidc-issuer", ISSUER];
        assert_eq!(complete(&other), (Some(0), serde_json::json!([])));
        let (code, done) = complete(&WHO);
        assert_eq!((code, &done[0]["status"]), (Some(0), &"attached".into()), "{done}");
        assert_eq!((done.as_array().unwrap().len(), &done[0]["identity"]["subject"]), (1, &SUBJECT.into()));
        yard.cosign(&cosign, &WHO, &image).expect_success();
        assert_eq!(complete(&[]), (Some(0), serde_json::json!([])));
        let answer = yard.hallmark(&elsewhere);
        assert!(!answer.stderr.contains("without a log entry"), "{answer:?}");
        // Signatures of keys wait for themselves.
        assert!(!yard.cosign(&cosign, &["--key", "release.pub"], &image).succeeded());
        let (code, done) = complete(&["--key", "release.pub"]);
        assert_eq!((code, &done[0]["status"]), (Some(0), &"attached".into()), "{done}");
        yard.cosign(&cosign, &["--key", "release.pub"], &image).expect_success();
        assert_eq!(complete(&["--key", "release.pub"]), (Some(0), serde_json::json!([])));
    }
}

#[test]
fn must_not_sign_without_an_entry_and_without_a_timestamp() {
    let Some(yard) = Yard::new() else { return };
    let image = yard.image("never/app");
    let token = token_file(yard.folder.path());
    let (root, url) = (yard.sigstore.trusted_root(), yard.sigstore.url.clone());
    let services = ["--trusted-root", &root, "--fulcio-url", &url, "--rekor-url", &url, "--identity-token", &token];
    let refused = yard.hallmark(&[&["sign", "--log-later"], &services[..], &[&image]].concat());
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("needs a timestamp authority"), "{refused:?}");
    // Without a log that could be down, the flag means nothing.
    let refused = yard.hallmark(&["sign", "--log-later", "--key", "release.key", &image]);
    assert!(refused.stderr.contains("there is no log that could be down"), "{refused:?}");
    // The same services one by one, with the log up.
    yard.hallmark(&[&["sign"], &services[..], &[&image]].concat()).expect_success();
}
