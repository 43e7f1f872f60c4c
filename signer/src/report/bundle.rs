//! A bundle that verified: who signed, and who vouches.

use std::collections::BTreeMap;

use hallmark_policy::image::Digest;
use hallmark_policy::sigstore::{Signer, VerifiedBundle};
use serde::Serialize;

use crate::output::{Style, Text};

/// The answer of `verify-bundle`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleReport {
    version: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<IdentityReport>,
    seen: Vec<SeenReport>,
    logs: Vec<String>,
    certificate_logs: Vec<String>,
    trusted_root: String,
}

#[derive(Debug, Serialize)]
struct IdentityReport {
    issuer: String,
    subjects: Vec<SubjectReport>,
    claims: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct SubjectReport {
    kind: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct SeenReport {
    time: String,
    by: String,
}

impl BundleReport {
    /// What is told about a verified bundle.
    pub(crate) fn new(verified: &VerifiedBundle, trusted_root: Digest) -> Self {
        let (key_id, identity) = match verified.signer() {
            Signer::Key(key) => (Some(key.to_string()), None),
            Signer::Identity(identity) => {
                let subjects = identity.subjects().iter();
                let subjects =
                    subjects.map(|(kind, value)| SubjectReport { kind: kind.to_string(), value: value.clone() });
                let issuer = identity.issuer().unwrap_or_default().to_owned();
                (None, Some(IdentityReport { issuer, subjects: subjects.collect(), claims: identity.claims().clone() }))
            }
        };
        let seen = verified.seen().iter();
        Self {
            version: "hallmark.dev/bundle/v1",
            verdict: "allow",
            key_id,
            identity,
            seen: seen.map(|seen| SeenReport { time: seen.time.to_string(), by: seen.by.clone() }).collect(),
            logs: verified.logs().to_vec(),
            certificate_logs: verified.certificate_logs().to_vec(),
            trusted_root: trusted_root.to_string(),
        }
    }

    /// The same for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        text.styled(Style::Good, "the bundle verifies");
        if let Some(key) = &self.key_id {
            text.line(format!("  signed by    key {key}"));
        }
        if let Some(identity) = &self.identity {
            for subject in &identity.subjects {
                text.line(format!("  signed by    {} ({})", subject.value, subject.kind));
            }
            text.line(format!("  vouched for  {}", identity.issuer));
            for (name, value) in &identity.claims {
                text.styled(Style::Faint, format!("  claim        {name}: {value}"));
            }
        }
        for seen in &self.seen {
            text.line(format!("  seen         {} by {}", seen.time, seen.by));
        }
        for log in &self.logs {
            text.line(format!("  logged       {log}"));
        }
        for log in &self.certificate_logs {
            text.line(format!("  published    {log}"));
        }
        text.styled(Style::Faint, format!("  trusted root {}", self.trusted_root));
        text
    }
}
