//! `POST /v1/admission/validate`, with the requests of a real API server.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Fake, FakeLoad, Running, answer, in_time, start, start_loading, test_config};

const PATH: &str = "/v1/admission/validate";

fn pod(containers: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "namespace": "app",
        "object": {"kind": "Pod", "spec": {"containers": containers}}}})
}

fn named(image: &str) -> Value {
    pod(&json!([{"name": "c", "image": image}]))
}

/// The response of a complete review with this uid.
async fn review(service: &Running, path: &str, request: &Value) -> Value {
    let (status, body, headers) = service.post(path, request.to_string()).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/json"), "{body}");
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    assert_eq!(body["response"]["uid"], request["request"]["uid"]);
    let response = body["response"].clone();
    if response["allowed"] == json!(false) {
        assert!(response["status"]["code"].as_u64().unwrap() >= 403, "{response}");
        assert!(!response["status"]["message"].as_str().unwrap().is_empty());
    } else {
        assert_eq!(response["allowed"], true);
    }
    response
}

/// Every string that any field `image` or `reference` of a pod spec holds, found without our table of kinds.
fn images_anywhere(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "status" && *name != "managedFields") {
                match value {
                    Value::String(text) if name == "image" || name == "reference" => drop(found.insert(text.clone())),
                    other => images_anywhere(other, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| images_anywhere(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_request_is_answered_by_what_it_brings_in() {
    let service = start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/admission");
    let (mut allowed, mut denied) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let request: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let (mut new, mut old) = (BTreeSet::new(), BTreeSet::new());
        if matches!(request["request"]["operation"].as_str(), Some("CREATE" | "UPDATE")) {
            images_anywhere(&request["request"]["object"], &mut new);
            images_anywhere(&request["request"]["oldObject"], &mut old);
        }
        let expected: BTreeSet<_> = new.difference(&old).cloned().collect();
        service.fake.asked.lock().unwrap().clear();
        let response = review(&service, &format!("{PATH}?timeout=10s"), &request).await;
        let asked = service.fake.asked.lock().unwrap().clone();
        assert_eq!(asked.len(), expected.len(), "{path:?}: {asked:?} {expected:?}");
        assert!(asked.iter().all(|(_, namespace)| namespace.as_deref() == Some("app")), "{path:?} {asked:?}");
        let bad = expected.iter().any(|image| image.starts_with("bad"));
        assert_eq!(response["allowed"], !bad, "{path:?} {response}");
        if bad {
            denied += 1;
            let message = response["status"]["message"].as_str().unwrap();
            assert!(message.contains("bad:") && message.contains("unsigned") && message.contains("hint:"), "{message}");
        } else {
            allowed += 1;
        }
    }
    assert!(allowed >= 60 && denied >= 10, "{allowed} {denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_has_the_promised_form() {
    let service = start().await;
    let request = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u1", "kind": {"group": "batch", "version": "v1", "kind": "CronJob"}, "operation": "CREATE",
        "namespace": "app", "object": {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {
            "initContainers": [{"name": "i", "image": "r.example/unknown:1"}],
            "containers": [{"name": "a", "image": "r.example/good:1"}, {"name": "b", "image": "r.example/bad:1"}],
            "volumes": [{"name": "v", "image": {"reference": "r.example/bad:1"}}]}}}}}}}});
    insta::assert_json_snapshot!(review(&service, PATH, &request).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_warn_and_audit_admit_and_only_warn_warns() {
    let service = start().await;
    for (image, allowed, warnings) in [
        ("r.example/good", true, 0),
        ("r.example/warn", true, 1),
        ("r.example/audit", true, 0),
        ("r.example/bad", false, 0),
        ("r.example/unknown", false, 0),
        ("r.example/panic", false, 0),
    ] {
        let response = review(&service, PATH, &named(image)).await;
        assert_eq!(response["allowed"], allowed, "{image}");
        assert_eq!(response["warnings"].as_array().map_or(0, Vec::len), warnings, "{image}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn must_not_allow_what_is_not_understood() {
    let service = start().await;
    let with = |field: &str, value: Value| {
        let mut review = named("r.example/good");
        review["request"][field] = value;
        review
    };
    let mut beta = named("r.example/good");
    beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
    for request in [
        beta,
        with("object", Value::Null),
        with("object", json!("r.example/good")),
        with("object", json!({"kind": "Pod"})),
        with("kind", json!({"group": "argoproj.io", "version": "v1alpha1", "kind": "Workflow"})),
        with("operation", json!("PATCH")),
        pod(&json!([{"name": "c"}])),
        pod(&json!([{"name": "c", "image": ""}])),
        pod(&json!([{"name": "c", "image": " r.example/good"}])),
        pod(&json!([{"name": "c", "image": "r.example/good\u{1b}[31m"}])),
        pod(&json!([{"name": "c", "image": "r.example/good@sha256:short"}])),
        pod(&json!([{"name": "c", "image": "r.example/good"}, {"name": "d", "image": "%s<script>"}])),
    ] {
        let response = review(&service, PATH, &request).await;
        assert_eq!(response["allowed"], false, "{request}");
        assert!(!response.to_string().contains("\\u001b"));
    }
    for body in ["", "{}", "[]", r#"{"request": {}}"#, r#"{"kind": "AdmissionReview"}"#] {
        let (status, problem, _) = service.post(PATH, body).await;
        assert_eq!((status, &problem["status"]), (400, &json!(400)), "{body}");
    }
    assert_eq!(review(&service, PATH, &named("r.example/good")).await["allowed"], true, "the twin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_under_another_content_type_is_denied_with_its_uid() {
    let service = start().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = service.client.post(format!("{}{PATH}", service.api)).header("content-type", content_type);
        let (status, body, _) = answer(request.body(named("r.example/good").to_string())).await;
        assert_eq!(
            (status, &body["response"]["uid"], &body["response"]["allowed"]),
            (200, &json!("u1"), &json!(false))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_gets_the_same_verdict() {
    let service = start().await;
    for (image, allowed) in [("r.example/good", true), ("r.example/bad", false)] {
        let mut request = named(image);
        request["request"]["dryRun"] = json!(true);
        assert_eq!(review(&service, PATH, &request).await["allowed"], allowed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_that_claim_to_be_verified_are_ignored() {
    let service = start().await;
    let mut request = named("r.example/bad");
    request["request"]["object"]["metadata"] = json!({"namespace": "kube-system", "annotations": {
        "hallmark.dev/verified": "true", "kyverno.io/verify-images": "{\"r.example/bad\": true}"}});
    assert_eq!(review(&service, PATH, &request).await["allowed"], false);
    assert_eq!(service.fake.asked.lock().unwrap()[0].1.as_deref(), Some("app"), "nor is the object's namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_leaves_before_the_api_server_gives_up() {
    let service = start().await;
    in_time(Duration::from_secs(2), async || {
        let response = review(&service, &format!("{PATH}?timeout=2s"), &named("r.example/slow")).await;
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["details"]["causes"][0]["reason"], "deadline-exceeded");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_containers_are_judged() {
    let service = start().await;
    let containers: Vec<_> = (0..5_000)
        .map(|i| json!({"name": format!("c{i}"), "image": format!("r.example/app{}", i % 2_500), "args": ["x".repeat(200)]}))
        .collect();
    let mut request = pod(&json!(containers));
    assert_eq!(review(&service, &format!("{PATH}?timeout=30s"), &request).await["allowed"], true);
    assert_eq!(service.fake.asked.lock().unwrap().len(), 2_500, "each image once");
    request["request"]["object"]["spec"]["containers"][4_999]["image"] = json!("r.example/bad");
    let response = review(&service, &format!("{PATH}?timeout=30s"), &request).await;
    assert_eq!(response["status"]["details"]["causes"][0]["field"], "spec.containers[4999].image");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_allowed_before_a_policy_is_in_force() {
    let load = FakeLoad { session: None, paths: vec!["/nowhere/policy.yaml".into()] };
    let service = start_loading(test_config(), load, Fake::named("x").into()).await;
    let response = review(&service, PATH, &named("r.example/good")).await;
    assert_eq!(response["allowed"], false);
    let (status, problem, headers) = service.post("/v1/verdicts", r#"{"images": ["r.example/good"]}"#).await;
    assert_eq!((status, problem["type"].as_str().unwrap()), (503, "https://hallmark.dev/problems/not-ready"));
    assert!(headers.contains_key("retry-after"));
    // What names no image may pass all the same: nothing is judged by it.
    let mut request = named("r.example/good");
    request["request"]["operation"] = json!("DELETE");
    assert_eq!(review(&service, PATH, &request).await["allowed"], true);
}
