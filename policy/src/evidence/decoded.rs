//! Evidence whose signatures have been decoded once, with the cryptographic facts that were found about them.
//!
//! Both follow from the bytes alone and never change, so decoded evidence can be kept and judged again and again,
//! under another policy or at another time, without decoding or verifying anything twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cause, Evidence, Place, Retrieval};
use crate::image::{Digest, ImageReference};
use crate::limits;
use crate::reason::Code;
use crate::signature::{DecodedArtifact, DecodedLayer, Repetitions, UnverifiedSignature, decode_artifact_within};
use crate::verify::{AuthenticationMemo, Rejection};

/// Evidence, and the signatures in it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecodedEvidence {
    image: ImageReference,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    evidence: Evidence,
    signatures: Vec<FoundSignature>,
    rejections: Vec<Rejection>,
    /// Rejections beyond [`limits::MAX_REJECTIONS`].
    unlisted: usize,
    others: Vec<Digest>,
    causes: Vec<Cause>,
    children: BTreeMap<Digest, DecodedEvidence>,
    parent: Option<DecodedEvidence>,
}

/// One signature that was found, in one manifest.
#[derive(Debug)]
pub struct FoundSignature {
    /// Digest of the manifest that carries it.
    pub artifact: Digest,
    /// Every place that lists the manifest.
    pub places: Vec<Place>,
    /// The signature.
    pub signature: UnverifiedSignature,
    pub(crate) memo: AuthenticationMemo,
}

impl DecodedEvidence {
    /// Decodes every signature of some evidence.
    #[must_use]
    pub fn new(evidence: Evidence) -> Self {
        let causes = evidence.causes().cloned().collect();
        let image = evidence.image.clone();
        let (signatures, rejections, others) = (Vec::new(), Vec::new(), Vec::new());
        let relatives = &evidence.relatives;
        let children = relatives.children.iter().map(|(digest, child)| (*digest, Self::new(child.clone()))).collect();
        let parent = relatives.parent.as_ref().map(|parent| Self::new(parent.as_ref().clone()));
        let mut decoded = Inner { signatures, rejections, unlisted: 0, others, causes, children, parent, evidence };
        let mut repetitions = Repetitions::default();
        for (artifact, places) in decoded.evidence.listed() {
            decoded.decode_listed(artifact, &places, &mut repetitions);
        }
        decoded.count_unlisted();
        for place in decoded.evidence.places.iter().filter(|place| place.truncated) {
            let message = format!(
                "`{}` lists more than {} manifests; the rest was not looked at",
                place.place.as_str(),
                limits::MAX_SIGNATURES
            );
            let artifact = decoded.subject();
            decoded.rejections.push(Rejection::new(artifact, None, Code::LimitExceeded, message));
        }
        Self { image, inner: Arc::new(decoded) }
    }

    /// The same evidence under a name with a tag, for a caller who has just resolved that tag to this evidence's
    /// digest. A tag moves and a digest does not, so evidence is kept by digest and tags are resolved each time.
    #[must_use]
    pub fn resolved_from(&self, image: &ImageReference) -> Self {
        Self { image: image.clone(), inner: Arc::clone(&self.inner) }
    }

    /// The image as it was asked for.
    #[must_use]
    pub fn image(&self) -> &ImageReference {
        &self.image
    }

    /// The evidence itself.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.inner.evidence
    }

    /// The signatures, in the order of the places that list them.
    #[must_use]
    pub fn signatures(&self) -> &[FoundSignature] {
        &self.inner.signatures
    }

    /// What is listed as a signature and cannot be read as one.
    #[must_use]
    pub fn rejections(&self) -> &[Rejection] {
        &self.inner.rejections
    }

    /// Bytes that the signatures hold in memory, beside the evidence that they were decoded from.
    #[must_use]
    pub fn decoded_bytes(&self) -> usize {
        let own: usize = self.inner.signatures.iter().map(|found| found.signature.bytes()).sum();
        let relatives: usize = self.inner.children.values().chain(self.parent()).map(Self::decoded_bytes).sum();
        own.saturating_add(relatives)
    }

    /// Evidence about the children of an index that were looked at.
    #[must_use]
    pub fn children(&self) -> &BTreeMap<Digest, Self> {
        &self.inner.children
    }

    /// Evidence about what the tag names by which a digest was asked for.
    #[must_use]
    pub fn parent(&self) -> Option<&Self> {
        self.inner.parent.as_ref()
    }

    /// Whether nothing is unknown, about the image and about the relatives that were looked at.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.causes().is_empty()
            && self.inner.children.values().chain(self.parent()).all(Self::is_complete)
            && self.inner.evidence.relatives.causes().is_empty()
    }

    /// Listed manifests that are no signatures: SBOMs and the like.
    #[must_use]
    pub fn others(&self) -> &[Digest] {
        &self.inner.others
    }

    /// Everything that is unknown about the image itself. While this is not empty, "unsigned" is not known either.
    #[must_use]
    pub fn causes(&self) -> &[Cause] {
        &self.inner.causes
    }
}

