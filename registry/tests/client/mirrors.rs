//! Where images are really read: what a mirror may do for us, and what it must not do to us.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::evidence::{Evidence, Observation, Retrieval};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, media_type};
use hallmark_policy::limits::MAX_SIGNATURES;
use hallmark_registry::{Configuration, CredentialSource, Location, Mirror, Registry, Route, Serves};

use crate::scripted::{Scripted, attach_foreign_bundle, client, client_with, gather, text};

const BUNDLE: &[u8] = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;
const OTHER: &[u8] = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","other":1}"#;

fn mirror(host: &str, serves: Serves) -> Mirror {
    Mirror { location: Location::new(host), serves }
}

fn route(prefix: &str, mirrors: Vec<Mirror>) -> Route {
    Route { prefix: prefix.to_owned(), location: None, is_blocked: false, mirrors }
}

fn routed(routes: Vec<Route>) -> Registry {
    client_with(Configuration { routes, ..Configuration::default() })
}

/// A client of `original` with these mirrors.
fn mirrored(original: &str, mirrors: &[(&str, Serves)]) -> Registry {
    routed(vec![route(original, mirrors.iter().map(|(host, serves)| mirror(host, *serves)).collect())])
}

fn has(evidence: &Evidence, bytes: &[u8]) -> bool {
    matches!(evidence.items.get(&Digest::of(bytes)), Some(Retrieval::Content(content)) if content.bytes() == bytes)
}

fn lists_nothing(evidence: &Evidence) -> bool {
    evidence.places.iter().all(|place| place.manifests.found().is_none_or(Vec::is_empty))
}

/// The same small image at both, under the same path.
async fn copied(original: &Scripted, copy: &Scripted) -> PinnedImage {
    let at_copy = copy.push_image(&client(), "app").await;
    let image = original.push_image(&client(), "app").await;
    assert_eq!(at_copy.digest, image.digest);
    image
}

fn at(host: &str, image: &PinnedImage) -> PinnedImage {
    format!("{host}/app@{}", image.digest).parse::<ImageReference>().unwrap().pinned().unwrap()
}

/// A host that takes connections and says nothing, and how many it has taken.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            held.push(connection);
        }
    });
    (host, taken)
}

fn writes(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| !line.starts_with("GET ") && !line.starts_with("HEAD ")).collect()
}

#[tokio::test]
async fn content_comes_from_the_mirror_and_lists_from_both() {
    let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
    let image = copied(&original, &copy).await;
    attach_foreign_bundle(&client(), &image, BUNDLE).await;
    attach_foreign_bundle(&client(), &at(&copy.host, &image), BUNDLE).await;
    original.take_log();
    copy.take_log();
    let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
    let evidence = gather(&registry, &image.clone().into()).await;
    assert!(has(&evidence, BUNDLE) && evidence.is_complete(), "{evidence:?}");
    // Verdicts know the original's name only, and no signature is listed twice.
    assert_eq!(evidence.image, image.into());
    assert_eq!(evidence.listed().len(), 1);
    assert_eq!(evidence.places.len(), 3);
    let (asked, asked_copy) = (original.take_log(), copy.take_log());
    assert_eq!(asked.len(), 3, "{asked:#?}");
    assert_eq!(asked_copy.len(), 5, "{asked_copy:#?}");
}

#[tokio::test]
async fn a_signature_counts_wherever_it_is_listed() {
    for (at_original, at_copy) in [(BUNDLE, OTHER), (OTHER, BUNDLE)] {
        let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
        let image = copied(&original, &copy).await;
        attach_foreign_bundle(&client(), &image, at_original).await;
        attach_foreign_bundle(&client(), &at(&copy.host, &image), at_copy).await;
        let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
        let evidence = gather(&registry, &image.into()).await;
        assert!(has(&evidence, BUNDLE) && has(&evidence, OTHER) && evidence.is_complete(), "{evidence:?}");
        assert_eq!(evidence.listed().len(), 2);
    }
}

