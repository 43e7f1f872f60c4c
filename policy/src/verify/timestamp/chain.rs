//! Certificate chains of timestamp authorities. A chain is pinned as a whole: what a token carries never extends it.

use der::Encode as _;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use crate::image::Digest;
use crate::limits;
use crate::x509::CheckedCertificate;
use crate::x509::der::Problem;

const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// The pinned certificates of one timestamp authority: from the one that signs tokens, or the one that issues it, up to
/// the one that is trusted for its own sake. Each was issued by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    id: Digest,
    /// The certificate that signs tokens, where it is pinned.
    signer: Option<CheckedCertificate>,
    /// Those that issue, the lowest first.
    issuers: Vec<CheckedCertificate>,
}

/// Why certificates are not the chain of a timestamp authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ChainError {
    /// What is wrong, in one clause.
    pub problem: String,
}

impl CertificateChain {
    /// Name and validity of each certificate, the lowest first.
    pub(crate) fn described(&self) -> Vec<(String, Timestamp, Timestamp)> {
        self.signer.iter().chain(&self.issuers).map(CheckedCertificate::described).collect()
    }

    /// Reads certificates in PEM, one after the other, or one in DER: the signer's first, each issued by the next.
    ///
    /// # Errors
    /// [`ChainError`] when they are not certificates, not a chain, or may not sign or issue for timestamps.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChainError> {
        let ders = match std::str::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN") => pem_blocks(text)?,
            _ => vec![bytes.to_vec()],
        };
        Self::from_der(ders)
    }

    /// The chain of these certificates, in the same order.
    ///
    /// # Errors
    /// As for [`CertificateChain::parse`].
    pub fn from_der(ders: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        let refuse = |problem: String| ChainError { problem };
        if ders.is_empty() || ders.len() > limits::MAX_CHAIN_CERTIFICATES {
            let most = limits::MAX_CHAIN_CERTIFICATES;
            return Err(refuse(format!("a chain has 1 to {most} certificates, this one has {}", ders.len())));
        }
        let id = Digest::of(&ders.iter().flat_map(|der| Digest::of(der).encoded().into_bytes()).collect::<Vec<_>>());
        let mut issuers = Vec::new();
        for (place, der) in ders.into_iter().enumerate() {
            let certificate = CheckedCertificate::read(&der);
            issuers.push(certificate.map_err(|problem| refuse(format!("certificate {}: {problem}", place + 1)))?);
        }
        let signer = if issuers.first().is_some_and(|first| !first.is_issuer) { Some(issuers.remove(0)) } else { None };
        if let Some(signer) = &signer {
            signer.may_sign_for(TIME_STAMPING, true).map_err(|problem| refuse(format!("certificate 1: {problem}")))?;
        }
        let mut below: Option<&CheckedCertificate> = signer.as_ref();
        for (depth, issuer) in issuers.iter().enumerate() {
            let place = depth + 1 + usize::from(signer.is_some());
            issuer
                .may_issue(depth, TIME_STAMPING)
                .map_err(|problem| refuse(format!("certificate {place}: {problem}")))?;
            if let Some(below) = below {
                let problem =
                    |problem| refuse(format!("certificate {} is not issued by the next: {problem}", place - 1));
                below.is_issued_by(issuer).map_err(problem)?;
            }
            below = Some(issuer);
        }
        Ok(Self { id, signer, issuers })
    }

    /// Names the chain: the same certificates in the same order.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Whether both chains begin with one key, so that a token could be of either.
    #[must_use]
    pub fn begins_like(&self, other: &Self) -> bool {
        let key = |chain: &Self| {
            let first = chain.signer.as_ref().or(chain.issuers.first())?;
            first.content.tbs_certificate.subject_public_key_info.to_der().ok()
        };
        key(self) == key(other)
    }

    /// The certificate that signs tokens, where the chain has it.
    pub(super) fn signer(&self) -> Option<&CheckedCertificate> {
        self.signer.as_ref()
    }

    /// That a token's signer is this chain's, at the token's time (RFC 3161, section 2.3; RFC 5280, section 6.1).
    pub(super) fn covers(&self, signer: &CheckedCertificate, time: Timestamp) -> Result<(), Problem> {
        match (&self.signer, self.issuers.first()) {
            (Some(pinned), _) if pinned.der == signer.der => {}
            (Some(_), _) => return Err("another certificate than the pinned one signed it".to_owned()),
            (None, Some(issuer)) => {
                signer.may_sign_for(TIME_STAMPING, true)?;
                signer.is_issued_by(issuer)?;
            }
            (None, None) => return Err("nothing is pinned".to_owned()),
        }
        for certificate in std::iter::once(signer).chain(&self.issuers) {
            if time < certificate.not_before || time > certificate.not_after {
                let (from, to) = (certificate.not_before, certificate.not_after);
                return Err(format!("its time {time} is outside a certificate's validity, {from} to {to}"));
            }
        }
        Ok(())
    }
}

fn pem_blocks(text: &str) -> Result<Vec<Vec<u8>>, ChainError> {
    let refuse = |problem: &str| ChainError { problem: problem.to_owned() };
    if text.contains("PRIVATE KEY-----") {
        return Err(refuse("there is a private key in it; a trust policy holds certificates only"));
    }
    let mut blocks = Vec::new();
    // `openssl` writes lines of plain text between the blocks.
    for block in text.split("-----BEGIN ").skip(1) {
        let Some((block, _)) = block.split_once("-----END CERTIFICATE-----") else {
            return Err(refuse("a PEM block in it is not a `CERTIFICATE`"));
        };
        let block = format!("-----BEGIN {block}-----END CERTIFICATE-----\n");
        let decoded = pem_rfc7468::decode_vec(block.as_bytes());
        let (label, der) = decoded.map_err(|error| ChainError { problem: format!("not PEM: {error}") })?;
        if label != "CERTIFICATE" {
            return Err(refuse("a PEM block in it is not a `CERTIFICATE`"));
        }
        blocks.push(der);
    }
    Ok(blocks)
}
