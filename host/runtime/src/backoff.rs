//! Pauses after failures: they double, and have a random part, so that retries do not all happen at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// The longest random part of a pause, relative to it.
const JITTER: f64 = 0.2;

/// The pauses after the failures of one thing.
#[derive(Debug)]
pub struct Backoff {
    seed: u64,
    shortest: Duration,
    longest: Duration,
    next: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// No failure yet. `key` identifies what may fail, and the pauses are between `shortest` and `longest`.
    pub fn of(key: &impl Hash, (shortest, longest): (Duration, Duration)) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self { seed: hasher.finish(), shortest, longest, next: shortest, until: None }
    }

    /// Starts a pause after a failure.
    pub fn failed(&mut self, now: Instant) {
        // A linear congruential generator with the numbers of Knuth's MMIX.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = (self.seed >> 33) as f64 / (1u64 << 31) as f64;
        self.until = Some(now + self.next + self.next.mul_f64(random * JITTER));
        self.next = (self.next * 2).min(self.longest);
    }

    /// The next pause is the shortest again.
    pub fn succeeded(&mut self) {
        self.next = self.shortest;
        self.until = None;
    }

    /// The end of the pause, if there is one.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The rest of the pause; `None` after a success.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// Whether the pause is over, or there is none.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut now = Instant::now();
        let mut backoff = Backoff::of(&"policy", PAUSES);
        assert!(backoff.is_over(now));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            backoff.failed(now);
            let until = backoff.until.unwrap_or(now);
            assert!(!backoff.is_over(until - Duration::from_millis(1)) && backoff.is_over(until));
            pauses.push((until - now).as_secs_f64());
            now = until;
        }
        for (pause, expected) in pauses.iter().zip([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]) {
            assert!((expected..=expected * (1.0 + JITTER)).contains(pause), "{pauses:?}");
        }
        backoff.succeeded();
        assert!(backoff.is_over(now));
        backoff.failed(now);
        assert!(backoff.is_over(now + PAUSES.0.mul_f64(1.0 + JITTER)));
    }

    #[test]
    fn different_keys_have_different_pauses() {
        let now = Instant::now();
        let until = |key: &str| {
            let mut backoff = Backoff::of(&key, PAUSES);
            backoff.failed(now);
            backoff.until
        };
        assert_ne!(until("one"), until("other"));
    }
}
