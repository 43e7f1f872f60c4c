//! Both are asked the same; every difference is explained, and every explanation is needed.

use std::collections::{BTreeMap, BTreeSet};

use super::corpus::Case;
use super::divergences::{Accepts, DIVERGENCES, document};
use super::mutations::{ALWAYS, WITH_PROOF, World};
use super::opinion::{self, Opinion};
use super::{recorded, structure};

/// What was compared, and where the two differed.
#[derive(Default)]
struct Comparison {
    compared: usize,
    both_accept: usize,
    not_asked: usize,
    differences: BTreeMap<(String, Accepts), String>,
}

impl Comparison {
    fn add(&mut self, what: &str, id: &str, world: &World) {
        let ours = world.outcome();
        let theirs = opinion::of(world);
        let difference = match (&ours, &theirs) {
            (_, Opinion::NotAsked) => {
                self.not_asked += 1;
                return;
            }
            (Ok(()), Opinion::Refuses(problem)) => Some((Accepts::Hallmark, problem.clone())),
            (Err(code), Opinion::Accepts) => Some((Accepts::Oracle, code.to_string())),
            (Ok(()), Opinion::Accepts) => {
                self.both_accept += 1;
                None
            }
            (Err(_), Opinion::Refuses(_)) => None,
        };
        self.compared += 1;
        if let Some((accepts, problem)) = difference {
            self.differences.entry((what.to_owned(), accepts)).or_insert_with(|| format!("{id}: {problem}"));
        }
    }

    /// Every difference has its line, and every line that `used` is about has its difference.
    fn settle(&self, mut is_about: impl FnMut(&str) -> bool) {
        let explained = |what: &str, accepts| DIVERGENCES.iter().any(|it| it.what == what && it.accepts == accepts);
        let unexplained: Vec<_> =
            self.differences.iter().filter(|((what, accepts), _)| !explained(what, *accepts)).collect();
        assert!(unexplained.is_empty(), "{} unexplained: {unexplained:#?}", unexplained.len());
        for it in DIVERGENCES.iter().filter(|it| is_about(it.what)) {
            let key = (it.what.to_owned(), it.accepts);
            assert!(self.differences.contains_key(&key), "no difference any more: {}", it.what);
        }
    }
}

/// Every recorded bundle, also those of private instances.
fn cases() -> Vec<Case> {
    let mut cases = recorded::cases();
    cases.extend([recorded::private(1), recorded::private(2)]);
    cases
}

fn world(case: &Case) -> World {
    let mut world = World::new(case);
    let key = |name: &String| recorded::file(&format!("bundles/{name}"));
    world.key = case.public_key.as_ref().map(|name| hallmark_policy::verify::PublicKey::parse(&key(name)).unwrap());
    world
}

#[test]
fn both_agree_on_every_recorded_bundle() {
    let mut comparison = Comparison::default();
    for case in cases() {
        comparison.add(&case.id, &case.id, &world(&case));
    }
    comparison.settle(|what| cases().iter().any(|case| case.id == what));
    assert_eq!((comparison.compared, comparison.both_accept, comparison.not_asked), (33, 24, 0));
}

#[test]
fn both_agree_on_every_mutant_of_every_recorded_bundle() {
    let mut comparison = Comparison::default();
    for case in recorded::cases().iter().filter(|case| case.expect == "pass" && case.public_key.is_none()) {
        let good = World::new(case);
        let with_proof = if good.has_proof() { WITH_PROOF } else { &[] };
        for (what, _, mutate) in ALWAYS.iter().chain(with_proof) {
            let mut mutant = good.clone();
            mutate(&mut mutant);
            comparison.add(what, &case.id, &mutant);
        }
    }
    let kinds: BTreeSet<_> = ALWAYS.iter().chain(WITH_PROOF).map(|(what, ..)| *what).collect();
    comparison.settle(|what| kinds.contains(what));
    assert!(comparison.compared > 1_000, "{}", comparison.compared);
    assert!(comparison.not_asked < 150, "{}", comparison.not_asked);
}

/// One bundle of each shape: versions 0.1 to 0.3, keys, certificates and chains of them. Not those of the second Rekor:
/// the oracle refuses the timestamps of all that were recorded.
#[test]
fn both_agree_on_bundles_of_which_any_part_is_gone_or_changed() {
    let ids = [
        "npm/sigstore-2.1.0.provenance.v01",
        "npm/sigstore-2.1.0.provenance",
        "npm/sigstore-js-1.3.0.publish",
        "pypi/pypi_attestations-0.0.19.tar.gz.publish",
        "pypi/rfc8785-0.1.2-py3-none-any.whl.bundle",
    ];
    let mut comparison = Comparison::default();
    for case in ids.map(recorded::case) {
        let good = world(&case);
        assert_eq!(good.outcome(), Ok(()), "{}", case.id);
        for mutant in structure::mutants(&good.bundle) {
            let mut world = good.clone();
            world.bundle = mutant.bundle;
            comparison.add(&mutant.what, &case.id, &world);
        }
    }
    comparison.settle(|what| what.starts_with('/'));
    assert!(comparison.compared > 1_000, "{}", comparison.compared);
    assert!(comparison.both_accept > 10, "{}", comparison.both_accept);
}

/// A reason that nobody can read is none.
#[test]
fn every_difference_is_a_line_of_the_document() {
    let document = document();
    for it in DIVERGENCES {
        assert!(document.lines().any(|line| line.starts_with(&format!("| {} |", it.line))), "{}", it.line);
    }
}
