//! Who signed, by a certificate: the subject that its authority checked, and the issuer that vouched for it.

use std::collections::BTreeMap;
use std::fmt;

use der::Decode as _;
use der::asn1::{ObjectIdentifier, Utf8StringRef};
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::limits;
use crate::x509::{ALTERNATIVE_NAMES, CheckedCertificate, extension};

/// The arc of Fulcio's extensions (Fulcio, "oid-info").
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
const OLD_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

/// What an authority says about a build, by the names of Fulcio's table. The old ones (before 2022) are bare bytes.
const CLAIMS: [(&str, &str, bool); 20] = [
    ("1.3.6.1.4.1.57264.1.2", "githubWorkflowTrigger", false),
    ("1.3.6.1.4.1.57264.1.3", "githubWorkflowSha", false),
    ("1.3.6.1.4.1.57264.1.4", "githubWorkflowName", false),
    ("1.3.6.1.4.1.57264.1.5", "githubWorkflowRepository", false),
    ("1.3.6.1.4.1.57264.1.6", "githubWorkflowRef", false),
    ("1.3.6.1.4.1.57264.1.9", "buildSignerUri", true),
    ("1.3.6.1.4.1.57264.1.10", "buildSignerDigest", true),
    ("1.3.6.1.4.1.57264.1.11", "runnerEnvironment", true),
    ("1.3.6.1.4.1.57264.1.12", "sourceRepositoryUri", true),
    ("1.3.6.1.4.1.57264.1.13", "sourceRepositoryDigest", true),
    ("1.3.6.1.4.1.57264.1.14", "sourceRepositoryRef", true),
    ("1.3.6.1.4.1.57264.1.15", "sourceRepositoryIdentifier", true),
    ("1.3.6.1.4.1.57264.1.16", "sourceRepositoryOwnerUri", true),
    ("1.3.6.1.4.1.57264.1.17", "sourceRepositoryOwnerIdentifier", true),
    ("1.3.6.1.4.1.57264.1.18", "buildConfigUri", true),
    ("1.3.6.1.4.1.57264.1.19", "buildConfigDigest", true),
    ("1.3.6.1.4.1.57264.1.20", "buildTrigger", true),
    ("1.3.6.1.4.1.57264.1.21", "runInvocationUri", true),
    ("1.3.6.1.4.1.57264.1.22", "sourceRepositoryVisibilityAtSigning", true),
    ("1.3.6.1.4.1.57264.1.23", "deploymentEnvironment", true),
];

/// The names of all claims, as trust policies write them.
pub fn claim_names() -> impl Iterator<Item = &'static str> {
    CLAIMS.iter().map(|(_, name, _)| *name)
}

/// Whom a certificate says that it is about, where that can be read: nobody has borne it out.
pub(crate) fn hint(certificate: &[u8]) -> Option<Identity> {
    if certificate.len() > limits::MAX_CERTIFICATE_BYTES {
        return None;
    }
    Identity::read(&CheckedCertificate::read(certificate).ok()?.content).ok()
}

/// The kind of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A host name.
    Dns,
    /// An e-mail address.
    Email,
    /// A user name of an issuer that has no e-mail addresses (Fulcio's otherName).
    UserName,
    /// A URI: a workflow, a SPIFFE id, a service account.
    Uri,
}

/// Who a certificate is about. Read from a certificate whose chain is verified, and from nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    issuer: Option<String>,
    subjects: Vec<(SubjectKind, String)>,
    claims: BTreeMap<&'static str, String>,
}

impl Identity {
    /// The issuer of the token that the certificate was given for, such as `https://token.actions.githubusercontent.com`.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Its subjects: never none.
    #[must_use]
    pub fn subjects(&self) -> &[(SubjectKind, String)] {
        &self.subjects
    }

