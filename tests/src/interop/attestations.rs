//! Attestations with both cosigns, both ways: bundles as referrers, and the tag `.att`.

use super::{Bench, peers};
use crate::harness::peers::{Answer, Peer};

const PREDICATE: &str = r#"{"buildDefinition":{"buildType":"https://b.example/t","externalParameters":{"n":1.50}},"runDetails":{"builder":{"id":"https://b.example/b"}}}"#;
const TYPE: &str = "slsaprovenance1";
const URI: &str = "https://slsa.dev/provenance/v1";

fn verify(bench: &Bench, cosign: &Peer, key: &str, kind: &str, image: &str) -> Answer {
    bench.run(cosign, &["verify-attestation", "--key", key, "--insecure-ignore-tlog=true", "--type", kind, image])
}

/// `hallmark verify-attestation`, with its exit code and the number of attestations that it must find.
#[track_caller]
fn ours(bench: &Bench, key: &str, kind: &str, image: &str, expected: (i32, usize)) -> serde_json::Value {
    let answer = bench.hallmark(&["verify-attestation", "-o", "json", "--key", key, "--type", kind, image]);
    let document: serde_json::Value =
        serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let found = document["images"][0]["attestations"].as_array().map_or(0, Vec::len);
    assert_eq!((answer.code, found), (Some(expected.0), expected.1), "{answer:?}");
    document
}

#[tokio::test]
async fn what_we_attest_both_cosigns_verify_and_by_no_other_key_or_type() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        let image = bench.image("ours/attested").await;
        bench.our_key("release");
        bench.our_key("other");
        std::fs::write(bench.path("predicate.json"), PREDICATE).unwrap();
        ours(&bench, "release.pub", TYPE, &image, (12, 0));
        let attest = ["attest", "--key", "release.key", "--type", TYPE, "--predicate", "predicate.json", &image];
        let both = ["--format", "bundle", "--format", "attestation-tag", "-o", "json"];
        let first = bench.hallmark(&[&attest[..], &both].concat()).expect_success();
        assert_eq!(first.matches("\"attached\"").count(), 2 + 1, "{first}");
        let again = bench.hallmark(&[&attest[..], &both].concat()).expect_success();
        assert_eq!(again.matches("\"already-signed\"").count(), 2, "{again}");
        for cosign in [&cosign_2, &cosign_3] {
            verify(&bench, cosign, "release.pub", TYPE, &image).expect_success();
            assert!(!verify(&bench, cosign, "other.pub", TYPE, &image).succeeded());
            assert!(!verify(&bench, cosign, "release.pub", "spdx", &image).succeeded());
        }
        let found = ours(&bench, "release.pub", URI, &image, (0, 2));
        let statement = &found["images"][0]["attestations"][0]["statement"];
        assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://b.example/b");
        ours(&bench, "other.pub", TYPE, &image, (12, 0));
        ours(&bench, "release.pub", "spdx", &image, (12, 0));
        // An attestation is no signature, whoever made it.
        bench.verify("release.pub", &image, &[], (12, Some("predicate-type-mismatch")));
        let text = bench.hallmark(&["verify-attestation", "--key", "release.pub", "--type", TYPE, &image]);
        let predicates: Vec<serde_json::Value> =
            text.expect_success().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(predicates.len(), 2);
        assert_eq!(predicates[0], serde_json::from_str::<serde_json::Value>(PREDICATE).unwrap());
    }
}

