//! Copying images: everything comes along, nothing wrong does, and no tag is written before all of it is there.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use hallmark_policy::evidence::{Evidence, Observation, Place};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, media_type};
use hallmark_registry::{
    Copied, CopyError, CopyOptions, Destination, Layout, LayoutError, LayoutName, Origin, PushError, Registry,
};

use crate::scripted::{
    Scripted, annotations, attach_foreign_bundle, attach_foreign_simple_signing, client, gather, text,
};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn options() -> CopyOptions {
    CopyOptions { jobs: 4, dry_run: false, allow_missing: false, progress: Arc::default() }
}

fn to(image: &ImageReference) -> Destination {
    Destination::Registry { repository: image.repository().clone(), tag: image.tag().cloned(), digest: image.digest() }
}

async fn copy(registry: &Registry, from: &ImageReference, target: &ImageReference) -> Result<Copied, CopyError> {
    registry.copy(&Origin::Registry(from.clone()), &to(target), &options()).await
}

/// A layer of several pieces.
fn large() -> Vec<u8> {
    (0_u32..400_000).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Pushes an image with one large layer.
async fn push_large(registry: &Registry, image: &ImageReference) -> (PinnedImage, Digest) {
    let layer = registry.push_blob(image.repository(), &large()).await.unwrap();
    registry.push_blob(image.repository(), b"{}").await.unwrap();
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let manifest = Manifest::new(config, vec![Descriptor::of(LAYER, &large())]).encode();
    let pushed = registry.push_manifest(image, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    (image.pin(pushed.digest), layer)
}

/// An index of two images; a bundle at one of them, both formats at the index, and something that refers to a bundle.
async fn push_signed_index(registry: &Registry, scripted: &Scripted) -> (ImageReference, Vec<PinnedImage>) {
    let image = scripted.reference("from/app:multi");
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let config = format!(r#"{{"architecture":"{architecture}","os":"linux"}}"#);
        registry.push_blob(image.repository(), config.as_bytes()).await.unwrap();
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new()).encode();
        let entry = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        let pinned = image.pin(entry.digest);
        registry.push_manifest(&pinned.into(), media_type::OCI_MANIFEST, &manifest).await.unwrap();
        entries.push(entry);
    }
    let child = image.pin(entries.first().unwrap().digest);
    let pushed = registry.push_manifest(&image, media_type::OCI_INDEX, &Index::new(entries).encode()).await.unwrap();
    let root = image.pin(pushed.digest);
    registry.danger_attach_unverified_bundle(&child, b"{\"of\":\"child\"}", annotations()).await.unwrap();
    let bundle = registry.danger_attach_unverified_bundle(&root, b"{\"of\":\"root\"}", annotations()).await.unwrap();
    attach_foreign_simple_signing(registry, &root, b"payload").await;
    let bundle = image.pin(bundle.manifest);
    attach_foreign_bundle(registry, &bundle, b"{\"of\":\"bundle\"}").await;
    scripted.take_log();
    (image, vec![root, child, bundle])
}

fn listed(evidence: &Evidence, place: Place) -> Vec<Digest> {
    let reports = evidence.places.iter().filter(|report| report.place == place);
    let mut digests: Vec<Digest> = reports.filter_map(|report| report.manifests.found()).flatten().copied().collect();
    digests.sort();
    digests
}

async fn same_evidence(registry: &Registry, from: &PinnedImage, target: &ImageReference, place: Place) {
    let before = gather(registry, &from.clone().into()).await;
    let after = gather(registry, &target.pin(from.digest).into()).await;
    assert!(!before.items.is_empty());
    assert_eq!(before.items, after.items);
    assert_eq!(listed(&before, Place::ReferrersApi), listed(&after, place));
    assert_eq!(listed(&before, Place::SignatureTag), listed(&after, Place::SignatureTag));
}

#[tokio::test]
async fn an_image_comes_with_everything_that_is_attached_also_to_a_registry_of_before_referrers() {
    let (from, registry) = (Scripted::plain().await, client());
    let (image, parts) = push_signed_index(&registry, &from).await;
    for (target, place) in
        [(Scripted::plain().await, Place::ReferrersApi), (Scripted::without_referrers().await, Place::FallbackTag)]
    {
        let to = target.reference("to/app:copied");
        let copied = copy(&registry, &image, &to).await.unwrap();
        assert_eq!((copied.digest, copied.named_before), (parts[0].digest, None));
        // The index, two images, three bundles and the manifest of the tag.
        assert_eq!((copied.manifests.copied, copied.attached.len()), (7, 4));
        let log = target.take_log();
        let writes: Vec<&String> =
            log.iter().filter(|line| line.starts_with("PUT") && line.contains("/manifests/")).collect();
        assert!(writes.last().unwrap().ends_with("/manifests/copied"), "{writes:?}");
        for part in &parts {
            same_evidence(&registry, part, &to, place).await;
        }
        target.take_log();
        let again = copy(&registry, &image, &to).await.unwrap();
        assert_eq!((again.manifests.copied, again.blobs.copied, again.bytes), (0, 0, 0));
        assert_eq!(again.named_before, Some(parts[0].digest));
        assert!(!target.take_log().iter().any(|line| line.starts_with("POST")));
    }
}

#[tokio::test]
async fn must_not_complete_a_blob_whose_bytes_are_wrong_too_few_or_too_many() {
    let wrong = Arc::new(Mutex::new(None::<Vec<u8>>));
    let (served, cut) = (Arc::clone(&wrong), Arc::new(AtomicUsize::new(0)));
    let is_cut = Arc::clone(&cut);
    let large_name = format!("/blobs/{}", Digest::of(&large()));
    let from = Scripted::with(
        move |request| {
            let is_layer = request.method() == Method::GET && request.uri().path().ends_with(&large_name);
            let bytes = served.lock().unwrap().clone().filter(|_| is_layer)?;
            let half = bytes[..bytes.len() / 2].to_vec();
            let builder = Response::builder().status(200);
            match is_cut.load(Ordering::Relaxed) {
                0 => Some(builder.body(Body::from(bytes)).unwrap()),
                // The connection ends before the body does.
                1 => {
                    let pieces = [Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
                    let body = Body::from_stream(futures_util::stream::iter(pieces));
                    Some(builder.header("content-length", bytes.len()).body(body).unwrap())
                }
                // Nothing says where the body ends.
                _ => Some(
                    builder
                        .body(Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(half)])))
                        .unwrap(),
                ),
            }
        },
        |_, response| response,
    )
    .await;
    let (target, registry) = (Scripted::plain().await, client());
    let (source, to) = (from.reference("from/app:1"), target.reference("to/app:1"));
    let (pinned, layer) = push_large(&registry, &source).await;
    let mut flipped = large();
    *flipped.last_mut().unwrap() ^= 1;
    let longer = [large(), vec![0]].concat();
    let shorter = large()[1..].to_vec();
    for (bytes, way) in [(flipped, 0), (longer, 0), (shorter, 0), (large(), 1), (large(), 2)] {
        *wrong.lock().unwrap() = Some(bytes);
        cut.store(way, Ordering::Relaxed);
        let error = copy(&registry, &source, &to).await.unwrap_err();
        match way {
            1 => assert!(matches!(error, CopyError::Unknown(_)), "{error}"),
            _ => assert!(matches!(error, CopyError::Untrue { digest, .. } if digest == layer), "{error}"),
        }
        assert_eq!(registry.fetch_blob(to.repository(), layer, 1 << 24).await, Observation::Absent);
        assert_eq!(registry.resolve(&to).await, Observation::Absent);
    }
    *wrong.lock().unwrap() = None;
    let copied = copy(&registry, &source, &to).await.unwrap();
    // The small configuration may have been there before.
    assert!(copied.digest == pinned.digest && copied.bytes >= u64::try_from(large().len()).unwrap());
    let Observation::Found(content) = registry.fetch_blob(to.repository(), layer, 1 << 24).await else { panic!() };
    assert_eq!(content.bytes(), large());
}

