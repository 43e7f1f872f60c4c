//! Several documents, loaded together: what verdicts are asked against.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::keyless::{EvidenceDemands, TrustedIdentity};
use super::policy::{DefaultDecision, Rule, TrustPolicy};
use crate::image::{Digest, ImageReference};
use crate::verify::PublicKey;

/// The documents in force, with unique names. At least one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrustSnapshot {
    documents: Arc<[TrustPolicy]>,
}

/// Why documents cannot be in force together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Two documents have one name, so a verdict could not say which it means.
    #[error("two trust policy documents are called `{name}`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// There is no document, and nothing may be trusted by accident.
    #[error("there is no trust policy document")]
    Empty,
}

impl SnapshotError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DuplicateName { .. } => "give each document its own `metadata.name`",
            Self::Empty => "write a document; `hallmark policy schema` shows its form",
        }
    }
}

/// What the documents say about one image in one namespace.
#[derive(Debug, Clone)]
pub enum Selection<'a> {
    /// No document covers it.
    Default {
        /// Whether every document allows what it does not cover.
        allow: bool,
        /// The documents that were asked: all of them.
        policies: Vec<&'a TrustPolicy>,
    },
    /// The rules that must all allow it: at least one of each document that covers it. Never empty.
    Rules(Vec<Applicable<'a>>),
}

/// A rule that decides, with its document.
#[derive(Debug, Clone, Copy)]
pub struct Applicable<'a> {
    /// The document.
    pub policy: &'a TrustPolicy,
    /// The rule.
    pub rule: &'a Rule,
}

impl TrustSnapshot {
    /// Puts documents in force together; their order is kept and has no meaning.
    ///
    /// # Errors
    /// [`SnapshotError`] when two have one name, or when there is none.
    pub fn new(documents: Vec<TrustPolicy>) -> Result<Self, SnapshotError> {
        if documents.is_empty() {
            return Err(SnapshotError::Empty);
        }
        let mut names = HashSet::new();
        for document in &documents {
            if !names.insert(document.name.as_str()) {
                return Err(SnapshotError::DuplicateName { name: document.name.clone() });
            }
        }
        Ok(Self { documents: documents.into() })
    }

    /// What `verify --key` means: one document `command-line` whose one rule covers every image and asks for the one
    /// authority `key`, for which any of these keys speaks. Without keys nothing can meet it.
    #[must_use]
    pub fn for_keys(keys: Vec<PublicKey>) -> Self {
        Self { documents: Arc::new([TrustPolicy::for_keys(keys)]) }
    }

    /// What `verify --certificate-identity` means: the same document, whose one authority is `identity`, for which any of
    /// these identities speaks.
    #[must_use]
    pub fn for_identities(identities: Vec<TrustedIdentity>, evidence: EvidenceDemands) -> Self {
        Self { documents: Arc::new([TrustPolicy::for_identities(identities, evidence)]) }
    }

    /// Both in one document, in which any of the keys or of the identities suffices.
    #[must_use]
    pub fn for_anybody(keys: Vec<PublicKey>, identities: Vec<TrustedIdentity>, evidence: EvidenceDemands) -> Self {
        Self { documents: Arc::new([TrustPolicy::for_anybody(keys, identities, evidence)]) }
    }

    /// The documents in force.
    #[must_use]
    pub fn documents(&self) -> &[TrustPolicy] {
        &self.documents
    }

    /// Names and digests of the documents, as every verdict states them.
    pub fn digests(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.documents.iter().map(|document| (document.name.as_str(), document.digest))
    }

    /// The names of the trust roots that the documents' identities stand under, and of those whose logs vouch for keys, each
    /// once. A policy of keys alone has none.
    #[must_use]
    pub fn root_names(&self) -> BTreeSet<&str> {
        let authorities = self.documents.iter().flat_map(|document| &document.authorities);
        let roots = authorities.flat_map(|authority| {
            let of_identities = authority.identities.iter().map(|identity| &identity.root);
            of_identities.chain(&authority.evidence.log_root)
        });
        roots.map(|root| root.name.as_str()).collect()
    }

    /// The rules that decide about an image, without looking at anything but names.
    ///
    /// With a namespace, each document contributes its most specific rule. Without one, each contributes every rule
    /// that could decide for some namespace, so that leaving the namespace out never asks for less.
    #[must_use]
    pub fn select(&self, image: &ImageReference, namespace: Option<&str>) -> Selection<'_> {
        let mut rules = Vec::new();
        for policy in self.documents.iter() {
            let deciding = policy.index.deciding(&policy.rules, image.repository(), namespace);
            rules.extend(deciding.into_iter().map(|rule| Applicable { policy, rule }));
        }
        if !rules.is_empty() {
            return Selection::Rules(rules);
        }
        let allow = self.documents.iter().all(|policy| policy.default == DefaultDecision::Allow);
        Selection::Default { allow, policies: self.documents.iter().collect() }
    }
}
