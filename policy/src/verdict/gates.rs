//! A rule's demands on attestations, held against what is attested of one manifest.
//!
//! A demand for any attestation is monotone, as signatures are. One for the newest is not, on purpose: a newer scan that
//! finds more ends an allow. It is therefore met only while nothing is unknown, nothing was left out and everything that
//! an authority attested could be read: what nobody saw may be the newest. So may what an authority attested and nobody
//! vouches for. A registry can still withhold the newest, which only `maxAge` bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Reason;
use super::coverage::open_questions;
use super::speakers::{Budget, Unproven, speakers};
use crate::attestation::{FactContent, Facts, Finding, Kind, Severity, VexStatement, Wanted, is_harmless};
use crate::evidence::{Cause, DecodedEvidence, Place};
use crate::image::Digest;
use crate::reason::Code;
use crate::trust::{Applicable, AuthorityIndex, Gate, SbomDemand, UriPattern, VulnerabilityLimits, Which};
use crate::verify::{Rejection, UnprovenAttestation, VerifiedAttestation, VerifiedTime, judge_attestation, quoted};

/// Most findings of one severity that a reason names.
const MAX_NAMED: usize = 3;

/// What a demand comes to.
pub(super) enum GateOutcome {
    Met(Vec<VerifiedAttestation>),
    /// With complete evidence; never empty.
    Unmet(Vec<Reason>),
    /// Never empty.
    Unknown(Vec<Reason>),
}

/// Holds one demand against the attestations of a manifest.
pub(super) fn gate(
    rule: &Applicable<'_>,
    gate: &Gate,
    evidence: &DecodedEvidence,
    digest: Digest,
    now: Timestamp,
    budget: &mut Budget,
) -> GateOutcome {
    let unknown = unknown(evidence);
    // Nobody has signed which key a bundle names: another name must not keep the newest from being found.
    budget.try_every_key(gate.which == Which::Newest);
    let mut look = Look { rule, evidence, digest, now, budget };
    let mut asked = gate.from.authorities();
    asked.sort_unstable();
    let mut found = look.at(&asked, Wanted::Types(&gate.types));
    let vex = look.vex(gate, &mut found.obstacles);
    let check = Check { gate, digest, now, vex: &vex };
    let mut passing: BTreeMap<AuthorityIndex, VerifiedAttestation> = BTreeMap::new();
    let mut reasons = Vec::new();
    for authority in asked {
        let attestations = found.by_authority.get(&authority).map_or(&[][..], Vec::as_slice);
        let unproven: Vec<&Hidden> = found.unproven.iter().filter(|one| one.authority == authority).collect();
        match check.authority(attestations, &unproven) {
            Ok(attestation) => {
                passing.insert(authority, attestation);
            }
            Err(failed) => failed.into_iter().for_each(|reason| add(&mut reasons, gate, reason)),
        }
    }
    let is_open = gate.which == Which::Newest && (unknown.is_some() || !found.obstacles.is_empty());
    if !is_open && gate.from.is_met_by(&|authority| passing.contains_key(&authority)) {
        return GateOutcome::Met(passing.into_values().collect());
    }
    if let Some(causes) = unknown {
        return GateOutcome::Unknown(causes);
    }
    // Who attested nothing is missing, whatever else is wrong: an exception must know all of it.
    if !gate.from.is_met_by(&|authority| found.by_authority.contains_key(&authority)) {
        let types: Vec<String> = gate.types.iter().map(|kind| format!("`{kind}`")).collect();
        let message = format!("no attestation of type {} by whom it must be", types.join(" or "));
        add(&mut reasons, gate, Reason::new(Code::AttestationMissing, message));
    }
    for reason in found.obstacles.into_iter().chain(found.others) {
        add(&mut reasons, gate, reason);
    }
    GateOutcome::Unmet(reasons)
}

/// Adds a reason, each code once, with the demand's name.
fn add(reasons: &mut Vec<Reason>, gate: &Gate, reason: Reason) {
    if reasons.iter().all(|known| known.code != reason.code) {
        reasons.push(Reason::new(reason.code, format!("`{}`: {}", gate.name, reason.message)));
    }
}

