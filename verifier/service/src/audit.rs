//! The audit log: one line for each image that was judged. Text from outside is made printable before it gets here.

use std::time::Duration;

use crate::asking::{Asking, Namespace};
use crate::text::printable;
use crate::verdict::ImageVerdict;

/// The target under which the lines appear, for filters: `HALLMARK_LOG_LEVEL=audit=info,warn`.
pub(crate) const TARGET: &str = "audit";

/// Writes the line of one verdict.
pub(crate) fn verdict(asking: &Asking<'_>, verdict: &ImageVerdict, took: Duration) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let (namespace, claimed) = match &asking.namespace {
        Namespace::Authentic(namespace) => (namespace.as_deref().unwrap_or(""), false),
        Namespace::Claimed(namespace) => (namespace.as_str(), true),
    };
    tracing::info!(
        target: TARGET,
        endpoint = asking.endpoint.as_str(),
        image = printable(&verdict.image),
        namespace = printable(namespace),
        namespace_claimed = claimed,
        dry_run = asking.dry_run,
        verdict = verdict.verdict.as_str(),
        admit = verdict.admit,
        pinned = verdict.pinned.as_deref().unwrap_or(""),
        rule = verdict.rule.as_deref().unwrap_or(""),
        codes = join(verdict.reasons.iter().map(|reason| reason.code.as_str())),
        authorities = join(verdict.proof.iter().map(|proof| proof.authority.as_str())),
        keys = join(verdict.proof.iter().filter_map(|proof| proof.key_id.as_deref())),
        policies = join(asking.policies().iter().map(|policy| policy.digest.as_str())),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "verdict"
    );
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(",")
}
