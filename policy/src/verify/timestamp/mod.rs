//! Trusted time: which timestamp authorities saw a signature, and when. No clock; `now` only bounds what is believed.

mod chain;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

pub use chain::{CertificateChain, ChainError};

use super::rejection::quoted;
use crate::image::Digest;
use crate::limits;
use crate::reason::Code;
use crate::signature::UnverifiedSignature;
use crate::sigstore::Seen;
use crate::trust::TimestampAuthority;

/// Most facts about timestamps that are remembered for one signature.
const MAX_REMEMBERED: usize = 256;

/// A time by which a signature existed, and the distinct timestamp authorities that vouch for it: never none.
///
/// Only timestamps that verified make one.
///
/// ```compile_fail,E0451
/// let time = hallmark_policy::Timestamp::UNIX_EPOCH;
/// let forged = hallmark_policy::verify::VerifiedTime { time, vouchers: vec![] };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTime {
    time: Timestamp,
    vouchers: Vec<String>,
}

impl VerifiedTime {
    /// The signature existed at this time: as many distinct authorities as were asked for have seen it by then.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The names of those authorities, the one that saw it first in front.
    #[must_use]
    pub fn vouchers(&self) -> &[String] {
        &self.vouchers
    }
}

/// What the timestamps of one signature come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeEvidence {
    verified: Option<VerifiedTime>,
    required: usize,
    carried: usize,
    vouching: usize,
    problem: Option<String>,
}

impl TimeEvidence {
    /// No timestamp, and none asked for.
    pub const NONE: Self = Self { verified: None, required: 0, carried: 0, vouching: 0, problem: None };

    /// The trusted time, when enough authorities vouch for one.
    #[must_use]
    pub fn verified(&self) -> Option<&VerifiedTime> {
        self.verified.as_ref()
    }

    /// How many timestamps there are, trusted or not.
    pub(super) fn carried(&self) -> usize {
        self.carried
    }

    /// What logs and timestamp authorities have said of a signature that others have weighed: the first time counts.
    pub(crate) fn seen(seen: &[Seen], carried: usize) -> Self {
        let mut seen: Vec<&Seen> = seen.iter().collect();
        seen.sort_by(|a, b| (a.time, &a.by).cmp(&(b.time, &b.by)));
        let mut vouchers: Vec<String> = Vec::new();
        for one in &seen {
            if !vouchers.contains(&one.by) {
                vouchers.push(one.by.clone());
            }
        }
        let verified = seen.first().map(|first| VerifiedTime { time: first.time, vouchers });
        Self { verified, carried, ..Self::NONE }
    }

    /// The same evidence, where so many logs must hold the signature: the time by which as many distinct ones had it is a
    /// trusted time too, where no timestamp authority was asked for.
    pub(crate) fn or_logged(self, seen: &[Seen], logs: usize) -> Self {
        let mut first: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for one in seen {
            let time = first.entry(&one.by).or_insert(one.time);
            *time = one.time.min(*time);
        }
        let mut distinct: Vec<(Timestamp, &str)> = first.into_iter().map(|(log, time)| (time, log)).collect();
        distinct.sort_unstable();
        let enough = distinct.len() >= logs.max(1);
        distinct.truncate(logs.max(1));
        let time = distinct.last().filter(|_| enough).map(|(time, _)| *time);
        let is_earlier = |time: &Timestamp| self.verified.as_ref().is_none_or(|verified| *time < verified.time);
        match time.filter(|time| self.required == 0 && is_earlier(time)) {
            Some(time) => {
                let vouchers = distinct.iter().map(|(_, log)| (*log).to_owned()).collect();
                Self { verified: Some(VerifiedTime { time, vouchers }), ..self }
            }
            None => self,
        }
    }

    /// One authority's word, for tests of what follows from it.
    #[cfg(test)]
    pub(super) fn at(time: Option<Timestamp>) -> Self {
        let verified = time.map(|time| VerifiedTime { time, vouchers: vec!["test".to_owned()] });
        Self { verified, ..Self::NONE }
    }

    /// Why no timestamp counts, as a clause, where there are some.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// That as many authorities vouch as are asked for.
    pub(super) fn check(&self) -> Result<(), (Code, String)> {
        if self.vouching >= self.required {
            return Ok(());
        }
        let (vouching, required) = (self.vouching, self.required);
        let seen = format!("{vouching} of {required} distinct timestamp authorities vouch for the time");
        Err(match &self.problem {
            Some(problem) => (Code::TimestampUntrusted, format!("{seen}: {problem}")),
            None => (Code::TimestampMissing, format!("{seen}, and it carries {} timestamps", self.carried)),
        })
    }
}

