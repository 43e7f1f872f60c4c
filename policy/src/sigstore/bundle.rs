//! A bundle as it was read: nothing in it is believed.

use jiff::Timestamp;

use crate::limits;
use crate::reason::Code;
use crate::signature::{DecodeFault, read_whole_bundle};

/// A well-formed bundle within limits. It says nothing about anything until [`super::verify_bundle`] has looked at it,
/// and has no accessor for any claim.
#[derive(Debug, Clone)]
pub struct UnverifiedBundle {
    /// Version 0.1 came before inclusion proofs: the log's promise was all there was (Sigstore bundle format,
    /// `inclusion_promise`).
    pub(crate) promise_is_enough: bool,
    pub(crate) maker: Maker,
    pub(crate) signed: Signed,
    pub(crate) entries: Vec<UnverifiedEntry>,
    pub(crate) timestamps: Vec<Vec<u8>>,
}

/// What made the signature, as claimed.
#[derive(Debug, Clone)]
pub(crate) enum Maker {
    /// A key that the verifier must know.
    Key,
    /// The key of this certificate. Others that come with it are not looked at: only pinned ones issue.
    Certificate(Vec<u8>),
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
        match &self.maker {
            Maker::Certificate(der) => Some(der),
            Maker::Key => None,
        }
    }
}

impl Signed {
    pub(super) fn signature(&self) -> &[u8] {
        match self {
            Self::Envelope { signature, .. } | Self::Message { signature, .. } => signature,
        }
    }
}
