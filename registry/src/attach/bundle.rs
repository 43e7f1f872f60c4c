//! Sigstore bundles as OCI 1.1 referrers, as cosign 3 writes them: a manifest with `subject` and `artifactType`, the
//! empty configuration, and the bundle as its one layer.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::try_join;
use hallmark_policy::evidence::{Observation, Place};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, PinnedImage, Repository, media_type};
use hallmark_policy::limits::MAX_INLINE_BYTES;
use hallmark_policy::signature::SIGNATURE_PREDICATE_TYPE;

use super::converge::converge;
use super::tag_list::{ListKind, TagList};
use super::{AttachError, Attached};
use crate::push::{PushError, PushedManifest};
use crate::registry::Shared;

/// The content of the empty descriptor (image-spec, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";

/// What cosign 3 writes on the manifest of a bundle with a statement of this type. The time of creation is left out, so
/// that the same signature is the same manifest and signing again adds nothing.
pub(crate) fn bundle_annotations(predicate_type: Option<&str>) -> BTreeMap<String, String> {
    let predicate_type = predicate_type.unwrap_or(SIGNATURE_PREDICATE_TYPE);
    BTreeMap::from([
        ("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned()),
        ("dev.sigstore.bundle.predicateType".to_owned(), predicate_type.to_owned()),
    ])
}

/// Attaches a Sigstore bundle as a referrer.
pub(crate) async fn attach_bundle(
    shared: &Shared,
    subject: &PinnedImage,
    bundle: &[u8],
    annotations: BTreeMap<String, String>,
    deadline: Instant,
) -> Result<Attached, AttachError> {
    let described = match shared.describe(subject, deadline).await {
        Observation::Found(descriptor) => descriptor,
        Observation::Absent => return Err(AttachError::SubjectMissing { image: subject.clone() }),
        Observation::Unknown(cause) => return Err(AttachError::Read(cause)),
    };
    let repository = &subject.repository;
    let push_bundle = shared.push_blob(repository, bundle, deadline);
    try_join(push_empty(shared, repository, deadline), push_bundle).await?;
    let write = |inlined| manifest(&described, bundle, annotations.clone(), inlined).encode();
    let may_inline = bundle.len() <= MAX_INLINE_BYTES && !shared.capabilities.refuses_inline(repository.host());
    let (bytes, pushed, inlined) = push_referrer(shared, repository, write, may_inline, deadline).await?;
    let mut attached = Attached { manifest: pushed.digest, place: Place::ReferrersApi, already_there: false, inlined };
    if pushed.subject != Some(subject.digest) {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        entry.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
        entry.annotations = annotations;
        attached.place = Place::FallbackTag;
        let tag = subject.digest.fallback_tag();
        let index = ImageReference::tagged(repository.clone(), tag.clone());
        let list = TagList::with(ListKind::Manifests, tag, &[entry]);
        attached.already_there = converge(shared, &index, list, deadline).await?.already_there;
    }
    if !shared.capabilities.keeps_what_it_names(repository.host()) {
        read_back(shared, repository, pushed.digest, deadline).await?;
        shared.capabilities.remember_keeping(repository.host());
    }
    Ok(attached)
}

/// The configuration must be in the repository, though nobody reads it.
async fn push_empty(shared: &Shared, repository: &Repository, deadline: Instant) -> Result<(), PushError> {
    if !shared.capabilities.has_empty(repository) {
        shared.push_blob(repository, EMPTY, deadline).await?;
        shared.capabilities.remember_empty(repository);
    }
    Ok(())
}

/// Pushes the manifest by its digest: with the bundle inside the descriptor, and without where the registry refuses.
async fn push_referrer(
    shared: &Shared,
    repository: &Repository,
    write: impl Fn(bool) -> Vec<u8>,
    may_inline: bool,
    deadline: Instant,
) -> Result<(Vec<u8>, PushedManifest, bool), PushError> {
    let push = async |bytes: &[u8]| {
        let image = ImageReference::from(PinnedImage { repository: repository.clone(), digest: Digest::of(bytes) });
        shared.push_manifest(&image, media_type::OCI_MANIFEST, bytes, deadline).await
    };
    let bytes = write(may_inline);
    let refusal = match push(&bytes).await {
        Ok(pushed) => return Ok((bytes, pushed, may_inline)),
        Err(refusal @ PushError::Refused { .. }) => refusal,
        Err(error) => return Err(error),
    };
    // The registry may have collected the empty configuration that we remember.
    shared.capabilities.forget_empty(repository);
    push_empty(shared, repository, deadline).await?;
    let plain = write(false);
    match push(&plain).await {
        Ok(pushed) => {
            if may_inline {
                shared.capabilities.remember_no_inline(repository.host());
            }
            Ok((plain, pushed, false))
        }
        Err(PushError::Refused { .. }) => Err(refusal),
        Err(error) => Err(error),
    }
}

fn manifest(subject: &Descriptor, bundle: &[u8], annotations: BTreeMap<String, String>, inlined: bool) -> Manifest {
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle);
    let layer = if inlined { layer.with_data(bundle) } else { layer };
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, EMPTY), vec![layer]);
    manifest.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
    manifest.subject = Some(subject.clone());
    manifest.annotations = annotations;
    manifest
}

/// The registry must have kept the manifest under the digest that we computed. One that does not name what it stored is
/// asked each time, when it is pushed; one that does, once in a while.
async fn read_back(
    shared: &Shared,
    repository: &Repository,
    manifest: Digest,
    deadline: Instant,
) -> Result<(), AttachError> {
    match shared.describe(&PinnedImage { repository: repository.clone(), digest: manifest }, deadline).await {
        Observation::Found(_) => Ok(()),
        Observation::Absent => Err(AttachError::Vanished { manifest }),
        Observation::Unknown(cause) => Err(AttachError::Read(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_a_function_of_its_parts_and_has_the_shape_that_cosign_writes() {
        let subject = Descriptor::of(media_type::OCI_MANIFEST, b"image");
        let annotations = BTreeMap::from([("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned())]);
        let plain = manifest(&subject, b"{\"a\":1}", annotations.clone(), false);
        assert_eq!(plain.encode(), manifest(&subject, b"{\"a\":1}", annotations.clone(), false).encode());
        let json: serde_json::Value = serde_json::from_slice(&plain.encode()).unwrap();
        assert_eq!(json["artifactType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
        assert_eq!(json["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
        assert_eq!(json["layers"][0]["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
        assert_eq!(json["subject"]["digest"], Digest::of(b"image").to_string());
        assert_eq!(json["layers"][0].get("data"), None);
        let inlined = manifest(&subject, b"{\"a\":1}", annotations, true);
        assert_eq!(inlined.layers[0].embedded().unwrap().bytes(), b"{\"a\":1}");
    }
}