/// What is unknown, the place included that is only asked where attestations are demanded.
fn unknown(evidence: &DecodedEvidence) -> Option<Vec<Reason>> {
    if let Some(causes) = open_questions(evidence.causes()) {
        return Some(causes);
    }
    let was_asked = evidence.evidence().places.iter().any(|report| report.place == Place::AttestationTag);
    let cause = Cause::new(Code::RegistryInconsistent, "the tag for attestations was not looked at");
    (!was_asked).then(|| vec![Reason::new(cause.code(), cause.detail())])
}

/// The attestations of a demand's authorities.
#[derive(Default)]
struct Found {
    by_authority: BTreeMap<AuthorityIndex, Vec<VerifiedAttestation>>,
    /// Those that do not count for want of who must have seen them.
    unproven: Vec<Hidden>,
    /// What may be, or hide, a newer one.
    obstacles: Vec<Reason>,
    /// Attestations that do not count.
    others: Vec<Reason>,
}

/// One of an authority's attestations that nobody vouches for, and may be the newest all the same.
struct Hidden {
    authority: AuthorityIndex,
    attestation: UnprovenAttestation,
    reason: Reason,
}

/// Where attestations are looked for.
struct Look<'a, 'r> {
    rule: &'a Applicable<'r>,
    evidence: &'a DecodedEvidence,
    digest: Digest,
    now: Timestamp,
    budget: &'a mut Budget,
}

impl Look<'_, '_> {
    /// What these authorities attested of these types.
    fn at(&mut self, asked: &[AuthorityIndex], wanted: Wanted<'_>) -> Found {
        let Self { rule, evidence, digest, now, .. } = *self;
        let mut found = Found::default();
        // What lies beyond a bound was not seen, nor was what came with other bytes than it was listed with. What is too large
        // and claims to be of another type is not asked for: whoever made it lie could as well have withheld it.
        let unseen = |rejection: &&Rejection| match rejection.code {
            Code::LimitExceeded => rejection.claims.as_deref().is_none_or(|claimed| wanted.includes(claimed)),
            code => code == Code::DigestMismatch,
        };
        let unseen = evidence.rejections().iter().filter(unseen);
        found.obstacles.extend(unseen.map(|rejection| Reason::new(rejection.code, rejection.message.clone())));
        // What was signed in those that count, and in the others.
        let (mut counted, mut unproven) = (BTreeSet::new(), Vec::new());
        for (signature, speaker) in speakers(rule, asked, evidence.signatures(), now, self.budget) {
            let signed = signature.signature.message();
            let hidden = |unproven: &Unproven<'_>, reason: &Reason| {
                let Unproven { authority, facts, window, time } = unproven;
                let attestation = UnprovenAttestation::of(facts, window, time, digest, wanted, now)?;
                Some((signed, Hidden { authority: *authority, attestation, reason: reason.clone() }))
            };
            let speaker = match speaker {
                Ok(speaker) => speaker,
                Err(unheard) => {
                    let rejection = unheard.rejection;
                    let (is_of_asked, reason) =
                        (rejection.authority.is_some(), Reason::new(rejection.code, rejection.message));
                    unproven.extend(unheard.unproven.and_then(|unproven| hidden(&unproven, &reason)));
                    match reason.code {
                        Code::LimitExceeded => found.obstacles.push(reason),
                        _ if is_of_asked => found.others.push(reason),
                        _ => {}
                    }
                    continue;
                }
            };
            let (name, facts, window, time) = (speaker.name, &speaker.facts, speaker.window, &speaker.time);
            match judge_attestation(signature.artifact, name, facts, window, time, digest, wanted, now) {
                Some(Ok(attestation)) => {
                    counted.insert((speaker.authority, signed));
                    let vouched = attestation.vouched(speaker.certified, speaker.logs);
                    found.by_authority.entry(speaker.authority).or_default().push(vouched);
                }
                // One of another kind is neither here nor there, and a plain signature is no attestation.
                Some(Err(rejection)) if rejection.code == Code::PredicateTypeMismatch => {}
                None => {}
                Some(Err(rejection)) => {
                    let reason = Reason::new(rejection.code, rejection.message);
                    match reason.code {
                        Code::LimitExceeded | Code::Malformed | Code::PayloadTypeMismatch => {
                            found.obstacles.push(reason);
                        }
                        _ => {
                            let (authority, facts) = (speaker.authority, Arc::clone(facts));
                            let unheard = Unproven { authority, facts, window, time: speaker.time };
                            unproven.extend(hidden(&unheard, &reason));
                            found.others.push(reason);
                        }
                    }
                }
            }
        }
        // A copy of one that counts hides nothing, whatever was taken from it. It is known by what was signed: of one ECDSA
        // signature anybody can make a second that verifies as well.
        unproven.retain(|(signed, one)| !counted.contains(&(one.authority, *signed)));
        found.unproven = unproven.into_iter().map(|(_, one)| one).collect();
        found
    }

    /// What the authorities whose word about vulnerabilities is believed say of this image.
    fn vex(&mut self, gate: &Gate, obstacles: &mut Vec<Reason>) -> Vec<VexStatement> {
        let Some(limits) = gate.vulnerabilities.as_ref().filter(|limits| !limits.vex.is_empty()) else {
            return Vec::new();
        };
        let found = self.at(&limits.vex, Wanted::Kind(Kind::OpenVex));
        obstacles.extend(found.obstacles);
        let mut statements = Vec::new();
        // What nobody vouches for takes nothing out of the count. But it may take back what does.
        for one in &found.unproven {
            match one.attestation.facts() {
                Ok(Facts { content: FactContent::Vex(said), .. }) => {
                    statements.extend(said.iter().filter(|statement| !statement.is_harmless()).cloned());
                }
                Ok(_) => {}
                Err(problem) => obstacles.push(unreadable(problem)),
            }
        }
        for attestation in found.by_authority.values().flatten() {
            match facts(attestation) {
                Ok(Facts { content: FactContent::Vex(said), .. }) => statements.extend(said.iter().cloned()),
                Ok(_) => {}
                Err(reason) => obstacles.push(reason),
            }
        }
        statements
    }
}

