//! How long a signature counts: `90d`.

use std::time::Duration;

use hallmark_policy::Timestamp;

use crate::error::{Exit, Failure};

/// Longest life: what is meant to count longer needs no end.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// A whole number of minutes, hours, days or weeks; not zero, and at most a hundred years.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no time; write a number and m, h, d or w, such as `90d`");
    let (number, seconds) = [("m", 60), ("h", 3600), ("d", 24 * 3600), ("w", 7 * 24 * 3600)]
        .iter()
        .find_map(|(unit, seconds)| text.strip_suffix(unit).map(|number| (number, *seconds)))
        .ok_or_else(problem)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem());
    }
    let number: u64 = number.parse().map_err(|_| problem())?;
    match number.checked_mul(seconds) {
        Some(0) => Err("a signature that ends at once counts for nothing".to_owned()),
        Some(total) if total <= MAX_SECONDS => Ok(Duration::from_secs(total)),
        _ => Err(format!("`{text}` is more than a hundred years; leave `--expires` out")),
    }
}

/// The end, in whole seconds.
pub(super) fn end(now: Timestamp, lifetime: Duration) -> Result<Timestamp, Failure> {
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(now.as_second().saturating_add(seconds)).map_err(|_| {
        let hint = "check this machine's clock, or use a shorter time";
        Failure::new(Exit::Usage, "the signature would end at a time that cannot be written", hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        for (text, seconds) in [("1m", 60), ("12h", 43_200), ("90d", 7_776_000), ("52w", 31_449_600)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "90", "d", "-1d", "+1d", "1.5d", "1y", "0d", "99999999w", "18446744073709551616d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("36600d").is_ok() && parse("36601d").is_err());
    }
}
