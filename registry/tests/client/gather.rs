//! What is asked, how often, and what each answer means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::evidence::{Evidence, Observation, Place, Retrieval};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, media_type};
use hallmark_policy::limits::{MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, MAX_SIGNATURES};
use hallmark_policy::signature::Format;

use crate::scripted::{
    Scripted, annotations, attach_foreign_bundle, attach_foreign_simple_signing, client, gather, text,
};

const BUNDLE: &[u8] = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;

fn state(evidence: &Evidence, place: Place) -> String {
    let report = evidence.places.iter().find(|report| report.place == place).unwrap();
    match &report.manifests {
        Observation::Found(manifests) => format!("found {}", manifests.len()),
        Observation::Absent => "absent".to_owned(),
        Observation::Unknown(cause) => cause.code().to_string(),
    }
}

fn content(evidence: &Evidence, bytes: &[u8]) -> bool {
    matches!(evidence.items.get(&Digest::of(bytes)), Some(Retrieval::Content(content)) if content.bytes() == bytes)
}

/// Goal G1: requests of a cold verdict, the parallel probes of absent places (two at most) counted in.
#[tokio::test]
async fn a_cold_gathering_takes_no_request_too_many() {
    let server = Scripted::plain().await;
    let writer = client();
    // (repository, critical path by tag, critical path by digest)
    let foreign = server.push_image(&writer, "foreign").await;
    attach_foreign_bundle(&writer, &foreign, BUNDLE).await;
    let ours = server.push_image(&writer, "ours").await;
    writer.danger_attach_unverified_bundle(&ours, BUNDLE, annotations()).await.unwrap();
    let legacy = server.push_image(&writer, "legacy").await;
    attach_foreign_simple_signing(&writer, &legacy, b"payload").await;
    let legacy_ours = server.push_image(&writer, "legacy-ours").await;
    writer.danger_attach_unverified_simple_signing(&legacy_ours, b"payload", "c2ln").await.unwrap();
    server.take_log();
    for (image, bytes, by_tag, by_digest) in
        [(foreign, BUNDLE, 4, 3), (ours, BUNDLE, 3, 2), (legacy, b"payload", 3, 2), (legacy_ours, b"payload", 2, 1)]
    {
        let tag = server.reference(&format!("{}:v1", image.repository.path()));
        for (reference, critical) in [(tag, by_tag), (ImageReference::from(image.clone()), by_digest)] {
            let evidence = gather(&client(), &reference).await;
            assert!(content(&evidence, bytes), "{reference}: {evidence:?}");
            assert!(evidence.is_complete(), "{evidence:?}");
            assert_eq!(evidence.resolution, Observation::Found(image.digest));
            let log = server.take_log();
            assert_eq!(log.len(), critical + 2, "{reference}: {log:#?}");
        }
    }
}

#[tokio::test]
async fn a_missing_referrers_api_is_probed_once_and_the_fallback_tag_is_found() {
    let server = Scripted::without_referrers().await;
    let writer = client();
    let image = server.push_image(&writer, "app").await;
    let attached = writer.danger_attach_unverified_bundle(&image, BUNDLE, annotations()).await.unwrap();
    assert_eq!(attached.place, Place::FallbackTag);
    server.take_log();
    let reader = client();
    for probes in [1, 0] {
        let evidence = gather(&reader, &server.reference("app:v1")).await;
        assert_eq!(state(&evidence, Place::ReferrersApi), "absent");
        assert_eq!(state(&evidence, Place::FallbackTag), "found 1");
        assert!(content(&evidence, BUNDLE));
        assert!(evidence.is_complete());
        let log = server.take_log();
        assert_eq!(log.iter().filter(|line| line.contains("/referrers/")).count(), probes, "{log:#?}");
    }
}

