//! Repeats what failed for reasons that pass, within the deadline, and leaves a host alone that asks for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::Method;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::gate::{Pace, Refusal, Window, backoff};
use super::queue::{Caller, Hosts};
use super::{Failure, Request, Response, Transport, Waits, now};
use crate::endpoint::authority;
use crate::quote::{quote, quote_error_body};

/// Most times that a read is repeated after a failure that is no request for less traffic.
const MAX_RETRIES: u32 = 2;
/// The first pause, doubled each time, and spread by half either way so that many askers do not come back together.
const PAUSE: Duration = Duration::from_millis(100);

/// Repeats requests.
pub(super) struct Retry<T> {
    pub(super) inner: T,
    pub(super) hosts: Arc<Hosts>,
    /// Longest time that one request waits in all because its host asks for less traffic.
    pub(super) patience: Duration,
}

impl<T: Transport> Retry<T> {
    async fn send_patiently(&self, request: &Request) -> Result<Response, Failure> {
        let caller = self.hosts.of(request);
        let mut patience = Patience { request, longest: self.patience, until: None };
        let (mut refused, mut hiccups) = (0, 0);
        loop {
            if caller.gate().window().is_some() {
                let wait = caller.gate().wait(patience.until());
                wait.await.map_err(|window| left_alone(request, &caller, window, None))?;
            }
            let Some(pass) = caller.admit(request.deadline).await? else { continue };
            let result = self.inner.send(request).await;
            let pace = pass.report(&result);
            let pause = match (&result, pace) {
                (Ok(response), Pace::Slower { refusal, .. }) => {
                    let pause = backoff(PAUSE, refused);
                    refused += 1;
                    let window = caller.gate().window().unwrap_or(Window { until: now(), refusal });
                    let again = window.until.max(now() + pause);
                    if again > patience.until() || !may_be_repeated(request, refusal) {
                        return Err(left_alone(request, &caller, window, Some(response)));
                    }
                    pause
                }
                _ => {
                    let pause = backoff(PAUSE, hiccups);
                    let in_time = now() + pause < request.deadline;
                    if hiccups >= MAX_RETRIES || !in_time || !is_hiccup(request, &result) {
                        return result;
                    }
                    hiccups += 1;
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

impl<T: Transport> Transport for Retry<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.send_patiently(request).boxed()
    }
}

/// How long a request waits for a host that wants to be left alone, counted from when it has to.
struct Patience<'a> {
    request: &'a Request,
    longest: Duration,
    until: Option<Instant>,
}

impl Patience<'_> {
    fn until(&mut self) -> Instant {
        *self.until.get_or_insert_with(|| match self.request.waits {
            Waits::Briefly => now(),
            Waits::Patiently => self.request.deadline.min(now() + self.longest),
        })
    }
}

/// A request that is refused with 429 was not carried out, so that even a write may be repeated; after a 503 only reads
/// may.
fn may_be_repeated(request: &Request, refusal: Refusal) -> bool {
    refusal == Refusal::Throttled || is_read(request)
}

/// A failure that may be gone a moment later, of a request that does no harm twice.
fn is_hiccup(request: &Request, result: &Result<Response, Failure>) -> bool {
    match result {
        Ok(response) => is_read(request) && matches!(response.status.as_u16(), 500 | 502 | 503 | 504),
        Err(Failure::Connection(_) | Failure::Timeout) => is_read(request),
        Err(_) => false,
    }
}

fn is_read(request: &Request) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
}

