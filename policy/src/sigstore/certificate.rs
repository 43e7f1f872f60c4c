//! Certificates for signing code: a leaf that names who signed, and the pinned issuers above it.

use der::Encode as _;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use x509_cert::ext::pkix::KeyUsage;

use super::trusted_root::TrustedRoot;
use crate::limits;
use crate::verify::PublicKey;
use crate::x509::{CheckedCertificate, extension};

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// The pinned certificates of an authority: the one that issues first, each issued by the next.
#[derive(Debug, Clone)]
pub(super) struct Issuers(Vec<CheckedCertificate>);

impl Issuers {
    pub(super) fn from_der(ders: Vec<Vec<u8>>) -> Result<Self, String> {
        if ders.is_empty() || ders.len() > limits::MAX_CHAIN_CERTIFICATES {
            return Err(format!("a chain has 1 to {} certificates", limits::MAX_CHAIN_CERTIFICATES));
        }
        let mut issuers: Vec<CheckedCertificate> = Vec::new();
        for (depth, der) in ders.iter().enumerate() {
            let issuer = CheckedCertificate::read(der)?;
            issuer.may_issue(depth, CODE_SIGNING)?;
            if let Some(below) = issuers.last() {
                below.is_issued_by(&issuer)?;
            }
            issuers.push(issuer);
        }
        Ok(Self(issuers))
    }

    /// SubjectPublicKeyInfo of the one that issues.
    pub(super) fn key(&self) -> Result<Vec<u8>, String> {
        let first = self.0.first().ok_or("nobody issues")?;
        first.content.tbs_certificate.subject_public_key_info.to_der().map_err(|error| error.to_string())
    }
}

/// A leaf that was read, nothing verified.
pub(super) struct Leaf {
    pub(super) certificate: CheckedCertificate,
    pub(super) key: PublicKey,
}

impl Leaf {
    /// Reads a leaf, and checks that it is one for signing code (RFC 5280, sections 4.2.1.3, 4.2.1.9 and 4.2.1.12).
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        if der.len() > limits::MAX_CERTIFICATE_BYTES {
            return Err(format!("it is larger than {} bytes", limits::MAX_CERTIFICATE_BYTES));
        }
        let certificate = CheckedCertificate::read(der)?;
        certificate.may_sign_for(CODE_SIGNING, false)?;
        let usage = extension::<KeyUsage>(&certificate.content, KEY_USAGE)?;
        if !usage.is_some_and(|(usage, _)| usage.digital_signature()) {
            return Err("its key usage is not to sign".to_owned());
        }
        let spki = certificate.content.tbs_certificate.subject_public_key_info.to_der();
        let key = PublicKey::from_spki(&spki.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        Ok(Self { certificate, key })
    }

    /// The authority of `root` that issued it, believed and valid at each of `times`, as is every certificate between.
    ///
    /// Authorities may have one name and two keys: the one whose key signed it is the issuer.
    pub(super) fn issuer<'a>(&self, root: &'a TrustedRoot, times: &[Timestamp]) -> Result<&'a Issuers, String> {
        let mut problem = "no certificate authority that is trusted issued it".to_owned();
        for authority in &root.authorities {
            let Some(issuer) = authority.issuers.0.first() else { continue };
            if self.certificate.is_issued_by(issuer).is_err() {
                continue;
            }
            let outside = times.iter().find(|time| {
                let chain = std::iter::once(&self.certificate).chain(&authority.issuers.0);
                let invalid = |certificate: &CheckedCertificate| {
                    **time < certificate.not_before || **time > certificate.not_after
                };
                !authority.window.covers(**time) || chain.into_iter().any(invalid)
            });
            match outside {
                None => return Ok(&authority.issuers),
                Some(time) => {
                    problem = format!("it or one above it was not valid at {time}, when it was used");
                }
            }
        }
        Err(problem)
    }
}
