//! Who speaks: of some signatures or attestations, the one authority of a rule that each of them is by, and who vouches
//! for that. What they say is for others to judge.

mod certificates;

use std::sync::Arc;

use jiff::Timestamp;

use crate::evidence::FoundSignature;
use crate::limits;
use crate::reason::Code;
use crate::sigstore::{Certified, Refusal, Vouchers, logged};
use crate::trust::{Applicable, Authority, AuthorityIndex, KeyWindow, NamedRoot, TrustedKey};
use crate::verify::{Authenticated, KeyId, Rejection, TimeEvidence, VerifiedTime, authenticate, trusted_time};

/// Most keys that are tried on a signature that names a key which nobody trusts.
const MAX_TRIES_AGAINST_HINT: usize = 64;

/// What is left of the bounds on work for one image under one rule, its relatives included. Facts that are remembered
/// cost what they did the first time, so that a verdict does not depend on what was asked before.
#[derive(Debug)]
pub(super) struct Budget {
    checks: usize,
    times: usize,
    /// How many keys are tried on a signature that names a key which nobody trusts.
    tries: usize,
}

impl Budget {
    pub(super) fn for_one_image() -> Self {
        let (checks, times) = (limits::MAX_SIGNATURE_CHECKS, limits::MAX_TIMESTAMP_CHECKS);
        Self { checks, times, tries: MAX_TRIES_AGAINST_HINT }
    }

    /// Whether every key is tried, whatever a signature names: where one that is overlooked would do harm.
    pub(super) fn try_every_key(&mut self, every: bool) {
        self.tries = if every { usize::MAX } else { MAX_TRIES_AGAINST_HINT };
    }

    /// Takes so many checks of signatures, where there are as many left.
    fn take_checks(&mut self, checks: usize) -> Result<(), Refusal> {
        let Some(left) = self.checks.checked_sub(checks) else {
            let message =
                format!("more than {} keys were tried on this image's signatures", limits::MAX_SIGNATURE_CHECKS);
            return Err(Refusal { code: Code::LimitExceeded, message });
        };
        self.checks = left;
        Ok(())
    }

    /// Takes so many pairs of timestamp and chain.
    fn take_times(&mut self, times: usize) -> Result<(), Refusal> {
        let Some(left) = self.times.checked_sub(times) else {
            let message = format!("more than {} timestamps of this image were looked at", limits::MAX_TIMESTAMP_CHECKS);
            return Err(Refusal { code: Code::LimitExceeded, message });
        };
        self.times = left;
        Ok(())
    }
}

/// The one authority that a signature speaks for, as a fact, and when it was made.
pub(super) struct Speaker<'a> {
    pub(super) authority: AuthorityIndex,
    /// The authority's name.
    pub(super) name: &'a str,
    /// What was signed.
    pub(super) facts: Arc<Authenticated>,
    /// When the key is believed. Where a certificate holds it, that was seen to already.
    pub(super) window: &'a KeyWindow,
    pub(super) time: TimeEvidence,
    /// Who signed, where a certificate holds the key.
    pub(super) certified: Option<Certified>,
    /// The logs that hold the signature, where they were asked for.
    pub(super) logs: Vec<String>,
}

/// A signature by which nobody speaks, and why.
pub(super) struct Unheard<'a> {
    pub(super) rejection: Rejection,
    /// Who made it, where that is a fact and the word of logs or timestamp authorities is all that is missing.
    pub(super) unproven: Option<Box<Unproven<'a>>>,
}

/// An authority's own signature that does not count for want of those who must have seen it.
pub(super) struct Unproven<'a> {
    pub(super) authority: AuthorityIndex,
    pub(super) facts: Arc<Authenticated>,
    pub(super) window: &'a KeyWindow,
    pub(super) time: TimeEvidence,
}

impl From<Rejection> for Unheard<'_> {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, unproven: None }
    }
}

