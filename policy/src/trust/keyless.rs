//! Identities in certificates: who may speak for an authority, and under which trust root.

mod bounded;
mod pattern;

use std::fmt;
use std::sync::Arc;

pub use pattern::{PatternProblem, TextPattern};

use crate::sigstore::{Demands, Identity, LogProof, SubjectKind, TrustedRoot};

/// How far the clock of a log or of a timestamp authority may be ahead of ours: an entry that was made a moment ago is
/// looked at at once. Machines that keep time by NTP differ by far less.
pub const CLOCK_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// A trust root with the name by which a document calls it.
#[derive(Debug, Clone)]
pub struct NamedRoot {
    /// Its name.
    pub name: String,
    /// Whom it says to believe.
    pub root: TrustedRoot,
}

impl PartialEq for NamedRoot {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.root.digest()) == (&other.name, other.root.digest())
    }
}

impl Eq for NamedRoot {}

/// The trust roots that a document may name without carrying them: `public-good`, `staging` and `github`.
///
/// Those that were built in are read when a document names them, and not before: a document of keys costs nothing.
#[derive(Debug, Clone, Default)]
pub struct KnownRoots {
    newer: Vec<Arc<NamedRoot>>,
}

impl KnownRoots {
    /// GitHub's own instance: no other root may be called so.
    pub const GITHUB: &'static str = "github";
    /// The names, each with where what was built in is.
    const EMBEDDED: [(&'static str, Embedded); 3] = [
        ("public-good", TrustedRoot::public_good),
        ("staging", TrustedRoot::staging),
        (Self::GITHUB, TrustedRoot::github),
    ];

    /// The roots that were built in.
    #[must_use]
    pub fn embedded() -> Self {
        Self::default()
    }

    /// The same, with a newer root of a name in place of what was built in.
    #[must_use]
    pub fn with(mut self, name: &str, root: TrustedRoot) -> Self {
        self.newer.retain(|known| known.name != name);
        self.newer.push(Arc::new(NamedRoot { name: name.to_owned(), root }));
        self
    }

    /// The names that are known.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::EMBEDDED.into_iter().map(|(name, _)| name)
    }

    /// The root of a name, or why it cannot be read; nothing when the name is not known.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Result<Arc<NamedRoot>, String>> {
        let (_, embedded) = Self::EMBEDDED.into_iter().find(|(known, _)| *known == name)?;
        if let Some(newer) = self.newer.iter().find(|newer| newer.name == name) {
            return Some(Ok(Arc::clone(newer)));
        }
        let root = embedded().map_err(|error| error.problem);
        Some(root.map(|root| Arc::new(NamedRoot { name: name.to_owned(), root })))
    }
}

type Embedded = fn() -> Result<TrustedRoot, crate::sigstore::TrustedRootError>;

/// Who may sign: an issuer's word about a subject, in a certificate of an authority of one trust root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedIdentity {
    /// Who vouched for the subject to the certificate authority.
    pub issuer: TextPattern,
    /// The kind of the subject: others of the same certificate are not looked at.
    pub kind: SubjectKind,
    /// The subject.
    pub subject: TextPattern,
    /// What the certificate must say besides, by name, each of a kind that Fulcio knows.
    pub claims: Vec<(&'static str, TextPattern)>,
    /// Whom to believe.
    pub root: Arc<NamedRoot>,
}

impl TrustedIdentity {
    /// The subject of a certificate that is about it.
    ///
    /// # Errors
    /// What is different, as a sentence.
    pub fn check<'a>(&self, found: &'a Identity) -> Result<&'a str, String> {
        let quoted = crate::verify::quoted;
        let issuer = found.issuer().unwrap_or("nobody");
        if !found.issuer().is_some_and(|issuer| self.issuer.matches(issuer)) {
            return Err(format!("the certificate's issuer is `{}`, not `{}`", quoted(issuer), self.issuer));
        }
        let of_kind = || found.subjects().iter().filter(|(kind, _)| *kind == self.kind);
        let Some((_, subject)) = of_kind().find(|(_, subject)| self.subject.matches(subject)) else {
            let subjects = found.subjects().iter().map(|(_, subject)| format!("`{}`", quoted(subject)));
            let subjects: Vec<_> = subjects.collect();
            return Err(format!("the certificate is about {}, not about `{}`", subjects.join(", "), self.subject));
        };
        for (name, expected) in &self.claims {
            let claim = found.claims().get(name);
            if !claim.is_some_and(|claim| expected.matches(claim)) {
                let claim = claim.map_or("not there".to_owned(), |claim| format!("`{}`", quoted(claim)));
                return Err(format!("the certificate's claim `{name}` is {claim}, and must be `{expected}`"));
            }
        }
        Ok(subject)
    }

    /// Whether one certificate could be about both, so that one signature would speak for two authorities. Patterns that
    /// are too long to be told apart are taken for such that do.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let contradicts = |(name, expected): &(&'static str, TextPattern)| {
            other.claims.iter().any(|(other, pattern)| name == other && !expected.meets(pattern))
        };
        self.kind == other.kind
            && self.issuer.meets(&other.issuer)
            && self.subject.meets(&other.subject)
            && !self.claims.iter().any(contradicts)
    }
}

