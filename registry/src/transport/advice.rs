//! What a registry says about how fast it may be asked: the status, `Retry-After` and `RateLimit-*`.

use std::fmt;
use std::time::Duration;

use ::http::header::{DATE, RETRY_AFTER};
use ::http::{HeaderMap, StatusCode};

use super::gate::{Pace, Refusal};
use super::{Failure, Response};

/// Most bytes of a header that is looked at; the longest honest one has about 30.
const MAX_BYTES: usize = 128;
/// Most digits of a number in it: beyond what any registry allows in any time.
const MAX_DIGITS: usize = 12;

/// What a registry says of its limit for us: Docker Hub (docs.docker.com, "Usage and limits") sends
/// `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests that are allowed in the time.
    pub limit: u64,
    /// Requests that are left of them.
    pub remaining: u64,
    /// The time, where the registry says it.
    pub window: Option<Duration>,
}

impl RateLimit {
    /// What the headers of a response say; `None` where one of the two is missing or is not a number.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (limit, window) = quota(headers, "ratelimit-limit")?;
        let (remaining, other) = quota(headers, "ratelimit-remaining")?;
        Some(Self { limit, remaining, window: window.or(other) })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, remaining, window } = self;
        match window.map(|window| window.as_secs()) {
            None => write!(f, "{remaining} of {limit} requests are left"),
            Some(seconds) if seconds > 0 && seconds.is_multiple_of(3600) => {
                write!(f, "{remaining} of {limit} requests in {} h are left", seconds / 3600)
            }
            Some(seconds) => write!(f, "{remaining} of {limit} requests in {seconds} s are left"),
        }
    }
}

