//! The form of a rule's demands on attestations.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Placed, RequirementEntry, written};

/// One demand: an attestation of a type, by somebody, that says what it must.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttestationEntry {
    /// What the demand is called in verdicts: letters, digits, `.`, `_` and `-`, at most 63; unique in the rule.
    pub name: Placed<String>,
    /// The types of predicates that will do: a URI, or one of cosign's words, such as `slsaprovenance1` or `vuln`.
    #[schemars(length(min = 1))]
    pub types: Placed<Vec<Placed<String>>>,
    /// Who must have attested it: like `require`.
    pub from: Placed<RequirementEntry>,
    /// Which attestations of an authority count: `newest` (the default with `vulnerabilities`) or `any`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "WhichWord")]
    pub which: Option<Placed<WhichWord>>,
    /// Its greatest age, such as `168h` or `1h 30m`, by the time that it says itself or that timestamp authorities saw it.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub max_age: Option<Placed<String>>,
    /// For provenance: the builders of which one must have built the image, `*` for characters other than `/`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub builders: Option<Placed<Vec<Placed<String>>>>,
    /// For provenance: the sources of which one must be that of the image, `*` for characters other than `/`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub sources: Option<Placed<Vec<Placed<String>>>>,
    /// For bills of materials (SBOMs): what they must be.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "SbomEntry")]
    pub sbom: Option<Placed<SbomEntry>>,
    /// For scans: how many vulnerabilities there may be.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "VulnerabilitiesEntry")]
    pub vulnerabilities: Option<Placed<VulnerabilitiesEntry>>,
}

/// Which attestations of an authority count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhichWord {
    /// Any that says what it must.
    Any,
    /// Only the newest, whatever older ones say.
    Newest,
}

/// What a bill of materials must be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SbomEntry {
    /// The formats of which it must have one, with or without version: `SPDX`, `SPDX-2.3`, `CycloneDX-1.6`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub formats: Option<Placed<Vec<Placed<String>>>>,
    /// How many packages or components it must list: 1 (the default) or more.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 1))]
    pub components: Option<Placed<i64>>,
}

/// How many vulnerabilities of each severity there may be; a severity that is left out is not limited.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VulnerabilitiesEntry {
    /// Most critical ones.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub critical: Option<Placed<i64>>,
    /// Most high ones.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub high: Option<Placed<i64>>,
    /// Most medium ones.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub medium: Option<Placed<i64>>,
    /// Most low ones.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub low: Option<Placed<i64>>,
    /// Most that nobody rated.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub unknown: Option<Placed<i64>>,
    /// Which ones are counted: `all` (the default), or only `fixable` ones.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "CountWord")]
    pub count: Option<Placed<CountWord>>,
    /// Ids that are not counted, until a date.
    #[serde(default)]
    pub allow: Vec<Placed<AllowEntry>>,
    /// Authorities whose OpenVEX attestations are believed: what they call `not_affected` or `fixed` is not counted.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub vex: Option<Placed<Vec<Placed<String>>>>,
}

/// Which vulnerabilities are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CountWord {
    /// All of them.
    All,
    /// Those for which there is a version without them, or of which the report does not say.
    Fixable,
}

/// A vulnerability that is not counted, until a date.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowEntry {
    /// Its id as the scanner writes it, such as `CVE-2026-1234`.
    pub id: Placed<String>,
    /// Why: one line of at most 200 characters.
    pub reason: Placed<String>,
    /// From here on it is counted. RFC 3339.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: Placed<String>,
}
