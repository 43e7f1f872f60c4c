//! Which manifests of an image must be covered under a rule, and whether they are.
//!
//! A manifest is covered when it meets the rule's requirement itself. Of an index, a rule may ask for its children
//! instead; and it may take an index that is covered for its children, which the index names by their digests.

use jiff::Timestamp;

use super::assess::{Assessment, Subject, assess};
use super::gates::{GateOutcome, gate};
use super::speakers::Budget;
use super::{Decision, DemandMet, Grounds, Proof, Question, Reason};
use crate::evidence::{Cause, DecodedEvidence, Listing, Observation, Scope};
use crate::image::{Descriptor, Digest, Index, PinnedImage, PlatformName, Platforms, is_runnable};
use crate::limits;
use crate::reason::Code;
use crate::trust::{Applicable, Requirement, Selection, SignedParent, TrustSnapshot};
use crate::verify::{Rejection, VerifiedSignature};

/// Most causes that one undetermined decision lists.
const MAX_CAUSES: usize = 8;
/// Most children of an index that one denial lists one by one.
const MAX_LISTED_CHILDREN: usize = 8;

/// How much evidence a question needs: what the rules that decide it look at.
#[must_use]
pub fn scope(question: &Question, trust: &TrustSnapshot) -> Scope {
    let mut scope = Scope::IMAGE;
    let Selection::Rules(rules) = trust.select(&question.image, question.namespace.as_deref()) else { return scope };
    for Applicable { rule, .. } in rules {
        scope.attestations |= !rule.attestations.is_empty();
        for gate in &rule.attestations {
            scope.large = scope.large.and(&gate.types);
        }
        match rule.platforms {
            Platforms::Requested if takes_parent(question, rule.signed_parent) => {
                scope.parent = question.image.tag().cloned();
            }
            Platforms::Requested => {}
            Platforms::EveryChild | Platforms::Listed(_) => {
                if !scope.children.contains(&rule.platforms) {
                    scope.children.push(rule.platforms.clone());
                }
            }
        }
    }
    scope.children.sort();
    scope
}

/// A tag beside a digest names the way by which the digest was reached.
fn takes_parent(question: &Question, signed_parent: SignedParent) -> bool {
    let image = &question.image;
    signed_parent == SignedParent::Accept && image.digest().is_some() && image.tag().is_some()
}

/// One rule, one question, and what is left of the bounds on work.
pub(super) struct Judging<'a> {
    pub(super) question: &'a Question,
    pub(super) rule: &'a Applicable<'a>,
    pub(super) now: Timestamp,
    pub(super) budget: Budget,
    /// Of its own, so that attestations never cost a signature.
    pub(super) gate_budget: Budget,
    /// Everything that was found and does not count, each once.
    pub(super) rejected: &'a mut Vec<Rejection>,
}

