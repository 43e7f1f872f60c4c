//! The real trust policies and the real pipeline behind the service; only the registry is a stand-in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::Timestamp;
use hallmark_policy::evidence::{Evidence, Observation, Place, PlaceReport, Retrieval};
use hallmark_policy::image::{Content, Descriptor, Digest, ImageReference, Manifest, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::verify::PublicKey;
use hallmark_verifier::{EvidenceLimits, EvidenceSource, Pipeline};
use hallmark_verifier_service::{Load as _, PipelineLoader};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::json;

use crate::harness::{Fake, Running, start_loading, test_config};

/// A registry in which every image of `signed/` is signed by key 1, and nothing else is signed.
struct Source;

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from_spki(key.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap()
}

fn now() -> Timestamp {
    "2026-11-23T09:00:00Z".parse().unwrap()
}

fn bundle_of(image: &ImageReference, digest: Digest) -> [Content; 2] {
    let key = signing_key(1);
    let statement = Statement::about(image, &image.pin(digest), BTreeMap::new());
    let unsigned = statement.unsigned(Format::SigstoreBundle).unwrap();
    let signature: p256::ecdsa::Signature = key.sign(unsigned.message());
    let bundle = unsigned.encode(&public(&key), signature.to_der().as_bytes());
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle.blob());
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    let mut subject = Descriptor::of(media_type::OCI_MANIFEST, b"");
    subject.digest = digest;
    manifest.subject = Some(subject);
    [manifest.encode(), bundle.blob().to_vec()].map(Content::named_by_itself)
}

impl EvidenceSource for Source {
    fn resolve<'a>(&'a self, _: &'a ImageReference) -> BoxFuture<'a, Observation<Digest>> {
        async { Observation::Found(Digest::of(b"image")) }.boxed()
    }

    fn gather<'a>(&'a self, image: &'a ImageReference, _: Instant) -> BoxFuture<'a, Evidence> {
        let digest = image.digest().unwrap();
        let report = |place, manifests| PlaceReport { place, observed_at: now(), manifests, truncated: false };
        let signed = image.repository().path().starts_with("signed/");
        let contents = if signed { bundle_of(image, digest).to_vec() } else { Vec::new() };
        let listed =
            contents.first().map_or(Observation::Absent, |manifest| Observation::Found(vec![manifest.digest()]));
        let evidence = Evidence {
            image: image.clone(),
            gathered_at: now(),
            resolution: Observation::Found(digest),
            relatives: hallmark_policy::evidence::Relatives::NONE,
            places: vec![
                report(Place::ReferrersApi, listed),
                report(Place::FallbackTag, Observation::Absent),
                report(Place::SignatureTag, Observation::Absent),
            ],
            items: contents.into_iter().map(|content| (content.digest(), Retrieval::Content(content))).collect(),
        };
        async { evidence }.boxed()
    }
}

const POLICY: &str = r#"
apiVersion: hallmark.dev/v1alpha1
kind: TrustPolicy
metadata: {name: production}
spec:
  authorities: [{name: release-team, keys: [{publicKey: {file: release.pub}}]}]
  rules:
    - {name: all, images: ["r.example/**"], require: release-team}
"#;

async fn serve(folder: &Path) -> Running {
    let mut config = test_config();
    config.policies = vec![folder.to_owned()];
    let pipeline = Pipeline::new(Arc::new(Source), Arc::new(now), EvidenceLimits::STANDARD);
    let load = PipelineLoader::over(pipeline, &config);
    start_loading(config, load, Fake::named("unused").into()).await
}