/// Why a host is not asked: what it answered just now, or what it answered to somebody before.
fn left_alone(request: &Request, caller: &Caller, window: Window, response: Option<&Response>) -> Failure {
    let who = match request.endpoint.is_origin_of(&request.url) {
        true => "it".to_owned(),
        false => format!("`{}`", authority(&request.url)),
    };
    let what = match (response, window.refusal) {
        (Some(response), _) => {
            let (status, path) = (response.status.as_u16(), quote(request.url.path()));
            let detail = quote_error_body(&response.body);
            format!("answered {status} to `{} {path}`{detail}", request.method)
        }
        (None, Refusal::Throttled) => "asked for less traffic".to_owned(),
        (None, Refusal::Unavailable) => "said that it serves nobody".to_owned(),
    };
    let seconds = window.until.saturating_duration_since(now()).as_millis().div_ceil(1000).max(1);
    let limit = caller.rate_limit().map(|limit| format!("; {limit}")).unwrap_or_default();
    let problem = format!("{who} {what}, and is left alone for {seconds} s{limit}");
    match window.refusal {
        Refusal::Throttled => Failure::Throttled(problem),
        Refusal::Unavailable => Failure::Unavailable(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Account;
    use super::super::fake::{Fake, answer, request, url};
    use super::*;

    fn layer(answers: Vec<Result<Response, Failure>>) -> Retry<Fake> {
        patient(answers, Duration::from_secs(2))
    }

    fn patient(answers: Vec<Result<Response, Failure>>, patience: Duration) -> Retry<Fake> {
        Retry { inner: Fake::new(answers), hosts: Arc::new(Hosts::new(32)), patience }
    }

    fn app(method: Method) -> Request {
        request(method, "registry.example.com/app")
    }

    async fn attempts(method: Method, answers: Vec<Result<Response, Failure>>) -> usize {
        let layer = layer(answers);
        let _ = layer.send(&app(method)).await;
        layer.inner.seen.lock().unwrap().len()
    }

    fn after(status: u16, seconds: u64) -> Result<Response, Failure> {
        answer(status, &[("retry-after", &seconds.to_string())])
    }

    fn good() -> Result<Response, Failure> {
        answer(200, &[])
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_repeated_and_writes_only_when_they_were_not_carried_out() {
        let broken = || Err(Failure::Connection("reset".to_owned()));
        assert_eq!(attempts(Method::GET, vec![broken(), good()]).await, 2);
        assert_eq!(attempts(Method::HEAD, vec![answer(503, &[]), good()]).await, 2);
        assert_eq!(attempts(Method::GET, vec![answer(500, &[]), answer(502, &[]), answer(504, &[]), good()]).await, 3);
        assert_eq!(attempts(Method::PUT, vec![broken(), good()]).await, 1);
        assert_eq!(attempts(Method::PUT, vec![answer(503, &[]), good()]).await, 1);
        assert_eq!(attempts(Method::PUT, vec![after(503, 1), good()]).await, 1);
        assert_eq!(attempts(Method::GET, vec![after(503, 1), good()]).await, 2);
        assert_eq!(attempts(Method::PUT, vec![answer(429, &[]), good()]).await, 2);
        for status in [200, 401, 403, 404, 501] {
            assert_eq!(attempts(Method::GET, vec![answer(status, &[]), good()]).await, 1, "{status}");
        }
        assert_eq!(attempts(Method::GET, vec![Err(Failure::Deadline), good()]).await, 1);
        assert_eq!(attempts(Method::GET, vec![Err(Failure::Tls("no certificate".to_owned())), good()]).await, 1);
        assert_eq!(attempts(Method::GET, vec![after(429, 1), good()]).await, 2);
        assert_eq!(attempts(Method::GET, vec![after(429, 3), good()]).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_fall_over_a_retry_after_beyond_all_clocks() {
        for seconds in [u64::MAX, u64::MAX / 2] {
            assert_eq!(attempts(Method::GET, vec![after(429, seconds), good()]).await, 1, "{seconds}");
        }
        // Its twin: a pause that is within reason is waited for.
        assert_eq!(attempts(Method::GET, vec![after(429, 0), good()]).await, 2);
    }

    /// Goal G12, exactly: a hundred askers, five windows, five probes.
    #[tokio::test(start_paused = true)]
    async fn must_not_send_a_throttled_host_more_than_one_request_a_window() {
        let mut answers: Vec<_> = (0..6).map(|_| after(429, 60)).collect();
        answers.extend((0..100).map(|_| good()));
        let layer = patient(answers, Duration::from_secs(3600));
        let mut asked = app(Method::GET);
        asked.deadline = now() + Duration::from_secs(3600);
        let begun = now();
        // The first request learns of the window; the others come when it has begun.
        assert!(layer.send(&Request { waits: Waits::Briefly, ..asked.clone() }).await.is_err());
        let (asked, layer) = (&asked, &layer);
        let all = futures_util::future::join_all((0..100).map(|_| layer.send(asked)));
        let watch = async {
            for window in 1..=6 {
                tokio::time::sleep_until((begun + Duration::from_secs(60 * window) - PAUSE).into()).await;
                let seen = layer.inner.seen.lock().unwrap().len();
                assert_eq!(u64::try_from(seen).unwrap(), window, "one request in each window");
            }
        };
        let (answers, ()) = tokio::join!(all, watch);
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)));
        assert_eq!(layer.inner.seen.lock().unwrap().len(), 6 + 100);
        let waited = now() - begun;
        assert!(waited >= Duration::from_secs(360) && waited < Duration::from_secs(363), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_make_askers_wait_for_a_window_beyond_their_time() {
        let layer = layer(vec![answer(
            429,
            &[("retry-after", "57"), ("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")],
        )]);
        let begun = now();
        for expected in [
            "it answered 429 to `GET /v2/app/blobs/x`, and is left alone for 57 s; 0 of 100 requests in 6 h are left",
            "it asked for less traffic, and is left alone for 57 s; 0 of 100 requests in 6 h are left",
        ] {
            let failure = layer.send(&app(Method::GET)).await.unwrap_err();
            assert_eq!(failure, Failure::Throttled(expected.to_owned()));
        }
        assert_eq!((now() - begun, layer.inner.seen.lock().unwrap().len()), (Duration::ZERO, 1));
        // Its twin: another host is none of its business.
        let other = layer.send(&request(Method::GET, "other.example.com/app")).await;
        assert_eq!(layer.inner.seen.lock().unwrap().len(), 2 + usize::try_from(MAX_RETRIES).unwrap(), "{other:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_call_a_registry_that_serves_nobody_a_throttled_one() {
        let layer = layer(vec![after(503, 60)]);
        for _ in 0..2 {
            assert!(matches!(layer.send(&app(Method::GET)).await, Err(Failure::Unavailable(_))));
        }
        assert_eq!(layer.inner.seen.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_hold_up_others_when_the_one_who_probes_leaves() {
        let stalls = super::super::fake::Stalls::default();
        let layer = Retry { inner: stalls, hosts: Arc::new(Hosts::new(32)), patience: Duration::from_secs(600) };
        let caller = layer.hosts.of(&app(Method::GET));
        let pass = caller.admit(now() + PAUSE).await.unwrap().unwrap();
        pass.report(&after(429, 5));
        let mut asked = app(Method::GET);
        asked.deadline = now() + Duration::from_secs(600);
        // The probe is sent, is not answered, and its asker leaves after a second.
        let left = tokio::time::timeout(Duration::from_secs(6), layer.send(&asked)).await;
        assert!(left.is_err());
        assert_eq!(layer.inner.seen(), 1);
        layer.inner.answer_from_now_on();
        let begun = now();
        assert!(layer.send(&asked).await.is_ok());
        assert_eq!((layer.inner.seen(), now() - begun), (2, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_and_its_storage_are_left_alone_each_for_itself() {
        let layer = layer(vec![after(429, 60), good(), good()]);
        let mut storage = app(Method::GET);
        storage.url = url("https://storage.example.com/blob");
        let Err(Failure::Throttled(problem)) = layer.send(&storage).await else { panic!("not throttled") };
        assert!(problem.starts_with("`storage.example.com` answered 429"), "{problem}");
        assert!(layer.send(&app(Method::GET)).await.is_ok());
        assert!(layer.send(&storage).await.is_err());
        assert_eq!(layer.inner.seen.lock().unwrap().len(), 2);
        let traffic = layer.hosts.traffic();
        assert_eq!(traffic.len(), 1, "only registries are shown: {traffic:?}");
        assert_eq!(
            (traffic[0].host.as_str(), traffic[0].refused, traffic[0].paused_for),
            ("registry.example.com", 0, None)
        );
    }

    fn account(name: &str) -> Account {
        let credentials = crate::CredentialSource::anonymous().with_password("registry.example.com", name, "p");
        Account::Of(crate::Partition::of(&[0; 32], &credentials, &"registry.example.com/app".parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_silence_an_account_because_another_has_used_up_its_quota() {
        let accounts = [Account::Nobody, account("ann"), account("bob")];
        let mut answers: Vec<_> = (0..3).flat_map(|_| [after(429, 60), good(), good()]).collect();
        answers.extend([after(429, 60), after(429, 60)]);
        let layer = layer(answers);
        let by = |account: Account| Request { account, waits: Waits::Briefly, ..app(Method::GET) };
        for turn in 0..3 {
            let at = |offset: usize| by(accounts[(turn + offset) % 3]);
            assert!(matches!(layer.send(&at(0)).await, Err(Failure::Throttled(_))), "{turn}");
            for other in [1, 2] {
                assert!(layer.send(&at(other)).await.is_ok(), "{turn} {other}");
            }
            // Its twin: the one that was told so waits, and sends one request when the window is over.
            assert!(matches!(layer.send(&at(0)).await, Err(Failure::Throttled(_))), "{turn}");
            assert_eq!(layer.inner.seen.lock().unwrap().len(), 3 * (turn + 1));
            assert_eq!(layer.hosts.traffic()[0].paused_for, Some(Duration::from_secs(60)));
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        // Two windows at one time, one probe each.
        for probing in [accounts[0], accounts[1]] {
            for _ in 0..5 {
                assert!(matches!(layer.send(&by(probing)).await, Err(Failure::Throttled(_))));
            }
        }
        assert_eq!(layer.inner.seen.lock().unwrap().len(), 9 + 2);
        assert_eq!((layer.hosts.traffic()[0].pauses, layer.hosts.traffic()[0].refused), (5, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_registry_says_of_its_limits_is_kept() {
        let limits = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")];
        let layer = layer(vec![answer(200, &limits), after(429, 9)]);
        assert!(layer.send(&request(Method::HEAD, "docker.io/library/nginx")).await.is_ok());
        assert!(layer.send(&request(Method::HEAD, "docker.io/library/nginx")).await.is_err());
        let traffic = layer.hosts.traffic();
        let hub = &traffic[0];
        assert_eq!((hub.host.as_str(), hub.pauses, hub.refused), ("docker.io", 1, 1));
        assert_eq!(hub.paused_for, Some(Duration::from_secs(9)));
        assert_eq!(hub.rate_limit.map(|limit| (limit.limit, limit.remaining)), Some((100, 76)));
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_repeat_without_end_what_is_refused_without_a_time() {
        let refusals = || (0..1000).map(|_| answer(429, &[])).collect::<Vec<_>>();
        let seen = attempts(Method::GET, refusals()).await;
        assert!((3..=7).contains(&seen), "{seen}");
        // Other requests of the host that succeed meanwhile do not make the pauses of this one short again.
        let layer = patient(refusals(), Duration::from_secs(60));
        let begun = now();
        let mut asked = app(Method::PUT);
        asked.deadline = begun + Duration::from_secs(300);
        assert!(matches!(layer.send(&asked).await, Err(Failure::Throttled(_))));
        let seen = layer.inner.seen.lock().unwrap().len();
        assert!(seen <= 20 && now() - begun <= Duration::from_secs(60), "{seen}");
    }
}
