//! How long an answer may take: from `?timeout=10s` (an API server sends it with every call) or `Prefer: wait=10`.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

/// The shortest and the longest time that is kept free for the way back.
const MARGIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// When an answer must have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Until here the pipeline may work.
    pub work_until: Instant,
    /// From here on nobody waits for the pipeline any more.
    pub answer_at: Instant,
}

impl Deadline {
    /// The deadline of a request that arrived at `arrival` and whose asker gives up after `timeout`.
    ///
    /// A fifth of the time, at most a second, is kept for the way back; half of that for a pipeline that is late.
    #[must_use]
    pub fn new(arrival: Instant, timeout: Duration) -> Self {
        let margin = (timeout / 5).clamp(MARGIN.0, MARGIN.1);
        let work_until = arrival + timeout.saturating_sub(margin);
        Self { work_until, answer_at: work_until + margin / 2 }
    }
}

/// A length of time as Go and people write it: `10s`, `1m30s`, `500ms`, `2.5s`. Nothing negative.
#[must_use]
pub fn parse_timeout(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
}

/// The seconds of `wait` in a `Prefer` header (RFC 7240, section 4.3).
#[must_use]
pub fn parse_prefer(header: &str) -> Option<Duration> {
    header
        .split([',', ';'])
        .filter_map(|preference| preference.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("10s", Some(10_000)),
            ("2s", Some(2_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("2.5s", Some(2_500)),
            ("1h0m0s", Some(3_600_000)),
            ("0s", Some(0)),
            ("-1s", None),
            ("10", None),
            ("", None),
            ("ten", None),
        ] {
            assert_eq!(parse_timeout(text), ms.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn the_preference_to_wait_is_found_among_others() {
        assert_eq!(parse_prefer("respond-async, wait=10"), Some(Duration::from_secs(10)));
        assert_eq!(parse_prefer("Wait=\"3\""), Some(Duration::from_secs(3)));
        assert_eq!(parse_prefer("wait=soon"), None);
        assert_eq!(parse_prefer("respond-async"), None);
    }

    #[test]
    fn an_answer_leaves_before_the_asker_gives_up() {
        let arrival = Instant::now();
        for seconds in [0, 1, 2, 10, 30] {
            let timeout = Duration::from_secs(seconds);
            let Deadline { work_until, answer_at } = Deadline::new(arrival, timeout);
            assert!(work_until < answer_at);
            assert!(seconds == 0 || answer_at < arrival + timeout, "{seconds}");
            assert!(work_until >= arrival + timeout * 8 / 10);
        }
    }
}
