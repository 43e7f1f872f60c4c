//! Trust policies that change while the service runs.

use std::path::PathBuf;
use std::time::Duration;

use hallmark_verifier_service::config::Span;
use serde_json::{Value, json};

use crate::harness::{Fake, FakeLoad, Running, start_loading, test_config};

struct Policies {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Policies {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        Self { _folder: folder, file }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    async fn serve(&self, every: Duration) -> Running {
        let mut config = test_config();
        config.reload_every = Span(every);
        let load = FakeLoad { session: None, paths: vec![self.file.clone()] };
        start_loading(config, load, Fake::named("unused").into()).await
    }
}

const OFTEN: Duration = Duration::from_millis(30);

fn in_force(body: &Value, name: &str) -> bool {
    body["policies"][0]["name"] == name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_comes_into_force_by_itself() {
    let policies = Policies::new();
    policies.write("one");
    let service = policies.serve(OFTEN).await;
    let before = service.wait_for(|status, body| status == Some(200) && in_force(body, "one")).await;
    policies.write("two");
    let after = service.wait_for(|_, body| in_force(body, "two")).await;
    assert_ne!(before["policies"][0]["digest"], after["policies"][0]["digest"]);
    let (_, answer, _) = service.post("/v1/verdicts", r#"{"images": ["r.example/a"]}"#).await;
    assert_eq!(answer["policies"], after["policies"], "the verdict names what readiness names");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_load_leaves_the_last_good_one_in_force() {
    let policies = Policies::new();
    policies.write("one");
    let service = policies.serve(OFTEN).await;
    for spoilt in ["broken", ""] {
        policies.write(spoilt);
        let body = service.wait_for(|_, body| body["policyError"].is_object()).await;
        assert!(body["policyError"]["message"].as_str().unwrap().contains("policy.yaml:1:1"), "{body}");
        assert!(in_force(&body, "one") && body["ready"] == json!(true), "{body}");
        assert_eq!(service.post("/v1/verdicts", r#"{"images": ["r.example/a"]}"#).await.0, 200);
        let metrics = service.metrics().await;
        assert!(metrics.contains("hallmark_policy_current 0"), "{metrics}");
        assert!(metrics.contains(r#"hallmark_policy_info{name="one""#), "{metrics}");
        policies.write("one");
        service.wait_for(|_, body| body["policyError"].is_null()).await;
        assert!(service.metrics().await.contains("hallmark_policy_current 1"));
    }
    std::fs::remove_file(&policies.file).unwrap();
    let body = service.wait_for(|_, body| body["policyError"].is_object()).await;
    assert!(in_force(&body, "one"), "{body}");
    policies.write("two");
    service.wait_for(|_, body| in_force(body, "two") && body["policyError"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_without_a_good_policy_becomes_ready_when_there_is_one() {
    let policies = Policies::new();
    let service = policies.serve(OFTEN).await;
    let body = service.wait_for(|status, _| status == Some(503)).await;
    assert_eq!(body["ready"], false);
    assert_eq!(body["policies"], json!([]));
    policies.write("one");
    service.wait_for(|status, body| status == Some(200) && in_force(body, "one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_are_read_at_once_when_it_is_asked_for() {
    let policies = Policies::new();
    policies.write("one");
    let service = policies.serve(Duration::from_secs(3600)).await;
    policies.write("two");
    service.reload.reload();
    service.wait_for(|_, body| in_force(body, "two")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_comes_later_than_its_policy_is_found() {
    let policies = Policies::new();
    policies.write("key late.pub");
    let service = policies.serve(OFTEN).await;
    service.wait_for(|status, body| status == Some(503) && body["policyError"].is_object()).await;
    std::fs::write(policies.file.with_file_name("late.pub"), "a key").unwrap();
    service.wait_for(|status, body| status == Some(200) && in_force(body, "key late.pub")).await;
}
