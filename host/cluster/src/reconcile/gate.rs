//! The gate of the writes of a policy: one at a time, not too often, and with a backoff after a failure.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two writes of a status, so that pods that change constantly do not cause as many writes.
const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// The pause after the first failure. It doubles with each further one.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest random part of a pause, relative to it.
const JITTER: f64 = 0.2;
/// The longest pause after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The gate of the writes of a policy.
#[derive(Debug)]
pub struct WriteGate {
    /// Different for each gate, so that failed writes are not all retried at once.
    seed: u64,
    is_writing: bool,
    backoff: Duration,
    closed_until: Option<Instant>,
}

impl WriteGate {
    /// An open gate.
    pub fn new(seed: u64) -> Self {
        Self { seed, is_writing: false, backoff: SHORTEST_BACKOFF, closed_until: None }
    }

    /// Whether a write may start.
    pub fn is_open(&self, now: Instant) -> bool {
        !self.is_writing && self.closed_until.is_none_or(|until| until <= now)
    }

    /// A write started.
    pub fn started(&mut self) {
        self.is_writing = true;
    }

    /// The write succeeded.
    pub fn succeeded(&mut self, is_status: bool, now: Instant) {
        self.is_writing = false;
        self.backoff = SHORTEST_BACKOFF;
        if is_status {
            self.closed_until = Some(now + STATUS_PERIOD);
        }
    }

    /// The write failed.
    pub fn failed(&mut self, now: Instant) {
        self.is_writing = false;
        // The numbers of a linear congruential generator (Knuth, MMIX).
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let jitter = self.backoff.mul_f64((self.seed >> 33) as f64 / (1u64 << 31) as f64 * JITTER);
        self.closed_until = Some(now + self.backoff + jitter);
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_runs_at_a_time() {
        let now = Instant::now();
        let mut gate = WriteGate::new(7);
        assert!(gate.is_open(now));
        gate.started();
        assert!(!gate.is_open(now + LONGEST_BACKOFF));
        gate.succeeded(false, now);
        assert!(gate.is_open(now));
    }

    #[test]
    fn statuses_are_half_a_second_apart() {
        let now = Instant::now();
        let mut gate = WriteGate::new(7);
        gate.started();
        gate.succeeded(true, now);
        assert!(!gate.is_open(now + STATUS_PERIOD - Duration::from_millis(1)));
        assert!(gate.is_open(now + STATUS_PERIOD));
    }

    #[test]
    fn failures_back_off_up_to_a_minute_and_a_success_resets_the_backoff() {
        let mut now = Instant::now();
        let mut gate = WriteGate::new(7);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            gate.started();
            gate.failed(now);
            let until = gate.closed_until.unwrap_or(now);
            pauses.push((until - now).as_secs_f64());
            assert!(!gate.is_open(until - Duration::from_millis(1)) && gate.is_open(until));
            now = until;
        }
        for (pause, expected) in pauses.iter().zip([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]) {
            assert!((expected..=expected * (1.0 + JITTER)).contains(pause), "{pauses:?}");
        }
        gate.started();
        gate.succeeded(false, now);
        gate.started();
        gate.failed(now);
        assert!(gate.is_open(now + SHORTEST_BACKOFF.mul_f64(1.0 + JITTER)));
    }

    #[test]
    fn gates_retry_at_different_times() {
        let now = Instant::now();
        let retry = |seed| {
            let mut gate = WriteGate::new(seed);
            gate.failed(now);
            gate.closed_until
        };
        assert_ne!(retry(1), retry(2));
    }
}
