//! What a rule demands of attestations, checked.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::policy::{AuthorityIndex, Requirement};
use super::problem::Position;
use crate::attestation::{PredicateType, Severity};

/// One demand of a rule: an attestation of a type, by somebody, that says what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Its name, unique in its rule.
    pub name: String,
    /// The types that will do; at least one.
    pub types: Vec<PredicateType>,
    /// Who must have attested it.
    pub from: Requirement,
    /// Which attestations of an authority count.
    pub which: Which,
    /// The greatest age.
    pub max_age: Option<SignedDuration>,
    /// Of provenance: the builders of which one must have built the image; empty for any.
    pub builders: Vec<UriPattern>,
    /// Of provenance: the sources of which one must be that of the image; empty for any.
    pub sources: Vec<UriPattern>,
    /// Of bills of materials: what they must be.
    pub sbom: Option<SbomDemand>,
    /// Of scans: how many vulnerabilities there may be.
    pub vulnerabilities: Option<VulnerabilityLimits>,
    /// Where it is written.
    pub position: Position,
}

/// Which attestations of an authority count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// Any that says what it must.
    Any,
    /// Only the newest.
    Newest,
}

/// How many vulnerabilities there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VulnerabilityLimits {
    /// Most of each severity; one that is not there is not limited.
    pub most: BTreeMap<Severity, usize>,
    /// Those without a better version do not count.
    pub fixable_only: bool,
    /// Ids that do not count, each until a date.
    pub allowed: BTreeMap<String, Timestamp>,
    /// Whose OpenVEX attestations are believed.
    pub vex: Vec<AuthorityIndex>,
}

/// What a bill of materials must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbomDemand {
    /// The formats of which it must have one, with or without version; empty for any.
    pub formats: Vec<String>,
    /// How many packages or components it must list.
    pub components: usize,
}

/// A URI in which `*` stands for any characters but `/`, and never for a part of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriPattern(String);

impl Gate {
    /// Every authority that it names, each once.
    #[must_use]
    pub fn authorities(&self) -> Vec<AuthorityIndex> {
        let mut found = self.from.authorities();
        let vex = self.vulnerabilities.iter().flat_map(|limits| &limits.vex);
        found.extend(vex.filter(|authority| !found.contains(authority)).copied().collect::<Vec<_>>());
        found
    }
}

impl UriPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A better way, where the pattern could match what somebody else controls.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let printable = !text.is_empty() && text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic());
        if !printable {
            return Err("write a URI in printable ASCII of at most 512 characters");
        }
        if text.contains("**") {
            return Err("write `*`: it stands for any characters but `/`");
        }
        let host_ends = match text.split_once("://") {
            Some((scheme, rest)) => rest.find('/').map_or(text.len(), |slash| scheme.len() + 3 + slash),
            None => text.find('/').unwrap_or(text.len()),
        };
        match text.find('*') {
            Some(star) if star <= host_ends => {
                Err("write scheme and host as they are: a `*` there matches anybody's host")
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// Whether it matches the whole text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(at) = rest.find(part) else { return false };
            let (skipped, found) = rest.split_at(at);
            if skipped.contains('/') {
                return false;
            }
            rest = found.get(part.len()..).unwrap_or_default();
        }
        rest.strip_suffix(last).is_some_and(|skipped| !skipped.contains('/'))
    }
}

impl std::fmt::Display for UriPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_from_start_to_end_and_never_across_a_slash() {
        let matches = |pattern: &str, text: &str| UriPattern::parse(pattern).unwrap().matches(text);
        for (pattern, text, expected) in [
            ("https://g.example/acme/app", "https://g.example/acme/app", true),
            ("https://g.example/acme/app", "https://g.example/acme/app2", false),
            ("https://g.example/acme/*", "https://g.example/acme/app", true),
            ("https://g.example/acme/*", "https://g.example/acme/app/x", false),
            ("https://g.example/acme/*", "https://g.example/evil/acme/app", false),
            ("https://g.example/a/*/x.yml@refs/tags/v*", "https://g.example/a/b/x.yml@refs/tags/v1", true),
            ("https://g.example/a/*/x.yml@refs/tags/v*", "https://g.example/a/b/c/x.yml@refs/tags/v1", false),
            ("https://g.example/a/*/x.yml@refs/tags/v*", "https://g.example/a/b/x.yml@refs/heads/v1", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        for bad in ["", "*", "https://*", "https://*.example/x", "https://g.example*/x", "https://g.example/**", "a b"]
        {
            assert!(UriPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
