//! The health score and the compliance.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest magnitude of a violation.
pub const MAX_MAGNITUDE: u32 = 5;

/// Returns the health score `100 - min(floor(penalty / subjects), 100)`, or 100 without subjects.
///
/// `penalty` is the sum over all violations of weight x magnitude.
pub fn health(penalty: u64, subjects: usize) -> u8 {
    let average = penalty.checked_div(subjects as u64).unwrap_or(0);
    100 - average.min(100) as u8
}

/// The classification of a health score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Classification {
    /// Below 40.
    Critical,
    /// From 40.
    Degraded,
    /// From 60.
    Stable,
    /// From 80.
    Healthy,
}

impl Classification {
    /// Returns the classification of a health score.
    pub fn of(score: u8) -> Self {
        match score {
            80.. => Self::Healthy,
            60.. => Self::Stable,
            40.. => Self::Degraded,
            _ => Self::Critical,
        }
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Healthy => "Healthy",
            Self::Stable => "Stable",
            Self::Degraded => "Degraded",
            Self::Critical => "Critical",
        })
    }
}

/// The evaluated (subject, check) pairs: their number, and the sums of the weights of all of them and of the failed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compliance {
    pairs: u64,
    applicable: u64,
    failed: u64,
}

impl Compliance {
    /// Adds an evaluated pair.
    pub fn add(&mut self, weight: u32, failed: bool) {
        self.pairs += 1;
        self.applicable += u64::from(weight);
        if failed {
            self.failed += u64::from(weight);
        }
    }

    /// Whether no pair was added, also none with the weight 0.
    pub fn is_empty(self) -> bool {
        self.pairs == 0
    }

    /// Returns the sums of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            applicable: self.applicable + other.applicable,
            failed: self.failed + other.failed,
        }
    }

    /// Returns the sums without those of a part.
    pub fn minus(self, part: Self) -> Self {
        Self {
            pairs: self.pairs - part.pairs,
            applicable: self.applicable - part.applicable,
            failed: self.failed - part.failed,
        }
    }

    /// Returns `100 x (1 - failed / applicable)`, rounded down to one decimal place so that only a result without
    /// failures is 100 percent, or 100 without applicable pairs.
    pub fn percent(self) -> f64 {
        let passed = (self.applicable - self.failed) * 1000;
        passed.checked_div(self.applicable).unwrap_or(1000) as f64 / 10.0
    }
}

/// The grade of a compliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Grade {
    /// From 90 %.
    A,
    /// From 80 %.
    B,
    /// From 70 %.
    C,
    /// From 60 %.
    D,
    /// Below 60 %.
    F,
}

impl Grade {
    /// Returns the grade of a compliance in percent.
    pub fn of(percent: f64) -> Self {
        match percent {
            90.0.. => Self::A,
            80.0.. => Self::B,
            70.0.. => Self::C,
            60.0.. => Self::D,
            _ => Self::F,
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::F => "F",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_health_score_follows_the_formula() {
        for (penalty, subjects, score) in [
            (0, 0, 100),
            (500, 0, 100),
            (0, 3, 100),
            (10, 1, 90),
            (10, 3, 97),
            (299, 3, 1),
            (300, 3, 0),
            (u64::MAX, 1, 0),
        ] {
            assert_eq!(health(penalty, subjects), score, "{penalty} / {subjects}");
        }
    }

    #[test]
    fn classifications_and_grades_start_at_their_lower_bounds() {
        use Classification::*;
        for (score, classification) in [
            (100, Healthy),
            (80, Healthy),
            (79, Stable),
            (60, Stable),
            (59, Degraded),
            (40, Degraded),
            (39, Critical),
            (0, Critical),
        ] {
            assert_eq!(Classification::of(score), classification, "{score}");
        }
        for (percent, grade) in [
            (100.0, "A"),
            (90.0, "A"),
            (89.9, "B"),
            (80.0, "B"),
            (79.9, "C"),
            (70.0, "C"),
            (69.9, "D"),
            (60.0, "D"),
            (59.9, "F"),
            (0.0, "F"),
        ] {
            assert_eq!(Grade::of(percent).to_string(), grade, "{percent}");
        }
    }

    #[test]
    fn compliance_is_weighted() {
        let mut compliance = Compliance::default();
        assert_eq!(compliance.percent(), 100.0);
        compliance.add(5, true);
        assert_eq!(compliance.percent(), 0.0);
        compliance.add(3, false);
        compliance.add(2, false);
        assert_eq!(compliance.percent(), 50.0);
        compliance.add(0, true);
        assert_eq!(compliance.percent(), 50.0);
    }

    #[test]
    fn a_pair_with_the_weight_0_is_evaluated() {
        let mut compliance = Compliance::default();
        assert!(compliance.is_empty());
        compliance.add(0, false);
        assert!(!compliance.is_empty() && compliance.plus(compliance).minus(compliance) == compliance);
    }

    #[test]
    fn compliance_with_one_failure_is_less_than_100_percent() {
        let mut compliance = Compliance::default();
        compliance.add(1, true);
        (0..100_000).for_each(|_| compliance.add(1, false));
        assert_eq!(compliance.percent(), 99.9);
    }

    proptest! {
        #[test]
        fn the_health_score_is_within_bounds_and_decreases_with_the_penalty(penalty: u64, more in 0..1000u64, subjects: u16) {
            let score = health(penalty, subjects.into());
            prop_assert!(score <= 100);
            prop_assert!(health(penalty.saturating_add(more), subjects.into()) <= score);
        }

        #[test]
        fn compliance_is_within_bounds(pairs in proptest::collection::vec((0..=100u32, any::<bool>()), 0..50)) {
            let mut compliance = Compliance::default();
            pairs.iter().for_each(|&(weight, failed)| compliance.add(weight, failed));
            prop_assert!((0.0..=100.0).contains(&compliance.percent()));
            let all_passed = pairs.iter().all(|&(weight, failed)| weight == 0 || !failed);
            prop_assert_eq!(compliance.percent() == 100.0, all_passed);
        }
    }
}