/// What a mirror serves in the place of content is not looked at, and the mirror is left alone for a while.
#[tokio::test]
async fn must_not_take_other_bytes_from_a_mirror() {
    let original = Scripted::plain().await;
    let copy = Scripted::with(
        |request| {
            let path = request.uri().path();
            let is_content = path.contains("/blobs/") || path.contains("/manifests/sha256:");
            (is_content && request.method() == "GET").then(|| text(200, "{\"evil\":true}"))
        },
        |_, response| response,
    )
    .await;
    let image = copied(&original, &copy).await;
    attach_foreign_bundle(&client(), &image, BUNDLE).await;
    original.take_log();
    let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
    let evidence = gather(&registry, &image.clone().into()).await;
    assert!(has(&evidence, BUNDLE) && evidence.is_complete(), "{evidence:?}");
    copy.take_log();
    let again = gather(&registry, &image.into()).await;
    assert!(has(&again, BUNDLE));
    assert_eq!(copy.take_log(), Vec::<String>::new());
}

/// How much of the time it costs is tested beside `MirrorView::patience`.
#[tokio::test]
async fn a_mirror_that_fails_or_hangs_is_asked_one_thing_and_then_left_alone() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let broken = Scripted::with(|_| Some(text(500, "broken")), |_, response| response).await;
    let (silent, connections) = silent().await;
    for host in [gone, broken.host.clone(), silent] {
        let original = Scripted::plain().await;
        let image = original.push_image(&client(), "app").await;
        attach_foreign_bundle(&client(), &image, BUNDLE).await;
        let registry = mirrored(&original.host, &[(&host, Serves::DigestsAndTags)]);
        let mut asked = Vec::new();
        for _ in 0..2 {
            let deadline = Instant::now() + Duration::from_secs(6);
            let evidence = registry.gather(&original.reference("app:v1"), deadline).await;
            assert!(has(&evidence, BUNDLE) && evidence.is_complete(), "{host}: {evidence:?}");
            asked.push((broken.take_log(), connections.swap(0, Ordering::SeqCst)));
        }
        let [(first, connected), (second, connected_again)] = &asked[..] else { panic!("asked twice") };
        assert!(second.is_empty() && *connected_again == 0, "{host}: {asked:?}");
        if host == broken.host {
            assert!(!first.is_empty() && first.iter().all(|line| *line == "HEAD /v2/app/manifests/v1"), "{first:?}");
        } else {
            assert!(*connected <= 1, "{host}: {asked:?}");
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

/// Whoever may ask about images may ask about those that a mirror refuses.
#[tokio::test]
async fn must_not_leave_a_mirror_alone_for_everybody_because_it_refuses_one_repository() {
    for (status, is_for_all) in [(400, false), (401, false), (403, false), (500, true)] {
        let (original, copy) = (Scripted::plain().await, {
            let refuses = move |request: &axum::extract::Request| {
                request.uri().path().contains("/secret/").then(|| {
                    let mut response = text(status, "{}");
                    response.headers_mut().insert("retry-after", "0".parse().unwrap());
                    response
                })
            };
            Scripted::with(refuses, |_, response| response).await
        });
        let image = copied(&original, &copy).await;
        attach_foreign_bundle(&client(), &image, BUNDLE).await;
        let secret = original.push_image(&client(), "secret/app").await;
        let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
        for _ in 0..2 {
            copy.take_log();
            let evidence = gather(&registry, &secret.clone().into()).await;
            assert!(lists_nothing(&evidence) && evidence.is_complete(), "{status}: {evidence:?}");
        }
        assert_eq!(copy.take_log(), Vec::<String>::new(), "{status}: it has refused that a moment ago");
        let evidence = gather(&registry, &image.into()).await;
        assert!(has(&evidence, BUNDLE) && evidence.is_complete(), "{status}: {evidence:?}");
        assert_eq!(copy.take_log().is_empty(), is_for_all, "{status}");
    }
}

/// A mirror's 404 proves nothing: only the original's does.
#[tokio::test]
async fn must_not_call_an_image_unsigned_because_a_mirror_lists_nothing() {
    let is_failing = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&is_failing);
    let original = Scripted::with(
        move |_| fails.load(Ordering::SeqCst).then(|| text(503, "down for maintenance")),
        |_, response| response,
    )
    .await;
    let copy = Scripted::plain().await;
    let image = copied(&original, &copy).await;
    let registry = mirrored(&original.host, &[(&copy.host, Serves::DigestsAndTags)]);
    is_failing.store(true, Ordering::SeqCst);
    let evidence = gather(&registry, &image.clone().into()).await;
    assert!(lists_nothing(&evidence) && !evidence.is_complete(), "{evidence:?}");
    assert!(evidence.causes().all(|cause| cause.code() == Code::RegistryUnavailable), "{evidence:?}");
    // Its twin: what the mirror does list counts, although the set may not be whole.
    attach_foreign_bundle(&client(), &at(&copy.host, &image), BUNDLE).await;
    let evidence = gather(&registry, &original.reference("app:v1")).await;
    assert!(has(&evidence, BUNDLE) && !evidence.is_complete(), "{evidence:?}");
    is_failing.store(false, Ordering::SeqCst);
    let unsigned = original.push_image(&client(), "unsigned").await;
    let evidence = gather(&registry, &unsigned.into()).await;
    assert!(lists_nothing(&evidence) && evidence.is_complete(), "{evidence:?}");
}

/// Behind a firewall that swallows everything, the original takes the whole time: the mirror's part must be left.
#[tokio::test]
async fn an_original_that_hangs_leaves_time_for_what_the_mirror_lists() {
    let (original, _) = silent().await;
    let copy = Scripted::plain().await;
    let image = copy.push_image(&client(), "app").await;
    attach_foreign_bundle(&client(), &image, BUNDLE).await;
    let registry = mirrored(&original, &[(&copy.host, Serves::DigestsAndTags)]);
    let asked: ImageReference = format!("{original}/app:v1").parse().unwrap();
    let evidence = registry.gather(&asked, Instant::now() + Duration::from_secs(6)).await;
    assert!(has(&evidence, BUNDLE) && !evidence.is_complete(), "{evidence:?}");
    assert!(evidence.causes().all(|cause| cause.code() == Code::DeadlineExceeded), "{evidence:?}");
}

#[tokio::test]
async fn must_not_let_a_mirror_crowd_out_what_the_original_lists() {
    let original = Scripted::plain().await;
    let flood = |request: &axum::extract::Request| {
        request.uri().path().contains("/referrers/").then(|| {
            let entries = (0..MAX_SIGNATURES).map(|n| {
                let mut entry = Descriptor::of(media_type::OCI_MANIFEST, format!("{n}").as_bytes());
                entry.size = 4 * 1024 * 1024;
                entry
            });
            Response::builder()
                .header("content-type", media_type::OCI_INDEX)
                .body(Index::new(entries.collect()).encode().into())
                .unwrap()
        })
    };
    let copy = Scripted::with(flood, |_, response| response).await;
    let image = copied(&original, &copy).await;
    attach_foreign_bundle(&client(), &image, BUNDLE).await;
    let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
    let evidence = gather(&registry, &image.into()).await;
    assert!(has(&evidence, BUNDLE), "{evidence:?}");
    let manifest = evidence.listed().first().map(|(digest, _)| *digest).unwrap();
    assert!(matches!(evidence.items.get(&manifest), Some(Retrieval::Content(_))), "the original's comes first");
}

/// Whether it is a signature nobody can say, so that it makes an image neither signed nor unsigned.
#[tokio::test]
async fn must_not_take_what_a_mirror_lists_and_nobody_has_for_a_signature_or_for_none() {
    const LISTED: usize = 3;
    let original = Scripted::plain().await;
    let made_up = |request: &axum::extract::Request| {
        request.uri().path().contains("/referrers/").then(|| {
            let entries = (0..LISTED).map(|n| Descriptor::of(media_type::OCI_MANIFEST, format!("{n}").as_bytes()));
            Response::builder()
                .header("content-type", media_type::OCI_INDEX)
                .body(Index::new(entries.collect()).encode().into())
                .unwrap()
        })
    };
    let copy = Scripted::with(made_up, |_, response| response).await;
    let image = copied(&original, &copy).await;
    let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
    for is_signed in [false, true] {
        if is_signed {
            attach_foreign_bundle(&client(), &image, BUNDLE).await;
        }
        original.take_log();
        let evidence = gather(&registry, &image.clone().into()).await;
        assert_eq!((has(&evidence, BUNDLE), evidence.is_complete()), (is_signed, false), "{evidence:?}");
        let causes: Vec<_> = evidence.causes().collect();
        assert!(causes.iter().all(|cause| cause.code() == Code::RegistryInconsistent), "{causes:?}");
        assert_eq!(causes.len(), LISTED);
        // The original is asked once for each of them, and for nothing else that it does not list.
        let asked = original.take_log().iter().filter(|line| line.contains("/manifests/sha256:")).count();
        assert_eq!(asked, LISTED + usize::from(is_signed));
    }
    // Its twin: without that mirror, the same image is known.
    assert!(gather(&client(), &image.into()).await.is_complete());
}

#[tokio::test]
async fn must_not_resolve_a_tag_at_a_mirror_that_is_not_to_be_believed() {
    let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
    let image = original.push_image(&client(), "app").await;
    let stale = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), Vec::new()).encode();
    let tag: ImageReference = format!("{}/app:v1", copy.host).parse().unwrap();
    client().push_blob(tag.repository(), b"{}").await.unwrap();
    client().push_manifest(&tag, media_type::OCI_MANIFEST, &stale).await.unwrap();
    let asked = original.reference("app:v1");
    for (serves, expected) in [
        (Serves::Digests, image.digest),
        (Serves::Tags, Digest::of(&stale)),
        (Serves::DigestsAndTags, Digest::of(&stale)),
    ] {
        copy.take_log();
        let registry = mirrored(&original.host, &[(&copy.host, serves)]);
        assert_eq!(registry.resolve_on_route(&asked).await, Observation::Found(expected), "{serves:?}");
        assert_eq!(copy.take_log().is_empty(), serves == Serves::Digests);
        // What is going to be signed is what the original says, whatever is configured.
        assert_eq!(registry.resolve(&asked).await, Observation::Found(image.digest), "{serves:?}");
        let fetched = registry.fetch_manifest(&asked).await;
        assert_eq!(fetched.found().unwrap().content.digest(), image.digest);
        assert_eq!(copy.take_log(), Vec::<String>::new());
    }
    // A tag that the mirror does not have is asked for at the original.
    let other = original.push_image(&client(), "other").await;
    let registry = mirrored(&original.host, &[(&copy.host, Serves::DigestsAndTags)]);
    let found = registry.resolve_on_route(&original.reference("other:v1")).await;
    assert_eq!(found, Observation::Found(other.digest));
}

