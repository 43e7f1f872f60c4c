//! Rules: what they cover, what they ask for, and that no two of them fight over an image.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use jiff::SignedDuration;

use super::{Checks, gates};
use crate::image::{PlatformName, Platforms};
use crate::limits;
use crate::trust::document::{
    ModeWord, OnUndeterminedEntry, Placed, PlatformsEntry, ReferenceWord, RequirementEntry, RuleEntry, Spec, TagsWord,
    ThresholdEntry,
};
use crate::trust::index;
use crate::trust::policy::{
    AuthorityIndex, Mode, OnUndetermined, ReferenceBinding, Requirement, Rule, SignedParent, TagPolicy,
};
use crate::trust::problem::{Position, Problem, nearest, quoted};
use crate::trust::scope::{ImagePattern, NamespacePattern, PatternError};

/// Deepest nesting of one requirement; more is not a policy that a person can check.
const MAX_REQUIREMENT_DEPTH: usize = 8;
/// Most elements of one requirement, nested ones included: bounds the time of one evaluation.
const MAX_REQUIREMENT_ELEMENTS: usize = 1000;
/// Longest that held evidence may stand in for a registry.
const MAX_HELD_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The authorities by name.
pub(super) type Names<'a> = HashMap<&'a str, AuthorityIndex>;

/// Checks the rules. Their places in the result are those in the text when nothing is refused.
pub(super) fn compile(spec: &Spec, checks: &mut Checks<'_>) -> Vec<Rule> {
    if let Some(beyond) = spec.rules.get(limits::MAX_RULES) {
        let message = format!("the document has more than {} rules", limits::MAX_RULES);
        checks.refuse(
            beyond.position,
            "spec.rules",
            Problem::LimitExceeded,
            message,
            "split it into several documents",
        );
        return Vec::new();
    }
    let authorities = spec.authorities.iter().enumerate();
    let authorities: Names<'_> =
        authorities.map(|(index, entry)| (entry.value.name.value.as_str(), AuthorityIndex(index))).collect();
    let mut names = HashMap::new();
    let (mut rules, mut places) = (Vec::with_capacity(spec.rules.len()), Vec::new());
    for (index, entry) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        let name = &entry.value.name;
        checks.name(name, &format!("{path}.name"));
        if let Some(first) = names.insert(name.value.as_str(), name.position) {
            let message = format!("the rule `{}` is written twice, first in line {}", quoted(&name.value), first.line);
            let hint = "give each rule its own name: verdicts and logs name the rule that decided";
            checks.refuse(name.position, format!("{path}.name"), Problem::Duplicate, message, hint);
        }
        if let Some(rule) = compile_rule(entry, &path, &authorities, checks) {
            rules.push(rule);
            places.push(index);
        }
    }
    refuse_ambiguous(spec, &rules, &places, checks);
    rules
}

fn compile_rule(entry: &Placed<RuleEntry>, path: &str, names: &Names<'_>, checks: &mut Checks<'_>) -> Option<Rule> {
    let rule = &entry.value;
    let images = patterns(&rule.images, &format!("{path}.images"), ImagePattern::parse, checks);
    let namespaces = rule.namespaces.as_ref();
    let namespaces =
        namespaces.map(|list| patterns(list, &format!("{path}.namespaces"), NamespacePattern::parse, checks));
    let require = rule.require.as_ref();
    let require = require.map(|require| requirement(require, &format!("{path}.require"), names, checks));
    let attestations = gates::compile(rule.attestations.as_ref(), &format!("{path}.attestations"), names, checks);
    if require.is_none() {
        refuse_unsigned(entry, path, checks);
    }
    let platforms = platforms(rule.platforms.as_ref(), &format!("{path}.platforms"), checks);
    let on_undetermined = on_undetermined(rule.on_undetermined.as_ref(), &format!("{path}.onUndetermined"), checks);
    Some(Rule {
        name: rule.name.value.clone(),
        images: images?,
        namespaces: match namespaces {
            Some(list) => Some(list?),
            None => None,
        },
        mode: match rule.mode.as_ref().map(|word| word.value) {
            Some(ModeWord::Audit) => Mode::Audit,
            Some(ModeWord::Warn) => Mode::Warn,
            Some(ModeWord::Enforce) | None => Mode::Enforce,
        },
        require: match require {
            Some(require) => Some(require?),
            None => None,
        },
        attestations: attestations?,
        reference: match rule.reference.as_ref().map(|word| word.value) {
            Some(ReferenceWord::Exact) => ReferenceBinding::Exact,
            Some(ReferenceWord::Repository) => ReferenceBinding::Repository,
            Some(ReferenceWord::Any) | None => ReferenceBinding::Any,
        },
        platforms: platforms?,
        signed_parent: match is_true(rule.allow_signed_parent.as_ref(), &format!("{path}.allowSignedParent"), checks)? {
            true => SignedParent::Accept,
            false => SignedParent::Ignore,
        },
        tags: match rule.tags.as_ref().map(|word| word.value) {
            Some(TagsWord::Deny) => TagPolicy::Deny,
            Some(TagsWord::Resolve) | None => TagPolicy::Resolve,
        },
        on_undetermined: on_undetermined?,
        position: entry.position,
    })
}

