//! Signatures and attestations that wait for their log entry: made while the log was down, timestamped, and completed later.

use jiff::Timestamp;

use super::bundle::{Signed, UnverifiedBundle};
use super::identity::Identity;
use super::own::{IssuedCertificate, bundles, verify_own_bundle};
use super::trusted_root::TrustedRoot;
use super::verify::{Artifact, Demands};
use super::written::{BundleContent, BundleMaker, LogAnswer, write_bundle};
use crate::evidence::DecodedEvidence;
use crate::image::{Digest, PinnedImage};
use crate::signature::{EncodedSignature, pre_authentication_encoding};
use crate::verify::PublicKey;

/// A bundle that verifies but for the log entry that it has not.
#[derive(Debug, Clone)]
pub struct UnloggedSignature {
    artifact: Digest,
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
    timestamps: Vec<Vec<u8>>,
    certificate: Option<IssuedCertificate>,
    key: PublicKey,
}

impl UnloggedSignature {
    /// The manifest that carries it.
    #[must_use]
    pub fn artifact(&self) -> Digest {
        self.artifact
    }

    /// What was signed.
    #[must_use]
    pub fn content(&self) -> BundleContent<'_> {
        BundleContent::Envelope { payload_type: &self.payload_type, payload: &self.payload }
    }

    /// The exact bytes under the signature.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The key that made it.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Who made it.
    #[must_use]
    pub fn maker(&self) -> BundleMaker<'_> {
        match &self.certificate {
            Some(certificate) => BundleMaker::Certificate(certificate.der()),
            None => BundleMaker::Key(&self.key),
        }
    }

    /// Whom its certificate names; nobody where a key made it.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.certificate.as_ref().map(IssuedCertificate::identity)
    }

    /// The same bundle with entries. A certificate has ended long since: what the log says of the time is then left out, and
    /// the timestamps say when the signature was made.
    ///
    /// # Errors
    /// What cannot be written, as a clause.
    pub fn completed(&self, entries: Vec<LogAnswer>) -> Result<EncodedSignature, String> {
        let entries = match &self.certificate {
            Some(_) => entries.into_iter().map(LogAnswer::without_time).collect(),
            None => entries,
        };
        let blob = write_bundle(self.content(), &self.signature, self.maker(), entries, self.timestamps.clone())?;
        Ok(EncodedSignature::of_bundle(blob))
    }
}

/// The signatures in some evidence that fewer logs than `demands.logs` hold, and that verify otherwise, for `key` or for
/// whomever their certificates name. Those that another bundle completes already are left out.
#[must_use]
pub fn unlogged_signatures(
    evidence: &DecodedEvidence,
    image: &PinnedImage,
    key: Option<&PublicKey>,
    root: &TrustedRoot,
    demands: &Demands,
    now: Timestamp,
) -> Vec<UnloggedSignature> {
    let artifact = Artifact::Digest(image.digest);
    let verifies = |bundle: &UnverifiedBundle, demands: &Demands| {
        verify_own_bundle(bundle, artifact, key, root, demands, now).is_ok()
    };
    let without = Demands { logs: 0, ..*demands };
    let (mut complete, mut unlogged): (Vec<Vec<u8>>, Vec<UnloggedSignature>) = (Vec::new(), Vec::new());
    for (found, _, bundle) in bundles(evidence) {
        if verifies(&bundle, demands) {
            complete.push(bundle.signed.signature().to_vec());
        } else if verifies(&bundle, &without) {
            unlogged.extend(read(found.artifact, bundle, key));
        }
    }
    unlogged.retain(|one| !complete.contains(&one.signature));
    unlogged
}

fn read(artifact: Digest, bundle: UnverifiedBundle, key: Option<&PublicKey>) -> Option<UnloggedSignature> {
    let certificate = match &bundle.material.certificate {
        Some(der) => Some(IssuedCertificate::read(der).ok()?),
        None => None,
    };
    let key = certificate.as_ref().map(IssuedCertificate::key).or(key)?.clone();
    let Signed::Envelope { payload_type, payload, signature } = bundle.signed else { return None };
    let timestamps = bundle.timestamps;
    Some(UnloggedSignature { artifact, payload_type, payload, signature, timestamps, certificate, key })
}
