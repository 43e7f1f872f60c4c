//! A bundle as it was read: nothing in it is believed.

use jiff::Timestamp;

use crate::limits;
use crate::reason::Code;
use crate::signature::{DecodeFault, read_whole_bundle};

/// A well-formed bundle within limits. It says nothing about anything until [`super::verify_bundle`] has looked at it,
/// and has no accessor for any claim.
#[derive(Debug, Clone)]
pub struct UnverifiedBundle {
    pub(crate) signed: Signed,
    pub(crate) material: Material,
    pub(crate) timestamps: Vec<Vec<u8>>,
}

/// What made a signature and who logged it, as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Material {
    /// A promise counts without a proof: there was nothing else in bundles of version 0.1 (Sigstore bundle format,
    /// `inclusion_promise`) and in annotations of layers.
    pub(crate) promise_is_enough: bool,
    /// The certificate whose key signed; none when it was a key that the verifier must know. Others that come with it
    /// are not looked at: only pinned ones issue.
    pub(crate) certificate: Option<Vec<u8>>,
    /// Entries of transparency logs.
    pub(crate) entries: Vec<UnverifiedEntry>,
}

impl Material {
    /// A key, and no log.
    #[cfg(test)]
    pub(crate) const KEY: Self = Self { promise_is_enough: false, certificate: None, entries: Vec::new() };

    /// Bytes that it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        let proof = |proof: &UnverifiedProof| proof.checkpoint.len() + proof.path.len() * 32;
        let entry = |entry: &UnverifiedEntry| entry.body.len() + entry.proof.as_ref().map_or(0, proof);
        self.certificate.as_ref().map_or(0, Vec::len) + self.entries.iter().map(entry).sum::<usize>()
    }
}

/// What was signed, as claimed.
#[derive(Debug, Clone)]
pub(crate) enum Signed {
    /// A DSSE envelope.
    Envelope {
        /// The type of the payload.
        payload_type: String,
        /// The payload.
        payload: Vec<u8>,
        /// Over their pre-authentication encoding.
        signature: Vec<u8>,
    },
    /// The artifact's own bytes.
    Message {
        /// Algorithm and digest of the artifact, as claimed.
        digest: Option<(&'static str, Vec<u8>)>,
        /// Over the artifact.
        signature: Vec<u8>,
    },
}

/// An entry of a transparency log, as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnverifiedEntry {
    pub(crate) index: u64,
    pub(crate) log: Vec<u8>,
    pub(crate) kind: &'static str,
    pub(crate) version: &'static str,
    pub(crate) time: Option<Timestamp>,
    pub(crate) promise: Option<Vec<u8>>,
    pub(crate) proof: Option<UnverifiedProof>,
    pub(crate) body: Vec<u8>,
}

/// An inclusion proof, as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnverifiedProof {
    pub(crate) index: u64,
    pub(crate) size: u64,
    pub(crate) root: [u8; 32],
    pub(crate) path: Vec<[u8; 32]>,
    pub(crate) checkpoint: String,
}

impl UnverifiedBundle {
    /// Reads a bundle of version 0.1, 0.2 or 0.3, in either spelling.
    ///
    /// # Errors
    /// [`DecodeFault`] when it is not one, is too large, or could be read in two ways.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeFault> {
        if bytes.len() > limits::MAX_SIGNATURE_BYTES {
            let detail = format!("a bundle of more than {} bytes is not looked at", limits::MAX_SIGNATURE_BYTES);
            return Err(DecodeFault { code: Code::LimitExceeded, detail });
        }
        read_whole_bundle(bytes)
    }

    /// The certificate that it carries, in DER, unverified.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.material.certificate.as_deref()
    }
}

impl Signed {
    pub(super) fn signature(&self) -> &[u8] {
        match self {
            Self::Envelope { signature, .. } | Self::Message { signature, .. } => signature,
        }
    }

    /// Type and payload of an envelope.
    pub(super) fn envelope(&self) -> Option<(&str, &[u8])> {
        match self {
            Self::Envelope { payload_type, payload, .. } => Some((payload_type, payload)),
            Self::Message { .. } => None,
        }
    }
}