/// What one timestamp says under one chain, or why it says nothing.
type Fact = Arc<Result<Timestamp, String>>;

/// Facts about the timestamps of one signature: they follow from its bytes and a chain, whatever the time is.
#[derive(Debug, Default)]
pub(super) struct TimestampMemo {
    facts: Mutex<BTreeMap<(Digest, usize), Fact>>,
}

/// What the timestamps of a signature that a key has verified come to, by a document's authorities.
///
/// An authority counts once, with the earliest time that it vouches for: a timestamp that is added later, to keep a
/// signature provable, takes nothing away. With `required` authorities asked for, the time is the earliest by which so
/// many distinct ones have seen the signature; with none asked for, one is enough.
///
/// A timestamp counts when it verifies under a pinned chain, lies within the window in which that chain is believed,
/// and is not later than `now`. At most `checks_left` pairs of timestamp and chain are looked at.
#[must_use]
pub fn trusted_time(
    signature: &UnverifiedSignature,
    authorities: &[TimestampAuthority],
    required: usize,
    memo: &super::AuthenticationMemo,
    now: Timestamp,
    checks_left: &mut usize,
) -> TimeEvidence {
    let mut seen: Vec<(Timestamp, &str)> = Vec::new();
    let mut problem = None;
    for (place, response) in signature.timestamps().iter().enumerate() {
        let mut fault = None;
        let voucher = authorities.iter().find_map(|authority| {
            authority.chains.iter().find_map(|trusted| {
                let Some(left) = checks_left.checked_sub(1) else {
                    let most = limits::MAX_TIMESTAMP_CHECKS;
                    fault = Some(format!("more than {most} timestamps of this image were looked at"));
                    return None;
                };
                *checks_left = left;
                let fact = memo.timestamps.fact(&trusted.chain, place, response, signature.timestamped());
                match fact.as_ref() {
                    Ok(time) if !trusted.covers(*time) => {
                        let name = &authority.name;
                        fault = Some(format!("`{name}` is not believed at {time}"));
                        None
                    }
                    Ok(time) if *time > now => {
                        fault = Some(format!("its time {time} has not come yet"));
                        None
                    }
                    Ok(time) => Some((*time, authority.name.as_str())),
                    Err(why) => {
                        fault.get_or_insert_with(|| quoted(why));
                        None
                    }
                }
            })
        });
        match voucher {
            Some(voucher) => seen.push(voucher),
            None => {
                let none = || "no timestamp authority is trusted here".to_owned();
                problem.get_or_insert_with(|| fault.unwrap_or_else(none));
            }
        }
    }
    seen.sort_unstable();
    let mut distinct: Vec<(Timestamp, &str)> = Vec::new();
    for (time, name) in seen {
        if distinct.iter().all(|(_, other)| *other != name) {
            distinct.push((time, name));
        }
    }
    let vouching = distinct.len();
    distinct.truncate(required.max(1));
    let verified = distinct.last().filter(|_| vouching >= required).map(|(time, _)| VerifiedTime {
        time: *time,
        vouchers: distinct.iter().map(|(_, name)| (*name).to_owned()).collect(),
    });
    TimeEvidence { verified, required, carried: signature.timestamps().len(), vouching, problem }
}

/// What the asker of a timestamp checks before it is put into an envelope: the imprint of the exact bytes that were
/// asked about, the nonce (the content of its INTEGER), and the token's signature, by the certificate in it or, better,
/// under a pinned chain.
///
/// # Errors
/// What is wrong with the answer, as a clause.
pub fn check_timestamp_answer(
    response: &[u8],
    signed: &[u8],
    nonce: &[u8],
    pinned: Option<&CertificateChain>,
) -> Result<Timestamp, String> {
    let time = token::verify_answer(response, signed, nonce)?;
    match pinned {
        Some(chain) => token::verify(response, signed, chain),
        None => Ok(time),
    }
}

/// The time at which the authority of `chain` saw exactly the bytes `signed`.
pub(crate) fn verify_timestamp(response: &[u8], signed: &[u8], chain: &CertificateChain) -> Result<Timestamp, String> {
    token::verify(response, signed, chain)
}

impl TimestampMemo {
    fn fact(&self, chain: &CertificateChain, place: usize, response: &[u8], signed: &[u8]) -> Fact {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fact) = facts.get(&(chain.id(), place)) {
            return Arc::clone(fact);
        }
        let fact = Arc::new(token::verify(response, signed, chain));
        if facts.len() < MAX_REMEMBERED {
            facts.insert((chain.id(), place), Arc::clone(&fact));
        }
        fact
    }
}
