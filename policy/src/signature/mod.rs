//! Signature formats: one file a format, decoding and encoding side by side.
//!
//! Decoding gives an [`UnverifiedSignature`]: well-formed, within limits, and silent about its claims. What it says
//! about an image can only be read by [`crate::verify`], from the very bytes that a trusted key verified.

mod artifact;
mod bundle;
mod dsse;
mod envelope;
pub(crate) mod json;
mod legacy;
mod simple_signing;
mod statement;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::image::{Content, Digest, ImageReference, PinnedImage};
use crate::limits;
use crate::sigstore::{BundleContent, BundleMaker, Identity, LogAnswer, Material, write_bundle};
use crate::verify::{KeyId, PublicKey};

pub use artifact::{DecodeFault, DecodedArtifact, DecodedLayer, decode_artifact, may_be_signature, most_bytes};
pub(crate) use artifact::{Repetitions, decode_artifact_within};
pub(crate) use bundle::read_whole as read_whole_bundle;
pub use dsse::pre_authentication_encoding;
pub use statement::{PAYLOAD_TYPE as IN_TOTO_PAYLOAD_TYPE, SIGNATURE_PREDICATE_TYPE};
pub(crate) use statement::{SignedStatement, subject_digests};

/// The format of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// A DSSE envelope, a layer of the manifest under the `.att` tag: an attestation of cosign 2.
    DsseEnvelope,
    /// A Notary Project envelope. Recognised, not verified by this version.
    Notation,
    /// A Sigstore bundle with a DSSE envelope, attached as an OCI 1.1 referrer.
    SigstoreBundle,
    /// cosign's simple signing, a layer of the manifest under the `.sig` tag.
    SimpleSigning,
}

impl Format {
    /// The name in reports: `sigstore-bundle`, `simple-signing`, `dsse-envelope` or `notation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DsseEnvelope => "dsse-envelope",
            Self::Notation => "notation",
            Self::SigstoreBundle => "sigstore-bundle",
            Self::SimpleSigning => "simple-signing",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signature as it was found: well-formed, nothing verified.
///
/// It offers what is needed to look for a key, and no claim. The message is the exact byte string that the signature
/// is over; claims are parsed from its payload after a key has verified that message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedSignature {
    format: Format,
    content: Digest,
    /// Whether its blob is larger than that of a plain signature may be.
    is_large: bool,
    key_hint: Option<KeyId>,
    /// Shared with what is found to be attested in it.
    message: Arc<Vec<u8>>,
    signature: Vec<u8>,
    payload: Payload,
    /// Who made it and who logged it, as claimed. What is wrong with that is no matter to a key.
    material: Box<Result<Material, DecodeFault>>,
    timestamps: Vec<Vec<u8>>,
    /// What the timestamps are about, where that is not the signature.
    timestamped: Option<Vec<u8>>,
}

/// The bytes that hold the claims, and how to read them once they are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// A DSSE payload: the end of the signed message, which has all of it.
    Dsse {
        /// `payloadType` of the envelope.
        payload_type: String,
        /// How many bytes of the message the payload has.
        length: usize,
    },
    /// A simple-signing document; it is the signed message itself.
    SimpleSigning,
}

/// Whether a blob is larger than that of a plain signature may be.
fn is_large(content: &Content) -> bool {
    content.bytes().len() > limits::MAX_SIGNATURE_BYTES
}

impl UnverifiedSignature {
    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Digest of the blob that it was decoded from.
    #[must_use]
    pub fn content(&self) -> Digest {
        self.content
    }

    /// The key that it says it was made with. Anybody can write anything there: use it to find a key, never to trust.
    #[must_use]
    pub fn key_hint(&self) -> Option<KeyId> {
        self.key_hint
    }