impl Judging<'_> {
    /// What an image comes to: the manifest itself, its children, or the index that it was reached by.
    pub(super) fn coverage(&mut self, image: &PinnedImage, evidence: &DecodedEvidence) -> Decision {
        match &self.rule.rule.platforms {
            Platforms::Requested => {
                let own = self.manifest(image, evidence);
                match own {
                    Decision::Deny(_) | Decision::Undetermined(_)
                        if takes_parent(self.question, self.rule.rule.signed_parent) =>
                    {
                        self.parent(image, evidence, own)
                    }
                    own => own,
                }
            }
            platforms => match evidence.evidence().relatives.listing(image.digest) {
                Listing::Image => self.manifest(image, evidence),
                Listing::Index(index) => self.index(image, evidence, platforms, &index),
                Listing::Rejected(code, detail) => Decision::Deny(vec![Reason::new(code, detail)]),
                Listing::Unknown(cause) => undetermined(&cause),
            },
        }
    }

    /// What one manifest comes to by the signatures about its own digest.
    fn manifest(&mut self, image: &PinnedImage, evidence: &DecodedEvidence) -> Decision {
        let asked = &self.question.image;
        // A digest that was asked for says nothing about the tag beside it; an index under that tag does.
        let is_asked_by_digest = asked.digest() == Some(image.digest);
        let subject = Subject { digest: image.digest, tag: asked.tag().filter(|_| !is_asked_by_digest) };
        let Some(require) = &self.rule.rule.require else {
            self.reject(evidence.rejections());
            let proof = Proof { grounds: Grounds::Attestations, attestations: Vec::new(), held_since: None };
            return self.demands(Decision::Allow(proof), image, evidence);
        };
        let assessment = assess(self.question, self.rule, evidence, &subject, self.now, &mut self.budget);
        self.reject(&assessment.rejections);
        let by_signatures = match (proof_of(require, &assessment), open_questions(evidence.causes())) {
            (Some(signatures), _) => {
                let grounds = Grounds::Signatures(signatures);
                Decision::Allow(Proof { grounds, attestations: Vec::new(), held_since: None })
            }
            (None, Some(causes)) => Decision::Undetermined(causes),
            (None, None) => Decision::Deny(super::denial::reasons(self.rule, &assessment, image, evidence)),
        };
        self.demands(by_signatures, image, evidence)
    }

    /// Keeps what was found and does not count.
    fn reject(&mut self, rejections: &[Rejection]) {
        for rejection in rejections {
            if !self.rejected.contains(rejection) {
                self.rejected.push(rejection.clone());
            }
        }
    }

    /// What a manifest comes to when the rule's demands on attestations are held against it as well. They are looked at
    /// also when its signatures do not suffice: an exception must know everything that is wrong.
    fn demands(&mut self, by_signatures: Decision, image: &PinnedImage, evidence: &DecodedEvidence) -> Decision {
        let (mut met, mut unmet, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for demand in &self.rule.rule.attestations {
            match gate(self.rule, demand, evidence, image.digest, self.now, &mut self.gate_budget) {
                GateOutcome::Met(attestations) => {
                    met.extend(
                        attestations
                            .into_iter()
                            .map(|attestation| DemandMet { demand: demand.name.clone(), attestation }),
                    );
                }
                GateOutcome::Unmet(reasons) => unmet.extend(reasons),
                GateOutcome::Unknown(causes) => {
                    open.extend(causes.into_iter().filter(|cause| !open.contains(cause)).collect::<Vec<_>>())
                }
            }
        }
        match by_signatures {
            Decision::Undetermined(causes) => Decision::Undetermined(causes),
            Decision::Allow(_) | Decision::Deny(_) if !open.is_empty() => Decision::Undetermined(open),
            Decision::Deny(mut reasons) => {
                reasons.extend(unmet);
                Decision::Deny(reasons)
            }
            Decision::Allow(_) if !unmet.is_empty() => Decision::Deny(unmet),
            // A rule without signatures demands something (the loader refuses others); were it not to, nothing is proven.
            Decision::Allow(proof) if proof.grounds == Grounds::Attestations && met.is_empty() => {
                let message = format!("nothing is asked for that could allow `{image}`");
                Decision::Deny(vec![Reason::new(Code::AttestationMissing, message)])
            }
            Decision::Allow(proof) => {
                // What meets a demand was looked at as a signature too, and is none; nothing is wrong with it.
                self.rejected.retain(|rejection| {
                    let is_no_signature = matches!(
                        rejection.code,
                        Code::IdentityMismatch | Code::PredicateTypeMismatch | Code::UntrustedKey
                    );
                    !is_no_signature || !met.iter().any(|met| met.attestation.artifact() == rejection.artifact)
                });
                Decision::Allow(Proof { attestations: met, ..proof })
            }
        }
    }

    /// What an image that is not covered itself comes to by the index under the tag that it was reached by.
    fn parent(&mut self, image: &PinnedImage, evidence: &DecodedEvidence, own: Decision) -> Decision {
        let asked = &self.question.image;
        let not_looked_at = |detail: String| Cause::new(Code::RegistryInconsistent, detail);
        let Some(parent) = evidence.parent() else {
            let tag = asked.tag().map(ToString::to_string).unwrap_or_default();
            return unless_known(own, &not_looked_at(format!("what the tag `{tag}` names was not looked at")));
        };
        let named = parent.evidence();
        if named.image.repository() != asked.repository() || named.image.tag() != asked.tag() {
            let detail = format!("the evidence about an index is about `{}`, not about `{asked}`", named.image);
            return unless_known(own, &not_looked_at(detail));
        }
        let digest = match &named.resolution {
            Observation::Found(digest) if *digest != image.digest => *digest,
            Observation::Found(_) | Observation::Absent => return own,
            Observation::Unknown(cause) => return unless_known(own, cause),
        };
        match named.relatives.listing(digest) {
            Listing::Index(index) if lists(&index, image.digest) => {
                let pinned = PinnedImage { repository: image.repository.clone(), digest };
                match self.manifest(&pinned, parent) {
                    Decision::Allow(proof) => Decision::Allow(proof),
                    Decision::Deny(_) => own,
                    unknown @ Decision::Undetermined(_) => unknown,
                }
            }
            Listing::Index(_) | Listing::Image | Listing::Rejected(..) => own,
            Listing::Unknown(cause) => unless_known(own, &cause),
        }
    }

    /// What an index comes to by its children.
    fn index(
        &mut self,
        image: &PinnedImage,
        evidence: &DecodedEvidence,
        platforms: &Platforms,
        index: &Index,
    ) -> Decision {
        let mut open = Vec::new();
        if self.rule.rule.signed_parent == SignedParent::Accept {
            match self.manifest(image, evidence) {
                Decision::Allow(proof) => return Decision::Allow(proof),
                Decision::Undetermined(causes) => open = causes,
                Decision::Deny(_) => {}
            }
        }
        let index_is_open = !open.is_empty();
        let mut refused = Refused::default();
        for platform in platforms.missing_from(index) {
            refused.add(format!("the index has no image for `{platform}`"), Vec::new());
        }
        let scope = Scope { children: vec![platforms.clone()], ..Scope::IMAGE };
        let children = scope.children_of(index);
        if children.is_empty() {
            refused.add("the index lists no image that could be run".to_owned(), Vec::new());
        }
        let (mut signatures, mut attestations) = (Vec::new(), Vec::new());
        for child in children {
            match self.child(image, evidence, child) {
                Decision::Allow(proof) => {
                    signatures.extend(proof.signatures().iter().cloned());
                    attestations.extend(proof.attestations);
                }
                Decision::Undetermined(causes) => open.extend(causes),
                Decision::Deny(reasons) => refused.add(not_covered(child, &reasons), reasons),
            }
        }
        // A child that is refused decides, unless the index itself may be covered and nobody knows.
        if !refused.is_empty() && !index_is_open {
            return Decision::Deny(refused.reasons());
        }
        if !open.is_empty() {
            open.truncate(MAX_CAUSES);
            return Decision::Undetermined(open);
        }
        let grounds = match self.rule.rule.require {
            Some(_) if !signatures.is_empty() => Grounds::Signatures(signatures),
            None if !attestations.is_empty() => Grounds::Attestations,
            Some(_) | None => return Decision::Deny(refused.reasons()),
        };
        Decision::Allow(Proof { grounds, attestations, held_since: None })
    }

    fn child(&mut self, index: &PinnedImage, evidence: &DecodedEvidence, child: &Descriptor) -> Decision {
        let image = PinnedImage { repository: index.repository.clone(), digest: child.digest };
        let Some(found) = evidence.children().get(&child.digest) else {
            if evidence.evidence().relatives.truncated {
                let message = format!(
                    "`{}` is beyond the {} children, or the {} bytes of evidence, that are looked at",
                    child.digest,
                    limits::MAX_CHILDREN,
                    limits::MAX_EVIDENCE_BYTES
                );
                return Decision::Deny(vec![Reason::new(Code::LimitExceeded, message)]);
            }
            let detail = format!("the child `{}` of the index was not looked at", child.digest);
            return undetermined(&Cause::new(Code::RegistryInconsistent, detail));
        };
        let about = found.evidence();
        if found.image().repository() != &image.repository || found.image().digest() != Some(image.digest) {
            let detail = format!("the evidence about a child is about `{}`, not about `{image}`", found.image());
            return undetermined(&Cause::new(Code::RegistryInconsistent, detail));
        }
        match &about.resolution {
            Observation::Found(digest) if *digest == image.digest => self.manifest(&image, found),
            Observation::Found(digest) => {
                let detail = format!("the evidence about `{image}` is about `{digest}`");
                undetermined(&Cause::new(Code::RegistryInconsistent, detail))
            }
            Observation::Absent => {
                Decision::Deny(vec![Reason::new(Code::ImageNotFound, format!("`{image}` is not in the registry"))])
            }
            Observation::Unknown(cause) => undetermined(cause),
        }
    }
}

