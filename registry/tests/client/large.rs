//! Attestations that are larger than signatures: fetched where their type is asked for, and for nobody else.

use std::time::{Duration, Instant};

use axum::body::Body;
use hallmark_policy::Code;
use hallmark_policy::attestation::PredicateType;
use hallmark_policy::evidence::{DecodedEvidence, Evidence, Large, Retrieval, Scope};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, PinnedImage, media_type};
use hallmark_policy::limits::{MAX_ATTESTATION_BYTES, MAX_LARGE_BYTES, MAX_SIGNATURE_BYTES};
use hallmark_registry::Registry;

use crate::scripted::{Scripted, client};

const SPDX: &str = "https://spdx.dev/Document";

fn asking_for(words: &[&str]) -> Scope {
    let types: Vec<PredicateType> = words.iter().map(|word| word.parse().unwrap()).collect();
    Scope { attestations: true, large: Large::Nothing.and(&types), ..Scope::IMAGE }
}

async fn gathered(registry: &Registry, image: &PinnedImage, scope: &Scope) -> Evidence {
    registry.gather_within(&image.clone().into(), scope, Instant::now() + Duration::from_secs(20)).await
}

/// A blob that claims to be a bundle of a type and of a size, as a referrer.
async fn attach(registry: &Registry, image: &PinnedImage, blob: &[u8], size: usize, claimed: Option<&str>) -> Digest {
    let repository = &image.repository;
    registry.push_blob(repository, blob).await.unwrap();
    registry.push_blob(repository, b"{}").await.unwrap();
    let mut layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, blob);
    layer.size = u64::try_from(size).unwrap();
    let digest = layer.digest;
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
    manifest.subject = registry.describe(image).await.found().cloned();
    let claimed = claimed.map(|claimed| ("dev.sigstore.bundle.predicateType".to_owned(), claimed.to_owned()));
    manifest.annotations.extend(claimed);
    let bytes = manifest.encode();
    let name = PinnedImage { repository: repository.clone(), digest: Digest::of(&bytes) };
    registry.push_manifest(&name.into(), media_type::OCI_MANIFEST, &bytes).await.unwrap();
    digest
}

/// Bytes that no two have in common.
fn blob(name: &str, size: usize) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(size, b' ');
    bytes
}

fn came(evidence: &Evidence, digest: Digest) -> Result<usize, Code> {
    match evidence.items.get(&digest) {
        Some(Retrieval::Content(content)) => Ok(content.bytes().len()),
        Some(Retrieval::Rejected(fault)) => Err(fault.code),
        Some(Retrieval::Unknown(cause)) => Err(cause.code()),
        None => Err(Code::NotFetched),
    }
}

#[tokio::test]
async fn must_not_fetch_a_large_attestation_that_nobody_asks_for() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let size = MAX_SIGNATURE_BYTES + 1;
    let digest = attach(&registry, &image, &blob("sbom", size), size, Some(SPDX)).await;
    let small = attach(&registry, &image, &blob("small", 100), 100, Some(SPDX)).await;
    for (scope, expected) in [
        (Scope::IMAGE, Err(Code::LimitExceeded)),
        (asking_for(&["vuln"]), Err(Code::LimitExceeded)),
        (asking_for(&["slsaprovenance1"]), Err(Code::LimitExceeded)),
        (asking_for(&["spdx"]), Ok(size)),
        (asking_for(&["vuln", "spdx"]), Ok(size)),
        (Scope { large: Large::OfAnyType, ..asking_for(&[]) }, Ok(size)),
    ] {
        server.take_log();
        let evidence = gathered(&registry, &image, &scope).await;
        assert_eq!(came(&evidence, digest), expected, "{scope:?}");
        assert_eq!(came(&evidence, small), Ok(100), "what is large leaves nothing else out");
        let asked = server.take_log().iter().any(|line| line.contains(&format!("blobs/{digest}")));
        assert_eq!(asked, expected.is_ok(), "{scope:?}");
        // What was left out is told of, and is never what makes an image unsigned.
        let decoded = DecodedEvidence::new(evidence);
        let left_out = decoded.rejections().iter().find(|rejection| rejection.code == Code::LimitExceeded);
        let claims = left_out.map(|rejection| rejection.claims.as_deref());
        assert_eq!(claims, expected.is_err().then_some(Some(SPDX)), "{scope:?}");
    }
    // One that does not say what it is may be of any type that is asked for.
    let silent = attach(&registry, &image, &blob("silent", size), size, None).await;
    assert_eq!(came(&gathered(&registry, &image, &Scope::IMAGE).await, silent), Err(Code::LimitExceeded));
    assert_eq!(came(&gathered(&registry, &image, &asking_for(&["vuln"])).await, silent), Ok(size));
}