    /// Whether it comes with a certificate, that is, was probably made without a long-lived key.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.material.as_ref().as_ref().map_or(true, |material| material.certificate.is_some())
    }

    /// Whom its certificate says that it is about. Anybody can make such a certificate: use it to find out whom to ask for,
    /// never to trust.
    #[must_use]
    pub fn identity_hint(&self) -> Option<Identity> {
        crate::sigstore::hint(self.material().ok()?.certificate.as_ref()?)
    }

    /// Bytes that it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        let payload_type = self.envelope().map_or(0, |(payload_type, _)| payload_type.len());
        let timestamps: usize = self.timestamps.iter().chain(&self.timestamped).map(Vec::len).sum();
        let material = self.material.as_ref().as_ref().map_or(0, Material::bytes);
        self.message.len() + self.signature.len() + payload_type + timestamps + material
    }

    /// Who made it and who logged it, unverified.
    pub(crate) fn material(&self) -> Result<&Material, &DecodeFault> {
        self.material.as_ref().as_ref()
    }

    /// Type and payload, where an envelope was signed.
    pub(crate) fn envelope(&self) -> Option<(&str, &[u8])> {
        match &self.payload {
            Payload::Dsse { payload_type, length } => {
                let start = self.message.len().checked_sub(*length)?;
                Some((payload_type, self.message.get(start..)?))
            }
            Payload::SimpleSigning => None,
        }
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes of the statement inside, for a signature that a key has verified.
    pub(crate) fn statement(&self) -> Option<&[u8]> {
        self.envelope().map(|(_, payload)| payload)
    }

    /// The same, to be kept with the fact that a key has verified it.
    pub(crate) fn shared_statement(&self) -> SignedStatement {
        let length = self.statement().map_or(0, <[u8]>::len);
        SignedStatement::new(&self.message, length)
    }

    /// What the timestamps must be about: the signature, or what it lies in.
    pub(crate) fn timestamped(&self) -> &[u8] {
        self.timestamped.as_deref().unwrap_or(&self.signature)
    }

    /// RFC 3161 timestamp responses, unverified.
    pub(crate) fn timestamps(&self) -> &[Vec<u8>] {
        &self.timestamps
    }
}

/// What a signed payload says. Only made from verified bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) images: Vec<ClaimedImage>,
    /// When the signature ends by its own word.
    pub(crate) expires: Option<Timestamp>,
}

/// One image that a signed payload is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimedImage {
    pub(crate) digests: Vec<Digest>,
    pub(crate) name: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Why a verified payload makes no claim that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClaimFault {
    Malformed { problem: String },
    PayloadType { found: String },
    PredicateType { found: String },
    TooLarge,
}

/// What a signed statement attests. Only made from verified bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attested {
    pub(crate) images: Vec<ClaimedImage>,
    pub(crate) predicate_type: String,
    /// What policies can ask of the predicate, or why it cannot be read.
    pub(crate) facts: Result<crate::attestation::Facts, String>,
}

/// What is attested; `None` for what is no attestation: a plain signature.
pub(crate) fn attested(signature: &UnverifiedSignature) -> Option<Result<Attested, ClaimFault>> {
    let (payload_type, payload) = signature.envelope()?;
    statement::attested(payload_type, payload)
}

/// What a statement that is to be signed attests.
pub(crate) fn attested_by(statement: &[u8]) -> Result<Attested, String> {
    match statement::attested(statement::PAYLOAD_TYPE, statement) {
        Some(Ok(attested)) => Ok(attested),
        Some(Err(ClaimFault::Malformed { problem })) => Err(problem),
        Some(Err(ClaimFault::PayloadType { found })) => Err(format!("its `_type` is `{found}`")),
        Some(Err(ClaimFault::PredicateType { found })) => Err(format!("its `predicateType` is `{found}`")),
        Some(Err(ClaimFault::TooLarge)) => Err("beside its predicate, it is larger than a signature may be".to_owned()),
        None => Err("it is a plain signature".to_owned()),
    }
}

/// The statement of a predicate, which is a JSON object.
pub(crate) fn statement_of(image: &PinnedImage, predicate_type: &str, predicate: &str) -> Vec<u8> {
    statement::encode_attestation(image, predicate_type, predicate)
}

/// What the key signs, for a format that holds statements.
pub(crate) fn unsigned_statement(format: Format, payload: Vec<u8>) -> Result<UnsignedSignature, Unwritable> {
    match format {
        Format::SigstoreBundle | Format::DsseEnvelope => {
            let message = dsse::pre_authentication_encoding(statement::PAYLOAD_TYPE, &payload);
            Ok(UnsignedSignature { format, payload, message })
        }
        Format::SimpleSigning | Format::Notation => Err(Unwritable::Format { format }),
    }
}