#[tokio::test]
async fn must_not_write_anything_when_a_place_cannot_be_asked() {
    for place in ["/referrers/", ".sig", ".att", ".sbom", "/manifests/sha256-"] {
        let is_broken = Arc::new(AtomicUsize::new(0));
        let broken = Arc::clone(&is_broken);
        let from = Scripted::with(
            move |request| {
                let breaks = broken.load(Ordering::Relaxed) == 1 && request.uri().path().contains(place);
                breaks.then(|| text(503, "later"))
            },
            |_, response| response,
        )
        .await;
        let (target, registry) = (Scripted::plain().await, client());
        let image = from.push_image(&registry, "from/app").await;
        let to = target.reference("to/app:1");
        is_broken.store(1, Ordering::Relaxed);
        let error = copy(&registry, &image.clone().into(), &to).await.unwrap_err();
        assert!(matches!(error, CopyError::Unknown(_)), "{place}: {error}");
        assert_eq!(target.take_log(), Vec::<String>::new(), "{place}");
        is_broken.store(0, Ordering::Relaxed);
        assert_eq!(copy(&registry, &image.clone().into(), &to).await.unwrap().digest, image.digest);
    }
}

#[tokio::test]
async fn must_not_leave_a_tag_without_its_signatures_whichever_write_fails() {
    let (from, registry) = (Scripted::plain().await, client());
    let (image, parts) = push_signed_index(&registry, &from).await;
    let mut failed = 0;
    for n in 0.. {
        let writes = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&writes);
        let target = Scripted::with(
            move |request| {
                let is_write = request.method() == Method::PUT || request.method() == Method::POST;
                // From the n-th write on the disk is full.
                (is_write && seen.fetch_add(1, Ordering::Relaxed) >= n).then(|| text(413, "no space left"))
            },
            |_, response| response,
        )
        .await;
        let to = target.reference("to/app:1");
        match copy(&registry, &image, &to).await {
            Ok(copied) => {
                assert_eq!(copied.digest, parts[0].digest);
                same_evidence(&registry, &parts[0], &to, Place::ReferrersApi).await;
                break;
            }
            Err(error) => {
                failed += 1;
                assert!(!error.hint().is_empty());
                assert_eq!(registry.resolve(&to).await, Observation::Absent, "{n}");
            }
        }
    }
    assert!(failed > 15, "{failed}");
}

