//! Which rules decide: cases, and a slow model that is obviously right beside the fast index.

use proptest::prelude::*;

use super::super::glob::{Glob, Grammar, Overlap, common_name};
use super::super::{Applicable, Problem, Selection, TrustSnapshot};
use super::{load, pem, with_rules, with_spec};
use crate::image::{ImageReference, Repository};
use crate::verify::PublicKey;

fn snapshot(texts: &[String]) -> TrustSnapshot {
    let named = texts.iter().enumerate().map(|(number, text)| {
        load(&text.replace("name: test", &format!("name: test-{number}"))).unwrap_or_else(|errors| panic!("{errors:?}"))
    });
    TrustSnapshot::new(named.collect()).unwrap()
}

fn selected(snapshot: &TrustSnapshot, image: &str, namespace: Option<&str>) -> Vec<String> {
    let image: ImageReference = image.parse().unwrap();
    match snapshot.select(&image, namespace) {
        Selection::Default { allow, policies } => {
            assert_eq!(policies.len(), snapshot.documents().len());
            vec![format!("default {allow}")]
        }
        Selection::Rules(rules) => {
            assert!(!rules.is_empty());
            let name = |applicable: &Applicable<'_>| format!("{}/{}", applicable.policy.name, applicable.rule.name);
            rules.iter().map(name).collect()
        }
    }
}

#[test]
fn the_most_specific_rule_decides() {
    let snapshot = snapshot(&[with_rules(&[
        "all r.io/** -",
        "team r.io/team/** -",
        "one-level r.io/team/* -",
        "apps r.io/team/app-* -",
        "app r.io/team/app-1 -",
        "app-prod r.io/team/app-1 prod",
        "hub nginx* -",
    ])]);
    for (image, namespace, rule) in [
        ("r.io/x", "dev", "all"),
        ("r.io/x/y", "dev", "all"),
        ("r.io/team/x", "dev", "one-level"),
        ("r.io/team/x/y", "dev", "team"),
        ("r.io/team/app-", "dev", "one-level"),
        ("r.io/team/app-2", "dev", "apps"),
        ("r.io/team/app-1:v2", "dev", "app"),
        ("r.io/team/app-1", "prod", "app-prod"),
        ("R.IO/team/app-1", "prod", "app-prod"),
        ("nginx", "dev", "hub"),
        ("index.docker.io/nginx-extra:1", "dev", "hub"),
    ] {
        let Ok(_) = image.parse::<ImageReference>() else { continue };
        assert_eq!(selected(&snapshot, image, Some(namespace)), [format!("test-0/{rule}")], "{image}");
    }
}

/// P01: what no rule covers is denied, and look-alikes are not covered.
#[test]
fn must_not_cover_a_name_that_merely_looks_alike() {
    let snapshot =
        snapshot(&[with_rules(&["r r.io/prod/** -", "s r.io:5000/x -", "t r.io/a*z -", "u docker.io/** -"])]);
    for image in [
        "r.io/prod",
        "r.io/production/x",
        "r.io/x/prod/y",
        "r.io.evil.example/prod/x",
        "evil.example/r.io/prod/x",
        "r.io:5000/prod/x",
        "r.io/x",
        "r.io:443/prod/x",
        "r.io/a/z",
        "r.io/az/z",
        "xr.io/prod/x",
    ] {
        assert_eq!(selected(&snapshot, image, Some("dev")), ["default false"], "{image}");
    }
    assert_eq!(selected(&snapshot, "r.io/prod/x", Some("dev")), ["test-0/r"]);
    assert_eq!(selected(&snapshot, "nginx", Some("dev")), ["test-0/u"]);
}

/// P09: leaving the namespace out, or inventing one, never asks for less.
#[test]
fn must_not_ask_for_less_without_a_namespace() {
    let text = with_rules(&["strict r.io/a/** prod", "loose r.io/a/** dev", "rest r.io/a/** -", "wide r.io/** -"]);
    let snapshot = snapshot(&[text]);
    assert_eq!(selected(&snapshot, "r.io/a/x", Some("prod")), ["test-0/strict"]);
    assert_eq!(selected(&snapshot, "r.io/a/x", Some("other")), ["test-0/rest"]);
    let every = ["test-0/strict", "test-0/loose", "test-0/rest"];
    for namespace in [None, Some(""), Some("Prod"), Some("dev/"), Some("dev "), Some("-"), Some(&*"x".repeat(64))] {
        assert_eq!(selected(&snapshot, "r.io/a/x", namespace), every, "{namespace:?}");
    }
}

