//! Files, signed with Sigstore's services, and what cosign 3 makes of them.

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::peers::{Answer, Peer, peer};
use crate::harness::programs::{run_hallmark, run_hallmark_with};
use crate::harness::sigstore::{ISSUER, Log, SUBJECT, Sigstore, token, token_file, token_with};

const WHO: [&str; 4] = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER];

/// A folder with a file, a statement about it, and an instance.
struct Desk {
    folder: TempDir,
    sigstore: Sigstore,
}

impl Desk {
    fn new() -> Option<Self> {
        let sigstore = Sigstore::start()?;
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("app.tar.gz"), "an artifact").unwrap();
        let statement = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "app.tar.gz", "digest": {"sha256": sha256("an artifact")}}],
            "predicateType": "https://example.com/tested/v1",
            "predicate": {"passed": true},
        });
        std::fs::write(folder.path().join("statement.json"), statement.to_string()).unwrap();
        Some(Self { folder, sigstore })
    }

    fn hallmark(&self, arguments: &[&str]) -> Answer {
        run_hallmark(self.folder.path(), arguments)
    }

    /// `sign-bundle` with the instance, as sigstore-conformance calls it.
    fn sign(&self, log: Log, more: &[&str], file: &str) -> Answer {
        let (root, config) = (self.sigstore.trusted_root(), self.sigstore.signing_config(log));
        let instance = ["--trusted-root", &root, "--signing-config", &config];
        self.hallmark(&[&["sign-bundle", "--bundle", "app.json"], &instance[..], more, &[file]].concat())
    }

    fn signed(&self, log: Log, more: &[&str], file: &str) -> Answer {
        let _ = std::fs::remove_file(self.folder.path().join("app.json"));
        let token = token_file(self.folder.path());
        self.sign(log, &[&["--identity-token", &token], more].concat(), file)
    }

    fn verify(&self, who: &[&str], root: &str) -> Answer {
        let arguments = [&["verify-bundle", "--bundle", "app.json"], who, &["--trusted-root", root, "app.tar.gz"]];
        self.hallmark(&arguments.concat())
    }

    fn cosign(&self, cosign: &Peer, verb: &[&str]) -> Answer {
        let root = self.sigstore.trusted_root();
        let common =
            ["--new-bundle-format", "--use-signed-timestamps", "--bundle", "app.json", "--trusted-root", &root];
        let arguments = [verb, &common[..], &["app.tar.gz"]].concat();
        cosign.answer(cosign.command().args(arguments).current_dir(self.folder.path()))
    }

    fn bundle(&self) -> Option<Value> {
        let bytes = std::fs::read(self.folder.path().join("app.json")).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_and_statements_that_we_sign_cosign_verifies_for_us_and_nobody_else() {
    let (Some(desk), Some(cosign)) = (Desk::new(), peer("cosign-3")) else { return };
    let root = desk.sigstore.trusted_root();
    for log in Log::BOTH {
        for (flags, file, verb) in [
            (&[][..], "app.tar.gz", &["verify-blob"][..]),
            (&["--in-toto"], "statement.json", &["verify-blob-attestation", "--type", "https://example.com/tested/v1"]),
        ] {
            desk.signed(log, flags, file).expect_success();
            desk.verify(&WHO, &root).expect_success();
            desk.cosign(&cosign, &[verb, &WHO].concat()).expect_success();
            let other = ["--certificate-identity", "https://ci.example/other", "--certificate-oidc-issuer", ISSUER];
            assert_eq!(desk.verify(&other, &root).code, Some(12), "{log:?}");
            assert!(!desk.cosign(&cosign, &[verb, &other].concat()).succeeded(), "{log:?}");
            std::fs::write(desk.folder.path().join("app.tar.gz"), "another artifact").unwrap();
            assert_eq!(desk.verify(&WHO, &root).code, Some(12), "{log:?}");
            assert!(!desk.cosign(&cosign, &[verb, &WHO].concat()).succeeded(), "{log:?}");
            std::fs::write(desk.folder.path().join("app.tar.gz"), "an artifact").unwrap();
        }
    }
}

#[test]
fn files_that_cosign_signs_with_the_same_services_verify() {
    let (Some(desk), Some(cosign)) = (Desk::new(), peer("cosign-3")) else { return };
    let root = desk.sigstore.trusted_root();
    for log in Log::BOTH {
        let config = desk.sigstore.signing_config(log);
        let token = token();
        let instance = ["--signing-config", &config, "--trusted-root", &root, "--identity-token", &token];
        let arguments = [&["sign-blob", "-y", "--bundle", "app.json"], &instance[..], &["app.tar.gz"]].concat();
        cosign.answer(cosign.command().args(arguments).current_dir(desk.folder.path())).expect_success();
        desk.verify(&WHO, &root).expect_success();
    }
}

#[test]
fn keys_of_every_kind_are_logged_and_timestamped_and_cosign_verifies_them() {
    let (Some(desk), Some(cosign)) = (Desk::new(), peer("cosign-3")) else { return };
    let root = desk.sigstore.trusted_root();
    for (kind, takes_files) in [("p256", true), ("p384", true), ("rsa-3072", true), ("ed25519", false)] {
        desk.hallmark(&["key", "generate", "--type", kind, "--output-key-prefix", kind]).expect_success();
        let (private, public) = (format!("{kind}.key"), format!("{kind}.pub"));
        for log in Log::BOTH {
            let signed = desk.sign(log, &["--key", &private], "app.tar.gz");
            if !takes_files {
                assert!(signed.stderr.contains("cannot be entered") && signed.stderr.contains("hint: "), "{signed:?}");
                continue;
            }
            signed.expect_success();
            desk.verify(&["--key", &public], &root).expect_success();
            assert_eq!(desk.sigstore.asked("/api/v2/signingCert"), 0, "{kind}");
            // cosign reads keys of other kinds with algorithms of its own.
            if kind == "p256" {
                desk.cosign(&cosign, &["verify-blob", "--key", &public]).expect_success();
            }
        }
        let _ = std::fs::remove_file(desk.folder.path().join("app.json"));
        desk.sign(Log::One, &["--key", &private, "--in-toto"], "statement.json").expect_success();
        desk.verify(&["--key", &public], &root).expect_success();
    }
}

#[test]
fn must_not_write_a_bundle_that_its_own_trusted_root_does_not_verify() {
    let (Some(desk), Some(other)) = (Desk::new(), Sigstore::start()) else { return };
    for log in Log::BOTH {
        for part in ["certificateAuthorities", "ctlogs", "tlogs", "timestampAuthorities"] {
            let theirs: Value = serde_json::from_slice(&std::fs::read(other.trusted_root()).unwrap()).unwrap();
            let root = desk.sigstore.changed(&desk.sigstore.trusted_root(), |root| root[part] = theirs[part].clone());
            let token = token_file(desk.folder.path());
            let (config, bundle) = (desk.sigstore.signing_config(log), "app.json");
            let instance = ["--trusted-root", &root, "--signing-config", &config, "--identity-token", &token];
            let refused =
                desk.hallmark(&[&["sign-bundle", "--bundle", bundle], &instance[..], &["app.tar.gz"]].concat());
            assert_eq!(refused.code, Some(1), "{part}: {refused:?}");
            assert!(refused.stderr.contains("does not verify") && refused.stderr.contains("hint: "), "{refused:?}");
            assert!(desk.bundle().is_none(), "{part}");
        }
        desk.signed(log, &[], "app.tar.gz").expect_success();
        std::fs::remove_file(desk.folder.path().join("app.json")).unwrap();
    }
}

#[test]
fn must_not_sign_for_whom_the_token_does_not_say_nor_repeat_the_token() {
    let Some(desk) = Desk::new() else { return };
    for (token, message, hint) in [
        (
            token_with(|claims| claims["aud"] = "other".into()),
            "not made for the audience `sigstore`",
            "--oidc-client-id",
        ),
        (token_with(|claims| claims["exp"] = 1.into()), "has ended", "audience"),
        (token_with(|claims| claims["sub"] = "".into()), "does not say whom", "audience"),
        ("no-such-file".to_owned(), "neither a token nor the name of a file", "name"),
    ] {
        let refused = desk.sign(Log::One, &["--identity-token", &token], "app.tar.gz");
        assert!(!refused.succeeded(), "{refused:?}");
        assert!(refused.stderr.contains(message) && refused.stderr.contains(hint), "{refused:?}");
        assert!(!refused.stderr.contains(&token) && refused.stdout.is_empty(), "{refused:?}");
        assert!(desk.bundle().is_none());
        assert_eq!(desk.sigstore.asked("/api/v2/signingCert"), 0);
    }
    let nobody = desk.sign(Log::One, &[], "app.tar.gz");
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    assert!(nobody.stderr.contains("nothing says who you are"), "{nobody:?}");
    let (root, config) = (desk.sigstore.trusted_root(), desk.sigstore.signing_config(Log::One));
    let instance = ["--trusted-root", &root, "--signing-config", &config, "app.tar.gz"];
    let arguments = [&["sign-bundle", "--bundle", "app.json"], &instance[..]].concat();
    let variables = [("SIGSTORE_ID_TOKEN".to_owned(), token())];
    run_hallmark_with(desk.folder.path(), &variables, arguments).expect_success();
}

#[test]
fn must_not_send_a_token_through_a_proxy_in_the_clear() {
    let Some(desk) = Desk::new() else { return };
    // Timestamp authorities are asked through the proxy: what is sent there is no secret.
    let config = desk.sigstore.changed(&desk.sigstore.signing_config(Log::One), |config| {
        config["tsaUrls"] = serde_json::json!([]);
        config["tsaConfig"] = serde_json::json!({});
    });
    let root = desk.sigstore.trusted_root();
    let instance = ["--trusted-root", &root, "--signing-config", &config, "--sigstore-timeout", "0", "app.tar.gz"];
    let arguments = [&["sign-bundle", "--bundle", "app.json"], &instance[..]].concat();
    let proxy = "http://127.0.0.1:1".to_owned();
    let proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name.to_owned(), proxy.clone()));
    let variables = [&proxies[..], &[("SIGSTORE_ID_TOKEN".to_owned(), token())]].concat();
    run_hallmark_with(desk.folder.path(), &variables, arguments).expect_success();
}