/// The children of an index that are not covered: one reason for all of them, and each reason of theirs once.
#[derive(Default)]
struct Refused {
    messages: Vec<String>,
    unlisted: usize,
    reasons: Vec<Reason>,
}

impl Refused {
    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn add(&mut self, message: String, reasons: Vec<Reason>) {
        if self.messages.len() < MAX_LISTED_CHILDREN {
            self.messages.push(message);
        } else {
            self.unlisted += 1;
        }
        for reason in reasons {
            if self.reasons.iter().all(|known| known.code != reason.code) {
                self.reasons.push(reason);
            }
        }
    }

    fn reasons(self) -> Vec<Reason> {
        let more = if self.unlisted == 0 { String::new() } else { format!("; and {} more", self.unlisted) };
        let message = match self.messages.is_empty() {
            true => "nothing of the index is covered".to_owned(),
            false => format!("{}{more}", self.messages.join("; ")),
        };
        let first = Reason::new(Code::PlatformNotCovered, message);
        std::iter::once(first).chain(self.reasons).collect()
    }
}

fn not_covered(child: &Descriptor, reasons: &[Reason]) -> String {
    let platform = child.platform.as_ref().and_then(PlatformName::of);
    let platform = platform.map_or_else(|| "no platform".to_owned(), |platform| platform.to_string());
    let why = reasons.first().map_or("", |reason| reason.code.as_str());
    format!("`{}` ({}) is not covered: {why}", child.digest, crate::verify::quoted(&platform))
}