/// P12, and documents of namespaces: each document that covers the image has its say.
#[test]
fn must_not_let_one_document_speak_for_another() {
    let audit = with_spec("rules: [{name: r, images: [\"r.io/**\"], mode: audit, require: a}]\ndefault: allow");
    let enforce = with_rules(&["s r.io/x -"]);
    let snapshot = snapshot(&[audit, enforce]);
    assert_eq!(selected(&snapshot, "r.io/x", Some("p")), ["test-0/r", "test-1/s"]);
    assert_eq!(selected(&snapshot, "r.io/y", Some("p")), ["test-0/r"]);
    assert_eq!(selected(&snapshot, "other.io/y", Some("p")), ["default false"]);
}

#[test]
fn must_not_allow_by_default_unless_every_document_says_so() {
    let (allow, deny) = (with_spec("default: allow"), with_spec("default: deny"));
    assert_eq!(selected(&snapshot(std::slice::from_ref(&allow)), "r.io/x", None), ["default true"]);
    assert_eq!(selected(&snapshot(&[allow.clone(), allow.clone()]), "r.io/x", None), ["default true"]);
    assert_eq!(selected(&snapshot(&[allow, deny]), "r.io/x", None), ["default false"]);
}

#[test]
fn must_not_put_two_documents_of_one_name_or_none_in_force() {
    let policy = || load(&with_spec("default: allow")).unwrap();
    assert!(TrustSnapshot::new(vec![policy(), policy()]).is_err());
    assert!(TrustSnapshot::new(Vec::new()).is_err());
    assert!(TrustSnapshot::new(vec![policy()]).is_ok());
}

#[test]
fn keys_on_the_command_line_are_one_authority_for_any_image() {
    let key = |number| PublicKey::parse(pem(number).as_bytes()).unwrap();
    let snapshot = TrustSnapshot::for_keys(vec![key(1), key(2), key(1)]);
    assert_eq!(selected(&snapshot, "any.example/x/y/z", None), ["command-line/any-image"]);
    assert_eq!(selected(&snapshot, "nginx", Some("prod")), ["command-line/any-image"]);
    let policy = &snapshot.documents()[0];
    let (authority, _) = policy.key(&key(2).id()).unwrap();
    assert_eq!(policy.authority(authority).unwrap().name, "key");
    assert_eq!(policy.authorities[0].keys.len(), 2);
    assert!(policy.key(&key(3).id()).is_none());
    let other = TrustSnapshot::for_keys(vec![key(1)]);
    assert_ne!(snapshot.digests().collect::<Vec<_>>(), other.digests().collect::<Vec<_>>());
}

/// Goal G8: the rule is found without trying each, whether patterns start or end with what tells them apart.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures how long it takes")]
fn ten_thousand_rules_load_and_are_found() {
    for (pattern, image) in [("r.io/team-N/**", "r.io/team-N/app"), ("r.io/*/app-N", "r.io/team/app-N")] {
        let numbered = |text: &str, number: usize| text.replace('N', &format!("{number:05}"));
        let rules: Vec<String> = (0..10_000).map(|n| format!("r{n} {} -", numbered(pattern, n))).collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let started = std::time::Instant::now();
        let snapshot = snapshot(&[with_rules(&rules)]);
        assert!(started.elapsed().as_secs() < 60, "loading took {:?}", started.elapsed());
        let started = std::time::Instant::now();
        for number in (0..10_000).step_by(7) {
            assert_eq!(selected(&snapshot, &numbered(image, number), Some("p")), [format!("test-0/r{number}")]);
        }
        assert!(started.elapsed().as_secs() < 5, "selecting took {:?}", started.elapsed());
    }
}