    /// What the authority says about the build, by name.
    #[must_use]
    pub fn claims(&self) -> &BTreeMap<&'static str, String> {
        &self.claims
    }

    /// Reads a certificate. Whatever is there must be well-formed: a malformed extension is a refusal.
    pub(super) fn read(certificate: &Certificate) -> Result<Self, String> {
        let names = extension::<SubjectAltName>(certificate, ALTERNATIVE_NAMES)?;
        let names = names.map(|(names, _)| names.0).unwrap_or_default();
        let subjects = names.iter().map(subject).collect::<Result<Vec<_>, _>>()?;
        if subjects.is_empty() {
            return Err("it names no subject".to_owned());
        }
        let (old, new) = (text(certificate, OLD_ISSUER, false)?, text(certificate, ISSUER, true)?);
        if let (Some(old), Some(new)) = (&old, &new)
            && old != new
        {
            return Err("it names two issuers".to_owned());
        }
        let mut claims = BTreeMap::new();
        for (oid, name, is_der) in CLAIMS {
            let oid = ObjectIdentifier::new(oid).map_err(|error| error.to_string())?;
            if let Some(value) = text(certificate, oid, is_der)? {
                claims.insert(name, value);
            }
        }
        Ok(Self { issuer: new.or(old), subjects, claims })
    }
}

fn subject(name: &GeneralName) -> Result<(SubjectKind, String), String> {
    let (kind, value) = match name {
        GeneralName::Rfc822Name(email) => (SubjectKind::Email, email.as_str().to_owned()),
        GeneralName::UniformResourceIdentifier(uri) => (SubjectKind::Uri, uri.as_str().to_owned()),
        GeneralName::DnsName(host) => (SubjectKind::Dns, host.as_str().to_owned()),
        GeneralName::OtherName(other) if other.type_id == USER_NAME => {
            let user = other.value.decode_as::<String>().map_err(|error| format!("its subject: {error}"))?;
            (SubjectKind::UserName, user)
        }
        _ => return Err("it names a subject of a kind that is not known".to_owned()),
    };
    plain(value).map(|value| (kind, value))
}

/// The text of an extension: an UTF8String in DER, or bare bytes in those that are older than 2022.
fn text(certificate: &Certificate, oid: ObjectIdentifier, is_der: bool) -> Result<Option<String>, String> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let Some(found) = extensions.iter().find(|extension| extension.extn_id == oid) else { return Ok(None) };
    let bytes = found.extn_value.as_bytes();
    let value = if is_der {
        let value = Utf8StringRef::from_der(bytes).map_err(|error| format!("the extension {oid}: {error}"))?;
        value.as_str().to_owned()
    } else {
        std::str::from_utf8(bytes).map_err(|error| format!("the extension {oid}: {error}"))?.to_owned()
    };
    plain(value).map(Some)
}

/// A name with control characters is somebody's attempt to look like another one.
fn plain(value: String) -> Result<String, String> {
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err("it has a name that is empty or has control characters".to_owned());
    }
    Ok(value)
}

/// Whom a certificate must be about: compared byte for byte, with no normal form on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityExpectation {
    /// The issuer of the token.
    pub issuer: String,
    /// The subject, of any kind.
    pub subject: String,
}

impl IdentityExpectation {
    pub(super) fn check(&self, identity: &Identity) -> Result<(), String> {
        if identity.issuer.as_deref() != Some(self.issuer.as_str()) {
            let found = identity.issuer.as_deref().unwrap_or("nobody");
            return Err(format!("the certificate's issuer is `{found}`, not `{}`", self.issuer));
        }
        if identity.subjects.iter().all(|(_, subject)| *subject != self.subject) {
            let found: Vec<_> = identity.subjects.iter().map(|(_, subject)| format!("`{subject}`")).collect();
            return Err(format!("the certificate is about {}, not about `{}`", found.join(", "), self.subject));
        }
        Ok(())
    }
}

impl fmt::Display for SubjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns",
            Self::Email => "email",
            Self::UserName => "userName",
            Self::Uri => "uri",
        })
    }
}
