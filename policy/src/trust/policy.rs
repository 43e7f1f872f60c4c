//! What a trust policy document means: the checked form that verdicts are made from.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};

use super::compile;
use super::gate::Gate;
use super::index::RuleIndex;
use super::keyless::{EvidenceDemands, KnownRoots, TrustedIdentity};
use super::mirror::Mirrors;
use super::problem::{PolicyErrors, Position};
use super::read::Document;
use super::root::{Authority, KeyWindow, TimestampAuthority, TrustedKey};
use super::scope::{ImagePattern, NamespacePattern};
use crate::image::{Digest, PinnedImage, Platforms, Repository};
use crate::reason::Code;
use crate::verify::{KeyId, PublicKey};

/// One document, checked: nothing in it contradicts itself, and every name in it means something.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    /// `metadata.name`.
    pub name: String,
    /// Names the text and every key file that was loaded for it: a changed key file is another policy.
    ///
    /// The SHA-256 of the text; where key files were loaded, of the text followed by, for each of them in the order of
    /// the text, a NUL, its path, a NUL and its SHA-256 in hex; and where it names trust roots that it does not carry, for
    /// each of them in the order of first use, two NULs, its name, a NUL and its SHA-256. No text that loads holds a NUL.
    pub digest: Digest,
    /// The authorities, in the order of the text.
    pub authorities: Vec<Authority>,
    /// Whose word about time is believed, in the order of the text.
    pub timestamp_authorities: Vec<TimestampAuthority>,
    /// The rules, in the order of the text.
    pub rules: Vec<Rule>,
    /// The exceptions, in the order of the text.
    pub exceptions: Vec<Exception>,
    /// Which repositories are copies of which others.
    pub mirrors: Mirrors,
    /// What becomes of an image that no rule covers.
    pub default: DefaultDecision,
    pub(super) keys: HashMap<KeyId, (AuthorityIndex, usize)>,
    pub(super) excepted: HashMap<PinnedImage, usize>,
    pub(super) index: RuleIndex,
}

/// An authority's place in [`TrustPolicy::authorities`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityIndex(pub(super) usize);

/// Who must have signed a set of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique in its document.
    pub name: String,
    /// The images that it covers; at least one pattern.
    pub images: Vec<ImagePattern>,
    /// The namespaces that it covers; `None` covers every one, and requests without any.
    pub namespaces: Option<Vec<NamespacePattern>>,
    /// What becomes of an image that does not meet it.
    pub mode: Mode,
    /// Who must have signed; nobody where what is attested suffices, and then there is a demand on that.
    pub require: Option<Requirement>,
    /// What must be attested of each manifest that counts, beside that.
    pub attestations: Vec<Gate>,
    /// Whether the name inside what was signed must be the name that was asked for.
    pub reference: ReferenceBinding,
    /// Which manifests of an image must be covered.
    pub platforms: Platforms,
    /// Whether a covered index covers its children.
    pub signed_parent: SignedParent,
    /// Whether an image may be asked for by tag.
    pub tags: TagPolicy,
    /// What to do when the evidence could not be gathered.
    pub on_undetermined: OnUndetermined,
    /// Where it is written.
    pub position: Position,
}

/// What becomes of an image that is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It is admitted, and recorded.
    Audit,
    /// It is not admitted.
    Enforce,
    /// It is admitted with a warning.
    Warn,
}

impl Mode {
    /// `enforce`, `warn` or `audit`, as the policy spells them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

/// A set of authorities that must have signed. Never empty, and always satisfiable by its authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Every element must be met.
    All(Vec<Requirement>),
    /// At least one element must be met.
    Any(Vec<Requirement>),
    /// This authority must have signed.
    Authority(AuthorityIndex),
    /// At least `count` elements must be met; no two elements share an authority.
    Threshold {
        /// How many; at most as many as there are elements.
        count: NonZeroUsize,
        /// The elements.
        of: Vec<Requirement>,
    },
}

/// Whether the name inside what was signed must be the name that was asked for, with mirrors mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferenceBinding {
    /// Any name, or none.
    Any,
    /// The same repository, and the same tag where one was asked for.
    Exact,
    /// The same repository.
    Repository,
}

impl ReferenceBinding {
    /// `any`, `repository` or `exact`, as the policy spells them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Exact => "exact",
            Self::Repository => "repository",
        }
    }
}

/// Whether an index that is covered covers its children, which it names by their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignedParent {
    /// It does.
    Accept,
    /// It does not: each manifest must be covered itself.
    Ignore,
}

