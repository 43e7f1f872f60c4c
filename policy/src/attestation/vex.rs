//! OpenVEX: what somebody says of vulnerabilities in an image (OpenVEX specification, "The VEX Document").

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::facts::{FactContent, Facts, first_time};
use super::scan::Finding;
use crate::image::Digest;
use crate::limits;

/// What is said of one vulnerability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VexStatement {
    /// Its name and its aliases.
    ids: Vec<String>,
    /// It does no harm: `not_affected` or `fixed`.
    is_harmless: bool,
    /// Since when that is so.
    made: Option<Timestamp>,
    /// In which products; `None` for the image that the statement is attested of.
    products: Option<Vec<NamedProduct>>,
}

/// A product with the packages in it that are meant; without any, all of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedProduct {
    names: Vec<String>,
    packages: Vec<Vec<String>>,
}

/// Whether a finding in an image does no harm, by the newest statement about it. Of several of the same time, and of
/// those without a time or from the future, one that says otherwise decides: what is doubtful harms.
pub(crate) fn is_harmless(statements: &[&VexStatement], finding: &Finding, image: Digest, now: Timestamp) -> bool {
    let mut newest: Option<(Timestamp, bool)> = None;
    for statement in statements.iter().filter(|statement| statement.is_about(finding, image)) {
        let Some(made) = statement.made.filter(|made| *made <= now) else {
            if statement.is_harmless {
                continue;
            }
            return false;
        };
        newest = Some(match newest {
            Some((latest, harmless)) if latest > made => (latest, harmless),
            Some((latest, harmless)) if latest == made => (latest, harmless && statement.is_harmless),
            _ => (made, statement.is_harmless),
        });
    }
    newest.is_some_and(|(_, harmless)| harmless)
}

impl VexStatement {
    /// Whether it says that the vulnerability does no harm.
    pub(crate) fn is_harmless(&self) -> bool {
        self.is_harmless
    }

    fn is_about(&self, finding: &Finding, image: Digest) -> bool {
        let is_package = |names: &[String]| {
            finding.package.as_deref().is_some_and(|package| names.iter().any(|name| is_same_package(name, package)))
        };
        self.ids.contains(&finding.id)
            && self.products.as_ref().is_none_or(|products| {
                products.iter().any(|product| {
                    let whole = product.packages.is_empty();
                    match product.names.iter().any(|name| names_image(name, image)) {
                        true => whole || product.packages.iter().any(|names| is_package(names)),
                        // A package by itself: in this image, because the statement is attested of it.
                        false => whole && is_package(&product.names),
                    }
                })
            })
    }
}

/// Whether a name has the image's digest, as `sha256:<hex>`, also as a package URL writes it.
fn names_image(name: &str, image: Digest) -> bool {
    let (plain, lower) = (image.to_string(), name.to_ascii_lowercase());
    let version = lower.rsplit_once('@').map_or(lower.as_str(), |(_, version)| version);
    let version = version.split_once(['?', '#']).map_or(version, |(version, _)| version);
    version.replace("%3a", ":") == plain
}

/// Whether two package URLs name the same version of a package: what follows `?` qualifies it only.
fn is_same_package(one: &str, other: &str) -> bool {
    let bare = |purl: &'_ str| purl.split_once(['?', '#']).map_or(purl.to_owned(), |(bare, _)| bare.to_owned());
    one.starts_with("pkg:") && bare(one).contains('@') && bare(one) == bare(other)
}

