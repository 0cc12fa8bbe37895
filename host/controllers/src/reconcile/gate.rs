//! The gate of the writes of a policy: one at a time, not too often, and with a backoff after a failure.

use std::hash::Hash;
use std::time::Duration;

use kube_devops_runtime::backoff::Backoff;
use tokio::time::Instant;

/// The shortest time between two writes of a status, so that pods that change constantly do not cause as many writes.
const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The gate of the writes of a policy.
#[derive(Debug)]
pub struct WriteGate {
    is_writing: bool,
    backoff: Backoff,
    closed_until: Option<Instant>,
}

impl WriteGate {
    /// An open gate. `key` identifies the policy.
    pub fn new(key: &impl Hash) -> Self {
        Self { is_writing: false, backoff: Backoff::of(key, PAUSES), closed_until: None }
    }

    /// Whether a write may start.
    pub fn is_open(&self, now: Instant) -> bool {
        !self.is_writing && self.backoff.is_over(now) && self.closed_until.is_none_or(|until| until <= now)
    }

    /// A write started.
    pub fn started(&mut self) {
        self.is_writing = true;
    }

    /// The write succeeded.
    pub fn succeeded(&mut self, is_status: bool, now: Instant) {
        self.is_writing = false;
        self.backoff.succeeded();
        if is_status {
            self.closed_until = Some(now + STATUS_PERIOD);
        }
    }

    /// The write failed.
    pub fn failed(&mut self, now: Instant) {
        self.is_writing = false;
        self.backoff.failed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_runs_at_a_time() {
        let now = Instant::now();
        let mut gate = WriteGate::new(&"policy");
        assert!(gate.is_open(now));
        gate.started();
        assert!(!gate.is_open(now + PAUSES.1));
        gate.succeeded(false, now);
        assert!(gate.is_open(now));
    }

    #[test]
    fn statuses_are_half_a_second_apart() {
        let now = Instant::now();
        let mut gate = WriteGate::new(&"policy");
        gate.started();
        gate.succeeded(true, now);
        assert!(!gate.is_open(now + STATUS_PERIOD - Duration::from_millis(1)));
        assert!(gate.is_open(now + STATUS_PERIOD));
    }

    #[test]
    fn a_failed_write_is_retried_after_a_pause() {
        let now = Instant::now();
        let mut gate = WriteGate::new(&"policy");
        gate.started();
        gate.failed(now);
        assert!(!gate.is_open(now + PAUSES.0 - Duration::from_millis(1)));
        assert!(gate.is_open(now + PAUSES.0 * 2));
    }
}
