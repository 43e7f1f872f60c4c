//! What the signer needs: to look at what it was given, and to verify what it made before it goes anywhere.

use jiff::Timestamp;

use super::bundle::UnverifiedBundle;
use super::certificate::Leaf;
use super::identity::{Identity, IdentityExpectation};
use super::trusted_root::TrustedRoot;
use super::verify::{Artifact, Demands, Refusal, VerifiedBundle, Who, verify_bundle};
use crate::evidence::{DecodedEvidence, FoundSignature, Retrieval};
use crate::image::{Digest, PinnedImage};
use crate::reason::Code;
use crate::signature::{Format, subject_digests};
use crate::trust::KeyWindow;
use crate::verify::{Expectation, PublicKey, TimeEvidence, VerifiedSignature, authenticate, judge};

/// A certificate that was just given out: well-formed, and made for signing. Nothing is verified yet.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    der: Vec<u8>,
    key: PublicKey,
    not_after: Timestamp,
    identity: Identity,
}

impl IssuedCertificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let leaf = Leaf::read(der)?;
        let identity = Identity::read(&leaf.certificate.content)?;
        Ok(Self { der: der.to_vec(), not_after: leaf.certificate.not_after, key: leaf.key, identity })
    }

    /// Its DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key that it is for.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// When it ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whom it names: what everybody will see.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Verifies a bundle that was made here, for `key`, or for whomever its own certificate names.
///
/// It is as strict as [`verify_bundle`]: only the question who must have signed is answered by the bundle itself. So it
/// is for signers, and says nothing to a verifier.
///
/// # Errors
/// As [`verify_bundle`].
pub fn verify_own_bundle(
    bundle: &UnverifiedBundle,
    artifact: Artifact<'_>,
    key: Option<&PublicKey>,
    root: &TrustedRoot,
    demands: &Demands,
    now: Timestamp,
) -> Result<VerifiedBundle, Refusal> {
    if let Some(key) = key {
        return verify_bundle(bundle, artifact, Who::Key(key), root, demands, now);
    }
    let untrusted = |message: String| Refusal { code: Code::CertificateUntrusted, message };
    let Some(der) = &bundle.material.certificate else {
        return Err(untrusted("it has no certificate".to_owned()));
    };
    let certificate = IssuedCertificate::read(der).map_err(untrusted)?;
    let subject = certificate.identity.subjects().first().map(|(_, subject)| subject.clone());
    let (Some(issuer), Some(subject)) = (certificate.identity.issuer().map(str::to_owned), subject) else {
        return Err(untrusted("its certificate does not say whom it is about, and who says so".to_owned()));
    };
    let expectation = IdentityExpectation { issuer, subject };
    verify_bundle(bundle, artifact, Who::Identity(&expectation), root, demands, now)
}

/// The first SHA-256 that an in-toto statement is about: what a bundle of it is verified for.
///
/// # Errors
/// What is wrong with the statement, as a clause.
pub fn statement_subject(statement: &[u8]) -> Result<Digest, String> {
    let subjects = subject_digests(crate::signature::IN_TOTO_PAYLOAD_TYPE, statement)
        .map_err(|_| "it is not an in-toto statement of a version that is known".to_owned())?;
    let hex = subjects.iter().find_map(|subject| subject.get("sha256"));
    let hex = hex.ok_or("none of its subjects has a SHA-256")?;
    format!("sha256:{hex}").parse().map_err(|_| "the SHA-256 of its first subject is none".to_owned())
}

/// A bundle about an image that verifies in full: what a signer need not make again.
#[derive(Debug, Clone)]
pub struct OwnBundle {
    /// The manifest that carries it.
    pub artifact: Digest,
    /// Who made it, and who vouches.
    pub bundle: VerifiedBundle,
    /// What it says as a signature of the image; nothing where it is none that counts.
    pub signature: Option<VerifiedSignature>,
    /// The exact bytes of the statement that was signed.
    pub statement: Vec<u8>,
    /// The bundle as it is written.
    pub blob: Vec<u8>,
}

/// The bundles in some evidence that verify in full for `key`, or for whomever their certificates name, and are about the
/// image.
#[must_use]
pub fn own_bundles(
    evidence: &DecodedEvidence,
    image: &PinnedImage,
    key: Option<&PublicKey>,
    root: &TrustedRoot,
    demands: &Demands,
    now: Timestamp,
) -> Vec<OwnBundle> {
    let own = |(found, blob, parsed): (&FoundSignature, &[u8], UnverifiedBundle)| -> Option<OwnBundle> {
        let artifact = Artifact::Digest(image.digest);
        let bundle = verify_own_bundle(&parsed, artifact, key, root, demands, now).ok()?;
        let certificate = parsed.certificate().map(IssuedCertificate::read).transpose().ok()?;
        let key = key.or(certificate.as_ref().map(IssuedCertificate::key))?;
        let facts = authenticate(&found.signature, key, &found.memo)?;
        let (window, expectation) = (KeyWindow::UNBOUNDED, Expectation::of_image(image));
        let signature = judge(found.artifact, "the signer", &facts, &window, &TimeEvidence::NONE, &expectation, now);
        Some(OwnBundle {
            artifact: found.artifact,
            bundle,
            signature: signature.ok(),
            statement: found.signature.statement()?.to_vec(),
            blob: blob.to_vec(),
        })
    };
    bundles(evidence).filter_map(own).collect()
}

/// The bundles in some evidence, each with its bytes; nothing is verified.
pub(super) fn bundles(evidence: &DecodedEvidence) -> impl Iterator<Item = (&FoundSignature, &[u8], UnverifiedBundle)> {
    let found = evidence.signatures().iter().filter(|found| found.signature.format() == Format::SigstoreBundle);
    found.filter_map(|found| {
        let Retrieval::Content(content) = evidence.evidence().items.get(&found.signature.content())? else {
            return None;
        };
        Some((found, content.bytes(), UnverifiedBundle::parse(content.bytes()).ok()?))
    })
}
