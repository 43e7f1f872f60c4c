//! Which images and namespaces a rule covers, and which of two patterns is the more specific one.

use std::fmt;

use super::glob::{Glob, Grammar, Overlap, Token, common_name};
use crate::image::Repository;

/// Longest repository name, host included (distribution `reference.NameTotalLengthMax`); a longer pattern could match
/// nothing that its literal characters do not already exceed.
const LONGEST_NAME: usize = 255;

/// The host whose normal form has no paths of one segment.
const DOCKER_HUB: &str = "docker.io";

/// A set of repositories: a literal host and a path with `*` (within a segment) and `**` (one or more segments).
/// Anchored at both ends; upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    host: String,
    path: String,
    glob: Glob,
    prefix: String,
    suffix: String,
    rank: Rank,
}

/// How specific a pattern is; the greater is the more specific one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Number of literal characters in host and path.
    pub literal: usize,
    /// What wildcards it has.
    pub kind: Kind,
}

/// The kinds of patterns, from the least specific to the most specific one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It has `**`.
    Across,
    /// It has `*` only.
    Within,
    /// It has no wildcard.
    Exact,
}

/// Why a text is not a pattern, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

fn error(message: impl Into<String>, hint: impl Into<String>) -> PatternError {
    PatternError { message: message.into(), hint: hint.into() }
}

