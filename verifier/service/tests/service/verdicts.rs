//! `POST /v1/verdicts`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{answer, in_time, start, start_with, test_config};

fn ask(images: &[&str]) -> String {
    json!({ "images": images }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_promised_form() {
    let service = start().await;
    let images = ask(&["registry.example.com/prod/app:1.4", "registry.example.com/prod/bad:1"]);
    let (status, body, headers) = service.post("/v1/verdicts", images).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/json"));
    insta::assert_json_snapshot!(body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_image_decides_and_enforce_says_it_by_status() {
    let service = start().await;
    for (images, verdict, admit, enforced) in [
        (vec!["r.example/good"], "allow", true, 200),
        (vec!["r.example/bad"], "deny", false, 403),
        (vec!["r.example/unknown"], "undetermined", false, 503),
        (vec!["r.example/warn"], "deny", true, 200),
        (vec!["r.example/audit"], "deny", true, 200),
        (vec!["r.example/good", "r.example/unknown"], "undetermined", false, 503),
        (vec!["r.example/bad", "r.example/unknown"], "deny", false, 403),
        (vec!["r.example/unknown", "r.example/warn"], "deny", false, 503),
        (vec!["r.example/panic", "r.example/good"], "undetermined", false, 503),
    ] {
        for (query, expected) in [("", 200), ("?enforce=false", 200), ("?enforce=true", enforced)] {
            let (status, body, _) = service.post(&format!("/v1/verdicts{query}"), ask(&images)).await;
            assert_eq!(
                (status, &body["verdict"], &body["admit"]),
                (expected, &json!(verdict), &json!(admit)),
                "{images:?}"
            );
            assert_eq!(body["images"].as_array().unwrap().len(), images.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_images_are_judged_once_and_answered_in_order() {
    let service = start().await;
    let images = ["nginx", "r.example/bad:1", "docker.io/library/nginx:latest", "nginx"];
    let (_, body, _) = service.post("/v1/verdicts", ask(&images)).await;
    let names: Vec<_> = body["images"].as_array().unwrap().iter().map(|image| image["image"].clone()).collect();
    assert_eq!(names, images);
    assert_eq!(body["images"][1]["verdict"], "deny");
    assert_eq!(service.fake.asked.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_images_are_judged_side_by_side_and_one_more_is_refused() {
    let service = start().await;
    let images: Vec<_> = (0..1001).map(|i| format!("r.example/app{i}")).collect();
    let thousand: Vec<_> = images.iter().take(1000).map(String::as_str).collect();
    let (status, body, _) = service.post("/v1/verdicts", ask(&thousand)).await;
    assert_eq!((status, &body["verdict"]), (200, &json!("allow")));
    assert!(service.fake.most_running.load(std::sync::atomic::Ordering::SeqCst) > 4);
    let all: Vec<_> = images.iter().map(String::as_str).collect();
    let (status, body, _) = service.post("/v1/verdicts", ask(&all)).await;
    assert_eq!((status, &body["type"]), (422, &json!("https://hallmark.dev/problems/too-many-images")));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problem_documents() {
    let service = start().await;
    let good = ask(&["r.example/a"]);
    let duplicate = r#"{"images": ["r.example/a"], "images": ["r.example/b"]}"#.to_owned();
    let evil = json!({"images": ["r.example/a\u{1b}[2J", "ok", "R.example/UP"]}).to_string();
    for (path, body, status, kind) in [
        ("/v1/verdicts", String::new(), 400, "malformed"),
        ("/v1/verdicts", "{".to_owned(), 400, "malformed"),
        ("/v1/verdicts", "[]".to_owned(), 400, "malformed"),
        ("/v1/verdicts", json!({"images": []}).to_string(), 400, "malformed"),
        ("/v1/verdicts", json!({"image": "a"}).to_string(), 400, "malformed"),
        ("/v1/verdicts", json!({"images": "a"}).to_string(), 400, "malformed"),
        ("/v1/verdicts", json!({"images": ["a"], "more": 1}).to_string(), 400, "malformed"),
        ("/v1/verdicts", json!({"images": ["a"], "context": {"namespaces": "x"}}).to_string(), 400, "malformed"),
        ("/v1/verdicts", json!({"images": ["a"], "context": {"namespace": "x/../y"}}).to_string(), 400, "malformed"),
        ("/v1/verdicts", json!({"images": ["a"], "context": {"namespace": ""}}).to_string(), 400, "malformed"),
        ("/v1/verdicts", duplicate, 400, "malformed"),
        ("/v1/verdicts", "[".repeat(100_000), 400, "malformed"),
        ("/v1/verdicts?enforce=yes", good.clone(), 400, "malformed"),
        ("/v1/verdicts?enforc=true", good.clone(), 400, "malformed"),
        ("/v1/verdicts?timeout=soon", good.clone(), 400, "malformed"),
        ("/v1/verdicts", ask(&["https://r.example/a"]), 422, "bad-reference"),
        ("/v1/verdicts", ask(&["r.example/a@sha256:00"]), 422, "bad-reference"),
        ("/v1/verdicts", ask(&["r.example/a@md5:00"]), 422, "bad-reference"),
        ("/v1/verdicts", ask(&[""]), 422, "bad-reference"),
        ("/v1/verdicts", evil, 422, "bad-reference"),
        ("/v1/nothing", good.clone(), 404, "not-found"),
        ("/openapi.json", good.clone(), 405, "method-not-allowed"),
    ] {
        let (got, problem, headers) = service.post(path, body.clone()).await;
        let short: String = body.chars().take(80).collect();
        assert_eq!(got, status, "{path} {short} {problem}");
        assert_eq!(headers["content-type"], "application/problem+json", "{path} {short}");
        assert_eq!(problem["type"], format!("https://hallmark.dev/problems/{kind}"), "{path} {short}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert!(!problem.to_string().contains("\\u001b"));
    }
    assert_eq!(service.fake.asked.lock().unwrap().len(), 0, "nothing was judged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reference_is_pointed_at() {
    let service = start().await;
    let (_, problem, _) = service.post("/v1/verdicts", ask(&["r.example/a", "r.example/B", "", "r.example/c"])).await;
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|part| part["pointer"].clone()).collect();
    assert_eq!(pointers, ["#/images/1", "#/images/2"]);
    assert!(problem["hint"].as_str().unwrap().contains("HOST/PATH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_plain_json_is_read() {
    let service = start().await;
    let url = format!("{}/v1/verdicts", service.api);
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", ""),
        ("content-encoding", "gzip"),
    ] {
        let mut request = service.client.post(&url).body(ask(&["r.example/a"]));
        if name != "content-type" {
            request = request.header("content-type", "application/json");
        }
        let (status, body, _) = answer(request.header(name, value)).await;
        assert_eq!(status, 415, "{name}: {value} {body}");
    }
    let request =
        service.client.post(&url).body(ask(&["r.example/a"])).header("content-type", "application/json; charset=utf-8");
    assert_eq!(answer(request).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definite_answer_leaves_before_the_deadline() {
    let service = start().await;
    let images = ask(&["r.example/slow", "r.example/good"]);
    let check = |body: &Value| {
        assert_eq!(body["images"][0]["verdict"], "undetermined");
        assert_eq!(body["images"][0]["reasons"][0]["code"], "deadline-exceeded");
        assert_eq!(body["images"][1]["verdict"], "allow");
    };
    in_time(Duration::from_secs(2), async || {
        let (status, body, _) = service.post("/v1/verdicts?enforce=true&timeout=2s", images.clone()).await;
        assert_eq!(status, 503);
        check(&body);
    })
    .await;
    in_time(Duration::from_secs(2), async || {
        let request = service.client.post(format!("{}/v1/verdicts", service.api)).header("prefer", "wait=2");
        let request = request.body(images.clone()).header("content-type", "application/json");
        let (status, body, _) = answer(request).await;
        assert_eq!(status, 200);
        check(&body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_namespace_can_only_make_the_answer_stricter() {
    let ask =
        |image: &str, namespace: &str| json!({"images": [image], "context": {"namespace": namespace}}).to_string();
    let service = start().await;
    let (_, body, _) = service.post("/v1/verdicts", ask("r.example/only-prod", "prod")).await;
    assert_eq!(body["admit"], true);
    let asked = service.fake.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "in the namespace, and without one: {asked:?}");
    assert_eq!(asked[1].1, None);
    let (_, body, _) = service.post("/v1/verdicts", ask("r.example/only-prod", "other")).await;
    assert_eq!(body["admit"], false);

    let mut config = test_config();
    config.api.danger_believe_namespaces = true;
    let service = start_with(config).await;
    service.post("/v1/verdicts", ask("r.example/only-prod", "prod")).await;
    let asked = service.fake.asked.lock().unwrap().clone();
    assert_eq!(asked, [("r.example/only-prod:latest".to_owned(), Some("prod".to_owned()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_are_counted_and_no_image_is_a_label() {
    let service = start().await;
    service.post("/v1/verdicts", ask(&["r.example/bad", "r.example/good", "r.example/warn"])).await;
    let metrics = service.metrics().await;
    for line in [
        r#"hallmark_verdicts_total{endpoint="verdicts",outcome="deny",admitted="false"} 1"#,
        r#"hallmark_verdicts_total{endpoint="verdicts",outcome="deny",admitted="true"} 1"#,
        r#"hallmark_verdicts_total{endpoint="verdicts",outcome="allow",admitted="true"} 1"#,
        r#"hallmark_verdict_reasons_total{endpoint="verdicts",code="unsigned"} 2"#,
        r#"hallmark_requests_total{endpoint="verdicts",status="200"} 1"#,
        "hallmark_policy_current 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("r.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_generated_and_complete() {
    let service = start().await;
    let url = format!("{}/openapi.json", service.api);
    let (status, mut body, _) = answer(service.client.get(url)).await;
    assert_eq!((status, &body["info"]["version"]), (200, &json!(env!("CARGO_PKG_VERSION"))));
    body["info"]["version"] = json!("VERSION");
    let paths: Vec<_> = body["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/v1/admission/validate", "/v1/verdicts"]);
    insta::assert_json_snapshot!(body);
}
