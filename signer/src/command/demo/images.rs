//! Small images, and what somebody with access to the registry may do to them.

use hallmark_policy::evidence::{Evidence, Retrieval};
use hallmark_policy::image::{Descriptor, ImageReference, Manifest, PinnedImage, media_type};
use hallmark_registry::Registry;

use super::broken;
use crate::error::Failure;

/// An empty tar archive: two blocks of zeros (POSIX pax, "ustar Interchange Format").
const EMPTY_LAYER: [u8; 1024] = [0; 1024];
/// SHA-256 of the uncompressed layer is its own digest, as it is not compressed.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Pushes an image that says who made it, and gives the digest that it has.
pub(super) async fn push(registry: &Registry, image: &ImageReference, made_by: &str) -> Result<PinnedImage, Failure> {
    let failed = |error: hallmark_registry::PushError| broken("the image could not be pushed", error);
    let layer = Descriptor::of(LAYER_TYPE, &EMPTY_LAYER);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"made-by":"{made_by}"}}}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        layer.digest
    );
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), vec![layer]).encode();
    registry.push_blob(image.repository(), &EMPTY_LAYER).await.map_err(failed)?;
    registry.push_blob(image.repository(), config.as_bytes()).await.map_err(failed)?;
    registry.push_manifest(image, media_type::OCI_MANIFEST, &manifest).await.map_err(failed)?;
    Ok(image.pin(Descriptor::of(media_type::OCI_MANIFEST, &manifest).digest))
}

/// What an attacker with write access does: puts another image under the tag, and hangs the old one's signatures on it.
pub(super) async fn tamper(registry: &Registry, image: &ImageReference, signed: &Evidence) -> Result<(), Failure> {
    let forged = push(registry, image, "mallory").await?;
    let failed = |error: hallmark_registry::PushError| broken("the image could not be tampered with", error);
    for (digest, _) in signed.listed() {
        let Some(Retrieval::Content(content)) = signed.items.get(&digest) else { continue };
        let Ok(mut manifest) = Manifest::parse(content.bytes()) else { continue };
        if let Some(subject) = &mut manifest.subject {
            subject.digest = forged.digest;
        }
        let bytes = manifest.encode();
        let digest = Descriptor::of(media_type::OCI_MANIFEST, &bytes).digest;
        let copy = ImageReference::from(image.pin(digest));
        registry.push_manifest(&copy, media_type::OCI_MANIFEST, &bytes).await.map_err(failed)?;
    }
    Ok(())
}
