//! What a text in a certificate must be: exactly this, or of this form. Always the whole of it.

use std::fmt;

use crate::trust::glob::{Glob, Grammar, Overlap, common_name};

/// Most bytes of a pattern or of an exact text. Real subjects have some hundred; GitHub's refs may have 255.
const MAX_BYTES: usize = 1024;
/// Most bytes of a compiled regular expression: real ones need a few kilobytes.
const MAX_EXPRESSION_BYTES: usize = 1024 * 1024;
/// What telling two patterns apart may cost, in steps of [`common_name`].
const MAX_STEPS: usize = 50 * 20_000;
/// Most alternatives of an expression that are told apart.
const MAX_ENDS: usize = 64;

/// What a text must be.
#[derive(Debug, Clone)]
pub struct TextPattern {
    text: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Exact,
    /// `*` is anything within a segment, `**` anything at all.
    Glob(Glob),
    /// Matches whole texts only. Its ends are what every text that matches begins and ends with.
    Expression {
        regex: regex::Regex,
        ends: Vec<Ends>,
    },
}

/// What every text of a form begins and ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) prefix: String,
    pub(super) suffix: String,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternProblem {
    /// What is wrong, as a sentence without its full stop.
    pub message: String,
    /// The better one.
    pub hint: String,
}

impl PatternProblem {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        let is_expression = |form: &Form| matches!(form, Form::Expression { .. });
        self.text == other.text && is_expression(&self.form) == is_expression(&other.form)
    }
}

impl Eq for TextPattern {}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TextPattern {
    /// Exactly this text, whatever characters it has.
    ///
    /// # Errors
    /// [`PatternProblem`] when it is empty, too long, or has characters that no certificate has.
    pub fn exact(text: &str) -> Result<Self, PatternProblem> {
        let allowed = !text.is_empty() && text.len() <= MAX_BYTES && !text.chars().any(char::is_control);
        if allowed {
            return Ok(Self { text: text.to_owned(), form: Form::Exact });
        }
        let message = format!("this is not 1 to {MAX_BYTES} bytes of plain text");
        Err(PatternProblem::new(message, "write the identity as `hallmark inspect` shows it"))
    }

    /// A text, with `*` for anything but `/`, and `**` for anything.
    ///
    /// # Errors
    /// As for [`TextPattern::exact`].
    pub fn glob(text: &str) -> Result<Self, PatternProblem> {
        let exact = Self::exact(text)?;
        match text.contains('*') {
            true => Ok(Self { form: Form::Glob(Glob::new(text)), ..exact }),
            false => Ok(exact),
        }
    }

    /// A regular expression for the whole text: it is anchored at both ends whether it says so or not.
    ///
    /// # Errors
    /// As for [`TextPattern::exact`], and when it is no regular expression.
    pub fn expression(text: &str) -> Result<Self, PatternProblem> {
        let exact = Self::exact(text)?;
        let problem = |error: String| {
            let error = error.lines().last().unwrap_or_default().trim().to_owned();
            let hint = "write it in RE2's syntax, such as `https://github\\.com/acme/app/.*`";
            PatternProblem::new(format!("this is not a regular expression: {error}"), hint)
        };
        let regex = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_EXPRESSION_BYTES).build();
        let regex = regex.map_err(|error| problem(error.to_string()))?;
        // By itself it must be one too: `a)|(?:b` would lie outside of the anchors.
        let parsed = regex_syntax::parse(text).map_err(|error| problem(error.to_string()))?;
        Ok(Self { form: Form::Expression { regex, ends: ends_of(&parsed) }, ..exact })
    }

    /// Whether a whole text is as it must be. Linear in its length, whatever the pattern.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.form {
            Form::Exact => self.text == text,
            Form::Glob(glob) => glob.matches(text),
            Form::Expression { regex, .. } => regex.is_match(text),
        }
    }

    /// Whether it is one text and no other.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.form, Form::Exact)
    }

    /// What is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the texts that match begin and end with: one pair for each alternative.
    pub(super) fn ends(&self) -> Vec<Ends> {
        match &self.form {
            Form::Exact => vec![Ends { prefix: self.text.clone(), suffix: self.text.clone() }],
            Form::Glob(glob) => vec![Ends { prefix: glob.literal_prefix(), suffix: glob.literal_suffix() }],
            Form::Expression { ends, .. } => ends.clone(),
        }
    }

    /// Whether some text matches both. Expressions, which stand in no document, are taken to.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Exact, _) => other.matches(&self.text),
            (_, Form::Exact) => self.matches(&other.text),
            (Form::Glob(one), Form::Glob(two)) => {
                !matches!(common_name(one, two, Grammar::Text, &mut MAX_STEPS.clone()), Overlap::None)
            }
            _ => true,
        }
    }
}

