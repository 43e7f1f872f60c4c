//! Finding the rules that cover an image without trying each, and refusing rules that no order separates.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::glob::Overlap;
use super::policy::Rule;
use super::scope::{ImagePattern, Rank, is_namespace};
use crate::image::Repository;

/// What the search for ambiguous rules may cost in one document: 100 million comparisons of literal ends, or 2 million
/// steps of the search for a common name; about a second. A document can only need more when thousands of its patterns
/// start and end with wildcards, and is then refused.
const MAX_OVERLAP_COST: usize = 100_000_000;
/// Most pairs of ambiguous rules that are named.
const MAX_AMBIGUITIES: usize = 20;

/// A pattern's place: the rule's, and its own within that rule.
type Place = (usize, usize);

/// The patterns of a document by host and by a literal end of their paths.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleIndex {
    hosts: HashMap<String, EndMap>,
    everything: bool,
}

impl RuleIndex {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut hosts: HashMap<String, EndMap> = HashMap::new();
        for (place, pattern) in patterns(rules) {
            hosts.entry(pattern.host().to_owned()).or_default().insert(pattern, place);
        }
        Self { hosts, everything: false }
    }

    /// An index that finds every rule for every image.
    pub(super) fn everything() -> Self {
        Self { hosts: HashMap::new(), everything: true }
    }

    /// The rules of this document that decide: see [`super::TrustSnapshot::select`].
    ///
    /// A namespace that cannot exist is no namespace, so a caller gains nothing by inventing one.
    pub(super) fn deciding<'a>(
        &self,
        rules: &'a [Rule],
        repository: &Repository,
        namespace: Option<&str>,
    ) -> Vec<&'a Rule> {
        if self.everything {
            return rules.iter().collect();
        }
        let mut covering = self.covering(rules, repository);
        match namespace.filter(|namespace| is_namespace(namespace)) {
            Some(namespace) => {
                let rule = covering.into_iter().map(|(_, rule)| rule).find(|rule| rule.covers_namespace(namespace));
                rule.into_iter().collect()
            }
            None => {
                let last = covering.iter().position(|(_, rule)| rule.namespaces.is_none());
                covering.truncate(last.map_or(usize::MAX, |last| last + 1));
                covering.into_iter().map(|(_, rule)| rule).collect()
            }
        }
    }

    /// The rules with a pattern that matches, each once, the most specific first.
    fn covering<'a>(&self, rules: &'a [Rule], repository: &Repository) -> Vec<(Precedence, &'a Rule)> {
        let Some(ends) = self.hosts.get(repository.host()) else { return Vec::new() };
        let mut best: BTreeMap<usize, (Precedence, &Rule)> = BTreeMap::new();
        for (rule_index, pattern_index) in ends.of(repository.path()) {
            let Some(rule) = rules.get(*rule_index) else { continue };
            let Some(pattern) = rule.images.get(*pattern_index) else { continue };
            if pattern.matches(repository) {
                let precedence = Precedence::of(rule, pattern);
                let place = best.entry(*rule_index).or_insert((precedence, rule));
                place.0 = place.0.max(precedence);
            }
        }
        let mut covering: Vec<_> = best.into_values().collect();
        covering.sort_by_key(|(precedence, _)| std::cmp::Reverse(*precedence));
        covering
    }
}

fn patterns(rules: &[Rule]) -> impl Iterator<Item = (Place, &ImagePattern)> {
    rules.iter().enumerate().flat_map(|(rule_index, rule)| {
        rule.images.iter().enumerate().map(move |(pattern_index, pattern)| ((rule_index, pattern_index), pattern))
    })
}

/// What decides between two rules that cover one image; the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Precedence {
    rank: Rank,
    has_namespaces: bool,
}

impl Precedence {
    fn of(rule: &Rule, pattern: &ImagePattern) -> Self {
        Self { rank: pattern.rank(), has_namespaces: rule.namespaces.is_some() }
    }
}

/// Patterns by the longer of their two literal ends, so that neither `team-1/**` nor `*/app-1` is tried for every image.
#[derive(Debug, Clone, Default)]
struct EndMap {
    starts: PrefixMap<Place>,
    /// The keys are reversed: the end of a text is the start of the reversed text.
    ends: PrefixMap<Place>,
}

impl EndMap {
    fn insert(&mut self, pattern: &ImagePattern, place: Place) {
        let (start, end) = (pattern.literal_prefix(), pattern.literal_suffix());
        if start.len() >= end.len() {
            self.starts.insert(start, place);
        } else {
            self.ends.insert(&reversed(end), place);
        }
    }

    fn of(&self, path: &str) -> Vec<&Place> {
        let mut found = self.starts.of(path);
        found.extend(self.ends.of(&reversed(path)));
        found
    }

