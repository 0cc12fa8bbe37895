//! The memory for modules that are fetched at the same time.
//!
//! A registry decides how long a module takes, so that memory that is held meanwhile would be missing for the modules of other
//! registries. There are two shares:
//!
//! | share | for | held |
//! |---|---|---|
//! | quick | modules that fit into it | for the bytes that have arrived, and at most for [`SLOW`] until the module is complete |
//! | rest | larger modules, and those that took longer | for the size of the module, before it is requested |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::OciError;

/// The unit in which memory is reserved, in bytes.
const UNIT: u64 = 1024;
/// The time after which a fetch is slow: it waits for its registry, and must not delay the modules of others.
pub const SLOW: Duration = Duration::from_secs(2);

/// The memory for all modules that are fetched at the same time.
#[derive(Debug, Clone)]
pub struct Budget {
    quick: Share,
    rest: Share,
}

#[derive(Debug, Clone)]
struct Share {
    units: Arc<Semaphore>,
    /// All of its units.
    all: u32,
}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
pub struct Reserved {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Memory that grows with the bytes that arrive.
#[derive(Debug)]
pub(crate) struct Growing {
    share: Share,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Share {
    fn new(bytes: usize) -> Self {
        let all = units(bytes as u64);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    async fn reserve(&self, bytes: u64, limit: Duration) -> Result<Reserved, OciError> {
        match tokio::time::timeout(limit, self.units.clone().acquire_many_owned(units(bytes))).await {
            Ok(Ok(permit)) => Ok(Reserved { _permit: Some(permit) }),
            Ok(Err(_)) | Err(_) => Err(OciError::Busy { limit }),
        }
    }
}

impl Budget {
    /// A budget of `quick` bytes for modules whose registry is quick, and of `rest` bytes for others, which must be at least the size of
    /// the largest module.
    pub fn new(quick: usize, rest: usize) -> Self {
        Self { quick: Share::new(quick), rest: Share::new(rest) }
    }

    /// Memory that is reserved as the bytes of a module arrive; `None` if the module is too large for it.
    pub(crate) fn quick(&self, bytes: u64) -> Option<Growing> {
        (units(bytes) <= self.quick.all).then(|| Growing { share: self.quick.clone(), held: Mutex::default() })
    }

    /// Waits until there is memory for a module that may take long, but not longer than `limit`.
    pub(crate) async fn reserve(&self, bytes: u64, limit: Duration) -> Result<Reserved, OciError> {
        self.rest.reserve(bytes, limit).await
    }

    /// Waits until there is memory for a module that is on this machine, but not longer than `limit`.
    pub(crate) async fn reserve_local(&self, bytes: u64, limit: Duration) -> Result<Reserved, OciError> {
        let share = if units(bytes) <= self.quick.all { &self.quick } else { &self.rest };
        share.reserve(bytes, limit).await
    }
}

impl Growing {
    /// Waits until the memory is enough for `bytes`.
    pub(crate) async fn grow(&self, bytes: usize) {
        let held = self.held(|held| held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let missing = units(bytes as u64).saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        if missing > 0
            && let Ok(permit) = self.share.units.clone().acquire_many_owned(missing).await
        {
            self.held(|held| match held {
                Some(held) => held.merge(permit),
                None => *held = Some(permit),
            });
        }
    }

    /// The memory for a module that is complete.
    pub(crate) fn reserved(self) -> Reserved {
        Reserved { _permit: self.held.into_inner().unwrap_or_else(PoisonError::into_inner) }
    }

    fn held<T>(&self, action: impl FnOnce(&mut Option<OwnedSemaphorePermit>) -> T) -> T {
        // No holder of the lock can panic during a change.
        action(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn bytes_that_have_not_arrived_hold_no_memory() {
        let budget = Budget::new(4 * 1024, 8 * 1024);
        let (slow, other) = (budget.quick(4096).unwrap(), budget.quick(4096).unwrap());
        assert!(slow.grow(1).now_or_never().is_some());
        assert!(other.grow(3 * 1024).now_or_never().is_some(), "one of four units is held");
        assert!(other.grow(3 * 1024 + 1).now_or_never().is_none());
        drop(slow);
        assert!(other.grow(4096).now_or_never().is_some());
        let complete = other.reserved();
        let next = budget.quick(1).unwrap();
        assert!(next.grow(1).now_or_never().is_none(), "a complete module holds its memory");
        drop(complete);
        assert!(next.grow(1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn modules_that_may_take_long_hold_nothing_of_the_share_of_others() {
        let budget = Budget::new(4 * 1024, 8 * 1024);
        let large = budget.reserve(8 * 1024, Duration::ZERO).await.unwrap();
        assert_eq!(budget.reserve(1, Duration::ZERO).await.unwrap_err(), OciError::Busy { limit: Duration::ZERO });
        assert!(budget.quick(4 * 1024).unwrap().grow(4 * 1024).now_or_never().is_some());
        let local = budget.reserve_local(4 * 1024, Duration::ZERO).await.unwrap();
        assert!(budget.reserve_local(5 * 1024, Duration::ZERO).await.is_err());
        assert!(budget.quick(4 * 1024 + 1).is_none(), "a module that does not fit");
        drop((large, local));
        assert!(budget.reserve_local(5 * 1024, Duration::ZERO).await.is_ok());
    }
}