/// What an answer means for the pace.
pub(super) fn pace(result: &Result<Response, Failure>) -> Pace {
    match result {
        Ok(response) if response.status == StatusCode::TOO_MANY_REQUESTS => {
            Pace::Slower { refusal: Refusal::Throttled, retry_after: retry_after(&response.headers) }
        }
        Ok(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => match retry_after(&response.headers) {
            Some(asked) => Pace::Slower { refusal: Refusal::Unavailable, retry_after: Some(asked) },
            None => Pace::Fine,
        },
        // What cannot be used was an answer all the same.
        Ok(_) | Err(Failure::Inconsistent(_) | Failure::TooLarge { .. }) => Pace::Fine,
        Err(_) => Pace::Silent,
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3), which is compared with the registry's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim).filter(|text| text.len() <= MAX_BYTES);
    let value = text(&RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time as well.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let now = jiff::fmt::rfc2822::parse(text(&DATE)?).ok()?.timestamp();
    Some(until.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

/// `100`, `100;w=21600`, or the first of several: the number, and the seconds that it is for.
fn quota(headers: &HeaderMap, name: &str) -> Option<(u64, Option<Duration>)> {
    let value = headers.get(name)?.to_str().ok().filter(|value| value.len() <= MAX_BYTES)?;
    let mut parts = value.split(',').next()?.split(';').map(str::trim);
    let count = number(parts.next()?)?;
    let window = parts.find_map(|part| part.strip_prefix("w=")).and_then(number);
    Some((count, window.map(Duration::from_secs)))
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::fake::answer;
    use super::*;

    fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
        answer(429, headers).unwrap().headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let pause = |named: &[(&'static str, &str)]| retry_after(&headers(named));
        assert_eq!(pause(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(pause(&[("retry-after", " 0 ")]), Some(Duration::ZERO));
        assert_eq!(pause(&[("retry-after", &"9".repeat(40))]), Some(Duration::from_secs(u64::MAX)));
        let date = ("date", "Mon, 23 Nov 2026 18:00:00 GMT");
        assert_eq!(pause(&[("retry-after", "Mon, 23 Nov 2026 18:01:00 GMT"), date]), Some(Duration::from_secs(60)));
        assert_eq!(pause(&[("retry-after", "Mon, 23 Nov 2026 17:00:00 GMT"), date]), Some(Duration::ZERO));
        assert_eq!(pause(&[("retry-after", "Mon, 23 Nov 2026 18:01:00 GMT")]), None);
        let long = "9".repeat(MAX_BYTES + 1);
        for other in ["soon", "", "-1", "+7", "7.5", &long] {
            assert_eq!(pause(&[("retry-after", other), date]), None, "{other}");
        }
        assert_eq!(pause(&[]), None);
    }

    #[test]
    fn the_limits_of_docker_hub_are_understood() {
        let limit = |limit: &str, remaining: &str| {
            RateLimit::of(&headers(&[("ratelimit-limit", limit), ("ratelimit-remaining", remaining)]))
        };
        let hub = limit("100;w=21600", "76;w=21600").unwrap();
        assert_eq!(hub, RateLimit { limit: 100, remaining: 76, window: Some(Duration::from_secs(21_600)) });
        assert_eq!(hub.to_string(), "76 of 100 requests in 6 h are left");
        assert_eq!(limit("10", "0").unwrap().to_string(), "0 of 10 requests are left");
        assert_eq!(limit("10, 10;w=1, 50;w=60", "9").unwrap().limit, 10);
        assert_eq!(limit("10;w=90", "9").unwrap().to_string(), "9 of 10 requests in 90 s are left");
    }

    #[test]
    fn must_not_take_anything_else_for_a_limit() {
        let long = format!("100;{}", "x".repeat(MAX_BYTES));
        for bad in ["", "many", "-1", "1.5", "1e9", "9999999999999", ";w=5", "\u{b9}", &long] {
            assert_eq!(
                RateLimit::of(&headers(&[("ratelimit-limit", bad), ("ratelimit-remaining", "1")])),
                None,
                "{bad}"
            );
            assert_eq!(
                RateLimit::of(&headers(&[("ratelimit-limit", "1"), ("ratelimit-remaining", bad)])),
                None,
                "{bad}"
            );
        }
        assert_eq!(RateLimit::of(&headers(&[("ratelimit-limit", "1")])), None);
        // Its twin: a window that is none is left out, and the numbers count.
        let odd = RateLimit::of(&headers(&[("ratelimit-limit", "5;w=soon"), ("ratelimit-remaining", "4")]));
        assert_eq!(odd, Some(RateLimit { limit: 5, remaining: 4, window: None }));
    }

    #[test]
    fn a_503_is_a_window_only_where_the_registry_says_until_when() {
        let slower =
            |refusal, seconds: Option<u64>| Pace::Slower { refusal, retry_after: seconds.map(Duration::from_secs) };
        assert_eq!(pace(&answer(429, &[])), slower(Refusal::Throttled, None));
        assert_eq!(pace(&answer(429, &[("retry-after", "9")])), slower(Refusal::Throttled, Some(9)));
        assert_eq!(pace(&answer(503, &[("retry-after", "9")])), slower(Refusal::Unavailable, Some(9)));
        for status in [200, 401, 404, 500, 502, 503] {
            assert_eq!(pace(&answer(status, &[])), Pace::Fine, "{status}");
        }
        assert_eq!(pace(&Err(Failure::Timeout)), Pace::Silent);
        assert_eq!(pace(&Err(Failure::TooLarge { limit: 1 })), Pace::Fine);
    }

    #[test]
    fn fuzz_advice() {
        let seeds = ["7", "100;w=21600", "Mon, 23 Nov 2026 18:01:00 GMT", "10, 10;w=1, 50;w=60"];
        let words = ["w=", ";", ",", "GMT", "Nov", "-1", "+0000", "23:59:60"];
        hallmark_fuzz_driver::Fuzz::new("advice").seeds(seeds).words(&words).run(|bytes| {
            let Ok(value) = ::http::HeaderValue::from_bytes(bytes) else { return "not a header".to_owned() };
            let mut headers = HeaderMap::new();
            for name in ["ratelimit-limit", "ratelimit-remaining", "retry-after"] {
                headers.insert(name, value.clone());
            }
            headers.insert(DATE, "Mon, 23 Nov 2026 18:00:00 GMT".parse().unwrap());
            let limit = RateLimit::of(&headers);
            let shown = limit.map(|limit| limit.to_string()).unwrap_or_default();
            assert!(shown.len() < 100, "{shown}");
            format!("{} {}", limit.is_some(), retry_after(&headers).is_some())
        });
    }
}
