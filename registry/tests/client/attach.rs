//! What is attached is found, nothing that was there is lost, and doing it again changes nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::{join, join_all};
use hallmark_policy::evidence::{Observation, Place};
use hallmark_policy::image::{Digest, ImageReference, Index, Manifest, media_type};
use hallmark_registry::{AttachError, PushError};

use crate::scripted::{Scripted, annotations, attach_foreign_simple_signing, client, gather, text};

const BUNDLE: &[u8] = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;

#[tokio::test]
async fn a_bundle_takes_three_pushes_and_is_the_same_the_second_time() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    registry.resolve(&server.reference("app:v1")).await;
    let first = registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap();
    assert_eq!((first.place, first.inlined), (Place::ReferrersApi, true));
    server.take_log();
    let second = registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap();
    assert_eq!(second.manifest, first.manifest);
    let log = server.take_log();
    assert_eq!(log.len(), 2, "the blob, the manifest: {log:#?}");
    let evidence = gather(&client(), &image.into()).await;
    assert_eq!(evidence.listed().len(), 1);
    assert!(evidence.items.contains_key(&Digest::of(BUNDLE)));
}

#[tokio::test]
async fn the_fallback_index_keeps_every_entry_and_names_the_right_type() {
    let server = Scripted::without_referrers().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let first = registry.danger_attach_unverified_bundle(&image, b"{\"a\":1}", annotations()).await.unwrap();
    let second = registry.danger_attach_unverified_bundle(&image, b"{\"a\":2}", annotations()).await.unwrap();
    let again = registry.danger_attach_unverified_bundle(&image, b"{\"a\":1}", annotations()).await.unwrap();
    assert_eq!((first.already_there, second.already_there, again.already_there), (false, false, true));
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
    let Observation::Found(fetched) = registry.fetch_manifest(&tag).await else { panic!("no index") };
    let index = Index::parse(fetched.content.bytes()).unwrap();
    let digests: Vec<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
    assert_eq!(digests, [first.manifest, second.manifest]);
    for entry in &index.manifests {
        assert_eq!(entry.artifact_type.as_deref(), Some(media_type::SIGSTORE_BUNDLE));
        assert_eq!(entry.annotations, annotations());
    }
}

#[tokio::test]
async fn must_not_lose_a_signature_to_another_writer() {
    let server = Scripted::without_referrers().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let bundles: Vec<Vec<u8>> = (0..20).map(|n| format!("{{\"a\":{n}}}").into_bytes()).collect();
    let signatures: Vec<String> = (0..20).map(|n| format!("c2ln{n}")).collect();
    let (attached, signed) = join(
        join_all(bundles.iter().map(|bundle| registry.danger_attach_unverified_bundle(&image, bundle, annotations()))),
        join_all(
            signatures
                .iter()
                .map(|signature| registry.danger_attach_unverified_simple_signing(&image, b"payload", signature)),
        ),
    )
    .await;
    assert!(attached.iter().chain(&signed).all(Result::is_ok), "{attached:?} {signed:?}");
    let evidence = gather(&client(), &image.clone().into()).await;
    assert_eq!(evidence.listed().len(), 21);
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.signature_tag());
    let Observation::Found(fetched) = registry.fetch_manifest(&tag).await else { panic!("no manifest") };
    assert_eq!(Manifest::parse(fetched.content.bytes()).unwrap().layers.len(), 20);
}

