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

/// What waits for its log entry.
#[derive(Debug, Clone)]
pub struct Unlogged {
    /// What can be entered.
    pub signatures: Vec<UnloggedSignature>,
    /// How many others, where certificates are asked for, have a timestamp and no entry at all, and do not verify under this
    /// trusted root: whoever signed with another instance is not to be told that nothing waits.
    pub unbelieved: usize,
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
) -> Unlogged {
    let artifact = Artifact::Digest(image.digest);
    let verifies = |bundle: &UnverifiedBundle, demands: &Demands| {
        verify_own_bundle(bundle, artifact, key, root, demands, now).is_ok()
    };
    let without = Demands { logs: 0, ..*demands };
    let (mut complete, mut entered): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    let (mut signatures, mut unbelieved): (Vec<UnloggedSignature>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for (found, _, bundle) in bundles(evidence) {
        let signature = bundle.signed.signature().to_vec();
        if verifies(&bundle, demands) {
            complete.push(signature);
        } else if verifies(&bundle, &without) {
            signatures.extend(read(found.artifact, bundle, key));
        } else if !bundle.material.entries.is_empty() {
            entered.push(signature);
        } else if !bundle.timestamps.is_empty() && key.is_none() && bundle.material.certificate.is_some() {
            unbelieved.push(signature);
        }
    }
    signatures.retain(|one| !complete.contains(&one.signature));
    unbelieved.retain(|one| !complete.contains(one) && !entered.contains(one));
    Unlogged { signatures, unbelieved: unbelieved.len() }
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
