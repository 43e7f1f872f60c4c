//! What is attached to an image, place by place and artifact by artifact.

use std::collections::BTreeMap;

use hallmark_policy::Timestamp;
use hallmark_policy::evidence::{DecodedEvidence, Observation, Retrieval};
use hallmark_policy::image::Digest;
use hallmark_policy::signature::{UnverifiedSignature, decode_artifact};
use hallmark_policy::verdict::Explanation;
use serde::Serialize;

use super::verdict::{ProofReport, RejectedReport};
use crate::output::{Style, Text};

/// Everything that was found about one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EvidenceReport {
    version: &'static str,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// `found`, `absent` or `unknown`.
    resolution: &'static str,
    gathered_at: Timestamp,
    /// Every place and every item has a definite answer.
    complete: bool,
    places: Vec<PlaceReport>,
    artifacts: Vec<ArtifactReport>,
    unknown: Vec<UnknownReport>,
    /// Whether keys or a policy were given, so that `verified` and `rejected` say something.
    judged: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlaceReport {
    place: &'static str,
    state: &'static str,
    artifacts: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    observed_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactReport {
    digest: String,
    places: Vec<&'static str>,
    /// As claimed by whoever wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<usize>,
    signatures: Vec<FoundReport>,
    verified: Vec<ProofReport>,
    rejected: Vec<RejectedReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundReport {
    format: &'static str,
    content: String,
    /// The key that it says it was made with; anybody can write anything there.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hint: Option<String>,
    has_certificate: bool,
    /// Whom its certificate says that it is about; anybody can make such a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_hint: Option<IdentityHint>,
}

#[derive(Debug, Serialize)]
struct IdentityHint {
    issuer: String,
    subjects: Vec<String>,
}

impl IdentityHint {
    fn of(signature: &UnverifiedSignature) -> Option<Self> {
        let identity = signature.identity_hint()?;
        let subjects = identity.subjects().iter().map(|(_, subject)| subject.clone()).collect();
        Some(Self { issuer: identity.issuer().unwrap_or_default().to_owned(), subjects })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UnknownReport {
    code: &'static str,
    message: String,
}

impl EvidenceReport {
    /// The report about some evidence, with what a policy or keys make of it where there are any.
    pub(crate) fn new(decoded: &DecodedEvidence, explanation: Option<&Explanation>) -> Self {
        let evidence = decoded.evidence();
        Self {
            version: "hallmark.dev/inspection/v1",
            image: decoded.image().to_string(),
            digest: evidence.resolution.found().map(ToString::to_string),
            resolution: state(&evidence.resolution),
            gathered_at: evidence.gathered_at,
            complete: decoded.causes().is_empty(),
            places: evidence.places.iter().map(PlaceReport::new).collect(),
            artifacts: artifacts(decoded, explanation),
            unknown: decoded
                .causes()
                .iter()
                .map(|cause| UnknownReport { code: cause.code().as_str(), message: cause.detail().to_owned() })
                .collect(),
            judged: explanation.is_some(),
        }
    }

    /// A tree for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        text.styled(Style::Strong, &self.image);
        match &self.digest {
            Some(digest) => text.line(format!("  digest         {digest}")),
            None => text.styled(Style::Doubt, format!("  digest         {}", self.resolution)),
        }
        self.tell_places(&mut text);
        for (index, artifact) in self.artifacts.iter().enumerate() {
            artifact.tell(&mut text, index + 1 == self.artifacts.len());
        }
        if !self.judged && self.artifacts.iter().any(|artifact| !artifact.signatures.is_empty()) {
            text.styled(
                Style::Faint,
                "nothing is verified yet: give `--key`, `--certificate-identity` or `--policy` to `inspect` or `verify`",
            );
        }
        self.tell_unknown(&mut text);
        text
    }

    /// Where was looked, and what each place said.
    pub(super) fn tell_places(&self, text: &mut Text) {
        for place in &self.places {
            place.tell(text);
        }
    }

    /// What is not known, and why.
    pub(super) fn tell_unknown(&self, text: &mut Text) {
        for unknown in &self.unknown {
            text.styled(Style::Doubt, format!("unknown: {}: {}", unknown.code, unknown.message));
        }
        if !self.complete {
            text.styled(Style::Faint, "hint: what is unknown is not absent; ask again when the registry answers");
        }
    }
}

impl PlaceReport {
    fn new(report: &hallmark_policy::evidence::PlaceReport) -> Self {
        let cause = report.manifests.cause();
        Self {
            place: report.place.as_str(),
            state: state(&report.manifests),
            artifacts: report.manifests.found().map_or(0, Vec::len),
            truncated: report.truncated,
            code: cause.map(|cause| cause.code().as_str()),
            message: cause.map(|cause| cause.detail().to_owned()),
            observed_at: report.observed_at,
        }
    }

    fn tell(&self, text: &mut Text) {
        let more = if self.truncated { ", and more that were not looked at" } else { "" };
        let (style, what) = match (self.code, &self.message) {
            (Some(code), Some(message)) => (Style::Doubt, format!("unknown: {code}: {message}")),
            _ if self.state == "found" => (Style::Plain, format!("{} found{more}", self.artifacts)),
            _ => (Style::Plain, "nothing there".to_owned()),
        };
        text.styled(style, format!("  {:<14} {what}", self.place));
    }
}

impl ArtifactReport {
    fn tell(&self, text: &mut Text, is_last: bool) {
        let (branch, stem) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let kind = match self.artifact_type.as_deref() {
            Some(kind) if !kind.is_empty() => format!("  {kind}"),
            _ => String::new(),
        };
        let size = self.size_bytes.map(|size| format!(", {size} bytes")).unwrap_or_default();
        text.line(format!("{branch}{}{kind}  ({}{size})", self.digest, self.places.join(", ")));
        for signature in &self.signatures {
            let made_with = match (&signature.key_hint, signature.has_certificate) {
                (Some(hint), _) => format!(", says key {hint}"),
                (None, _) if signature.identity_hint.is_some() => {
                    let hint = signature.identity_hint.as_ref();
                    let (who, issuer) = hint.map(|hint| (hint.subjects.join(", "), &hint.issuer)).unzip();
                    format!(", says {} of {}", who.unwrap_or_default(), issuer.map_or("", String::as_str))
                }
                (None, true) => ", made with a certificate".to_owned(),
                (None, false) => String::new(),
            };
            text.line(format!("{stem}signature  {}{made_with}", signature.format));
        }
        for proof in &self.verified {
            text.styled(Style::Good, format!("{stem}verified   {}", proof.words()));
        }
        for rejected in &self.rejected {
            text.styled(Style::Bad, format!("{stem}rejected   {}", rejected.why()));
        }
    }
}

fn artifacts(decoded: &DecodedEvidence, explanation: Option<&Explanation>) -> Vec<ArtifactReport> {
    let mut reports: BTreeMap<Digest, (Vec<ProofReport>, Vec<RejectedReport>)> = BTreeMap::new();
    match explanation {
        None => {
            for rejection in decoded.rejections() {
                reports.entry(rejection.artifact).or_default().1.push(RejectedReport::new(rejection));
            }
        }
        Some(explanation) => {
            for attempt in &explanation.attempts {
                for signature in &attempt.verified {
                    reports.entry(signature.artifact()).or_default().0.push(ProofReport::new(signature));
                }
                for rejection in &attempt.rejected {
                    reports.entry(rejection.artifact).or_default().1.push(RejectedReport::new(rejection));
                }
            }
        }
    }
    let listed = decoded.evidence().listed().into_iter();
    let artifacts = listed.map(|(digest, places)| {
        let content = match decoded.evidence().items.get(&digest) {
            Some(Retrieval::Content(content)) => Some(content.bytes()),
            _ => None,
        };
        let artifact = content.and_then(|bytes| decode_artifact(bytes, &decoded.evidence().items).ok());
        let (verified, rejected) = reports.remove(&digest).unwrap_or_default();
        let signatures = decoded.signatures().iter().filter(|found| found.artifact == digest);
        ArtifactReport {
            digest: digest.to_string(),
            places: places.iter().map(|place| place.as_str()).collect(),
            artifact_type: artifact.map(|artifact| artifact.artifact_type),
            size_bytes: content.map(<[u8]>::len),
            signatures: signatures
                .map(|found| FoundReport {
                    format: found.signature.format().as_str(),
                    content: found.signature.content().to_string(),
                    key_hint: found.signature.key_hint().map(|hint| hint.to_string()),
                    has_certificate: found.signature.has_certificate(),
                    identity_hint: IdentityHint::of(&found.signature),
                })
                .collect(),
            verified,
            rejected,
        }
    });
    artifacts.collect()
}

fn state<T>(observation: &Observation<T>) -> &'static str {
    match observation {
        Observation::Found(_) => "found",
        Observation::Absent => "absent",
        Observation::Unknown(_) => "unknown",
    }
}