#[tokio::test]
async fn what_either_cosign_attests_we_verify_and_not_of_another_image() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        bench.cosign_key(&cosign_3, "theirs");
        bench.our_key("other");
        std::fs::write(bench.path("predicate.json"), PREDICATE).unwrap();
        for (repository, cosign, more) in [
            ("cosign3/bundle", &cosign_3, &["--use-signing-config=false"][..]),
            ("cosign3/tag", &cosign_3, &["--use-signing-config=false", "--new-bundle-format=false"]),
            ("cosign2/tag", &cosign_2, &[]),
        ] {
            let image = bench.image(repository).await;
            let attest = ["attest", "--key", "theirs.key", "--tlog-upload=false", "-y", "--type", TYPE, "--predicate"];
            bench.run(cosign, &[&attest, &["predicate.json", &image][..], more].concat()).expect_success();
            let found = ours(&bench, "theirs.pub", TYPE, &image, (0, 1));
            assert_eq!(found["images"][0]["attestations"][0]["statement"]["predicateType"], URI);
            ours(&bench, "theirs.pub", "vuln", &image, (12, 0));
            ours(&bench, "other.pub", TYPE, &image, (12, 0));
            let other = bench.image(&format!("{repository}-other")).await;
            bench.move_tag(&image, &other, hallmark_policy::image::Digest::attestation_tag).await;
            ours(&bench, "theirs.pub", TYPE, &other, (12, 0));
        }
    }
}

#[tokio::test]
async fn must_not_attest_a_statement_about_another_image_or_what_is_no_json() {
    let bench = Bench::embedded();
    let (image, other) = (bench.image("own/app").await, bench.image("own/other").await);
    bench.our_key("release");
    let digest = bench.digest(&image).await;
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"x","digest":{{"sha256":"{}"}}}}],"predicateType":"https://x.example/t","predicate":{{"a":1}}}}"#,
        digest.encoded()
    );
    std::fs::write(bench.path("statement.json"), statement).unwrap();
    std::fs::write(bench.path("list.json"), "[1]").unwrap();
    let attest =
        |image: &str, what: &[&str]| bench.hallmark(&[&["attest", "--key", "release.key", image], what].concat());
    attest(&image, &["--statement", "statement.json"]).expect_success();
    ours(&bench, "release.pub", "https://x.example/t", &image, (0, 1));
    assert_eq!(attest(&other, &["--statement", "statement.json"]).code, Some(2));
    assert_eq!(attest(&image, &["--predicate", "list.json", "--type", "spdx"]).code, Some(2));
    assert_eq!(attest(&image, &["--predicate", "list.json", "--type", "no such word"]).code, Some(2));
    assert_eq!(attest(&image, &["--predicate", "list.json"]).code, Some(2));
    ours(&bench, "release.pub", "https://x.example/t", &other, (12, 0));
    ours(&bench, "release.pub", "https://x.example/t", &format!("{other}-none"), (11, 0));
}

#[tokio::test]
async fn a_rule_that_demands_an_attestation_allows_with_it_and_not_without() {
    for format in ["bundle", "attestation-tag"] {
        let bench = Bench::embedded();
        let image = bench.image("own/gated").await;
        bench.our_key("release");
        bench.our_key("ci");
        std::fs::write(bench.path("predicate.json"), PREDICATE).unwrap();
        let host = image.split('/').next().unwrap();
        let policy = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: gated}}\nspec:\n  authorities:\n    \
             - {{name: release, keys: [{{publicKey: {{file: release.pub}}}}]}}\n    \
             - {{name: ci, keys: [{{publicKey: {{file: ci.pub}}}}]}}\n  rules:\n    \
             - name: own\n      images: [\"{host}/own/*\"]\n      require: release\n      attestations:\n        \
             - {{name: built, types: [{TYPE}], from: ci, builders: [\"https://b.example/*\"]}}\n"
        );
        std::fs::write(bench.path("policy.yaml"), policy).unwrap();
        let verify = |expected: (i32, &str)| {
            let answer = bench.hallmark(&["verify", "--policy", "policy.yaml", "-o", "json", &image]);
            assert_eq!(answer.code, Some(expected.0), "{answer:?}");
            assert!(answer.stdout.contains(expected.1), "{answer:?}");
            answer.stdout
        };
        bench.hallmark(&["sign", "--key", "release.key", &image]).expect_success();
        verify((12, "\"attestation-missing\""));
        let attest = |key: &str| {
            let attest = ["attest", "--key", key, "--type", TYPE, "--predicate", "predicate.json", "--format", format];
            bench.hallmark(&[&attest[..], &[&image]].concat()).expect_success();
        };
        attest("release.key");
        verify((12, "\"attestation-missing\""));
        attest("ci.key");
        let allowed: serde_json::Value = serde_json::from_str(&verify((0, "\"allow\""))).unwrap();
        let met = &allowed["images"][0]["attestations"][0];
        assert_eq!((met["demand"].as_str(), met["authority"].as_str()), (Some("built"), Some("ci")), "{allowed}");
        assert_eq!(met["predicateType"], URI);
    }
}

