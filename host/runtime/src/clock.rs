//! The time, handed to decisions.

use std::ops::Add;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// One moment: by the wall clock, for objects of the API, and by the monotonic clock, for waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub utc: DateTime<Utc>,
    /// The monotonic clock.
    pub instant: Instant,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { utc: Utc::now(), instant: Instant::now() }
    }
}

impl Add<Duration> for Now {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self { utc: self.utc + duration, instant: self.instant + duration }
    }
}
