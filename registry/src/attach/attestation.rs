//! cosign 2's attestations: a manifest under the tag `sha256-<hex>.att` with one layer, a DSSE envelope, for each.

use std::time::Instant;

use hallmark_policy::evidence::Place;
use hallmark_policy::image::{Descriptor, ImageReference, PinnedImage, media_type};

use super::converge::converge;
use super::tag_list::{ListKind, SIGNATURE, TagList};
use super::{AttachError, Attached};
use crate::registry::Shared;

/// Where cosign names the type of an envelope's predicate.
const PREDICATE_TYPE: &str = "predicateType";

/// Attaches an envelope.
pub(crate) async fn attach_envelope(
    shared: &Shared,
    subject: &PinnedImage,
    envelope: &[u8],
    predicate_type: &str,
    deadline: Instant,
) -> Result<Attached, AttachError> {
    let repository = &subject.repository;
    let tag = subject.digest.attestation_tag();
    let image = ImageReference::tagged(repository.clone(), tag.clone());
    let mut layer = Descriptor::of(media_type::DSSE_ENVELOPE, envelope);
    // cosign writes the annotation of a signature with nothing in it, and reads only layers that have it.
    layer.annotations.insert(SIGNATURE.to_owned(), String::new());
    layer.annotations.insert(PREDICATE_TYPE.to_owned(), predicate_type.to_owned());
    // Before the manifest is read: what lies between reading and writing it is the window for other writers.
    shared.push_blob(repository, envelope, deadline).await?;
    let converged = converge(shared, &image, TagList::with(ListKind::Layers, tag, &[layer]), deadline).await?;
    Ok(Attached {
        manifest: converged.document,
        place: Place::AttestationTag,
        already_there: converged.already_there,
        inlined: converged.inlined,
    })
}
