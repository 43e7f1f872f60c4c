//! Attestations of images: made keyless, or with keys whose signatures are logged, by us and by both cosigns.

use serde_json::Value;

use super::images::{CERTIFICATES, WHO, Yard, signature};
use crate::harness::peers::{Answer, Peer, peer};
use crate::harness::sigstore::{ISSUER, Log, SUBJECT, Sigstore, token, token_file};

const PREDICATE: &str = r#"{"buildDefinition":{"buildType":"https://b.example/t","externalParameters":{"n":1.50}},"runDetails":{"builder":{"id":"https://b.example/b"}}}"#;
const TYPE: &str = "slsaprovenance1";
const NOBODY: [&str; 4] = ["--certificate-identity", "https://ci.example/other", "--certificate-oidc-issuer", ISSUER];

impl Yard {
    fn with_predicate() -> Option<Self> {
        let yard = Self::new()?;
        std::fs::write(yard.folder.path().join("predicate.json"), PREDICATE).unwrap();
        Some(yard)
    }

    /// `attest` with the instance: keyless, unless a key is named.
    fn attest(&self, log: Log, more: &[&str]) -> Answer {
        let (root, config) = (self.sigstore.trusted_root(), self.sigstore.signing_config(log));
        let token = token_file(self.folder.path());
        let instance = ["attest", "-o", "json", "--trusted-root", &root, "--signing-config", &config];
        let who = if more.contains(&"--key") { &[][..] } else { &["--identity-token", &token] };
        self.hallmark(&[&instance, who, more].concat())
    }

    /// `attest --predicate` with the instance.
    fn attest_predicate(&self, log: Log, more: &[&str]) -> Answer {
        self.attest(log, &[&["--type", TYPE, "--predicate", "predicate.json"], more].concat())
    }

    /// What `verify-attestation` finds by the instance's trusted root, with its exit code.
    #[track_caller]
    fn found(&self, who: &[&str], more: &[&str], image: &str) -> (Option<i32>, Value) {
        let root = self.sigstore.trusted_root();
        let verify = ["verify-attestation", "-o", "json", "--type", TYPE, "--trusted-root", &root];
        let answer = self.hallmark(&[&verify, who, more, &[image]].concat());
        let report: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        (answer.code, report["images"][0].clone())
    }

    /// That there is none, why, and why what there is does not count.
    #[track_caller]
    fn check_none(&self, who: &[&str], more: &[&str], image: &str, rejected: &str) {
        let (code, report) = self.found(who, more, image);
        assert_eq!((code, &report["reasons"][0]["code"]), (Some(12), &"attestation-missing".into()), "{report}");
        assert_eq!(report["rejected"][0]["code"], rejected, "{report}");
    }

    fn cosign_verifies(&self, cosign: &Peer, who: &[&str], kind: &str, image: &str) -> Answer {
        let root = self.sigstore.trusted_root();
        let flags = ["--new-bundle-format=true", "--use-signed-timestamps", "--trusted-root", &root, "--type", kind];
        let arguments = [&["verify-attestation"], who, &flags, &[image]].concat();
        cosign.answer(cosign.command().args(arguments).current_dir(self.folder.path()))
    }
}

