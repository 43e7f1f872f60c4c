//! From a scanner's own report to a predicate: cosign's, with the report inside, or in-toto's, with its findings.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::PredicateType;
use super::facts::{Kind, first_time, time};
use super::scan::{FIXABLE, Finding, PACKAGE, Report, ReportKind};
use crate::image::Digest;
use crate::limits;

/// A scanner whose reports are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanner {
    /// Clair 4: its vulnerability report.
    Clair,
    /// Grype: `grype -o json`.
    Grype,
    /// Trivy: `trivy image --format json`.
    Trivy,
}

impl Scanner {
    /// `clair`, `grype` or `trivy`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clair => "clair",
            Self::Grype => "grype",
            Self::Trivy => "trivy",
        }
    }

    fn kind(self) -> ReportKind {
        match self {
            Self::Clair => ReportKind::Clair,
            Self::Grype => ReportKind::Grype,
            Self::Trivy => ReportKind::Trivy,
        }
    }

    /// As Trivy names itself in its own predicates.
    fn uri(self, version: &str) -> String {
        let repository = match self {
            Self::Clair => "quay/clair",
            Self::Grype => "anchore/grype",
            Self::Trivy => "aquasecurity/trivy",
        };
        let version = if version.is_empty() { String::new() } else { format!("@{version}") };
        format!("pkg:github/{repository}{version}")
    }
}

impl FromStr for Scanner {
    type Err = ScanReportError;

    fn from_str(text: &str) -> Result<Self, ScanReportError> {
        match text {
            "clair" => Ok(Self::Clair),
            "grype" => Ok(Self::Grype),
            "trivy" => Ok(Self::Trivy),
            other => Err(ScanReportError::Scanner { text: other.chars().take(80).collect() }),
        }
    }
}

/// Why a report cannot be attested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanReportError {
    /// The report does not say when the scanner's database was updated, and the predicate must.
    #[error("the report does not say when the scanner's database was updated, which this type must say")]
    DatabaseUndated,
    /// It is not a report of this scanner.
    #[error("this is not a report of {}: {problem}", scanner.as_str())]
    Format {
        /// The scanner.
        scanner: Scanner,
        /// What the parser met.
        problem: String,
    },
    /// The report says a time, and another one was given.
    #[error("the report says `{said}` itself")]
    OtherTime {
        /// The report's time.
        said: Timestamp,
    },
    /// A scanner whose reports are not read.
    #[error("`{text}` is none of `trivy`, `grype` and `clair`")]
    Scanner {
        /// What was written instead.
        text: String,
    },
    /// A type that holds no scans.
    #[error("`{predicate_type}` is not a type of scans")]
    Type {
        /// The type.
        predicate_type: PredicateType,
    },
    /// The report does not say when the scan was made.
    #[error("the report does not say when the scan was made")]
    Undated,
}

impl ScanReportError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DatabaseUndated => "say it with `--database-updated TIME`, or attest `--type vuln`",
            Self::Format { .. } => {
                "give `trivy image --format json`, `grype -o json`, or Clair's vulnerability report; what is a predicate \
                 already (`trivy image --format cosign-vuln`) is attested with `--type vuln --predicate FILE`"
            }
            Self::OtherTime { .. } => "leave the option out",
            Self::Scanner { .. } => "write `--scanner trivy report.json`",
            Self::Type { .. } => "write `--type vuln`, or `--type https://in-toto.io/attestation/vulns/v0.2`",
            Self::Undated => {
                "say it with `--scanned-at 2026-11-22T08:30:00Z`: the time of the scan, not of this command"
            }
        }
    }
}

/// What a scanner found, as it wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    scanner: Scanner,
    text: String,
    findings: Vec<Finding>,
    digests: Vec<Digest>,
    version: String,
    finished: Option<Timestamp>,
    database: Database,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Database {
    uri: String,
    version: String,
    updated: Option<Timestamp>,
}