#[tokio::test]
async fn a_scanners_report_is_attested_cosign_verifies_it_and_a_rule_counts_its_findings() {
    let Some([cosign_3]) = peers(["cosign-3"]) else { return };
    let bench = Bench::embedded();
    let image = bench.image("own/scanned").await;
    bench.our_key("release");
    let digest = bench.digest(&image).await.to_string();
    for scanner in ["trivy", "grype", "clair"] {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../policy/testdata/scans/{scanner}.json"));
        let report = std::fs::read_to_string(path).unwrap();
        let other = bench.path(&format!("other-{scanner}.json"));
        std::fs::write(other, &report).unwrap();
        let ours = report.replace(&format!("sha256:{}", "2".repeat(64)), &digest);
        std::fs::write(bench.path(&format!("{scanner}.json")), ours).unwrap();
    }
    let attest = |scanner: &str, report: &str, more: &[&str]| {
        let attest = ["attest", "--key", "release.key", "--scanner", scanner, report, &image];
        bench.hallmark(&[&attest[..], more].concat())
    };
    // A report about another image, of another scanner, or without a time is not attested.
    for (scanner, report) in [("trivy", "other-trivy.json"), ("grype", "trivy.json"), ("clair", "clair.json")] {
        assert_eq!(attest(scanner, report, &[]).code, Some(2), "{scanner} {report}");
    }
    ours(&bench, "release.pub", "vuln", &image, (12, 0));
    attest("trivy", "trivy.json", &[]).expect_success();
    attest("grype", "grype.json", &[]).expect_success();
    attest("clair", "clair.json", &["--scanned-at", "2026-11-22T08:30:00Z"]).expect_success();
    ours(&bench, "release.pub", "vuln", &image, (0, 3));
    verify(&bench, &cosign_3, "release.pub", "vuln", &image).expect_success();
    let in_toto = "https://in-toto.io/attestation/vulns/v0.2";
    attest("grype", "grype.json", &["--type", in_toto]).expect_success();
    let found = ours(&bench, "release.pub", in_toto, &image, (0, 1));
    let result = &found["images"][0]["attestations"][0]["statement"]["predicate"]["scanner"]["result"];
    assert_eq!(result[0]["id"], "CVE-2026-1001");
    verify(&bench, &cosign_3, "release.pub", in_toto, &image).expect_success();
    let host = image.split('/').next().unwrap();
    for (limits, expected) in [("critical: 1, low: 0, count: fixable", 0), ("critical: 0", 12)] {
        let policy = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: scanned}}\nspec:\n  authorities:\n    \
             - {{name: release, keys: [{{publicKey: {{file: release.pub}}}}]}}\n  rules:\n    \
             - name: own\n      images: [\"{host}/own/*\"]\n      require: release\n      attestations:\n        \
             - {{name: scanned, types: [vuln, '{in_toto}'], from: release, vulnerabilities: {{{limits}}}}}\n"
        );
        std::fs::write(bench.path("policy.yaml"), policy).unwrap();
        bench.hallmark(&["sign", "--key", "release.key", &image]).expect_success();
        let answer = bench.hallmark(&["verify", "--policy", "policy.yaml", "-o", "json", &image]);
        assert_eq!(answer.code, Some(expected), "{answer:?}");
        assert_eq!(answer.stdout.contains("\"vulnerabilities-found\""), expected == 12, "{answer:?}");
    }
}
