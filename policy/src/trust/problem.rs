//! What can be wrong with a trust policy, and where.

use std::fmt;

use crate::limits;

/// Most errors that one load reports: enough to mend a file in one go, few enough to read.
pub(super) const MAX_REPORTED: usize = 100;

/// The kind of an error in a policy: stable and machine-readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// Two rules cover the same image and neither is more specific.
    AmbiguousRules,
    /// The same name, key, pattern or image stands where it may stand only once.
    Duplicate,
    /// A list that must have elements has none.
    Empty,
    /// Dates that exclude each other.
    ImpossibleWindow,
    /// A value of the right type that does not follow its grammar.
    InvalidValue,
    /// A key that is not a public key of an accepted kind, or whose file could not be read.
    KeyUnusable,
    /// More text, nesting or elements than are looked at.
    LimitExceeded,
    /// A field that must be written is not there.
    MissingField,
    /// An exception that waives what may never be waived.
    NotWaivable,
    /// The text is not one YAML or JSON document.
    Syntax,
    /// A field that the schema does not have.
    UnknownField,
    /// A name or word that means nothing here.
    UnknownName,
    /// A requirement that no set of signatures can meet, or that is met too easily.
    Unsatisfiable,
    /// A public key that others could forge signatures of.
    WeakKey,
    /// A value of another type than the schema says.
    WrongType,
}

impl Problem {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::AmbiguousRules,
        Self::Duplicate,
        Self::Empty,
        Self::ImpossibleWindow,
        Self::InvalidValue,
        Self::KeyUnusable,
        Self::LimitExceeded,
        Self::MissingField,
        Self::NotWaivable,
        Self::Syntax,
        Self::UnknownField,
        Self::UnknownName,
        Self::Unsatisfiable,
        Self::WeakKey,
        Self::WrongType,
    ];

    /// The kebab-case name that the interfaces show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AmbiguousRules => "ambiguous-rules",
            Self::Duplicate => "duplicate",
            Self::Empty => "empty",
            Self::ImpossibleWindow => "impossible-window",
            Self::InvalidValue => "invalid-value",
            Self::KeyUnusable => "key-unusable",
            Self::LimitExceeded => "limit-exceeded",
            Self::MissingField => "missing-field",
            Self::NotWaivable => "not-waivable",
            Self::Syntax => "syntax",
            Self::UnknownField => "unknown-field",
            Self::UnknownName => "unknown-name",
            Self::Unsatisfiable => "unsatisfiable",
            Self::WeakKey => "weak-key",
            Self::WrongType => "wrong-type",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in the text of a document. Lines and columns count from 1, columns in characters; 0 means "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{}:{}: {}{message}", .position.line, .position.column, At(.path))]
pub struct PolicyError {
    /// Where the text came from: a file name, or the name of a Kubernetes object.
    pub origin: String,
    /// Where in the text.
    pub position: Position,
    /// Which field, as `spec.rules[0].images[1]`; empty when the text does not parse that far.
    pub path: String,
    /// What is wrong, in one sentence without full stop.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The kind of the error.
    pub code: Problem,
}

struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// Everything that is wrong with a policy, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    /// One error.
    #[must_use]
    pub fn one(error: PolicyError) -> Self {
        Self(vec![error])
    }

    /// The errors; `None` when there are none. Sorted by place, and cut after the first hundred.
    pub(super) fn collect(mut errors: Vec<PolicyError>) -> Option<Self> {
        if errors.is_empty() {
            return None;
        }
        errors.sort_by(|a, b| a.position.cmp(&b.position).then_with(|| a.path.cmp(&b.path)));
        errors.truncate(MAX_REPORTED);
        Some(Self(errors))
    }

    /// The errors, at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[PolicyError] {
        &self.0
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}\n  hint: {}", error.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// Text of the document, cut to a length that a message can repeat, with nothing in it that moves a cursor.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(limits::MAX_QUOTED_CHARS).flat_map(char::escape_debug).collect()
}

/// The candidate that is most like `text`, when one is near enough to be what was meant.
pub(super) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: String = text.chars().take(64).collect::<String>().to_lowercase();
    let near = |candidate: &&str| {
        let distance = edit_distance(&text, &candidate.to_lowercase());
        (distance <= 1 + candidate.len() / 4).then_some(distance)
    };
    candidates.into_iter().filter_map(|c| near(&c).map(|d| (d, c))).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((y, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(i + 1);
            let changed = diagonal + usize::from(x != *y);
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["enforce", "warn", "audit"];
        assert_eq!(nearest("enforc", words), Some("enforce"));
        assert_eq!(nearest("Enforce", words), Some("enforce"));
        assert_eq!(nearest("wran", words), Some("warn"));
        assert_eq!(nearest("deny", words), None);
        assert_eq!(nearest("", words), None);
    }
}