#[test]
fn must_not_spend_for_ever_on_patterns_that_all_start_with_wildcards() {
    let rules: Vec<String> = (0..4_000).map(|n| format!("r{n} r.io/**/{n:05}/* -")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let errors = load(&with_rules(&rules)).unwrap_err();
    assert_eq!(errors[0].code, Problem::LimitExceeded);
}

/// A matcher that tries everything, for short names.
fn model_matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|end| model_matches(rest, &name[end..])),
        [b'*', rest @ ..] => (0..=name.len())
            .take_while(|end| !name[..*end].contains(&b'/'))
            .any(|end| model_matches(rest, &name[end..])),
        [first, rest @ ..] => name.first() == Some(first) && model_matches(rest, &name[1..]),
    }
}

/// What the interface says about precedence, written down once more: longer literals, then no wildcard before `*`
/// before `**`, then with namespaces before without.
fn model_precedence(pattern: &str, has_namespaces: bool) -> (usize, u8, bool) {
    let literal = pattern.chars().filter(|c| *c != '*').count();
    let kind = if pattern.contains("**") { 0 } else { 1 + u8::from(!pattern.contains('*')) };
    (literal, kind, has_namespaces)
}

#[derive(Debug, Clone)]
struct ModelRule {
    images: Vec<String>,
    namespaces: Vec<String>,
}

impl ModelRule {
    fn precedence(&self, image: &str) -> Option<(usize, u8, bool)> {
        let matching = self.images.iter().filter(|pattern| model_matches(pattern.as_bytes(), image.as_bytes()));
        matching.map(|pattern| model_precedence(pattern, !self.namespaces.is_empty())).max()
    }

    fn covers(&self, namespace: &str) -> bool {
        let matches = |pattern: &String| model_matches(pattern.as_bytes(), namespace.as_bytes());
        self.namespaces.is_empty() || self.namespaces.iter().any(matches)
    }
}

fn model_select(rules: &[ModelRule], image: &str, namespace: Option<&str>) -> Vec<String> {
    let mut covering: Vec<_> =
        rules.iter().enumerate().filter_map(|(n, rule)| Some((rule.precedence(image)?, n, rule))).collect();
    covering.sort_by_key(|(precedence, n, _)| (std::cmp::Reverse(*precedence), *n));
    let mut chosen = Vec::new();
    for (_, number, rule) in covering {
        let decides = namespace.is_none_or(|namespace| rule.covers(namespace));
        if decides {
            chosen.push(format!("test-0/r{number}"));
        }
        if decides && (namespace.is_some() || rule.namespaces.is_empty()) {
            break;
        }
    }
    if chosen.is_empty() { vec!["default false".to_owned()] } else { chosen }
}

fn pattern_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "a*", "*b", "*", "a*b", "*a*", "a-*", "**"]);
    prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join("/"))
}

fn name_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "ba", "a-b", "x", "abb", "a-"]);
    let valid = |path: &String| path.split('/').all(|segment| !segment.ends_with('-'));
    prop::collection::vec(segment, 1..5).prop_map(|segments| segments.join("/")).prop_filter("valid", valid)
}

fn model_rules() -> impl Strategy<Value = Vec<ModelRule>> {
    let host = prop::sample::select(vec!["r.io", "r.io", "s.io:5000"]);
    let image = (host, pattern_path()).prop_map(|(host, path)| format!("{host}/{path}"));
    let images = prop::collection::btree_set(image, 1..3);
    let namespace = prop::sample::select(vec!["p", "q", "p*", "*q", "pq"]);
    let namespaces = prop::collection::btree_set(namespace, 0..3);
    let rule = (images, namespaces).prop_map(|(images, namespaces)| ModelRule {
        images: images.into_iter().collect(),
        namespaces: namespaces.into_iter().map(str::to_owned).collect(),
    });
    prop::collection::vec(rule, 1..6)
}

