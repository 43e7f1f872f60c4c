//! Patterns with `*` and `**`, what they match, and whether two of them have a name in common.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// One step of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Token {
    /// Any characters, `/` included. Between slashes, so that in a valid path it is one or more whole segments.
    Across,
    /// This character.
    Literal(char),
    /// Any characters but `/`. Alone between slashes it is one or more, because valid paths have no empty segments.
    Within,
}

/// A sequence of tokens that a whole name must follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Glob {
    tokens: Vec<Token>,
}

impl Glob {
    /// Reads `*` and `**`; which characters may stand where is the caller's to check.
    pub(super) fn new(text: &str) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        for character in text.chars() {
            match (character, tokens.last()) {
                ('*', Some(Token::Within)) => {
                    tokens.pop();
                    tokens.push(Token::Across);
                }
                ('*', _) => tokens.push(Token::Within),
                (other, _) => tokens.push(Token::Literal(other)),
            }
        }
        Self { tokens }
    }

    /// The characters before the first wildcard.
    pub(super) fn literal_prefix(&self) -> String {
        self.tokens.iter().map_while(literal).collect()
    }

    /// The characters after the last wildcard; the whole when there is none.
    pub(super) fn literal_suffix(&self) -> String {
        let mut reversed: Vec<char> = self.tokens.iter().rev().map_while(literal).collect();
        reversed.reverse();
        reversed.into_iter().collect()
    }

    /// How many characters are literal.
    pub(super) fn literal_length(&self) -> usize {
        self.tokens.iter().filter_map(literal).count()
    }

    pub(super) fn has(&self, token: Token) -> bool {
        self.tokens.contains(&token)
    }

    /// Whether any name of the grammar follows the pattern. The steps are at most a small multiple of its length.
    pub(super) fn is_possible(&self, grammar: Grammar) -> bool {
        let anything = Self { tokens: vec![Token::Across] };
        matches!(common_name(self, &anything, grammar, &mut usize::MAX.clone()), Overlap::Name(_))
    }

    /// Whether a whole name follows the pattern. Every state of the pattern is carried along at once, so the time is at
    /// most the product of the two lengths, whatever the pattern.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.matches_within(name, &mut 0)
    }

    /// The same, and how many characters were looked at: none after the pattern has come to its end everywhere.
    fn matches_within(&self, name: &str, steps: &mut usize) -> bool {
        let mut reached = vec![false; self.tokens.len() + 1];
        let mut next = reached.clone();
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        self.skip_wildcards(&mut reached);
        for character in name.chars() {
            if !reached.contains(&true) {
                return false;
            }
            *steps += 1;
            next.fill(false);
            for (position, token) in self.tokens.iter().enumerate() {
                if reached.get(position) != Some(&true) {
                    continue;
                }
                let target = match token {
                    Token::Literal(expected) if *expected == character => position + 1,
                    Token::Across => position,
                    Token::Within if character != '/' => position,
                    Token::Literal(_) | Token::Within => continue,
                };
                if let Some(state) = next.get_mut(target) {
                    *state = true;
                }
            }
            self.skip_wildcards(&mut next);
            std::mem::swap(&mut reached, &mut next);
        }
        reached.last() == Some(&true)
    }

    /// A wildcard may match nothing: whoever stands before it also stands behind it.
    fn skip_wildcards(&self, reached: &mut [bool]) {
        for (position, token) in self.tokens.iter().enumerate() {
            if !matches!(token, Token::Literal(_))
                && reached.get(position) == Some(&true)
                && let Some(behind) = reached.get_mut(position + 1)
            {
                *behind = true;
            }
        }
    }
}

fn literal(token: &Token) -> Option<char> {
    match token {
        Token::Literal(character) => Some(*character),
        Token::Across | Token::Within => None,
    }
}

/// Which names exist at all, so that a common name of two patterns is one that somebody could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Grammar {
    /// Kubernetes namespaces: a DNS label (RFC 1123), at most 63 characters.
    Namespace,
    /// Repository paths (distribution `reference`), at most this many characters; `docker.io` has no paths of one
    /// segment in normal form.
    Path {
        /// Most characters.
        longest: usize,
        /// Whether the path must have a `/`.
        two_segments: bool,
    },
    /// Any text: identities in certificates.
    Text,
}

/// Longest DNS label (RFC 1123, section 2.1).
const LONGEST_NAMESPACE: usize = 63;

/// How far a name has been read under its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    last: Last,
    slash_needed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Last {
    Alphanumeric,
    Dash,
    Dot,
    Nothing,
    OneUnderscore,
    TwoUnderscores,
}

impl Grammar {
    fn start(self) -> Shape {
        let last = if self == Self::Text { Last::Alphanumeric } else { Last::Nothing };
        Shape { last, slash_needed: matches!(self, Self::Path { two_segments: true, .. }) }
    }

    fn longest(self) -> usize {
        match self {
            Self::Namespace => LONGEST_NAMESPACE,
            Self::Path { longest, .. } => longest,
            Self::Text => usize::MAX,
        }
    }

