//! The time limit of a command, over all of its requests.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::OciError;

/// The time that the requests of a command have.
pub(super) struct Deadline {
    /// The time of all requests, without extensions.
    pub(super) total: Duration,
    time: Mutex<Time>,
}

struct Time {
    left: Duration,
    /// The time of all requests, with extensions.
    all: Duration,
}

impl Deadline {
    pub(super) fn new(total: Duration) -> Self {
        Self { total, time: Mutex::new(Time { left: total, all: total }) }
    }

    /// Gives the requests more time.
    pub(super) fn extend(&self, more: Duration) {
        let mut time = self.time();
        time.left += more;
        time.all += more;
    }

    /// Runs requests to a host, and subtracts the time that they take. What happens between requests takes none.
    pub(super) async fn limit<T>(
        &self,
        host: &str,
        requests: impl Future<Output = Result<T, OciError>>,
    ) -> Result<T, OciError> {
        let (left, started) = (self.time().left, Instant::now());
        let ended = timeout(left, requests).await;
        self.spend(started.elapsed());
        ended.unwrap_or_else(|_| Err(OciError::Timeout { host: host.to_owned(), limit: self.time().all }))
    }

    fn spend(&self, time: Duration) {
        let mut known = self.time();
        known.left = known.left.saturating_sub(time);
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        // No holder of the lock can panic during a change.
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn all_requests_together_have_the_time() {
        let seconds = Duration::from_secs;
        let deadline = Deadline::new(seconds(180));
        assert_eq!(deadline.limit("host", ready(Ok(1))).await, Ok(1));
        assert!(deadline.time().left < seconds(180));
        deadline.spend(seconds(179));
        deadline.extend(seconds(60));
        assert!(deadline.time().left <= seconds(61) && deadline.time().left > seconds(0));
        deadline.spend(seconds(1000));
        let late = deadline.limit::<()>("host", pending()).await;
        assert_eq!(late, Err(OciError::Timeout { host: "host".to_owned(), limit: seconds(240) }));
    }
}
