//! The rhythm of the controllers.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Period of evaluation. Changes within one period are evaluated together.
const PERIOD: Duration = Duration::from_millis(100);
/// Period of the check for pods that have been pending for too long.
const AGING: Duration = Duration::from_secs(1);

/// Ticks every 100 ms. A late tick delays the next ones.
#[derive(Debug)]
pub struct Ticker {
    ticks: Interval,
    aging: Aging,
}

impl Default for Ticker {
    fn default() -> Self {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, aging: Aging { last: Instant::now() } }
    }
}

impl Ticker {
    /// Waits for the next tick. Returns whether the ages of pending pods are due.
    pub async fn tick(&mut self) -> bool {
        let now = self.ticks.tick().await;
        self.aging.is_due(now)
    }
}

/// When the ages of pending pods were updated last.
#[derive(Debug)]
struct Aging {
    last: Instant,
}

impl Aging {
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.last) >= AGING;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_due_once_a_second() {
        let start = Instant::now();
        let mut aging = Aging { last: start };
        let due: Vec<u32> = (0..=25).filter(|tick| aging.is_due(start + PERIOD * *tick)).collect();
        assert_eq!(due, [10, 20]);
    }
}
