//! Real clients on the embedded registry: they push, pull, copy and attach, and what they do does not disturb
//! signatures.

use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;

use super::{Bench, peers};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[tokio::test]
async fn crane_copies_an_image_and_its_signature_still_counts() {
    let Some([crane]) = peers(["crane"]) else { return };
    let bench = Bench::embedded();
    bench.our_key("ours");
    let image = bench.image("from/app").await;
    let host = bench.site.host();
    let digest = bench.digest(&image).await;
    assert_eq!(bench.run(&crane, &["digest", "--insecure", &image]).expect_success().trim(), digest.to_string());
    let copy = format!("{host}/to/app:v2");
    bench.run(&crane, &["copy", "--insecure", &image, &copy]).expect_success();
    assert_eq!(bench.digest(&copy).await, digest);
    bench.verify("ours.pub", &copy, &[], (10, Some("unsigned")));
    bench.hallmark(&["sign", "--key", "ours.key", "--format", "simple-signing", &image]).expect_success();
    let tag = digest.signature_tag();
    let (from, to) = (format!("{host}/from/app:{tag}"), format!("{host}/to/app:{tag}"));
    bench.run(&crane, &["copy", "--insecure", &from, &to]).expect_success();
    bench.verify("ours.pub", &copy, &[], (0, None));
    let tags = bench.run(&crane, &["ls", "--insecure", &format!("{host}/to/app")]).expect_success();
    assert_eq!(tags.lines().count(), 2, "{tags}");
    bench.run(&crane, &["pull", "--insecure", &copy, "app.tar"]).expect_success();
}

#[tokio::test]
async fn oras_sees_our_signature_and_its_attachments_are_no_signatures() {
    let Some([oras]) = peers(["oras"]) else { return };
    for bench in Bench::everywhere() {
        bench.our_key("ours");
        let image = bench.image("app").await;
        std::fs::write(bench.path("sbom.json"), "{}").unwrap();
        let attach = ["attach", "--plain-http", "--artifact-type", "application/spdx+json", &image];
        bench.run(&oras, &[&attach[..], &["sbom.json:application/spdx+json"]].concat()).expect_success();
        bench.verify("ours.pub", &image, &[], (10, Some("unsigned")));
        bench.hallmark(&["sign", "--key", "ours.key", &image]).expect_success();
        std::fs::write(bench.path("more.json"), "[]").unwrap();
        bench.run(&oras, &[&attach[..], &["more.json:application/spdx+json"]].concat()).expect_success();
        bench.verify("ours.pub", &image, &[], (0, None));
        let found = bench.run(&oras, &["discover", "--plain-http", "--format", "json", &image]).expect_success();
        assert_eq!(found.matches("application/vnd.dev.sigstore.bundle.v0.3+json").count(), 1, "{found}");
        assert_eq!(found.matches("\"application/spdx+json\"").count(), 2, "{found}");
    }
}

#[tokio::test]
async fn skopeo_copies_without_changing_the_digest() {
    let Some([skopeo]) = peers(["skopeo"]) else { return };
    let bench = Bench::embedded();
    let image = bench.image("from/app").await;
    let copy = format!("{}/to/app:v1", bench.site.host());
    std::fs::write(bench.path("anything.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let (source, target) = (format!("docker://{image}"), format!("docker://{copy}"));
    let options = ["--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"];
    let arguments = [&["--policy", "anything.json", "copy"], &options[..], &[&source, &target]].concat();
    bench.run(&skopeo, &arguments).expect_success();
    assert_eq!(bench.digest(&copy).await, bench.digest(&image).await);
    let tags =
        bench.run(&skopeo, &["list-tags", "--tls-verify=false", &format!("docker://{}/to/app", bench.site.host())]);
    assert!(tags.expect_success().contains("\"v1\""));
}

#[tokio::test]
async fn the_oci_client_crate_pushes_and_pulls() {
    let bench = Bench::embedded();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let client = Client::new(config);
    let name = format!("{}/crate/app:v1", bench.site.host());
    let reference: Reference = name.parse().unwrap();
    let layer = ImageLayer::new(b"layer".to_vec(), LAYER.to_owned(), None);
    let config = Config::oci_v1(br#"{"architecture":"amd64","os":"linux"}"#.to_vec(), None);
    client.push(&reference, &[layer], config, &RegistryAuth::Anonymous, None).await.unwrap();
    let pulled = client.pull(&reference, &RegistryAuth::Anonymous, vec![LAYER]).await.unwrap();
    assert_eq!(pulled.digest.unwrap(), bench.digest(&name).await.to_string());
    assert_eq!(pulled.layers.len(), 1);
    assert_eq!(&pulled.layers[0].data[..], b"layer");

    bench.our_key("ours");
    bench.hallmark(&["sign", "--key", "ours.key", &name]).expect_success();
    bench.verify("ours.pub", &name, &[], (0, None));
    let pinned: Reference = format!("{name}@{}", bench.digest(&name).await).parse().unwrap();
    let referrers = client.pull_referrers(&pinned, None).await.unwrap();
    assert_eq!(referrers.manifests.len(), 1);
}