#[tokio::test]
async fn must_not_remember_a_missing_repository_as_a_missing_api() {
    let server = Scripted::with(
        |request| {
            let is_other = request.uri().path().contains("/other/") && request.uri().path().contains("/referrers/");
            is_other.then(|| text(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"unknown"}]}"#))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let other = server.reference(&format!("other/app@{}", Digest::of(b"x")));
    gather(&registry, &other).await;
    let image = server.push_image(&registry, "app").await;
    let evidence = gather(&registry, &image.into()).await;
    assert_eq!(state(&evidence, Place::ReferrersApi), "found 0");
}

#[tokio::test]
async fn an_image_that_is_not_there_is_absent_and_an_unsigned_one_is_not() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let evidence = gather(&registry, &image.into()).await;
    assert!(matches!(evidence.resolution, Observation::Found(_)));
    assert!(evidence.is_complete() && evidence.listed().is_empty());
    let missing = server.reference(&format!("app@{}", Digest::of(b"missing")));
    assert_eq!(gather(&registry, &missing).await.resolution, Observation::Absent);
    assert_eq!(gather(&registry, &server.reference("app:v2")).await.resolution, Observation::Absent);
}

/// Every failing answer, at each of the requests: unknown with the right code, never absent, never complete.
#[tokio::test]
async fn must_not_take_a_failure_for_an_absence() {
    let codes = [
        (401, Code::RegistryUnauthorized),
        (403, Code::RegistryUnauthorized),
        (429, Code::RegistryThrottled),
        (500, Code::RegistryUnavailable),
        (503, Code::RegistryUnavailable),
        (302, Code::RegistryInconsistent),
        (400, Code::RegistryInconsistent),
        (204, Code::RegistryInconsistent),
        (200, Code::RegistryInconsistent),
    ];
    for (status, code) in codes {
        for part in ["/manifests/v1", "/referrers/", "/manifests/sha256-", ".sig", "/manifests/sha256:", "/blobs/"] {
            let is_failing = Arc::new(AtomicBool::new(false));
            let fails = Arc::clone(&is_failing);
            let server = Scripted::with(
                move |request| {
                    let hit = fails.load(Ordering::SeqCst) && request.uri().path().contains(part);
                    hit.then(|| {
                        let mut response = text(status, "<html>please log in</html>");
                        response.headers_mut().insert("retry-after", "60".parse().unwrap());
                        response.headers_mut().insert("content-type", "text/html".parse().unwrap());
                        response
                    })
                },
                |_, response| response,
            )
            .await;
            let writer = client();
            let image = server.push_image(&writer, "app").await;
            attach_foreign_bundle(&writer, &image, BUNDLE).await;
            is_failing.store(true, Ordering::SeqCst);
            let evidence = gather(&client(), &server.reference("app:v1")).await;
            let is_blob_lie = status == 200 && matches!(part, "/manifests/sha256:" | "/blobs/");
            if is_blob_lie {
                let is_lie =
                    |item: &Retrieval| matches!(item, Retrieval::Rejected(fault) if fault.code == Code::DigestMismatch);
                assert!(evidence.items.values().any(is_lie), "{status} {part}: {evidence:?}");
            } else {
                let causes: Vec<Code> = evidence.causes().map(|cause| cause.code()).collect();
                assert!(
                    !causes.is_empty() && causes.iter().all(|found| *found == code),
                    "{status} {part}: {evidence:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_hiccup_is_retried_and_a_long_throttle_is_not() {
    for (retry_after, is_found) in [("0", true), ("3600", false)] {
        let failures = AtomicUsize::new(0);
        let server = Scripted::with(
            move |request| {
                let is_first =
                    request.uri().path().contains("/referrers/") && failures.fetch_add(1, Ordering::SeqCst) == 0;
                is_first.then(|| {
                    let mut response = text(429, "slow down");
                    response.headers_mut().insert("retry-after", retry_after.parse().unwrap());
                    response
                })
            },
            |_, response| response,
        )
        .await;
        let registry = client();
        let image = server.push_image(&registry, "app").await;
        let begin = Instant::now();
        let evidence = gather(&registry, &image.into()).await;
        let expected = if is_found { "found 0" } else { "registry-throttled" };
        assert_eq!(state(&evidence, Place::ReferrersApi), expected);
        assert!(begin.elapsed() < Duration::from_secs(15), "the deadline was not waited for");
    }
}

#[tokio::test]
async fn pages_are_followed_and_a_listing_that_breaks_off_keeps_what_it_said() {
    let next = |link: &'static str| {
        Scripted::with(
            |_| None,
            move |line: &str, mut response: Response| {
                if line.contains("/referrers/") && !line.contains("page=") {
                    response.headers_mut().insert("link", format!("<{link}>; rel=\"next\"").parse().unwrap());
                } else if line.contains("page=loop") {
                    response.headers_mut().insert("link", "<?page=loop>; rel=\"next\"".parse().unwrap());
                }
                response
            },
        )
    };
    for (link, complete) in
        [("?page=2", true), ("?page=loop", false), ("https://evil.example/x", false), ("https://[", false)]
    {
        let server = next(link).await;
        let registry = client();
        let image = server.push_image(&registry, "app").await;
        attach_foreign_bundle(&registry, &image, BUNDLE).await;
        let evidence = gather(&registry, &image.into()).await;
        assert_eq!(evidence.is_complete(), complete, "{link}: {evidence:?}");
        assert!(evidence.causes().all(|cause| cause.code() == Code::RegistryInconsistent));
        assert!(content(&evidence, BUNDLE), "{link}");
    }
}

#[tokio::test]
async fn must_not_look_at_more_than_the_limits_and_says_so() {
    let server = Scripted::plain().await;
    let registry = client();
    let exact = server.push_image(&registry, "exact").await;
    let above = server.push_image(&registry, "above").await;
    for (image, count, is_truncated) in [(exact, MAX_SIGNATURES, false), (above, MAX_SIGNATURES + 1, true)] {
        let descriptors = (0..count).map(|n| {
            let manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), Vec::new());
            let bytes = format!("{} {}", String::from_utf8(manifest.encode()).unwrap(), " ".repeat(n)).into_bytes();
            (Descriptor::of(media_type::OCI_MANIFEST, &bytes), bytes)
        });
        let (descriptors, bytes): (Vec<Descriptor>, Vec<Vec<u8>>) = descriptors.unzip();
        registry.push_blob(&image.repository, b"{}").await.unwrap();
        for bytes in &bytes {
            let digest = PinnedImage { repository: image.repository.clone(), digest: Digest::of(bytes) };
            registry.push_manifest(&digest.into(), media_type::OCI_MANIFEST, bytes).await.unwrap();
        }
        let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
        registry.push_manifest(&tag, media_type::OCI_INDEX, &Index::new(descriptors).encode()).await.unwrap();
        let evidence = gather(&registry, &image.into()).await;
        assert_eq!(state(&evidence, Place::FallbackTag), format!("found {MAX_SIGNATURES}"));
        assert_eq!(evidence.places.iter().any(|place| place.truncated), is_truncated);
        assert!(evidence.is_complete(), "{:?}", evidence.causes().next());
    }
}

#[tokio::test]
async fn a_wrong_or_excessive_size_rejects_the_item_and_no_other() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    attach_foreign_bundle(&registry, &image, BUNDLE).await;
    let limit = u64::try_from(MAX_SIGNATURE_BYTES).unwrap();
    for (size, code) in [(limit + 1, Code::LimitExceeded), (3, Code::DigestMismatch)] {
        let payload = format!("payload of {size}");
        registry.push_blob(&image.repository, payload.as_bytes()).await.unwrap();
        let mut layer = Descriptor::of(media_type::SIMPLE_SIGNING, payload.as_bytes());
        layer.size = size;
        // The same blob as the good bundle's, with a size beyond the limit: it must not spoil the good one.
        let mut same = Descriptor::of(media_type::SIGSTORE_BUNDLE, BUNDLE);
        same.size = limit + 1;
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer.clone(), same]).encode();
        let tag = ImageReference::tagged(image.repository.clone(), image.digest.signature_tag());
        registry.push_manifest(&tag, media_type::OCI_MANIFEST, &manifest).await.unwrap();
        let evidence = gather(&registry, &image.clone().into()).await;
        let item = evidence.items.get(&layer.digest);
        assert!(matches!(item, Some(Retrieval::Rejected(fault)) if fault.code == code), "{item:?}");
        assert!(content(&evidence, BUNDLE));
    }
}

