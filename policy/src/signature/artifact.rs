//! From a manifest that a registry listed to the signatures in it. Formats are told by content: media types are
//! claims of whoever wrote them, and some real writers get them wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::{Format, SIGNATURE_PREDICATE_TYPE, UnverifiedSignature, bundle, envelope, simple_signing};
use crate::attestation::PredicateType;
use crate::evidence::{Cause, Large, Retrieval};
use crate::image::{Content, Descriptor, Digest, Manifest, media_type};
use crate::limits;
use crate::reason::Code;

/// Notary Project media types (Notary Project signature specification, "Signature Envelope").
const NOTATION: [&str; 3] = ["application/vnd.cncf.notary.signature", "application/jose+json", "application/cose"];
/// Media types that say nothing about their content.
const GENERIC: [&str; 5] = ["", "application/json", "application/octet-stream", "text/plain", media_type::OCI_EMPTY];

/// Where cosign 3 names the type of a bundle's predicate, on the manifest; and cosign 2 that of an envelope's, on the layer.
const PREDICATE_TYPE: [&str; 2] = ["dev.sigstore.bundle.predicateType", "predicateType"];

/// Why one manifest or layer cannot be read as a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeFault {
    /// The reason code.
    pub code: Code,
    /// What is wrong, for people.
    pub detail: String,
}

impl DecodeFault {
    pub(super) fn malformed(detail: String) -> Self {
        Self { code: Code::Malformed, detail }
    }

    pub(super) fn unsupported(what: &str) -> Self {
        Self { code: Code::Unsupported, detail: format!("this version does not verify {what}") }
    }
}

/// What a manifest turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedArtifact {
    /// The manifest that it says it refers to.
    pub subject: Option<Digest>,
    /// Its type as claimed, for display.
    pub artifact_type: String,
    /// Its layers that are, or claim to be, signatures. Empty for SBOMs and other artifacts.
    pub layers: Vec<DecodedLayer>,
    /// More layers than are looked at.
    pub truncated: bool,
}

/// One layer that is, or claims to be, a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedLayer {
    /// It is one.
    Signature(UnverifiedSignature),
    /// It claims to be one, and cannot be read.
    Rejected {
        /// Its format, as far as it is known.
        format: Option<Format>,
        /// The type of predicate that it claims, where it was not looked at for its size alone. Nobody has signed that.
        claims: Option<String>,
        /// What is wrong.
        fault: DecodeFault,
    },
    /// It could not be fetched.
    Unknown(Cause),
}

/// Whether a layer's blob must be looked at to know whether it is a signature.
///
/// True for layers whose own type, or whose manifest's type, is one of a signature, and for layers with a type that
/// says nothing. Layers with the type of something else (an SBOM, a file system) are not fetched.
#[must_use]
pub fn may_be_signature(manifest: &Manifest, layer: &Descriptor) -> bool {
    let claims = |claimed: &str| {
        is_bundle_type(claimed)
            || matches!(claimed, media_type::SIMPLE_SIGNING | media_type::DSSE_ENVELOPE)
            || NOTATION.contains(&claimed)
    };
    claims(&layer.media_type)
        || layer.annotations.contains_key(simple_signing::SIGNATURE_ANNOTATION)
        || claims(artifact_type(manifest))
        || GENERIC.contains(&layer.media_type.as_str())
}

/// Most bytes of a layer that are looked at, when these attestations may be large.
#[must_use]
pub fn most_bytes(manifest: &Manifest, layer: &Descriptor, large: &Large) -> usize {
    let claimed = claimed_predicate_type(manifest, layer);
    let is_envelope = matches!(claimed_format(manifest, layer), Some(Format::DsseEnvelope | Format::SigstoreBundle));
    match is_envelope && claimed != Some(SIGNATURE_PREDICATE_TYPE) && large.includes(claimed) {
        true => limits::MAX_ATTESTATION_BYTES,
        false => limits::MAX_SIGNATURE_BYTES,
    }
}

fn claimed_predicate_type<'a>(manifest: &'a Manifest, layer: &'a Descriptor) -> Option<&'a str> {
    let [of_bundle, of_envelope] = PREDICATE_TYPE;
    layer.annotations.get(of_envelope).or_else(|| manifest.annotations.get(of_bundle)).map(String::as_str)
}

/// Reads a manifest and those of its layers that may be signatures.
///
/// # Errors
/// [`DecodeFault`] when the bytes are not a manifest.
pub fn decode_artifact(manifest: &[u8], items: &BTreeMap<Digest, Retrieval>) -> Result<DecodedArtifact, DecodeFault> {
    decode_artifact_within(manifest, items, &mut Repetitions::default())
}

/// The blobs that were decoded already. Every layer may name the same blob, and each time it is parsed and copied
/// anew: what is repeated has the bound of all evidence, so that one blob does not cost what a thousand would.
pub(crate) struct Repetitions {
    seen: BTreeSet<Digest>,
    bytes_left: usize,
}

impl Default for Repetitions {
    fn default() -> Self {
        Self { seen: BTreeSet::new(), bytes_left: limits::MAX_EVIDENCE_BYTES }
    }
}

impl Repetitions {
    /// Whether a blob may be decoded: for the first time always, and again while there are bytes left.
    fn allow(&mut self, content: &Content) -> bool {
        if self.seen.insert(content.digest()) {
            return true;
        }
        let left = self.bytes_left.checked_sub(content.bytes().len());
        self.bytes_left = left.unwrap_or(self.bytes_left);
        left.is_some()
    }
}

