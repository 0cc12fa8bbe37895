//! Whether the leader can write at all. A leader that cannot must step down, because another replica may have a connection.

use std::time::Duration;

use tokio::time::Instant;

/// The answers of the API server since the last success.
#[derive(Debug, Default)]
pub struct Availability {
    /// The first failure after the last success.
    unavailable_since: Option<Instant>,
}

impl Availability {
    /// A request was answered, or failed because the API server was unavailable.
    pub fn answered(&mut self, is_unavailable: bool, now: Instant) {
        match is_unavailable {
            true => drop(self.unavailable_since.get_or_insert(now)),
            false => self.unavailable_since = None,
        }
    }

    /// Whether no request has succeeded for a lease duration.
    pub fn is_lost(&self, duration: Duration, now: Instant) -> bool {
        self.unavailable_since.is_some_and(|since| now.saturating_duration_since(since) >= duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_successful_request_for_a_lease_duration_steps_down() {
        let (start, duration) = (Instant::now(), Duration::from_secs(15));
        let mut availability = Availability::default();
        assert!(!availability.is_lost(duration, start));
        availability.answered(true, start);
        availability.answered(true, start + Duration::from_secs(10));
        assert!(!availability.is_lost(duration, start + Duration::from_secs(14)));
        assert!(availability.is_lost(duration, start + duration));
        availability.answered(false, start + duration);
        assert!(!availability.is_lost(duration, start + duration * 2));
    }
}
