//! A rule's demands on attestations.

use std::collections::{BTreeMap, HashSet};

use jiff::SignedDuration;

use super::Checks;
use super::rules::{Names, authority, requirement};
use crate::attestation::{Kind, PredicateType, Severity};
use crate::trust::document::{
    AllowEntry, AttestationEntry, CountWord, Placed, SbomEntry, VulnerabilitiesEntry, WhichWord,
};
use crate::trust::gate::{Gate, SbomDemand, UriPattern, VulnerabilityLimits, Which};
use crate::trust::policy::AuthorityIndex;
use crate::trust::problem::{Problem, quoted};

/// Most demands of one rule: each looks at every attestation of an image.
const MAX_GATES: usize = 16;
/// Most types, builders, sources or allowed ids of one demand.
const MAX_ELEMENTS: usize = 256;
/// Greatest age that means something.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24 * 366 * 10);

/// Checks the demands of one rule; `None` when anything was refused.
pub(super) fn compile(
    entries: Option<&Placed<Vec<Placed<AttestationEntry>>>>,
    path: &str,
    names: &Names<'_>,
    checks: &mut Checks<'_>,
) -> Option<Vec<Gate>> {
    let Some(entries) = entries else { return Some(Vec::new()) };
    if let Some(beyond) = entries.value.get(MAX_GATES) {
        let message = format!("the rule has more than {MAX_GATES} demands on attestations");
        checks.refuse(beyond.position, path, Problem::LimitExceeded, message, "make two documents of it");
        return None;
    }
    let mut gates: Vec<Gate> = Vec::with_capacity(entries.value.len());
    for (index, entry) in entries.value.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = &entry.value.name;
        checks.name(name, &format!("{path}.name"));
        if gates.iter().any(|gate| gate.name == name.value) {
            let message = format!("the demand `{}` is written twice", quoted(&name.value));
            let hint = "give each its own name: verdicts name the one that is not met";
            checks.refuse(name.position, format!("{path}.name"), Problem::Duplicate, message, hint);
        }
        gates.extend(gate(entry, &path, names, checks));
    }
    (gates.len() == entries.value.len()).then_some(gates)
}

fn gate(entry: &Placed<AttestationEntry>, path: &str, names: &Names<'_>, checks: &mut Checks<'_>) -> Option<Gate> {
    let written = &entry.value;
    let types = types(&written.types, &format!("{path}.types"), checks);
    let from = requirement(&written.from, &format!("{path}.from"), names, checks);
    let builders = patterns(written.builders.as_ref(), &format!("{path}.builders"), checks);
    let sources = patterns(written.sources.as_ref(), &format!("{path}.sources"), checks);
    let max_age = match &written.max_age {
        Some(text) => age(text, &format!("{path}.maxAge"), checks).map(Some),
        None => Some(None),
    };
    let vulnerabilities = match &written.vulnerabilities {
        Some(limits) => vulnerabilities(limits, &format!("{path}.vulnerabilities"), names, checks).map(Some),
        None => Some(None),
    };
    let sbom = match &written.sbom {
        Some(entry) => sbom(entry, &format!("{path}.sbom"), checks).map(Some),
        None => Some(None),
    };
    let types = types?;
    refuse_misplaced(written, &types, path, checks);
    let which = match (written.which.as_ref().map(|word| word.value), &written.vulnerabilities) {
        (Some(WhichWord::Any), _) | (None, None) => Which::Any,
        (Some(WhichWord::Newest), _) | (None, Some(_)) => Which::Newest,
    };
    if let (Which::Any, Some(word), Some(Some(limits))) = (which, &written.which, &vulnerabilities)
        && !limits.vex.is_empty()
    {
        let message = "`vex` with `which: any`: a newer statement that takes an older one back would not count";
        let hint = "leave `which` out: it is `newest` for scans";
        checks.refuse(word.position, format!("{path}.which"), Problem::Unsatisfiable, message, hint);
        return None;
    }
    Some(Gate {
        name: written.name.value.clone(),
        types,
        from: from?,
        which,
        max_age: max_age?,
        builders: builders?,
        sources: sources?,
        sbom: sbom?,
        vulnerabilities: vulnerabilities?,
        position: entry.position,
    })
}