impl fmt::Display for TrustedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.subject, self.issuer)?;
        self.claims.iter().try_for_each(|(name, value)| write!(f, ", {name}: {value}"))
    }
}

/// Who must vouch for each signature of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceDemands {
    /// Distinct transparency logs.
    pub logs: usize,
    /// Distinct timestamp authorities.
    pub timestamps: usize,
    /// Distinct certificate logs; of certificates only.
    pub certificate_logs: usize,
    /// What a log must give.
    pub log_proof: LogProof,
    /// The trust root of the logs that vouch for signatures of keys. Identities name their own.
    pub log_root: Option<Arc<NamedRoot>>,
}

impl EvidenceDemands {
    /// Nobody: for keys, where nothing is written.
    pub const NOBODY: Self =
        Self { logs: 0, timestamps: 0, certificate_logs: 0, log_proof: LogProof::Promise, log_root: None };
    /// What the public-good instance gives with every certificate: one log, one certificate log.
    pub const PUBLIC_GOOD: Self = Self { logs: 1, certificate_logs: 1, ..Self::NOBODY };
    /// What GitHub's own instance gives with every certificate: one timestamp. It has no logs of either kind.
    pub const GITHUB: Self = Self { timestamps: 1, ..Self::NOBODY };

    /// The same for one signature.
    #[must_use]
    pub fn of_signature(&self) -> Demands {
        Demands {
            logs: self.logs,
            timestamps: self.timestamps,
            certificate_logs: self.certificate_logs,
            log_proof: self.log_proof,
            skew: CLOCK_SKEW,
        }
    }
}

/// The kind of subject that a text must be about, by its form.
#[must_use]
pub fn kind_of(subject: &str) -> SubjectKind {
    if subject.contains("://") {
        SubjectKind::Uri
    } else if subject.contains('!') {
        // Fulcio writes user names as `user!domain`.
        SubjectKind::UserName
    } else if subject.contains('@') {
        SubjectKind::Email
    } else {
        SubjectKind::Dns
    }
}

/// Reads the pattern of an issuer in a document.
///
/// # Errors
/// [`PatternProblem`] when it is none, or could be somebody else's.
pub fn issuer_pattern(text: &str) -> Result<TextPattern, PatternProblem> {
    let pattern = TextPattern::glob(text)?;
    bounded::check_issuer(&pattern).map(|()| pattern)
}

/// Reads the pattern of a subject in a document.
///
/// # Errors
/// As for [`issuer_pattern`].
pub fn subject_pattern(kind: SubjectKind, text: &str) -> Result<TextPattern, PatternProblem> {
    let pattern = TextPattern::glob(text)?;
    bounded::check_subject(kind, &pattern).map(|()| pattern)
}

/// Reads a regular expression for an issuer. It must match the whole of it.
///
/// # Errors
/// As for [`issuer_pattern`].
pub fn issuer_expression(text: &str) -> Result<TextPattern, PatternProblem> {
    let pattern = TextPattern::expression(text)?;
    bounded::check_issuer(&pattern).map(|()| pattern)
}

/// Reads a regular expression for a subject. It must match the whole of it.
///
/// # Errors
/// As for [`issuer_pattern`].
pub fn subject_expression(kind: SubjectKind, text: &str) -> Result<TextPattern, PatternProblem> {
    let pattern = TextPattern::expression(text)?;
    bounded::check_subject(kind, &pattern).map(|()| pattern)
}

pub(super) use bounded::is_wide;