#[test]
fn a_service_that_is_down_for_a_moment_is_asked_again_and_one_that_stays_down_is_named() {
    let Some(desk) = Desk::new() else { return };
    for (path, who) in [
        ("/api/v2/signingCert", "the certificate authority"),
        ("/api/v1/timestamp", "timestamp authority"),
        (Log::One.path(), "the transparency log"),
    ] {
        let before = desk.sigstore.asked(path);
        desk.sigstore.break_down(path, 503, 2);
        desk.signed(Log::One, &[], "app.tar.gz").expect_success();
        assert_eq!(desk.sigstore.asked(path), before + 3, "{path}");
        desk.sigstore.break_down(path, 502, 1_000);
        let failed = desk.signed(Log::One, &["--sigstore-timeout", "1"], "app.tar.gz");
        assert_eq!(failed.code, Some(1), "{failed:?}");
        let said = format!("{who} `127.0.0.1`: it answered 502");
        assert!(failed.stderr.contains(&said) && failed.stderr.contains("hint: try again later"), "{failed:?}");
        assert!(desk.bundle().is_none(), "{path}");
        // A refusal is one, however patient one is.
        desk.sigstore.break_down(path, 400, 1);
        let before = desk.sigstore.asked(path);
        assert!(!desk.signed(Log::One, &[], "app.tar.gz").succeeded());
        assert_eq!(desk.sigstore.asked(path), before + 1, "{path}");
    }
}