#[tokio::test]
async fn a_copy_that_was_interrupted_goes_on_where_it_stopped() {
    let (from, registry) = (Scripted::plain().await, client());
    let source = from.reference("from/app:1");
    push_large(&registry, &source).await;
    let is_full = Arc::new(AtomicUsize::new(1));
    let full = Arc::clone(&is_full);
    let target = Scripted::with(
        move |request| {
            let is_tag = request.method() == Method::PUT && request.uri().path().contains("/manifests/");
            (is_tag && full.load(Ordering::Relaxed) == 1).then(|| text(403, "quota"))
        },
        |_, response| response,
    )
    .await;
    let to = target.reference("to/app:1");
    copy(&registry, &source, &to).await.unwrap_err();
    is_full.store(0, Ordering::Relaxed);
    let copied = copy(&registry, &source, &to).await.unwrap();
    assert_eq!((copied.blobs.copied, copied.blobs.already_there, copied.manifests.copied), (0, 2, 1));
}

#[tokio::test]
async fn blobs_of_the_same_registry_are_mounted_and_sent_where_that_is_refused() {
    for refuses in [false, true] {
        let served = Scripted::with(
            move |request| {
                let mounts = request.uri().query().is_some_and(|query| query.contains("mount="));
                (refuses && mounts).then(|| text(403, "no"))
            },
            |_, response| response,
        )
        .await;
        let registry = client();
        let (source, to) = (served.reference("from/app:1"), served.reference("to/app:1"));
        let (pinned, _) = push_large(&registry, &source).await;
        served.take_log();
        let copied = copy(&registry, &source, &to).await.unwrap();
        let log = served.take_log();
        assert_eq!(copied.digest, pinned.digest);
        assert_eq!(copied.blobs.mounted, if refuses { 0 } else { 2 });
        assert_eq!(copied.bytes == 0, !refuses);
        assert_eq!(log.iter().any(|line| line.starts_with("PUT") && line.contains("/blobs/")), refuses, "{log:?}");
        assert_eq!(registry.resolve(&to).await, Observation::Found(pinned.digest));
    }
}

