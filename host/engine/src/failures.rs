//! The settings with which a check failed to create a rule, which all policies share: a check that hangs is called once, and not once for
//! each policy.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube_devops_files::Digest;

use crate::RuleError;

/// The first and the longest pause before a check is called again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The most settings of a check that are remembered. Users decide about their number.
const MOST: usize = 1000;

/// The failures of a check, by the digest of its settings.
#[derive(Default)]
pub struct Failures(Mutex<BTreeMap<Digest, Failed>>);

struct Failed {
    error: RuleError,
    pause: Duration,
    until: Instant,
}

impl Failures {
    /// The last failure with these settings, and whether the check may be called again.
    pub fn of(&self, settings: &str, now: Instant) -> Option<(RuleError, bool)> {
        let failures = self.lock();
        if failures.is_empty() {
            return None;
        }
        failures.get(&Digest::of(settings.as_bytes())).map(|failed| (failed.error.clone(), failed.until <= now))
    }

    /// Remembers a failure. The pauses double.
    pub fn add(&self, settings: &str, error: RuleError, now: Instant) {
        let (digest, mut failures) = (Digest::of(settings.as_bytes()), self.lock());
        let pause = failures.remove(&digest).map_or(PAUSES.0, |failed| (failed.pause * 2).min(PAUSES.1));
        if failures.len() >= MOST {
            failures.clear();
        }
        failures.insert(digest, Failed { error, pause, until: now + pause });
    }

    /// Forgets the failure with these settings.
    pub fn remove(&self, settings: &str) {
        let mut failures = self.lock();
        if !failures.is_empty() {
            failures.remove(&Digest::of(settings.as_bytes()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Failed>> {
        // No holder of the lock can panic during a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_pauses_that_double() {
        let (failures, now) = (Failures::default(), Instant::now());
        let error = || RuleError::Deadline { check: "slow".to_owned() };
        assert_eq!(failures.of("a", now), None);
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            failures.add("a", error(), now);
            let after = |seconds| failures.of("a", now + Duration::from_secs(seconds));
            assert_eq!((after(pause - 1), after(pause)), (Some((error(), false)), Some((error(), true))), "{pause}");
        }
        assert_eq!(failures.of("b", now), None);
        failures.remove("a");
        assert_eq!(failures.of("a", now), None);
        (0..=MOST).for_each(|settings| failures.add(&settings.to_string(), error(), now));
        assert!(failures.lock().len() <= MOST);
    }
}
