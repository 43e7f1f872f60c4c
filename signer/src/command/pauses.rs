//! Says for which registries a run waits: a registry that asks for less traffic is waited for, which may take minutes.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use hallmark_registry::{HostTraffic, Registry};

use crate::progress::Progress;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(250);
/// Shorter waits are not worth a word.
const SHORTEST: Duration = Duration::from_millis(500);

/// Does the work, and says meanwhile for whom it waits.
pub(super) async fn telling<T>(progress: &Progress, registry: &Registry, work: impl Future<Output = T>) -> T {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Told::default();
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => match told.look(&registry.traffic()) {
                None => progress.goes_on(),
                Some((line, is_new)) => progress.waits(&line, is_new),
            },
        }
    }
}

/// The last pause of each registry that was told of.
#[derive(Default)]
struct Told(BTreeMap<String, u64>);

impl Told {
    /// What a run waits for, and whether that has not been said yet.
    fn look(&mut self, traffic: &[HostTraffic]) -> Option<(String, bool)> {
        let paused = traffic.iter().filter_map(|host| Some((host, host.paused_for?)));
        let (host, left) = paused.max_by_key(|(_, left)| *left)?;
        let is_known = self.0.get(&host.host) == Some(&host.pauses);
        if left < SHORTEST && !is_known {
            return None;
        }
        self.0.insert(host.host.clone(), host.pauses);
        let limit = host.rate_limit.map(|limit| format!(" ({limit})")).unwrap_or_default();
        let seconds = left.as_millis().div_ceil(1000);
        Some((format!("waiting {seconds} s for `{}`, which asks for less traffic{limit}", host.host), !is_known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_registry::RateLimit;

    fn host(name: &str, paused_for: Option<u64>, pauses: u64) -> HostTraffic {
        let paused_for = paused_for.map(Duration::from_millis);
        HostTraffic { host: name.to_owned(), paused_for, pauses, refused: pauses, rate_limit: None }
    }

    #[test]
    fn the_longest_wait_is_told_and_each_one_is_new_once() {
        let mut told = Told::default();
        assert_eq!(told.look(&[host("a.example", None, 0)]), None);
        assert_eq!(told.look(&[host("a.example", Some(100), 1)]), None, "not worth a word");
        let line = |seconds: u64| format!("waiting {seconds} s for `a.example`, which asks for less traffic");
        let traffic = |left| [host("b.example", Some(1000), 1), host("a.example", Some(left), 2)];
        assert_eq!(told.look(&traffic(56_900)), Some((line(57), true)));
        assert_eq!(told.look(&traffic(56_000)), Some((line(56), false)));
        assert_eq!(told.look(&[host("a.example", Some(0), 2)]), Some((line(0), false)), "its probe is under way");
        assert_eq!(told.look(&[host("a.example", Some(60_000), 3)]), Some((line(60), true)), "the next pause");
        let limit = RateLimit { limit: 100, remaining: 0, window: Some(Duration::from_secs(21_600)) };
        let hub = HostTraffic { rate_limit: Some(limit), ..host("docker.io", Some(9_000), 1) };
        let (line, _) = told.look(&[hub]).unwrap();
        assert!(line.ends_with("traffic (0 of 100 requests in 6 h are left)"), "{line}");
    }
}