impl ImagePattern {
    /// Reads a pattern and brings it into normal form, as references are: `nginx*` is `docker.io/library/nginx*`.
    ///
    /// # Errors
    /// [`PatternError`] when it is not a pattern, has a wildcard in its host, or could never match anything.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (host, path) = split(text)?;
        check_path(text, &path)?;
        let glob = Glob::new(&path);
        let longest = LONGEST_NAME.saturating_sub(host.len() + 1);
        let grammar = Grammar::Path { longest, two_segments: host == DOCKER_HUB };
        if !glob.is_possible(grammar) {
            return Err(error(
                format!("image pattern `{text}` can never match a repository"),
                "repository names are lower-case letters and digits, joined by single `.`, `_`, `__` or dashes, in \
                 segments between slashes",
            ));
        }
        let kind = if glob.has(Token::Across) {
            Kind::Across
        } else if glob.has(Token::Within) {
            Kind::Within
        } else {
            Kind::Exact
        };
        let rank = Rank { literal: host.len() + 1 + glob.literal_length(), kind };
        Ok(Self { prefix: glob.literal_prefix(), suffix: glob.literal_suffix(), host, path, glob, rank })
    }

    /// Whether the repository is in the set.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        self.host == repository.host() && self.matches_path(repository.path())
    }

    fn matches_path(&self, path: &str) -> bool {
        match self.rank.kind {
            Kind::Exact => self.path == path,
            Kind::Across | Kind::Within => {
                path.starts_with(&self.prefix) && path.ends_with(&self.suffix) && self.glob.matches(path)
            }
        }
    }

    /// The literal host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path with its wildcards.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How specific the pattern is.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The path's characters before its first wildcard.
    pub(super) fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// The path's characters after its last wildcard; the whole path when it has none.
    pub(super) fn literal_suffix(&self) -> &str {
        &self.suffix
    }

    /// The shortest repository that both patterns match.
    pub(super) fn overlap(&self, other: &Self, budget: &mut usize) -> Overlap {
        let compatible = |a: &str, b: &str, fits: fn(&str, &str) -> bool| fits(a, b) || fits(b, a);
        let apart = self.host != other.host
            || !compatible(&self.prefix, &other.prefix, |a, b| a.starts_with(b))
            || !compatible(&self.suffix, &other.suffix, |a, b| a.ends_with(b))
            || !self.segments_compatible(other);
        let Some(left) = budget.checked_sub(1) else { return Overlap::TooCostly };
        *budget = left;
        if apart {
            return Overlap::None;
        }
        let longest = LONGEST_NAME.saturating_sub(self.host.len() + 1);
        let grammar = Grammar::Path { longest, two_segments: self.host == DOCKER_HUB };
        match common_name(&self.glob, &other.glob, grammar, budget) {
            Overlap::Name(path) => Overlap::Name(format!("{}/{path}", self.host)),
            other => other,
        }
    }

    /// A cheap answer for patterns without `**`: they differ in a literal segment or in the number of segments.
    fn segments_compatible(&self, other: &Self) -> bool {
        if self.rank.kind == Kind::Across || other.rank.kind == Kind::Across {
            return true;
        }
        let (mut mine, mut theirs) = (self.path.split('/'), other.path.split('/'));
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if a == b || a.contains('*') || b.contains('*') => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// Splits a pattern into its host in normal form and its path, by the rules of image references.
fn split(text: &str) -> Result<(String, String), PatternError> {
    if text.is_empty() {
        return Err(error("image pattern is empty", "write a host and a path, such as `registry.example.com/prod/**`"));
    }
    if text.len() > LONGEST_NAME {
        return Err(error(
            format!("image pattern of {} characters is longer than any repository name", text.len()),
            "repository names have at most 255 characters",
        ));
    }
    if text.contains('@') {
        return Err(error(
            format!("image pattern `{text}` has a digest"),
            "patterns name repositories; for a single image by digest write an entry of `spec.exceptions`",
        ));
    }
    let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
    if text.rsplit_once(':').is_some_and(|(before, after)| {
        !after.contains('/') && (before.contains('/') || !after.bytes().all(|b| b.is_ascii_digit()) || rest.is_none())
    }) {
        return Err(error(
            format!("image pattern `{text}` has a tag"),
            "patterns name repositories; leave the tag out",
        ));
    }
    if first.contains('*') && (rest.is_some() || first.contains('.') || first.chars().all(|c| c == '*')) {
        return Err(error(
            format!("image pattern `{text}` has a wildcard in its host"),
            "hosts are literal, because the rules are also the list of hosts that are ever asked; write one pattern \
             for each host, such as `registry.example.com/**`",
        ));
    }
    normal_form(text, rest)
}

/// Lets the one parser of references decide about the host: a stand-in path follows it, and is taken off again.
fn normal_form(text: &str, rest: Option<&str>) -> Result<(String, String), PatternError> {
    let bad_host = |_| {
        error(
            format!("image pattern `{text}` does not start with a registry host or a repository name"),
            "write a host and a path, such as `registry.example.com/prod/**`",
        )
    };
    let Some(rest) = rest else {
        return Ok((DOCKER_HUB.to_owned(), format!("library/{text}")));
    };
    let first = text.strip_suffix(rest).unwrap_or(text);
    let stand_in: Repository = format!("{first}x/x").parse().map_err(bad_host)?;
    let path_start = stand_in.path().strip_suffix("x/x").unwrap_or_default();
    let host = stand_in.host().to_owned();
    let path = format!("{path_start}{rest}");
    if host == DOCKER_HUB && !path.contains('/') && path != "**" {
        return Ok((host, format!("library/{path}")));
    }
    Ok((host, path))
}

fn check_path(text: &str, path: &str) -> Result<(), PatternError> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(error(
            format!("image pattern `{text}` has upper-case letters in its path"),
            "repository names are lower case",
        ));
    }
    if let Some(odd) = path.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/*".contains(*c))) {
        return Err(error(
            format!("image pattern `{}` has the character `{}`", text.escape_debug(), odd.escape_debug()),
            "patterns have letters, digits, `.`, `_`, `-`, `/`, `*` within a segment and `**` for segments; they are \
             not regular expressions",
        ));
    }
    if path.split('/').any(str::is_empty) {
        return Err(error(
            format!("image pattern `{text}` has an empty segment"),
            "write a path after the host, such as `/**` for everything below it, and no double or trailing slash",
        ));
    }
    if path.split('/').any(|segment| segment.contains("**") && segment != "**") {
        return Err(error(
            format!("image pattern `{text}` has `**` beside other characters"),
            "`**` is a whole segment; `*` matches within one",
        ));
    }
    Ok(())
}

/// A set of Kubernetes namespaces: a name with `*`. Anchored at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacePattern {
    text: String,
    glob: Glob,
}

impl NamespacePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when no namespace could match it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let hint = "namespaces are lower-case letters, digits and dashes, at most 63; `*` stands for any of them";
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '*';
        if text.is_empty() || text.len() > 2 * LONGEST_NAME || text.contains("**") || !text.chars().all(allowed) {
            return Err(error(format!("namespace pattern `{}` is malformed", text.escape_debug()), hint));
        }
        let glob = Glob::new(text);
        if !glob.is_possible(Grammar::Namespace) {
            return Err(error(format!("namespace pattern `{text}` can never match a namespace"), hint));
        }
        Ok(Self { text: text.to_owned(), glob })
    }

    /// Whether the namespace is in the set.
    #[must_use]
    pub fn matches(&self, namespace: &str) -> bool {
        self.glob.matches(namespace)
    }

    /// The shortest namespace that both patterns match.
    pub(super) fn overlap(&self, other: &Self, budget: &mut usize) -> Overlap {
        common_name(&self.glob, &other.glob, Grammar::Namespace, budget)
    }
}

impl fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a text is a namespace that Kubernetes could have.
pub(super) fn is_namespace(text: &str) -> bool {
    Grammar::Namespace.has(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_the_normal_form_of_references() {
        for (text, normal, literal) in [
            ("nginx", "docker.io/library/nginx", 23),
            ("nginx*", "docker.io/library/nginx*", 23),
            ("docker.io/*", "docker.io/library/*", 18),
            ("docker.io/**", "docker.io/**", 10),
            ("grafana/*", "docker.io/grafana/*", 18),
            ("index.docker.io/library/nginx", "docker.io/library/nginx", 23),
            ("R.example:5000/a/**/b", "r.example:5000/a/**/b", 19),
            ("localhost/x", "localhost/x", 11),
            ("[::1]:5000/x*", "[::1]:5000/x*", 12),
        ] {
            let pattern = ImagePattern::parse(text).unwrap();
            assert_eq!((pattern.to_string().as_str(), pattern.rank().literal), (normal, literal), "{text}");
            assert_eq!(ImagePattern::parse(normal).unwrap(), pattern);
        }
    }

    #[test]
    fn wildcards_match_whole_segments_and_their_parts() {
        for (pattern, yes, no) in [
            ("r.io/*", vec!["r.io/a", "r.io/a-b"], vec!["r.io/a/b", "r.iox/a"]),
            ("r.io/**", vec!["r.io/a", "r.io/a/b/c"], vec!["r.io:1/a"]),
            ("r.io/a/**", vec!["r.io/a/b", "r.io/a/b/c"], vec!["r.io/a", "r.io/ab"]),
            ("r.io/**/z", vec!["r.io/a/z", "r.io/a/b/z"], vec!["r.io/z", "r.io/a/z/b"]),
            ("r.io/a*z", vec!["r.io/az", "r.io/abz"], vec!["r.io/a/z", "r.io/azb"]),
            ("r.io/a", vec!["r.io/a"], vec!["r.io/a/b", "r.io/b"]),
        ] {
            let pattern = ImagePattern::parse(pattern).unwrap();
            yes.iter().for_each(|name| assert!(pattern.matches(&name.parse().unwrap()), "{pattern} {name}"));
            no.iter().for_each(|name| assert!(!pattern.matches(&name.parse().unwrap()), "{pattern} {name}"));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test measures how long it takes")]
    fn must_not_take_long_over_many_wildcards() {
        let pattern = ImagePattern::parse(&format!("r.io/{}b", "*a".repeat(100))).unwrap();
        let name = format!("r.io/{}", "a".repeat(240)).parse().unwrap();
        let started = std::time::Instant::now();
        assert!(!pattern.matches(&name) && !Glob::new(pattern.path()).matches(&"a".repeat(240)));
        assert!(started.elapsed().as_millis() < 500);
    }
}