#[tokio::test]
async fn must_not_write_to_a_mirror_nor_read_there_what_is_written() {
    let original = Scripted::without_referrers().await;
    let copy = Scripted::without_referrers().await;
    let image = copied(&original, &copy).await;
    copy.take_log();
    let registry = mirrored(&original.host, &[(&copy.host, Serves::DigestsAndTags)]);
    registry.danger_attach_unverified_bundle(&image, BUNDLE, crate::scripted::annotations()).await.unwrap();
    registry.danger_attach_unverified_simple_signing(&image, b"payload", "c2ln").await.unwrap();
    assert_eq!(copy.take_log(), Vec::<String>::new());
    assert!(!writes(&original.take_log()).is_empty());
    assert!(has(&gather(&registry, &image.into()).await, BUNDLE));
}

/// Notes who shows which credentials.
async fn noting(seen: &Arc<Mutex<Vec<String>>>) -> Scripted {
    let seen = Arc::clone(seen);
    Scripted::with(
        move |request| match request.headers().get("authorization") {
            Some(value) => {
                seen.lock().unwrap().push(value.to_str().unwrap().to_owned());
                None
            }
            None => {
                let mut response = text(401, "who are you?");
                response.headers_mut().insert("www-authenticate", "Basic realm=\"here\"".parse().unwrap());
                Some(response)
            }
        },
        |_, response| response,
    )
    .await
}