/// A demand, held against what was found.
struct Check<'a> {
    gate: &'a Gate,
    digest: Digest,
    now: Timestamp,
    vex: &'a [VexStatement],
}

impl Check<'_> {
    /// Whether the attestations of one authority say what the demand asks for; else everything that is wrong.
    fn authority(
        &self,
        attestations: &[VerifiedAttestation],
        unproven: &[&Hidden],
    ) -> Result<VerifiedAttestation, Vec<Reason>> {
        let mut failed = Vec::new();
        let counted: Vec<&VerifiedAttestation> = match self.gate.which {
            Which::Any => attestations.iter().collect(),
            Which::Newest => {
                let counted = newest(attestations, self.now).map_err(|reason| vec![reason])?;
                failed.extend(unproven.iter().flat_map(|one| self.hidden(one, &counted)));
                counted
            }
        };
        let mut passed = None;
        for attestation in counted {
            match self.problems(facts(attestation), seen(attestation)) {
                problems if problems.is_empty() => passed = passed.or(Some(attestation)),
                problems => failed.extend(problems),
            }
        }
        match (passed, self.gate.which) {
            (Some(passed), Which::Any) => Ok(passed.clone()),
            (Some(passed), Which::Newest) if failed.is_empty() => Ok(passed.clone()),
            _ => Err(failed),
        }
    }

    /// That one which nobody vouches for may be as new as the newest that count, and what it says: an exception for its
    /// missing timestamp must not hide that.
    fn hidden(&self, hidden: &Hidden, newest: &[&VerifiedAttestation]) -> Vec<Reason> {
        let Hidden { attestation, reason, .. } = hidden;
        let latest = newest.first().and_then(|one| made(facts(one).ok()?, seen(one), self.now).ok());
        let is_older = latest.is_some_and(|latest| !attestation.may_be_as_new_as(latest));
        if is_older || newest.iter().any(|one| attestation.says_what(one)) {
            return Vec::new();
        }
        let message = format!("one that may be the newest does not count: {}", reason.message);
        let said = self.problems(attestation.facts().map_err(unreadable), attestation.seen());
        [vec![Reason::new(reason.code, message)], said].concat()
    }

    /// Everything that one attestation does not say as the demand asks for it.
    fn problems(&self, facts: Result<&Facts, Reason>, seen: Option<Timestamp>) -> Vec<Reason> {
        let Gate { max_age, builders, sources, sbom, vulnerabilities, .. } = self.gate;
        let facts = match facts {
            Ok(facts) => facts,
            Err(reason) => return vec![reason],
        };
        let mut problems = Vec::new();
        if let Some(most) = max_age {
            problems.extend(made(facts, seen, self.now).and_then(|made| recent(made, *most, self.now)).err());
        }
        match &facts.content {
            FactContent::Provenance { builder, source } => {
                problems.extend(one_of("builder", builder.as_deref(), builders, |text| vec![text]).err());
                problems.extend(one_of("source", source.as_deref(), sources, source_forms).err());
            }
            FactContent::Sbom { format, components } => {
                problems.extend(sbom.as_ref().and_then(|demand| suits(demand, format, *components).err()));
            }
            FactContent::Scan(findings) => {
                problems.extend(vulnerabilities.as_ref().and_then(|limits| self.counted(limits, findings).err()));
            }
            FactContent::Other | FactContent::Vex(_) => {}
        }
        problems.extend(self.unreadable(&facts.content));
        problems
    }

    /// The loader takes such demands for fitting types only, and each of these is read; were it not so, it is no pass.
    fn unreadable(&self, content: &FactContent) -> Option<Reason> {
        let Gate { builders, sources, sbom, vulnerabilities, .. } = self.gate;
        let about_provenance = !builders.is_empty() || !sources.is_empty();
        let missing = match content {
            FactContent::Provenance { .. } => sbom.is_some() || vulnerabilities.is_some(),
            FactContent::Sbom { .. } => about_provenance || vulnerabilities.is_some(),
            FactContent::Scan(_) => about_provenance || sbom.is_some(),
            FactContent::Other | FactContent::Vex(_) => about_provenance || sbom.is_some() || vulnerabilities.is_some(),
        };
        missing.then(|| Reason::new(Code::Malformed, "the attestation does not say what is asked of it"))
    }

    fn counted(&self, limits: &VulnerabilityLimits, findings: &[Finding]) -> Result<(), Reason> {
        let vex: Vec<&VexStatement> = self.vex.iter().collect();
        let counts = |finding: &&Finding| {
            (finding.fixable || !limits.fixable_only)
                && limits.allowed.get(&finding.id).is_none_or(|expires| self.now >= *expires)
                && !is_harmless(&vex, finding, self.digest, self.now)
        };
        let mut too_many = Vec::new();
        for severity in Severity::ALL {
            let Some(most) = limits.most.get(&severity) else { continue };
            let of_this = findings.iter().filter(|finding| finding.severity == severity);
            let found: Vec<_> = of_this.filter(counts).collect();
            if found.len() > *most {
                let mut ids: Vec<String> = found.iter().take(MAX_NAMED).map(|finding| quoted(&finding.id)).collect();
                if found.len() > ids.len() {
                    ids.push("...".to_owned());
                }
                let word = severity.as_str();
                too_many.push(format!("{} {word} instead of at most {most} ({})", found.len(), ids.join(", ")));
            }
        }
        match too_many.is_empty() {
            true => Ok(()),
            false => Err(Reason::new(Code::VulnerabilitiesFound, format!("the scan found {}", too_many.join("; ")))),
        }
    }
}