#[tokio::test]
async fn an_index_that_another_program_overwrote_is_repaired() {
    let overwritten = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&overwritten);
    // The first two writes of the index get lost, as when another writer who had read the old one comes after us.
    let server = Scripted::with(
        move |request| {
            let is_index = request.method() == "PUT" && request.uri().path().contains("/manifests/sha256-");
            let is_lost = is_index && count.fetch_add(1, Ordering::SeqCst) < 2;
            is_lost.then(|| text(201, ""))
        },
        |_, mut response| {
            response.headers_mut().remove("oci-subject");
            response
        },
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let attached = registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap();
    assert_eq!((attached.place, attached.already_there), (Place::FallbackTag, false));
    assert_eq!(overwritten.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_registry_that_refuses_data_gets_the_manifest_without_it() {
    let refused = AtomicUsize::new(0);
    let server = Scripted::with(
        move |request| {
            let is_signature = request.method() == "PUT" && request.uri().path().contains("/manifests/sha256:");
            let is_first = is_signature && refused.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| text(400, r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no data"}]}"#))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let attached = registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap();
    assert!(!attached.inlined);
    let evidence = gather(&client(), &image.into()).await;
    assert!(evidence.items.contains_key(&Digest::of(BUNDLE)) && evidence.is_complete());
}

#[tokio::test]
async fn simple_signing_is_appended_and_never_twice() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    attach_foreign_simple_signing(&registry, &image, b"foreign").await;
    let first = registry.danger_attach_unverified_simple_signing(&image, b"payload", "c2ln").await.unwrap();
    let second = registry.danger_attach_unverified_simple_signing(&image, b"payload", "b3RoZXI=").await.unwrap();
    let again = registry.danger_attach_unverified_simple_signing(&image, b"payload", "c2ln").await.unwrap();
    assert_eq!((first.already_there, second.already_there, again.already_there), (false, false, true));
    assert_eq!(again.manifest, second.manifest);
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.signature_tag());
    let Observation::Found(fetched) = registry.fetch_manifest(&tag).await else { panic!("no manifest") };
    assert_eq!(fetched.content.digest(), second.manifest);
    let layers = Manifest::parse(fetched.content.bytes()).unwrap().layers;
    let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
    assert_eq!(digests, [Digest::of(b"foreign"), Digest::of(b"payload"), Digest::of(b"payload")]);
}

#[tokio::test]
async fn must_not_sign_an_image_that_is_not_there_or_overwrite_what_is_no_signature() {
    let server = Scripted::without_referrers().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let missing = server.reference(&format!("app@{}", Digest::of(b"missing"))).pinned().unwrap();
    let error = registry.danger_attach_unverified_bundle(&missing, BUNDLE, annotations()).await.unwrap_err();
    assert!(matches!(error, AttachError::SubjectMissing { .. }), "{error}");
    // A manifest where the index should be: adding to it would destroy it.
    let Observation::Found(fetched) = registry.fetch_manifest(&image.clone().into()).await else { panic!("no image") };
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
    registry.push_manifest(&tag, media_type::OCI_MANIFEST, fetched.content.bytes()).await.unwrap();
    let error = registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap_err();
    assert!(matches!(error, AttachError::Existing { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_names_neither_location_nor_digest_is_good_enough() {
    let server = Scripted::with(
        |_| None,
        |line, mut response| {
            if line.starts_with("PUT") {
                response.headers_mut().remove("location");
                response.headers_mut().remove("docker-content-digest");
            }
            response
        },
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    assert!(registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.is_ok());
    assert!(registry.danger_attach_unverified_simple_signing(&image, b"payload", "c2ln").await.is_ok());
}

#[tokio::test]
async fn a_registry_that_honours_if_match_is_asked_to_and_its_refusal_is_only_another_round() {
    let (seen, refused) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Scripted::with(
        move |request| {
            let is_index = request.method() == "PUT" && request.uri().path().contains("/manifests/sha256-");
            let is_conditional = is_index && request.headers().get("if-match").is_some_and(|etag| etag == "\"v1\"");
            count.fetch_add(usize::from(is_conditional), Ordering::SeqCst);
            (is_conditional && refused.fetch_add(1, Ordering::SeqCst) == 0).then(|| text(412, ""))
        },
        |line, mut response| {
            response.headers_mut().remove("oci-subject");
            if line.starts_with("GET") {
                response.headers_mut().insert("etag", "\"v1\"".parse().unwrap());
            }
            response
        },
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    registry.danger_attach_unverified_bundle(&image, b"{\"a\":1}", annotations()).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 0, "there was nothing to match");
    registry.danger_attach_unverified_bundle(&image, b"{\"a\":2}", annotations()).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
    let Observation::Found(fetched) = registry.fetch_manifest(&tag).await else { panic!("no index") };
    assert_eq!(Index::parse(fetched.content.bytes()).unwrap().manifests.len(), 2);
}

#[tokio::test]
async fn must_not_take_a_201_for_something_stored() {
    // Neither names what it stored, nor stores it.
    let server = Scripted::with(
        |request| {
            let path = request.uri().path();
            let is_lost = request.method() == "PUT" && path.contains("/manifests/")
                || request.method() == "POST" && path.contains("/lost/");
            is_lost.then(|| text(201, ""))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let image = server.reference("app:v1");
    let index = Index::new(Vec::new()).encode();
    let error = registry.push_manifest(&image, media_type::OCI_INDEX, &index).await.unwrap_err();
    assert_eq!(error, PushError::Missing { what: "manifest", digest: Digest::of(&index) });
    let lost = server.reference("lost/app:v1");
    let error = registry.push_blob(lost.repository(), b"blob").await.unwrap_err();
    assert_eq!(error, PushError::Missing { what: "blob", digest: Digest::of(b"blob") });
    // Its twin: what is there is taken for stored, whatever the answer lacks.
    assert!(registry.push_blob(image.repository(), b"blob").await.is_ok());
}

/// A registry to which blobs are sent with the POST, and what it makes of that.
async fn push_to_one_that(
    answers: impl Fn() -> Option<axum::response::Response> + Send + Sync + 'static,
) -> Vec<String> {
    let server = Scripted::with(
        move |request| {
            let is_at_once =
                request.method() == "POST" && request.uri().query().is_some_and(|it| it.contains("digest="));
            if is_at_once { answers() } else { None }
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let repository = server.reference("app:v1").repository().clone();
    for blob in [b"one", b"two"] {
        let digest = registry.push_blob(&repository, blob).await.unwrap();
        let fetched = client().fetch_blob(&repository, digest, 100).await;
        assert_eq!(fetched.found().map(|content| content.bytes().to_vec()), Some(blob.to_vec()));
    }
    let log = server.take_log();
    log.into_iter()
        .filter(|line| !line.starts_with("GET"))
        .map(|line| line.split('/').next().unwrap().trim().to_owned())
        .collect()
}

#[tokio::test]
async fn must_not_believe_that_a_blob_was_taken_with_the_post_before_it_was_seen_there() {
    // 201 for what it throws away: it is looked at, and the blob is sent as to everybody else from then on.
    let asked = push_to_one_that(|| Some(text(201, ""))).await;
    assert_eq!(asked, ["POST", "HEAD", "POST", "PUT", "POST", "PUT"]);
    // 201 for other bytes.
    let other = || {
        let mut response = text(201, "");
        let digest = Digest::of(b"something else").to_string();
        response.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
        Some(response)
    };
    assert_eq!(push_to_one_that(other).await, ["POST", "POST", "PUT", "POST", "PUT"]);
    // Its twin: once it was seen to be there, the next one is sent and no more.
    assert_eq!(push_to_one_that(|| None).await, ["POST", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_registry_that_wants_no_blob_with_the_post_gets_it_the_long_way() {
    for status in [400, 404, 405, 411, 413, 415] {
        let asked = push_to_one_that(move || Some(text(status, ""))).await;
        assert_eq!(asked, ["POST", "POST", "PUT", "POST", "PUT"], "{status}");
    }
    // One that fails over it: it is asked for the blob before it is sent again.
    let asked = push_to_one_that(|| Some(text(500, ""))).await;
    assert_eq!(asked, ["POST", "HEAD", "POST", "PUT", "POST", "PUT"]);
}

#[tokio::test]
async fn must_not_take_the_first_manifest_for_stored_because_the_registry_names_it() {
    // It names what it was sent and the image that it is about, and stores nothing.
    let subject = Arc::new(OnceLock::new());
    let named_subject = Arc::clone(&subject);
    let server = Scripted::with(
        move |request| {
            let is_signature = request.method() == "PUT" && request.uri().path().contains("/manifests/sha256:");
            let named = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            is_signature.then(|| {
                let mut response = text(201, "");
                response.headers_mut().insert("docker-content-digest", named.parse().unwrap());
                response.headers_mut().insert("oci-subject", named_subject.get().cloned().unwrap());
                response
            })
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    subject.set(image.digest.to_string().parse::<axum::http::HeaderValue>().unwrap()).unwrap();
    let error = registry.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap_err();
    assert!(matches!(error, AttachError::Vanished { .. }), "{error}");
}
