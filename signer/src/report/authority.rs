//! Who may speak for an authority, and who must vouch for that: what a rule asks for, in full.

use std::collections::BTreeMap;

use hallmark_policy::Timestamp;
use hallmark_policy::sigstore::LogProof;
use hallmark_policy::trust::{Authority, EvidenceDemands, TrustEarlier, TrustedIdentity, TrustedKey};
use serde::Serialize;

use crate::output::{Style, Text};

/// Most keys or identities of one authority that people are shown; all are in the JSON.
const MAX_SHOWN: usize = 8;

/// An authority that a rule names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthorityReport {
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identities: Vec<IdentityReport>,
    evidence: EvidenceReport,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyReport {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signs_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signs_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compromised_since: Option<Timestamp>,
    /// What it signed before that: `never` or `with-trusted-time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_earlier: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentityReport {
    issuer: String,
    subject: String,
    subject_kind: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<&'static str, String>,
    trust_root: String,
    trust_root_digest: String,
}

/// How many must vouch for each signature.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EvidenceReport {
    logs: usize,
    timestamps: usize,
    certificate_logs: usize,
    log_proof: &'static str,
    /// Whose logs vouch for keys; each identity names its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_root: Option<String>,
}

impl AuthorityReport {
    pub(super) fn new(authority: &Authority) -> Self {
        Self {
            name: authority.name.clone(),
            keys: authority.keys.iter().map(KeyReport::new).collect(),
            identities: authority.identities.iter().map(IdentityReport::new).collect(),
            evidence: EvidenceReport::new(&authority.evidence),
        }
    }

    /// Lines for people, under what a rule expects.
    pub(super) fn tell(&self, text: &mut Text) {
        text.line(format!("  `{}` is any of", self.name));
        let keys = self.keys.iter().map(KeyReport::words);
        let speakers: Vec<String> = keys.chain(self.identities.iter().map(IdentityReport::words)).collect();
        for speaker in speakers.iter().take(MAX_SHOWN) {
            text.line(format!("            {speaker}"));
        }
        if let Some(more) = speakers.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
            text.styled(Style::Faint, format!("            and {more} more (all with `-o json`)"));
        }
        if let Some(words) = self.evidence.words() {
            text.line(format!("            {words}"));
        }
    }
}

impl KeyReport {
    fn new(key: &TrustedKey) -> Self {
        let compromised = key.window.compromised.as_ref();
        Self {
            key_id: key.key.id().to_string(),
            signs_from: key.window.sign_from,
            signs_until: key.window.sign_until,
            accept_until: key.window.accept_until,
            compromised_since: compromised.map(|compromised| compromised.since),
            trust_earlier: compromised.map(|compromised| match compromised.trust_earlier {
                TrustEarlier::Never => "never",
                TrustEarlier::WithTrustedTime => "with-trusted-time",
            }),
        }
    }

    fn words(&self) -> String {
        let dated = [
            ("signs from", self.signs_from),
            ("signs until", self.signs_until),
            ("accepted until", self.accept_until),
            ("compromised since", self.compromised_since),
        ];
        let dated = dated.into_iter().filter_map(|(what, when)| when.map(|when| format!(", {what} {when}")));
        format!("key {}{}", self.key_id, dated.collect::<String>())
    }
}

impl IdentityReport {
    fn new(identity: &TrustedIdentity) -> Self {
        Self {
            issuer: identity.issuer.to_string(),
            subject: identity.subject.to_string(),
            subject_kind: identity.kind.to_string(),
            claims: identity.claims.iter().map(|(name, value)| (*name, value.to_string())).collect(),
            trust_root: identity.root.name.clone(),
            trust_root_digest: identity.root.root.digest().to_string(),
        }
    }

    fn words(&self) -> String {
        let claims = self.claims.iter().map(|(name, value)| format!(", {name}: {value}"));
        let claims: String = claims.collect();
        format!("{} of {}{claims} (trust root `{}`)", self.subject, self.issuer, self.trust_root)
    }
}

impl EvidenceReport {
    fn new(evidence: &EvidenceDemands) -> Self {
        Self {
            logs: evidence.logs,
            timestamps: evidence.timestamps,
            certificate_logs: evidence.certificate_logs,
            log_proof: match evidence.log_proof {
                LogProof::Inclusion => "inclusion",
                LogProof::Promise => "promise",
            },
            trust_root: evidence.log_root.as_ref().map(|root| root.name.clone()),
        }
    }

    /// Nothing where nobody must vouch.
    fn words(&self) -> Option<String> {
        let of_root = self.trust_root.as_ref().map(|root| format!(" of `{root}`")).unwrap_or_default();
        let proven = if self.log_proof == "inclusion" { " with a proof of inclusion" } else { "" };
        let vouchers = [
            (self.logs, "log", format!("{of_root}{proven}")),
            (self.timestamps, "timestamp authority", String::new()),
            (self.certificate_logs, "certificate log", String::new()),
        ];
        let vouchers = vouchers.into_iter().filter(|(count, ..)| *count > 0);
        let vouchers: Vec<String> = vouchers.map(|(count, of, more)| format!("{count} {of}{more}")).collect();
        (!vouchers.is_empty()).then(|| format!("each vouched for by {}", vouchers.join(", ")))
    }
}
