//! Authenticated attestations in time, under trust: does one speak for its authority about this image, now?

use std::sync::Arc;

use jiff::Timestamp;

use super::judge::{check_window, claim_fault, other_image};
use super::{Authenticated, KeyId, Rejection, TimeEvidence, VerifiedTime, quoted};
use crate::attestation::{Facts, Wanted};
use crate::image::Digest;
use crate::reason::Code;
use crate::signature::{Attested, Format};
use crate::sigstore::Certified;
use crate::trust::{KeyWindow, TrustEarlier};

/// An attestation that verified, is about this image, and was made at a time that trust covers. Only `judge_attestation`
/// makes one.
///
/// ```compile_fail,E0277
/// fn has_default<T: Default>() {}
/// has_default::<hallmark_policy::verify::VerifiedAttestation>();
/// ```
/// ```compile_fail,E0616
/// fn rename(attestation: &mut hallmark_policy::verify::VerifiedAttestation) {
///     attestation.authority = String::new();
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAttestation {
    artifact: Digest,
    subject: Digest,
    format: Format,
    key: KeyId,
    authority: String,
    predicate_type: String,
    facts: Arc<Authenticated>,
    time: Option<VerifiedTime>,
    carried_timestamps: usize,
    certified: Option<Certified>,
    logs: Vec<String>,
}

impl VerifiedAttestation {
    /// Digest of the manifest that carries it.
    #[must_use]
    pub fn artifact(&self) -> Digest {
        self.artifact
    }

