//! Leaves a host alone while it asks for that: one window for all askers of one account, and one probe when it is over.
//!
//! A 429, or a 503 with a `Retry-After`, begins a window. Until it ends no request goes to the host; then one does, the
//! probe, and the others wait for what becomes of it. So a host that is overwhelmed sees one request a window, however
//! many images are being asked about.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::now;

/// The first window where the host does not say how long, doubled each time in a row.
const FIRST_WINDOW: Duration = Duration::from_millis(100);
/// The longest window that we come up with ourselves.
const LONGEST_OWN_WINDOW: Duration = Duration::from_secs(10);
/// The longest window that a host may ask for. A probe every five minutes hurts no host, and what changed meanwhile
/// (another account, a raised limit) is noticed within this time. It also bounds what one wrong header can do.
const LONGEST_WINDOW: Duration = Duration::from_secs(300);

/// What keeps the askers of one account from a host.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

/// A time during which a host is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) until: Instant,
    pub(super) refusal: Refusal,
}

/// What the host said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 429: it is asked too often.
    Throttled,
    /// 503 with a `Retry-After`: it serves nobody.
    Unavailable,
}

/// What became of a request, as far as the pace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It was answered, well or badly.
    Fine,
    /// There was no answer.
    Silent,
    /// The host wants to be left alone.
    Slower { refusal: Refusal, retry_after: Option<Duration> },
}

/// How a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Like any other.
    Free,
    /// As the only one, on behalf of all.
    Probe,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Windows in a row.
    in_a_row: u32,
    /// Windows since the start.
    windows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// In a window, or after one whose probe is not under way yet.
    Closed(Window),
    /// The window that is over, while its probe is under way.
    Probing(Window),
}

impl Gate {
    /// Waits until a request may try to enter, or says at once that this will not be by `until`.
    pub(super) async fn wait(&self, until: Instant) -> Result<(), Window> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let phase = self.lock().phase;
            match phase {
                Phase::Open => return Ok(()),
                Phase::Closed(window) if window.until <= now() => return Ok(()),
                Phase::Closed(window) if window.until > until => return Err(window),
                Phase::Closed(window) => {
                    // Whoever comes first: the end of the window, or another answer that extends it.
                    let _ = tokio::time::timeout_at(window.until.into(), changed).await;
                }
                Phase::Probing(window) => {
                    if tokio::time::timeout_at(until.into(), changed).await.is_err() {
                        return Err(window);
                    }
                }
            }
        }
    }

    /// Lets a request in, if it may go now: any number of them, or the one probe. Each entry is reported, or given back.
    pub(super) fn enter(&self) -> Option<Entry> {
        self.lock().enter(now())
    }

    /// What became of a request that was let in. Gives whether a window begins with it.
    pub(super) fn report(&self, entry: Entry, pace: Pace) -> bool {
        let mut state = self.lock();
        let before = state.windows;
        state.report(entry, pace, now());
        let begins = state.windows != before;
        drop(state);
        self.changed.notify_waiters();
        begins
    }

    /// A request that was let in was dropped before there was an answer.
    pub(super) fn give_back(&self, entry: Entry) {
        self.lock().give_back(entry);
        self.changed.notify_waiters();
    }

    /// The window that is not over, or whose probe is not back yet.
    pub(super) fn window(&self) -> Option<Window> {
        match self.lock().phase {
            Phase::Open => None,
            Phase::Closed(window) | Phase::Probing(window) => Some(window),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: a panic leaves a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, now: Instant) -> Option<Entry> {
        match self.phase {
            Phase::Open => Some(Entry::Free),
            Phase::Closed(window) if window.until <= now => {
                self.phase = Phase::Probing(window);
                Some(Entry::Probe)
            }
            Phase::Closed(_) | Phase::Probing(_) => None,
        }
    }

    fn report(&mut self, entry: Entry, pace: Pace, now: Instant) {
        match (self.phase, entry, pace) {
            (Phase::Open, _, Pace::Fine) | (_, Entry::Probe, Pace::Fine) => {
                self.phase = Phase::Open;
                self.in_a_row = 0;
            }
            (Phase::Open, _, Pace::Slower { refusal, retry_after })
            | (_, Entry::Probe, Pace::Slower { refusal, retry_after }) => self.close(refusal, retry_after, now),
            // A request from before the window: what it was told counts where it asks for more.
            (Phase::Closed(window), Entry::Free, Pace::Slower { retry_after, .. }) => {
                let until = now + self.length(retry_after);
                self.phase = Phase::Closed(Window { until: window.until.max(until), ..window });
            }
            // Nobody knows whether the host is better: it is left alone for a little longer.
            (Phase::Closed(window) | Phase::Probing(window), Entry::Probe, Pace::Silent) => {
                self.close(window.refusal, None, now);
            }
            // Requests from before the window say nothing about what comes after it.
            (_, Entry::Free, Pace::Fine | Pace::Silent)
            | (Phase::Probing(_), Entry::Free, Pace::Slower { .. })
            | (Phase::Open, Entry::Probe, Pace::Silent) => {}
        }
    }

    fn give_back(&mut self, entry: Entry) {
        if let (Phase::Probing(window), Entry::Probe) = (self.phase, entry) {
            // Its time is over: the next one to come is the probe.
            self.phase = Phase::Closed(window);
        }
    }

    fn close(&mut self, refusal: Refusal, retry_after: Option<Duration>, now: Instant) {
        let until = now + self.length(retry_after);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.windows = self.windows.saturating_add(1);
        self.phase = Phase::Closed(Window { until, refusal });
    }

    /// What the host asks for, within reason; never less than what we would come up with ourselves.
    fn length(&self, retry_after: Option<Duration>) -> Duration {
        let own = backoff(FIRST_WINDOW, self.in_a_row).min(LONGEST_OWN_WINDOW);
        retry_after.map_or(own, |asked| asked.max(own)).min(LONGEST_WINDOW)
    }
}

