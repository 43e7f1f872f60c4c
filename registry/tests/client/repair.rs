//! Fallback indexes that are wrong: what is known to be wrong is mended, and what is not known stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, media_type};
use hallmark_registry::{ChangeKind, Registry, RepairOptions, Repaired};

use crate::scripted::{Scripted, annotations, client, text};

/// What is answered instead of manifests, by their digests.
type Hidden = Arc<Mutex<BTreeMap<String, u16>>>;

/// A registry without the referrers API, which hides manifests.
async fn old_registry() -> (Scripted, Hidden) {
    let hidden = Hidden::default();
    let hides = Arc::clone(&hidden);
    let served = Scripted::with(
        move |request| {
            let path = request.uri().path();
            if path.contains("/referrers/") {
                let status = hides.lock().unwrap().get("referrers").copied().unwrap_or(404);
                return Some(text(status, "404 page not found\n"));
            }
            let (_, name) = path.rsplit_once('/')?;
            hides.lock().unwrap().get(name).map(|status| text(*status, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#))
        },
        |_, mut response| {
            response.headers_mut().remove("oci-subject");
            response
        },
    )
    .await;
    (served, hidden)
}

/// A manifest without a subject that is there, and gone as soon as it is hidden.
async fn unrelated(registry: &Registry, image: &PinnedImage) -> Descriptor {
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), Vec::new());
    manifest.annotations.insert("what".to_owned(), "gone".to_owned());
    let bytes = manifest.encode();
    let described = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
    registry.push_manifest(&image_by(image, described.digest), media_type::OCI_MANIFEST, &bytes).await.unwrap();
    described
}

fn options() -> RepairOptions {
    RepairOptions { jobs: 4, dry_run: false, only: None, held_bytes: RepairOptions::HELD_BYTES }
}

async fn repair(registry: &Registry, image: &PinnedImage) -> Repaired {
    registry.repair(&image.repository, &options()).await.unwrap()
}

async fn repair_dry(registry: &Registry, image: &PinnedImage) -> Repaired {
    registry.repair(&image.repository, &RepairOptions { dry_run: true, ..options() }).await.unwrap()
}

async fn attach(registry: &Registry, image: &PinnedImage, bundle: &str) -> Digest {
    registry.danger_attach_unverified_bundle(image, bundle.as_bytes(), annotations()).await.unwrap().manifest
}

fn index_of(image: &PinnedImage) -> ImageReference {
    ImageReference::tagged(image.repository.clone(), image.digest.fallback_tag())
}

async fn read(registry: &Registry, image: &PinnedImage) -> Index {
    let fetched = registry.fetch_manifest(&index_of(image)).await;
    Index::parse(fetched.found().unwrap().content.bytes()).unwrap()
}

async fn write(registry: &Registry, image: &PinnedImage, media_type: &str, index: &Index) {
    registry.push_manifest(&index_of(image), media_type, &index.encode()).await.unwrap();
}

/// What was done, without the reasons.
fn changes(repaired: &Repaired, subject: Digest) -> Vec<(ChangeKind, Option<Digest>)> {
    let index = repaired.indexes.iter().find(|index| index.subject == subject);
    let changes = index.map(|index| index.changes.iter().map(|change| (change.kind, change.manifest)).collect());
    changes.unwrap_or_default()
}

/// The digests of an index, sorted.
fn digests(index: &Index) -> Vec<Digest> {
    let mut digests: Vec<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
    digests.sort();
    digests
}

fn sorted<const N: usize>(mut digests: [Digest; N]) -> [Digest; N] {
    digests.sort();
    digests
}

#[tokio::test]
async fn what_is_wrong_with_an_index_is_mended_once() {
    let ((served, hidden), registry) = (old_registry().await, client());
    let image = served.push_image(&registry, "app").await;
    let (good, other) = (
        attach(&registry, &image, "{\"n\":1}").await,
        PinnedImage { repository: image.repository.clone(), digest: Digest::of(b"another image") },
    );
    let right = read(&registry, &image).await;
    assert_eq!(changes(&repair(&registry, &image).await, image.digest), []);

    // An entry without its type and annotations, one that is gone, one about another image, and one twice.
    let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    let mut about_other = Manifest::new(config.clone(), vec![config]);
    about_other.subject = Some(Descriptor { digest: other.digest, ..Descriptor::of(media_type::OCI_MANIFEST, b"x") });
    let about_other = about_other.encode();
    let misplaced = Descriptor::of(media_type::OCI_MANIFEST, &about_other);
    registry.push_manifest(&image_by(&image, misplaced.digest), media_type::OCI_MANIFEST, &about_other).await.unwrap();
    let gone = unrelated(&registry, &image).await;
    let mut bare = right.manifests.first().unwrap().clone();
    bare.artifact_type = None;
    bare.annotations.clear();
    bare.size += 1;
    let mut wrong = Index::new(vec![bare.clone(), gone.clone(), misplaced.clone(), bare]);
    wrong.annotations.insert("kept".to_owned(), "yes".to_owned());
    write(&registry, &image, media_type::OCI_INDEX, &wrong).await;
    // What has no subject stays as long as it is there.
    assert!(
        !changes(&repair_dry(&registry, &image).await, image.digest)
            .contains(&(ChangeKind::Dropped, Some(gone.digest)))
    );
    hidden.lock().unwrap().insert(gone.digest.to_string(), 404);

    let dry = repair_dry(&registry, &image).await;
    assert_eq!(read(&registry, &image).await, wrong);
    let repaired = repair(&registry, &image).await;
    assert_eq!(dry, repaired);
    let expected = [
        (ChangeKind::Corrected, Some(good)),
        (ChangeKind::Dropped, Some(gone.digest)),
        (ChangeKind::Dropped, Some(misplaced.digest)),
        (ChangeKind::Dropped, Some(good)),
    ];
    assert_eq!(changes(&repaired, image.digest), expected);
    let now = read(&registry, &image).await;
    assert_eq!(now.manifests, right.manifests);
    assert_eq!(now.annotations.get("kept").map(String::as_str), Some("yes"));
    assert!(repair(&registry, &image).await.indexes.iter().all(|index| index.changes.is_empty()));
}