    /// Pairs of patterns that may have a name in common: of two kept by the same end, one's end is an end of the
    /// other's; of two kept by different ends nothing is known. A pair may come twice.
    fn pairs(&self) -> impl Iterator<Item = (Place, Place)> {
        let mixed = self.starts.places().flat_map(|a| self.ends.places().map(move |b| (*a, *b)));
        self.starts.pairs().chain(self.ends.pairs()).chain(mixed)
    }
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// Values under text keys, found by all the keys that a text starts with.
#[derive(Debug, Clone)]
struct PrefixMap<T>(BTreeMap<String, Vec<T>>);

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> PrefixMap<T> {
    fn insert(&mut self, prefix: &str, value: T) {
        self.0.entry(prefix.to_owned()).or_default().push(value);
    }

    fn places(&self) -> impl Iterator<Item = &T> {
        self.0.values().flatten()
    }

    /// The values of every key that `text` starts with. Each step looks up the greatest key that is not beyond what is
    /// left of the text, and either takes it or cuts the text to what both have in common; so the number of steps is at
    /// most the length of the text, and mostly the number of keys that are found.
    fn of<'a>(&'a self, text: &str) -> Vec<&'a T> {
        let mut found = Vec::new();
        let mut end = Bound::Included(text.to_owned());
        while let Some((key, values)) = self.0.range::<str, _>((Bound::Unbounded, as_str(&end))).next_back() {
            if text.starts_with(key.as_str()) {
                found.extend(values);
                end = Bound::Excluded(key.clone());
            } else {
                let common = text.chars().zip(key.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
                end = Bound::Included(common);
            }
        }
        found
    }
}

impl PrefixMap<Place> {
    /// Each value with every value whose key is a start of its own key.
    fn pairs(&self) -> impl Iterator<Item = (Place, Place)> {
        self.0.iter().flat_map(|(key, values)| {
            let shorter = self.of(key);
            values.iter().flat_map(move |a| shorter.clone().into_iter().map(move |b| (*a, *b)))
        })
    }
}

fn as_str(bound: &Bound<String>) -> Bound<&str> {
    match bound {
        Bound::Included(text) => Bound::Included(text),
        Bound::Excluded(text) => Bound::Excluded(text),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Two rules that cover one image and that no order separates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ambiguity {
    /// The rule and pattern that stand first in the text.
    pub(super) first: Place,
    /// The others.
    pub(super) second: Place,
    /// An image that both cover.
    pub(super) image: String,
    /// A namespace that both cover, where they name any.
    pub(super) namespace: Option<String>,
}

/// The search took more steps than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooCostly;

/// Finds the pairs of rules that fight over an image. Only patterns of one host and one precedence are compared, and of
/// those only pairs whose literal ends do not rule each other out.
pub(super) fn ambiguities(rules: &[Rule]) -> Result<Vec<Ambiguity>, TooCostly> {
    let mut groups: BTreeMap<(&str, Precedence), EndMap> = BTreeMap::new();
    for (place, pattern) in patterns(rules) {
        let Some(rule) = rules.get(place.0) else { continue };
        groups.entry((pattern.host(), Precedence::of(rule, pattern))).or_default().insert(pattern, place);
    }
    let mut budget = MAX_OVERLAP_COST;
    let mut found: BTreeMap<(usize, usize), Ambiguity> = BTreeMap::new();
    for (a, b) in groups.values().flat_map(EndMap::pairs) {
        let pair = (a.0.min(b.0), a.0.max(b.0));
        if pair.0 == pair.1 || found.contains_key(&pair) {
            continue;
        }
        if let Some(ambiguity) = fight(rules, a, b, &mut budget)? {
            found.insert(pair, ambiguity);
        }
        if found.len() >= MAX_AMBIGUITIES {
            break;
        }
    }
    Ok(found.into_values().collect())
}

fn fight(rules: &[Rule], a: Place, b: Place, budget: &mut usize) -> Result<Option<Ambiguity>, TooCostly> {
    let (first, second) = (a.min(b), a.max(b));
    let at = |place: Place| rules.get(place.0).and_then(|rule| Some((rule, rule.images.get(place.1)?)));
    let (Some((rule_a, pattern_a)), Some((rule_b, pattern_b))) = (at(first), at(second)) else { return Ok(None) };
    let image = match pattern_a.overlap(pattern_b, budget) {
        Overlap::Name(image) => image,
        Overlap::None => return Ok(None),
        Overlap::TooCostly => return Err(TooCostly),
    };
    let (Some(names_a), Some(names_b)) = (&rule_a.namespaces, &rule_b.namespaces) else {
        return Ok(Some(Ambiguity { first, second, image, namespace: None }));
    };
    for x in names_a {
        for y in names_b {
            match x.overlap(y, budget) {
                Overlap::Name(name) => {
                    return Ok(Some(Ambiguity { first, second, image, namespace: Some(name) }));
                }
                Overlap::None => {}
                Overlap::TooCostly => return Err(TooCostly),
            }
        }
    }
    Ok(None)
}