#[tokio::test]
async fn a_listed_manifest_that_is_not_there_is_inconsistent() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let missing = Descriptor::of(media_type::OCI_MANIFEST, b"missing");
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag());
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, b"missing as well");
    let with_layer = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer.clone()]).encode();
    let listed = Descriptor::of(media_type::OCI_MANIFEST, &with_layer);
    let index = Index::new(vec![missing.clone(), listed.clone()]).encode();
    let server = Scripted::with(
        move |request| {
            let path = request.uri().path();
            let document = if path.ends_with(tag.tag().unwrap().as_str()) {
                Some((media_type::OCI_INDEX, index.clone()))
            } else if path.ends_with(&listed.digest.to_string()) {
                Some((media_type::OCI_MANIFEST, with_layer.clone()))
            } else {
                None
            };
            document.map(|(media_type, bytes)| {
                Response::builder().header("content-type", media_type).body(bytes.into()).unwrap()
            })
        },
        |_, response| response,
    )
    .await;
    let evidence = gather(&client(), &server.reference(&format!("app@{}", image.digest))).await;
    for digest in [missing.digest, layer.digest] {
        let item = evidence.items.get(&digest);
        let is_inconsistent =
            matches!(item, Some(Retrieval::Unknown(cause)) if cause.code() == Code::RegistryInconsistent);
        assert!(is_inconsistent, "{item:?}");
    }
}

