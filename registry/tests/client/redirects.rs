//! Where a registry may lead us, and how far (attacks R: what it costs to follow).

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::image::Digest;

use crate::scripted::{Scripted, client};

fn redirect(location: &str) -> Response {
    Response::builder().status(307).header("location", location).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn r_must_not_follow_redirects_in_a_circle() {
    for (location, hops) in [("/v2/app/blobs/again", 4), ("?again", 4), ("", 4)] {
        let server = Scripted::with(move |_| Some(redirect(location)), |_, response| response).await;
        let repository = server.reference("app:v1").repository().clone();
        let found = client().fetch_blob(&repository, Digest::of(b"x"), 100).await;
        assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryInconsistent), "{found:?}");
        assert_eq!(server.take_log().len(), hops, "`{location}`");
    }
}

#[tokio::test]
async fn r_must_not_read_or_visit_an_address_of_any_length() {
    for length in [17 * 1024, 300 * 1024, 1024 * 1024, 8 * 1024 * 1024] {
        let location = format!("/{}", "x".repeat(length));
        let server = Scripted::with(move |_| Some(redirect(&location)), |_, response| response).await;
        let repository = server.reference("app:v1").repository().clone();
        let begin = Instant::now();
        let found = client().fetch_blob(&repository, Digest::of(b"x"), 100).await;
        let code = found.cause().map(|cause| cause.code());
        assert!(matches!(code, Some(Code::RegistryInconsistent | Code::RegistryUnavailable)), "{length}: {code:?}");
        assert!(found.cause().is_some_and(|cause| cause.detail().len() < 1000));
        assert!(server.take_log().iter().all(|line| line.len() < 1000), "{length}: it was visited");
        assert!(begin.elapsed() < Duration::from_secs(9), "the time for one request was not used up");
    }
    // Its twin: storage signs its addresses, and they are long.
    let location = format!("/storage?signature={}", "x".repeat(8 * 1024));
    let server = Scripted::with(
        move |request| match request.uri().path() {
            "/storage" => Some(Response::new(Body::from("x"))),
            _ => Some(redirect(&location)),
        },
        |_, response| response,
    )
    .await;
    let repository = server.reference("app:v1").repository().clone();
    assert!(client().fetch_blob(&repository, Digest::of(b"x"), 100).await.found().is_some());
}
