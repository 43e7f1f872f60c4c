//! What met the demands of a trust policy. The image is judged by the code of `verify`; what is shown is part of the proof.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_policy::attestation::PredicateType;
use hallmark_policy::image::ImageReference;
use hallmark_policy::trust::{Applicable, Selection, TrustSnapshot};

use super::Arguments;
use crate::command::trust;
use crate::command::verify::Judge;
use crate::error::{Exit, Failure};
use crate::output::Output;
use crate::report::AttestationsReport;

/// Judges the images, and takes from each proof what is attested.
pub(super) fn report(
    arguments: &Arguments,
    images: &[ImageReference],
    output: Output,
) -> Result<AttestationsReport, Failure> {
    let trust = trust::load(&arguments.policy).map_err(trust::failure)?.snapshot;
    let (namespace, predicate_type) = (arguments.namespace.as_deref(), arguments.predicate_type.as_ref());
    // Names alone say whether anything is demanded: where nothing is, no registry is asked.
    images.iter().try_for_each(|image| check_demands(&trust, image, namespace, predicate_type))?;
    let judge = Judge {
        trust: &trust,
        namespace,
        annotations: BTreeMap::new(),
        evidence: arguments.evidence.as_deref(),
        registry: &arguments.registry,
    };
    Ok(AttestationsReport::of_verdicts(predicate_type, &judge.verdicts(images, output)?))
}

/// That the rules for an image demand an attestation, of the type that is asked for. Nobody must take "allowed" for
/// "attested". What no rule covers and no default allows is left to the verdict, which denies it.
fn check_demands(
    trust: &TrustSnapshot,
    image: &ImageReference,
    namespace: Option<&str>,
    predicate_type: Option<&PredicateType>,
) -> Result<(), Failure> {
    let rules = match trust.select(image, namespace) {
        Selection::Default { allow: false, .. } => return Ok(()),
        Selection::Default { allow: true, .. } => {
            let message =
                format!("no rule covers `{image}`: it is allowed by default, and no attestation is demanded of it");
            return Err(Failure::new(Exit::Usage, message, NOTHING_DEMANDED));
        }
        Selection::Rules(rules) => rules,
    };
    let demanded: BTreeSet<&PredicateType> =
        rules.iter().flat_map(|rule| &rule.rule.attestations).flat_map(|gate| &gate.types).collect();
    if demanded.is_empty() {
        let message = demands_nothing(&rules, &format!("for `{image}`"));
        return Err(Failure::new(Exit::Usage, message, NOTHING_DEMANDED));
    }
    match predicate_type {
        Some(wanted) if !demanded.contains(wanted) => {
            let message = demands_nothing(&rules, &format!("of type `{wanted}` for `{image}`"));
            let types: Vec<String> = demanded.iter().map(|kind| format!("`{kind}`")).collect();
            let hint = format!("leave `--type` out, or give what is demanded: {}", types.join(", "));
            Err(Failure::new(Exit::Usage, message, hint))
        }
        _ => Ok(()),
    }
}

const NOTHING_DEMANDED: &str = "ask `hallmark verify --policy` whether it is allowed, say by `--key` or `--certificate-identity` whose \
                                attestations count, or write `attestations` into the rule";

fn demands_nothing(rules: &[Applicable<'_>], what: &str) -> String {
    let names = rules.iter().map(|Applicable { policy, rule }| format!("`{}/{}`", policy.name, rule.name));
    match names.collect::<Vec<_>>().as_slice() {
        [one] => format!("the rule {one} demands no attestation {what}"),
        several => format!("none of the rules {} demands an attestation {what}", several.join(", ")),
    }
}