/// Whether an image may be asked for by tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagPolicy {
    /// Digests only.
    Deny,
    /// The tag is resolved to a digest once, and the verdict is about that digest.
    Resolve,
}

/// What to do when the evidence could not be gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUndetermined {
    /// The verdict is undetermined, and the image is not admitted.
    Deny,
    /// Evidence that was gathered earlier may be used, for references with a digest only.
    UseHeldEvidence {
        /// Its greatest age.
        max_age: SignedDuration,
    },
}

/// What becomes of an image that no rule covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultDecision {
    /// It is allowed, unless another document says otherwise.
    Allow,
    /// It is denied.
    Deny,
}

/// One image that may be used although some checks fail, until a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The image.
    pub image: PinnedImage,
    /// What is waived; at least one code, and only codes of [`WAIVABLE`].
    pub waives: Vec<Code>,
    /// Who answers for it.
    pub owner: String,
    /// Why it exists.
    pub reason: String,
    /// From here on it does not exist.
    pub expires: Timestamp,
    /// Where it is written.
    pub position: Position,
}

/// The reasons that an exception may waive: absences, dates, and vulnerabilities that somebody answers for. A contradiction (another image's signature, a forged
/// one, a compromised key) and anything that could not be looked at are never waived.
pub const WAIVABLE: &[Code] = &[
    Code::AttestationMissing,
    Code::AttestationTooOld,
    Code::IdentityMismatch,
    Code::KeyExpired,
    Code::KeyNotYetValid,
    Code::PlatformNotCovered,
    Code::ReferenceMissing,
    Code::SignatureExpired,
    Code::ThresholdNotMet,
    Code::TimestampMissing,
    Code::Unsigned,
    Code::UntrustedKey,
    Code::VulnerabilitiesFound,
];

