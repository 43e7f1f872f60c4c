//! What policies ask of predicates, read by the predicate's type from bytes that verified.
//!
//! What cannot be read is an error, never "nothing was found": a scan whose findings are not understood has not passed.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::sbom;
use super::scan::{COSIGN_SCAN, Finding, IN_TOTO_SCAN, InTotoResults, Report, Scan, in_toto_findings};
use super::vex::{self, VexStatement};
use crate::limits;

/// What kind of predicate a type stands for, where policies can ask for more than the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    CosignScan,
    CycloneDx,
    InTotoScan,
    OpenVex,
    Provenance02,
    Provenance1,
    Spdx,
}

impl Kind {
    /// The kind of a type; `None` for one of which only the type is known.
    pub(crate) fn of(predicate_type: &str) -> Option<Self> {
        // With or without the version of the document (in-toto attestation framework, "SPDX", "CycloneDX"; OpenVEX).
        let is = |base: &str| {
            predicate_type.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with("/v"))
        };
        match predicate_type {
            // slsa.dev/spec, "Provenance".
            "https://slsa.dev/provenance/v0.2" => Some(Self::Provenance02),
            "https://slsa.dev/provenance/v1" => Some(Self::Provenance1),
            // cosign, `COSIGN_VULN_ATTESTATION_SPEC.md`: with the scanner's own report inside.
            COSIGN_SCAN => Some(Self::CosignScan),
            // in-toto attestation framework, "vulns".
            "https://in-toto.io/attestation/vulns/v0.1" | IN_TOTO_SCAN => Some(Self::InTotoScan),
            _ if is("https://spdx.dev/Document") => Some(Self::Spdx),
            _ if is("https://cyclonedx.org/bom") => Some(Self::CycloneDx),
            _ if is("https://openvex.dev/ns") => Some(Self::OpenVex),
            _ => None,
        }
    }

    /// Its name, for people.
    fn name(self) -> &'static str {
        match self {
            Self::CosignScan | Self::InTotoScan => "a scan",
            Self::CycloneDx => "CycloneDX",
            Self::OpenVex => "OpenVEX",
            Self::Provenance02 | Self::Provenance1 => "SLSA provenance",
            Self::Spdx => "SPDX",
        }
    }

    /// Whether the predicate is read in passing, so that a large one costs no more memory than its bytes.
    pub(crate) fn may_be_large(self) -> bool {
        self.is_sbom() || self.is_scan()
    }

    pub(crate) fn is_provenance(self) -> bool {
        matches!(self, Self::Provenance02 | Self::Provenance1)
    }

    pub(crate) fn is_sbom(self) -> bool {
        matches!(self, Self::CycloneDx | Self::Spdx)
    }

    pub(crate) fn is_scan(self) -> bool {
        matches!(self, Self::CosignScan | Self::InTotoScan)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When it was made, by its maker's own signed word.
    pub(crate) made: Option<Timestamp>,
    pub(crate) content: FactContent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FactContent {
    /// Of a type that says nothing that could be checked.
    Other,
    Provenance {
        builder: Option<String>,
        source: Option<String>,
    },
    /// The format with its version, as `SPDX-2.3` or `CycloneDX-1.6`, and how many packages or components it lists.
    Sbom {
        format: String,
        components: usize,
    },
    Scan(Vec<Finding>),
    Vex(Vec<VexStatement>),
}

/// Reads the predicate of a verified statement by its type.
pub(crate) fn facts(predicate_type: &str, statement: &[u8]) -> Result<Facts, String> {
    let kind = Kind::of(predicate_type);
    if statement.len() > limits::MAX_SIGNATURE_BYTES && kind.is_some_and(|kind| !kind.may_be_large()) {
        return Err(format!("it has more than {} bytes", limits::MAX_SIGNATURE_BYTES));
    }
    match kind {
        Some(Kind::Provenance1) => read::<Provenance1>(statement)?.facts(),
        Some(Kind::Provenance02) => read::<Provenance02>(statement)?.facts(),
        Some(Kind::CosignScan) => read::<Scan<Report>>(statement)?.facts(Report::findings),
        Some(Kind::InTotoScan) => read::<Scan<InTotoResults>>(statement)?.facts(in_toto_findings),
        Some(Kind::Spdx) => read::<sbom::Spdx>(statement)?.facts(),
        Some(Kind::CycloneDx) => sbom::cyclone_dx(read(statement)?),
        Some(Kind::OpenVex) => vex::facts(read(statement)?),
        None => Ok(Facts { made: None, content: FactContent::Other }),
    }
}

#[derive(Deserialize)]
struct Statement<P> {
    predicate: P,
}

fn read<'a, P: Deserialize<'a>>(statement: &'a [u8]) -> Result<P, String> {
    serde_json::from_slice::<Statement<P>>(statement)
        .map(|statement| statement.predicate)
        .map_err(|error| error.to_string())
}

/// A time that was written; the first moment of year 1 is how Go writes that there is none. What was written and cannot
/// be read is an error: what took it for no time would believe a document about the one thing that it says badly.
pub(super) fn time(text: Option<String>) -> Result<Option<Timestamp>, String> {
    let Some(text) = text else { return Ok(None) };
    let time = text.parse::<Timestamp>().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        format!("{text:?} is not a time (RFC 3339)")
    })?;
    Ok((time > Timestamp::UNIX_EPOCH).then_some(time))
}