#[tokio::test]
async fn must_not_lose_what_the_target_has_under_the_same_tags() {
    let (from, target, registry) = (Scripted::plain().await, Scripted::without_referrers().await, client());
    let image = from.push_image(&registry, "app").await;
    let to = target.reference("app:v1");
    copy(&registry, &image.clone().into(), &to).await.unwrap();
    let there = to.pin(image.digest);
    registry.danger_attach_unverified_bundle(&there, b"{\"of\":\"target\"}", annotations()).await.unwrap();
    registry.danger_attach_unverified_simple_signing(&there, b"one", "c2ln").await.unwrap();
    registry.danger_attach_unverified_bundle(&image, b"{\"of\":\"source\"}", annotations()).await.unwrap();
    registry.danger_attach_unverified_simple_signing(&image, b"two", "c2ln").await.unwrap();
    copy(&registry, &image.clone().into(), &to).await.unwrap();
    let evidence = gather(&registry, &there.clone().into()).await;
    assert_eq!(listed(&evidence, Place::FallbackTag).len(), 2);
    let signatures = ImageReference::tagged(to.repository().clone(), image.digest.signature_tag());
    let Observation::Found(fetched) = registry.fetch_manifest(&signatures).await else { panic!() };
    assert_eq!(Manifest::parse(fetched.content.bytes()).unwrap().layers.len(), 2);
}

