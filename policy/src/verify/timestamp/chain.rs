//! Certificate chains of timestamp authorities. A chain is pinned as a whole: what a token carries never extends it.

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _, Tag};
use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::algorithm::Algorithm;
use super::der::{Cursor, Problem};
use crate::image::Digest;
use crate::limits;

const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");

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

/// A certificate, its exact bytes, and the parts of it that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckedCertificate {
    pub(super) der: Vec<u8>,
    pub(super) content: Certificate,
    signed: Vec<u8>,
    is_issuer: bool,
    path_length: Option<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl CertificateChain {
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
            signer.may_sign_timestamps().map_err(|problem| refuse(format!("certificate 1: {problem}")))?;
        }
        let mut below: Option<&CheckedCertificate> = signer.as_ref();
        for (depth, issuer) in issuers.iter().enumerate() {
            let place = depth + 1 + usize::from(signer.is_some());
            issuer.may_issue(depth).map_err(|problem| refuse(format!("certificate {place}: {problem}")))?;
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
                signer.may_sign_timestamps()?;
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

impl CheckedCertificate {
    pub(super) fn read(der: &[u8]) -> Result<Self, Problem> {
        let content = Certificate::from_der(der).map_err(|error| format!("not an X.509 certificate: {error}"))?;
        let signed = Cursor::inside(der, Tag::Sequence)?.take(Tag::Sequence)?.whole.to_vec();
        let body = &content.tbs_certificate;
        if body.signature != content.signature_algorithm {
            return Err("it names two signature algorithms".to_owned());
        }
        let extensions = body.extensions.as_deref().unwrap_or_default();
        let mut seen = Vec::new();
        for extension in extensions {
            if seen.contains(&extension.extn_id) {
                return Err(format!("the extension {} is there twice", extension.extn_id));
            }
            seen.push(extension.extn_id);
            let known = [BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE].contains(&extension.extn_id);
            if extension.critical && !known {
                return Err(format!("the critical extension {} is not understood", extension.extn_id));
            }
        }
        let constraints =
            extension::<BasicConstraints>(&content, BASIC_CONSTRAINTS)?.map(|(constraints, _)| constraints);
        let time = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(|error| error.to_string())?;
            Timestamp::from_second(seconds).map_err(|error| error.to_string())
        };
        let (not_before, not_after) = (time(body.validity.not_before)?, time(body.validity.not_after)?);
        let is_issuer = constraints.as_ref().is_some_and(|constraints| constraints.ca);
        let path_length = constraints.and_then(|constraints| constraints.path_len_constraint);
        Ok(Self { der: der.to_vec(), signed, is_issuer, path_length, not_before, not_after, content })
    }

    /// RFC 3161, section 2.3: exactly one purpose, time stamping, in a critical extension.
    fn may_sign_timestamps(&self) -> Result<(), Problem> {
        if self.is_issuer {
            return Err("a certificate that issues others must not sign timestamps".to_owned());
        }
        let usage = extension::<ExtendedKeyUsage>(&self.content, EXTENDED_KEY_USAGE)?;
        if !usage.is_some_and(|(usage, critical)| critical && usage.0 == [TIME_STAMPING]) {
            return Err("it is not for time stamping alone (extended key usage, critical)".to_owned());
        }
        let usage = extension::<KeyUsage>(&self.content, KEY_USAGE)?;
        if usage.is_some_and(|(usage, _)| !usage.digital_signature() && !usage.non_repudiation()) {
            return Err("its key usage is not to sign".to_owned());
        }
        Ok(())
    }

    /// RFC 5280, sections 4.2.1.9, 4.2.1.3 and 4.2.1.12, for an issuer with so many issuers below it.
    fn may_issue(&self, below: usize) -> Result<(), Problem> {
        if !self.is_issuer {
            return Err("it does not say that it issues certificates (basic constraints, CA)".to_owned());
        }
        if self.path_length.is_some_and(|most| usize::from(most) < below) {
            return Err("it allows fewer issuers below it".to_owned());
        }
        let usage = extension::<KeyUsage>(&self.content, KEY_USAGE)?;
        if usage.is_some_and(|(usage, _)| !usage.key_cert_sign()) {
            return Err("its key usage is not to sign certificates".to_owned());
        }
        let usage = extension::<ExtendedKeyUsage>(&self.content, EXTENDED_KEY_USAGE)?;
        if usage.is_some_and(|(usage, _)| !usage.0.contains(&TIME_STAMPING) && !usage.0.contains(&ANY_USAGE)) {
            return Err("its extended key usage is not time stamping".to_owned());
        }
        Ok(())
    }

    fn is_issued_by(&self, issuer: &Self) -> Result<(), Problem> {
        if self.content.tbs_certificate.issuer != issuer.content.tbs_certificate.subject {
            return Err("its issuer has another name".to_owned());
        }
        let algorithm = Algorithm::of(self.content.signature_algorithm.oid)?;
        let signature = self.content.signature.as_bytes().ok_or("its signature is not a string of whole bytes")?;
        algorithm.verify(&issuer.content.tbs_certificate.subject_public_key_info, &self.signed, signature)
    }
}

/// An extension and whether it is critical.
fn extension<'a, T: der::Decode<'a>>(
    certificate: &'a Certificate,
    oid: ObjectIdentifier,
) -> Result<Option<(T, bool)>, Problem> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let Some(found) = extensions.iter().find(|extension| extension.extn_id == oid) else { return Ok(None) };
    let value = T::from_der(found.extn_value.as_bytes());
    value.map(|value| Some((value, found.critical))).map_err(|error| format!("the extension {oid}: {error}"))
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