#[tokio::test]
async fn a_tag_is_resolved_from_the_bytes_where_the_header_is_missing() {
    let server = Scripted::with(
        |_| None,
        |_, mut response| {
            response.headers_mut().remove("docker-content-digest");
            response
        },
    )
    .await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let found = client().resolve(&server.reference("app:v1")).await;
    assert_eq!(found, Observation::Found(image.digest));
    let descriptor = client().describe(&image).await;
    assert_eq!(descriptor.found().unwrap().digest, image.digest);
}

#[tokio::test]
async fn must_not_trust_a_header_over_bytes() {
    let other = Digest::of(b"other");
    let server = Scripted::with(
        |_| None,
        move |line, mut response| {
            if line.starts_with("HEAD") {
                response.headers_mut().remove("docker-content-digest");
            } else if line.starts_with("GET") {
                response.headers_mut().insert("docker-content-digest", other.to_string().parse().unwrap());
            }
            response
        },
    )
    .await;
    let writer = client();
    let image = server.push_image(&writer, "app").await;
    attach_foreign_simple_signing(&writer, &image, b"payload").await;
    let found = client().resolve(&server.reference("app:v1")).await;
    assert_eq!(found.cause().unwrap().code(), Code::RegistryInconsistent);
    let evidence = gather(&client(), &image.into()).await;
    assert_eq!(state(&evidence, Place::SignatureTag), "registry-inconsistent");
}

#[tokio::test]
async fn must_not_call_an_image_unsigned_by_a_remembered_answer_of_a_proxy() {
    let odd = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&odd);
    let server = Scripted::with(
        move |request| {
            let is_odd = switch.load(Ordering::SeqCst) && request.uri().path().contains("/referrers/");
            is_odd.then(|| text(404, "<html>default backend</html>"))
        },
        |_, response| response,
    )
    .await;
    let writer = client();
    let image = server.push_image(&writer, "app").await;
    attach_foreign_bundle(&writer, &image, BUNDLE).await;
    let reader = client();
    let misled = gather(&reader, &server.reference("app:v1")).await;
    assert_eq!(state(&misled, Place::ReferrersApi), "absent");
    odd.store(false, Ordering::SeqCst);
    let asked_again = gather(&reader, &server.reference("app:v1")).await;
    assert_eq!(state(&asked_again, Place::ReferrersApi), "found 1");
    assert!(content(&asked_again, BUNDLE));
}

#[tokio::test]
async fn must_not_take_a_listing_that_was_cut_for_a_whole_one() {
    let server = Scripted::with(
        |request| {
            let path = request.uri().path();
            let listed = path.contains("/referrers/") && request.uri().query().is_none();
            listed.then(|| {
                let same = Descriptor::of(media_type::OCI_MANIFEST, b"the same one again and again");
                let index = Index::new(vec![same; MAX_SIGNATURES + 1]).encode();
                let mut response = text(200, &String::from_utf8(index).unwrap());
                response.headers_mut().insert("content-type", media_type::OCI_INDEX.parse().unwrap());
                response.headers_mut().insert("link", format!("<{path}?page=2>; rel=\"next\"").parse().unwrap());
                response
            })
        },
        |_, response| response,
    )
    .await;
    server.push_image(&client(), "app").await;
    let evidence = gather(&client(), &server.reference("app:v1")).await;
    let report = evidence.places.iter().find(|report| report.place == Place::ReferrersApi).unwrap();
    assert_eq!(state(&evidence, Place::ReferrersApi), "found 1");
    assert!(report.truncated, "{evidence:?}");
}

