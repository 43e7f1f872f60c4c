//! What scanners found: their own reports inside cosign's predicate, and in-toto's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::facts::{FactContent, Facts, first_time};
use crate::limits;
use crate::signature::json;

/// The type of cosign's report of a scan, with the scanner's own report inside.
pub(super) const COSIGN_SCAN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
/// The type of in-toto's report of a scan.
pub(super) const IN_TOTO_SCAN: &str = "https://in-toto.io/attestation/vulns/v0.2";
/// Annotations of in-toto's findings that we write: whether there is a better version, and the package.
pub(super) const FIXABLE: &str = "hallmark.dev/fixable";
pub(super) const PACKAGE: &str = "hallmark.dev/package";

/// The one version of Trivy's reports that is read (`SchemaVersion`, in use since Trivy 0.20).
const TRIVY_SCHEMA: u64 = 2;

/// One vulnerability in one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) id: String,
    pub(crate) severity: Severity,
    /// Whether there is a version without it. Where the report does not say, there is.
    pub(crate) fixable: bool,
    /// The package as a package URL, where the report has it.
    pub(crate) package: Option<String>,
}

/// How bad a vulnerability is, by the scanner's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Not rated, by a word that says so or without any. A rating that nobody understands is not this, but an error.
    Unknown,
    /// CVSS below 4, also what is called negligible.
    Low,
    /// CVSS 4 to 6.9.
    Medium,
    /// CVSS 7 to 8.9.
    High,
    /// CVSS from 9.
    Critical,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Unknown];

    /// `critical`, `high`, `medium`, `low` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::Unknown => "unknown",
        }
    }

    /// A scanner's word, or a CVSS score as a number (CVSS v3.1, "Qualitative Severity Rating Scale"). What is neither may
    /// be as bad as can be, and is no rating: a vector, a word of somebody's own.
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "critical" | "defcon1" => Self::Critical,
            "high" | "important" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" | "negligible" | "minor" => Self::Low,
            "" | "unknown" | "none" | "unassigned" => Self::Unknown,
            number => match number.parse::<f64>() {
                Ok(score) if (9.0..=10.0).contains(&score) => Self::Critical,
                Ok(score) if (7.0..9.0).contains(&score) => Self::High,
                Ok(score) if (4.0..7.0).contains(&score) => Self::Medium,
                Ok(score) if score > 0.0 && score < 4.0 => Self::Low,
                Ok(0.0) => Self::Unknown,
                _ => {
                    let text: String = text.chars().take(40).collect();
                    return Err(format!("the severity {text:?} is not understood"));
                }
            },
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Scan<R> {
    scanner: Scanner<R>,
    #[serde(default)]
    metadata: Option<ScanMetadata>,
}

#[derive(Deserialize)]
struct Scanner<R> {
    result: R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScanMetadata {
    #[serde(default)]
    scan_finished_on: Option<String>,
    #[serde(default)]
    scan_started_on: Option<String>,
}

impl<R> Scan<R> {
    pub(super) fn facts(self, findings: impl Fn(R) -> Result<Vec<Finding>, String>) -> Result<Facts, String> {
        let made = match self.metadata {
            Some(metadata) => first_time([metadata.scan_finished_on, metadata.scan_started_on])?,
            None => None,
        };
        let findings = findings(self.scanner.result)?;
        if findings.len() > limits::MAX_FINDINGS {
            return Err(format!("it has more than {} findings", limits::MAX_FINDINGS));
        }
        Ok(Facts { made, content: FactContent::Scan(findings) })
    }
}

/// A scanner's own report, told by the members that only it has.
#[derive(Deserialize)]
pub(super) struct Report {
    // Trivy
    #[serde(default, rename = "SchemaVersion")]
    trivy: Option<serde_json::Number>,
    #[serde(default, rename = "Results", deserialize_with = "few")]
    results: Option<Vec<TrivyResult>>,
    /// What Trivy found in a cluster, which is not about an image: whole, and as a summary.
    #[serde(default, rename = "Resources")]
    resources: Option<IgnoredAny>,
    #[serde(default, rename = "Findings")]
    summary: Option<IgnoredAny>,
    // Grype
    #[serde(default, deserialize_with = "few")]
    matches: Option<Vec<GrypeMatch>>,
    // Clair
    #[serde(default, deserialize_with = "few_by_name")]
    package_vulnerabilities: Option<BTreeMap<String, Option<Vec<String>>>>,
    #[serde(default, deserialize_with = "few_by_name")]
    vulnerabilities: Option<BTreeMap<String, ClairVulnerability>>,
}

fn few<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    json::at_most(deserializer, limits::MAX_FINDINGS)
}

fn few_by_name<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, T>>, D::Error> {
    json::at_most_entries(deserializer, limits::MAX_FINDINGS)
}

#[derive(Deserialize)]
struct TrivyResult {
    #[serde(default, rename = "Vulnerabilities", deserialize_with = "few")]
    vulnerabilities: Option<Vec<TrivyVulnerability>>,
}

#[derive(Deserialize)]
struct TrivyVulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(default, rename = "Severity")]
    severity: String,
    #[serde(default, rename = "FixedVersion")]
    fixed_version: String,
    #[serde(default, rename = "PkgIdentifier")]
    package: Option<TrivyPackage>,
}

#[derive(Deserialize)]
struct TrivyPackage {
    #[serde(default, rename = "PURL")]
    purl: Option<String>,
}

#[derive(Deserialize)]
struct GrypeMatch {
    vulnerability: GrypeVulnerability,
    #[serde(default)]
    artifact: Option<GrypeArtifact>,
}