impl TrustPolicy {
    /// Checks a document and loads the keys that it names: `files` is asked for the bytes of each `file:` as written.
    ///
    /// # Errors
    /// [`PolicyErrors`] with everything that is wrong, each with its line and column.
    pub fn compile(
        document: &Document,
        files: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, PolicyErrors> {
        Self::compile_with(document, &KnownRoots::embedded(), files)
    }

    /// The same, with the trust roots that `known` has for the names that documents may use without carrying them.
    ///
    /// # Errors
    /// As for [`TrustPolicy::compile`].
    pub fn compile_with(
        document: &Document,
        known: &KnownRoots,
        files: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, PolicyErrors> {
        compile::compile(document, known, files)
    }

    /// The trusted key with this id and the authority that it speaks for.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<(AuthorityIndex, &TrustedKey)> {
        let (authority, position) = self.keys.get(id)?;
        Some((*authority, self.authorities.get(authority.0)?.keys.get(*position)?))
    }

    /// The authority at a place that this policy gave out.
    #[must_use]
    pub fn authority(&self, index: AuthorityIndex) -> Option<&Authority> {
        self.authorities.get(index.0)
    }

    /// The exception for exactly this image, expired or not.
    #[must_use]
    pub fn exception(&self, image: &PinnedImage) -> Option<&Exception> {
        self.exceptions.get(*self.excepted.get(image)?)
    }

    /// The names under which a repository may have been signed: its own, and that of the source that it mirrors.
    #[must_use]
    pub fn names_of(&self, repository: &Repository) -> Vec<Repository> {
        self.mirrors.names_of(repository)
    }

    /// A policy in which any of these keys speaks for the one authority `key`, for any image.
    pub(super) fn for_keys(keys: Vec<PublicKey>) -> Self {
        let mut text = String::new();
        let mut trusted = Vec::new();
        let mut places = HashMap::new();
        for key in keys {
            if let std::collections::hash_map::Entry::Vacant(place) = places.entry(key.id()) {
                place.insert((AuthorityIndex(0), trusted.len()));
                text.push_str(&key.to_pem());
                trusted.push(TrustedKey { key, window: KeyWindow::UNBOUNDED });
            }
        }
        let authority = Authority {
            name: COMMAND_LINE_AUTHORITY.to_owned(),
            keys: trusted,
            identities: Vec::new(),
            evidence: EvidenceDemands::NOBODY,
        };
        Self { keys: places, ..Self::for_authority(&text, authority) }
    }

    /// A policy in which any of these identities speaks for the one authority `identity`, for any image.
    pub(super) fn for_identities(identities: Vec<TrustedIdentity>, evidence: EvidenceDemands) -> Self {
        let lines = identities.iter().map(|identity| format!("{identity} {}\n", identity.root.root.digest()));
        let text: String = lines.collect();
        let name = COMMAND_LINE_IDENTITY.to_owned();
        Self::for_authority(&text, Authority { name, keys: Vec::new(), identities, evidence })
    }

    /// A policy in which any of these keys or of these identities suffices, for any image.
    pub(super) fn for_anybody(
        keys: Vec<PublicKey>,
        identities: Vec<TrustedIdentity>,
        evidence: EvidenceDemands,
    ) -> Self {
        let (by_key, by_identity) = (Self::for_keys(keys), Self::for_identities(identities, evidence));
        let text = format!("{} {}", by_key.digest, by_identity.digest);
        let either = [AuthorityIndex(0), AuthorityIndex(1)].map(Requirement::Authority).to_vec();
        let rule = |rule: Rule| Rule { require: Some(Requirement::Any(either.clone())), ..rule };
        let rules = by_key.rules.into_iter().map(rule).collect();
        let authorities = by_key.authorities.into_iter().chain(by_identity.authorities).collect();
        Self { digest: Digest::of(text.as_bytes()), authorities, rules, ..by_key }
    }

    /// A policy that asks for this one authority, for any image.
    fn for_authority(text: &str, authority: Authority) -> Self {
        let rule = Rule {
            name: COMMAND_LINE_RULE.to_owned(),
            images: Vec::new(),
            namespaces: None,
            mode: Mode::Enforce,
            require: Some(Requirement::Authority(AuthorityIndex(0))),
            attestations: Vec::new(),
            reference: ReferenceBinding::Any,
            platforms: Platforms::Requested,
            signed_parent: SignedParent::Ignore,
            tags: TagPolicy::Resolve,
            on_undetermined: OnUndetermined::Deny,
            position: Position::default(),
        };
        Self {
            name: COMMAND_LINE.to_owned(),
            digest: Digest::of(text.as_bytes()),
            authorities: vec![authority],
            timestamp_authorities: Vec::new(),
            rules: vec![rule],
            exceptions: Vec::new(),
            mirrors: Mirrors::default(),
            default: DefaultDecision::Deny,
            keys: HashMap::new(),
            excepted: HashMap::new(),
            index: RuleIndex::everything(),
        }
    }
}

/// The name of the document that `--key` stands for.
pub(super) const COMMAND_LINE: &str = "command-line";
/// The name of its one rule.
const COMMAND_LINE_RULE: &str = "any-image";
/// The name of its one authority.
const COMMAND_LINE_AUTHORITY: &str = "key";
/// The name of its one authority where certificates are asked for.
const COMMAND_LINE_IDENTITY: &str = "identity";

impl Rule {
    /// Every authority that it names, for signatures or for attestations, each once.
    #[must_use]
    pub fn authorities(&self) -> Vec<AuthorityIndex> {
        let mut found = self.signers();
        for authority in self.attestations.iter().flat_map(Gate::authorities) {
            if !found.contains(&authority) {
                found.push(authority);
            }
        }
        found
    }

    /// Every authority that it names for signatures.
    #[must_use]
    pub fn signers(&self) -> Vec<AuthorityIndex> {
        self.require.as_ref().map(Requirement::authorities).unwrap_or_default()
    }

    /// Whether the rule covers this namespace; a rule without namespaces covers every one.
    #[must_use]
    pub fn covers_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(namespace)))
    }
}

impl Requirement {
    /// Every authority that is named, in order of appearance, each once.
    #[must_use]
    pub fn authorities(&self) -> Vec<AuthorityIndex> {
        let mut found = Vec::new();
        self.gather_authorities(&mut found);
        found
    }

    fn gather_authorities(&self, found: &mut Vec<AuthorityIndex>) {
        match self {
            Self::Authority(index) => {
                if !found.contains(index) {
                    found.push(*index);
                }
            }
            Self::All(of) | Self::Any(of) | Self::Threshold { of, .. } => {
                of.iter().for_each(|element| element.gather_authorities(found));
            }
        }
    }

    /// Whether these authorities are enough. A pure, monotone function: more authorities never make it false.
    #[must_use]
    pub fn is_met_by(&self, signed: &dyn Fn(AuthorityIndex) -> bool) -> bool {
        match self {
            Self::All(of) => of.iter().all(|element| element.is_met_by(signed)),
            Self::Any(of) => of.iter().any(|element| element.is_met_by(signed)),
            Self::Authority(index) => signed(*index),
            Self::Threshold { count, of } => {
                of.iter().filter(|element| element.is_met_by(signed)).count() >= count.get()
            }
        }
    }
}
