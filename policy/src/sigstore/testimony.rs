//! What those who saw a signature say of it: facts that follow from its bytes and a trusted root, whatever the time is
//! and whoever asks. [`Testimony::weigh`] puts them under demands and time.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::body::Subject;
use super::bundle::Material;
use super::entry;
use super::trusted_root::{TrustedRoot, Window};
use super::verify::{Demands, LogProof, Refusal, Seen, refuse};
use crate::limits;
use crate::reason::Code;
use crate::verify::verify_timestamp;

/// What the trusted logs and timestamp authorities of one root say about one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Testimony {
    entries: Vec<Logged>,
    carried_entries: usize,
    timestamps: Vec<Seen>,
    /// Why a timestamp says nothing, where one does.
    problem: Option<String>,
}

/// What an entry that verified says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Logged {
    log: String,
    window: Window,
    time: Option<Timestamp>,
    is_proven: bool,
}

/// Those who count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vouchers {
    /// The moments at which it was seen: every one, also where one log or authority says several.
    pub(crate) seen: Vec<Seen>,
    /// The distinct logs that hold an entry of it.
    pub(crate) logs: Vec<String>,
    /// Why a timestamp says nothing, where one does.
    pub(crate) problem: Option<String>,
}

impl Testimony {
    /// Hears everybody. An entry of a trusted log that does not verify is somebody's forgery: it refuses the whole.
    pub(super) fn hear(
        material: &Material,
        timestamps: &[Vec<u8>],
        subject: &Subject<'_>,
        root: &TrustedRoot,
    ) -> Result<Self, Refusal> {
        let mut entries = Vec::new();
        for (place, entry) in material.entries.iter().enumerate() {
            let verified = entry::verify(entry, subject, root, material.promise_is_enough);
            let verified = verified.map_err(|problem| Refusal {
                code: Code::LogEntryInvalid,
                message: format!("log entry {} does not vouch for this signature: {problem}", place + 1),
            })?;
            entries.extend(verified.map(|verified| Logged {
                log: verified.log.name().to_owned(),
                window: verified.log.window,
                time: verified.time,
                is_proven: verified.is_proven,
            }));
        }
        let (timestamps, problem) = timestamped(timestamps, subject.timestamped, root);
        Ok(Self { entries, carried_entries: material.entries.len(), timestamps, problem })
    }

