//! What is remembered for a while: a bounded map whose entries expire.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A map of at most `capacity` entries that forgets each at its own time.
pub(crate) struct Remembered<K, V> {
    capacity: usize,
    entries: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn find(&self, key: &K) -> Option<V> {
        let now = Instant::now();
        self.lock().get(key).filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, lifetime: Duration) {
        let now = Instant::now();
        let mut entries = self.lock();
        make_room(&mut entries, self.capacity, now);
        entries.insert(key, (value, now + lifetime));
    }

    /// The remembered value, or a new one that is remembered from now on.
    pub(crate) fn find_or_insert_with(&self, key: K, lifetime: Duration, make: impl FnOnce() -> V) -> V {
        let now = Instant::now();
        let mut entries = self.lock();
        if let Some((value, until)) = entries.get_mut(&key) {
            *until = now + lifetime;
            return value.clone();
        }
        make_room(&mut entries, self.capacity, now);
        let value = make();
        entries.insert(key, (value.clone(), now + lifetime));
        value
    }

    pub(crate) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (V, Instant)>> {
        // A panic while the lock was held cannot leave the map half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what has expired, and everything when that does not help: what is remembered only ever saves requests.
fn make_room<K: Eq + Hash, V>(entries: &mut HashMap<K, (V, Instant)>, capacity: usize, now: Instant) {
    if entries.len() >= capacity {
        entries.retain(|_, (_, until)| *until > now);
    }
    if entries.len() >= capacity {
        entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire_and_never_exceed_the_capacity() {
        let map = Remembered::with_capacity(2);
        map.insert(1, "a", Duration::from_secs(60));
        map.insert(2, "b", Duration::ZERO);
        assert_eq!((map.find(&1), map.find(&2)), (Some("a"), None));
        map.insert(3, "c", Duration::from_secs(60));
        assert_eq!((map.find(&1), map.find(&3)), (Some("a"), Some("c")));
        map.insert(4, "d", Duration::from_secs(60));
        assert!(map.lock().len() <= 2);
        assert_eq!(map.find(&4), Some("d"));
        map.forget(&4);
        assert_eq!(map.find(&4), None);
    }
}