/// The newest attestations, all of them where several are of the same time. Without a time none is newer than another.
fn newest(attestations: &[VerifiedAttestation], now: Timestamp) -> Result<Vec<&VerifiedAttestation>, Reason> {
    if attestations.len() < 2 {
        return Ok(attestations.iter().collect());
    }
    let dated: Vec<(Timestamp, &VerifiedAttestation)> = attestations
        .iter()
        .map(|attestation| made(facts(attestation)?, seen(attestation), now).map(|made| (made, attestation)))
        .collect::<Result<_, _>>()?;
    let latest = dated.iter().map(|(made, _)| *made).max();
    Ok(dated.into_iter().filter(|(made, _)| Some(*made) == latest).map(|(_, attestation)| attestation).collect())
}

fn facts(attestation: &VerifiedAttestation) -> Result<&Facts, Reason> {
    attestation.facts().map_err(unreadable)
}

fn unreadable(problem: &str) -> Reason {
    Reason::new(Code::Malformed, format!("the predicate cannot be read: {}", quoted(problem)))
}

fn seen(attestation: &VerifiedAttestation) -> Option<Timestamp> {
    attestation.time().map(VerifiedTime::time)
}

/// When an attestation was made: by its own signed word, else by the timestamp authorities that saw it.
fn made(facts: &Facts, seen: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Reason> {
    let undated = |message: String| Reason::new(Code::AttestationUndated, message);
    match (facts.made, seen) {
        (Some(made), _) if made > now => {
            Err(undated(format!("the attestation says that it was made at {made}, which has not come")))
        }
        (Some(made), Some(seen)) if made > seen => {
            Err(undated(format!("the attestation says that it was made at {made}, and was seen at {seen} already")))
        }
        (Some(made), _) => Ok(made),
        (None, Some(seen)) => Ok(seen),
        (None, None) => Err(undated("nothing says when the attestation was made".to_owned())),
    }
}

fn recent(made: Timestamp, most: SignedDuration, now: Timestamp) -> Result<(), Reason> {
    if now.duration_since(made) <= most {
        return Ok(());
    }
    let message = format!("the attestation was made at {made}, more than {most:#} ago");
    Err(Reason::new(Code::AttestationTooOld, message))
}

fn suits(demand: &SbomDemand, format: &str, components: usize) -> Result<(), Reason> {
    // Only its name, or its name and its version: `SPDX-2` is not `SPDX-2.3`.
    let is_format = |wanted: &String| {
        format.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if !demand.formats.is_empty() && !demand.formats.iter().any(is_format) {
        let message = format!("it is `{}`, and not one of `{}`", quoted(format), demand.formats.join("`, `"));
        return Err(Reason::new(Code::SbomMismatch, message));
    }
    if components < demand.components {
        let message = format!("it lists {components} packages or components, and must list {}", demand.components);
        return Err(Reason::new(Code::SbomMismatch, message));
    }
    Ok(())
}

fn one_of<'a>(
    what: &str,
    found: Option<&'a str>,
    patterns: &[UriPattern],
    forms: impl Fn(&'a str) -> Vec<&'a str>,
) -> Result<(), Reason> {
    if patterns.is_empty() {
        return Ok(());
    }
    let expected: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    let expected = expected.join(" or ");
    let mismatch = |found: String| {
        Reason::new(Code::ProvenanceMismatch, format!("the {what} must be {expected}; the provenance says {found}"))
    };
    let Some(found) = found else { return Err(mismatch("none".to_owned())) };
    let is_right = forms(found).into_iter().any(|form| patterns.iter().any(|pattern| pattern.matches(form)));
    if is_right { Ok(()) } else { Err(mismatch(format!("`{}`", quoted(found)))) }
}

/// A source as it is written, and the repository in it: of `git+https://host/path.git@refs/heads/main`, also
/// `https://host/path`. What follows `@` is left out only where it is a reference or a commit, and after the host only:
/// `https://host/path@other` is another path.
fn source_forms(source: &str) -> Vec<&str> {
    let plain = source.strip_prefix("git+").unwrap_or(source);
    let fragment = plain.find('#').unwrap_or(plain.len());
    let bare = plain.get(..fragment).unwrap_or(plain);
    let host = bare.find("://").map_or(0, |scheme| scheme + 3);
    let path = bare.get(host..).and_then(|rest| rest.find('/')).map_or(bare.len(), |slash| host + slash);
    let is_revision =
        |text: &str| text.starts_with("refs/") || (text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit()));
    let end = bare.get(path..).and_then(|rest| rest.find('@')).map(|at| path + at);
    let end = end.filter(|at| bare.get(at + 1..).is_some_and(is_revision)).unwrap_or(bare.len());
    let repository = bare.get(..end).unwrap_or(bare);
    vec![source, plain, repository, repository.strip_suffix(".git").unwrap_or(repository)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_take_one_repository_for_another() {
        let has = |source: &str, form: &str| source_forms(source).contains(&form);
        for source in [
            "https://g.example/a/b",
            "git+https://g.example/a/b",
            "git+https://g.example/a/b@refs/tags/v1",
            "https://g.example/a/b.git#refs/heads/main:docs",
            "git+https://g.example/a/b@0123456789012345678901234567890123456789",
        ] {
            assert!(has(source, "https://g.example/a/b"), "{source}");
        }
        for (source, other) in [
            ("https://g.example@evil.example", "https://g.example"),
            ("https://g.example@refs/heads/main", "https://g.example"),
            ("https://g.example/a/b@evil", "https://g.example/a/b"),
            ("https://evil.example/x#https://g.example/a/b", "https://g.example/a/b"),
            ("git+git+https://g.example/a/b", "https://g.example/a/b"),
        ] {
            assert!(!has(source, other), "{source}");
        }
    }
}