/// What is asked of attestations must be something that all of the demand's types say.
fn refuse_misplaced(written: &AttestationEntry, types: &[PredicateType], path: &str, checks: &mut Checks<'_>) {
    let all = |is_right: fn(Kind) -> bool| types.iter().all(|kind| kind.kind().is_some_and(is_right));
    let mut misplaced = |position, field: &str, what: &str| {
        let message = format!("`{field}` says something about {what}, and a type here is none");
        let hint = "write one demand for each kind of attestation";
        checks.refuse(position, format!("{path}.{field}"), Problem::Unsatisfiable, message, hint);
    };
    for (field, list) in [("builders", &written.builders), ("sources", &written.sources)] {
        if let Some(list) = list.as_ref().filter(|_| !all(Kind::is_provenance)) {
            misplaced(list.position, field, "provenance");
        }
    }
    if let Some(limits) = written.vulnerabilities.as_ref().filter(|_| !all(Kind::is_scan)) {
        misplaced(limits.position, "vulnerabilities", "scans");
    }
    if let Some(sbom) = written.sbom.as_ref().filter(|_| !all(Kind::is_sbom)) {
        misplaced(sbom.position, "sbom", "bills of materials");
    }
}

fn sbom(entry: &Placed<SbomEntry>, path: &str, checks: &mut Checks<'_>) -> Option<SbomDemand> {
    let written = &entry.value;
    let mut formats = Vec::new();
    if let Some(list) = &written.formats {
        let path = format!("{path}.formats");
        bounded(list, &path, checks)?;
        for (index, text) in list.value.iter().enumerate() {
            let name = text.value.split_once('-').map_or(text.value.as_str(), |(name, _)| name);
            if matches!(name, "SPDX" | "CycloneDX") {
                formats.push(text.value.clone());
                continue;
            }
            let message = format!("`{}` is not a format of bills of materials", quoted(&text.value));
            let hint = "write `SPDX` or `CycloneDX`, with a version or without: `SPDX-2.3`, `CycloneDX-1.6`";
            checks.refuse(text.position, format!("{path}[{index}]"), Problem::InvalidValue, message, hint);
            return None;
        }
    }
    let components = match &written.components {
        Some(count) => number(count, 1, &format!("{path}.components"), checks)?,
        None => 1,
    };
    Some(SbomDemand { formats, components })
}

/// A plain decimal number, of which readers of YAML do not differ.
fn number(count: &Placed<i64>, least: i64, path: &str, checks: &mut Checks<'_>) -> Option<usize> {
    let is_plain = checks.scalar_at(count.position).is_none_or(|text| text == count.value.to_string());
    let number = usize::try_from(count.value).ok().filter(|_| is_plain && count.value >= least);
    if number.is_none() {
        let message = format!("this is not a plain decimal number from {least} on");
        checks.refuse(count.position, path, Problem::InvalidValue, message, "write digits only, such as `1`");
    }
    number
}

fn bounded<T>(list: &Placed<Vec<T>>, path: &str, checks: &mut Checks<'_>) -> Option<()> {
    let (code, message) = match list.value.len() {
        0 => (Problem::Empty, "this list is empty, so nothing can be in it".to_owned()),
        length if length > MAX_ELEMENTS => {
            (Problem::LimitExceeded, format!("this list has more than {MAX_ELEMENTS} elements"))
        }
        _ => return Some(()),
    };
    checks.refuse(list.position, path, code, message, "write at least one, or leave the field out");
    None
}

fn types(list: &Placed<Vec<Placed<String>>>, path: &str, checks: &mut Checks<'_>) -> Option<Vec<PredicateType>> {
    bounded(list, path, checks)?;
    let mut found: Vec<PredicateType> = Vec::new();
    for (index, text) in list.value.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match text.value.parse::<PredicateType>() {
            Ok(kind) if found.contains(&kind) => {
                checks.refuse(text.position, path, Problem::Duplicate, "this type stands here twice", "keep one");
            }
            Ok(kind) => found.push(kind),
            Err(error) => {
                let hint = "write the predicate's URI as it stands in the attestation";
                checks.refuse(text.position, path, Problem::InvalidValue, quoted(&error.to_string()), hint);
            }
        }
    }
    (found.len() == list.value.len()).then_some(found)
}