#[test]
fn every_way_in_which_a_service_fails_is_told_with_what_to_do() {
    let Some(desk) = Desk::new() else { return };
    let impatient = ["--sigstore-timeout", "0"];
    for (path, list, who, when_refused) in [
        ("/api/v2/signingCert", "caUrls", "the certificate authority", "this authority knows the token's issuer"),
        ("/api/v1/timestamp", "tsaUrls", "timestamp authority", "check the address and the authority's state"),
        (Log::One.path(), "rekorTlogUrls", "the transparency log", "the log takes entries of this kind"),
    ] {
        let told = |answer: Answer, message: &str, hint: &str| {
            assert_eq!(answer.code, Some(1), "{answer:?}");
            let said = format!("{who} `127.0.0.1`: {message}");
            let (problem, advice) = answer.stderr.split_once("hint: ").unwrap_or_else(|| panic!("{answer:?}"));
            assert!(problem.contains(&said) && advice.contains(hint), "{said} {hint}: {answer:?}");
            assert!(desk.bundle().is_none(), "{path}");
        };
        let busy = [408, 429, 500, 502, 503, 504].map(|status| (status, "try again later"));
        let refused = [301, 400, 401, 403, 404, 413, 501].map(|status| (status, when_refused));
        for (status, hint) in busy.into_iter().chain(refused) {
            desk.sigstore.break_down(path, status, 1);
            told(desk.signed(Log::One, &impatient, "app.tar.gz"), &format!("it answered {status}"), hint);
        }
        // An answer that is none; and nobody who answers.
        desk.sigstore.break_down(path, 200, 1);
        told(desk.signed(Log::One, &impatient, "app.tar.gz"), "", "check that the address is the one of that service");
        let gone = desk.sigstore.changed(&desk.sigstore.signing_config(Log::One), |config| {
            config[list][0]["url"] = "http://127.0.0.1:1".into();
        });
        let (root, token) = (desk.sigstore.trusted_root(), token_file(desk.folder.path()));
        let instance = ["--trusted-root", &root, "--signing-config", &gone, "--identity-token", &token];
        let arguments = [&["sign-bundle", "--bundle", "app.json"], &instance[..], &impatient, &["app.tar.gz"]].concat();
        told(desk.hallmark(&arguments), "there is no answer: Connection refused", "try again later");
    }
    desk.signed(Log::One, &impatient, "app.tar.gz").expect_success();
}