const BOTH: [Format; 2] = [Format::SigstoreBundle, Format::SimpleSigning];

async fn attached(image: &PinnedImage, formats: &[Format]) -> Evidence {
    client().gather_attached(image, formats, Instant::now() + Duration::from_secs(20)).await
}

/// What somebody asks who is about to attach something: there, and nowhere else.
#[tokio::test]
async fn what_is_attached_is_looked_for_where_more_would_be_put_and_every_other_place_is_unknown() {
    let (server, writer) = (Scripted::plain().await, client());
    let image = server.push_image(&writer, "app").await;
    attach_foreign_bundle(&writer, &image, BUNDLE).await;
    attach_foreign_simple_signing(&writer, &image, b"payload").await;
    for (formats, referrers, signature_tag, requests) in [
        (&BOTH[..1], "found 1", "not-fetched", 3),
        (&BOTH[1..], "not-fetched", "found 1", 2),
        (&BOTH[..], "found 1", "found 1", 5),
        (&[], "not-fetched", "not-fetched", 0),
    ] {
        server.take_log();
        let evidence = attached(&image, formats).await;
        let states = [Place::ReferrersApi, Place::FallbackTag, Place::SignatureTag].map(|at| state(&evidence, at));
        assert_eq!(states, [referrers, "not-fetched", signature_tag], "{formats:?}");
        assert_eq!(content(&evidence, BUNDLE), referrers == "found 1");
        assert_eq!(content(&evidence, b"payload"), signature_tag == "found 1");
        assert!(!evidence.is_complete(), "nothing follows from what is not found");
        let log = server.take_log();
        assert_eq!(log.len(), requests, "{log:#?}");
    }
}

#[tokio::test]
async fn must_not_take_a_place_that_fails_for_one_where_nothing_is_attached() {
    let state_of = async |status: u16, body: String| {
        let failing = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failing);
        let server = Scripted::with(
            move |request| {
                let path = request.uri().path();
                let is_place = path.contains("/referrers/") || path.contains("/manifests/sha256-");
                (is_place && fails.load(Ordering::SeqCst)).then(|| {
                    let mut response = text(status, &body);
                    response.headers_mut().insert("content-type", media_type::OCI_INDEX.parse().unwrap());
                    response.headers_mut().insert("retry-after", "3600".parse().unwrap());
                    response
                })
            },
            |_, response| response,
        )
        .await;
        let image = server.push_image(&client(), "app").await;
        failing.store(true, Ordering::SeqCst);
        let evidence = attached(&image, &BOTH).await;
        [Place::ReferrersApi, Place::FallbackTag, Place::SignatureTag].map(|place| state(&evidence, place))
    };
    for (status, body, expected) in [
        (401, "", "registry-unauthorized"),
        (403, "", "registry-unauthorized"),
        (429, "", "registry-throttled"),
        (500, "", "registry-unavailable"),
        (503, "", "registry-unavailable"),
        (304, "", "registry-inconsistent"),
        (200, "", "registry-inconsistent"),
        (200, "<html>", "registry-inconsistent"),
        (200, "{}", "registry-inconsistent"),
    ] {
        let states = state_of(status, body.to_owned()).await;
        let [listings @ .., tag] = &states;
        assert!(listings.iter().all(|state| state == expected), "{status} {body}: {states:?}");
        // What is under cosign's tag is rejected as that item, where it is none.
        assert!(tag == expected || (status == 200 && tag == "found 1"), "{status} {body}: {states:?}");
    }
    let huge = state_of(200, "x".repeat(MAX_MANIFEST_BYTES + 1)).await;
    assert!(huge.iter().all(|state| state == "registry-inconsistent"), "{huge:?}");
    // Its twin: what the registry itself says it does not have.
    assert_eq!(state_of(404, "{}".to_owned()).await, ["absent"; 3]);
}
