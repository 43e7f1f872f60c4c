//! Bounds on connections, bodies and requests, and the end of the service.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hallmark_verifier_service::config::Span;
use serde_json::json;

use crate::harness::{start, start_with, test_config};

fn connect(url: &str) -> TcpStream {
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// What the peer says until it closes the connection.
fn read_to_end(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

const HEAD: &str = "POST /v1/verdicts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_cut_off() {
    let service = start().await;
    let url = service.api.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = connect(&url);
        write!(stream, "{HEAD}Content-Length: 1000\r\nConnection: close\r\n\r\n{{").unwrap();
        let began = Instant::now();
        let answer = read_to_end(stream);
        assert!(began.elapsed() < Duration::from_secs(3));
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("problem+json"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_is_cut_off() {
    let mut config = test_config();
    config.limits.first_request_timeout = Span(Duration::from_millis(300));
    let service = start_with(config).await;
    let url = service.api.clone();
    let answers = tokio::task::spawn_blocking(move || {
        let silent = connect(&url);
        let mut slow = connect(&url);
        write!(slow, "POST /v1/ver").unwrap();
        let began = Instant::now();
        let answers = [read_to_end(silent), read_to_end(slow)];
        assert!(began.elapsed() < Duration::from_secs(3));
        answers
    });
    assert!(answers.await.unwrap().iter().all(|answer| !answer.contains(" 200 ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_up_to_seven_mebibytes_are_read() {
    let service = start().await;
    let limit = test_config().limits.body_bytes;
    let body = |length: usize| {
        let frame = r#"{"images": ["r.example/a"]}"#;
        format!("{frame}{}", " ".repeat(length - frame.len()))
    };
    assert_eq!(service.post("/v1/verdicts", body(limit)).await.0, 200);
    for length in [limit + 1, limit * 2] {
        // Announced, and chunked so that the length shows only at the end.
        assert_eq!(service.post("/v1/verdicts", body(length)).await.0, 413);
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            body(length).into_bytes().chunks(64 * 1024).map(|chunk| Ok(chunk.to_vec())).collect();
        let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        assert_eq!(service.post("/v1/verdicts", stream).await.0, 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_turned_away_but_admission_waits() {
    let mut config = test_config();
    config.limits.requests = 1;
    let service = start_with(config).await;
    let slow = service.post("/v1/verdicts?timeout=1s", json!({"images": ["r.example/slow"]}).to_string());
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (status, problem, headers) =
            service.post("/v1/verdicts", json!({"images": ["r.example/good"]}).to_string()).await;
        assert_eq!((status, problem["type"].as_str().unwrap()), (503, "https://hallmark.dev/problems/overloaded"));
        assert_eq!(headers["retry-after"], "1");
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "namespace": "app",
            "object": {"kind": "Pod", "spec": {"containers": [{"name": "c", "image": "r.example/good"}]}}}});
        let (status, body, _) = service.post("/v1/admission/validate?timeout=10s", review.to_string()).await;
        assert_eq!((status, &body["response"]["allowed"]), (200, &json!(true)));
        assert!(service.metrics().await.contains(r#"hallmark_requests_shed_total{endpoint="verdicts"} 1"#));
    };
    let ((status, ..), ()) = tokio::join!(slow, others);
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_share_a_bounded_memory() {
    let mut config = test_config();
    config.limits.body_bytes = 64 * 1024;
    config.limits.all_bodies_bytes = 64 * 1024;
    let service = start_with(config).await;
    let url = service.api.clone();
    let held = tokio::task::spawn_blocking(move || {
        let mut stream = connect(&url);
        write!(stream, "{HEAD}Content-Length: 60000\r\nConnection: close\r\n\r\n{}", " ".repeat(50_000)).unwrap();
        read_to_end(stream)
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let big = format!(r#"{{"images": ["r.example/a"]}}{}"#, " ".repeat(40_000));
    assert_eq!(service.post("/v1/verdicts", big.clone()).await.0, 503);
    held.await.unwrap();
    assert_eq!(service.post("/v1/verdicts", big).await.0, 200, "the memory is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_closed_and_places_are_given_back() {
    let mut config = test_config();
    config.limits.connections = 3;
    let service = start_with(config).await;
    let url = service.api.clone();
    let closed = tokio::task::spawn_blocking(move || {
        let held: Vec<_> = (0..3).map(|_| connect(&url)).collect();
        std::thread::sleep(Duration::from_millis(100));
        let mut extra = connect(&url);
        let _ = write!(extra, "{HEAD}Content-Length: 0\r\n\r\n");
        let answer = read_to_end(extra);
        drop(held);
        answer
    });
    assert_eq!(closed.await.unwrap(), "");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(service.post("/v1/verdicts", r#"{"images": ["r.example/a"]}"#).await.0, 200);
    assert!(service.metrics().await.contains("hallmark_connections_refused_total 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_finished_and_nothing_new_is_taken() {
    let mut config = test_config();
    config.accept_while_draining = Span(Duration::from_millis(300));
    let mut service = start_with(config).await;
    let url = format!("{}/v1/verdicts?timeout=1s", service.api);
    let under_way = service.client.post(&url).header("content-type", "application/json");
    let under_way = tokio::spawn(under_way.body(r#"{"images": ["r.example/slow"]}"#).send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    service.stop();
    let body = service.wait_for(|status, _| status == Some(503)).await;
    assert_eq!((&body["ready"], &body["draining"]), (&json!(false), &json!(true)));
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    let (api, began) = (service.api.clone(), Instant::now());
    service.ended().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    let port: u16 = api.rsplit(':').next().unwrap().parse().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_is_understood_too() {
    let service = start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = client.post(format!("{}/v1/verdicts", service.api)).header("content-type", "application/json");
    let response = request.body(r#"{"images": ["r.example/a"]}"#).send().await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_have_a_listener_of_their_own() {
    let service = start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let get = |base: &str| service.client.get(format!("{base}{path}")).send();
        assert_eq!(get(&service.operations).await.unwrap().status(), 200, "{path}");
        assert_eq!(get(&service.api).await.unwrap().status(), 404, "{path}");
    }
    let post = service.client.post(format!("{}/v1/verdicts", service.operations)).send().await.unwrap();
    assert_eq!(post.status(), 404);
}