/// A pause that doubles with the attempts, spread by half either way so that many askers do not come back together.
pub(crate) fn backoff(first: Duration, attempts: u32) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(attempts.min(16)));
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slower(seconds: u64) -> Pace {
        Pace::Slower { refusal: Refusal::Throttled, retry_after: Some(Duration::from_secs(seconds)) }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A state in a window of so many seconds that begins at the time.
    fn closed(at: Instant, window: u64) -> State {
        let mut state = State::default();
        assert_eq!(state.enter(at), Some(Entry::Free));
        state.report(Entry::Free, slower(window), at);
        state
    }

    #[test]
    fn must_not_let_more_than_one_request_in_for_each_window() {
        let start = Instant::now();
        let mut state = closed(start, 60);
        for window in 1..=5_u64 {
            let begins = start + seconds(60 * (window - 1));
            for second in 0..60 {
                assert_eq!(state.enter(begins + seconds(second)), None, "{window} {second}");
            }
            let ends = begins + seconds(60);
            assert_eq!(state.enter(ends), Some(Entry::Probe));
            assert_eq!((state.enter(ends), state.enter(ends + seconds(9))), (None, None));
            state.report(Entry::Probe, slower(60), ends);
            assert_eq!(state.windows, window + 1);
        }
        // Its twin: a probe that is answered lets everybody in.
        let ends = start + seconds(360);
        assert_eq!(state.enter(ends), Some(Entry::Probe));
        state.report(Entry::Probe, Pace::Fine, ends);
        assert_eq!((state.enter(ends), state.enter(ends)), (Some(Entry::Free), Some(Entry::Free)));
        assert_eq!(state.in_a_row, 0);
    }

    #[test]
    fn must_not_open_for_an_answer_to_what_was_asked_before_the_window() {
        let start = Instant::now();
        let mut state = closed(start, 60);
        for late in [Pace::Fine, Pace::Silent, slower(1)] {
            state.report(Entry::Free, late, start + seconds(1));
            assert_eq!(state.enter(start + seconds(59)), None, "{late:?}");
        }
        assert_eq!((state.windows, state.in_a_row), (1, 1), "one burst is one window");
        // Its twin: one that asks for more is heard.
        state.report(Entry::Free, slower(120), start + seconds(1));
        assert_eq!(state.enter(start + seconds(120)), None);
        assert_eq!(state.enter(start + seconds(121)), Some(Entry::Probe));
        // Nor do they end the wait for the probe.
        for late in [Pace::Fine, Pace::Silent, slower(1)] {
            state.report(Entry::Free, late, start + seconds(122));
            assert_eq!(state.enter(start + seconds(500)), None, "{late:?}");
        }
    }

    #[test]
    fn must_not_stay_closed_because_a_probe_was_dropped_or_not_answered() {
        let start = Instant::now();
        let mut state = closed(start, 60);
        let ends = start + seconds(60);
        assert_eq!(state.enter(ends), Some(Entry::Probe));
        state.give_back(Entry::Probe);
        assert_eq!(state.enter(ends), Some(Entry::Probe), "the next one takes its place");
        state.report(Entry::Probe, Pace::Silent, ends);
        assert_eq!(state.enter(ends), None, "nobody knows whether the host is better");
        assert_eq!(state.enter(ends + LONGEST_OWN_WINDOW), Some(Entry::Probe));
        // Its twin: an entry like any other that is dropped changes nothing.
        let mut state = closed(start, 60);
        state.give_back(Entry::Free);
        assert_eq!(state.enter(start), None);
    }

    #[test]
    fn must_not_close_for_longer_than_the_bound_nor_for_no_time_at_all() {
        let start = Instant::now();
        for asked in [LONGEST_WINDOW.as_secs(), LONGEST_WINDOW.as_secs() + 1, u64::MAX / 2, u64::MAX] {
            let mut state = closed(start, asked);
            assert_eq!(state.enter(start + LONGEST_WINDOW - Duration::from_millis(1)), None, "{asked}");
            assert_eq!(state.enter(start + LONGEST_WINDOW), Some(Entry::Probe), "{asked}");
        }
        // Its twins: what is within the bound is honoured to the second, and "at once" is at least a moment.
        let mut state = closed(start, 299);
        assert_eq!(state.enter(start + seconds(298)), None);
        assert_eq!(state.enter(start + seconds(299)), Some(Entry::Probe));
        let mut state = closed(start, 0);
        assert_eq!(state.enter(start + FIRST_WINDOW / 4), None);
        assert_eq!(state.enter(start + FIRST_WINDOW * 2), Some(Entry::Probe));
    }

    #[test]
    fn windows_that_nobody_gave_a_length_grow_and_are_spread() {
        let mut state = State::default();
        let silent = Pace::Slower { refusal: Refusal::Throttled, retry_after: None };
        let mut at = Instant::now();
        let mut lengths = Vec::new();
        state.report(Entry::Free, silent, at);
        for _ in 0..12 {
            let Phase::Closed(window) = state.phase else { panic!("{state:?}") };
            lengths.push(window.until - at);
            at = window.until;
            assert_eq!(state.enter(at), Some(Entry::Probe));
            state.report(Entry::Probe, silent, at);
        }
        for (attempt, length) in (0_u32..).zip(lengths.iter().take(6)) {
            let middle = FIRST_WINDOW * 2_u32.pow(attempt);
            assert!(*length >= middle / 2 && *length <= middle * 3 / 2, "{attempt}: {length:?}");
        }
        assert!(lengths.iter().all(|length| *length <= LONGEST_OWN_WINDOW));
        assert!(*lengths.last().unwrap() >= LONGEST_OWN_WINDOW / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_told_at_once_when_the_window_is_beyond_their_time() {
        let gate = Gate::default();
        assert_eq!(gate.wait(now()).await, Ok(()));
        gate.report(Entry::Free, slower(60));
        let begun = now();
        assert!(gate.wait(begun + seconds(59)).await.is_err());
        assert_eq!(now(), begun, "it did not wait");
        // Its twin: one whose time is longer waits for the end.
        assert_eq!(gate.wait(begun + seconds(61)).await, Ok(()));
        assert!(now() - begun >= seconds(60));
        assert_eq!((gate.enter(), gate.enter()), (Some(Entry::Probe), None));
        // While the probe is under way: until the own time is over, or the probe is back.
        assert!(gate.wait(now() + seconds(5)).await.is_err());
        let (waited, _) = tokio::join!(gate.wait(now() + seconds(5)), async { gate.report(Entry::Probe, Pace::Fine) });
        assert_eq!((waited, gate.enter()), (Ok(()), Some(Entry::Free)));
    }
}