fn patterns(
    list: Option<&Placed<Vec<Placed<String>>>>,
    path: &str,
    checks: &mut Checks<'_>,
) -> Option<Vec<UriPattern>> {
    let Some(list) = list else { return Some(Vec::new()) };
    bounded(list, path, checks)?;
    let mut found = Vec::new();
    for (index, text) in list.value.iter().enumerate() {
        match UriPattern::parse(&text.value) {
            Ok(pattern) => found.push(pattern),
            Err(hint) => {
                let message = format!("`{}` is not a pattern for one owner's URIs", quoted(&text.value));
                checks.refuse(text.position, format!("{path}[{index}]"), Problem::InvalidValue, message, hint);
            }
        }
    }
    (found.len() == list.value.len()).then_some(found)
}

fn age(text: &Placed<String>, path: &str, checks: &mut Checks<'_>) -> Option<SignedDuration> {
    match text.value.parse::<SignedDuration>() {
        Ok(age) if age.is_positive() && age <= MAX_AGE => Some(age),
        _ => {
            let message = format!("`{}` is not a length of time between 0 and ten years", quoted(&text.value));
            checks.refuse(
                text.position,
                path,
                Problem::InvalidValue,
                message,
                "write hours and minutes: `168h`, `1h 30m`",
            );
            None
        }
    }
}

fn vulnerabilities(
    entry: &Placed<VulnerabilitiesEntry>,
    path: &str,
    names: &Names<'_>,
    checks: &mut Checks<'_>,
) -> Option<VulnerabilityLimits> {
    let written = &entry.value;
    let mut most = BTreeMap::new();
    let mut is_good = true;
    for (severity, count) in [
        (Severity::Critical, &written.critical),
        (Severity::High, &written.high),
        (Severity::Medium, &written.medium),
        (Severity::Low, &written.low),
        (Severity::Unknown, &written.unknown),
    ] {
        let Some(count) = count else { continue };
        match number(count, 0, &format!("{path}.{}", severity.as_str()), checks) {
            Some(number) => {
                most.insert(severity, number);
            }
            None => is_good = false,
        }
    }
    if most.is_empty() && is_good {
        let message = "no severity is limited, so that any number of vulnerabilities would do";
        checks.refuse(entry.position, path, Problem::Empty, message, "write `critical: 0`, or more");
        return None;
    }
    let allowed = allowed(&written.allow, &format!("{path}.allow"), checks)?;
    let vex = vex(written.vex.as_ref(), &format!("{path}.vex"), names, checks)?;
    let fixable_only = written.count.as_ref().is_some_and(|word| word.value == CountWord::Fixable);
    is_good.then_some(VulnerabilityLimits { most, fixable_only, allowed, vex })
}

fn vex(
    list: Option<&Placed<Vec<Placed<String>>>>,
    path: &str,
    names: &Names<'_>,
    checks: &mut Checks<'_>,
) -> Option<Vec<AuthorityIndex>> {
    let Some(list) = list else { return Some(Vec::new()) };
    bounded(list, path, checks)?;
    let mut found = Vec::new();
    for (index, name) in list.value.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let authority = authority(&name.value, name.position, &path, names, checks)?;
        if found.contains(&authority) {
            let message = format!("the authority `{}` stands here twice", quoted(&name.value));
            checks.refuse(name.position, path, Problem::Duplicate, message, "keep one");
            return None;
        }
        found.push(authority);
    }
    Some(found)
}

fn allowed(
    entries: &[Placed<AllowEntry>],
    path: &str,
    checks: &mut Checks<'_>,
) -> Option<BTreeMap<String, jiff::Timestamp>> {
    let mut seen = HashSet::new();
    let mut found = BTreeMap::new();
    if let Some(beyond) = entries.get(MAX_ELEMENTS) {
        let message = format!("this list has more than {MAX_ELEMENTS} elements");
        checks.refuse(beyond.position, path, Problem::LimitExceeded, message, "mend the oldest ones");
        return None;
    }
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("{path}[{index}]");
        checks.sentence(&entry.value.id, &format!("{path}.id"));
        checks.sentence(&entry.value.reason, &format!("{path}.reason"));
        let expires = checks.timestamp(&entry.value.expires, &format!("{path}.expires"));
        let id = &entry.value.id;
        if !seen.insert(id.value.as_str()) {
            let message = format!("the id `{}` stands here twice", quoted(&id.value));
            checks.refuse(id.position, format!("{path}.id"), Problem::Duplicate, message, "keep one");
        }
        found.extend(expires.map(|expires| (id.value.clone(), expires)));
    }
    (found.len() == entries.len()).then_some(found)
}
