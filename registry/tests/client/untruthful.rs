//! Servers that do not speak HTTP to its end: bodies that are cut off, that never begin, or that never end.

use std::time::{Duration, Instant};

use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Digest, ImageReference};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::scripted::client;

/// Answers each connection with the same bytes, then waits or closes.
async fn raw(answer: Vec<u8>, then_wait: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                if then_wait {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            });
        }
    });
    host
}

#[tokio::test]
async fn must_not_reject_a_blob_whose_body_was_cut_off() {
    let digest = Digest::of(b"signature");
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsigna", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsigna", ""]
    {
        let host = raw(answer.as_bytes().to_vec(), false).await;
        let image: ImageReference = format!("{host}/app:v1").parse().unwrap();
        let found = client().fetch_blob(image.repository(), digest, 100).await;
        assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryUnavailable), "{answer:?} {found:?}");
    }
    let host = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsignature".to_vec(), false).await;
    let image: ImageReference = format!("{host}/app:v1").parse().unwrap();
    assert!(matches!(client().fetch_blob(image.repository(), digest, 9).await, Observation::Found(_)));
    let host = raw(b"HTTP/1.1 200 OK\r\n\r\nsignature and more".to_vec(), true).await;
    let image: ImageReference = format!("{host}/app:v1").parse().unwrap();
    let found = client().fetch_blob(image.repository(), digest, 9).await;
    assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryInconsistent), "{found:?}");
}

#[tokio::test]
async fn a_registry_that_stalls_is_left_at_the_deadline() {
    let host = raw(Vec::new(), true).await;
    let digest = Digest::of(b"image");
    for reference in [format!("{host}/app:v1"), format!("{host}/app@{digest}")] {
        let image: ImageReference = reference.parse().unwrap();
        let begin = Instant::now();
        let evidence = client().gather(&image, begin + Duration::from_millis(300)).await;
        assert!(begin.elapsed() < Duration::from_secs(9), "the time for one request was not used up");
        assert!(!evidence.is_complete());
        assert!(evidence.causes().all(|cause| cause.code() == Code::DeadlineExceeded), "{evidence:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_down_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    drop(listener);
    let found = client().resolve(&format!("{host}/app:v1").parse().unwrap()).await;
    assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryUnavailable));
}