/// A signature, and who speaks by it.
type Spoken<'a, 'e> = (&'e FoundSignature, Result<Speaker<'a>, Unheard<'a>>);

/// Who of `asked` speaks by each signature, each once.
pub(super) fn speakers<'a, 'e>(
    rule: &Applicable<'a>,
    asked: &[AuthorityIndex],
    signatures: &'e [FoundSignature],
    now: Timestamp,
    budget: &mut Budget,
) -> Vec<Spoken<'a, 'e>> {
    let mut listening = Listening { rule: *rule, asked, now, budget };
    let mut spoken: Vec<Spoken<'a, 'e>> = Vec::with_capacity(signatures.len());
    // Signatures that name a trusted key cost one check each; they go first, so that others cannot use up the budget.
    let names_trusted_key =
        |found: &&FoundSignature| found.signature.key_hint().is_some_and(|hint| rule.policy.key(&hint).is_some());
    let (hinted, others): (Vec<_>, Vec<_>) = signatures.iter().partition(names_trusted_key);
    spoken.extend(hinted.into_iter().map(|found| (found, listening.by_key(found))));
    // Then those with certificates, which cost a few each. What a certificate does not bear out, a key may.
    let takes_certificates = listening.identities().next().is_some();
    let (mut certified, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|found| takes_certificates && found.signature.has_certificate());
    // Whoever copies a genuine one can add entries and timestamps to it: the cheapest go first, so that these copies do
    // not use up the budget for it.
    certified.sort_by_key(|found| carried(found));
    let mut left = Vec::new();
    for found in certified {
        match listening.by_certificate(found) {
            Ok(speaker) => spoken.push((found, Ok(speaker))),
            Err(unheard) => left.push((found, Some(unheard))),
        }
    }
    left.extend(others.into_iter().map(|found| (found, None)));
    for (found, unheard) in left {
        let speaker = listening.by_key(found);
        spoken.push((found, speaker.map_err(|nobody| more_telling(unheard, nobody))));
    }
    spoken
}

/// As how many checks it counts to try one key on a signature.
pub(super) fn checks(found: &FoundSignature) -> usize {
    1 + found.signature.message().len() / limits::CHECKED_BYTES
}

/// As how many checks it counts to look at its log entries: each may be about all that was signed, which is hashed for it.
fn entry_checks(found: &FoundSignature) -> usize {
    let (entries, _) = carried(found);
    entries * (limits::MAX_LOG_ENTRY_CHECKS + found.signature.message().len() / limits::CHECKED_BYTES)
}

/// How many log entries a signature carries, and how many timestamps.
fn carried(found: &FoundSignature) -> (usize, usize) {
    let entries = found.signature.material().map_or(0, |material| material.entries.len());
    (entries, found.signature.timestamps().len())
}

/// That a signature does not count by its certificate says more than that no key made it; but not more than that the
/// keys were not all tried, or that an authority's key made it and it does not count for that.
fn more_telling<'a>(by_certificate: Option<Unheard<'a>>, by_key: Unheard<'a>) -> Unheard<'a> {
    let is_nobodys = by_key.rejection.code != Code::LimitExceeded && by_key.rejection.authority.is_none();
    match by_certificate {
        Some(unheard) if is_nobodys => unheard,
        _ => by_key,
    }
}

/// One rule, whom it asks for, and what is left of the bounds.
struct Listening<'a, 'b> {
    rule: Applicable<'a>,
    asked: &'b [AuthorityIndex],
    now: Timestamp,
    budget: &'b mut Budget,
}

fn reject(found: &FoundSignature, refusal: Refusal, authority: Option<&str>) -> Rejection {
    let Refusal { code, message } = refusal;
    let rejection = Rejection::new(found.artifact, Some(found.signature.format()), code, message);
    Rejection { authority: authority.map(str::to_owned), ..rejection }
}

impl<'a> Listening<'a, '_> {
    /// Who speaks by a signature that one of the authorities' keys made.
    fn by_key(&mut self, found: &FoundSignature) -> Result<Speaker<'a>, Unheard<'a>> {
        let (authority, known, key, facts) = self.holder_of_key(found)?;
        let authorities = &self.rule.policy.timestamp_authorities;
        let (required, memo) = (known.evidence.timestamps, &found.memo);
        let mut time = trusted_time(&found.signature, authorities, required, memo, self.now, &mut self.budget.times);
        let mut logs = Vec::new();
        if let Some(root) = &known.evidence.log_root {
            let vouchers = self.logged(found, key, (known, root), &time);
            let vouchers = match vouchers {
                Ok(vouchers) => vouchers,
                Err(refusal) => {
                    let rejection = reject(found, refusal, Some(&known.name));
                    let unproven = Some(Box::new(Unproven { authority, facts, window: &key.window, time }));
                    return Err(Unheard { rejection, unproven });
                }
            };
            time = time.or_logged(&vouchers.seen, known.evidence.logs);
            logs = vouchers.logs;
        }
        Ok(Speaker { authority, name: &known.name, facts, window: &key.window, time, certified: None, logs })
    }

    fn logged(
        &mut self,
        found: &FoundSignature,
        key: &TrustedKey,
        (known, root): (&Authority, &NamedRoot),
        time: &TimeEvidence,
    ) -> Result<Vouchers, Refusal> {
        self.budget.take_checks(entry_checks(found))?;
        let mut demands = known.evidence.of_signature();
        // Timestamps are weighed by the document's own authorities, and a key has no certificate.
        (demands.timestamps, demands.certificate_logs) = (0, 0);
        let times = (time.verified().map(VerifiedTime::time), self.now);
        logged(&found.signature, &key.key, &root.root, &demands, &found.memo, times)
    }

    fn holder_of_key(
        &mut self,
        found: &FoundSignature,
    ) -> Result<(AuthorityIndex, &'a Authority, &'a TrustedKey, Arc<Authenticated>), Rejection> {
        let policy = self.rule.policy;
        let hint = found.signature.key_hint();
        let hinted = hint.and_then(|hint| policy.key(&hint));
        if let Some((authority, key)) = hinted
            && let Some(facts) = authenticate(&found.signature, &key.key, &found.memo)
            && let Some(known) = policy.authority(authority)
        {
            if self.asked.contains(&authority) {
                return Ok((authority, known, key, facts));
            }
            let (id, name) = (key.key.id(), &known.name);
            let message = format!("key `{id}` is that of `{name}`, whose signature is not asked for");
            return Err(reject(found, Refusal { code: Code::UntrustedKey, message }, None));
        }
        // A hint is only a hint: the other keys of the rule's authorities are tried as well.
        let tries = if hint.is_some() { self.budget.tries } else { usize::MAX };
        let known = self.asked.iter().filter_map(|index| Some((*index, policy.authority(*index)?)));
        let keys = known.flat_map(|(index, known)| known.keys.iter().map(move |key| (index, known, key)));
        for (authority, known, key) in keys.take(tries) {
            self.budget.take_checks(checks(found)).map_err(|refusal| reject(found, refusal, None))?;
            if let Some(facts) = authenticate(&found.signature, &key.key, &found.memo) {
                return Ok((authority, known, key, facts));
            }
        }
        Err(reject(found, nobody(found, hint, hinted.is_some()), None))
    }
}

/// Why no trusted key speaks: the most precise thing that can be said without believing the envelope.
fn nobody(found: &FoundSignature, hint: Option<KeyId>, hint_is_trusted: bool) -> Refusal {
    let (code, message) = match hint {
        Some(hint) if hint_is_trusted => {
            (Code::SignatureInvalid, format!("it names the trusted key `{hint}`, which does not verify it"))
        }
        Some(hint) => (Code::UntrustedKey, format!("it names key `{hint}`, which is not trusted here")),
        None if found.signature.has_certificate() => {
            let message = "it was made with a certificate, and the rule asks for keys";
            (Code::UntrustedKey, message.to_owned())
        }
        None => {
            let message = "no trusted key verifies it: it was made with another key, or altered";
            (Code::UntrustedKey, message.to_owned())
        }
    };
    Refusal { code, message }
}
