//! Whether the system lets the process have as many files and connections open as the settings allow.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// What is open beside the connections of callers: those of monitoring, connections to registries (32 for each of some
/// hosts), kept evidence, programs that give credentials.
const BESIDE: u64 = 512;

/// The process may have fewer files open than it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// How many it may have.
    pub allowed: u64,
    /// How many it needs when there are as many connections as the settings allow.
    pub needed: u64,
}

impl Shortage {
    /// What that means, and what to do about it: two sentences without a full stop.
    #[must_use]
    pub fn texts(&self) -> (String, String) {
        let Self { allowed, needed } = self;
        let problem = format!(
            "this process may have {allowed} files and connections open, and needs {needed} when there are as many \
             connections as `limits.connections` allows: others are then turned away"
        );
        let hint = format!(
            "raise the limit (`ulimit -Hn {needed}`, `LimitNOFILE={needed}` in a systemd unit), or lower \
             `limits.connections`"
        );
        (problem, hint)
    }
}

/// Asks the system for as many open files as the settings need, and says when there are fewer. To be called once, by the
/// program: programs that it starts have the same limit.
#[must_use]
pub fn provide(limits: &Limits) -> Option<Shortage> {
    let needed = needed(limits);
    let limit = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(&limit, needed) {
        // What is refused shows in what is allowed then.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    shortage(&getrlimit(Resource::Nofile), needed)
}

fn needed(limits: &Limits) -> u64 {
    u64::try_from(limits.connections).unwrap_or(u64::MAX).saturating_add(BESIDE)
}

/// The limit that is to be set: never more than is needed, nor than the system allows. `None` is without limit.
fn raised(limit: &Rlimit, needed: u64) -> Option<Rlimit> {
    let current = limit.current.filter(|current| *current < needed)?;
    let wanted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    (wanted > current).then_some(Rlimit { current: Some(wanted), maximum: limit.maximum })
}

fn shortage(limit: &Rlimit, needed: u64) -> Option<Shortage> {
    let allowed = limit.current.filter(|current| *current < needed)?;
    Some(Shortage { allowed, needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_are_needed_are_asked_for_and_fewer_are_told_of() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (current, maximum, set, short) in [
            (Some(1024), Some(1_048_576), Some(Some(4608)), None),
            (Some(1024), Some(2048), Some(Some(2048)), Some(2048)),
            (Some(1024), Some(1024), None, Some(1024)),
            (Some(1024), None, Some(Some(4608)), None),
            (Some(4608), Some(4608), None, None),
            (Some(1_048_576), Some(1_048_576), None, None),
            (None, None, None, None),
        ] {
            let before = limit(current, maximum);
            let raised = raised(&before, 4608);
            assert_eq!(raised.as_ref().map(|raised| raised.current), set, "{before:?}");
            let after = raised.unwrap_or(before);
            assert_eq!(after.maximum, maximum);
            let found = shortage(&after, 4608);
            assert_eq!(found.as_ref().map(|found| found.allowed), short, "{after:?}");
            assert!(found.is_none_or(|found| found.texts().1.contains("4608")));
        }
        assert_eq!(needed(&crate::Config::default().limits), 4608, "the default");
    }
}
