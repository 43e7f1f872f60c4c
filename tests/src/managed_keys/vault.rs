//! Keys in a transit engine, against a stand-in that holds requests against the engine's API.

use super::transit::{Behaviour, TOKEN, Transit};
use super::{Bench, KeyStore, keeps_every_promise};
use crate::harness::tls::{Authority, Shown};

impl KeyStore for Transit {
    fn kinds(&self) -> Vec<&'static str> {
        vec!["ECDSA P-256", "ECDSA P-384", "Ed25519", "RSA-3072", "RSA-4096"]
    }

    fn reference(&self, kind: &str) -> String {
        let name = match kind {
            "ECDSA P-256" => "ecdsa-p256",
            "ECDSA P-384" => "ecdsa-p384",
            "Ed25519" => "ed25519",
            "RSA-3072" => "rsa-3072",
            _ => "rsa-4096",
        };
        format!("hashivault://{name}")
    }

    fn missing(&self) -> String {
        "hashivault://gone".to_owned()
    }

    fn variables(&self) -> Vec<(String, String)> {
        self.environment("VAULT", TOKEN)
    }

    fn wrong_variables(&self) -> Vec<(String, String)> {
        self.environment("VAULT", "hvs.wrong")
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned(), "hvs.wrong".to_owned()]
    }
}

#[test]
fn a_transit_engine_keeps_every_promise() {
    keeps_every_promise(&Transit::start(Behaviour::Honest));
}

#[test]
fn a_version_can_be_named_and_a_rotation_changes_nothing_for_the_old_one() {
    let transit = Transit::start(Behaviour::Honest);
    let bench = Bench::new(&transit);
    for (reference, prefix) in [
        ("hashivault://rotated?version=1", "one"),
        ("hashivault://rotated?version=2", "two"),
        ("hashivault://rotated", "newest"),
    ] {
        let import = ["key", "import", "--key", reference, "--output-key-prefix", prefix];
        bench.hallmark(&import).expect_success();
        let image = bench.image(&format!("versions/{prefix}"));
        bench.hallmark(&["sign", "--key", reference, &image]).expect_success();
        for public in ["one", "two", "newest"] {
            if !bench.path().join(format!("{public}.pub")).exists() {
                continue;
            }
            let is_it = public == prefix || (prefix == "newest" && public == "two");
            let expected = if is_it { Some(0) } else { Some(12) };
            assert_eq!(bench.verify(&format!("{public}.pub"), &image), expected, "{reference} {public}");
        }
    }
    let gone = bench.hallmark(&["key", "inspect", "hashivault://rotated?version=3"]);
    assert_eq!(gone.code, Some(21));
    assert!(gone.stderr.contains("the key has no version 3"), "{gone:?}");
}

#[test]
fn openbao_and_the_token_file_and_a_namespace_are_found() {
    let transit = Transit::start(Behaviour::Honest);
    let bench = Bench::new(&transit);
    let openbao = bench.run(&transit.environment("BAO", TOKEN), &["key", "inspect", "openbao://ed25519"]);
    openbao.expect_success();
    let mut variables = transit.environment("VAULT", TOKEN);
    variables.retain(|(name, _)| name != "VAULT_TOKEN");
    let missing = bench.run(&variables, &["key", "inspect", "hashivault://ed25519"]);
    assert!(missing.stderr.contains("there is no token for the server"), "{missing:?}");
    std::fs::write(bench.path().join(".vault-token"), format!("{TOKEN}\n")).unwrap();
    bench.run(&variables, &["key", "inspect", "hashivault://ed25519"]).expect_success();
    variables.retain(|(name, _)| name != "VAULT_NAMESPACE");
    let elsewhere = bench.run(&variables, &["key", "inspect", "hashivault://ed25519"]);
    assert!(elsewhere.stderr.contains("the server answered 404"), "{elsewhere:?}");
}