    /// Those who count by `now`, when they are as many as are demanded. What is missing is never made up for by something
    /// else.
    ///
    /// A log must be believed when the signature was first seen. Where none of those who count says when that was, it must
    /// be at `otherwise`: the time that is known from elsewhere, or else `now`.
    pub(crate) fn weigh(
        &self,
        demands: &Demands,
        otherwise: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vouchers, Refusal> {
        let latest = now.saturating_add(demands.skew).unwrap_or(now);
        let counts = |entry: &&Logged| entry.is_proven || demands.log_proof == LogProof::Promise;
        let entries: Vec<_> = self.entries.iter().filter(counts).collect();
        let mut vouchers = Vouchers { seen: Vec::new(), logs: Vec::new(), problem: self.problem.clone() };
        for entry in &entries {
            if let Some(time) = entry.time {
                if time > latest {
                    let message = format!("a log says {time} of it, which has not come yet: {}", by_clock(now));
                    return refuse(Code::LogEntryInvalid, message);
                }
                vouchers.seen.push(Seen { time, by: entry.log.clone() });
            }
            if !vouchers.logs.contains(&entry.log) {
                vouchers.logs.push(entry.log.clone());
            }
        }
        if vouchers.logs.len() < demands.logs {
            let (found, carried) = (vouchers.logs.len(), self.carried_entries);
            let seen = format!("{found} of {} distinct trusted logs hold an entry of it", demands.logs);
            let promised = match self.entries.len() - entries.len() {
                0 => String::new(),
                promised => format!(", {promised} of them without a proof"),
            };
            return refuse(Code::LogEntryMissing, format!("{seen}, and it carries {carried}{promised}"));
        }
        self.weigh_timestamps(demands, now, latest, &mut vouchers)?;
        check_windows(&entries, &vouchers.seen, otherwise.unwrap_or(now))?;
        Ok(vouchers)
    }

    /// What trusted timestamp authorities say, each as often as it says it: every time is held against the certificate. A
    /// timestamp of somebody who is not trusted here, or of a time to come, says nothing, and harms nothing.
    fn weigh_timestamps(
        &self,
        demands: &Demands,
        now: Timestamp,
        latest: Timestamp,
        vouchers: &mut Vouchers,
    ) -> Result<(), Refusal> {
        let (come, to_come): (Vec<&Seen>, Vec<&Seen>) = self.timestamps.iter().partition(|seen| seen.time <= latest);
        if let Some(early) = to_come.first() {
            vouchers.problem = Some(format!("its time {} has not come yet: {}", early.time, by_clock(now)));
        }
        // Whoever speaks twice is still one.
        let distinct = come.iter().map(|seen| &seen.by).collect::<BTreeSet<_>>().len();
        if distinct < demands.timestamps {
            let seen = format!("{distinct} of {} distinct timestamp authorities vouch for it", demands.timestamps);
            return match &vouchers.problem {
                Some(problem) => refuse(Code::TimestampUntrusted, format!("{seen}: {problem}")),
                None => refuse(Code::TimestampMissing, seen),
            };
        }
        vouchers.seen.extend(come.into_iter().cloned());
        Ok(())
    }
}

/// Two clocks disagree, and nobody but the reader knows which is wrong.
fn by_clock(now: Timestamp) -> String {
    format!("this machine's clock says {now}")
}

/// A log that says no time (Rekor v2) must be believed when the signature was first seen by somebody else: what a
/// retired key of a log signs later counts for nothing, also where nobody says when.
fn check_windows(entries: &[&Logged], seen: &[Seen], otherwise: Timestamp) -> Result<(), Refusal> {
    let first = seen.iter().map(|seen| seen.time).min().unwrap_or(otherwise);
    match entries.iter().find(|entry| entry.time.is_none() && !entry.window.covers(first)) {
        Some(entry) => refuse(Code::LogEntryInvalid, format!("the log `{}` is not believed at {first}", entry.log)),
        None => Ok(()),
    }
}

/// Every timestamp that verifies under an authority of the root, within the authority's own window.
fn timestamped(responses: &[Vec<u8>], signature: &[u8], root: &TrustedRoot) -> (Vec<Seen>, Option<String>) {
    let mut seen: Vec<Seen> = Vec::new();
    let mut problem = None;
    let mut checks_left = limits::MAX_TIMESTAMP_CHECKS;
    for response in responses {
        for service in &root.timestamp_authorities {
            let Some(left) = checks_left.checked_sub(1) else {
                let most = limits::MAX_TIMESTAMP_CHECKS;
                return (seen, Some(format!("no more than {most} pairs of timestamp and authority are looked at")));
            };
            checks_left = left;
            match verify_timestamp(response, signature, &service.chain) {
                Ok(time) if !service.window.covers(time) => {
                    problem = Some(format!("`{}` is not believed at {time}", service.name));
                }
                Ok(time) => seen.push(Seen { time, by: service.name.clone() }),
                Err(why) => {
                    problem.get_or_insert(why);
                }
            }
        }
    }
    (seen, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_count_a_retired_log_for_a_key_where_nobody_says_when() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let window = Window { start: at("2026-01-01T00:00:00Z"), end: Some(at("2026-06-01T00:00:00Z")) };
        let entry = |time| Logged { log: "log".to_owned(), window, time, is_proven: true };
        let weighed = |time: Option<&str>, otherwise: Option<&str>, now: &str| {
            let entries = vec![entry(time.map(at))];
            let testimony = Testimony { entries, carried_entries: 1, timestamps: Vec::new(), problem: None };
            let demands = Demands { certificate_logs: 0, ..Demands::PUBLIC_GOOD };
            let vouchers = testimony.weigh(&demands, otherwise.map(at), at(now));
            vouchers.map(|vouchers| vouchers.logs.len()).map_err(|refusal| refusal.code)
        };
        let (within, after) = ("2026-03-01T00:00:00Z", "2026-11-01T00:00:00Z");
        assert_eq!(weighed(None, None, within), Ok(1));
        assert_eq!(weighed(None, None, after), Err(Code::LogEntryInvalid));
        // The document's own timestamp authorities know when.
        assert_eq!(weighed(None, Some(within), after), Ok(1));
        assert_eq!(weighed(None, Some(after), after), Err(Code::LogEntryInvalid));
        // What the log itself says is in its window, or it would not be here.
        assert_eq!(weighed(Some(within), None, after), Ok(1));
    }
}