/// A switch that is off unless it is written as a plain `true`: readers of YAML differ about `yes`, `on` and quotes.
fn is_true(entry: Option<&Placed<bool>>, path: &str, checks: &mut Checks<'_>) -> Option<bool> {
    let Some(entry) = entry else { return Some(false) };
    if checks.scalar_at(entry.position).is_some_and(|written| written != entry.value.to_string()) {
        let message = "this is not written as a plain `true` or `false`";
        checks.refuse(entry.position, path, Problem::InvalidValue, message, "write `true` or `false`, without quotes");
        return None;
    }
    Some(entry.value)
}

/// Most platforms that one rule may list; there are about 50.
const MAX_PLATFORMS: usize = 64;

fn platforms(entry: Option<&Placed<PlatformsEntry>>, path: &str, checks: &mut Checks<'_>) -> Option<Platforms> {
    let Some(entry) = entry else { return Some(Platforms::Requested) };
    let hint = "write `requested`, `every-child`, or a list such as `[linux/amd64, linux/arm64]`";
    let list = match &entry.value {
        PlatformsEntry::Word(word) => {
            return match word.as_str() {
                "requested" => Some(Platforms::Requested),
                "every-child" => Some(Platforms::EveryChild),
                other => {
                    let message = format!("`{}` says no platforms", quoted(other));
                    checks.refuse(entry.position, path, Problem::InvalidValue, message, hint);
                    None
                }
            };
        }
        PlatformsEntry::List(list) => list,
    };
    if list.is_empty() {
        let message = "this list is empty, so no image would have to be covered";
        checks.refuse(entry.position, path, Problem::Empty, message, hint);
        return None;
    }
    if let Some(beyond) = list.get(MAX_PLATFORMS) {
        let message = format!("there are more than {MAX_PLATFORMS} platforms");
        checks.refuse(beyond.position, path, Problem::LimitExceeded, message, "write `every-child`");
        return None;
    }
    let mut found: Vec<PlatformName> = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match text.value.parse::<PlatformName>() {
            Ok(platform) if found.contains(&platform) => {
                let message = format!("the platform `{platform}` stands here twice");
                checks.refuse(text.position, path, Problem::Duplicate, message, "keep one");
            }
            Ok(platform) => found.push(platform),
            Err(error) => {
                checks.refuse(text.position, path, Problem::InvalidValue, error.to_string(), hint);
            }
        }
    }
    (found.len() == list.len()).then_some(Platforms::Listed(found))
}

/// Reads a list of patterns; `None` when anything in it was refused.
fn patterns<P: PartialEq + ToString>(
    list: &Placed<Vec<Placed<String>>>,
    path: &str,
    parse: fn(&str) -> Result<P, PatternError>,
    checks: &mut Checks<'_>,
) -> Option<Vec<P>> {
    if list.value.is_empty() {
        let message = "this list is empty, so the rule covers nothing";
        checks.refuse(list.position, path, Problem::Empty, message, "write at least one pattern");
        return None;
    }
    let mut found = Vec::with_capacity(list.value.len());
    let mut seen = HashSet::new();
    for (index, text) in list.value.iter().enumerate() {
        match parse(&text.value) {
            Ok(pattern) if seen.insert(pattern.to_string()) => found.push(pattern),
            Ok(pattern) => {
                let message = format!("the pattern `{}` stands here twice", pattern.to_string());
                checks.refuse(text.position, format!("{path}[{index}]"), Problem::Duplicate, message, "keep one");
            }
            Err(error) => {
                let path = format!("{path}[{index}]");
                checks.refuse(text.position, path, Problem::InvalidValue, error.message, error.hint);
            }
        }
    }
    (found.len() == list.value.len()).then_some(found)
}