#[tokio::test]
async fn large_attestations_of_one_image_are_bounded_one_by_one_and_together_and_leave_no_small_one_out() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let beyond = attach(&registry, &image, b"beyond", MAX_ATTESTATION_BYTES + 1, Some(SPDX)).await;
    // Only what is claimed is counted, so that nothing so large has to be there.
    let half = MAX_LARGE_BYTES / 2;
    assert_eq!(half, MAX_ATTESTATION_BYTES);
    let mut large = Vec::new();
    for name in ["first", "second", "third"] {
        large.push(attach(&registry, &image, name.as_bytes(), half, Some(SPDX)).await);
    }
    let small = attach(&registry, &image, &blob("small", 100), 100, Some(SPDX)).await;
    let evidence = gathered(&registry, &image, &asking_for(&["spdx"])).await;
    assert_eq!(came(&evidence, beyond), Err(Code::LimitExceeded));
    assert_eq!(came(&evidence, small), Ok(100));
    let left_out = large.iter().filter(|digest| came(&evidence, **digest) == Err(Code::LimitExceeded));
    assert_eq!(left_out.count(), 1, "two of the three are within the bound");
}

/// Whoever may push names a signature of somebody else's and calls it as large as there is room.
#[tokio::test]
async fn must_not_leave_out_a_signature_that_somebody_else_calls_large() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let small: Vec<Vec<u8>> = (0..4).map(|number| blob(&number.to_string(), 100)).collect();
    let mut digests = Vec::new();
    for bytes in &small {
        digests.push(attach(&registry, &image, bytes, bytes.len(), Some(SPDX)).await);
        attach(&registry, &image, bytes, MAX_ATTESTATION_BYTES, Some(SPDX)).await;
    }
    let evidence = gathered(&registry, &image, &asking_for(&["spdx"])).await;
    assert_eq!(digests.iter().map(|digest| came(&evidence, *digest)).collect::<Vec<_>>(), [Ok(100); 4]);
    // Its twin: what everybody calls large is left out where there is no room.
    for number in 4..7 {
        attach(&registry, &image, &blob(&number.to_string(), 100), MAX_ATTESTATION_BYTES, Some(SPDX)).await;
    }
    let evidence = gathered(&registry, &image, &asking_for(&["spdx"])).await;
    assert_eq!(digests.iter().map(|digest| came(&evidence, *digest)).collect::<Vec<_>>(), [Ok(100); 4]);
    let left_out = evidence
        .items
        .values()
        .filter(|item| matches!(item, Retrieval::Rejected(fault) if fault.code == Code::LimitExceeded));
    assert!((1..=3).contains(&left_out.count()));
}

#[tokio::test]
async fn must_not_take_more_bytes_of_a_large_attestation_than_it_is_said_to_have_nor_lose_a_right_claim_to_a_wrong_one()
{
    let size = MAX_SIGNATURE_BYTES + 1000;
    let whole = blob("whole", size);
    let digest = Digest::of(&whole);
    let server = Scripted::with(
        |_| None,
        move |line, mut response| {
            if line.starts_with("GET") && line.contains("/lies/") && line.contains(&digest.to_string()) {
                *response.body_mut() = Body::from(vec![b' '; size + 1]);
                response.headers_mut().remove("content-length");
            }
            response
        },
    )
    .await;
    let registry = client();
    let scope = asking_for(&["spdx"]);
    let lying = server.push_image(&registry, "team/lies/app").await;
    attach(&registry, &lying, &whole, size, Some(SPDX)).await;
    assert_eq!(came(&gathered(&registry, &lying, &scope).await, digest), Err(Code::DigestMismatch));
    // The same blob is a plain signature by one manifest, and a bill of materials by another.
    let honest = server.push_image(&registry, "team/app").await;
    attach(&registry, &honest, &whole, size, Some("https://sigstore.dev/cosign/sign/v1")).await;
    assert_eq!(came(&gathered(&registry, &honest, &scope).await, digest), Err(Code::LimitExceeded));
    attach(&registry, &honest, &whole, size, Some(SPDX)).await;
    assert_eq!(came(&gathered(&registry, &honest, &scope).await, digest), Ok(size));
}

/// cosign 2's tag for attestations: the layer says of which type it is.
#[tokio::test]
async fn large_envelopes_under_the_tag_for_attestations_are_fetched_by_the_type_of_their_layer() {
    let server = Scripted::plain().await;
    let registry = client();
    let image = server.push_image(&registry, "app").await;
    let size = MAX_SIGNATURE_BYTES + 1;
    let blobs = [("sbom", SPDX), ("built", "https://cyclonedx.org/bom")].map(|(name, kind)| (blob(name, size), kind));
    let mut layers = Vec::new();
    for (bytes, kind) in &blobs {
        registry.push_blob(&image.repository, bytes).await.unwrap();
        let mut layer = Descriptor::of(media_type::DSSE_ENVELOPE, bytes);
        layer.annotations.insert("predicateType".to_owned(), (*kind).to_owned());
        layers.push(layer);
    }
    registry.push_blob(&image.repository, b"{}").await.unwrap();
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), layers.clone()).encode();
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.attestation_tag());
    registry.push_manifest(&tag, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    let evidence = gathered(&registry, &image, &asking_for(&["spdx"])).await;
    assert_eq!(came(&evidence, layers[0].digest), Ok(size));
    assert_eq!(came(&evidence, layers[1].digest), Err(Code::LimitExceeded));
}