#[tokio::test]
async fn must_not_show_a_mirror_the_credentials_of_the_original_nor_the_other_way_round() {
    let (at_original, at_copy) = (Arc::default(), Arc::default());
    let (original, copy) = (noting(&at_original).await, noting(&at_copy).await);
    let both = CredentialSource::anonymous()
        .with_password(&original.host, "ann", "canary of the original")
        .with_password(&copy.host, "bob", "canary of the copy");
    let knows = |credentials| client_with(Configuration { credentials, ..Configuration::default() });
    let image = original.push_image(&knows(both.clone()), "app").await;
    copy.push_image(&knows(both.clone()), "app").await;
    attach_foreign_bundle(&knows(both.clone()), &image, BUNDLE).await;
    attach_foreign_bundle(&knows(both.clone()), &at(&copy.host, &image), BUNDLE).await;
    let only = CredentialSource::anonymous().with_password(&original.host, "ann", "canary of the original");
    for (credentials, shown_to_copy) in [(both, 1), (only, 0)] {
        at_original.lock().unwrap().clear();
        at_copy.lock().unwrap().clear();
        let routes = vec![route(&original.host, vec![mirror(&copy.host, Serves::DigestsAndTags)])];
        let registry = client_with(Configuration { routes, credentials, ..Configuration::default() });
        let evidence = gather(&registry, &original.reference("app:v1")).await;
        assert!(has(&evidence, BUNDLE), "{evidence:?}");
        let distinct = |seen: &Arc<Mutex<Vec<String>>>| {
            let mut seen = seen.lock().unwrap().clone();
            seen.sort();
            seen.dedup();
            seen
        };
        let (original, copy): (Vec<String>, Vec<String>) = (distinct(&at_original), distinct(&at_copy));
        assert_eq!((original.len(), copy.len()), (1, shown_to_copy));
        assert_ne!(original.first(), copy.first());
    }
}