pub(crate) fn claims(signature: &UnverifiedSignature) -> Result<Claims, ClaimFault> {
    let claims = match signature.envelope() {
        Some((payload_type, payload)) => statement::claims(payload_type, payload),
        None => simple_signing::claims(&signature.message),
    }?;
    // Only an attestation may be large, whatever the manifest claims it to be.
    if signature.is_large {
        return Err(ClaimFault::TooLarge);
    }
    match claims.images.iter().find_map(|image| annotation_problem(&image.annotations)) {
        Some(problem) => {
            Err(ClaimFault::Malformed { problem: format!("its annotations are too many or too large: {problem}") })
        }
        None => Ok(claims),
    }
}

/// What is to be signed: an image, under the name that it was asked for by, with the signer's annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The image; its digest is what is signed.
    pub image: PinnedImage,
    /// The name that goes inside, with its tag where there is one.
    pub name: String,
    /// Annotations that go inside.
    pub annotations: BTreeMap<String, String>,
    /// When the signature ends, if it does; goes inside.
    pub expires: Option<Timestamp>,
}

impl Statement {
    /// The statement that an image, asked for by `reference` and resolved to `image`, is signed.
    #[must_use]
    pub fn about(reference: &ImageReference, image: &PinnedImage, annotations: BTreeMap<String, String>) -> Self {
        let name = match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.repository()),
            None => reference.repository().to_string(),
        };
        Self { image: image.clone(), name, annotations, expires: None }
    }

    /// The same statement, whose signature ends at a time.
    #[must_use]
    pub fn expiring(self, expires: Option<Timestamp>) -> Self {
        Self { expires, ..self }
    }

    /// The exact bytes to sign for a format.
    ///
    /// # Errors
    /// [`Unwritable`] for formats that this version does not write, and for annotations that no reader would take.
    pub fn unsigned(&self, format: Format) -> Result<UnsignedSignature, Unwritable> {
        if let Some(problem) = annotation_problem(&self.annotations) {
            return Err(Unwritable::Annotations { problem });
        }
        match format {
            Format::SigstoreBundle => {
                let payload = statement::encode(self);
                let message = dsse::pre_authentication_encoding(statement::PAYLOAD_TYPE, &payload);
                Ok(UnsignedSignature { format, payload, message })
            }
            Format::SimpleSigning => {
                let payload = simple_signing::encode(self);
                Ok(UnsignedSignature { format, message: payload.clone(), payload })
            }
            Format::DsseEnvelope | Format::Notation => Err(Unwritable::Format { format }),
        }
    }
}

/// Why something cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// Too many annotations, or too large ones.
    #[error("these annotations cannot be signed: {problem}")]
    Annotations {
        /// What is wrong, as a clause.
        problem: String,
    },
    /// This version does not write signatures of the format.
    #[error("this version does not write `{format}` signatures")]
    Format {
        /// The format.
        format: Format,
    },
}

/// The field that says when a signature ends, as RFC 3339: in the predicate of a statement, in `optional` of a
/// simple-signing document. It has the meaning of the Notary Project's expiry.
pub const EXPIRES_FIELD: &str = "hallmark.dev/expires";

/// Reads [`EXPIRES_FIELD`]. An end that cannot be read is not "no end".
fn expiry(value: Option<&serde_json::Value>) -> Result<Option<Timestamp>, ClaimFault> {
    let Some(value) = value else { return Ok(None) };
    let time = value.as_str().and_then(|text| text.parse().ok());
    let problem = || ClaimFault::Malformed { problem: format!("`{EXPIRES_FIELD}` is not a date and time") };
    time.map(Some).ok_or_else(problem)
}

