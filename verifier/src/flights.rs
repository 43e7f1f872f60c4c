//! Work that is under way, shared by everybody who waits for it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// One piece of work that any number of askers wait for. It gives `None` only if the work panicked.
pub(crate) type Flight<T> = Shared<BoxFuture<'static, Option<T>>>;

/// The pieces of work that are under way, by what they are about. Each runs on its own: an asker who leaves, the first
/// one included, harms nobody.
pub(crate) struct Flights<K, T: Clone> {
    under_way: Arc<Mutex<HashMap<K, Flight<T>>>>,
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self { under_way: Arc::default() }
    }

    /// Joins the work about `key`, or starts it.
    pub(crate) fn join<F>(&self, key: &K, work: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key) {
            return flight.clone();
        }
        let task = tokio::spawn(work());
        let (flights, landed) = (Arc::clone(&self.under_way), key.clone());
        let flight = async move {
            let result = task.await.ok();
            flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&landed);
            result
        };
        let flight = flight.boxed().shared();
        under_way.insert(key.clone(), flight.clone());
        // Somebody must see the landing even when every asker has left.
        tokio::spawn(flight.clone());
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_askers_share_one_piece_of_work_and_the_first_may_leave() {
        let flights: Flights<&str, usize> = Flights::new();
        let started = Arc::new(AtomicUsize::new(0));
        let start = || {
            let started = Arc::clone(&started);
            async move {
                started.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                7
            }
        };
        let first = flights.join(&"image", start);
        assert!(tokio::time::timeout(Duration::from_millis(1), first).await.is_err());
        let others: Vec<_> = (0..999).map(|_| flights.join(&"image", start)).collect();
        for other in others {
            assert_eq!(other.await, Some(7));
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert_eq!(flights.join(&"image", start).await, Some(7));
        assert_eq!(started.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn must_not_hang_or_give_a_value_when_the_work_panics() {
        let flights: Flights<&str, usize> = Flights::new();
        assert_eq!(flights.join(&"image", || async { panic!("on purpose") }).await, None);
        assert_eq!(flights.join(&"image", || async { 1 }).await, Some(1));
    }
}
