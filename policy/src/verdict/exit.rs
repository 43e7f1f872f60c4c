//! Outcome to exit code: the one match.

use super::Verdict;
use crate::reason::Outcome;

/// The exit code of the command line for a verdict: 0 allow, 20 undetermined, and for a denial that of its first
/// reason.
#[must_use]
pub fn exit_code(verdict: &Verdict) -> u8 {
    match verdict.outcome() {
        Outcome::Allow => 0,
        Outcome::Undetermined => 20,
        Outcome::Deny => {
            let denial = verdict.rules().iter().find(|rule| rule.decision().outcome() == Outcome::Deny);
            denial.and_then(|rule| rule.decision().reasons().first()).map_or(1, |reason| reason.code.exit_code())
        }
    }
}

/// The verdict that decides for several images: deny before undetermined before allow.
pub fn worst<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Option<&'a Verdict> {
    let mut worst: Option<&Verdict> = None;
    for verdict in verdicts {
        if worst.is_none_or(|worst| verdict.outcome() > worst.outcome()) {
            worst = Some(verdict);
        }
    }
    worst
}