#[derive(Deserialize)]
struct GrypeArtifact {
    #[serde(default)]
    purl: Option<String>,
}

#[derive(Deserialize)]
struct GrypeVulnerability {
    id: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    fix: Option<GrypeFix>,
}

#[derive(Deserialize)]
struct GrypeFix {
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct ClairVulnerability {
    #[serde(default)]
    name: String,
    #[serde(default)]
    normalized_severity: String,
    #[serde(default)]
    fixed_in_version: Option<String>,
}

/// Whose report it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportKind {
    Clair,
    Grype,
    Trivy,
}

impl Report {
    /// Whose report it is, by the members that only that one has; `None` for any other, or for two at once.
    pub(super) fn kind(&self) -> Option<ReportKind> {
        match (&self.trivy, &self.matches, &self.package_vulnerabilities) {
            (Some(_), None, None) => Some(ReportKind::Trivy),
            (None, Some(_), None) => Some(ReportKind::Grype),
            (None, None, Some(_)) => Some(ReportKind::Clair),
            _ => None,
        }
    }

    pub(super) fn findings(self) -> Result<Vec<Finding>, String> {
        match self.kind() {
            Some(ReportKind::Trivy) => {
                if self.trivy.and_then(|version| version.as_u64()) != Some(TRIVY_SCHEMA) {
                    return Err(format!("it is not of version {TRIVY_SCHEMA} of Trivy's schema"));
                }
                if self.resources.is_some() || self.summary.is_some() {
                    return Err("it is Trivy's report about a cluster, not about an image".to_owned());
                }
                let results = self.results.into_iter().flatten();
                let found = results.flat_map(|result| result.vulnerabilities.unwrap_or_default());
                found.map(Finding::try_from).collect()
            }
            Some(ReportKind::Grype) => self.matches.into_iter().flatten().map(Finding::try_from).collect(),
            Some(ReportKind::Clair) => {
                let known = self.vulnerabilities.unwrap_or_default();
                let ids = self.package_vulnerabilities.unwrap_or_default().into_values().flatten().flatten();
                ids.map(|id| {
                    let found = known
                        .get(&id)
                        .ok_or_else(|| "a package has a vulnerability that is not described".to_owned())?;
                    Ok(Finding {
                        severity: Severity::parse(&found.normalized_severity)?,
                        fixable: found.fixed_in_version.as_ref().is_none_or(|version| !version.is_empty()),
                        id: if found.name.is_empty() { id } else { found.name.clone() },
                        package: None,
                    })
                })
                .collect()
            }
            None => Err("the scanner's report is none of Trivy, Grype or Clair".to_owned()),
        }
    }
}

impl TryFrom<TrivyVulnerability> for Finding {
    type Error = String;

    fn try_from(found: TrivyVulnerability) -> Result<Self, String> {
        Ok(Self {
            severity: Severity::parse(&found.severity)?,
            // Without a fixed version Trivy leaves the member out.
            fixable: !found.fixed_version.is_empty(),
            id: found.id,
            package: found.package.and_then(|package| package.purl),
        })
    }
}

impl TryFrom<GrypeMatch> for Finding {
    type Error = String;

    fn try_from(found: GrypeMatch) -> Result<Self, String> {
        let GrypeMatch { vulnerability, artifact } = found;
        Ok(Self {
            severity: Severity::parse(&vulnerability.severity)?,
            fixable: vulnerability.fix.is_none_or(|fix| !matches!(fix.state.as_str(), "not-fixed" | "wont-fix")),
            id: vulnerability.id,
            package: artifact.and_then(|artifact| artifact.purl),
        })
    }
}

#[derive(Deserialize)]
struct InTotoResult {
    id: String,
    #[serde(default, deserialize_with = "few_of_one")]
    severity: Option<Vec<InTotoSeverity>>,
    #[serde(default, deserialize_with = "few_of_one")]
    annotations: Option<Vec<InTotoAnnotation>>,
}

/// What is said of one finding: real ones have up to three ratings and annotations.
fn few_of_one<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    json::at_most(deserializer, limits::MAX_ANNOTATIONS)
}

/// What in-toto's form has no member for, as `hallmark attest --scanner` writes it.
#[derive(Deserialize)]
struct InTotoAnnotation {
    #[serde(default, rename = "hallmark.dev/fixable")]
    fixable: Option<bool>,
    #[serde(default, rename = "hallmark.dev/package")]
    package: Option<String>,
}

#[derive(Deserialize)]
struct InTotoSeverity {
    #[serde(default)]
    score: String,
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct InTotoResults(#[serde(deserialize_with = "few")] Option<Vec<InTotoResult>>);

pub(super) fn in_toto_findings(results: InTotoResults) -> Result<Vec<Finding>, String> {
    let results = results.0.ok_or("it has no result")?;
    let finding = |result: InTotoResult| {
        let ratings = result.severity.unwrap_or_default();
        // Of several ratings the worst counts, and one that is not understood may be the worst.
        let severities: Vec<Severity> =
            ratings.iter().map(|rating| Severity::parse(&rating.score)).collect::<Result<_, _>>()?;
        let severity = severities.into_iter().max().unwrap_or(Severity::Unknown);
        let annotations = result.annotations.unwrap_or_default();
        // Where the report does not say, there is a better version.
        let fixable = annotations.iter().find_map(|annotation| annotation.fixable).unwrap_or(true);
        let package = annotations.into_iter().find_map(|annotation| annotation.package);
        Ok(Finding { id: result.id, severity, fixable, package })
    };
    results.into_iter().map(finding).collect()
}