/// Whether an index lists an image as one that could be run.
fn lists(index: &Index, digest: Digest) -> bool {
    index.manifests.iter().any(|child| child.digest == digest && is_runnable(child, index))
}

fn undetermined(cause: &Cause) -> Decision {
    Decision::Undetermined(vec![Reason::new(cause.code(), cause.detail())])
}

/// A denial that something unknown might have turned into an allow is none.
fn unless_known(own: Decision, cause: &Cause) -> Decision {
    match own {
        Decision::Deny(_) => undetermined(cause),
        other => other,
    }
}

/// The signatures that meet the rule's requirement, one an authority; `None` when it is not met.
fn proof_of(require: &Requirement, assessment: &Assessment) -> Option<Vec<VerifiedSignature>> {
    let signed = |authority| assessment.verified.contains_key(&authority);
    if !require.is_met_by(&signed) {
        return None;
    }
    let signatures: Vec<_> = assessment.verified.values().filter_map(|of_one| of_one.first().cloned()).collect();
    // A requirement is never met by nobody (the loader refuses empty ones); were it to be, that is not a proof.
    (!signatures.is_empty()).then_some(signatures)
}

pub(super) fn open_questions(causes: &[Cause]) -> Option<Vec<Reason>> {
    let mut reasons: Vec<Reason> = Vec::new();
    for cause in causes {
        let reason = Reason::new(cause.code(), cause.detail());
        if reasons.len() < MAX_CAUSES && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    (!reasons.is_empty()).then_some(reasons)
}
