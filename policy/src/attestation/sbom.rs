//! Bills of materials: which format, how many packages, and when they were made.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::facts::{FactContent, Facts, time};

/// An SPDX document: tag-value text (cosign's `spdx`), JSON of SPDX 2, or JSON-LD of SPDX 3.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Spdx {
    Text(String),
    Version2(Spdx2),
    Version3(Spdx3),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spdx2 {
    spdx_version: String,
    #[serde(default)]
    creation_info: Option<Spdx2Creation>,
    #[serde(default)]
    packages: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Spdx2Creation {
    #[serde(default)]
    created: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Spdx3 {
    #[serde(rename = "@graph")]
    graph: Vec<Spdx3Element>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx3Element {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    spec_version: Option<String>,
    #[serde(default)]
    created: Option<String>,
}

/// Reads an SPDX document.
pub(super) fn spdx(document: &Spdx) -> Result<Facts, String> {
    let (version, components, created) = match document {
        Spdx::Text(text) => {
            let value = |tag: &'static str| {
                text.lines().filter_map(move |line| line.strip_prefix(tag)?.strip_prefix(':').map(str::trim))
            };
            let version = value("SPDXVersion").next().map(str::to_owned);
            (version, value("PackageName").count(), value("Created").next().map(str::to_owned))
        }
        Spdx::Version2(document) => {
            let created = document.creation_info.as_ref().and_then(|info| info.created.clone());
            (Some(document.spdx_version.clone()), document.packages.as_ref().map_or(0, Vec::len), created)
        }
        Spdx::Version3(document) => {
            let of =
                |kind: &'static str| document.graph.iter().filter(move |element| element.kind.as_deref() == Some(kind));
            let creation = of("CreationInfo").next();
            let version =
                creation.and_then(|info| info.spec_version.as_deref()).map(|version| format!("SPDX-{version}"));
            (version, of("software_Package").count(), creation.and_then(|info| info.created.clone()))
        }
    };
    let version = version.filter(|version| version.starts_with("SPDX-"));
    let format = version.ok_or_else(|| "it does not say which version of SPDX it is".to_owned())?;
    Ok(Facts { made: time(created)?, content: FactContent::Sbom { format, components } })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CycloneDx {
    bom_format: String,
    spec_version: String,
    #[serde(default)]
    metadata: Option<CycloneDxMetadata>,
    #[serde(default)]
    components: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct CycloneDxMetadata {
    #[serde(default)]
    timestamp: Option<String>,
}

/// Reads a CycloneDX document.
pub(super) fn cyclone_dx(document: CycloneDx) -> Result<Facts, String> {
    if document.bom_format != "CycloneDX" {
        return Err("its `bomFormat` is not `CycloneDX`".to_owned());
    }
    let content = FactContent::Sbom {
        format: format!("CycloneDX-{}", document.spec_version),
        components: document.components.map_or(0, |components| components.len()),
    };
    Ok(Facts { made: time(document.metadata.and_then(|metadata| metadata.timestamp))?, content })
}

#[cfg(test)]
mod tests {
    use super::super::facts::facts;
    use super::*;

    #[test]
    fn formats_and_components_are_read_and_other_things_are_not_taken_for_them() {
        let read = |kind: &str, predicate: &str| {
            let facts = facts(kind, format!(r#"{{"predicate":{predicate}}}"#).as_bytes())?;
            match facts.content {
                FactContent::Sbom { format, components } => Ok((format, components, facts.made.is_some())),
                other => Err(format!("{other:?}")),
            }
        };
        let (spdx, cyclone) = ("https://spdx.dev/Document", "https://cyclonedx.org/bom");
        for (kind, predicate, expected) in [
            (
                spdx,
                r#"{"spdxVersion":"SPDX-2.3","packages":[{},{}],"creationInfo":{"created":"2026-11-01T00:00:00Z"}}"#,
                ("SPDX-2.3", 2, true),
            ),
            (spdx, r#"{"spdxVersion":"SPDX-2.3"}"#, ("SPDX-2.3", 0, false)),
            (
                spdx,
                r#""SPDXVersion: SPDX-2.2\nCreated: 2026-11-01T00:00:00Z\nPackageName: a\nPackageName: b\n""#,
                ("SPDX-2.2", 2, true),
            ),
            (
                spdx,
                r#"{"@graph":[{"type":"CreationInfo","specVersion":"3.0.1","created":"2026-11-01T00:00:00Z"},{"type":"software_Package"}]}"#,
                ("SPDX-3.0.1", 1, true),
            ),
            (
                cyclone,
                r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{}],"metadata":{"timestamp":"2026-11-01T00:00:00Z"}}"#,
                ("CycloneDX-1.6", 1, true),
            ),
        ] {
            let (format, components, dated) = expected;
            assert_eq!(read(kind, predicate).unwrap(), (format.to_owned(), components, dated), "{predicate}");
        }
        for (kind, bad) in [
            (spdx, "{}"),
            (spdx, r#""text""#),
            (spdx, r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#),
            (spdx, r#"{"@graph":[]}"#),
            (cyclone, r#"{"bomFormat":"other","specVersion":"1.6"}"#),
            (cyclone, r#"{"spdxVersion":"SPDX-2.3"}"#),
            (cyclone, "[]"),
        ] {
            assert!(read(kind, bad).is_err(), "{bad}");
        }
    }
}