impl ScanReport {
    /// Reads a report.
    ///
    /// # Errors
    /// [`ScanReportError::Format`] when it is no report of this scanner, or has more findings than verifiers look at.
    pub fn parse(scanner: Scanner, bytes: &[u8]) -> Result<Self, ScanReportError> {
        let error = |problem: String| ScanReportError::Format { scanner, problem };
        let text = std::str::from_utf8(bytes).map_err(|problem| error(problem.to_string()))?.trim();
        let report: Report = serde_json::from_str(text).map_err(|problem| error(problem.to_string()))?;
        if report.kind() != Some(scanner.kind()) {
            return Err(error("it does not have the members that only these have".to_owned()));
        }
        let circumstances: Circumstances = serde_json::from_str(text).map_err(|problem| error(problem.to_string()))?;
        let findings = report.findings().map_err(error)?;
        if findings.len() > limits::MAX_FINDINGS {
            return Err(error(format!("it has more than {} findings", limits::MAX_FINDINGS)));
        }
        let digests = circumstances.digests();
        let trivy = circumstances.trivy.and_then(|trivy| trivy.version);
        let grype = circumstances.descriptor.unwrap_or_default();
        let database = grype.db.map(GrypeDatabase::database).transpose().map_err(error)?.unwrap_or_default();
        let version = trivy.or(grype.version).unwrap_or_default();
        let said = |time: Option<String>| time.filter(|time| !time.is_empty());
        let finished = first_time([said(circumstances.created_at), said(grype.timestamp)]).map_err(error)?;
        Ok(Self { scanner, text: text.to_owned(), findings, digests, version, finished, database })
    }

    /// Whether the report is about an image; `None` when it names no digest of an image at all.
    #[must_use]
    pub fn is_about(&self, image: Digest) -> Option<bool> {
        (!self.digests.is_empty()).then(|| self.digests.contains(&image))
    }

    /// How many findings it has.
    #[must_use]
    pub fn findings(&self) -> usize {
        self.findings.len()
    }