fn image_by(image: &PinnedImage, digest: Digest) -> ImageReference {
    PinnedImage { repository: image.repository.clone(), digest }.into()
}

#[tokio::test]
async fn entries_that_were_lost_are_put_back_from_tags_and_other_indexes() {
    let (served, registry) = (Scripted::without_referrers().await, client());
    let image = served.push_image(&registry, "app").await;
    let (tagged, moved) = (attach(&registry, &image, "{\"n\":1}").await, attach(&registry, &image, "{\"n\":2}").await);
    let right = read(&registry, &image).await;
    let entry = |digest| right.manifests.iter().find(|entry| entry.digest == digest).unwrap().clone();
    // One has a tag of its own; the other one is in the wrong index; the index itself is empty.
    let Observation::Found(manifest) = registry.fetch_manifest(&image_by(&image, tagged)).await else { panic!() };
    let tag: ImageReference = format!("{}:sbom", image.repository).parse().unwrap();
    registry.push_manifest(&tag, &manifest.media_type, manifest.content.bytes()).await.unwrap();
    let elsewhere = PinnedImage { repository: image.repository.clone(), digest: tagged };
    write(&registry, &elsewhere, media_type::OCI_INDEX, &Index::new(vec![entry(moved)])).await;
    write(&registry, &image, media_type::OCI_INDEX, &Index::new(Vec::new())).await;

    let repaired = repair(&registry, &image).await;
    assert_eq!(changes(&repaired, tagged), [(ChangeKind::Dropped, Some(moved))]);
    assert_eq!(changes(&repaired, image.digest).len(), 2);
    assert_eq!(digests(&read(&registry, &image).await), sorted([tagged, moved]));
    assert_eq!(digests(&read(&registry, &elsewhere).await), []);
}

#[tokio::test]
async fn must_not_drop_what_could_not_be_looked_at() {
    let (served, hidden) = old_registry().await;
    let registry = client();
    let image = served.push_image(&registry, "app").await;
    let (one, two) = (attach(&registry, &image, "{\"n\":1}").await, attach(&registry, &image, "{\"n\":2}").await);
    let gone = unrelated(&registry, &image).await;
    let mut index = read(&registry, &image).await;
    index.manifests.push(gone.clone());
    write(&registry, &image, media_type::OCI_INDEX, &index).await;
    hidden.lock().unwrap().extend([(one.to_string(), 500), (gone.digest.to_string(), 404)]);
    let repaired = repair(&registry, &image).await;
    assert_eq!(changes(&repaired, image.digest), [(ChangeKind::Dropped, Some(gone.digest))]);
    let unknown: Vec<Digest> = repaired.indexes.iter().flat_map(|index| &index.unknown).map(|entry| entry.0).collect();
    assert_eq!(unknown, [one]);
    assert_eq!(digests(&read(&registry, &image).await), sorted([one, two]));
    hidden.lock().unwrap().clear();
    assert!(repair(&registry, &image).await.indexes.iter().all(|index| index.unknown.is_empty()));
}

#[tokio::test]
async fn must_not_overwrite_what_is_no_index() {
    let (served, registry) = (Scripted::without_referrers().await, client());
    let image = served.push_image(&registry, "app").await;
    let Observation::Found(manifest) = registry.fetch_manifest(&image.clone().into()).await else { panic!() };
    registry.push_manifest(&index_of(&image), &manifest.media_type, manifest.content.bytes()).await.unwrap();
    let repaired = repair(&registry, &image).await;
    assert!(repaired.indexes.first().unwrap().problem.is_some());
    let Observation::Found(after) = registry.fetch_manifest(&index_of(&image)).await else { panic!() };
    assert_eq!(after, manifest);
}

