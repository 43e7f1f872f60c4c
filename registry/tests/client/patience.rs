//! Writes that a registry turns away or breaks off are repeated where that does no harm, and only there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Digest, ImageReference, Index};
use hallmark_registry::{Configuration, CredentialSource, PushError, Registry};

use crate::scripted::{Scripted, annotations, client, client_with, text};

fn patient() -> Registry {
    client_with(Configuration { throttle_patience: Duration::from_secs(60), ..Configuration::default() })
}

fn throttled(retry_after: &str) -> Response {
    let mut response = text(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#);
    response.headers_mut().insert("retry-after", retry_after.parse().unwrap());
    response
}

fn is(request: &Request, method: &str, part: &str) -> bool {
    request.method() == method && request.uri().path().contains(part)
}

/// Every request is turned away once before it is carried out.
#[tokio::test]
async fn a_push_waits_for_a_registry_that_asks_for_less_traffic_and_sends_nothing_twice() {
    let (known, on) = (Mutex::new(BTreeSet::new()), Arc::new(AtomicBool::new(false)));
    let is_on = Arc::clone(&on);
    let server = Scripted::with(
        move |request| {
            let line = format!("{} {}", request.method(), request.uri());
            let is_turned_away = is_on.load(Ordering::SeqCst) && known.lock().unwrap().insert(line);
            is_turned_away.then(|| throttled("0"))
        },
        |_, response| response,
    )
    .await;
    let image = server.push_image(&client(), "app").await;
    on.store(true, Ordering::SeqCst);
    let registry = patient();
    registry.danger_attach_unverified_bundle(&image, b"{\"a\":1}", annotations()).await.unwrap();
    let log = server.take_log();
    let times = |line: &String| log.iter().filter(|other| *other == line).count();
    // Two uploads begin at the same address.
    let is_right = |line: &String| times(line) == 2 || (line.starts_with("POST") && times(line) == 3);
    assert!(log.len() >= 6 && log.iter().all(is_right), "{log:#?}");
    let traffic = registry.traffic();
    let distinct = log.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(traffic[0].refused, u64::try_from(distinct).unwrap());
    assert!((1..=traffic[0].refused).contains(&traffic[0].pauses), "{traffic:?}");
    assert_eq!((traffic[0].host.as_str(), traffic[0].paused_for), (server.host.as_str(), None));
}

/// Its twin: who is not patient is told, with what the registry says.
#[tokio::test]
async fn must_not_wait_for_longer_than_the_patience_that_was_asked_for() {
    let server =
        Scripted::with(|request| is(request, "POST", "").then(|| throttled("30")), |_, response| response).await;
    let begun = std::time::Instant::now();
    let registry = client();
    let Err(PushError::Unknown(cause)) = registry.push_blob(server.reference("app:v1").repository(), b"blob").await
    else {
        panic!("it was pushed")
    };
    assert_eq!(cause.code(), Code::RegistryThrottled);
    assert!(cause.detail().contains("TOOMANYREQUESTS: slow down") && cause.detail().contains("for 30 s"), "{cause:?}");
    assert_eq!((server.take_log().len(), registry.traffic()[0].pauses), (1, 1));
    assert!(begun.elapsed() < Duration::from_secs(30), "the window was not waited for");
}

/// The registry asks for less traffic between the reading and the writing of a fallback index, and while we wait another
/// writer adds to it.
#[tokio::test]
async fn must_not_overwrite_after_a_wait_what_others_wrote_during_it() {
    let (refusals, begun) = (AtomicUsize::new(0), Arc::new(tokio::sync::Notify::new()));
    let tell = Arc::clone(&begun);
    let server = Scripted::with(
        move |request| {
            if request.uri().path().contains("/referrers/") {
                return Some(text(404, "404 page not found\n"));
            }
            let is_list = is(request, "PUT", "/manifests/sha256-");
            (is_list && refusals.fetch_add(1, Ordering::SeqCst) == 0).then(|| {
                tell.notify_one();
                throttled("1")
            })
        },
        |_, mut response| {
            response.headers_mut().remove("oci-subject");
            response
        },
    )
    .await;
    let image = server.push_image(&client(), "app").await;
    let (ours, theirs) = (patient(), client());
    let other = async {
        begun.notified().await;
        theirs.danger_attach_unverified_bundle(&image, b"{\"a\":2}", annotations()).await.unwrap().manifest
    };
    let (ours, theirs) = tokio::join!(ours.danger_attach_unverified_bundle(&image, b"{\"a\":1}", annotations()), other);
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
    let Observation::Found(fetched) = client().fetch_manifest(&tag).await else { panic!("no index") };
    let index = Index::parse(fetched.content.bytes()).unwrap();
    let digests: Vec<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
    assert_eq!(digests, [theirs, ours.unwrap().manifest]);
}

/// A blob that is too large to go with the POST.
fn large() -> Vec<u8> {
    vec![b'x'; 70_000]
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_begun_anew() {
    for (status, method, path, uploads) in [
        // The upload is forgotten: another instance behind a balancer was asked.
        (404, "PUT", "/blobs/uploads/", 2),
        (502, "PUT", "/blobs/uploads/", 2),
        (500, "POST", "/blobs/uploads/", 2),
    ] {
        let failures = AtomicUsize::new(0);
        let server = Scripted::with(
            move |request| {
                let is_first = is(request, method, path) && failures.fetch_add(1, Ordering::SeqCst) == 0;
                is_first.then(|| text(status, "{}"))
            },
            |_, response| response,
        )
        .await;
        let repository = server.reference("app:v1").repository().clone();
        client().push_blob(&repository, &large()).await.unwrap();
        let log = server.take_log();
        assert_eq!(log.iter().filter(|line| line.starts_with("POST")).count(), uploads, "{log:#?}");
        assert!(matches!(client().fetch_blob(&repository, Digest::of(&large()), 100_000).await, Observation::Found(_)));
    }
}

#[tokio::test]
async fn must_not_upload_again_when_only_the_answer_was_lost() {
    let failures = AtomicUsize::new(0);
    let server = Scripted::with(
        |_| None,
        move |line, response| {
            let is_first = line.starts_with("PUT") && failures.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { text(502, "lost") } else { response }
        },
    )
    .await;
    let repository = server.reference("app:v1").repository().clone();
    client().push_blob(&repository, &large()).await.unwrap();
    let log = server.take_log();
    let methods: Vec<&str> = log.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(methods, ["POST", "PUT", "HEAD"]);
    // The same for one that goes with the POST.
    let failures = AtomicUsize::new(0);
    let server = Scripted::with(
        |_| None,
        move |line, response| {
            let is_first = line.starts_with("POST") && failures.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { text(502, "lost") } else { response }
        },
    )
    .await;
    client().push_blob(server.reference("app:v1").repository(), b"blob").await.unwrap();
    let log = server.take_log();
    let methods: Vec<&str> = log.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(methods, ["POST", "HEAD"]);
}

#[tokio::test]
async fn must_not_begin_anew_without_end_nor_what_was_refused() {
    for (status, attempts) in [(502, 3), (404, 3), (403, 1), (413, 1)] {
        let server = Scripted::with(
            move |request| is(request, "PUT", "/blobs/uploads/").then(|| text(status, "{}")),
            |_, response| response,
        )
        .await;
        assert!(client().push_blob(server.reference("app:v1").repository(), &large()).await.is_err());
        let log = server.take_log();
        assert_eq!(log.iter().filter(|line| line.starts_with("PUT")).count(), attempts, "{status}: {log:#?}");
    }
}

/// Under a tag, somebody else may have put another one there after ours arrived.
#[tokio::test]
async fn must_not_put_a_manifest_under_a_tag_again_and_does_so_under_its_digest() {
    let failing = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&failing);
    let server = Scripted::with(
        move |request| {
            (is(request, "PUT", "/manifests/") && fails.swap(false, Ordering::SeqCst)).then(|| text(502, ""))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let Observation::Found(fetched) = registry.fetch_manifest(&image.clone().into()).await else { panic!("no image") };
    let push = |image: ImageReference| {
        let (registry, fetched) = (registry.clone(), &fetched);
        async move { registry.push_manifest(&image, &fetched.media_type, fetched.content.bytes()).await }
    };
    for (name, is_pushed, puts) in [(server.reference("app:v2"), false, 1), (image.into(), true, 2)] {
        failing.store(true, Ordering::SeqCst);
        server.take_log();
        assert_eq!(push(name.clone()).await.is_ok(), is_pushed, "{name}");
        let log = server.take_log();
        assert_eq!(log.iter().filter(|line| line.starts_with("PUT")).count(), puts, "{log:#?}");
    }
}

/// A registry of two tenants, by path, that counts what each of them asks.
#[tokio::test]
async fn must_not_keep_a_tenant_waiting_because_another_has_used_up_its_quota() {
    let by_ann =
        |request: &Request| request.headers().get("authorization").is_some_and(|shown| shown == "Basic YW5uOnA=");
    let server = Scripted::with(
        move |request| match request.headers().contains_key("authorization") {
            false => {
                let mut response = text(401, "{}");
                response.headers_mut().insert("www-authenticate", "Basic realm=\"r\"".parse().unwrap());
                Some(response)
            }
            true => by_ann(request).then(|| throttled("60")),
        },
        |_, response| response,
    )
    .await;
    let credentials = CredentialSource::anonymous()
        .with_password(&format!("{}/team-a", server.host), "ann", "p")
        .with_password(&format!("{}/team-b", server.host), "bob", "p");
    let registry = client_with(Configuration { credentials, ..Configuration::default() });
    let image = server.push_image(&registry, "team-b/app").await;
    for _ in 0..5 {
        let Observation::Unknown(cause) = registry.resolve(&server.reference("team-a/app:v1")).await else {
            panic!("it was answered")
        };
        assert_eq!(cause.code(), Code::RegistryThrottled);
        let resolved = registry.resolve(&server.reference("team-b/app:v1")).await;
        assert_eq!(resolved, Observation::Found(image.digest));
    }
    let log = server.take_log();
    let asked = |team: &str| log.iter().filter(|line| line.contains(team)).count();
    assert_eq!((asked("team-a"), asked("team-b")), (1, 5), "{log:#?}");
    assert_eq!(registry.traffic()[0].pauses, 1);
}
