//! skopeo 1.18 (containers/image), both ways.

use super::{Bench, peers};
use crate::harness::peers::{Answer, Peer};
use crate::harness::programs::PASSPHRASE;

/// The files that skopeo reads: where signatures are attached, and whom to believe.
fn configure(bench: &Bench) {
    let host = bench.site.host();
    std::fs::create_dir(bench.path("registries.d")).unwrap();
    let attachments = format!("docker:\n  {host}:\n    use-sigstore-attachments: true\n");
    std::fs::write(bench.path("registries.d/all.yaml"), attachments).unwrap();
    std::fs::write(bench.path("anything.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    std::fs::write(bench.path("passphrase"), PASSPHRASE).unwrap();
    for key in ["ours.pub", "other.pub"] {
        let policy = serde_json::json!({
            "default": [{"type": "reject"}],
            "transports": {"docker": {host: [{
                "type": "sigstoreSigned",
                "keyPath": bench.path(key),
                "signedIdentity": {"type": "matchRepository"},
            }]}},
        });
        std::fs::write(bench.path(&format!("{key}.json")), policy.to_string()).unwrap();
    }
}

fn copy(bench: &Bench, skopeo: &Peer, policy: &str, more: &[&str]) -> Answer {
    let common = [
        "--registries.d",
        "registries.d",
        "--policy",
        policy,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    bench.run(skopeo, &[&common[..], more].concat())
}

#[tokio::test]
async fn what_we_sign_skopeo_admits_and_by_no_other_key() {
    let Some([skopeo]) = peers(["skopeo"]) else { return };
    for bench in Bench::everywhere() {
        bench.our_key("ours");
        bench.our_key("other");
        configure(&bench);
        let image = bench.image("ours/app").await;
        let source = format!("docker://{image}");
        let unsigned = copy(&bench, &skopeo, "ours.pub.json", &[&source, "dir:unsigned"]);
        assert!(!unsigned.succeeded(), "{unsigned:?}");
        bench.hallmark(&["sign", "--key", "ours.key", "--format", "simple-signing", &image]).expect_success();
        copy(&bench, &skopeo, "ours.pub.json", &[&source, "dir:signed"]).expect_success();
        let refused = copy(&bench, &skopeo, "other.pub.json", &[&source, "dir:other"]);
        assert!(!refused.succeeded(), "{refused:?}");
    }
}

#[tokio::test]
async fn what_skopeo_signs_we_verify_and_by_no_other_key() {
    let Some([skopeo]) = peers(["skopeo"]) else { return };
    for bench in Bench::everywhere() {
        bench.our_key("ours");
        bench.our_key("other");
        configure(&bench);
        let (from, to) = (bench.image("from/app").await, format!("{}/to/app:v1", bench.site.host()));
        let (source, target) = (format!("docker://{from}"), format!("docker://{to}"));
        let sign = ["--sign-by-sigstore-private-key", "ours.key", "--sign-passphrase-file", "passphrase"];
        copy(&bench, &skopeo, "anything.json", &[&sign[..], &[&source, &target]].concat()).expect_success();
        bench.verify("ours.pub", &to, &[], (0, None));
        bench.verify("other.pub", &to, &[], (12, Some("untrusted-key")));
        bench.verify("ours.pub", &from, &[], (10, Some("unsigned")));
    }
}