#[tokio::test]
async fn must_not_leave_out_what_is_missing_without_being_told_to() {
    let gone = Arc::new(Mutex::new(String::new()));
    let hidden = Arc::clone(&gone);
    let from = Scripted::with(
        move |request| {
            let gone = hidden.lock().unwrap().clone();
            let is_gone = !gone.is_empty() && request.uri().path().ends_with(&gone);
            is_gone.then(|| text(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#))
        },
        |_, response| response,
    )
    .await;
    let (target, registry) = (Scripted::plain().await, client());
    let image = from.push_image(&registry, "app").await;
    let bundle = registry.danger_attach_unverified_bundle(&image, b"{}", annotations()).await.unwrap().manifest;
    *gone.lock().unwrap() = format!("/manifests/{bundle}");
    let to = target.reference("app:v1");
    let error = copy(&registry, &image.clone().into(), &to).await.unwrap_err();
    assert!(matches!(error, CopyError::Missing { digest, .. } if digest == bundle), "{error}");
    assert_eq!(registry.resolve(&to).await, Observation::Absent);
    let options = CopyOptions { allow_missing: true, ..options() };
    let origin = Origin::Registry(image.clone().into());
    let copied = registry.copy(&origin, &self::to(&to), &options).await.unwrap();
    assert_eq!((copied.missing, copied.digest), (vec![bundle], image.digest));
}

/// The embedded registry looks whether the images of an index are there, as many do.
#[tokio::test]
async fn an_index_of_which_images_are_missing_is_copied_whole_or_not_at_all_and_it_is_said_why() {
    let gone = Arc::new(Mutex::new(String::new()));
    let hidden = Arc::clone(&gone);
    let from = Scripted::with(
        move |request| {
            let gone = hidden.lock().unwrap().clone();
            let is_gone = !gone.is_empty() && request.uri().path().ends_with(&gone);
            is_gone.then(|| text(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let (image, pinned) = push_signed_index(&registry, &from).await;
    let [root, child, _] = &pinned[..] else { panic!("three manifests") };
    let Observation::Found(fetched) = registry.fetch_manifest(&child.clone().into()).await else { panic!("no child") };
    *gone.lock().unwrap() = format!("/manifests/{}", child.digest);
    let options = CopyOptions { allow_missing: true, ..options() };
    for has_it in [false, true] {
        let target = Scripted::plain().await;
        let to = target.reference("app:v1");
        if has_it {
            registry.push_blob(to.repository(), br#"{"architecture":"amd64","os":"linux"}"#).await.unwrap();
            let at_target = to.pin(child.digest).into();
            registry.push_manifest(&at_target, &fetched.media_type, fetched.content.bytes()).await.unwrap();
        }
        let copied = registry.copy(&Origin::Registry(image.clone()), &self::to(&to), &options).await;
        match copied {
            Err(CopyError::Sparse { index, missing: 1, .. }) if !has_it => {
                assert_eq!(index, root.digest);
                assert_eq!(registry.resolve(&to).await, Observation::Absent, "nothing has the name");
            }
            // The index is the one that was signed.
            Ok(copied) if has_it => {
                assert_eq!((copied.digest, copied.missing), (root.digest, vec![child.digest]));
                assert_eq!(registry.resolve(&to).await, Observation::Found(root.digest));
            }
            other => panic!("{has_it}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn must_not_leave_out_a_missing_blob_even_when_told_to_leave_out_what_is_missing() {
    let from = Scripted::with(
        |request| {
            let is_gone = request.method() == Method::GET && request.uri().path().contains("/blobs/sha256:");
            is_gone.then(|| text(404, r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#))
        },
        |_, response| response,
    )
    .await;
    let (target, registry) = (Scripted::plain().await, client());
    let image = from.push_image(&registry, "app").await;
    let to = target.reference("app:v1");
    let options = CopyOptions { allow_missing: true, ..options() };
    let error = registry.copy(&Origin::Registry(image.into()), &self::to(&to), &options).await.unwrap_err();
    assert!(matches!(error, CopyError::MissingBlob { .. }), "{error}");
    assert_eq!(registry.resolve(&to).await, Observation::Absent);
}

#[tokio::test]
async fn must_not_believe_a_target_that_says_it_has_what_it_has_not() {
    let (from, registry) = (Scripted::plain().await, client());
    let source = from.reference("app:1");
    let (pinned, _) = push_large(&registry, &source).await;
    for forgets in [true, false] {
        let target = Scripted::with(
            move |request| {
                let is_look = request.method() == Method::HEAD && request.uri().path().contains("/blobs/");
                (is_look && forgets).then(|| text(404, ""))
            },
            // It takes every blob, and does not say which one it was.
            |line, mut response| {
                if line.starts_with("PUT ") && line.contains("/blobs/") {
                    response.headers_mut().remove("docker-content-digest");
                }
                response
            },
        )
        .await;
        let to = target.reference("app:1");
        match copy(&registry, &source, &to).await {
            Err(CopyError::Push(PushError::Missing { what: "blob", .. })) if forgets => {
                assert_eq!(registry.resolve(&to).await, Observation::Absent);
            }
            // Its twin: one that has it is believed when it was looked at.
            Ok(copied) if !forgets => assert_eq!(copied.digest, pinned.digest),
            other => panic!("{forgets}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn must_not_copy_an_image_that_is_not_the_one_that_was_wanted() {
    let (from, target, registry) = (Scripted::plain().await, Scripted::plain().await, client());
    let source = from.reference("app:1");
    let (pinned, _) = push_large(&registry, &source).await;
    let repository = target.reference("app:1").repository().clone();
    for (wanted, is_it) in [(Digest::of(b"another image"), false), (pinned.digest, true)] {
        let to = Destination::Registry { repository: repository.clone(), tag: None, digest: Some(wanted) };
        match registry.copy(&Origin::Registry(source.clone()), &to, &options()).await {
            Err(CopyError::DigestWanted { found, .. }) if !is_it => {
                assert_eq!((found, target.take_log().len()), (pinned.digest, 0));
            }
            Ok(copied) if is_it => assert_eq!(copied.digest, wanted),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn layers_from_elsewhere_are_left_there_and_told_of() {
    let (from, registry) = (Scripted::plain().await, client());
    let source = from.reference("app:1");
    registry.push_blob(source.repository(), b"{}").await.unwrap();
    let foreign = Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"windows");
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let manifest = Manifest::new(config, vec![foreign.clone()]).encode();
    // Registries take such a manifest without the layer. Even where it is there, it is not for us to send it on.
    registry.push_blob(source.repository(), b"windows").await.unwrap();
    let pushed = registry.push_manifest(&source, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    let layer = format!("/blobs/{}", foreign.digest);
    for wants_it in [false, true] {
        let target = Scripted::with(
            move |request| {
                let is_manifest = request.method() == Method::PUT && request.uri().path().contains("/manifests/");
                (wants_it && is_manifest).then(|| text(404, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#))
            },
            |_, response| response,
        )
        .await;
        from.take_log();
        match copy(&registry, &source, &target.reference("app:1")).await {
            Ok(copied) if !wants_it => {
                assert_eq!((copied.digest, copied.foreign), (pushed.digest, vec![foreign.clone()]));
                assert_eq!((copied.blobs.copied, copied.manifests.copied, copied.missing.len()), (1, 1, 0));
            }
            Err(CopyError::Push(PushError::Refused { what: "manifest", status: 404, .. })) if wants_it => {}
            other => panic!("{wants_it}: {other:?}"),
        }
        for asked in [from.take_log(), target.take_log()] {
            assert!(!asked.iter().any(|line| line.contains(&layer)), "{asked:?}");
        }
    }
}

async fn copy_to_layout(registry: &Registry, image: &ImageReference, folder: &Path, name: &str) -> Copied {
    let layout = Destination::Layout { path: folder.to_owned(), name: Some(name.to_owned()), repository: None };
    registry.copy(&Origin::Registry(image.clone()), &layout, &options()).await.unwrap()
}

async fn copy_from_layout(
    registry: &Registry,
    path: &Path,
    name: &str,
    to: &ImageReference,
) -> Result<Copied, CopyError> {
    let layout = Arc::new(Layout::open(path).await?);
    let origin = Origin::Layout(layout, Some(LayoutName::Name(name.to_owned())));
    registry.copy(&origin, &self::to(to), &options()).await
}

#[tokio::test]
async fn a_layout_keeps_everything_and_gives_it_back() {
    let (from, registry) = (Scripted::plain().await, client());
    let (image, parts) = push_signed_index(&registry, &from).await;
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let first = copy_to_layout(&registry, &image, &layout, "1.4").await;
    assert_eq!((first.manifests.copied, first.named_before), (7, None));
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let again = copy_to_layout(&registry, &image, &layout, "1.4").await;
    assert_eq!((again.manifests.copied, again.blobs.copied, again.named_before), (0, 0, Some(first.digest)));
    assert_eq!(std::fs::read(layout.join("index.json")).unwrap(), index);
    for (target, place) in
        [(Scripted::plain().await, Place::ReferrersApi), (Scripted::without_referrers().await, Place::FallbackTag)]
    {
        let to = target.reference("back/app:1");
        let copied = copy_from_layout(&registry, &layout, "1.4", &to).await.unwrap();
        assert_eq!((copied.digest, copied.attached.len()), (first.digest, 4));
        for part in &parts {
            same_evidence(&registry, part, &to, place).await;
        }
    }
}

#[tokio::test]
async fn must_not_follow_a_link_in_a_layout_or_use_what_was_altered_in_it() {
    let (from, target, registry) = (Scripted::plain().await, Scripted::plain().await, client());
    let source = from.reference("app:1");
    let (pinned, layer) = push_large(&registry, &source).await;
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    copy_to_layout(&registry, &source, &layout, "1").await;
    let to = target.reference("app:1");
    let blob = |digest: Digest| layout.join("blobs/sha256").join(digest.encoded());
    let whole = std::fs::read(blob(layer)).unwrap();
    let outside = folder.path().join("outside");
    std::fs::write(&outside, &whole).unwrap();

    std::fs::remove_file(blob(layer)).unwrap();
    std::os::unix::fs::symlink(&outside, blob(layer)).unwrap();
    let error = copy_from_layout(&registry, &layout, "1", &to).await.unwrap_err();
    assert!(matches!(error, CopyError::Layout(LayoutError::Refused { .. })), "{error}");

    std::fs::remove_file(blob(layer)).unwrap();
    let mut altered = whole.clone();
    altered[1000] ^= 1;
    std::fs::write(blob(layer), altered).unwrap();
    let error = copy_from_layout(&registry, &layout, "1", &to).await.unwrap_err();
    assert!(matches!(error, CopyError::Untrue { .. }), "{error}");

    let manifest = std::fs::read(blob(pinned.digest)).unwrap();
    std::fs::write(blob(pinned.digest), b"{}").unwrap();
    let error = copy_from_layout(&registry, &layout, "1", &to).await.unwrap_err();
    assert!(matches!(error, CopyError::Layout(LayoutError::Altered { .. })), "{error}");
    assert_eq!(registry.resolve(&to).await, Observation::Absent);

    std::fs::write(blob(pinned.digest), manifest).unwrap();
    std::fs::write(blob(layer), whole).unwrap();
    assert_eq!(copy_from_layout(&registry, &layout, "1", &to).await.unwrap().digest, pinned.digest);

    // A folder of the layout that is a link: nothing is written through it either.
    let linked = folder.path().join("linked");
    std::fs::create_dir_all(linked.join("blobs")).unwrap();
    std::fs::write(linked.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let away = folder.path().join("away");
    std::fs::create_dir(&away).unwrap();
    std::os::unix::fs::symlink(&away, linked.join("blobs/sha256")).unwrap();
    let destination = Destination::Layout { path: linked, name: None, repository: None };
    registry.copy(&Origin::Registry(source), &destination, &options()).await.unwrap_err();
    assert_eq!(std::fs::read_dir(&away).unwrap().count(), 0);
}

#[tokio::test]
async fn a_saved_file_is_the_same_each_time_and_gives_everything_back() {
    let (from, target, registry) = (Scripted::plain().await, Scripted::plain().await, client());
    let (image, parts) = push_signed_index(&registry, &from).await;
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
    let images = [image.clone()];
    let saved = registry.save_archive(&images, &one, &options()).await.unwrap();
    assert_eq!((saved[0].digest, saved[0].manifests, saved[0].attached.len()), (parts[0].digest, 7, 4));
    registry.save_archive(&images, &two, &options()).await.unwrap();
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
    let to = target.reference("back/app:1");
    copy_from_layout(&registry, &one, &image.to_string(), &to).await.unwrap();
    for part in &parts {
        same_evidence(&registry, part, &to, Place::ReferrersApi).await;
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn must_not_leave_a_file_behind_when_nobody_waits_any_more() {
    let from = Scripted::with(
        |request| {
            let is_blob = request.method() == Method::GET && request.uri().path().contains("/blobs/sha256:");
            let silence = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
            is_blob.then(|| Response::new(Body::from_stream(silence)))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let source = from.reference("app:1");
    push_large(&registry, &source).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.tar");
    let count = || std::fs::read_dir(folder.path()).unwrap().count();
    let (images, options) = ([source], options());
    let begun = async {
        while count() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = registry.save_archive(&images, &path, &options) => panic!("a blob that never comes was saved"),
        () = begun => {}
    }
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn must_not_leave_a_file_behind_when_saving_fails() {
    let is_wrong = Arc::new(AtomicUsize::new(0));
    let wrong = Arc::clone(&is_wrong);
    let from = Scripted::with(
        move |request| {
            let is_blob = request.method() == Method::GET && request.uri().path().contains("/blobs/");
            (is_blob && wrong.load(Ordering::Relaxed) == 1).then(|| text(200, "{}"))
        },
        |_, response| response,
    )
    .await;
    let registry = client();
    let source = from.reference("app:1");
    push_large(&registry, &source).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.tar");
    is_wrong.store(1, Ordering::Relaxed);
    registry.save_archive(std::slice::from_ref(&source), &path, &options()).await.unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    is_wrong.store(0, Ordering::Relaxed);
    registry.save_archive(&[source], &path, &options()).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