#[tokio::test]
async fn must_not_ask_anything_about_a_name_that_is_blocked() {
    let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
    let image = copied(&original, &copy).await;
    let blocked = |prefix: String, mirrors| Route { is_blocked: true, ..route(&prefix, mirrors) };
    let everything = mirror(&copy.host, Serves::DigestsAndTags);
    let registry = routed(vec![blocked(format!("{}/app", original.host), vec![everything.clone()])]);
    let evidence = gather(&registry, &original.reference("app:v1")).await;
    assert_eq!(evidence.resolution.cause().map(|cause| cause.code()), Some(Code::RegistryBlocked));
    let evidence = gather(&registry, &image.clone().into()).await;
    assert!(evidence.causes().count() > 0 && evidence.causes().all(|cause| cause.code() == Code::RegistryBlocked));
    assert!(registry.push_blob(&image.repository, b"x").await.is_err());
    assert_eq!((original.take_log(), copy.take_log()), (Vec::new(), Vec::new()));
    // A block is for the mirror, too, when it is the mirror that is blocked; and for nothing else.
    let registry = routed(vec![route(&original.host, vec![everything]), blocked(copy.host.clone(), Vec::new())]);
    assert_eq!(registry.resolve_on_route(&original.reference("app:v1")).await, Observation::Found(image.digest));
    assert!(gather(&registry, &image.into()).await.is_complete());
    assert_eq!(copy.take_log(), Vec::<String>::new());
}

/// A block of a path is for every port of the host; only what says more than it lifts it.
#[tokio::test]
async fn must_not_lift_a_block_of_a_path_by_a_route_for_a_port() {
    let server = Scripted::plain().await;
    server.push_image(&client(), "team/app").await;
    let (host, _) = server.host.split_once(':').unwrap();
    for (prefix, is_blocked) in [("", true), ("/t", true), ("/team", false), ("/team/app", false)] {
        let block = Route { is_blocked: true, ..route(&format!("{host}/team"), Vec::new()) };
        let registry = routed(vec![block, route(&format!("{}{prefix}", server.host), Vec::new())]);
        let found = registry.resolve(&server.reference("team/app:v1")).await;
        let expected = is_blocked.then_some(Code::RegistryBlocked);
        assert_eq!(found.cause().map(|cause| cause.code()), expected, "{prefix}: {found:?}");
    }
}

