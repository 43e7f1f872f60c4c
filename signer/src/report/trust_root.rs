//! Whom a trust root believes, and from when to when.

use hallmark_policy::Timestamp;
use hallmark_policy::sigstore::{Member, MemberKind, TrustedRoot};
use serde::Serialize;

use crate::output::{Style, Text};

/// How many seconds before its end something is worth a word: 90 days.
const NOTICE_SECONDS: i64 = 90 * 24 * 60 * 60;

/// A trust root.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrustRootReport {
    version: &'static str,
    root: String,
    digest: String,
    at: Timestamp,
    members: Vec<MemberReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remarks: Option<Vec<RemarkReport>>,
    #[serde(skip)]
    usable: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberReport {
    kind: &'static str,
    name: String,
    /// `current`, `ended` or `not-yet`.
    state: &'static str,
    from: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<CertificateReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateReport {
    subject: String,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Debug, Serialize)]
struct RemarkReport {
    code: &'static str,
    message: String,
    hint: &'static str,
}

impl TrustRootReport {
    /// The report about a root, at a time.
    pub(crate) fn new(name: &str, root: &TrustedRoot, now: Timestamp) -> Self {
        let members = root.members();
        let current = |kind: MemberKind| members.iter().any(|member| member.kind == kind && member.is_current(now));
        let times = current(MemberKind::Log) || current(MemberKind::TimestampAuthority);
        Self {
            version: "hallmark.dev/trust-root/v1",
            root: name.to_owned(),
            digest: root.digest().to_string(),
            at: now,
            usable: current(MemberKind::CertificateAuthority) && times,
            members: members.into_iter().map(|member| MemberReport::new(member, now)).collect(),
            remarks: None,
        }
    }

    /// The same, with what is worth a word.
    pub(crate) fn with_remarks(self) -> Self {
        let mut remarks = Vec::new();
        for (kind, what) in [
            (
                "certificate-authority",
                "no certificate authority is believed now: nothing that is signed today verifies",
            ),
            (
                "log",
                "no transparency log is believed now: signatures need timestamps instead (`logs: 0, timestamps: 1`)",
            ),
            (
                "certificate-log",
                "no certificate log is believed now: nothing proves that certificates are published (`certificateLogs: 0`)",
            ),
            ("timestamp-authority", "no timestamp authority is believed now: times come from logs alone"),
        ] {
            if !self.members.iter().any(|member| member.kind == kind && member.state == "current") {
                let hint = "get the instance's newest `trusted_root.json`, unless it has none of these";
                remarks.push(RemarkReport { code: "none-current", message: what.to_owned(), hint });
            }
        }
        for member in self.members.iter().filter(|member| member.state == "current") {
            let is_near = |end: &Timestamp| end.as_second() - self.at.as_second() <= NOTICE_SECONDS;
            let Some(end) = member.end().filter(is_near) else { continue };
            let message = format!("{} `{}` ends on {end}", member.kind, member.name);
            let hint = "get the instance's newest `trusted_root.json` before that, and load it beside this one";
            remarks.push(RemarkReport { code: "ends-soon", message, hint });
        }
        Self { remarks: Some(remarks), ..self }
    }

    /// Whether what is signed today can verify under it.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        text.styled(Style::Strong, format!("trust root {}", self.root));
        text.styled(Style::Faint, format!("  digest  {}", self.digest));
        for member in &self.members {
            member.tell(&mut text);
        }
        let Some(remarks) = &self.remarks else { return text };
        for remark in remarks {
            text.styled(Style::Doubt, format!("{}: {}", remark.code, remark.message));
            text.styled(Style::Faint, format!("  hint: {}", remark.hint));
        }
        match self.usable {
            true => text.styled(Style::Good, "what is signed today can verify under it"),
            false => text.styled(Style::Bad, "what is signed today cannot verify under it"),
        }
        text
    }
}

impl MemberReport {
    fn new(member: Member, now: Timestamp) -> Self {
        let state = match (member.from > now, member.is_current(now)) {
            (true, _) => "not-yet",
            (false, true) => "current",
            (false, false) => "ended",
        };
        let certificates = member.certificates.into_iter();
        Self {
            kind: member.kind.as_str(),
            name: member.name,
            state,
            from: member.from,
            until: member.until,
            certificates: certificates
                .map(|(subject, from, until)| CertificateReport { subject, from, until })
                .collect(),
        }
    }

    /// When it ends: by its own window, or with the first of its certificates.
    fn end(&self) -> Option<Timestamp> {
        self.certificates.iter().map(|certificate| certificate.until).chain(self.until).min()
    }

    fn tell(&self, text: &mut Text) {
        let style = if self.state == "current" { Style::Good } else { Style::Faint };
        let until = self.until.map_or_else(|| "on".to_owned(), |until| format!("until {until}"));
        text.parts([
            (style, format!("  {:<8}", self.state)),
            (Style::Plain, format!(" {:<22} {}  from {} {until}", self.kind, self.name, self.from)),
        ]);
        for certificate in &self.certificates {
            let CertificateReport { subject, from, until } = certificate;
            text.styled(Style::Faint, format!("           {subject}  {from} to {until}"));
        }
    }
}