#[test]
fn must_not_give_up_on_a_server_that_is_busy_for_a_moment() {
    let transit = Transit::start(Behaviour::BusyAtFirst);
    let bench = Bench::new(&transit);
    let image = bench.image("busy/app");
    bench.hallmark(&["sign", "--key", "hashivault://ecdsa-p256", &image]).expect_success();
}

#[test]
fn must_not_attach_what_a_lying_server_calls_a_signature_nor_follow_it_elsewhere() {
    for (behaviour, message) in [
        (Behaviour::SignsWithAnotherKey, "the new signature does not verify and was not attached"),
        (Behaviour::SignsWithAnotherVersion, "it signed with another version of the key"),
        (Behaviour::SignsNonsense, "what it calls a signature is none"),
        (Behaviour::Floods, "an answer of more than 1048576 bytes"),
        (Behaviour::Redirects, "the server answered 307"),
        (Behaviour::Sealed, "the server answered 503: Vault is sealed"),
    ] {
        let transit = Transit::start(behaviour);
        let bench = Bench::new(&transit);
        let image = bench.image("lying/app");
        let refused = bench.hallmark(&["sign", "--key", "hashivault://ecdsa-p256", &image]);
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert_ne!(refused.code, Some(0), "{behaviour:?} {told}");
        assert!(told.contains(message), "{behaviour:?} {told}");
        assert!(told.contains("hint: "), "{behaviour:?} {told}");
        let inspected = bench.hallmark(&["inspect", &image, "-o", "json"]).stdout;
        assert!(!inspected.contains("sigstore-bundle"), "{behaviour:?} {inspected}");
        assert_eq!(transit.strays(), 0, "the token was taken elsewhere");
    }
}

#[test]
fn must_not_show_the_token_to_a_server_that_does_not_prove_who_it_is() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (shown, authority, is_trusted) in [
        (Shown::Good, Some(&ours), true),
        (Shown::Good, None, false),
        (Shown::Good, Some(&other), false),
        (Shown::OtherName, Some(&ours), false),
        (Shown::Expired, Some(&ours), false),
        (Shown::SelfSigned, Some(&ours), false),
    ] {
        let transit = Transit::start_over(Behaviour::Honest, Some(ours.server(shown)));
        let bench = Bench::new(&transit);
        for (prefix, reference) in [("VAULT", "hashivault://ed25519"), ("BAO", "openbao://ed25519")] {
            let before = transit.requests();
            let mut variables = transit.environment(prefix, TOKEN);
            if let Some(authority) = authority {
                let path = bench.path().join("ca.pem");
                std::fs::write(&path, authority.pem()).unwrap();
                variables.push((format!("{prefix}_CACERT"), path.display().to_string()));
            }
            let inspected = bench.run(&variables, &["key", "inspect", reference]);
            let context = format!("{shown:?} {prefix} {inspected:?}");
            assert_eq!(inspected.code == Some(0), is_trusted, "{context}");
            assert_eq!(transit.requests() > before, is_trusted, "{context}");
            let told = inspected.stderr.contains("hint: check VAULT_ADDR and VAULT_CACERT");
            assert_eq!(told, !is_trusted, "{context}");
        }
    }
}

#[test]
fn must_not_go_on_without_the_authority_that_was_named() {
    let transit = Transit::start(Behaviour::Honest);
    let bench = Bench::new(&transit);
    std::fs::write(bench.path().join("none.pem"), "no certificate").unwrap();
    for (file, message) in [("gone.pem", "gone.pem"), ("none.pem", "VAULT_CACERT does not hold certificates in PEM")] {
        let mut variables = transit.environment("VAULT", TOKEN);
        variables.push(("VAULT_CACERT".to_owned(), bench.path().join(file).display().to_string()));
        let refused = bench.run(&variables, &["key", "inspect", "hashivault://ed25519"]);
        assert_eq!(refused.code, Some(21), "{refused:?}");
        assert!(refused.stderr.contains(message) && refused.stderr.contains("hint: "), "{refused:?}");
    }
    assert_eq!(transit.requests(), 0);
}