#[tokio::test]
async fn what_has_another_location_is_read_there_and_written_nowhere() {
    let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
    let image = copied(&original, &copy).await;
    attach_foreign_bundle(&client(), &at(&copy.host, &image), BUNDLE).await;
    original.take_log();
    let location = Some(Location::new(copy.host.as_str()));
    let registry = routed(vec![Route { location, ..route(&original.host, Vec::new()) }]);
    let asked = original.reference("app:v1");
    assert_eq!(registry.resolve(&asked).await, Observation::Found(image.digest));
    let evidence = gather(&registry, &asked).await;
    assert!(has(&evidence, BUNDLE) && evidence.is_complete(), "{evidence:?}");
    assert_eq!(evidence.image, asked);
    assert_eq!(registry.list_tags(&image.repository).await.found().map(Vec::len), Some(1));
    let attached = registry.danger_attach_unverified_bundle(&image, OTHER, crate::scripted::annotations()).await;
    assert!(attached.unwrap_err().to_string().contains("written nowhere"));
    assert_eq!(original.take_log(), Vec::<String>::new());
    // Its absence proves absence: it is the original now.
    let missing = gather(&registry, &original.reference("app:v2")).await;
    assert_eq!(missing.resolution, Observation::Absent);
}

#[tokio::test]
async fn a_mirror_is_asked_at_its_own_path_and_told_whose_it_is() {
    let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
    let image = original.push_image(&client(), "team/app").await;
    let location = Location {
        address: format!("{}/hub", copy.host),
        api_root: Some("/api/docker/v2".to_owned()),
        with_namespace: true,
    };
    let routes = vec![
        route(&original.host, vec![mirror("127.0.0.1:1", Serves::DigestsAndTags)]),
        route(&format!("{}/team", original.host), vec![Mirror { location, serves: Serves::Digests }]),
    ];
    assert!(gather(&routed(routes), &image.clone().into()).await.is_complete());
    let mut log = copy.take_log();
    log.sort();
    let (fallback, signature) = (image.digest.fallback_tag(), image.digest.signature_tag());
    let expected =
        [format!("manifests/{fallback}"), format!("manifests/{signature}"), format!("referrers/{}", image.digest)];
    let mut expected: Vec<String> = expected
        .iter()
        .map(|path| format!("GET /api/docker/v2/hub/app/{path}?ns={}", original.host.replace(':', "%3A")))
        .collect();
    expected.sort();
    assert_eq!(log, expected);
}

/// What a mirror lists beside the original is not fetched where the original's signatures are enough; and nobody else
/// may take what is there for all of it.
#[tokio::test]
async fn must_not_take_what_the_original_lists_for_all_of_it_where_that_was_enough() {
    let (original, copy) = (Scripted::plain().await, Scripted::plain().await);
    let image = copied(&original, &copy).await;
    attach_foreign_bundle(&client(), &image, BUNDLE).await;
    let left_out = attach_foreign_bundle(&client(), &at(&copy.host, &image), OTHER).await;
    let registry = mirrored(&original.host, &[(&copy.host, Serves::Digests)]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let part = registry.gather_until(&image.clone().into(), deadline, &|evidence| has(evidence, BUNDLE)).await;
    assert!(has(&part, BUNDLE) && !has(&part, OTHER) && part.stopped_early(), "{part:?}");
    let item = part.items.get(&left_out);
    assert!(matches!(item, Some(Retrieval::Unknown(cause)) if cause.code() == Code::NotFetched), "{item:?}");
    let whole = registry.gather_until(&image.into(), deadline, &|evidence| has(evidence, OTHER)).await;
    assert!(has(&whole, BUNDLE) && has(&whole, OTHER) && whole.is_complete(), "{whole:?}");
}
