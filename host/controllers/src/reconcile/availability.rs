//! Whether the leader can write at all. A leader that cannot must step down, because another replica may have a connection.

use std::time::Duration;

use tokio::time::Instant;

/// What the end of a request says about the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The request succeeded.
    Success,
    /// The API server rejected the request, which it would do for every replica.
    Rejection,
    /// The API server did not respond, or not properly.
    Unavailable,
}

/// The answers of the API server since the last success.
#[derive(Debug, Default)]
pub struct Availability {
    /// The first failure after the last success.
    unavailable_since: Option<Instant>,
}

impl Availability {
    /// A request ended.
    pub fn answered(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Success => self.unavailable_since = None,
            Answer::Rejection => {}
            Answer::Unavailable => drop(self.unavailable_since.get_or_insert(now)),
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
        availability.answered(Answer::Unavailable, start);
        availability.answered(Answer::Unavailable, start + Duration::from_secs(10));
        availability.answered(Answer::Rejection, start + Duration::from_secs(12));
        assert!(!availability.is_lost(duration, start + Duration::from_secs(14)));
        assert!(availability.is_lost(duration, start + duration));
        availability.answered(Answer::Success, start + duration);
        assert!(!availability.is_lost(duration, start + duration * 2));
    }
}