/// What is wrong with annotations, on the way in and on the way out.
fn annotation_problem(annotations: &BTreeMap<String, String>) -> Option<String> {
    if annotations.contains_key(EXPIRES_FIELD) {
        return Some(format!("`{EXPIRES_FIELD}` says when a signature ends, and is no annotation"));
    }
    if annotations.len() > limits::MAX_ANNOTATIONS {
        return Some(format!("there are more than {} of them", limits::MAX_ANNOTATIONS));
    }
    let too_large = |text: &str| text.len() > limits::MAX_ANNOTATION_BYTES;
    let any = annotations.iter().any(|(key, value)| too_large(key) || too_large(value));
    any.then(|| format!("one is larger than {} bytes", limits::MAX_ANNOTATION_BYTES))
}

/// A payload that waits for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedSignature {
    format: Format,
    payload: Vec<u8>,
    message: Vec<u8>,
}

impl UnsignedSignature {
    /// The bytes that the key signs.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The payload inside, for a dry run.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Puts payload and signature into a bundle with all that vouches for it. Nothing is verified yet: see
    /// [`crate::verify::check_bundle_before_attaching`].
    ///
    /// # Errors
    /// What cannot be written, as a clause: only bundles have a place for entries and certificates.
    pub fn encode_with_material(
        self,
        signature: &[u8],
        maker: BundleMaker<'_>,
        entries: Vec<LogAnswer>,
        timestamps: Vec<Vec<u8>>,
    ) -> Result<EncodedSignature, String> {
        if self.format != Format::SigstoreBundle {
            return Err("only bundles have a place for log entries and certificates".to_owned());
        }
        let content = BundleContent::Envelope { payload_type: statement::PAYLOAD_TYPE, payload: &self.payload };
        let blob = write_bundle(content, signature, maker, entries, timestamps)?;
        Ok(EncodedSignature { format: self.format, blob, detached: None })
    }

    /// Puts payload and signature into the format's own envelope. Nothing is verified yet: see
    /// [`crate::verify::check_before_attaching`].
    #[must_use]
    pub fn encode(self, key: &PublicKey, signature: &[u8]) -> EncodedSignature {
        self.encode_with_timestamps(key, signature, Vec::new())
    }

    /// The same, with the responses of timestamp authorities (RFC 3161) to a question about `signature`. Formats other
    /// than the bundle have no place for them, and leave them out.
    #[must_use]
    pub fn encode_with_timestamps(
        self,
        key: &PublicKey,
        signature: &[u8],
        timestamps: Vec<Vec<u8>>,
    ) -> EncodedSignature {
        match self.format {
            Format::SigstoreBundle | Format::Notation => {
                let blob = bundle::encode(statement::PAYLOAD_TYPE, self.payload, signature, timestamps, key);
                EncodedSignature { format: self.format, blob, detached: None }
            }
            Format::DsseEnvelope => {
                let blob = envelope::encode(statement::PAYLOAD_TYPE, &self.payload, signature);
                EncodedSignature { format: self.format, blob, detached: None }
            }
            Format::SimpleSigning => {
                EncodedSignature { format: self.format, blob: self.payload, detached: Some(signature.to_vec()) }
            }
        }
    }
}

/// A signature in its format's envelope, as it would lie in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSignature {
    format: Format,
    blob: Vec<u8>,
    detached: Option<Vec<u8>>,
}

impl EncodedSignature {
    /// A bundle that was written elsewhere in this crate.
    pub(crate) fn of_bundle(blob: Vec<u8>) -> Self {
        Self { format: Format::SigstoreBundle, blob, detached: None }
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The blob: a bundle, or a simple-signing payload.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The signature in base64, where the format keeps it beside the blob, in an annotation.
    #[must_use]
    pub fn detached_base64(&self) -> Option<String> {
        self.detached.as_ref().map(|signature| simple_signing::encode_signature(signature))
    }

    /// Reads the envelope back, exactly as it would be read from a registry.
    pub(crate) fn decode(&self) -> Result<UnverifiedSignature, DecodeFault> {
        let content = crate::image::Content::named_by_itself(self.blob.clone());
        match &self.detached {
            None if self.format == Format::DsseEnvelope => envelope::decode(&content, &BTreeMap::new()),
            None => bundle::decode(&content),
            Some(signature) => {
                simple_signing::decode(&content, &simple_signing::encode_signature(signature), &BTreeMap::new())
            }
        }
    }
}
