//! Types of predicates: a URI, or one of the words that cosign's users know.

use std::fmt;
use std::str::FromStr;

use super::Kind;
use crate::signature::SIGNATURE_PREDICATE_TYPE;

/// Longest type that is written or asked for.
const MAX_BYTES: usize = 512;

/// The words for common types (cosign, `attest --type`). Each stands for exactly one URI.
const WORDS: [(&str, &str); 10] = [
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("link", "https://in-toto.io/Link/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
];

/// The type of a predicate: types are compared byte for byte, and no two URIs are the same type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PredicateType(String);

/// Why a text is no type of a predicate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredicateTypeError {
    /// It is the type of a plain signature.
    #[error("`{SIGNATURE_PREDICATE_TYPE}` is a plain signature, not an attestation")]
    Signature,
    /// It is neither a word that is known nor a URI.
    #[error("`{text}` is neither a URI nor one of {}", words())]
    Unknown {
        /// The text, cut short.
        text: String,
    },
}

impl PredicateType {
    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PredicateType {
    /// Whether an attestation of it may be larger than a signature: not where all of the predicate is held while it is read,
    /// and where no real one is.
    #[must_use]
    pub fn may_be_large(&self) -> bool {
        self.kind().is_none_or(Kind::may_be_large)
    }

    /// What policies can ask of it, beside that it is there.
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::of(&self.0)
    }
}

/// Which attestations are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Those of a kind, whatever the version in their type: whoever speaks under another one is heard as well.
    Kind(Kind),
    /// Those of one of these types.
    Types(&'a [PredicateType]),
}

impl Wanted<'_> {
    pub(crate) fn includes(self, predicate_type: &str) -> bool {
        match self {
            Self::Kind(kind) => Kind::of(predicate_type) == Some(kind),
            Self::Types(types) => types.iter().any(|wanted| wanted.as_str() == predicate_type),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "{kind}"),
            Self::Types(types) => {
                let types: Vec<String> = types.iter().map(|wanted| format!("`{wanted}`")).collect();
                f.write_str(&types.join(" or "))
            }
        }
    }
}

impl FromStr for PredicateType {
    type Err = PredicateTypeError;

    fn from_str(text: &str) -> Result<Self, PredicateTypeError> {
        if let Some((_, uri)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(Self((*uri).to_owned()));
        }
        if text == SIGNATURE_PREDICATE_TYPE {
            return Err(PredicateTypeError::Signature);
        }
        let is_uri = text.len() <= MAX_BYTES
            && text.split_once(':').is_some_and(|(scheme, rest)| {
                !rest.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            })
            && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\<>^`{|}".contains(&b));
        match is_uri {
            true => Ok(Self(text.to_owned())),
            false => Err(PredicateTypeError::Unknown { text: text.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn words() -> String {
    let words: Vec<String> = WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_one_uri_and_uris_for_themselves() {
        for (text, uri) in [
            ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
            ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
            ("https://in-toto.io/attestation/vulns/v0.2", "https://in-toto.io/attestation/vulns/v0.2"),
            ("urn:x", "urn:x"),
        ] {
            assert_eq!(text.parse::<PredicateType>().unwrap().as_str(), uri);
        }
        for bad in
            ["", "VULN", "provenance", "x:", "https://a b", "https://x\n", "https://x\"", SIGNATURE_PREDICATE_TYPE]
        {
            assert!(bad.parse::<PredicateType>().is_err(), "{bad}");
        }
        assert!(format!("x:{}", "a".repeat(MAX_BYTES)).parse::<PredicateType>().is_err());
    }

    #[test]
    fn the_reference_page_names_every_word_with_its_type() {
        let page = include_str!("../../../docs/reference/attestations.md");
        for (word, uri) in WORDS {
            let is_row = |line: &str| line.contains(&format!("`{word}`")) && line.ends_with(&format!("| `{uri}` |"));
            assert!(page.lines().any(is_row), "{word} {uri}");
        }
    }
}
