//! cosign 2's simple signing: a manifest under the tag `sha256-<hex>.sig` with one layer for each signature. Layers
//! are added, never dropped; the configuration lists them as cosign's does.

use std::time::Instant;

use hallmark_policy::evidence::Place;
use hallmark_policy::image::{Descriptor, ImageReference, PinnedImage, media_type};
use hallmark_policy::limits::MAX_INLINE_BYTES;

use super::converge::converge;
use super::tag_list::{ListKind, SIGNATURE, TagList};
use super::{AttachError, Attached};
use crate::registry::Shared;

/// Attaches a payload and its signature.
pub(crate) async fn attach_simple_signing(
    shared: &Shared,
    subject: &PinnedImage,
    payload: &[u8],
    signature_base64: &str,
    deadline: Instant,
) -> Result<Attached, AttachError> {
    let repository = &subject.repository;
    let tag = subject.digest.signature_tag();
    let image = ImageReference::tagged(repository.clone(), tag.clone());
    let may_inline = payload.len() <= MAX_INLINE_BYTES && !shared.capabilities.refuses_inline(repository.host());
    let layer = Descriptor::of(media_type::SIMPLE_SIGNING, payload);
    let mut layer = if may_inline { layer.with_data(payload) } else { layer };
    layer.annotations.insert(SIGNATURE.to_owned(), signature_base64.to_owned());
    // Before the manifest is read: what lies between reading and writing it is the window for other writers.
    shared.push_blob(repository, payload, deadline).await?;
    let converged = converge(shared, &image, TagList::with(ListKind::Layers, tag, &[layer]), deadline).await?;
    Ok(Attached {
        manifest: converged.document,
        place: Place::SignatureTag,
        already_there: converged.already_there,
        inlined: converged.inlined,
    })
}