/// The same, for one of several manifests of one image.
pub(crate) fn decode_artifact_within(
    manifest: &[u8],
    items: &BTreeMap<Digest, Retrieval>,
    repetitions: &mut Repetitions,
) -> Result<DecodedArtifact, DecodeFault> {
    let manifest = Manifest::parse(manifest).map_err(|error| DecodeFault::malformed(error.to_string()))?;
    let candidates = manifest.layers.iter().filter(|layer| may_be_signature(&manifest, layer));
    let layers = candidates
        .clone()
        .take(limits::MAX_SIGNATURES)
        .filter_map(|layer| decode_layer(&manifest, layer, items, repetitions))
        .collect();
    Ok(DecodedArtifact {
        subject: manifest.subject.as_ref().map(|subject| subject.digest),
        artifact_type: artifact_type(&manifest).to_owned(),
        layers,
        truncated: candidates.count() > limits::MAX_SIGNATURES,
    })
}

fn decode_layer(
    manifest: &Manifest,
    layer: &Descriptor,
    items: &BTreeMap<Digest, Retrieval>,
    repetitions: &mut Repetitions,
) -> Option<DecodedLayer> {
    let format = claimed_format(manifest, layer);
    let rejected = |fault| Some(DecodedLayer::Rejected { format, claims: None, fault });
    // What only might have been a signature, and cannot be one at its size, is some other artifact.
    let too_large = |fault| {
        let claimed = claimed_predicate_type(manifest, layer);
        let claims = claimed.filter(|claimed| claimed.parse::<PredicateType>().is_ok()).map(str::to_owned);
        format.map(|_| DecodedLayer::Rejected { format, claims, fault })
    };
    if format == Some(Format::Notation) {
        return rejected(DecodeFault::unsupported("Notary Project signatures"));
    }
    let embedded = layer.embedded();
    let content = match (items.get(&layer.digest), &embedded) {
        (Some(Retrieval::Content(content)), _) | (None | Some(_), Some(content)) => content,
        (Some(Retrieval::Rejected(fault)), None) => {
            let is_large = usize::try_from(layer.size).is_ok_and(|size| size > limits::MAX_SIGNATURE_BYTES);
            let fault = DecodeFault { code: fault.code, detail: fault.detail.clone() };
            return match is_large && fault.code == Code::LimitExceeded {
                true => too_large(fault),
                false => format.and_then(|_| rejected(fault)),
            };
        }
        (Some(Retrieval::Unknown(cause)), None) => return Some(DecodedLayer::Unknown(cause.clone())),
        (None, None) => {
            let detail = format!("the blob `{}` of a listed signature was not looked at", layer.digest);
            return Some(DecodedLayer::Unknown(Cause::new(Code::RegistryInconsistent, detail)));
        }
    };
    // Whether so much is asked for is decided before it is fetched.
    let most = most_bytes(manifest, layer, &Large::OfAnyType);
    if content.bytes().len() > most {
        let detail = format!("a signature of more than {most} bytes is not looked at");
        return too_large(DecodeFault { code: Code::LimitExceeded, detail });
    }
    if u64::try_from(content.bytes().len()).ok() != Some(layer.size) {
        let fault = DecodeFault::malformed(format!("its descriptor says {} bytes", layer.size));
        return format.and_then(|_| rejected(fault));
    }
    if !repetitions.allow(content) {
        let detail =
            format!("with `{}` once more, more than {} bytes were read", layer.digest, limits::MAX_EVIDENCE_BYTES);
        return rejected(DecodeFault { code: Code::LimitExceeded, detail });
    }
    let decoded = match layer.annotations.get(simple_signing::SIGNATURE_ANNOTATION) {
        // cosign writes an empty annotation beside an envelope, whose signature is inside.
        _ if format == Some(Format::DsseEnvelope) => envelope::decode(content, &layer.annotations),
        Some(signature) => simple_signing::decode(content, signature, &layer.annotations),
        None if bundle::looks_like(content.bytes()) || format == Some(Format::SigstoreBundle) => {
            bundle::decode(content)
        }
        None if format == Some(Format::SimpleSigning) => {
            let annotation = simple_signing::SIGNATURE_ANNOTATION;
            Err(DecodeFault::malformed(format!("it has no annotation `{annotation}`")))
        }
        None => return None,
    };
    match decoded {
        Ok(signature) => Some(DecodedLayer::Signature(signature)),
        Err(fault) => rejected(fault),
    }
}

fn claimed_format(manifest: &Manifest, layer: &Descriptor) -> Option<Format> {
    let types = [layer.media_type.as_str(), artifact_type(manifest)];
    if layer.media_type == media_type::DSSE_ENVELOPE {
        return Some(Format::DsseEnvelope);
    }
    if layer.annotations.contains_key(simple_signing::SIGNATURE_ANNOTATION)
        || types.contains(&media_type::SIMPLE_SIGNING)
    {
        return Some(Format::SimpleSigning);
    }
    if types.iter().any(|claimed| is_bundle_type(claimed)) {
        return Some(Format::SigstoreBundle);
    }
    types.iter().any(|claimed| NOTATION.contains(claimed)).then_some(Format::Notation)
}

fn is_bundle_type(claimed: &str) -> bool {
    claimed.starts_with("application/vnd.dev.sigstore.bundle")
}

/// The type of an artifact (OCI image-spec, "Guidelines for Artifact Usage"): `artifactType`, else that of the
/// configuration.
fn artifact_type(manifest: &Manifest) -> &str {
    let claimed = manifest.artifact_type.as_deref().filter(|claimed| !claimed.is_empty());
    claimed.unwrap_or(&manifest.config.media_type)
}