/// The first of two times that is there. Each that was written must be readable.
pub(super) fn first_time([one, other]: [Option<String>; 2]) -> Result<Option<Timestamp>, String> {
    let (one, other) = (time(one)?, time(other)?);
    Ok(one.or(other))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provenance1 {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    #[serde(default)]
    external_parameters: Option<ExternalParameters>,
}

/// Where builders keep the source: GitHub's workflow, BuildKit's `configSource`, and the two words of other builders.
#[derive(Deserialize)]
struct ExternalParameters {
    #[serde(default, rename = "configSource")]
    config_source: Option<Dependency>,
    #[serde(default)]
    workflow: Option<Workflow>,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    repository: Option<String>,
}

#[derive(Deserialize)]
struct Workflow {
    #[serde(default)]
    repository: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Text(String),
    Described(Dependency),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Dependency {
    #[serde(default)]
    uri: Option<String>,
}

#[derive(Deserialize)]
struct RunDetails {
    #[serde(default)]
    builder: Option<Builder>,
    #[serde(default)]
    metadata: Option<RunMetadata>,
}

#[derive(Deserialize)]
struct Builder {
    #[serde(default)]
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunMetadata {
    #[serde(default, alias = "buildFinishedOn")]
    finished_on: Option<String>,
    #[serde(default, alias = "buildStartedOn")]
    started_on: Option<String>,
}

impl RunMetadata {
    fn made(metadata: Option<Self>) -> Result<Option<Timestamp>, String> {
        metadata.map_or(Ok(None), |metadata| first_time([metadata.finished_on, metadata.started_on]))
    }
}

impl Provenance1 {
    /// The source is what the builder was told to build. A resolved dependency never is: their order means nothing, and any
    /// input may stand first.
    fn facts(self) -> Result<Facts, String> {
        let parameters = self.build_definition.external_parameters;
        let source = parameters.and_then(|parameters| {
            let workflow = parameters.workflow.and_then(|workflow| workflow.repository);
            let source = parameters.source.and_then(|source| match source {
                Source::Text(uri) => Some(uri),
                Source::Described(dependency) => dependency.uri,
                Source::Other(_) => None,
            });
            let config = parameters.config_source.and_then(|source| source.uri);
            workflow.or(source).or(config).or(parameters.repository)
        });
        let content =
            FactContent::Provenance { builder: self.run_details.builder.and_then(|builder| builder.id), source };
        Ok(Facts { made: RunMetadata::made(self.run_details.metadata)?, content })
    }
}

#[derive(Deserialize)]
struct Provenance02 {
    builder: Builder,
    #[serde(default)]
    invocation: Option<Invocation>,
    #[serde(default)]
    metadata: Option<RunMetadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    #[serde(default)]
    config_source: Option<Dependency>,
}

impl Provenance02 {
    fn facts(self) -> Result<Facts, String> {
        let source = self.invocation.and_then(|invocation| invocation.config_source).and_then(|source| source.uri);
        let content = FactContent::Provenance { builder: self.builder.id, source };
        Ok(Facts { made: RunMetadata::made(self.metadata)?, content })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Severity;
    use super::*;

    const PROVENANCE_0_2: &str = "https://slsa.dev/provenance/v0.2";
    const PROVENANCE_1: &str = "https://slsa.dev/provenance/v1";

    fn read(predicate_type: &str, predicate: &str) -> Result<Facts, String> {
        facts(predicate_type, format!(r#"{{"predicate":{predicate}}}"#).as_bytes())
    }

    fn findings(predicate_type: &str, result: &str) -> Result<Vec<(String, Severity, bool)>, String> {
        match read(predicate_type, &format!(r#"{{"scanner":{{"result":{result}}}}}"#))?.content {
            FactContent::Scan(found) => Ok(found.into_iter().map(|f| (f.id, f.severity, f.fixable)).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reports_of_three_scanners_and_of_in_toto_are_read() {
        use Severity::{Critical, High, Low, Medium, Unknown};
        let trivy = r#"{"SchemaVersion":2,"Results":[{"Target":"x"},{"Vulnerabilities":[
            {"VulnerabilityID":"CVE-1","Severity":"CRITICAL","FixedVersion":"2"},{"VulnerabilityID":"CVE-2","Severity":"LOW"}]}]}"#;
        let own = |list: &[(&str, Severity, bool)]| {
            list.iter().map(|(id, s, f)| ((*id).to_owned(), *s, *f)).collect::<Vec<_>>()
        };
        assert_eq!(findings(COSIGN_SCAN, trivy).unwrap(), own(&[("CVE-1", Critical, true), ("CVE-2", Low, false)]));
        assert_eq!(findings(COSIGN_SCAN, r#"{"SchemaVersion":2}"#).unwrap(), []);
        let grype = r#"{"matches":[{"vulnerability":{"id":"CVE-1","severity":"High","fix":{"state":"fixed","versions":["2"]}}},
            {"vulnerability":{"id":"CVE-2","severity":"Negligible","fix":{"state":"wont-fix"}}},{"vulnerability":{"id":"CVE-3"}}]}"#;
        let expected = own(&[("CVE-1", High, true), ("CVE-2", Low, false), ("CVE-3", Unknown, true)]);
        assert_eq!(findings(COSIGN_SCAN, grype).unwrap(), expected);
        let clair = r#"{"package_vulnerabilities":{"p":["7"]},"vulnerabilities":{"7":{"name":"CVE-1","normalized_severity":"Medium","fixed_in_version":""}}}"#;
        assert_eq!(findings(COSIGN_SCAN, clair).unwrap(), own(&[("CVE-1", Medium, false)]));
        let in_toto = r#"[{"id":"CVE-1","severity":[{"method":"nvd","score":"3.1"},{"method":"x","score":"9.8"}]},{"id":"CVE-2"}]"#;
        assert_eq!(
            findings(IN_TOTO_SCAN, in_toto).unwrap(),
            own(&[("CVE-1", Critical, true), ("CVE-2", Unknown, true)])
        );
    }

    #[test]
    fn must_not_take_what_is_not_understood_for_a_scan_without_findings() {
        for bad in [
            "null",
            "{}",
            "[]",
            r#"{"findings":[]}"#,
            r#"{"SchemaVersion":2,"matches":[]}"#,
            r#"{"matches":[{}]}"#,
            r#"{"SchemaVersion":2,"Results":{}}"#,
            r#"{"matches":[],"matches":[]}"#,
            r#"{"package_vulnerabilities":{"p":["7"]},"vulnerabilities":{}}"#,
            r#"{"SchemaVersion":1}"#,
            r#"{"SchemaVersion":3,"Results":[]}"#,
            r#"{"SchemaVersion":"2"}"#,
            r#"{"SchemaVersion":2,"ClusterName":"k","Resources":[]}"#,
            r#"{"SchemaVersion":2,"ClusterName":"k","Findings":[]}"#,
        ] {
            assert!(findings(COSIGN_SCAN, bad).is_err(), "{bad}");
        }
        assert!(findings(IN_TOTO_SCAN, "{}").is_err());
        assert!(read(COSIGN_SCAN, "{}").is_err());
    }

    #[test]
    fn must_not_count_a_rating_that_is_not_understood_as_not_rated() {
        let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
        let reports = |rating: &str| {
            [
                (
                    COSIGN_SCAN,
                    format!(
                        r#"{{"SchemaVersion":2,"Results":[{{"Vulnerabilities":[{{"VulnerabilityID":"1","Severity":"{rating}"}}]}}]}}"#
                    ),
                ),
                (COSIGN_SCAN, format!(r#"{{"matches":[{{"vulnerability":{{"id":"1","severity":"{rating}"}}}}]}}"#)),
                (
                    COSIGN_SCAN,
                    format!(
                        r#"{{"package_vulnerabilities":{{"p":["7"]}},"vulnerabilities":{{"7":{{"normalized_severity":"{rating}"}}}}}}"#
                    ),
                ),
                (IN_TOTO_SCAN, format!(r#"[{{"id":"1","severity":[{{"method":"x","score":"{rating}"}}]}}]"#)),
                // Nor may one that is understood speak for it.
                (IN_TOTO_SCAN, format!(r#"[{{"id":"1","severity":[{{"score":"{rating}"}},{{"score":"unknown"}}]}}]"#)),
            ]
        };
        for bad in [vector, "severe", "Critical ", "-1", "10.1", "NaN", "inf", "9,8"] {
            for (kind, report) in reports(bad) {
                assert!(findings(kind, &report).is_err(), "{report}");
            }
        }
        let beside = format!(r#"[{{"id":"1","severity":[{{"score":"low"}},{{"score":"{vector}"}}]}}]"#);
        assert!(findings(IN_TOTO_SCAN, &beside).is_err());
        for unrated in ["", "Unknown", "none", "UNASSIGNED", "0", "0.0"] {
            for (kind, report) in reports(unrated) {
                assert_eq!(findings(kind, &report).unwrap()[0].1, Severity::Unknown, "{report}");
            }
        }
    }

    #[test]
    fn must_not_call_a_finding_of_clair_not_fixable_where_the_report_does_not_say() {
        let report = r#"{"package_vulnerabilities":{"p":["7"]},"vulnerabilities":{"7":{"name":"CVE-1"}}}"#;
        assert_eq!(findings(COSIGN_SCAN, report).unwrap(), [("CVE-1".to_owned(), Severity::Unknown, true)]);
    }

    #[test]
    fn must_not_take_an_input_of_the_build_for_its_source() {
        let dependencies = r#""resolvedDependencies":[{"uri":"git+https://g.example/a/b"}]"#;
        for parameters in ["", r#""externalParameters":{},"#, r#""externalParameters":{"source":7},"#] {
            let v1 = format!(r#"{{"buildDefinition":{{{parameters}{dependencies}}},"runDetails":{{}}}}"#);
            let content = FactContent::Provenance { builder: None, source: None };
            assert_eq!(read(PROVENANCE_1, &v1).unwrap().content, content, "{parameters}");
        }
    }

    #[test]
    fn must_not_take_a_time_that_cannot_be_read_for_none() {
        let documents = |time: &str| {
            let scan = r#"{"scanner":{"result":[]},"metadata":{"#;
            [
                (
                    PROVENANCE_1,
                    format!(r#"{{"buildDefinition":{{}},"runDetails":{{"metadata":{{"finishedOn":"{time}"}}}}}}"#),
                ),
                (PROVENANCE_0_2, format!(r#"{{"builder":{{}},"metadata":{{"buildStartedOn":"{time}"}}}}"#)),
                (IN_TOTO_SCAN, format!(r#"{scan}"scanFinishedOn":"{time}"}}}}"#)),
                (
                    IN_TOTO_SCAN,
                    format!(r#"{scan}"scanFinishedOn":"2026-11-01T00:00:00Z","scanStartedOn":"{time}"}}}}"#),
                ),
                (
                    "https://spdx.dev/Document",
                    format!(r#"{{"spdxVersion":"SPDX-2.3","creationInfo":{{"created":"{time}"}}}}"#),
                ),
                (
                    "https://cyclonedx.org/bom",
                    format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{{"timestamp":"{time}"}}}}"#),
                ),
                ("https://openvex.dev/ns", format!(r#"{{"timestamp":"{time}","statements":[]}}"#)),
                (
                    "https://openvex.dev/ns",
                    format!(r#"{{"statements":[{{"vulnerability":"x","status":"affected","timestamp":"{time}"}}]}}"#),
                ),
            ]
        };
        for bad in ["", "-", "2026-11-01", "2026-11-01T00:00:00", "yesterday", "2026-13-01T00:00:00Z"] {
            for (kind, document) in documents(bad) {
                assert!(read(kind, &document).is_err(), "{document}");
            }
        }
        for good in ["2026-11-01T00:00:00Z", "2026-11-01T02:00:00.5+02:00", "0001-01-01T00:00:00Z"] {
            for (kind, document) in documents(good) {
                assert!(read(kind, &document).is_ok(), "{document}");
            }
        }
    }

    #[test]
    fn provenance_says_who_built_from_what_and_when() {
        let v1 = r#"{"buildDefinition":{"externalParameters":{"workflow":{"repository":"https://g.example/a/b"}},"resolvedDependencies":[{"uri":"git+https://evil.example"}]},
            "runDetails":{"builder":{"id":"https://b.example"},"metadata":{"finishedOn":"2026-11-01T00:00:00Z"}}}"#;
        let facts = read(PROVENANCE_1, v1).unwrap();
        let provenance = |builder: &str, source: &str| FactContent::Provenance {
            builder: Some(builder.to_owned()),
            source: Some(source.to_owned()),
        };
        assert_eq!(facts.content, provenance("https://b.example", "https://g.example/a/b"));
        assert_eq!(facts.made.unwrap().to_string(), "2026-11-01T00:00:00Z");
        let v02 = r#"{"builder":{"id":"b"},"invocation":{"configSource":{"uri":"git+https://g.example/a@refs/tags/v1"}},"metadata":{"buildFinishedOn":"0001-01-01T00:00:00Z"}}"#;
        let facts = read(PROVENANCE_0_2, v02).unwrap();
        assert_eq!((facts.content, facts.made), (provenance("b", "git+https://g.example/a@refs/tags/v1"), None));
        assert!(read(PROVENANCE_1, "{}").is_err());
    }

    #[test]
    fn must_not_take_one_type_for_another() {
        for (text, kind) in [
            ("https://spdx.dev/Document/v2.3", Some(Kind::Spdx)),
            ("https://spdx.dev/Documents", None),
            ("https://cyclonedx.org/bom/v1.6", Some(Kind::CycloneDx)),
            ("https://slsa.dev/provenance/v1.0", None),
            ("https://slsa.dev/provenance/v1", Some(Kind::Provenance1)),
            ("cosign.sigstore.dev/attestation/vuln/v1", None),
            (COSIGN_SCAN, Some(Kind::CosignScan)),
            ("https://openvex.dev/ns/v0.2.0", Some(Kind::OpenVex)),
        ] {
            assert_eq!(Kind::of(text), kind, "{text}");
        }
    }
}
