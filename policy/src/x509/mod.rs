//! X.509 certificates (RFC 5280), strictly: exact bytes, no unknown critical extension, no path building.

pub(crate) mod algorithm;
pub(crate) mod der;

use ::der::asn1::ObjectIdentifier;
use ::der::{Decode as _, Tag};
use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use algorithm::Algorithm;
use der::{Cursor, Problem};

use crate::limits;

const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// Subject alternative names (RFC 5280, section 4.2.1.6): critical where the subject is empty.
pub(crate) const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// A certificate, its exact bytes, and the parts of it that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedCertificate {
    pub(crate) der: Vec<u8>,
    pub(crate) content: Certificate,
    pub(crate) signed: Vec<u8>,
    pub(crate) is_issuer: bool,
    path_length: Option<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl CheckedCertificate {
    /// Reads one certificate in DER.
    pub(crate) fn read(der: &[u8]) -> Result<Self, Problem> {
        let content = Certificate::from_der(der).map_err(|error| format!("not an X.509 certificate: {error}"))?;
        let signed = Cursor::inside(der, Tag::Sequence)?.take(Tag::Sequence)?.whole.to_vec();
        let body = &content.tbs_certificate;
        if body.signature != content.signature_algorithm {
            return Err("it names two signature algorithms".to_owned());
        }
        let extensions = body.extensions.as_deref().unwrap_or_default();
        if extensions.len() > limits::MAX_CERTIFICATE_EXTENSIONS {
            return Err(format!("it has more than {} extensions", limits::MAX_CERTIFICATE_EXTENSIONS));
        }
        let mut seen = Vec::new();
        for extension in extensions {
            if seen.contains(&extension.extn_id) {
                return Err(format!("the extension {} is there twice", extension.extn_id));
            }
            seen.push(extension.extn_id);
            let known =
                [BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, ALTERNATIVE_NAMES].contains(&extension.extn_id);
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

    /// Its name, and its first and last moment: to show.
    pub(crate) fn described(&self) -> (String, Timestamp, Timestamp) {
        let name = crate::verify::quoted(&self.content.tbs_certificate.subject.to_string());
        (name, self.not_before, self.not_after)
    }

    /// That a certificate which signs something else than certificates has exactly this purpose (RFC 5280, section
    /// 4.2.1.12), and may sign at all (section 4.2.1.3).
    pub(crate) fn may_sign_for(&self, purpose: ObjectIdentifier, critical: bool) -> Result<(), Problem> {
        if self.is_issuer {
            return Err("a certificate that issues others must not sign anything else".to_owned());
        }
        let usage = extension::<ExtendedKeyUsage>(&self.content, EXTENDED_KEY_USAGE)?;
        if !usage.is_some_and(|(usage, is_critical)| (is_critical || !critical) && usage.0 == [purpose]) {
            let critical = if critical { ", critical" } else { "" };
            return Err(format!("it is not for {} alone (extended key usage{critical})", purpose_name(purpose)));
        }
        let usage = extension::<KeyUsage>(&self.content, KEY_USAGE)?;
        if usage.is_some_and(|(usage, _)| !usage.digital_signature() && !usage.non_repudiation()) {
            return Err("its key usage is not to sign".to_owned());
        }
        Ok(())
    }

    /// RFC 5280, sections 4.2.1.9, 4.2.1.3 and 4.2.1.12, for an issuer with so many issuers below it.
    pub(crate) fn may_issue(&self, below: usize, purpose: ObjectIdentifier) -> Result<(), Problem> {
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
        if usage.is_some_and(|(usage, _)| !usage.0.contains(&purpose) && !usage.0.contains(&ANY_USAGE)) {
            return Err(format!("its extended key usage is not {}", purpose_name(purpose)));
        }
        Ok(())
    }

    /// That the issuer is named, and its key signed this certificate.
    pub(crate) fn is_issued_by(&self, issuer: &Self) -> Result<(), Problem> {
        if self.content.tbs_certificate.issuer != issuer.content.tbs_certificate.subject {
            return Err("its issuer has another name".to_owned());
        }
        let algorithm = Algorithm::of(self.content.signature_algorithm.oid)?;
        let signature = self.content.signature.as_bytes().ok_or("its signature is not a string of whole bytes")?;
        algorithm.verify(&issuer.content.tbs_certificate.subject_public_key_info, &self.signed, signature)
    }
}

/// An extension and whether it is critical.
pub(crate) fn extension<'a, T: ::der::Decode<'a>>(
    certificate: &'a Certificate,
    oid: ObjectIdentifier,
) -> Result<Option<(T, bool)>, Problem> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let Some(found) = extensions.iter().find(|extension| extension.extn_id == oid) else { return Ok(None) };
    let value = T::from_der(found.extn_value.as_bytes());
    value.map(|value| Some((value, found.critical))).map_err(|error| format!("the extension {oid}: {error}"))
}

fn purpose_name(purpose: ObjectIdentifier) -> &'static str {
    match purpose.to_string().as_str() {
        "1.3.6.1.5.5.7.3.8" => "time stamping",
        "1.3.6.1.5.5.7.3.3" => "code signing",
        _ => "its purpose",
    }
}
