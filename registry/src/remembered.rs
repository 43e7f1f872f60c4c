//! What is remembered for a while: a bounded map whose entries expire.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A map of at most `capacity` entries that forgets each at its own time, and the one that was not used for longest
/// when there is no room: whoever can name things without number makes nobody else's be forgotten while they are in use.
pub(crate) struct Remembered<K, V> {
    capacity: usize,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    by_key: HashMap<K, Entry<V>>,
    /// The keys in the order of their last use.
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

struct Entry<V> {
    value: V,
    until: Instant,
    used: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Remembered<K, V> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let entries = Entries { by_key: HashMap::new(), by_use: BTreeMap::new(), uses: 0 };
        Self { capacity, entries: Mutex::new(entries) }
    }

    pub(crate) fn find(&self, key: &K) -> Option<V> {
        self.lock().find(key, Instant::now())
    }

    pub(crate) fn insert(&self, key: K, value: V, lifetime: Duration) {
        self.lock().insert(key, value, Instant::now() + lifetime, self.capacity);
    }

    /// The remembered value, or a new one that is remembered from now on. Its lifetime begins anew.
    pub(crate) fn find_or_insert_with(&self, key: K, lifetime: Duration, make: impl FnOnce() -> V) -> V {
        let now = Instant::now();
        let mut entries = self.lock();
        let value = entries.find(&key, now).unwrap_or_else(make);
        entries.insert(key, value.clone(), now + lifetime, self.capacity);
        value
    }

    /// All that is remembered now.
    pub(crate) fn values(&self) -> Vec<V> {
        let now = Instant::now();
        self.lock().by_key.values().filter(|entry| entry.until > now).map(|entry| entry.value.clone()).collect()
    }

    pub(crate) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        // A panic while the lock was held can at worst leave an entry that is forgotten later than it should be.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Entries<K, V> {
    fn find(&mut self, key: &K, now: Instant) -> Option<V> {
        if self.by_key.get(key)?.until <= now {
            self.remove(key);
            return None;
        }
        let use_number = self.next_use();
        let entry = self.by_key.get_mut(key)?;
        self.by_use.remove(&entry.used);
        self.by_use.insert(use_number, key.clone());
        entry.used = use_number;
        Some(entry.value.clone())
    }

    fn insert(&mut self, key: K, value: V, until: Instant, capacity: usize) {
        self.remove(&key);
        while self.by_key.len() >= capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.by_key.remove(&oldest);
        }
        let used = self.next_use();
        self.by_use.insert(used, key.clone());
        self.by_key.insert(key, Entry { value, until, used });
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_use.remove(&entry.used);
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses = self.uses.wrapping_add(1);
        self.uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sizes<K, V>(map: &Remembered<K, V>) -> (usize, usize)
    where
        K: Eq + Hash + Clone,
        V: Clone,
    {
        let entries = map.lock();
        (entries.by_key.len(), entries.by_use.len())
    }

    #[test]
    fn entries_expire_and_never_exceed_the_capacity() {
        let map = Remembered::with_capacity(2);
        map.insert(1, "a", MINUTE);
        map.insert(2, "b", Duration::ZERO);
        assert_eq!(map.values(), ["a"]);
        assert_eq!((map.find(&1), map.find(&2)), (Some("a"), None));
        map.insert(3, "c", MINUTE);
        assert_eq!((map.find(&1), map.find(&3)), (Some("a"), Some("c")));
        map.insert(4, "d", MINUTE);
        assert_eq!(sizes(&map), (2, 2));
        assert_eq!(map.find(&4), Some("d"));
        map.forget(&4);
        assert_eq!(map.find(&4), None);
        assert_eq!(sizes(&map), (1, 1));
    }

    #[test]
    fn must_not_forget_what_is_in_use_because_others_name_many_things() {
        let map = Remembered::with_capacity(4);
        map.insert(0, 0, MINUTE);
        map.insert(1, 1, MINUTE);
        for name in 2..10_000 {
            map.insert(name, name, MINUTE);
            assert_eq!(map.find(&0), Some(0), "{name}");
        }
        // Its twin: what nobody used is what had to go.
        assert_eq!(map.find(&1), None);
        assert_eq!(map.find(&9_999), Some(9_999));
        assert_eq!(sizes(&map), (4, 4));
    }

    #[test]
    fn a_value_that_is_found_lives_on_and_one_that_expired_is_made_anew() {
        let map = Remembered::with_capacity(2);
        assert_eq!(map.find_or_insert_with("a", Duration::ZERO, || 1), 1);
        assert_eq!(map.find_or_insert_with("a", MINUTE, || 2), 2);
        assert_eq!(map.find_or_insert_with("a", MINUTE, || 3), 2);
        assert_eq!(sizes(&map), (1, 1));
    }
}
