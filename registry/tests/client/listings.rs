//! Listings: asked for again by their entity tag, read within the memory that is allowed, and fetched in two waves
//! where they are long.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::evidence::{Cause, Evidence, Observation, Place, Retrieval};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, media_type};
use hallmark_registry::Registry;

use crate::scripted::{Scripted, attach_foreign_bundle, attach_foreign_simple_signing, client, gather, text};

const BUNDLE: &[u8] = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;

/// The statuses of the answers to requests for listings, and whether each request was a conditional one.
#[derive(Clone, Default)]
struct Seen {
    conditional: Arc<AtomicUsize>,
    not_modified: Arc<AtomicUsize>,
}

impl Seen {
    fn take(&self) -> (usize, usize) {
        (self.conditional.swap(0, Ordering::SeqCst), self.not_modified.swap(0, Ordering::SeqCst))
    }

    fn look(&self, request: &Request) {
        if request.headers().contains_key("if-none-match") {
            self.conditional.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn note(&self, response: &Response) {
        if response.status() == 304 {
            self.not_modified.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A registry whose answers may be changed, and what was seen there.
async fn watched(change: impl Fn(&str, Response) -> Response + Send + Sync + 'static) -> (Scripted, Seen) {
    let seen = Seen::default();
    let (looking, noting) = (seen.clone(), seen.clone());
    let server = Scripted::with(
        move |request| {
            looking.look(request);
            None
        },
        move |line, response| {
            noting.note(&response);
            change(line, response)
        },
    )
    .await;
    (server, seen)
}

fn report(evidence: &Evidence, place: Place) -> &Observation<Vec<Digest>> {
    &evidence.places.iter().find(|report| report.place == place).unwrap().manifests
}

fn codes(evidence: &Evidence) -> Vec<Code> {
    evidence.causes().map(Cause::code).collect()
}

/// Puts an index with these entries under the fallback tag of an image.
async fn put_fallback(registry: &Registry, image: &PinnedImage, entries: Vec<Descriptor>) {
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
    registry.push_manifest(&tag, media_type::OCI_INDEX, &Index::new(entries).encode()).await.unwrap();
}

#[tokio::test]
async fn a_listing_that_has_not_changed_is_not_sent_again_and_one_that_has_is() {
    let (server, seen) = watched(|_, response| response).await;
    let writer = client();
    let image = server.push_image(&writer, "app").await;
    attach_foreign_simple_signing(&writer, &image, b"payload").await;
    put_fallback(&writer, &image, Vec::new()).await;
    let reader = client();
    let first = gather(&reader, &image.clone().into()).await;
    assert!(first.is_complete(), "{first:?}");
    assert_eq!(seen.take(), (0, 0));
    assert_eq!(gather(&reader, &image.clone().into()).await, first, "the same, whoever sent it");
    assert_eq!(seen.take(), (2, 2), "the fallback index and the signature tag");
    attach_foreign_simple_signing(&writer, &image, b"another payload").await;
    let second = gather(&reader, &image.clone().into()).await;
    assert_eq!(seen.take(), (2, 1), "the signature tag has changed");
    assert_ne!(report(&second, Place::SignatureTag), report(&first, Place::SignatureTag));
    assert!(matches!(second.items.get(&Digest::of(b"another payload")), Some(Retrieval::Content(_))));
    assert_eq!(gather(&reader, &image.into()).await, second);
    assert_eq!(seen.take(), (2, 2));
}

#[tokio::test]
async fn must_not_take_an_unasked_304_for_an_absence() {
    for part in ["/referrers/", ".sig", "/manifests/sha256-"] {
        let unasked = Arc::new(AtomicBool::new(false));
        let lies = Arc::clone(&unasked);
        let server = Scripted::with(
            move |request| {
                let lies = lies.load(Ordering::SeqCst) && request.uri().path().contains(part);
                lies.then(|| text(304, ""))
            },
            |_, response| response,
        )
        .await;
        let writer = client();
        let image = server.push_image(&writer, "app").await;
        attach_foreign_bundle(&writer, &image, BUNDLE).await;
        unasked.store(true, Ordering::SeqCst);
        let evidence = gather(&client(), &image.clone().into()).await;
        assert!(codes(&evidence).contains(&Code::RegistryInconsistent), "{part}: {evidence:?}");
        unasked.store(false, Ordering::SeqCst);
        assert!(gather(&client(), &image.into()).await.is_complete(), "{part}: the twin");
    }
}

/// A 304 that is a lie brings back the listing that the registry gave before, and nothing else: it could have served
/// that one as well.
#[tokio::test]
async fn a_304_that_is_a_lie_is_worth_an_old_listing_and_no_more() {
    let lying = Arc::new(AtomicBool::new(false));
    let lies = Arc::clone(&lying);
    let server = Scripted::with(
        move |request| {
            let is_asked = request.uri().path().ends_with(".sig") && request.headers().contains_key("if-none-match");
            (lies.load(Ordering::SeqCst) && is_asked).then(|| text(304, ""))
        },
        |_, response| response,
    )
    .await;
    let writer = client();
    let image = server.push_image(&writer, "app").await;
    attach_foreign_simple_signing(&writer, &image, b"payload").await;
    let reader = client();
    let old = gather(&reader, &image.clone().into()).await;
    attach_foreign_simple_signing(&writer, &image, b"another payload").await;
    lying.store(true, Ordering::SeqCst);
    assert_eq!(gather(&reader, &image.clone().into()).await, old, "the old listing");
    assert_eq!(gather(&client(), &image.clone().into()).await.listed().len(), 1, "who knows none is given the new one");
    lying.store(false, Ordering::SeqCst);
    let new = gather(&reader, &image.into()).await;
    assert!(matches!(new.items.get(&Digest::of(b"another payload")), Some(Retrieval::Content(_))), "{new:?}");
}

#[tokio::test]
async fn must_not_believe_a_304_that_names_another_listing() {
    for (header, value) in [
        ("etag", "\"another\"".to_owned()),
        ("etag", "W/\"another\"".to_owned()),
        ("docker-content-digest", Digest::of(b"another").to_string()),
    ] {
        let (server, _) = watched(move |_, mut response| {
            if response.status() == 304 {
                response.headers_mut().insert(header, value.parse().unwrap());
            }
            response
        })
        .await;
        let writer = client();
        let image = server.push_image(&writer, "app").await;
        attach_foreign_simple_signing(&writer, &image, b"payload").await;
        let reader = client();
        assert!(gather(&reader, &image.clone().into()).await.is_complete());
        let evidence = gather(&reader, &image.into()).await;
        assert_eq!(codes(&evidence), [Code::RegistryInconsistent], "{header}: {evidence:?}");
    }
}

/// A proxy on the way may weaken a strong tag; what it weakened is the same one still.
#[tokio::test]
async fn a_304_whose_entity_tag_was_weakened_is_believed() {
    let (server, seen) = watched(|_, mut response| {
        if response.status() == 304 {
            let strong = response.headers().get("etag").unwrap().to_str().unwrap().to_owned();
            response.headers_mut().insert("etag", format!("W/{strong}").parse().unwrap());
        }
        response
    })
    .await;
    let writer = client();
    let image = server.push_image(&writer, "app").await;
    attach_foreign_simple_signing(&writer, &image, b"payload").await;
    let reader = client();
    let first = gather(&reader, &image.clone().into()).await;
    assert_eq!(gather(&reader, &image.into()).await, first);
    assert_eq!(seen.take(), (1, 1));
}

#[tokio::test]
async fn must_not_ask_again_by_a_weak_tag_nor_for_what_was_no_listing() {
    type Change = fn(Response) -> Response;
    let weak: Change = |mut response| {
        if let Some(strong) = response.headers().get("etag").cloned() {
            let weak = format!("W/{}", strong.to_str().unwrap());
            response.headers_mut().insert("etag", weak.parse().unwrap());
        }
        response
    };
    let broken: Change = |_| {
        let mut response = text(200, "{\"schemaVersion\": 2, \"manifests\": [");
        response.headers_mut().insert("content-type", media_type::OCI_INDEX.parse().unwrap());
        response.headers_mut().insert("etag", "\"a\"".parse().unwrap());
        response
    };
    for (change, is_complete) in [(weak, true), (broken, false)] {
        let (server, seen) = watched(move |line, response| {
            if line.starts_with("GET") && line.contains("/manifests/sha256-") && !line.ends_with(".sig") {
                change(response)
            } else {
                response
            }
        })
        .await;
        let writer = client();
        let image = server.push_image(&writer, "app").await;
        put_fallback(&writer, &image, Vec::new()).await;
        seen.take();
        let reader = client();
        for _ in 0..2 {
            let evidence = gather(&reader, &image.clone().into()).await;
            assert_eq!(evidence.is_complete(), is_complete, "{evidence:?}");
        }
        assert_eq!(seen.take(), (0, 0));
    }
}

#[tokio::test]
async fn a_large_listing_is_asked_for_once_more_and_one_that_is_too_large_is_unknown() {
    // (bytes of one annotation, requests, whether it is read)
    for (bytes, requests, is_read) in [(100_000, 1, true), (300_000, 2, true), (4_200_000, 2, false)] {
        let server = Scripted::with(
            move |request| {
                let is_fallback = request.uri().path().contains("/manifests/sha256-");
                (is_fallback && !request.uri().path().ends_with(".sig")).then(|| {
                    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"missing");
                    entry.annotations.insert("a".to_owned(), "x".repeat(bytes));
                    let index = String::from_utf8(Index::new(vec![entry]).encode()).unwrap();
                    let mut response = text(200, &index);
                    response.headers_mut().insert("content-type", media_type::OCI_INDEX.parse().unwrap());
                    response
                })
            },
            |_, response| response,
        )
        .await;
        let image = server.push_image(&client(), "app").await;
        let evidence = gather(&client(), &image.clone().into()).await;
        let asked = server.take_log();
        let tag = image.digest.fallback_tag();
        assert_eq!(asked.iter().filter(|line| line.ends_with(tag.as_str())).count(), requests, "{asked:#?}");
        match report(&evidence, Place::FallbackTag) {
            Observation::Found(listed) => assert!(is_read && listed.len() == 1),
            Observation::Unknown(cause) => assert!(!is_read && cause.code() == Code::RegistryInconsistent),
            Observation::Absent => panic!("absent"),
        }
    }
}

/// Pushes so many manifests as referrers of an image, under the fallback tag; those of `signatures` say what they are.
/// Gives the blob of each.
async fn push_referrers(server: &Scripted, count: usize, signatures: &[usize]) -> (PinnedImage, Vec<Digest>) {
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    registry.push_blob(&image.repository, b"{}").await.unwrap();
    let (mut entries, mut blobs) = (Vec::new(), Vec::new());
    for number in 0..count {
        let blob = format!("blob {number}").into_bytes();
        blobs.push(registry.push_blob(&image.repository, &blob).await.unwrap());
        let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, &blob);
        let bytes = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]).encode();
        let manifest = PinnedImage { repository: image.repository.clone(), digest: Digest::of(&bytes) };
        registry.push_manifest(&manifest.into(), media_type::OCI_MANIFEST, &bytes).await.unwrap();
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let claimed = if signatures.contains(&number) { media_type::SIGSTORE_BUNDLE } else { "application/spdx+json" };
        entry.artifact_type = Some(claimed.to_owned());
        entries.push(entry);
    }
    put_fallback(&registry, &image, entries).await;
    server.take_log();
    (image, blobs)
}

async fn gather_until(
    image: &PinnedImage,
    enough: impl Fn(&Evidence) -> bool + Send + Sync,
) -> (Evidence, Vec<Evidence>) {
    let asked = Mutex::new(Vec::new());
    let ask = |evidence: &Evidence| {
        asked.lock().unwrap().push(evidence.clone());
        enough(evidence)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let evidence = client().gather_until(&image.clone().into(), deadline, &ask).await;
    (evidence, asked.into_inner().unwrap())
}

fn has(evidence: &Evidence, blob: &Digest) -> bool {
    matches!(evidence.items.get(blob), Some(Retrieval::Content(_)))
}

/// The last of forty says that it is a signature: it is looked at first, and what is not needed is not fetched.
#[tokio::test]
async fn what_is_not_needed_is_not_fetched_and_never_taken_for_nothing() {
    let server = Scripted::plain().await;
    let (image, blobs) = push_referrers(&server, 40, &[39]).await;
    let (evidence, asked) = gather_until(&image, |evidence| has(evidence, &blobs[39])).await;
    assert_eq!(asked, std::slice::from_ref(&evidence), "asked once, about what is given");
    assert!(has(&evidence, &blobs[39]));
    assert_eq!(server.take_log().len(), 3 + 16 + 16);
    let skipped = codes(&evidence);
    assert_eq!(skipped, vec![Code::NotFetched; 40 - 16], "{evidence:?}");
    assert!(!evidence.is_complete());
    assert_eq!(evidence.listed().len(), 40, "what is listed is known, fetched or not");
}

#[tokio::test]
async fn where_the_first_are_not_enough_everything_is_looked_at() {
    let server = Scripted::plain().await;
    let (image, _) = push_referrers(&server, 40, &[39]).await;
    let (evidence, asked) = gather_until(&image, |_| false).await;
    assert_eq!(server.take_log().len(), 3 + 40 + 40, "nothing is fetched twice");
    assert!(evidence.is_complete(), "{evidence:?}");
    assert_eq!(asked.len(), 1);
    assert_eq!(evidence, gather(&client(), &image.into()).await, "as if nobody had asked");
}

#[tokio::test]
async fn nobody_is_asked_about_sixteen_and_somebody_about_seventeen() {
    for (count, times) in [(16, 0), (17, 1)] {
        let server = Scripted::plain().await;
        let (image, _) = push_referrers(&server, count, &[]).await;
        let (evidence, asked) = gather_until(&image, |_| true).await;
        assert_eq!(asked.len(), times);
        assert_eq!(evidence.is_complete(), times == 0);
    }
}

/// A failure among the first is a failure, whatever was left out beside it.
#[tokio::test]
async fn must_not_hide_a_failure_behind_what_was_not_needed() {
    let server = Scripted::with(
        |request| request.uri().path().ends_with(&Digest::of(b"blob 0").to_string()).then(|| text(403, "no")),
        |_, response| response,
    )
    .await;
    let (image, blobs) = push_referrers(&server, 40, &[0, 1]).await;
    for enough in [true, false] {
        let (evidence, _) = gather_until(&image, move |_| enough).await;
        assert!(codes(&evidence).contains(&Code::RegistryUnauthorized), "{evidence:?}");
        assert!(has(&evidence, &blobs[1]));
    }
}