fn on_undetermined(
    entry: Option<&Placed<OnUndeterminedEntry>>,
    path: &str,
    checks: &mut Checks<'_>,
) -> Option<OnUndetermined> {
    let held = match entry.map(|entry| &entry.value) {
        None | Some(OnUndeterminedEntry::Deny) => return Some(OnUndetermined::Deny),
        Some(OnUndeterminedEntry::UseHeldEvidence(held)) => held,
    };
    let text = &held.max_age;
    match text.value.parse::<SignedDuration>() {
        Ok(max_age) if max_age.is_positive() && max_age <= MAX_HELD_AGE => {
            Some(OnUndetermined::UseHeldEvidence { max_age })
        }
        _ => {
            let message = format!("`{}` is not a length of time between 0 and 30 days", quoted(&text.value));
            let path = format!("{path}.useHeldEvidence.maxAge");
            checks.refuse(
                text.position,
                path,
                Problem::InvalidValue,
                message,
                "write hours and minutes: `24h`, `1h 30m`",
            );
            None
        }
    }
}

/// A rule that asks for no signature must ask for an attestation, and cannot compare names: attestations carry none.
fn refuse_unsigned(entry: &Placed<RuleEntry>, path: &str, checks: &mut Checks<'_>) {
    let rule = &entry.value;
    if rule.attestations.as_ref().is_none_or(|list| list.value.is_empty()) {
        let message = "the rule asks for nothing: it has neither `require` nor `attestations`";
        let hint = "write who must have signed, such as `require: release-team`, or what must be attested";
        checks.refuse(entry.position, format!("{path}.require"), Problem::MissingField, message, hint);
    }
    if let Some(reference) = rule.reference.as_ref().filter(|reference| reference.value != ReferenceWord::Any) {
        let message =
            "the rule compares the names inside of signatures, and asks for none: attestations name no repository";
        let hint = "write who must have signed under `require`, or leave `reference` out";
        checks.refuse(reference.position, format!("{path}.reference"), Problem::InvalidValue, message, hint);
    }
}

/// Reads a requirement.
pub(super) fn requirement(
    entry: &Placed<RequirementEntry>,
    path: &str,
    names: &Names<'_>,
    checks: &mut Checks<'_>,
) -> Option<Requirement> {
    RequirementReader { names, checks, elements: 0 }.read(&entry.value, entry.position, path, 1)
}

/// The authority of a name.
pub(super) fn authority(
    name: &str,
    at: Position,
    path: &str,
    names: &Names<'_>,
    checks: &mut Checks<'_>,
) -> Option<AuthorityIndex> {
    if let Some(index) = names.get(name) {
        return Some(*index);
    }
    let mut known: Vec<&str> = names.keys().copied().collect();
    known.sort_unstable();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write it under `spec.authorities`".to_owned(),
    };
    let message = format!("there is no authority `{}` in this document", quoted(name));
    checks.refuse(at, path, Problem::UnknownName, message, hint);
    None
}

/// Reads one requirement, whose elements it counts.
struct RequirementReader<'r, 'c> {
    names: &'r Names<'r>,
    checks: &'r mut Checks<'c>,
    elements: usize,
}

impl RequirementReader<'_, '_> {
    fn read(&mut self, entry: &RequirementEntry, at: Position, path: &str, depth: usize) -> Option<Requirement> {
        self.elements += 1;
        if depth > MAX_REQUIREMENT_DEPTH || self.elements > MAX_REQUIREMENT_ELEMENTS {
            if depth > MAX_REQUIREMENT_DEPTH || self.elements == MAX_REQUIREMENT_ELEMENTS + 1 {
                let message = format!(
                    "the requirement nests deeper than {MAX_REQUIREMENT_DEPTH} or has more than \
                     {MAX_REQUIREMENT_ELEMENTS} elements"
                );
                let hint = "list several keys in one authority where they speak for one owner";
                self.checks.refuse(at, path, Problem::LimitExceeded, message, hint);
            }
            return None;
        }
        match entry {
            RequirementEntry::Name(name) => {
                authority(name, at, path, self.names, self.checks).map(Requirement::Authority)
            }
            RequirementEntry::All(of) => Some(Requirement::All(self.elements(of, &format!("{path}.all"), depth)?)),
            RequirementEntry::Any(of) => Some(Requirement::Any(self.elements(of, &format!("{path}.any"), depth)?)),
            RequirementEntry::Threshold(entry) => self.threshold(&entry.value, &format!("{path}.threshold"), depth),
        }
    }