/// The literal ends of an expression. Where they cannot be told they are empty, which no check takes for bounded.
fn ends_of(expression: &regex_syntax::hir::Hir) -> Vec<Ends> {
    use regex_syntax::hir::literal::{ExtractKind, Extractor};
    let literals = |kind: ExtractKind| -> Vec<String> {
        let mut extractor = Extractor::new();
        extractor.kind(kind).limit_total(MAX_ENDS).limit_literal_len(MAX_BYTES).limit_repeat(0);
        let found = extractor.extract(expression);
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap_or_default().to_owned();
        match found.literals() {
            Some(found) if !found.is_empty() => found.iter().map(|literal| text(literal.as_bytes())).collect(),
            _ => vec![String::new()],
        }
    };
    let (prefixes, suffixes) = (literals(ExtractKind::Prefix), literals(ExtractKind::Suffix));
    // Which prefix goes with which suffix is not known, so that every pair must do.
    let pair = |prefix: &String| {
        let prefix = prefix.clone();
        suffixes.iter().map(move |suffix| Ends { prefix: prefix.clone(), suffix: suffix.clone() })
    };
    prefixes.iter().flat_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> Vec<(String, String)> {
        TextPattern::expression(text).unwrap().ends().into_iter().map(|ends| (ends.prefix, ends.suffix)).collect()
    }

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        let glob = TextPattern::glob("https://github.com/acme/*/x@refs/tags/*").unwrap();
        assert!(glob.matches("https://github.com/acme/app/x@refs/tags/v1"));
        for other in [
            "https://github.com/acme/app/x@refs/tags/v1/2",
            "https://github.com/acme/a/b/x@refs/tags/v1",
            "xhttps://github.com/acme/app/x@refs/tags/v1",
            "https://github.com/acme/app/x@refs/tags/v1\n/",
        ] {
            assert!(!glob.matches(other), "{other}");
        }
        for text in
            ["https://a\\.example/.*", "^https://a\\.example/.*$", "https://a\\.example/x|https://a\\.example/y"]
        {
            let expression = TextPattern::expression(text).unwrap();
            assert!(expression.matches("https://a.example/x"), "{text}");
            assert!(!expression.matches("https://evil.example/https://a.example/x"), "{text}");
            assert!(!expression.matches("https://a.example/x\nhttps://evil.example/"), "{text}");
        }
        let exact = TextPattern::exact("a*b").unwrap();
        assert!(exact.matches("a*b") && !exact.matches("axb"));
    }

    #[test]
    fn the_ends_of_an_expression_are_those_of_every_text_that_matches() {
        let one = |prefix: &str, suffix: &str| vec![(prefix.to_owned(), suffix.to_owned())];
        assert_eq!(ends("^https://github\\.com/acme/.*$"), one("https://github.com/acme/", ""));
        assert_eq!(ends("https://github.com/.*"), one("https://github", ""), "a dot is any character");
        assert_eq!(ends(".*@example\\.com"), one("", "@example.com"));
        assert_eq!(ends(".*"), one("", ""));
        assert_eq!(ends("(?i)https://a/.*").len().min(2), 2, "each spelling is an alternative");
        let two = ends("https://a/.*|.*");
        assert!(two.iter().any(|(prefix, _)| prefix.is_empty()), "{two:?}");
    }

    #[test]
    fn must_not_take_what_is_no_pattern() {
        for bad in ["", "a\u{0}b", &"x".repeat(MAX_BYTES + 1)] {
            assert!(TextPattern::glob(bad).is_err() && TextPattern::expression(bad).is_err());
        }
        assert!(TextPattern::glob(&"x".repeat(MAX_BYTES)).is_ok());
        for bad in ["(", "a)|(?:b", "[", "(?=x)", "x{1000}{1000}{1000}"] {
            assert!(TextPattern::expression(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_patterns_meet_where_one_text_follows_both() {
        let meets = |one: &str, two: &str| {
            let (one, two) = (TextPattern::glob(one).unwrap(), TextPattern::glob(two).unwrap());
            assert_eq!(one.meets(&two), two.meets(&one));
            one.meets(&two)
        };
        assert!(meets("a/b", "a/b") && meets("a/*", "a/b") && meets("a/**", "a/b/c") && meets("a/*c", "a/b*"));
        assert!(meets("https://X/*@refs/tags/v1", "https://X/y@refs/tags/*"));
        assert!(!meets("a/b", "a/c") && !meets("a/*", "a/b/c") && !meets("a/*b", "a/*c") && !meets("A/*", "a/*"));
    }
}
