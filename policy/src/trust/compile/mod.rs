//! From what is written to what it means: every check that a document must pass, with all its faults collected.

mod authorities;
mod exceptions;
mod gates;
mod keyless;
mod rules;
mod timestamps;

use std::collections::HashMap;

use jiff::Timestamp;

use self::authorities::Keys;
use self::keyless::Roots;
use super::document::{DefaultWord, Placed};
use super::index::RuleIndex;
use super::keyless::KnownRoots;
use super::policy::{DefaultDecision, TrustPolicy};
use super::problem::{PolicyError, PolicyErrors, Position, Problem, quoted};
use super::read::Document;
use crate::image::Digest;
use crate::limits;

/// The loader of key files: the path as written, to its bytes or to why it could not be read.
pub(super) type Files<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>;

/// Checks a document; see [`TrustPolicy::compile`].
pub(super) fn compile(document: &Document, known: &KnownRoots, files: Files<'_>) -> Result<TrustPolicy, PolicyErrors> {
    let mut checks = Checks::new(document);
    let content = &document.content;
    let spec = &content.spec.value;
    checks.name(&content.metadata.name, "metadata.name");
    let mut keys = Keys::default();
    let authorities = authorities::compile(&spec.authorities, &mut keys, files, &mut checks);
    let times = timestamps::compile(&spec.timestamp_authorities, &mut keys, files, &mut checks);
    let mut roots = Roots::compile(&spec.trust_roots, known, &mut keys, files, &mut checks);
    let authorities = keyless::compile(spec, authorities, &mut roots, &mut checks);
    let rules = rules::compile(spec, &mut checks);
    keyless::refuse_shared(spec, &authorities, &rules, &mut checks);
    if spec.rules.is_empty() && spec.default.is_none() {
        let hint = "write rules, or say what becomes of every image: `default: deny`";
        checks.refuse(
            content.spec.position,
            "spec.rules",
            Problem::Empty,
            "the document has no rules and no default",
            hint,
        );
    }
    let exceptions = exceptions::compile(&spec.exceptions, &mut checks);
    let mirrors = exceptions::compile_mirrors(&spec.mirrors, &mut checks);
    if let Some(errors) = PolicyErrors::collect(checks.errors) {
        return Err(errors);
    }
    let excepted: HashMap<_, _> =
        exceptions.iter().enumerate().map(|(index, exception)| (exception.image.clone(), index)).collect();
    Ok(TrustPolicy {
        name: content.metadata.name.value.clone(),
        digest: Digest::of(&[document.text.as_bytes(), &keys.loaded, &roots.named()].concat()),
        authorities,
        timestamp_authorities: times,
        index: RuleIndex::new(&rules),
        rules,
        exceptions,
        mirrors,
        default: match spec.default.as_ref().map(|word| word.value) {
            Some(DefaultWord::Allow) => DefaultDecision::Allow,
            Some(DefaultWord::Deny) | None => DefaultDecision::Deny,
        },
        keys: keys.places(),
        excepted,
    })
}

/// Collects what is wrong, with its place.
pub(super) struct Checks<'a> {
    origin: &'a str,
    lines: Vec<&'a str>,
    errors: Vec<PolicyError>,
}

impl<'a> Checks<'a> {
    fn new(document: &'a Document) -> Self {
        Self { origin: &document.origin, lines: document.text.lines().collect(), errors: Vec::new() }
    }

    pub(super) fn refuse(
        &mut self,
        position: Position,
        path: impl Into<String>,
        code: Problem,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (path, message, hint) = (path.into(), message.into(), hint.into());
        self.errors.push(PolicyError { origin: self.origin.to_owned(), position, path, message, hint, code });
    }

    /// The plain scalar that is written at a place: for numbers, of which readers of YAML differ about the meaning.
    pub(super) fn scalar_at(&self, position: Position) -> Option<String> {
        let line = self.lines.get(usize::try_from(position.line).ok()?.checked_sub(1)?)?;
        let skipped = usize::try_from(position.column).ok()?.checked_sub(1)?;
        let scalar = |c: &char| !c.is_whitespace() && !",}]#".contains(*c);
        Some(line.chars().skip(skipped).take_while(scalar).collect())
    }

    /// Reads a count.
    pub(super) fn count(&mut self, count: &Placed<i64>, path: &str) -> Option<usize> {
        if self.scalar_at(count.position).is_some_and(|written| written != count.value.to_string()) {
            let message = "this count is not written as a plain decimal number";
            let hint = "readers of YAML differ about `010`, `0x1`, `1_0` and quoted numbers; write digits only";
            self.refuse(count.position, path, Problem::InvalidValue, message, hint);
            return None;
        }
        let read = usize::try_from(count.value).ok();
        if read.is_none() {
            let message = format!("{} can never vouch", count.value);
            self.refuse(count.position, path, Problem::Unsatisfiable, message, "write 0 or more");
        }
        read
    }

    /// Checks a name that verdicts, logs and metrics repeat.
    pub(super) fn name(&mut self, name: &Placed<String>, path: &str) {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let text = &name.value;
        let good = text.len() <= 63
            && text.bytes().all(allowed)
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if !good {
            let message = format!("`{}` is not a name", quoted(text));
            let hint = "names have 1 to 63 letters, digits, `.`, `_` and `-`, and start with a letter or digit";
            self.refuse(name.position, path, Problem::InvalidValue, message, hint);
        }
    }

    /// Reads a date and time of RFC 3339, and nothing looser.
    pub(super) fn timestamp(&mut self, text: &Placed<String>, path: &str) -> Option<Timestamp> {
        let parsed = if is_rfc_3339(&text.value) { text.value.parse().ok() } else { None };
        if parsed.is_none() {
            let message = format!("`{}` is not a date and time", quoted(&text.value));
            let hint = "write it as RFC 3339 with a time zone, such as `2027-01-01T00:00:00Z`";
            self.refuse(text.position, path, Problem::InvalidValue, message, hint);
        }
        parsed
    }

    /// Checks a sentence for people: not empty, not long, and nothing that moves a terminal's cursor.
    pub(super) fn sentence(&mut self, text: &Placed<String>, path: &str) {
        if text.value.trim().is_empty() {
            self.refuse(
                text.position,
                path,
                Problem::Empty,
                "this must not be empty",
                "write who or why, for the record",
            );
        } else if text.value.chars().count() > limits::MAX_QUOTED_CHARS || text.value.chars().any(char::is_control) {
            let message = "this is not one line of plain text";
            let hint = format!("write at most {} characters, without control characters", limits::MAX_QUOTED_CHARS);
            self.refuse(text.position, path, Problem::InvalidValue, message, hint);
        }
    }
}

/// The shape `2027-01-01T00:00:00[.000]Z` or with `+01:00`; whether such a day exists is the parser's to say.
fn is_rfc_3339(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else { return false };
    let digits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
    };
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone_at).unwrap_or((time, ""));
    let (seconds, fraction) = clock.split_once('.').map_or((clock, "0"), |(seconds, fraction)| (seconds, fraction));
    digits(date, "0000-00-00")
        && digits(seconds, "00:00:00")
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && (zone == "Z" || digits(zone, "+00:00") || digits(zone, "-00:00"))
}
