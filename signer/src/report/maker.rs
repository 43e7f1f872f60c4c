//! Who made a signature or an attestation, and who vouches for that: what reports about both say alike.

use std::collections::BTreeMap;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Digest;
use hallmark_policy::sigstore::Certified;
use hallmark_policy::verify::{VerifiedAttestation, VerifiedSignature, VerifiedTime};
use serde::Serialize;

/// Who made it, and where it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Maker {
    pub(super) format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// Who signed, where a certificate holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<IdentityReport>,
    pub(super) artifact: String,
    /// The manifest that it is about, where it is another than the pinned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
}

/// Whom a certificate is about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentityReport {
    issuer: String,
    subject: String,
    claims: BTreeMap<&'static str, String>,
    trust_root: String,
    published_by: Vec<String>,
}

impl Maker {
    /// That of a signature. `subject` is the manifest that it is about, where that is to be said.
    pub(super) fn of_signature(signature: &VerifiedSignature, subject: Option<Digest>) -> Self {
        let certified = signature.certified();
        Self {
            format: signature.format().as_str(),
            key_id: certified.is_none().then(|| signature.key().to_string()),
            identity: certified.map(IdentityReport::new),
            artifact: signature.artifact().to_string(),
            subject: subject.map(|subject| subject.to_string()),
        }
    }

    /// That of an attestation.
    pub(super) fn of_attestation(attestation: &VerifiedAttestation, subject: Option<Digest>) -> Self {
        let certified = attestation.certified();
        Self {
            format: attestation.format().as_str(),
            key_id: certified.is_none().then(|| attestation.key().to_string()),
            identity: certified.map(IdentityReport::new),
            artifact: attestation.artifact().to_string(),
            subject: subject.map(|subject| subject.to_string()),
        }
    }

    /// Who, in words.
    pub(super) fn who(&self) -> String {
        match &self.identity {
            Some(identity) => format!("{} of {}", identity.subject, identity.issuer),
            None => format!("key {}", self.key_id.as_deref().unwrap_or_default()),
        }
    }

    /// What it is about, in words: nothing where it is about the pinned manifest.
    pub(super) fn about(&self) -> String {
        self.subject.as_ref().map(|subject| format!(" for {subject}")).unwrap_or_default()
    }
}

impl IdentityReport {
    fn new(certified: &Certified) -> Self {
        let identity = certified.identity();
        Self {
            issuer: identity.issuer().unwrap_or_default().to_owned(),
            subject: certified.subject().to_owned(),
            claims: identity.claims().clone(),
            trust_root: certified.root().to_owned(),
            published_by: certified.certificate_logs().to_vec(),
        }
    }
}

/// Those who saw it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vouchers {
    /// When trusted timestamp authorities or logs saw it, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timestamped_by: Vec<String>,
    /// The transparency logs that hold it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logged_by: Vec<String>,
}

impl Vouchers {
    /// By the time that is vouched for, and the logs.
    pub(super) fn new(time: Option<&VerifiedTime>, logs: &[String]) -> Self {
        Self {
            signed_at: time.map(VerifiedTime::time),
            timestamped_by: time.map(|time| time.vouchers().to_vec()).unwrap_or_default(),
            logged_by: logs.to_vec(),
        }
    }

    /// When it was seen, and by whom, in words.
    pub(super) fn words(&self) -> String {
        let words = |time| format!(", seen at {time} by {}", self.timestamped_by.join(", "));
        self.signed_at.map(words).unwrap_or_default()
    }
}