#[derive(Deserialize)]
pub(super) struct OpenVex {
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    vulnerability: Vulnerability,
    status: Status,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
    #[serde(default)]
    products: Option<Vec<Product>>,
    /// Before version 0.2.0 these stood beside the products.
    #[serde(default)]
    subcomponents: Option<Vec<Component>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Affected,
    Fixed,
    NotAffected,
    UnderInvestigation,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vulnerability {
    Name(String),
    Described {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        aliases: Option<Vec<String>>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Product {
    Name(String),
    Described {
        #[serde(flatten)]
        component: Described,
        #[serde(default)]
        subcomponents: Option<Vec<Component>>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Component {
    Name(String),
    Described(Described),
}

#[derive(Deserialize)]
struct Described {
    #[serde(default, rename = "@id")]
    id: Option<String>,
    #[serde(default)]
    identifiers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    hashes: Option<BTreeMap<String, String>>,
}

impl Described {
    fn names(self) -> Vec<String> {
        let hashes = self.hashes.unwrap_or_default().into_iter();
        let hashes = hashes.filter(|(algorithm, _)| algorithm == "sha-256").map(|(_, hash)| format!("sha256:{hash}"));
        self.id.into_iter().chain(self.identifiers.unwrap_or_default().into_values()).chain(hashes).collect()
    }
}

impl Component {
    fn names(self) -> Vec<String> {
        match self {
            Self::Name(name) => vec![name],
            Self::Described(component) => component.names(),
        }
    }
}

/// Reads an OpenVEX document.
pub(super) fn facts(document: OpenVex) -> Result<Facts, String> {
    if document.statements.len() > limits::MAX_FINDINGS {
        return Err(format!("it has more than {} statements", limits::MAX_FINDINGS));
    }
    let made = first_time([document.last_updated, document.timestamp])?;
    let statements: Result<_, String> =
        document.statements.into_iter().map(|statement| read(statement, made)).collect();
    Ok(Facts { made, content: FactContent::Vex(statements?) })
}

/// One statement; what it leaves out cascades down from the document (OpenVEX specification, "Inheritance").
fn read(statement: Statement, document_made: Option<Timestamp>) -> Result<VexStatement, String> {
    let ids: Vec<String> = match statement.vulnerability {
        Vulnerability::Name(name) => vec![name],
        Vulnerability::Described { name, aliases } => name.into_iter().chain(aliases.unwrap_or_default()).collect(),
    };
    if ids.is_empty() {
        return Err("a statement names no vulnerability".to_owned());
    }
    let beside: Vec<Vec<String>> = statement.subcomponents.into_iter().flatten().map(Component::names).collect();
    let products = statement.products.filter(|products| !products.is_empty()).map(|products| {
        let named = products.into_iter().map(|product| match product {
            Product::Name(name) => NamedProduct { names: vec![name], packages: beside.clone() },
            Product::Described { component, subcomponents } => {
                let packages = subcomponents.into_iter().flatten().map(Component::names);
                NamedProduct { names: component.names(), packages: packages.chain(beside.iter().cloned()).collect() }
            }
        });
        named.collect()
    });
    Ok(VexStatement {
        ids,
        is_harmless: matches!(statement.status, Status::Fixed | Status::NotAffected),
        made: first_time([statement.last_updated, statement.timestamp])?.or(document_made),
        // What names packages and no product means these packages in the image.
        products: match (products, beside.is_empty()) {
            (None, false) => {
                Some(beside.into_iter().map(|names| NamedProduct { names, packages: Vec::new() }).collect())
            }
            (products, _) => products,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::facts;
    use super::super::scan::Severity;
    use super::*;

    fn harmless(document: &str) -> bool {
        let image = Digest::of(b"image");
        let document = document.replace("IMAGE", &image.to_string()).replace("HEX", image.encoded().as_str());
        let document = document.replace("ENCODED", &image.to_string().replace(':', "%3A"));
        let facts = facts("https://openvex.dev/ns", format!(r#"{{"predicate":{document}}}"#).as_bytes()).unwrap();
        let FactContent::Vex(statements) = facts.content else { panic!() };
        let package = Some("pkg:apk/wolfi/git@2.1?arch=x".to_owned());
        let finding = Finding { id: "CVE-1".to_owned(), severity: Severity::High, fixable: true, package };
        let statements: Vec<&VexStatement> = statements.iter().collect();
        is_harmless(&statements, &finding, image, "2026-11-20T00:00:00Z".parse().unwrap())
    }

    fn statement(status: &str, more: &str) -> String {
        format!(r#"{{"vulnerability":"CVE-1","status":"{status}"{more}}}"#)
    }

    fn document(statements: &[String]) -> String {
        format!(r#"{{"timestamp":"2026-11-01T00:00:00Z","statements":[{}]}}"#, statements.join(","))
    }

    #[test]
    fn a_statement_is_about_the_image_it_names_and_the_packages_it_names() {
        for (products, expected) in [
            ("", true),
            (r#","products":[]"#, true),
            (r#","products":["pkg:oci/app@ENCODED"]"#, true),
            (r#","products":[{"@id":"r.example/app@IMAGE"}]"#, true),
            (r#","products":[{"@id":"x","identifiers":{"purl":"pkg:oci/app@IMAGE?arch=amd64"}}]"#, true),
            (r#","products":[{"hashes":{"sha-256":"HEX"}}]"#, true),
            (r#","products":[{"@id":"pkg:oci/app@IMAGE","subcomponents":[{"@id":"pkg:apk/wolfi/git@2.1"}]}]"#, true),
            (r#","products":["pkg:oci/app@IMAGE"],"subcomponents":["pkg:apk/wolfi/git@2.1?arch=y"]"#, true),
            (r#","products":[{"@id":"pkg:apk/wolfi/git@2.1"}]"#, true),
            (r#","subcomponents":["pkg:apk/wolfi/git@2.1"]"#, true),
            (r#","subcomponents":["pkg:apk/wolfi/curl@2.1"]"#, false),
            (r#","products":["pkg:oci/app"]"#, false),
            (r#","products":["pkg:oci/app@sha256:00"]"#, false),
            (r#","products":[{"@id":"pkg:oci/app@IMAGE","subcomponents":[{"@id":"pkg:apk/wolfi/git@2.0"}]}]"#, false),
            (r#","products":[{"@id":"pkg:apk/wolfi/git"}]"#, false),
            (r#","products":[{"@id":"other","subcomponents":[{"@id":"pkg:apk/wolfi/git@2.1"}]}]"#, false),
        ] {
            assert_eq!(harmless(&document(&[statement("not_affected", products)])), expected, "{products}");
            assert!(!harmless(&document(&[statement("affected", products)])), "{products}");
        }
        let alias = r#"{"vulnerability":{"name":"GHSA-1","aliases":["CVE-1"]},"status":"fixed"}"#.to_owned();
        assert!(harmless(&document(std::slice::from_ref(&alias))));
        assert!(!harmless(&document(&[alias.replace("CVE-1", "CVE-11")])));
    }

    #[test]
    fn must_not_call_harmless_what_a_newer_or_undated_statement_says_otherwise() {
        let at = |status: &str, time: &str| statement(status, &format!(r#","timestamp":"{time}T00:00:00Z""#));
        for (statements, expected) in [
            (vec![at("affected", "2026-11-01"), at("not_affected", "2026-11-02")], true),
            (vec![at("not_affected", "2026-11-01"), at("affected", "2026-11-02")], false),
            (vec![at("not_affected", "2026-11-01"), at("under_investigation", "2026-11-02")], false),
            (vec![at("not_affected", "2026-11-01"), at("affected", "2026-11-01")], false),
            (vec![at("affected", "2026-11-01"), at("not_affected", "2026-12-01")], false),
            (vec![at("not_affected", "2026-12-01")], false),
            (vec![at("not_affected", "2026-11-01"), at("affected", "2026-12-01")], false),
        ] {
            assert_eq!(harmless(&document(&statements)), expected, "{statements:?}");
        }
        let undated = |list: &[String]| document(list).replace(r#""timestamp":"2026-11-01T00:00:00Z","#, "");
        assert!(!harmless(&undated(&[statement("not_affected", "")])));
        assert!(!harmless(&undated(&[at("not_affected", "2026-11-02"), statement("affected", "")])));
    }

    #[test]
    fn must_not_read_words_that_openvex_does_not_have() {
        for bad in [
            "{}",
            r#"{"statements":[{"vulnerability":"x"}]}"#,
            r#"{"statements":[{"vulnerability":{},"status":"fixed"}]}"#,
            r#"{"statements":[{"vulnerability":"x","status":"harmless"}]}"#,
        ] {
            assert!(facts("https://openvex.dev/ns", format!(r#"{{"predicate":{bad}}}"#).as_bytes()).is_err(), "{bad}");
        }
    }
}
