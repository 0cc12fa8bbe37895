//! The gate of the writes of a policy: one at a time, not too often, and with a backoff after a failure, and while another client
//! writes the same status.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kube_devops_cluster::crd::DevOpsPolicyStatus;
use kube_devops_runtime::backoff::Backoff;
use tokio::time::Instant;

/// The shortest time between two writes of a status, so that pods that change constantly do not cause as many writes.
const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often a status is written again before another client is assumed to write it all the time.
const CONTESTED: u32 = 3;

/// The gate of the writes of a policy.
#[derive(Debug)]
pub struct WriteGate {
    is_writing: bool,
    backoff: Backoff,
    closed_until: Option<Instant>,
    /// The hash of the last status.
    status: Option<u64>,
    /// How often the same status was written again, because another client had changed it.
    repeats: u32,
    repeat_backoff: Backoff,
}

impl WriteGate {
    /// An open gate. `key` identifies the policy.
    pub fn new(key: &impl Hash) -> Self {
        Self {
            is_writing: false,
            backoff: Backoff::of(key, PAUSES),
            closed_until: None,
            status: None,
            repeats: 0,
            repeat_backoff: Backoff::of(key, PAUSES),
        }
    }

    /// Whether a write may start.
    pub fn is_open(&self, now: Instant) -> bool {
        !self.is_writing
            && self.backoff.is_over(now)
            && self.repeat_backoff.is_over(now)
            && self.closed_until.is_none_or(|until| until <= now)
    }

    /// A write started.
    pub fn started(&mut self) {
        self.is_writing = true;
    }

    /// The write succeeded. `status` is what was written, if it is a status. Returns whether another client writes it all the time,
    /// which is true once.
    pub fn succeeded(&mut self, status: Option<&DevOpsPolicyStatus>, now: Instant) -> bool {
        self.is_writing = false;
        self.backoff.succeeded();
        let Some(status) = status else { return false };
        self.closed_until = Some(now + STATUS_PERIOD);
        let status = hash(status);
        if self.status.replace(status) == Some(status) {
            self.repeats = self.repeats.saturating_add(1);
            self.repeat_backoff.failed(now);
        } else {
            self.repeats = 0;
            self.repeat_backoff.succeeded();
        }
        self.repeats == CONTESTED
    }

    /// The write failed.
    pub fn failed(&mut self, now: Instant) {
        self.is_writing = false;
        self.backoff.failed(now);
    }
}

/// The hash of a status without its times, which another writer changes: a condition that changes has a new time.
fn hash(status: &DevOpsPolicyStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    for condition in &status.conditions {
        (&condition.type_, &condition.status, &condition.reason, &condition.message).hash(&mut hasher);
    }
    let timeless = DevOpsPolicyStatus { last_evaluated: None, conditions: Vec::new(), ..status.clone() };
    serde_json::to_vec(&timeless).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(message: &str) -> DevOpsPolicyStatus {
        DevOpsPolicyStatus { message: Some(message.to_owned()), ..DevOpsPolicyStatus::default() }
    }

    #[test]
    fn one_write_runs_at_a_time() {
        let now = Instant::now();
        let mut gate = WriteGate::new(&"policy");
        assert!(gate.is_open(now));
        gate.started();
        assert!(!gate.is_open(now + PAUSES.1));
        assert!(!gate.succeeded(None, now));
        assert!(gate.is_open(now));
    }

    #[test]
    fn statuses_are_half_a_second_apart() {
        let now = Instant::now();
        let mut gate = WriteGate::new(&"policy");
        gate.started();
        gate.succeeded(Some(&status("a")), now);
        assert!(!gate.is_open(now + STATUS_PERIOD - Duration::from_millis(1)));
        assert!(gate.is_open(now + STATUS_PERIOD));
    }

    #[test]
    fn a_status_that_another_client_changes_is_written_less_and_less_often() {
        let start = Instant::now();
        let mut gate = WriteGate::new(&"policy");
        let mut write = |status: &DevOpsPolicyStatus, now: Instant| {
            let is_reported = gate.succeeded(Some(status), now);
            let pause = (0..).map(|step| PAUSES.0 * step).find(|pause| gate.is_open(now + *pause));
            (pause.unwrap_or_default().as_secs_f64().ceil(), is_reported)
        };
        let times = (0..8).map(|second| DevOpsPolicyStatus {
            last_evaluated: Some(chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second)),
            ..status("a")
        });
        let (pauses, reports): (Vec<f64>, Vec<bool>) = times.map(|status| write(&status, start)).unzip();
        assert_eq!(pauses[0], 1.0, "the first one is no repetition");
        assert!(pauses.is_sorted() && pauses[7] >= 32.0, "{pauses:?}");
        assert_eq!(reports.iter().filter(|is_reported| **is_reported).count(), 1);
        assert_eq!(write(&status("b"), start), (1.0, false), "the operator has another result");
        assert!(write(&status("b"), start).0 <= 1.0);
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