#[test]
fn an_entry_that_the_log_has_already_is_taken_from_where_it_is() {
    let Some(desk) = Desk::new() else { return };
    desk.hallmark(&["key", "generate", "--output-key-prefix", "release"]).expect_success();
    let index = |bundle: Value| bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"].clone();
    desk.sign(Log::One, &["--key", "release.key"], "app.tar.gz").expect_success();
    let first = index(desk.bundle().unwrap());
    desk.sign(Log::One, &["--key", "release.key"], "app.tar.gz").expect_success();
    assert_eq!(index(desk.bundle().unwrap()), first);
}

#[test]
fn must_not_sign_with_fewer_logs_or_authorities_than_the_config_demands() {
    let Some(desk) = Desk::new() else { return };
    let token = token_file(desk.folder.path());
    let root = desk.sigstore.trusted_root();
    let sign = |config: &str| {
        let instance = ["--trusted-root", &root, "--signing-config", config, "--identity-token", &token];
        desk.hallmark(&[&["sign-bundle", "--bundle", "app.json"], &instance[..], &["app.tar.gz"]].concat())
    };
    let exact = |list: &str, count: u32| {
        let selection = serde_json::json!({"selector": "EXACT", "count": count});
        desk.sigstore.changed(&desk.sigstore.signing_config(Log::One), |config| config[list] = selection)
    };
    for list in ["rekorTlogConfig", "tsaConfig"] {
        let refused = sign(&exact(list, 2));
        assert_eq!(refused.code, Some(21), "{refused:?}");
        assert!(refused.stderr.contains("2 services of distinct operators are needed"), "{refused:?}");
        assert_eq!(desk.sigstore.asked("/api/v2/signingCert"), 0);
    }
    sign(&exact("rekorTlogConfig", 1)).expect_success();
    // Of two logs that do the same, the second is asked when the first is down.
    let two = desk.sigstore.changed(&desk.sigstore.signing_config(Log::One), |config| {
        let mut down = config["rekorTlogUrls"][0].clone();
        down["url"] = format!("{}/down", desk.sigstore.url).into();
        down["operator"] = "another".into();
        let logs = config["rekorTlogUrls"].as_array_mut().unwrap();
        logs.insert(0, down);
    });
    desk.sigstore.break_down("/down/api/v1/log/entries", 503, 1_000);
    let instance = ["--trusted-root", &root, "--signing-config", &two, "--identity-token", &token];
    let patience = ["--sigstore-timeout", "0", "app.tar.gz"];
    desk.hallmark(&[&["sign-bundle", "--bundle", "app.json"], &instance[..], &patience[..]].concat()).expect_success();
}
