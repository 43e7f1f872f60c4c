//! Bills of materials that are larger than signatures may be, with both cosigns, both ways.

use super::{Bench, peers};

/// Beyond what a signature may have: 6 MiB, of which base64 makes 8.
const BYTES: usize = 6 * 1024 * 1024;

fn bill_of_materials() -> String {
    let package = r#"{"SPDXID":"SPDXRef-Package","name":"some-package","versionInfo":"1.2.3","filesAnalyzed":false}"#;
    let packages = vec![package; BYTES / package.len()].join(",");
    format!(
        r#"{{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","creationInfo":{{"created":"2026-11-01T00:00:00Z"}},"packages":[{packages}]}}"#
    )
}

#[tokio::test]
async fn a_large_bill_of_materials_is_taken_where_it_is_asked_for_and_read_by_both_cosigns() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    let bench = Bench::embedded();
    bench.our_key("release");
    bench.cosign_key(&cosign_3, "theirs");
    std::fs::write(bench.path("sbom.json"), bill_of_materials()).unwrap();
    let attest = ["--type", "spdxjson", "--predicate", "sbom.json"];
    for (repository, key) in
        [("own/bundle", "release"), ("own/tag", "release"), ("own/cosign3", "theirs"), ("own/cosign2", "theirs")]
    {
        let image = bench.image(repository).await;
        bench.hallmark(&["sign", "--key", "release.key", &image]).expect_success();
        let cosign = if repository.ends_with("bundle") || repository.ends_with("3") { &cosign_3 } else { &cosign_2 };
        match key {
            "release" => {
                let format = if repository.ends_with("tag") { "attestation-tag" } else { "bundle" };
                let ours = ["attest", "--key", "release.key", "--format", format, &image];
                let answer = bench.hallmark(&[&ours[..], &attest].concat());
                assert!(answer.stderr.contains("only by rules and commands that ask for"), "{}", answer.stderr);
                answer.expect_success();
                let verify = ["verify-attestation", "--key", "release.pub", "--insecure-ignore-tlog=true", &image];
                bench.run(cosign, &[&verify[..], &["--type", "spdxjson"]].concat()).expect_success();
            }
            _ => {
                let more: &[&str] = if repository.ends_with('3') { &["--use-signing-config=false"] } else { &[] };
                let theirs = ["attest", "--key", "theirs.key", "--tlog-upload=false", "-y", &image];
                bench.run(cosign, &[&theirs[..], &attest, more].concat()).expect_success();
            }
        }
        let host = image.split('/').next().unwrap();
        let judged = |demand: &str| {
            let policy = format!(
                "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: listed}}\nspec:\n  authorities:\n    \
                 - {{name: release, keys: [{{publicKey: {{file: release.pub}}}}]}}\n    \
                 - {{name: theirs, keys: [{{publicKey: {{file: theirs.pub}}}}]}}\n  rules:\n    \
                 - name: own\n      images: [\"{host}/own/*\"]\n      require: release\n{demand}"
            );
            std::fs::write(bench.path("policy.yaml"), policy).unwrap();
            bench.hallmark(&["verify", "--policy", "policy.yaml", "-o", "json", &image])
        };
        let listed = |components: usize| {
            judged(&format!(
                "      attestations:\n        - {{name: sbom, types: [spdx], from: {key}, sbom: {{components: {components}}}}}\n"
            ))
        };
        let lists = BYTES / 96;
        let answer = listed(lists / 2);
        assert_eq!(answer.code, Some(0), "{repository}: {answer:?}");
        let answer = listed(lists * 2);
        assert_eq!(answer.code, Some(12), "{repository}: {answer:?}");
        assert!(answer.stdout.contains("\"sbom-mismatch\""), "{answer:?}");
        // Whoever does not ask for it is not kept from the signature by it.
        assert_eq!(judged("").code, Some(0), "{repository}");
        let of_another = judged(&format!("      attestations:\n        - {{name: s, types: [vuln], from: {key}}}\n"));
        assert_eq!(of_another.code, Some(12), "{of_another:?}");
        assert!(of_another.stdout.contains("\"attestation-missing\""), "{of_another:?}");
    }
}
