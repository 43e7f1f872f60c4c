//! Bills of materials: which format, how many packages, and when they were made.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::facts::{FactContent, Facts, time};

/// An SPDX document: tag-value text (cosign's `spdx`), JSON of SPDX 2, or JSON-LD of SPDX 3. It is read in passing, and only
/// this is kept of it.
#[derive(Default)]
pub(super) struct Spdx {
    version: Option<String>,
    components: usize,
    created: Option<String>,
}

impl Spdx {
    pub(super) fn facts(self) -> Result<Facts, String> {
        let Self { version, components, created } = self;
        let version = version.filter(|version| version.starts_with("SPDX-"));
        let format = version.ok_or_else(|| "it does not say which version of SPDX it is".to_owned())?;
        Ok(Facts { made: time(created)?, content: FactContent::Sbom { format, components } })
    }
}

impl<'de> Deserialize<'de> for Spdx {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpdxVisitor)
    }
}

struct SpdxVisitor;

/// The members that are read.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum SpdxMember {
    CreationInfo,
    #[serde(rename = "@graph")]
    Graph,
    Packages,
    SpdxVersion,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Spdx2Creation {
    #[serde(default)]
    created: Option<String>,
}

impl<'de> Visitor<'de> for SpdxVisitor {
    type Value = Spdx;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an SPDX document")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Spdx, E> {
        let value = |tag: &'static str| {
            text.lines().filter_map(move |line| line.strip_prefix(tag)?.strip_prefix(':').map(str::trim))
        };
        let first = |tag| value(tag).next().map(str::to_owned);
        Ok(Spdx { version: first("SPDXVersion"), components: value("PackageName").count(), created: first("Created") })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Spdx, A::Error> {
        fn once<T, E: Error>(member: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
            match member.replace(value) {
                Some(_) => Err(E::duplicate_field(name)),
                None => Ok(()),
            }
        }
        let (mut version, mut creation, mut packages, mut graph) = (None, None, None, None);
        while let Some(member) = access.next_key()? {
            match member {
                SpdxMember::CreationInfo => {
                    once(&mut creation, "creationInfo", access.next_value::<Option<Spdx2Creation>>()?)?;
                }
                SpdxMember::Graph => once(&mut graph, "@graph", access.next_value::<Spdx3Graph>()?)?,
                SpdxMember::Packages => {
                    once(&mut packages, "packages", access.next_value::<Option<Vec<IgnoredAny>>>()?)?
                }
                SpdxMember::SpdxVersion => once(&mut version, "spdxVersion", access.next_value::<String>()?)?,
                SpdxMember::Other => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        match (version, graph) {
            // What could be read as two documents is none.
            (Some(_), Some(_)) => Err(A::Error::custom("it is of SPDX 2 and of SPDX 3 at once")),
            (None, Some(Spdx3Graph(document))) => Ok(document),
            (version, None) => Ok(Spdx {
                version,
                components: packages.flatten().map_or(0, |packages| packages.len()),
                created: creation.flatten().and_then(|creation| creation.created),
            }),
        }
    }
}

/// The elements of SPDX 3, of which the first creation says the version and the time.
struct Spdx3Graph(Spdx);

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

impl<'de> Deserialize<'de> for Spdx3Graph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Spdx3Visitor)
    }
}

struct Spdx3Visitor;

impl<'de> Visitor<'de> for Spdx3Visitor {
    type Value = Spdx3Graph;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the elements of an SPDX 3 document")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Spdx3Graph, A::Error> {
        let (mut creation, mut components) = (None, 0);
        while let Some(element) = access.next_element::<Spdx3Element>()? {
            match element.kind.as_deref() {
                Some("CreationInfo") if creation.is_none() => creation = Some(element),
                Some("software_Package") => components += 1,
                _ => {}
            }
        }
        let (version, created) = creation.map_or((None, None), |creation| (creation.spec_version, creation.created));
        let version = version.map(|version| format!("SPDX-{version}"));
        Ok(Spdx3Graph(Spdx { version, components, created }))
    }
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
            (spdx, r#"{"spdxVersion":"SPDX-2.3","@graph":[{"type":"CreationInfo","specVersion":"3.0.1"}]}"#),
            (spdx, r#"{"spdxVersion":"SPDX-2.3","packages":[],"packages":[{}]}"#),
            (spdx, r#"{"spdxVersion":"SPDX-2.3","packages":{}}"#),
            (spdx, r#"{"spdxVersion":null,"packages":[{}]}"#),
            (cyclone, r#"{"bomFormat":"other","specVersion":"1.6"}"#),
            (cyclone, r#"{"spdxVersion":"SPDX-2.3"}"#),
            (cyclone, "[]"),
        ] {
            assert!(read(kind, bad).is_err(), "{bad}");
        }
    }
}
