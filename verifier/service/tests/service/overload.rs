//! Bounds on connections, bodies and requests, and the end of the service.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::time::{Duration, Instant};

use hallmark_verifier_service::config::Span;
use serde_json::json;

use crate::harness::{PATIENCE, start, start_with, test_config, wait_until};

/// Shorter than the 10 s that heads and bodies have where nothing else is set.
const SILENCE: Duration = Duration::from_secs(8);

fn connect(url: &str) -> TcpStream {
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream
}

/// What the peer says until it closes the connection; it must do that.
fn read_to_end(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end as well. Silence is none.
    if let Err(error) = stream.read_to_end(&mut text) {
        assert!(!matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "it was not closed");
    }
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
        read_to_end(stream)
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
        [read_to_end(silent), read_to_end(slow)]
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
    let first = service.post("/v1/verdicts?timeout=30s", json!({"images": ["r.example/held"]}).to_string());
    let others = async {
        service.wait_until_judging(1).await;
        let (status, problem, headers) =
            service.post("/v1/verdicts", json!({"images": ["r.example/good"]}).to_string()).await;
        assert_eq!((status, problem["type"].as_str().unwrap()), (503, "https://hallmark.dev/problems/overloaded"));
        assert_eq!(headers["retry-after"], "1");
        assert!(service.metrics().await.contains(r#"hallmark_requests_shed_total{endpoint="verdicts"} 1"#));
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "namespace": "app",
            "object": {"kind": "Pod", "spec": {"containers": [{"name": "c", "image": "r.example/good"}]}}}});
        let mut admission = pin!(service.post("/v1/admission/validate?timeout=30s", review.to_string()));
        // One that was turned away would be answered at once.
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut admission).await.is_err(), "it did not wait");
        assert_eq!(service.fake.asked.lock().unwrap().len(), 1, "the first one has the only place");
        service.fake.gate.open();
        let (status, body, _) = admission.await;
        assert_eq!((status, &body["response"]["allowed"]), (200, &json!(true)));
    };
    let ((status, ..), ()) = tokio::join!(first, others);
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_share_a_bounded_memory() {
    let mut config = test_config();
    config.limits.body_bytes = 64 * 1024;
    config.limits.all_bodies_bytes = 64 * 1024;
    config.limits.body_timeout = Span(PATIENCE);
    let service = start_with(config).await;
    let big = format!(r#"{{"images": ["r.example/a"]}}{}"#, " ".repeat(40_000));
    let is_answered = async |status: u16| service.post("/v1/verdicts", big.clone()).await.0 == status;
    assert!(is_answered(200).await);
    let hold = || {
        let mut stream = connect(&service.api);
        write!(stream, "{HEAD}Content-Length: 60000\r\n\r\n{}", " ".repeat(50_000)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let (began, mut held) = (Instant::now(), hold());
    while !is_answered(503).await {
        assert!(began.elapsed() < PATIENCE, "there is memory for both");
        // One that comes while another body is read is turned away itself.
        if held.read(&mut [0]).is_ok() {
            held = hold();
        }
    }
    drop(held);
    // The memory is given back.
    wait_until(async || is_answered(200).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_closed_and_places_are_given_back() {
    let mut config = test_config();
    config.limits.connections = 3;
    let service = start_with(config).await;
    let url = service.api.clone();
    let ask = |mut stream: &TcpStream| {
        // A reset is an answer as well, and an empty one.
        let _ = write!(stream, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = [0; 12];
        let _ = stream.read_exact(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let held: Vec<_> = (0..3).map(|_| connect(&url)).collect();
    for stream in &held {
        assert_eq!(ask(stream), "HTTP/1.1 404", "it has a place");
    }
    let mut extra = connect(&url);
    let _ = write!(extra, "{HEAD}Content-Length: 0\r\n\r\n");
    assert_eq!(read_to_end(extra), "");
    assert!(service.metrics().await.contains("hallmark_connections_refused_total 1\n"));
    drop(held);
    wait_until(async || ask(&connect(&url)) == "HTTP/1.1 404").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_finished_and_nothing_new_is_taken() {
    let mut config = test_config();
    config.accept_while_draining = Span(Duration::from_millis(1500));
    config.drain_for = Span(PATIENCE);
    let mut service = start_with(config).await;
    let url = format!("{}/v1/verdicts?timeout=30s", service.api);
    let under_way = service.client.post(&url).header("content-type", "application/json");
    let under_way = tokio::spawn(under_way.body(r#"{"images": ["r.example/held"]}"#).send());
    service.wait_until_judging(1).await;
    service.stop();
    let body = service.wait_for(|status, _| status == Some(503)).await;
    assert_eq!((&body["ready"], &body["draining"]), (&json!(false), &json!(true)));
    let port: u16 = service.api.rsplit(':').next().unwrap().parse().unwrap();
    wait_until(async || TcpStream::connect(("127.0.0.1", port)).is_err()).await;
    assert!(!under_way.is_finished());
    service.fake.gate.open();
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    service.ended().await;
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
