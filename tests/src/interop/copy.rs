//! Copies, with other programs: they agree on what was copied, and what was signed is signed where it arrives.

use std::process::{Command, Stdio};

use hallmark_policy::image::{Descriptor, Manifest, media_type};

use super::{Bench, Site, peers};
use crate::harness::docker_registry::{Access, DockerRegistry};
use crate::harness::programs::hallmark;
use crate::harness::registry::TestRegistry;

/// The second registry of each pair: with the referrers API, and without.
fn others() -> Vec<Site> {
    let docker = DockerRegistry::start(Access::Anonymous).map(Site::Docker);
    [Some(Site::Embedded(TestRegistry::healthy())), docker].into_iter().flatten().collect()
}

#[tokio::test]
async fn oras_crane_and_cosign_agree_on_what_was_copied() {
    let Some([oras, crane, cosign]) = peers(["oras", "crane", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        bench.our_key("ours");
        let image = bench.image("from/app").await;
        let formats = ["--format", "bundle", "--format", "simple-signing"];
        bench.hallmark(&[&["sign", "--key", "ours.key"][..], &formats, &[&image]].concat()).expect_success();
        std::fs::write(bench.path("sbom.json"), "{}").unwrap();
        let attach = ["attach", "--plain-http", "--artifact-type", "application/spdx+json", &image];
        bench.run(&oras, &[&attach[..], &["sbom.json:application/spdx+json"]].concat()).expect_success();
        let tree = |image: &str| {
            let found = bench.run(&oras, &["discover", "--plain-http", "--format", "json", image]).expect_success();
            let found: serde_json::Value = serde_json::from_str(&found).unwrap();
            let entries = found["referrers"].as_array().or_else(|| found["manifests"].as_array()).unwrap().clone();
            let mut digests: Vec<String> =
                entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
            digests.sort();
            digests
        };
        assert_eq!(tree(&image).len(), 2);
        for other in others() {
            let copy = format!("{}/to/app:v1", other.host());
            bench.hallmark(&["copy", &image, &copy]).expect_success();
            assert_eq!(tree(&copy), tree(&image));
            let digest = |image: &str| bench.run(&crane, &["digest", "--insecure", image]).expect_success();
            assert_eq!(digest(&copy), digest(&image));
            let tag = bench.digest(&image).await.signature_tag();
            let beside = |image: &str| format!("{}:{tag}", image.rsplit_once(':').unwrap().0);
            assert_eq!(digest(&beside(&copy)), digest(&beside(&image)));
            bench.run(&crane, &["pull", "--insecure", &copy, "pulled.tar"]).expect_success();
            bench.verify("ours.pub", &copy, &[], (0, None));
            let verify = ["verify", "--key", "ours.pub", "--insecure-ignore-tlog", "--allow-http-registry", &copy];
            bench.run(&cosign, &verify).expect_success();
        }
    }
}

#[tokio::test]
async fn skopeo_and_oras_read_what_is_saved() {
    let Some([skopeo, oras]) = peers(["skopeo", "oras"]) else { return };
    let bench = Bench::embedded();
    bench.our_key("ours");
    let image = bench.image("from/app").await;
    bench.hallmark(&["sign", "--key", "ours.key", &image]).expect_success();
    bench.hallmark(&["save", &image, "--to", "app.tar"]).expect_success();
    bench.hallmark(&["copy", &image, "oci:layout:1.4"]).expect_success();
    let digest = bench.digest(&image).await.to_string();
    for source in [format!("oci-archive:app.tar:{image}"), "oci:layout:1.4".to_owned()] {
        let found = bench.run(&skopeo, &["inspect", "--format", "{{.Digest}}", &source]).expect_success();
        assert_eq!(found.trim(), digest, "{source}");
    }
    let found = bench.run(&oras, &["discover", "--oci-layout", "--format", "json", "layout:1.4"]).expect_success();
    assert_eq!(found.matches("\"application/vnd.dev.sigstore.bundle.v0.3+json\"").count(), 1, "{found}");
    // And what another program saved, we load.
    std::fs::write(bench.path("anything.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let (source, target) = (format!("docker://{image}"), "oci-archive:theirs.tar:1.4");
    let policy = ["--policy", "anything.json", "copy", "--src-tls-verify=false", "--preserve-digests"];
    bench.run(&skopeo, &[&policy[..], &[&source, target]].concat()).expect_success();
    let loaded = format!("{}/loaded/app", bench.site.host());
    bench.hallmark(&["load", "theirs.tar", &loaded]).expect_success();
    assert_eq!(bench.digest(&format!("{loaded}:1.4")).await.to_string(), digest);
}

#[tokio::test]
async fn must_not_hold_a_large_layer_in_memory() {
    let bench = Bench::embedded();
    let image = format!("{}/from/large:v1", bench.site.host());
    let (name, layer) = (image.parse::<hallmark_policy::image::ImageReference>().unwrap(), vec![7; 64 << 20]);
    bench.client.push_blob(name.repository(), &layer).await.unwrap();
    bench.client.push_blob(name.repository(), b"{}").await.unwrap();
    let layer = Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer);
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), vec![layer]).encode();
    bench.client.push_manifest(&name, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    let other = TestRegistry::healthy();
    let to = format!("{}/to/large:v1", other.host());
    // The kernel holds the program to this many KiB of data (`RLIMIT_DATA`).
    let copy = |limit: u32, arguments: [&str; 3]| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -d {limit} && exec \"$@\"")).arg("sh").arg(hallmark()).args(arguments);
        command.current_dir(bench.folder.path()).env_clear().stdin(Stdio::null()).output().unwrap()
    };
    let refused = copy(1024, ["copy", &image, &to]);
    assert!(!refused.status.success(), "the limit is not in force");
    for target in [to.as_str(), "oci:layout:v1"] {
        let done = copy(48 * 1024, ["copy", &image, target]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(bench.digest(&to).await, bench.digest(&image).await);
}