    /// The predicate of a type of scans: cosign's `vuln`, with the report byte for byte, or in-toto's `vulns` v0.2, with
    /// the findings alone. Times that the report lacks are given; they are never made up.
    ///
    /// # Errors
    /// [`ScanReportError`] for another type, when a time is missing, or when one is given that the report has.
    pub fn predicate(
        &self,
        predicate_type: &PredicateType,
        scanned_at: Option<Timestamp>,
        database_updated: Option<Timestamp>,
    ) -> Result<Vec<u8>, ScanReportError> {
        let finished = one_time(self.finished, scanned_at)?.ok_or(ScanReportError::Undated)?;
        let updated = one_time(self.database.updated, database_updated)?;
        let Database { uri: database_uri, version: database_version, .. } = &self.database;
        let (uri, version) = (self.scanner.uri(&self.version), &self.version);
        let metadata = json!({"scanStartedOn": finished, "scanFinishedOn": finished});
        match predicate_type.kind() {
            // cosign, `COSIGN_VULN_ATTESTATION_SPEC.md`. `db.lastUpdate` is Trivy's word for what it has no member for.
            Some(Kind::CosignScan) => {
                let mut database = json!({"uri": database_uri, "version": database_version});
                if let (Some(updated), Some(members)) = (updated, database.as_object_mut()) {
                    members.insert("lastUpdate".to_owned(), json!(updated));
                }
                let invocation = json!({"uri": "", "event_id": "", "builder.id": ""});
                // The report stands last, so that it can stand as it is.
                let head = json!({"uri": uri, "version": version, "db": database}).to_string();
                let head = head.strip_suffix('}').unwrap_or(&head);
                let report = &self.text;
                let scanner = format!("{head},\"result\":{report}}}");
                let text = format!(r#"{{"invocation":{invocation},"scanner":{scanner},"metadata":{metadata}}}"#);
                Ok(text.into_bytes())
            }
            // in-toto attestation framework, "vulns", v0.2.
            Some(Kind::InTotoScan) => {
                let updated = updated.ok_or(ScanReportError::DatabaseUndated)?;
                let result: Vec<serde_json::Value> = self.findings.iter().map(|found| self.result(found)).collect();
                let mut database = json!({"lastUpdate": updated});
                if let Some(members) = database.as_object_mut() {
                    for (name, value) in [("uri", database_uri), ("version", database_version)] {
                        if !value.is_empty() {
                            members.insert(name.to_owned(), json!(value));
                        }
                    }
                }
                let scanner = json!({"uri": uri, "version": version, "db": database, "result": result});
                Ok(json!({"scanner": scanner, "metadata": metadata}).to_string().into_bytes())
            }
            _ => Err(ScanReportError::Type { predicate_type: predicate_type.clone() }),
        }
    }

    fn result(&self, finding: &Finding) -> serde_json::Value {
        let mut annotation = serde_json::Map::from_iter([(FIXABLE.to_owned(), json!(finding.fixable))]);
        if let Some(package) = &finding.package {
            annotation.insert(PACKAGE.to_owned(), json!(package));
        }
        json!({
            "id": finding.id,
            "severity": [{"method": self.scanner.as_str(), "score": finding.severity.as_str()}],
            "annotations": [annotation],
        })
    }
}

fn one_time(said: Option<Timestamp>, given: Option<Timestamp>) -> Result<Option<Timestamp>, ScanReportError> {
    match (said, given) {
        (Some(said), Some(given)) if said != given => Err(ScanReportError::OtherTime { said }),
        (said, given) => Ok(said.or(given)),
    }
}

/// What reports say beside their findings: which image, which scanner, when.
#[derive(Deserialize)]
struct Circumstances {
    // Trivy
    #[serde(default, rename = "CreatedAt")]
    created_at: Option<String>,
    #[serde(default, rename = "Trivy")]
    trivy: Option<TrivyVersion>,
    #[serde(default, rename = "Metadata")]
    metadata: Option<TrivyMetadata>,
    // Grype
    #[serde(default)]
    source: Option<GrypeSource>,
    #[serde(default)]
    descriptor: Option<GrypeDescriptor>,
    // Clair
    #[serde(default)]
    manifest_hash: Option<String>,
}

#[derive(Deserialize)]
struct TrivyVersion {
    #[serde(default, rename = "Version")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct TrivyMetadata {
    #[serde(default, rename = "RepoDigests")]
    repo_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct GrypeSource {
    #[serde(default)]
    target: Option<GrypeTarget>,
}

/// Of a scanned image; folders and files have a text here.
#[derive(Deserialize)]
#[serde(untagged)]
enum GrypeTarget {
    Image {
        #[serde(default, rename = "manifestDigest")]
        manifest_digest: Option<String>,
        #[serde(default, rename = "repoDigests")]
        repo_digests: Option<Vec<String>>,
    },
    Path(#[expect(dead_code, reason = "a path names no image")] String),
}

#[derive(Default, Deserialize)]
struct GrypeDescriptor {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    db: Option<GrypeDatabase>,
}

/// What Grype says of its database: since version 0.88 under `status`, before that by itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum GrypeDatabase {
    Nested { status: GrypeStatus },
    Plain(GrypeStatus),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GrypeStatus {
    #[serde(default)]
    built: Option<String>,
    #[serde(default)]
    from: Option<String>,
    /// A number before version 6.
    #[serde(default)]
    schema_version: Option<serde_json::Value>,
}

impl GrypeDatabase {
    fn database(self) -> Result<Database, String> {
        let (Self::Nested { status } | Self::Plain(status)) = self;
        let version = match status.schema_version {
            Some(serde_json::Value::String(version)) => version,
            Some(serde_json::Value::Number(version)) => version.to_string(),
            _ => String::new(),
        };
        Ok(Database { uri: status.from.unwrap_or_default(), version, updated: time(status.built)? })
    }
}

impl Circumstances {
    /// The digests of manifests that the report names as what was scanned.
    fn digests(&self) -> Vec<Digest> {
        let trivy = self.metadata.iter().filter_map(|metadata| metadata.repo_digests.as_ref()).flatten();
        let grype = match self.source.as_ref().and_then(|source| source.target.as_ref()) {
            Some(GrypeTarget::Image { manifest_digest, repo_digests }) => {
                manifest_digest.iter().chain(repo_digests.iter().flatten()).collect()
            }
            Some(GrypeTarget::Path(_)) | None => Vec::new(),
        };
        let names = trivy.chain(grype).chain(&self.manifest_hash);
        names.filter_map(|name| name.rsplit('@').next()?.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{FactContent, facts};
    use super::super::scan::{IN_TOTO_SCAN, Severity};
    use super::*;

    const REPORTS: [(Scanner, &str); 3] = [
        (Scanner::Trivy, include_str!("../../testdata/scans/trivy.json")),
        (Scanner::Grype, include_str!("../../testdata/scans/grype.json")),
        (Scanner::Clair, include_str!("../../testdata/scans/clair.json")),
    ];

    fn digest(digit: &str) -> Digest {
        format!("sha256:{}", digit.repeat(64)).parse().unwrap()
    }

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn reports_become_predicates_of_both_types_that_say_the_same() {
        for (scanner, text) in REPORTS {
            let report = ScanReport::parse(scanner, text.as_bytes()).unwrap();
            assert_eq!(report.findings(), 2);
            let given = if scanner == Scanner::Clair { at("2026-11-22T08:30:00Z") } else { None };
            let updated = if scanner == Scanner::Grype { None } else { at("2026-11-22T06:00:00Z") };
            for kind in ["vuln", IN_TOTO_SCAN] {
                let kind: PredicateType = kind.parse().unwrap();
                let predicate = report.predicate(&kind, given, updated).unwrap();
                let predicate = String::from_utf8(predicate).unwrap();
                if kind.as_str() != IN_TOTO_SCAN {
                    assert!(predicate.contains(text.trim()), "the report stands in it as it is");
                }
                let value: serde_json::Value = serde_json::from_str(&predicate).unwrap();
                assert!(value["scanner"]["uri"].as_str().unwrap().contains(scanner.as_str()));
                assert_eq!(value["scanner"]["db"]["lastUpdate"], "2026-11-22T06:00:00Z");
                let read = facts(kind.as_str(), format!(r#"{{"predicate":{predicate}}}"#).as_bytes()).unwrap();
                assert!(read.made.unwrap().to_string().starts_with("2026-11-22T08:30:00"), "{read:?}");
                let FactContent::Scan(findings) = read.content else { panic!() };
                let seen: Vec<_> = findings.iter().map(|f| (f.id.as_str(), f.severity, f.fixable)).collect();
                let expected = [("CVE-2026-1001", Severity::Critical, true), ("CVE-2026-1002", Severity::Low, false)];
                assert_eq!(seen, expected, "{scanner:?} {kind}");
                let purl = (scanner != Scanner::Clair).then_some("pkg:apk/alpine/busybox@1.36.1-r28");
                assert_eq!(findings[1].package.as_deref(), purl);
            }
        }
    }

    #[test]
    fn must_not_attest_the_report_of_another_image_or_scanner() {
        for (scanner, text) in REPORTS {
            let report = ScanReport::parse(scanner, text.as_bytes()).unwrap();
            assert_eq!(report.is_about(digest("2")), Some(true));
            // The digest of the configuration is not that of the image.
            assert_eq!(report.is_about(digest("1")), Some(false));
            for (other, other_text) in REPORTS {
                assert_eq!(ScanReport::parse(scanner, other_text.as_bytes()).is_ok(), other == scanner);
            }
            for bad in ["", "{}", "[]", "null", &format!("{text}x")] {
                assert!(ScanReport::parse(scanner, bad.as_bytes()).is_err(), "{bad}");
            }
        }
        let silent = ScanReport::parse(Scanner::Trivy, br#"{"SchemaVersion":2}"#).unwrap();
        assert_eq!(silent.is_about(digest("2")), None);
        let folder = br#"{"matches":[],"source":{"type":"directory","target":"/src"}}"#;
        assert_eq!(ScanReport::parse(Scanner::Grype, folder).unwrap().is_about(digest("2")), None);
    }

    #[test]
    fn must_not_make_up_a_time_that_a_report_does_not_say() {
        let (vuln, in_toto): (PredicateType, PredicateType) = ("vuln".parse().unwrap(), IN_TOTO_SCAN.parse().unwrap());
        let [trivy, _, clair] = REPORTS.map(|(scanner, text)| ScanReport::parse(scanner, text.as_bytes()).unwrap());
        let some = at("2026-01-01T00:00:00Z");
        assert_eq!(clair.predicate(&vuln, None, None), Err(ScanReportError::Undated));
        assert!(clair.predicate(&vuln, some, None).is_ok());
        assert!(matches!(trivy.predicate(&vuln, some, None), Err(ScanReportError::OtherTime { .. })));
        assert_eq!(trivy.predicate(&in_toto, None, None), Err(ScanReportError::DatabaseUndated));
        assert!(trivy.predicate(&in_toto, None, some).is_ok());
        let spdx = "spdx".parse().unwrap();
        assert!(matches!(trivy.predicate(&spdx, None, None), Err(ScanReportError::Type { .. })));
    }

    #[test]
    fn findings_are_bounded() {
        let report = |count: usize| {
            let found = r#"{"vulnerability":{"id":"x"}}"#;
            format!(r#"{{"matches":[{}]}}"#, vec![found; count].join(","))
        };
        assert!(ScanReport::parse(Scanner::Grype, report(limits::MAX_FINDINGS).as_bytes()).is_ok());
        assert!(ScanReport::parse(Scanner::Grype, report(limits::MAX_FINDINGS + 1).as_bytes()).is_err());
    }
}
