//! Is this signature genuine, and does it count?
//!
//! [`authenticate`] finds cryptographic facts, free of time and policy. [`judge`] puts them under trust and time. They
//! are the only constructors of [`Authenticated`] and [`VerifiedSignature`], and claims are read nowhere else.

mod algorithm;
mod attestation;
mod authenticate;
mod judge;
mod key;
mod rejection;
mod timestamp;

pub use algorithm::{KeyKind, algorithm_name};
pub use attestation::VerifiedAttestation;
pub(crate) use attestation::{UnprovenAttestation, judge_attestation};
pub use authenticate::{Authenticated, AuthenticationMemo, authenticate};
pub use judge::{Expectation, VerifiedSignature, judge};
pub use key::{KeyError, KeyId, PublicKey};
pub use rejection::Rejection;
pub(crate) use rejection::quoted;
pub(crate) use timestamp::verify_timestamp;
pub use timestamp::{CertificateChain, ChainError, TimeEvidence, VerifiedTime, check_timestamp_answer, trusted_time};

use crate::attestation::{Attestation, PredicateType, Wanted};
use crate::image::PinnedImage;
use crate::reason::Code;
use crate::signature::{EncodedSignature, Format};
use crate::sigstore::{
    Artifact, Demands, IssuedCertificate, TrustedRoot, UnverifiedBundle, VerifiedBundle, verify_own_bundle,
};
use crate::trust::KeyWindow;

/// A signature that was read back from its own envelope and verified, and so may be attached to an image.
///
/// There is no other way to make one: a signature that does not verify cannot be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachableSignature {
    image: PinnedImage,
    key: KeyId,
    encoded: EncodedSignature,
    predicate_type: Option<PredicateType>,
}

impl AttachableSignature {
    /// The image that it is about.
    #[must_use]
    pub fn image(&self) -> &PinnedImage {
        &self.image
    }

    /// The key that verified it.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The type of what it attests; `None` for a plain signature.
    #[must_use]
    pub fn predicate_type(&self) -> Option<&PredicateType> {
        self.predicate_type.as_ref()
    }

    /// Its envelope.
    #[must_use]
    pub fn encoded(&self) -> &EncodedSignature {
        &self.encoded
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.encoded.format()
    }
}

/// Verifies a bundle that was just made with certificates, log entries or timestamps: as a signature or an attestation, by
/// the same path that a registry's takes, and as a bundle, with everything that vouches for it. `key` is the key that signed; without
/// one it is the certificate's.
///
/// # Errors
/// A [`Rejection`] when either way refuses it.
pub fn check_bundle_before_attaching(
    encoded: EncodedSignature,
    key: Option<&PublicKey>,
    image: &PinnedImage,
    root: &TrustedRoot,
    demands: &Demands,
    now: jiff::Timestamp,
) -> Result<(AttachableSignature, VerifiedBundle), Rejection> {
    let artifact = crate::image::Digest::of(encoded.blob());
    let format = Some(encoded.format());
    let rejected = |code, message| Rejection::new(artifact, format, code, message);
    let bundle = UnverifiedBundle::parse(encoded.blob()).map_err(|fault| rejected(fault.code, fault.detail))?;
    let verified = verify_own_bundle(&bundle, Artifact::Digest(image.digest), key, root, demands, now)
        .map_err(|refusal| rejected(refusal.code, refusal.message))?;
    let certified;
    let key = match (key, bundle.certificate()) {
        (Some(key), _) => key,
        (None, Some(der)) => {
            let certificate = IssuedCertificate::read(der);
            certified = certificate.map_err(|problem| rejected(Code::CertificateUntrusted, problem))?;
            certified.key()
        }
        (None, None) => return Err(rejected(Code::CertificateUntrusted, "it has no certificate".to_owned())),
    };
    let signature = encoded.decode().map_err(|fault| rejected(fault.code, fault.detail))?;
    let attestation = signature.statement().and_then(|statement| Attestation::of_statement(image, statement).ok());
    let attachable = match attestation {
        Some(attestation) => check_attestation_before_attaching(encoded, key, &attestation, now)?,
        None => check_before_attaching(encoded, key, image, now)?,
    };
    Ok((attachable, verified))
}

/// Verifies a signature that was just made, by the same path that a registry's takes.
///
/// # Errors
/// A [`Rejection`] when the envelope does not read back, or the key does not verify it for this image.
pub fn check_before_attaching(
    encoded: EncodedSignature,
    key: &PublicKey,
    image: &PinnedImage,
    now: jiff::Timestamp,
) -> Result<AttachableSignature, Rejection> {
    let artifact = crate::image::Digest::of(encoded.blob());
    let rejected = |code, message| Rejection::new(artifact, Some(encoded.format()), code, message);
    let signature = encoded.decode().map_err(|fault| rejected(fault.code, fault.detail))?;
    let facts = authenticate(&signature, key, &AuthenticationMemo::new())
        .ok_or_else(|| rejected(Code::SignatureInvalid, "the new signature does not verify".to_owned()))?;
    let expectation = Expectation::of_image(image);
    let judged = judge(artifact, "the signer", &facts, &KeyWindow::UNBOUNDED, &TimeEvidence::NONE, &expectation, now);
    if let Some(rejection) = judged.err().and_then(|rejections| rejections.into_iter().next()) {
        return Err(rejection);
    }
    Ok(AttachableSignature { image: image.clone(), key: key.id(), encoded, predicate_type: None })
}

/// Verifies an attestation that was just made, by the same path that a registry's takes.
///
/// # Errors
/// A [`Rejection`] when the envelope does not read back, is too large to be looked at, or the key does not verify it for
/// this image.
pub fn check_attestation_before_attaching(
    encoded: EncodedSignature,
    key: &PublicKey,
    attestation: &Attestation,
    now: jiff::Timestamp,
) -> Result<AttachableSignature, Rejection> {
    let artifact = crate::image::Digest::of(encoded.blob());
    let rejected = |code, message| Rejection::new(artifact, Some(encoded.format()), code, message);
    let most = match attestation.predicate_type.may_be_large() {
        true => crate::limits::MAX_ATTESTATION_BYTES,
        false => crate::limits::MAX_SIGNATURE_BYTES,
    };
    if encoded.blob().len() > most {
        let message =
            format!("the attestation has {} bytes, and nobody looks at more than {most}", encoded.blob().len());
        return Err(rejected(Code::LimitExceeded, message));
    }
    let signature = encoded.decode().map_err(|fault| rejected(fault.code, fault.detail))?;
    let facts = authenticate(&signature, key, &AuthenticationMemo::new())
        .ok_or_else(|| rejected(Code::SignatureInvalid, "the new attestation does not verify".to_owned()))?;
    let image = &attestation.image;
    let wanted = Wanted::Types(std::slice::from_ref(&attestation.predicate_type));
    let (window, time) = (KeyWindow::UNBOUNDED, TimeEvidence::NONE);
    match judge_attestation(artifact, "the signer", &facts, &window, &time, image.digest, wanted, now) {
        Some(Ok(_)) if signature.statement() == Some(attestation.statement()) => Ok(AttachableSignature {
            image: image.clone(),
            key: key.id(),
            encoded,
            predicate_type: Some(attestation.predicate_type.clone()),
        }),
        Some(Err(rejection)) => Err(rejection),
        Some(Ok(_)) | None => Err(rejected(Code::Malformed, "the new attestation reads back as another".to_owned())),
    }
}
