//! The limits of retries in one evaluation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{CallError, Limits};

/// The part of the remaining time that one of several rules gets.
const SHARE: u32 = 4;

/// The remaining number of failed calls and the remaining time of a rule in one evaluation.
pub struct RetryBudget {
    failed_calls: AtomicUsize,
    /// The time limit of a call.
    batch_time: Duration,
    /// The deadline of the evaluation.
    deadline: Option<Instant>,
}

impl RetryBudget {
    /// A budget of an evaluation with a deadline.
    pub fn new(limits: &Limits, deadline: Option<Instant>) -> Self {
        Self { failed_calls: AtomicUsize::new(limits.failed_calls), batch_time: limits.batch_time, deadline }
    }

    /// Whether the rule must not be called again.
    pub fn is_exhausted(&self) -> bool {
        self.failed_calls.load(Ordering::Relaxed) == 0
    }

    /// Returns the time limit of the next call.
    pub fn time(&self) -> Duration {
        self.part_of_remaining(1)
    }

    /// Returns the time limit of a call after a call with several rules has exceeded its own: one of them may do so again, and the
    /// others need some time too.
    pub fn share(&self) -> Duration {
        self.part_of_remaining(SHARE)
    }

    fn part_of_remaining(&self, parts: u32) -> Duration {
        let remaining = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        remaining.map_or(self.batch_time, |remaining| (remaining / parts).min(self.batch_time))
    }

    /// Records a failed call. A timeout exhausts the budget: a retry would take as long.
    pub fn record_failure(&self, cause: &CallError) {
        match cause {
            CallError::Time(_) => self.failed_calls.store(0, Ordering::Relaxed),
            _ => {
                // Other threads may have reached zero before: the budget never becomes negative.
                let _ = self
                    .failed_calls
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| remaining.checked_sub(1));
            }
        }
    }
}