    fn next(self, shape: Shape, character: char) -> Option<Shape> {
        if self == Self::Text {
            return Some(shape);
        }
        let Shape { last, slash_needed } = shape;
        let last = match (character, last) {
            ('a'..='z' | '0'..='9', _) => Last::Alphanumeric,
            ('-', Last::Alphanumeric | Last::Dash) => Last::Dash,
            _ if self == Self::Namespace => return None,
            ('.', Last::Alphanumeric) => Last::Dot,
            ('_', Last::Alphanumeric) => Last::OneUnderscore,
            ('_', Last::OneUnderscore) => Last::TwoUnderscores,
            ('/', Last::Alphanumeric) => return Some(Shape { last: Last::Nothing, slash_needed: false }),
            _ => return None,
        };
        Some(Shape { last, slash_needed })
    }

    fn accepts(shape: Shape) -> bool {
        shape.last == Last::Alphanumeric && !shape.slash_needed
    }

    /// Whether a name follows the grammar.
    pub(super) fn has(self, name: &str) -> bool {
        let end = name.chars().try_fold(self.start(), |shape, character| self.next(shape, character));
        name.len() <= self.longest() && end.is_some_and(Self::accepts)
    }
}

/// What a search for a common name came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overlap {
    /// Both patterns match this name, and no shorter one.
    Name(String),
    /// No name follows the grammar and both patterns.
    None,
    /// The search took more steps than were left.
    TooCostly,
}

/// The character that stands where any letter may.
const ANY_LETTER: char = 'x';

/// What one step of the search costs; telling two patterns apart by their literal ends costs 1.
const STEP_COST: usize = 50;

type State = (usize, usize, Shape);

/// Looks for the shortest name that both patterns match: a breadth-first search over the positions in both patterns
/// and in the grammar. `budget` is what may be spent, and is reduced by [`STEP_COST`] for every step.
pub(super) fn common_name(a: &Glob, b: &Glob, grammar: Grammar, budget: &mut usize) -> Overlap {
    let start: State = (0, 0, grammar.start());
    let mut origins: HashMap<State, (State, Option<char>)> = HashMap::new();
    let mut queue = VecDeque::from([(start, start, None)]);
    while let Some((state, origin, character)) = queue.pop_front() {
        if let Entry::Vacant(place) = origins.entry(state) {
            place.insert((origin, character));
        } else {
            continue;
        }
        let Some(left) = budget.checked_sub(STEP_COST) else { return Overlap::TooCostly };
        *budget = left;
        let (i, j, shape) = state;
        let (token_a, token_b) = (a.tokens.get(i).copied(), b.tokens.get(j).copied());
        if token_a.is_none() && token_b.is_none() && Grammar::accepts(shape) {
            let name = retrace(&origins, state);
            return if name.len() <= grammar.longest() { Overlap::Name(name) } else { Overlap::None };
        }
        for (character, step_a, step_b) in common_characters(token_a, token_b) {
            if let Some(shape) = grammar.next(shape, character) {
                queue.push_back(((i + step_a, j + step_b, shape), state, Some(character)));
            }
        }
        // Passing a wildcard costs no character, so it goes to the front: the first name found is a shortest one.
        if passes(token_a) {
            queue.push_front(((i + 1, j, shape), state, None));
        }
        if passes(token_b) {
            queue.push_front(((i, j + 1, shape), state, None));
        }
    }
    Overlap::None
}

fn passes(token: Option<Token>) -> bool {
    matches!(token, Some(Token::Across | Token::Within))
}

/// The characters that both tokens take, each with how far it moves either pattern on. Where both are wildcards one
/// letter stands for all: a wildcard that takes a letter takes every letter, and the grammar knows only letters,
/// digits and separators, of which a letter may stand wherever any of them may.
fn common_characters(a: Option<Token>, b: Option<Token>) -> Vec<(char, usize, usize)> {
    let takes = |wildcard: Token, character: char| wildcard == Token::Across || character != '/';
    match (a, b) {
        (Some(Token::Literal(x)), Some(Token::Literal(y))) if x == y => vec![(x, 1, 1)],
        (Some(Token::Literal(_)), Some(Token::Literal(_))) | (None, _) | (_, None) => Vec::new(),
        (Some(Token::Literal(x)), Some(wildcard)) if takes(wildcard, x) => vec![(x, 1, 0)],
        (Some(wildcard), Some(Token::Literal(y))) if takes(wildcard, y) => vec![(y, 0, 1)],
        (Some(Token::Across), Some(Token::Across)) => vec![(ANY_LETTER, 0, 0), ('/', 0, 0)],
        (Some(Token::Across | Token::Within), Some(Token::Across | Token::Within)) => vec![(ANY_LETTER, 0, 0)],
        _ => Vec::new(),
    }
}

fn retrace(origins: &HashMap<State, (State, Option<char>)>, end: State) -> String {
    let mut reversed: Vec<char> = Vec::new();
    let mut state = end;
    while let Some((before, character)) = origins.get(&state) {
        if *before == state {
            break;
        }
        reversed.extend(character);
        state = *before;
    }
    reversed.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_up_where_the_prefix_ends() {
        let looked_at = |pattern: &str, name: &str| {
            let mut steps = 0;
            (Glob::new(pattern).matches_within(name, &mut steps), steps)
        };
        let long = format!("https://ci.example/{}", "a".repeat(10_000));
        assert_eq!(looked_at("https://other.example/**", &long), (false, 9));
        assert_eq!(looked_at("https://ci.example/a", &long), (false, 21));
        assert_eq!(looked_at("https://ci.example/**", &long), (true, long.len()));
    }
}