    fn elements(
        &mut self,
        list: &Placed<Vec<Placed<RequirementEntry>>>,
        path: &str,
        depth: usize,
    ) -> Option<Vec<Requirement>> {
        if list.value.is_empty() {
            let message = "this list is empty: a requirement of nothing is met by anything or by nothing";
            self.checks.refuse(list.position, path, Problem::Empty, message, "write at least one authority");
            return None;
        }
        let mut read = Vec::with_capacity(list.value.len());
        let mut named = HashSet::new();
        for (index, entry) in list.value.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let RequirementEntry::Name(name) = &entry.value
                && !named.insert(name)
            {
                let message = format!("the authority `{}` stands here twice", quoted(name));
                self.checks.refuse(
                    entry.position,
                    path,
                    Problem::Duplicate,
                    message,
                    "an authority counts once; keep one",
                );
                continue;
            }
            read.extend(self.read(&entry.value, entry.position, &path, depth + 1));
        }
        (read.len() == list.value.len()).then_some(read)
    }

    fn threshold(&mut self, entry: &ThresholdEntry, path: &str, depth: usize) -> Option<Requirement> {
        let count = self.count(entry, &format!("{path}.count"));
        let of = self.elements(&entry.of, &format!("{path}.of"), depth);
        let (count, of) = (count?, of?);
        let mut owners: HashMap<AuthorityIndex, usize> = HashMap::new();
        for (index, element) in of.iter().enumerate() {
            for authority in element.authorities() {
                if owners.insert(authority, index).is_some() {
                    let name = self.names.iter().find(|(_, index)| **index == authority).map_or("", |(name, _)| *name);
                    let message = format!("the authority `{name}` would count twice under this threshold");
                    let hint = "a threshold counts authorities; no two of its elements may share one";
                    let position = entry.of.value.get(index).map_or(entry.of.position, |element| element.position);
                    self.checks.refuse(position, format!("{path}.of[{index}]"), Problem::Unsatisfiable, message, hint);
                    return None;
                }
            }
        }
        Some(Requirement::Threshold { count, of })
    }

    fn count(&mut self, entry: &ThresholdEntry, path: &str) -> Option<NonZeroUsize> {
        let (count, elements) = (entry.count.value, entry.of.value.len());
        let position = entry.count.position;
        if self.checks.scalar_at(position).is_some_and(|written| written != count.to_string()) {
            let message = "this count is not written as a plain decimal number";
            let hint = "readers of YAML differ about `010`, `0x1`, `1_0` and quoted numbers; write digits only";
            self.checks.refuse(position, path, Problem::InvalidValue, message, hint);
            return None;
        }
        let number = usize::try_from(count).ok().and_then(NonZeroUsize::new);
        match number.filter(|number| number.get() <= elements) {
            Some(number) => Some(number),
            None => {
                let message = if count < 1 {
                    format!("a threshold of {count} is met without any signature")
                } else {
                    format!("a threshold of {count} can never be met by {elements} elements")
                };
                let hint = format!("write a number from 1 to {elements}");
                self.checks.refuse(position, path, Problem::Unsatisfiable, message, hint);
                None
            }
        }
    }
}

/// Refuses rules that cover one image with none of them more specific, and names an image that they fight over.
fn refuse_ambiguous(spec: &Spec, rules: &[Rule], places: &[usize], checks: &mut Checks<'_>) {
    let Ok(ambiguities) = index::ambiguities(rules) else {
        let position = spec.rules.first().map_or(Position::default(), |rule| rule.position);
        let message = "too many patterns start or end with wildcards to tell whether rules contradict each other";
        let hint = "start patterns with literal segments, or split the document";
        checks.refuse(position, "spec.rules", Problem::LimitExceeded, message, hint);
        return;
    };
    for ambiguity in ambiguities {
        let name = |place: usize| rules.get(place).map_or("", |rule| rule.name.as_str());
        let (first, second) = (name(ambiguity.first.0), name(ambiguity.second.0));
        let namespace = ambiguity.namespace.map(|name| format!(" in the namespace `{name}`")).unwrap_or_default();
        let message = format!(
            "the rules `{first}` and `{second}` both cover `{}`{namespace}, and neither is more specific",
            ambiguity.image
        );
        let Some(index) = places.get(ambiguity.second.0) else { continue };
        let written = spec.rules.get(*index).and_then(|rule| rule.value.images.value.get(ambiguity.second.1));
        let position = written.map_or(Position::default(), |text| text.position);
        let path = format!("spec.rules[{index}].images[{}]", ambiguity.second.1);
        let hint = "the longer literal host and path decides, then no wildcard before `*` before `**`, then with \
                    namespaces before without; make the two differ in one of these, or make one rule of them";
        checks.refuse(position, path, Problem::AmbiguousRules, message, hint);
    }
}