    /// The manifest or index that it is about.
    #[must_use]
    pub fn subject(&self) -> Digest {
        self.subject
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The key that made it.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The authority that it speaks for.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The type of its predicate.
    #[must_use]
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// The exact bytes of the statement that verified: in-toto's, JSON.
    #[must_use]
    pub fn statement(&self) -> &[u8] {
        self.facts.statement()
    }

    /// What its predicate says, or why it cannot be read.
    pub(crate) fn facts(&self) -> Result<&Facts, &str> {
        predicate(&self.facts)
    }

    /// Who made it by a certificate, where no key of the authority did.
    #[must_use]
    pub fn certified(&self) -> Option<&Certified> {
        self.certified.as_ref()
    }

    /// The distinct transparency logs that hold it, where the authority's evidence was to be looked at.
    #[must_use]
    pub fn logs(&self) -> &[String] {
        &self.logs
    }

    /// The same, with the certificate that says who made it, and the logs that hold it.
    pub(crate) fn vouched(self, certified: Option<Certified>, logs: Vec<String>) -> Self {
        Self { certified, logs, ..self }
    }

    /// How many timestamps it carries, believed or not.
    #[must_use]
    pub fn carried_timestamps(&self) -> usize {
        self.carried_timestamps
    }

    /// The time by which it existed, where trusted timestamp authorities vouch for one.
    #[must_use]
    pub fn time(&self) -> Option<&VerifiedTime> {
        self.time.as_ref()
    }
}

/// Judges one authenticated attestation of `authority`: it must be of a wanted type and about `digest`, and its key must
/// be believed. The name inside what was signed does not matter: what is attested is attested of the bytes.
///
/// `None` for what is no attestation at all: a plain signature.
///
/// # Errors
/// Why it does not count.
#[expect(clippy::too_many_arguments, reason = "each is another kind of thing, as with `judge`")]
pub(crate) fn judge_attestation(
    artifact: Digest,
    authority: &str,
    facts: &Arc<Authenticated>,
    window: &KeyWindow,
    time: &TimeEvidence,
    digest: Digest,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Option<Result<VerifiedAttestation, Rejection>> {
    let attested = facts.attested()?;
    Some(check(attested, facts, window, time, digest, wanted, now).map_or_else(
        |(code, message)| {
            let authority = Some(authority.to_owned());
            Err(Rejection { authority, ..Rejection::new(artifact, Some(facts.format()), code, message) })
        },
        |attested| {
            Ok(VerifiedAttestation {
                artifact,
                subject: digest,
                format: facts.format(),
                key: facts.key(),
                authority: authority.to_owned(),
                predicate_type: attested.predicate_type.clone(),
                facts: Arc::clone(facts),
                time: time.verified().cloned(),
                carried_timestamps: time.carried(),
                certified: None,
                logs: Vec::new(),
            })
        },
    ))
}

/// An authority's own attestation, of a demanded type and about the image, for which only the word of those who must have
/// seen it is missing. It counts for nothing; but nobody may make an older one the newest by taking that word away.
#[derive(Debug)]
pub(crate) struct UnprovenAttestation {
    facts: Arc<Authenticated>,
    seen: Option<Timestamp>,
    /// When its key ended, where its being older is what nobody proves.
    key_ended: Option<Timestamp>,
}

impl UnprovenAttestation {
    /// `None` for what would not count either if it had been seen in time: one of another type or image, and one whose key
    /// is not believed, or by its own word was not when it was made. So a key that ended blocks nothing for ever.
    ///
    /// What cannot be read may be of any type.
    pub(crate) fn of(
        facts: &Arc<Authenticated>,
        window: &KeyWindow,
        time: &TimeEvidence,
        digest: Digest,
        wanted: Wanted<'_>,
        now: Timestamp,
    ) -> Option<Self> {
        if let Ok(attested) = facts.attested()? {
            check_about(attested, digest, wanted).ok()?;
        }
        let key_ended = match check_window(window, facts.key(), time, now) {
            Ok(()) => None,
            // Seen too late, or by nobody: anybody can have it seen once more, and leave out who saw it before.
            Err((Code::KeyCompromised | Code::KeyExpired, _)) => Some(ended(window, now)?),
            Err(_) => return None,
        };
        let seen = time.verified().map(VerifiedTime::time);
        let unproven = Self { facts: Arc::clone(facts), seen, key_ended };
        let is_believed = unproven.own_time().zip(key_ended).is_none_or(|(made, ended)| made < ended);
        is_believed.then_some(unproven)
    }

    /// Whether it may have been made at `newest`, or later.
    pub(crate) fn may_be_as_new_as(&self, newest: Timestamp) -> bool {
        match (self.own_time(), self.key_ended) {
            (Some(made), _) => made >= newest,
            (None, Some(ended)) => ended > newest,
            (None, None) => self.seen.is_none_or(|seen| seen >= newest),
        }
    }

    /// Whether one that counts says the same, down to the time at which it was made.
    pub(crate) fn says_what(&self, counted: &VerifiedAttestation) -> bool {
        let kind = |facts: &Authenticated| match facts.attested() {
            Some(Ok(attested)) => Some(attested.predicate_type.clone()),
            Some(Err(_)) | None => None,
        };
        self.own_time().is_some() && self.facts() == counted.facts() && kind(&self.facts) == kind(&counted.facts)
    }

    /// What its predicate says, or why it cannot be read.
    pub(crate) fn facts(&self) -> Result<&Facts, &str> {
        predicate(&self.facts)
    }

    /// The time by which it existed, where that is known.
    pub(crate) fn seen(&self) -> Option<Timestamp> {
        self.seen
    }

    fn own_time(&self) -> Option<Timestamp> {
        self.facts().ok().and_then(|facts| facts.made)
    }
}

/// When a key was believed for the last time, where what it signed before that still counts.
fn ended(window: &KeyWindow, now: Timestamp) -> Option<Timestamp> {
    if window.accept_until.is_some_and(|until| now >= until) {
        return None;
    }
    let since = match &window.compromised {
        Some(compromise) if compromise.trust_earlier == TrustEarlier::Never => return None,
        Some(compromise) => Some(compromise.since),
        None => None,
    };
    window.sign_until.into_iter().chain(since).min()
}

fn predicate(facts: &Authenticated) -> Result<&Facts, &str> {
    match facts.attested() {
        Some(Ok(attested)) => attested.facts.as_ref().map_err(String::as_str),
        Some(Err(_)) | None => Err("it is no attestation"),
    }
}

fn check<'a>(
    attested: Result<&'a Attested, &crate::signature::ClaimFault>,
    facts: &Authenticated,
    window: &KeyWindow,
    time: &TimeEvidence,
    digest: Digest,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Result<&'a Attested, (Code, String)> {
    let attested = attested.map_err(claim_fault)?;
    check_about(attested, digest, wanted)?;
    check_window(window, facts.key(), time, now)?;
    time.check()?;
    Ok(attested)
}

/// That it is of one of these types, and about this image.
fn check_about(attested: &Attested, digest: Digest, wanted: Wanted<'_>) -> Result<(), (Code, String)> {
    if !wanted.includes(&attested.predicate_type) {
        let found = quoted(&attested.predicate_type);
        let message = format!("the attestation is of type `{found}`, not of {wanted}");
        return Err((Code::PredicateTypeMismatch, message));
    }
    if !attested.images.iter().any(|image| image.digests.contains(&digest)) {
        return Err(other_image(&attested.images, digest));
    }
    Ok(())
}
