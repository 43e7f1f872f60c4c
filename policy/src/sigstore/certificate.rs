//! Certificates for signing code: a leaf that names who signed, and the pinned issuers above it.

use der::Encode as _;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use x509_cert::ext::pkix::KeyUsage;

use super::sct;
use super::trusted_root::{CertificateAuthority, TrustedRoot, Window};
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

    /// Name and validity of each.
    pub(super) fn described(&self) -> Vec<(String, Timestamp, Timestamp)> {
        self.0.iter().map(CheckedCertificate::described).collect()
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

    /// Every authority of `root` whose key issued it, and when that counts.
    ///
    /// Authorities may have one name and two keys: the one whose key signed it is the issuer.
    pub(super) fn issuances(&self, root: &TrustedRoot) -> Vec<Issuance> {
        let issued = |authority: &&CertificateAuthority| {
            authority.issuers.0.first().is_some_and(|issuer| self.certificate.is_issued_by(issuer).is_ok())
        };
        let issuance = |authority: &CertificateAuthority| {
            let chain = std::iter::once(&self.certificate).chain(&authority.issuers.0);
            Issuance {
                window: authority.window,
                validity: chain.map(|certificate| (certificate.not_before, certificate.not_after)).collect(),
                certificate_logs: sct::vouchers(self, &authority.issuers, root),
            }
        };
        root.authorities.iter().filter(issued).map(issuance).collect()
    }
}

/// That an authority issued a certificate, and when that counts.
#[derive(Debug, Clone)]
pub(super) struct Issuance {
    /// When the authority is believed.
    window: Window,
    /// When the certificate and each one above it is valid.
    validity: Vec<(Timestamp, Timestamp)>,
    /// The distinct certificate logs that promised to publish it.
    pub(super) certificate_logs: Result<Vec<String>, String>,
}

impl Issuance {
    /// The first of `times` at which the authority is not believed, or a certificate of the chain not valid.
    pub(super) fn outside(&self, times: &[Timestamp]) -> Option<Timestamp> {
        let invalid = |time: &&Timestamp| {
            let outside = |(not_before, not_after): &(Timestamp, Timestamp)| *time < not_before || *time > not_after;
            !self.window.covers(**time) || self.validity.iter().any(outside)
        };
        times.iter().find(invalid).copied()
    }
}
