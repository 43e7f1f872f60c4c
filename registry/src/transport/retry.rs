//! Repeats reads that failed for reasons that pass, within the deadline.

use std::time::{Duration, Instant};

use ::http::header::RETRY_AFTER;
use ::http::{Method, StatusCode};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Failure, Request, Response, Transport};

/// Most times that one request is repeated.
const MAX_RETRIES: u32 = 2;
/// The first pause, doubled each time, and spread by half either way so that many askers do not come back together.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause that a registry's Retry-After may ask for; above it, it is throttling and not a hiccup.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Repeats reads.
pub(super) struct Retry<T> {
    pub(super) inner: T,
}

impl<T: Transport> Retry<T> {
    async fn send_patiently(&self, request: &Request) -> Result<Response, Failure> {
        let mut attempt = 0;
        loop {
            let result = self.inner.send(request).await;
            let Some(asked) = repeatable(request, &result) else { return result };
            let pause = asked.unwrap_or_else(|| jitter(PAUSE * 2_u32.pow(attempt)));
            // The pause may be any number that a registry thought of: nothing is added to it.
            let in_time = pause < request.deadline.saturating_duration_since(Instant::now());
            if attempt >= MAX_RETRIES || pause > MAX_PAUSE || !in_time {
                return result;
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }
}

impl<T: Transport> Transport for Retry<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.send_patiently(request).boxed()
    }
}

/// Whether to send again, and after which pause the registry wants it. A request that is refused with 429 was not
/// carried out, so that even a write may be repeated; after any other failure only reads may.
fn repeatable(request: &Request, result: &Result<Response, Failure>) -> Option<Option<Duration>> {
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    match result {
        Ok(response) if response.status == StatusCode::TOO_MANY_REQUESTS => Some(retry_after(response)),
        Ok(response) if is_read && matches!(response.status.as_u16(), 500 | 502 | 503 | 504) => {
            Some(retry_after(response))
        }
        Err(Failure::Connection(_) | Failure::Timeout) if is_read => Some(None),
        _ => None,
    }
}

/// The pause of a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let date = response.headers.get(::http::header::DATE)?.to_str().ok()?;
    let now = jiff::fmt::rfc2822::parse(date.trim()).ok()?.timestamp();
    Some(until.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

/// Between half and one and a half times the pause.
fn jitter(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, answer, request};
    use super::*;

    async fn attempts(method: Method, answers: Vec<Result<Response, Failure>>) -> usize {
        let layer = Retry { inner: Fake::new(answers) };
        let _ = layer.send(&request(method, "registry.example.com/app")).await;
        layer.inner.seen.lock().unwrap().len()
    }

    #[tokio::test]
    async fn reads_are_repeated_and_writes_only_when_they_were_not_carried_out() {
        let broken = || Err(Failure::Connection("reset".to_owned()));
        let good = || answer(200, &[]);
        assert_eq!(attempts(Method::GET, vec![broken(), good()]).await, 2);
        assert_eq!(attempts(Method::HEAD, vec![answer(503, &[]), good()]).await, 2);
        assert_eq!(attempts(Method::GET, vec![answer(500, &[]), answer(502, &[]), answer(504, &[]), good()]).await, 3);
        assert_eq!(attempts(Method::PUT, vec![broken(), good()]).await, 1);
        assert_eq!(attempts(Method::PUT, vec![answer(503, &[]), good()]).await, 1);
        assert_eq!(attempts(Method::PUT, vec![answer(429, &[]), good()]).await, 2);
        for status in [200, 401, 403, 404, 501] {
            assert_eq!(attempts(Method::GET, vec![answer(status, &[]), good()]).await, 1, "{status}");
        }
        assert_eq!(attempts(Method::GET, vec![Err(Failure::Deadline), good()]).await, 1);
        assert_eq!(attempts(Method::GET, vec![answer(429, &[("retry-after", "1")]), good()]).await, 2);
        assert_eq!(attempts(Method::GET, vec![answer(429, &[("retry-after", "3")]), good()]).await, 1);
    }

    #[tokio::test]
    async fn must_not_fall_over_a_retry_after_beyond_all_clocks() {
        for seconds in [u64::MAX.to_string(), (u64::MAX / 2).to_string()] {
            let answers = vec![answer(429, &[("retry-after", &seconds)]), answer(200, &[])];
            assert_eq!(attempts(Method::GET, answers).await, 1, "{seconds}");
        }
        // Its twin: a pause that is within reason is waited for.
        assert_eq!(attempts(Method::GET, vec![answer(429, &[("retry-after", "0")]), answer(200, &[])]).await, 2);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let pause = |headers: &[(&'static str, &str)]| retry_after(&answer(429, headers).unwrap());
        assert_eq!(pause(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        let date = ("date", "Mon, 23 Nov 2026 18:00:00 GMT");
        assert_eq!(pause(&[("retry-after", "Mon, 23 Nov 2026 18:01:00 GMT"), date]), Some(Duration::from_secs(60)));
        assert_eq!(pause(&[("retry-after", "Mon, 23 Nov 2026 17:00:00 GMT"), date]), Some(Duration::ZERO));
        assert_eq!(pause(&[("retry-after", "soon")]), None);
        assert_eq!(pause(&[]), None);
    }
}
