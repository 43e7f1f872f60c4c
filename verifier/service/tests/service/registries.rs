//! Files that say how registries are reached, changed while the service runs.

use std::path::Path;
use std::time::Duration;

use hallmark_policy::image::Digest;
use hallmark_verifier_service::config::{RegistryRoute, Span};
use hallmark_verifier_service::{Config, PipelineLoader};
use serde_json::{Value, json};

use crate::harness::{Fake, Running, start_loading, test_config};

const POLICY: &str = r#"
apiVersion: hallmark.dev/v1alpha1
kind: TrustPolicy
metadata: {name: production}
spec:
  authorities: [{name: release-team, keys: [{publicKey: {file: release.pub}}]}]
  rules:
    - {name: all, images: ["r.example/**"], require: release-team}
"#;

/// A service whose registry is a closed port of this machine; the file blocks what it names.
async fn serve(folder: &Path, every: Duration) -> Running {
    std::fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let key = p256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
    let key = p256::pkcs8::EncodePublicKey::to_public_key_pem(
        &p256::PublicKey::from(key.verifying_key()),
        Default::default(),
    );
    std::fs::write(folder.join("release.pub"), key.unwrap()).unwrap();
    let mut config = Config { policies: vec![folder.join("policy.yaml")], reload_every: Span(every), ..test_config() };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let route = RegistryRoute { location: Some(format!("{closed}/at")), ..RegistryRoute::default() };
    config.registry.routes.insert("r.example".to_owned(), route);
    config.registry.registries_conf = Some(folder.join("registries.conf"));
    let load = PipelineLoader::new(&config).unwrap();
    start_loading(config, load, Fake::named("unused").into()).await
}

fn block(folder: &Path, what: &str) {
    let text =
        format!("[[registry]]\nprefix = \"r.example/{what}\"\nlocation = \"r.example/{what}\"\nblocked = true\n");
    write(folder, &text);
}

/// Renaming is how files are replaced whole.
fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join("registries.conf")).unwrap();
}

async fn code(service: &Running, repository: &str) -> Value {
    let image = format!("r.example/{repository}@{}", Digest::of(b"image"));
    let (_, body, _) = service.post("/v1/verdicts", json!({"images": [image]}).to_string()).await;
    body["images"][0]["reasons"][0]["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_change_count_without_a_restart_and_those_that_do_not_load_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    block(folder, "a");
    let service = serve(folder, Duration::from_millis(30)).await;
    let body = service.wait_for(|status, _| status == Some(200)).await;
    assert!(body["registryError"].is_null(), "{body}");
    assert_eq!(
        (code(&service, "a").await, code(&service, "b").await),
        (json!("registry-blocked"), json!("registry-unavailable"))
    );

    write(folder, "not toml");
    let body = service.wait_for(|_, body| body["registryError"].is_object()).await;
    let message = body["registryError"]["message"].as_str().unwrap();
    assert!(message.contains("registries.conf") && message.contains("hint:"), "{message}");
    assert!(body["ready"] == json!(true) && body["policyError"].is_null(), "the last good one is in force: {body}");
    assert_eq!(
        (code(&service, "a").await, code(&service, "b").await),
        (json!("registry-blocked"), json!("registry-unavailable"))
    );
    let metrics = service.metrics().await;
    for line in
        ["hallmark_registry_settings_current 0", r#"hallmark_registry_settings_loads_total{result="failure"} 1"#]
    {
        assert!(metrics.lines().any(|shown| shown == line), "{line}: {metrics}");
    }

    block(folder, "b");
    service.wait_for(|_, body| body["registryError"].is_null()).await;
    assert_eq!(
        (code(&service, "a").await, code(&service, "b").await),
        (json!("registry-unavailable"), json!("registry-blocked"))
    );
    let metrics = service.metrics().await;
    assert!(metrics.lines().any(|line| line == "hallmark_registry_settings_current 1"), "{metrics}");

    // What was in force is again what is written: nothing was lost, and nothing is wrong any more.
    write(folder, "not toml either");
    service.wait_for(|_, body| body["registryError"].is_object()).await;
    block(folder, "b");
    service.wait_for(|_, body| body["registryError"].is_null()).await;
    assert_eq!(code(&service, "b").await, json!("registry-blocked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_read_at_once_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    block(folder, "a");
    let service = serve(folder, Duration::from_secs(3600)).await;
    write(folder, "not toml");
    service.reload.reload();
    service.wait_for(|_, body| body["registryError"].is_object()).await;
    block(folder, "b");
    service.reload.reload();
    service.wait_for(|_, body| body["registryError"].is_null()).await;
    assert_eq!(code(&service, "b").await, json!("registry-blocked"));
}
