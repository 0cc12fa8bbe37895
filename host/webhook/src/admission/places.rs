//! The places of evaluations: how many requests are evaluated at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The share of all evaluations that slow ones of one namespace by added modules may be, so that it cannot use up those of others: an
/// eighth.
const SLOW_SHARE: usize = 8;
/// The largest review that waits, in bytes, because it uses memory that reviews of other namespaces need.
const LARGEST_WAITING: usize = 64 * 1024;

/// The places of evaluations.
pub struct Places {
    all: Semaphore,
    /// The number of places for slow evaluations of a namespace, and of requests that wait for one.
    most_slow: usize,
    /// The namespaces with slow evaluations.
    slow: Mutex<HashMap<String, Weak<Slow>>>,
}

/// The slow evaluations of a namespace.
struct Slow {
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

/// A place among the slow evaluations of a namespace, until it is dropped.
pub struct SlowPlace {
    _place: OwnedSemaphorePermit,
    _slow: Arc<Slow>,
}

impl Places {
    /// Creates `most` places.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { all: Semaphore::new(most), most_slow: (most / SLOW_SHARE).max(1), slow: Mutex::default() }
    }

    /// Returns a place if one is free.
    pub fn any(&self) -> Option<SemaphorePermit<'_>> {
        self.all.try_acquire().ok()
    }

    /// Returns a place among the slow evaluations of a namespace, in addition to which each needs one of [`Places::any`].
    ///
    /// A request waits for one without a thread, for half of the time that is left until its deadline: what gets a place later would be
    /// interrupted at its deadline, and all that follow it as well, so that none would be evaluated while there are many.
    ///
    /// # Errors
    ///
    /// The number of places, if none becomes free, as many requests of the namespace wait, or the review is too large to wait.
    pub async fn slow(&self, namespace: &str, size: usize, deadline: Instant) -> Result<SlowPlace, usize> {
        let slow = self.of(namespace);
        let place = match slow.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) if size > LARGEST_WAITING => return Err(self.most_slow),
            Err(_) => {
                let _waiting = slow.waiting.try_acquire().map_err(|_| self.most_slow)?;
                let left = deadline.saturating_duration_since(Instant::now());
                let place = timeout(left / 2, slow.places.clone().acquire_owned()).await;
                place.ok().and_then(Result::ok).ok_or(self.most_slow)?
            }
        };
        Ok(SlowPlace { _place: place, _slow: slow })
    }

    fn of(&self, namespace: &str) -> Arc<Slow> {
        // No holder of the lock can panic during a change.
        let mut known = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slow) = known.get(namespace).and_then(Weak::upgrade) {
            return slow;
        }
        known.retain(|_, slow| slow.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.most_slow));
        let slow = Arc::new(Slow { places, waiting: Semaphore::new(self.most_slow) });
        known.insert(namespace.to_owned(), Arc::downgrade(&slow));
        slow
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_slow_request_gets_the_place_of_another_one_and_not_many_wait() {
        let places = Places::new(8);
        let first = places.slow("shop", 1, later()).await;
        assert!(first.is_ok());
        assert_eq!(places.slow("shop", 1 << 20, later()).await.err(), Some(1), "a large review does not wait");
        let mut second = Box::pin(places.slow("shop", 1, later()));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!(places.slow("shop", 1, later()).await.err(), Some(1), "no more may wait");
        let other = places.slow("other", 1, later()).now_or_never().and_then(Result::ok);
        assert!(other.is_some(), "it does not wait for another namespace");
        drop(first);
        let second = second.await;
        assert!(second.is_ok());
        assert_eq!(places.slow("shop", 1, Instant::now()).await.err(), Some(1), "there is no time to wait");
        drop(second);
        assert!(places.slow("shop", 1, Instant::now()).await.is_ok());
    }

    #[tokio::test]
    async fn slow_evaluations_of_a_namespace_leave_places_for_others() {
        let places = Places::new(16);
        let now = Instant::now();
        let shop = [places.slow("shop", 1, now).await, places.slow("shop", 1, now).await];
        assert!(shop.iter().all(Result::is_ok));
        assert_eq!(places.slow("shop", 1, now).await.err(), Some(2));
        let other = places.slow("other", 1, now).await;
        assert!(other.is_ok() && places.any().is_some());
        drop(shop);
        assert!(places.slow("shop", 1, now).await.is_ok());
        drop(other);
        drop(places.slow("third", 1, now).await);
        let known = places.slow.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(known.len(), 1, "what is not used is forgotten");
    }
}