#[tokio::test]
async fn must_not_call_an_index_right_where_nobody_knows_what_it_lacks() {
    for (has_index, what) in [(true, "referrers"), (false, "referrers"), (false, "image")] {
        let (served, hidden) = old_registry().await;
        let writer = client();
        let image = served.push_image(&writer, "app").await;
        let bundle = attach(&writer, &image, "{\"n\":1}").await;
        // It has a tag of its own by which it is found, and is not in the index.
        let Observation::Found(manifest) = writer.fetch_manifest(&image_by(&image, bundle)).await else { panic!() };
        let tag: ImageReference = format!("{}:sbom", image.repository).parse().unwrap();
        writer.push_manifest(&tag, &manifest.media_type, manifest.content.bytes()).await.unwrap();
        write(&writer, &image, media_type::OCI_INDEX, &Index::new(Vec::new())).await;
        if !has_index {
            hidden.lock().unwrap().insert(image.digest.fallback_tag().to_string(), 404);
        }
        let name = if what == "image" { image.digest.to_string() } else { what.to_owned() };
        hidden.lock().unwrap().insert(name.clone(), 500);
        // A client that does not know yet that there is no referrers API.
        let registry = client();
        let repaired = repair(&registry, &image).await;
        assert_eq!(changes(&repaired, image.digest), [], "{what}");
        let told = repaired.indexes.iter().any(|index| index.problem.is_some()) || !repaired.not_looked_at.is_empty();
        assert!(told, "{has_index} {what}: {repaired:?}");
        // Its twin: what is known to be missing is put back.
        hidden.lock().unwrap().remove(&name);
        let repaired = repair(&registry, &image).await;
        assert_eq!(changes(&repaired, image.digest), [(ChangeKind::Added, Some(bundle))], "{has_index} {what}");
    }
}

/// A registry can have more than fits into memory: what there is no room for is told of, and stays.
#[tokio::test]
async fn must_not_hold_more_than_its_bound_nor_change_what_there_was_no_room_for() {
    let (served, hidden) = old_registry().await;
    let registry = client();
    let image = served.push_image(&registry, "app").await;
    attach(&registry, &image, r#"{"a":1}"#).await;
    // An entry that is wrong: its manifest is gone.
    let mut index = read(&registry, &image).await;
    let gone = unrelated(&registry, &image).await;
    hidden.lock().unwrap().insert(gone.digest.to_string(), 404);
    index.manifests.push(gone);
    write(&registry, &image, media_type::OCI_INDEX, &index).await;
    let before = read(&registry, &image).await;
    let bounded = |held_bytes| RepairOptions { held_bytes, ..options() };
    // No room for the index; room for it, and none for what it names.
    let repaired = registry.repair(&image.repository, &bounded(100)).await.unwrap();
    assert!(repaired.indexes[0].problem.as_ref().is_some_and(|problem| problem.contains("no room")), "{repaired:?}");
    assert_eq!(digests(&read(&registry, &image).await), digests(&before));
    let size = serde_json::to_vec(&index).unwrap().len() * 4 + 600;
    let repaired = registry.repair(&image.repository, &bounded(size)).await.unwrap();
    let unknown = &repaired.indexes[0].unknown;
    assert!(unknown.len() == 1 && unknown[0].1.contains("no room"), "{repaired:?}");
    let after = read(&registry, &image).await;
    assert_eq!(digests(&after), [before.manifests[0].digest], "what is known to be gone goes, what is not known stays");
    // Its twin: with room, all is right.
    let repaired = repair(&registry, &image).await;
    assert!(repaired.indexes[0].problem.is_none() && repaired.indexes[0].unknown.is_empty(), "{repaired:?}");
}

/// The registry asks for less traffic between the reading and the writing of an index, and goes on asking for it.
#[tokio::test]
async fn a_repair_waits_for_a_registry_that_asks_for_less_traffic_and_says_when_that_was_in_vain() {
    for (refused, is_repaired) in [(1, true), (usize::MAX, false)] {
        let refusals = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&refusals);
        let served = Scripted::with(
            move |request| {
                let path = request.uri().path();
                if path.contains("/referrers/") {
                    return Some(text(404, "404 page not found\n"));
                }
                let is_list = request.method() == "PUT" && path.contains("/manifests/sha256-");
                let is_turned_away = is_list
                    && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                is_turned_away.then(|| {
                    let mut response = text(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#);
                    response.headers_mut().insert("retry-after", "0".parse().unwrap());
                    response
                })
            },
            |_, mut response| {
                response.headers_mut().remove("oci-subject");
                response
            },
        )
        .await;
        let registry = client();
        let image = served.push_image(&registry, "app").await;
        attach(&registry, &image, "{\"n\":1}").await;
        let right = read(&registry, &image).await;
        let wrong = Index::new([right.manifests.clone(), right.manifests.clone()].concat());
        write(&registry, &image, media_type::OCI_INDEX, &wrong).await;
        refusals.store(refused, Ordering::SeqCst);
        let repaired = repair(&registry, &image).await;
        let problem = repaired.indexes.first().unwrap().problem.clone();
        refusals.store(0, Ordering::SeqCst);
        if is_repaired {
            assert_eq!((problem, read(&client(), &image).await.manifests), (None, right.manifests));
        } else {
            assert!(problem.is_some_and(|problem| problem.contains("TOOMANYREQUESTS: slow down")), "{repaired:?}");
            assert_eq!(read(&client(), &image).await.manifests, wrong.manifests);
        }
    }
}