fn write_key(folder: &Path, seed: u8) {
    // Renaming is how files are replaced whole.
    std::fs::write(folder.join("new"), public(&signing_key(seed)).to_pem()).unwrap();
    std::fs::rename(folder.join("new"), folder.join("release.pub")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_image_is_allowed_and_an_unsigned_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    write_key(folder.path(), 1);
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let service = serve(folder.path()).await;
    let images = json!({"images": ["r.example/signed/app:1", "r.example/unsigned/app:1", "other.example/app"]});
    let (status, body, _) = service.post("/v1/verdicts", images.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let [signed, unsigned, other] = [&body["images"][0], &body["images"][1], &body["images"][2]];
    assert_eq!((&signed["verdict"], &signed["admit"]), (&json!("allow"), &json!(true)), "{signed}");
    assert_eq!(signed["pinned"], format!("r.example/signed/app@{}", Digest::of(b"image")));
    assert_eq!(signed["rule"], "production/all");
    let key_id = public(&signing_key(1)).id().to_string();
    let proof = &signed["proof"][0];
    assert_eq!((&proof["authority"], &proof["format"]), (&json!("release-team"), &json!("sigstore-bundle")));
    assert_eq!(proof["keyId"], key_id);
    assert!(proof["artifact"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(unsigned["reasons"][0]["code"], "unsigned", "{unsigned}");
    assert_eq!(other["reasons"][0]["code"], "no-matching-rule");
    assert_eq!(body["verdict"], "deny");
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_key_that_was_replaced_counts_no_more_once_the_reload_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    write_key(folder.path(), 1);
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let service = serve(folder.path()).await;
    let image = json!({"images": ["r.example/signed/app:1"]}).to_string();
    let (_, body, _) = service.post("/v1/verdicts", image.clone()).await;
    assert_eq!(body["verdict"], "allow");
    let digest = body["policies"][0]["digest"].clone();

    write_key(folder.path(), 2);
    service.wait_for(|_, body| body["policies"][0]["digest"] != digest).await;
    let (_, body, _) = service.post("/v1/verdicts", image.clone()).await;
    assert_eq!(body["verdict"], "deny");
    assert_eq!(body["images"][0]["rejected"][0]["code"], "untrusted-key", "{body}");

    write_key(folder.path(), 1);
    service.wait_for(|_, body| body["policies"][0]["digest"] == digest).await;
    assert_eq!(service.post("/v1/verdicts", image).await.1["verdict"], "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_policy_allows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = serve(folder.path()).await;
    let body = service.wait_for(|status, body| status == Some(503) && body["policyError"].is_object()).await;
    assert!(body["policyError"]["message"].as_str().unwrap().contains("holds no trust policy"), "{body}");
    assert_eq!(service.post("/v1/verdicts", json!({"images": ["r.example/a"]}).to_string()).await.0, 503);
    write_key(folder.path(), 1);
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    service.wait_for(|status, _| status == Some(200)).await;
    // Without its last policy the service keeps what it had.
    std::fs::remove_file(folder.path().join("policy.yaml")).unwrap();
    let body = service.wait_for(|_, body| body["policyError"].is_object()).await;
    assert_eq!((&body["ready"], &body["policies"][0]["name"]), (&json!(true), &json!("production")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, body, _) = service.post("/v1/verdicts", json!({"images": ["r.example/unsigned/a"]}).to_string()).await;
    assert_eq!((status, &body["verdict"]), (200, &json!("deny")));
}

/// What is refreshed is what the session names: the root whose logs vouch for keys is one of them.
#[test]
fn a_log_of_keys_is_kept_fresh_too() {
    let folder = tempfile::tempdir().unwrap();
    write_key(folder.path(), 1);
    let names = |evidence: &str| {
        let policy = POLICY.replace("name: release-team, ", &format!("name: release-team, {evidence}"));
        std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        let mut config = test_config();
        config.policies = vec![folder.path().to_owned()];
        let pipeline = Pipeline::new(Arc::new(Source), Arc::new(now), EvidenceLimits::STANDARD);
        let loaded = PipelineLoader::over(pipeline, &config).load().unwrap();
        loaded.session.trust_roots().to_vec()
    };
    assert_eq!(names("evidence: {logs: 1}, "), ["public-good"]);
    assert_eq!(names("evidence: {logs: 1, trustRoot: staging}, "), ["staging"]);
    assert!(names("").is_empty(), "keys alone cause no request");
}