impl Inner {
    /// Lists a rejection, while there is room; the rest is counted.
    fn reject(&mut self, rejection: Rejection) {
        if self.rejections.len() < limits::MAX_REJECTIONS {
            self.rejections.push(rejection);
        } else {
            self.unlisted += 1;
        }
    }

    fn count_unlisted(&mut self) {
        if self.unlisted > 0 {
            let message = format!("{} more items are no signatures that could be read", self.unlisted);
            self.rejections.push(Rejection::new(self.subject(), None, Code::LimitExceeded, message));
        }
    }

    fn subject(&self) -> Digest {
        self.evidence.resolution.found().copied().unwrap_or_else(|| Digest::of(b""))
    }

    fn decode_listed(&mut self, artifact: Digest, places: &[Place], repetitions: &mut Repetitions) {
        let manifest = match self.evidence.items.get(&artifact) {
            Some(Retrieval::Content(content)) => content.clone(),
            Some(Retrieval::Rejected(fault)) => {
                self.reject(Rejection::new(artifact, None, fault.code, fault.detail.clone()));
                return;
            }
            // Counted already, as a cause of the evidence.
            Some(Retrieval::Unknown(_)) => return,
            None => {
                let detail = format!("the listed manifest `{artifact}` was not looked at");
                self.causes.push(Cause::new(Code::RegistryInconsistent, detail));
                return;
            }
        };
        match decode_artifact_within(manifest.bytes(), &self.evidence.items, repetitions) {
            Ok(decoded) => self.add(artifact, places, decoded),
            // An index with a subject is an artifact too, and holds no signature.
            Err(_) if crate::image::Index::parse(manifest.bytes()).is_ok() => self.others.push(artifact),
            Err(fault) => self.reject(Rejection::new(artifact, None, fault.code, fault.detail)),
        }
    }

    fn add(&mut self, artifact: Digest, places: &[Place], decoded: DecodedArtifact) {
        if let Some(message) = self.wrong_subject(places, &decoded) {
            self.reject(Rejection::new(artifact, None, Code::DigestMismatch, message));
            return;
        }
        if decoded.layers.is_empty() {
            self.others.push(artifact);
        }
        if decoded.truncated {
            let message =
                format!("more than {} signatures in one manifest; the rest was not looked at", limits::MAX_SIGNATURES);
            self.reject(Rejection::new(artifact, None, Code::LimitExceeded, message));
        }
        for layer in decoded.layers {
            match layer {
                DecodedLayer::Signature(signature) if self.signatures.len() < limits::MAX_SIGNATURES => {
                    let memo = AuthenticationMemo::new();
                    self.signatures.push(FoundSignature { artifact, places: places.to_vec(), signature, memo });
                }
                DecodedLayer::Signature(signature) => {
                    let message =
                        format!("more than {} signatures; this one was not looked at", limits::MAX_SIGNATURES);
                    let format = Some(signature.format());
                    self.reject(Rejection::new(artifact, format, Code::LimitExceeded, message));
                }
                DecodedLayer::Rejected { format, claims, fault } => {
                    let rejection = Rejection::new(artifact, format, fault.code, fault.detail);
                    self.reject(Rejection { claims, ..rejection });
                }
                DecodedLayer::Unknown(cause) if !self.causes.contains(&cause) => self.causes.push(cause),
                DecodedLayer::Unknown(_) => {}
            }
        }
    }

    /// A manifest that is listed as a referrer of the image must say so itself (OCI distribution-spec, "Listing
    /// Referrers"); a listing alone proves nothing. The signature tag carries no subject, its payloads bind the image.
    fn wrong_subject(&self, places: &[Place], decoded: &DecodedArtifact) -> Option<String> {
        let expected = self.evidence.resolution.found()?;
        match decoded.subject {
            Some(found) if found == *expected => None,
            Some(found) => Some(format!("the manifest's subject is `{found}`, not `{expected}`")),
            None if places.iter().any(|place| matches!(place, Place::AttestationTag | Place::SignatureTag)) => None,
            None => Some(format!("the manifest is listed as a referrer of `{expected}` and has no subject")),
        }
    }
}
