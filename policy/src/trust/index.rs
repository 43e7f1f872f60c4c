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

/// The patterns of a document by host and by the literal start of their paths.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleIndex {
    hosts: HashMap<String, PrefixMap<Place>>,
    everything: bool,
}

impl RuleIndex {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut hosts: HashMap<String, PrefixMap<Place>> = HashMap::new();
        for (place, pattern) in patterns(rules) {
            hosts.entry(pattern.host().to_owned()).or_default().insert(pattern.literal_prefix(), place);
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
        let Some(prefixes) = self.hosts.get(repository.host()) else { return Vec::new() };
        let mut best: BTreeMap<usize, (Precedence, &Rule)> = BTreeMap::new();
        for (rule_index, pattern_index) in prefixes.of(repository.path()) {
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
/// those only pairs of which one's literal start is the start of the other's.
pub(super) fn ambiguities(rules: &[Rule]) -> Result<Vec<Ambiguity>, TooCostly> {
    let mut groups: BTreeMap<(&str, Precedence), PrefixMap<Place>> = BTreeMap::new();
    for (place, pattern) in patterns(rules) {
        let Some(rule) = rules.get(place.0) else { continue };
        let group = groups.entry((pattern.host(), Precedence::of(rule, pattern))).or_default();
        group.insert(pattern.literal_prefix(), place);
    }
    let mut budget = MAX_OVERLAP_COST;
    let mut found: BTreeMap<(usize, usize), Ambiguity> = BTreeMap::new();
    for group in groups.values() {
        for (prefix, places) in &group.0 {
            let neighbours = group.of(prefix);
            for place in places {
                for other in &neighbours {
                    let pair = (place.0.min(other.0), place.0.max(other.0));
                    if pair.0 == pair.1 || found.contains_key(&pair) {
                        continue;
                    }
                    if let Some(ambiguity) = fight(rules, *place, **other, &mut budget)? {
                        found.insert(pair, ambiguity);
                    }
                    if found.len() >= MAX_AMBIGUITIES {
                        return Ok(found.into_values().collect());
                    }
                }
            }
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