fn written(rules: &[ModelRule]) -> String {
    let lines: Vec<String> = rules
        .iter()
        .enumerate()
        .map(|(n, rule)| {
            let namespaces = if rule.namespaces.is_empty() { "-".to_owned() } else { rule.namespaces.join(",") };
            format!("r{n} {} {namespaces}", rule.images.join(","))
        })
        .collect();
    with_rules(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The words between backticks.
fn quoted_words(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn selection_agrees_with_the_model(rules in model_rules(), path in name_path(), namespace in "[pqx]{1,3}") {
        match load(&written(&rules)) {
            Ok(policy) => {
                let renamed = crate::trust::TrustPolicy { name: "test-0".to_owned(), ..policy };
                let snapshot = TrustSnapshot::new(vec![renamed]).unwrap();
                for host in ["r.io", "s.io:5000"] {
                    let image = format!("{host}/{path}");
                    for namespace in [None, Some(namespace.as_str())] {
                        prop_assert_eq!(selected(&snapshot, &image, namespace), model_select(&rules, &image, namespace));
                    }
                    let at = |rule: &ModelRule| rule.covers(&namespace).then(|| rule.precedence(&image)).flatten();
                    let best = rules.iter().filter_map(at).max();
                    let winners = rules.iter().filter(|rule| best.is_some() && at(rule) == best).count();
                    prop_assert!(winners <= 1, "{image} has two masters");
                }
            }
            Err(errors) => for error in errors {
                prop_assert_eq!(error.code, Problem::AmbiguousRules);
                let words = quoted_words(&error.message);
                let rule = |name: &str| &rules[name.trim_start_matches('r').parse::<usize>().unwrap()];
                let (a, b, image) = (rule(words[0]), rule(words[1]), words[2]);
                prop_assert_eq!(image.parse::<Repository>().unwrap().to_string(), image);
                prop_assert!(a.precedence(image).is_some() && b.precedence(image).is_some(), "{}", error.message);
                prop_assert_eq!(a.namespaces.is_empty(), b.namespaces.is_empty());
                if let Some(namespace) = words.get(3) {
                    prop_assert!(a.covers(namespace) && b.covers(namespace));
                }
            }
        }
    }

    #[test]
    fn a_common_name_is_found_exactly_when_there_is_one(a in pattern_path(), b in pattern_path(), name in name_path()) {
        let grammar = Grammar::Path { longest: 200, two_segments: false };
        let (glob_a, glob_b) = (Glob::new(&a), Glob::new(&b));
        let both = |name: &str| {
            model_matches(a.as_bytes(), name.as_bytes()) && model_matches(b.as_bytes(), name.as_bytes())
        };
        prop_assert_eq!(glob_a.matches(&name), model_matches(a.as_bytes(), name.as_bytes()));
        match common_name(&glob_a, &glob_b, grammar, &mut 1_000_000) {
            Overlap::Name(witness) => {
                prop_assert!(both(&witness), "{witness}");
                let repository: Repository = format!("r.io/{witness}").parse().unwrap();
                prop_assert_eq!(repository.path(), witness);
            }
            Overlap::None => prop_assert!(!both(&name), "{name}"),
            Overlap::TooCostly => prop_assert!(false),
        }
    }

    #[test]
    fn a_more_specific_pattern_never_covers_more(a in pattern_path(), b in pattern_path(), name in name_path()) {
        // Where the model finds a name that only `a` matches and `b` matches whatever else is tried, `a` is not above.
        let only_a = model_matches(a.as_bytes(), name.as_bytes()) && !model_matches(b.as_bytes(), name.as_bytes());
        let within = names().iter().all(|name| {
            !model_matches(b.as_bytes(), name.as_bytes()) || model_matches(a.as_bytes(), name.as_bytes())
        });
        if only_a && within && names().iter().any(|name| model_matches(b.as_bytes(), name.as_bytes())) {
            prop_assert!(model_precedence(&a, false) <= model_precedence(&b, false), "{a} {b}");
        }
    }
}

/// Every name of up to three segments from a few.
fn names() -> &'static Vec<String> {
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    NAMES.get_or_init(|| {
        let segments = ["a", "b", "ab", "aab", "abb", "a-b", "a-a", "x", "bab", "xax"];
        let mut names: Vec<String> = segments.iter().map(|segment| (*segment).to_owned()).collect();
        for _ in 0..2 {
            let longer: Vec<String> =
                names.iter().flat_map(|name| segments.iter().map(move |segment| format!("{name}/{segment}"))).collect();
            names.extend(longer);
        }
        names
    })
}