#[test]
fn what_we_attest_keyless_cosign_and_we_verify_for_us_and_nobody_else_and_once_is_enough() {
    let (Some(yard), Some(cosign)) = (Yard::with_predicate(), peer("cosign-3")) else { return };
    for (log, name) in [(Log::One, "one"), (Log::Two, "two")] {
        let image = yard.image(&format!("attested/{name}"));
        let (code, nothing) = yard.found(&WHO, &[], &image);
        assert_eq!((code, &nothing["rejected"]), (Some(12), &serde_json::json!([])), "{nothing}");
        let made = signature(yard.attest_predicate(log, &[&image]));
        assert_eq!((&made["status"], &made["identity"]["subject"]), (&"attached".into(), &SUBJECT.into()));
        yard.cosign_verifies(&cosign, &WHO, TYPE, &image).expect_success();
        assert!(!yard.cosign_verifies(&cosign, &NOBODY, TYPE, &image).succeeded());
        assert!(!yard.cosign_verifies(&cosign, &WHO, "spdx", &image).succeeded());
        let (code, report) = yard.found(&WHO, &["--require-timestamps", "1"], &image);
        let [found] = report["attestations"].as_array().unwrap().as_slice() else { panic!("{report}") };
        assert_eq!((code, &found["artifact"], &found["keyId"]), (Some(0), &made["artifact"], &Value::Null));
        assert_eq!((&found["identity"]["subject"], &found["identity"]["issuer"]), (&SUBJECT.into(), &ISSUER.into()));
        assert_eq!(found["identity"]["publishedBy"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["loggedBy"].as_array().unwrap().len(), 1, "{found}");
        assert!(found["signedAt"].is_string() && !found["timestampedBy"].as_array().unwrap().is_empty(), "{found}");
        assert_eq!(found["statement"]["predicate"]["runDetails"]["builder"]["id"], "https://b.example/b");
        yard.check_none(&NOBODY, &[], &image, "identity-mismatch");
        // An attestation is no signature, whoever made it.
        let root = yard.sigstore.trusted_root();
        let refused = yard.hallmark(&[&["verify", "--trusted-root", &root], &WHO[..], &[&image]].concat());
        assert_eq!(refused.code, Some(12), "{refused:?}");
        // Whoever has attested it attests it no second time, and a dry run asks nobody.
        let asked = (yard.sigstore.asked(log.path()), yard.sigstore.asked(CERTIFICATES));
        let again = signature(yard.attest_predicate(log, &[&image]));
        assert_eq!((&again["status"], &again["artifact"]), (&"already-signed".into(), &made["artifact"]));
        let shown = signature(yard.attest_predicate(log, &[&image, "--dry-run"]));
        assert_eq!(shown["payload"]["predicateType"], "https://slsa.dev/provenance/v1", "{shown}");
        assert_eq!((yard.sigstore.asked(log.path()), yard.sigstore.asked(CERTIFICATES)), (asked.0, asked.1 + 1));
    }
}

#[test]
fn what_a_key_attests_is_logged_where_services_are_named_and_a_key_or_an_identity_suffices() {
    let (Some(yard), Some(cosign)) = (Yard::with_predicate(), peer("cosign-3")) else { return };
    for name in ["release", "other"] {
        yard.hallmark(&["key", "generate", "--output-key-prefix", name]).expect_success();
    }
    let image = yard.image("attested/logged");
    let key = ["--key", "release.pub"];
    let plain = ["attest", "--key", "release.key", "--type", TYPE, "--predicate", "predicate.json", &image];
    yard.hallmark(&plain).expect_success();
    assert!(!yard.cosign_verifies(&cosign, &key, TYPE, &image).succeeded(), "no log holds it");
    let made = signature(yard.attest_predicate(Log::One, &["--key", "release.key", &image]));
    assert_eq!((&made["status"], &made["identity"]), (&"attached".into(), &Value::Null));
    yard.cosign_verifies(&cosign, &key, TYPE, &image).expect_success();
    let again = signature(yard.attest_predicate(Log::One, &["--key", "release.key", &image]));
    assert_eq!((&again["status"], &again["artifact"]), (&"already-signed".into(), &made["artifact"]));
    // Beside an identity, a key speaks for itself; either suffices, and neither for the other.
    let by = |keys: &[&str], who: &[&str]| {
        let (code, report) = yard.found(&[keys, who].concat(), &[], &image);
        (code, report["attestations"].as_array().unwrap().len())
    };
    assert_eq!(by(&key, &NOBODY), (Some(0), 2));
    assert_eq!(by(&["--key", "other.pub"], &WHO), (Some(12), 0));
    signature(yard.attest_predicate(Log::Two, &[&image]));
    assert_eq!(by(&["--key", "other.pub"], &WHO), (Some(0), 1));
    assert_eq!(by(&key, &WHO), (Some(0), 3));
    let nobody = yard.hallmark(&["verify-attestation", "--type", TYPE, &image]);
    assert!(nobody.code == Some(2) && nobody.stderr.contains("nothing says whose attestations count"), "{nobody:?}");
}

#[test]
fn what_is_attested_while_the_log_is_down_is_completed_when_it_is_back() {
    let (Some(yard), Some(cosign)) = (Yard::with_predicate(), peer("cosign-3")) else { return };
    let image = yard.image("attested/later");
    yard.sigstore.break_down(Log::One.path(), 503, 1000);
    let impatient = ["--sigstore-timeout", "0", &image];
    assert_eq!(yard.attest_predicate(Log::One, &impatient).code, Some(1));
    let made = signature(yard.attest_predicate(Log::One, &[&impatient[..], &["--log-later"]].concat()));
    assert_eq!(made["status"], "attached");
    yard.check_none(&WHO, &[], &image, "log-entry-missing");
    yard.sigstore.break_down(Log::One.path(), 503, 0);
    let (root, config) = (yard.sigstore.trusted_root(), yard.sigstore.signing_config(Log::One));
    let complete = ["complete", "-o", "json", "--trusted-root", &root, "--signing-config", &config, &image];
    assert_eq!(signature(yard.hallmark(&complete))["status"], "attached");
    assert_eq!(yard.found(&WHO, &[], &image).0, Some(0));
    yard.cosign_verifies(&cosign, &WHO, TYPE, &image).expect_success();
}

#[test]
fn what_cosign_attests_keyless_we_verify_for_whom_it_is_by_and_under_no_other_root() {
    let (Some(yard), Some(cosign)) = (Yard::with_predicate(), peer("cosign-3")) else { return };
    let Some(other) = Sigstore::start() else { return };
    let (root, other) = (yard.sigstore.trusted_root(), other.trusted_root());
    for (log, name) in [(Log::One, "one"), (Log::Two, "two")] {
        let (image, config) = (yard.image(&format!("theirs/{name}")), yard.sigstore.signing_config(log));
        let attest =
            ["attest", "--signing-config", &config, "--trusted-root", &root, "--identity-token", &token(), "-y"];
        let what = ["--type", TYPE, "--predicate", "predicate.json", &image];
        let mut command = cosign.command();
        cosign.answer(command.args([&attest[..], &what].concat()).current_dir(yard.folder.path())).expect_success();
        let (code, report) = yard.found(&WHO, &[], &image);
        assert_eq!((code, &report["attestations"][0]["identity"]["subject"]), (Some(0), &SUBJECT.into()), "{report}");
        yard.check_none(&NOBODY, &[], &image, "identity-mismatch");
        let strange = ["verify-attestation", "-o", "json", "--type", TYPE, "--trusted-root", &other, &image];
        let strange = yard.hallmark(&[&strange[..], &WHO].concat());
        assert!(strange.code == Some(12) && strange.stdout.contains("certificate-untrusted"), "{strange:?}");
        // Ours says the same under the same name, and stands beside theirs.
        signature(yard.attest_predicate(log, &[&image]));
        yard.cosign_verifies(&cosign, &WHO, TYPE, &image).expect_success();
    }
}

/// cosign 2 puts the certificate, the log's promise and the timestamp beside the envelope, under the tag `.att`.
#[test]
fn what_cosign_2_attests_keyless_under_its_tag_we_verify_for_whom_it_is_by() {
    let (Some(yard), Some(cosign)) = (Yard::with_predicate(), peer("cosign-2")) else { return };
    let image = yard.image("theirs/tag");
    let root: Value = serde_json::from_slice(&std::fs::read(yard.sigstore.trusted_root()).unwrap()).unwrap();
    let pem = |name: &str, kind: &str, base64: &Value| {
        let path = yard.folder.path().join(name);
        let base64 = base64.as_str().unwrap();
        std::fs::write(&path, format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n")).unwrap();
        path
    };
    let fulcio = &root["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"];
    let url = &yard.sigstore.url;
    let stamps = format!("{url}/api/v1/timestamp");
    let mut command = cosign.command();
    command
        .env(
            "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
            pem("ct.pub", "PUBLIC KEY", &root["ctlogs"][0]["publicKey"]["rawBytes"]),
        )
        .env("SIGSTORE_REKOR_PUBLIC_KEY", pem("rekor.pub", "PUBLIC KEY", &root["tlogs"][0]["publicKey"]["rawBytes"]))
        .env("SIGSTORE_ROOT_FILE", pem("fulcio.pem", "CERTIFICATE", fulcio))
        .args(["attest", "--fulcio-url", url, "--rekor-url", url, "--timestamp-server-url", &stamps, "-y"])
        .args(["--identity-token", &token(), "--type", TYPE, "--predicate", "predicate.json", &image])
        .current_dir(yard.folder.path());
    cosign.answer(&mut command).expect_success();
    let (code, report) = yard.found(&WHO, &["--require-timestamps", "1"], &image);
    let found = &report["attestations"][0];
    assert_eq!((code, &found["format"]), (Some(0), &"dsse-envelope".into()), "{report}");
    assert_eq!((&found["identity"]["subject"], &found["identity"]["issuer"]), (&SUBJECT.into(), &ISSUER.into()));
    assert_eq!(found["loggedBy"].as_array().unwrap().len(), 1, "{found}");
    yard.check_none(&NOBODY, &[], &image, "identity-mismatch");
}

#[test]
fn must_not_attest_keyless_under_the_tag_nor_for_nobody_nor_for_two() {
    let Some(yard) = Yard::with_predicate() else { return };
    let image = yard.image("attested/never");
    for (flags, message) in [
        (&[][..], "nothing says who you are"),
        (&["--identity-token", "x", "--format", "attestation-tag"], "only bundles hold what services say"),
        (&["--identity-token", "x", "--key", "release.key"], "both a key and an identity"),
        (&["--log-later", "--key", "release.key"], "there is no log that could be down"),
    ] {
        let attest = ["attest", "--type", TYPE, "--predicate", "predicate.json", &image];
        let refused = yard.hallmark(&[&attest[..], flags].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(message) && refused.stderr.contains("hint: "), "{refused:?}");
    }
}

#[test]
fn one_certificate_attests_an_index_and_its_images_each_by_its_own_digest() {
    let Some(yard) = Yard::with_predicate() else { return };
    let images: Vec<String> = (0..3).map(|number| yard.image(&format!("many/app-{number}"))).collect();
    std::fs::write(yard.folder.path().join("images.txt"), images.join("\n")).unwrap();
    let report: Value = serde_json::from_str(
        &yard.attest_predicate(Log::One, &["--from-file", "images.txt", "--recursive"]).expect_success(),
    )
    .unwrap();
    assert_eq!((&report["summary"]["attached"], &report["complete"]), (&3.into(), &true.into()), "{report}");
    assert_eq!((yard.sigstore.asked(CERTIFICATES), yard.sigstore.asked(Log::One.path())), (1, 3));
    let again: Value = serde_json::from_str(
        &yard.attest_predicate(Log::One, &["--from-file", "images.txt", "--recursive"]).expect_success(),
    )
    .unwrap();
    assert_eq!(again["summary"]["alreadySigned"], 3, "{again}");
    assert_eq!(yard.sigstore.asked(Log::One.path()), 3);
}
