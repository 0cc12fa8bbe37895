//! How far a rollout is.

use std::time::Duration;

/// How far a rollout is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of pods of the newest template; zero until the controller of the workload has seen the template.
    pub updated: i64,
    /// The number of ready pods.
    pub ready: i64,
    /// The number of pods that have been ready for `minReadySeconds`.
    pub available: i64,
    /// The number of pods of all templates.
    pub pods: i64,
    /// How long Kubernetes waits for progress, if the workload has a deadline.
    pub deadline: Option<Duration>,
}

/// How far a rollout has got: the most pods of the newest template, and of all pods the most that were available since then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Furthest {
    /// The number of pods of the newest template.
    pub updated: i64,
    /// The number of available pods; [`Furthest::ALL`] if all were.
    pub available: i64,
}

impl Furthest {
    /// All pods.
    pub const ALL: i64 = i64::MAX;
}

impl From<Progress> for Furthest {
    fn from(progress: Progress) -> Self {
        Self { updated: progress.updated, available: progress.available }
    }
}

/// The best values of a rollout so far. Only a better one is progress: pods that become unavailable and available again, and a
/// size that changes back and forth, would otherwise be progress forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Best {
    /// The most pods of the newest template.
    updated: i64,
    /// The fewest pods of other templates.
    old: i64,
    /// The most ready pods since the last pod was replaced.
    ready: i64,
    /// The most available pods since the last pod was replaced.
    available: i64,
}

impl Default for Best {
    fn default() -> Self {
        Self { updated: 0, old: i64::MAX, ready: 0, available: 0 }
    }
}

impl Best {
    /// Whether there is progress by the criteria of Kubernetes, all of which count from the best value instead of the last one:
    /// <https://github.com/kubernetes/kubernetes/blob/v1.33.0/pkg/controller/deployment/util/deployment_util.go#L750>.
    /// Each replaced pod has to become ready and available again, so that these numbers start again with it.
    pub fn improve(&mut self, progress: Progress) -> bool {
        let Progress { updated, ready, available, pods, .. } = progress;
        let old = pods.saturating_sub(updated);
        let before = *self;
        if updated > self.updated || old < self.old {
            *self = Self { updated: updated.max(self.updated), old: old.min(self.old), ready, available };
        } else {
            (self.ready, self.available) = (ready.max(self.ready), available.max(self.available));
        }
        *self != before
    }

    /// Whether there is progress, without entering it.
    pub fn is_improved_by(mut self, progress: Progress) -> bool {
        self.improve(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these are progress: the numbers of updated, ready and available pods, and of all.
    fn improvements(steps: &[[i64; 4]]) -> Vec<bool> {
        let mut best = Best::default();
        let progress =
            |[updated, ready, available, pods]: [i64; 4]| Progress { updated, ready, available, pods, deadline: None };
        steps.iter().map(|step| best.improve(progress(*step))).collect()
    }

    #[test]
    fn each_step_of_a_rollout_is_progress() {
        let deployment: &[[i64; 4]] = &[
            // A new pod is started, becomes ready and available, and an old one is stopped.
            [0, 3, 3, 3],
            [1, 3, 3, 4],
            [1, 4, 3, 4],
            [1, 4, 4, 4],
            [1, 3, 3, 3],
            [2, 3, 3, 4],
            [2, 4, 3, 4],
            [2, 4, 4, 4],
            [2, 3, 3, 3],
            [3, 3, 3, 4],
            [3, 4, 3, 4],
            [3, 4, 4, 4],
        ];
        // Several pods of a template are replaced at once, and become available one after another.
        let at_once: &[[i64; 4]] =
            &[[0, 4, 4, 4], [2, 3, 3, 5], [2, 4, 4, 5], [2, 5, 5, 5], [4, 3, 3, 5], [4, 4, 4, 5], [4, 3, 3, 4]];
        let stateful_set: &[[i64; 4]] = &[
            [0, 3, 3, 3],
            [0, 2, 2, 2],
            [1, 2, 2, 3],
            [1, 3, 2, 3],
            [1, 3, 3, 3],
            [1, 2, 2, 2],
            [2, 2, 2, 3],
            [2, 3, 3, 3],
        ];
        let daemon_set: &[[i64; 4]] =
            &[[0, 4, 4, 4], [1, 3, 3, 4], [1, 4, 3, 4], [1, 4, 4, 4], [2, 3, 3, 4], [2, 4, 4, 4]];
        for steps in [deployment, at_once, stateful_set, daemon_set] {
            assert_eq!(improvements(steps), vec![true; steps.len()], "{steps:?}");
        }
    }

    #[test]
    fn pods_that_become_unavailable_and_available_again_are_no_progress() {
        let mut steps = vec![[0, 3, 3, 3], [1, 2, 2, 4], [1, 3, 3, 4]];
        steps.extend([[1, 2, 2, 4], [1, 0, 0, 4], [1, 1, 0, 4], [1, 3, 2, 4], [1, 3, 3, 4]].repeat(9));
        // A pod of the new template is deleted and created again, and the controller has not seen the newest generation.
        steps.extend([[0, 3, 3, 3], [1, 3, 3, 4], [0, 3, 3, 4], [1, 3, 3, 4]].repeat(9));
        let improvements = improvements(&steps);
        assert_eq!(improvements.iter().rposition(|is_better| *is_better), Some(2), "{improvements:?}");
    }

    #[test]
    fn a_size_that_changes_back_and_forth_is_no_progress() {
        let mut steps = vec![[0, 3, 3, 3], [1, 3, 3, 4]];
        let resized = [[2, 3, 3, 7], [2, 5, 5, 7], [1, 3, 3, 4]];
        steps.extend(resized.repeat(9));
        let improvements = improvements(&steps);
        assert_eq!(improvements[..5], [true, true, true, true, false]);
        assert!(!improvements[5..].contains(&true), "{improvements:?}");
    }

    #[test]
    fn a_rollout_that_proceeds_while_its_size_changes_makes_progress() {
        let replaced = |improvements: &[bool]| improvements.iter().filter(|is_better| **is_better).count();
        // 10 pods, then 4, of which one after another is replaced, then 10 again, which become available.
        let down = [[1, 4, 4, 4], [2, 4, 4, 5], [2, 5, 5, 5], [2, 4, 4, 4], [3, 4, 4, 5], [3, 5, 5, 5], [3, 4, 4, 4]];
        let up = [[8, 4, 4, 10], [8, 6, 6, 10], [8, 10, 10, 10], [9, 9, 9, 10], [9, 10, 10, 10], [10, 9, 9, 10]];
        let found = improvements(&[&[[0, 10, 10, 10], [3, 8, 8, 11]][..], &down, &up].concat());
        // Only that another pod starts is none: fewer pods than before the change are new.
        assert!(replaced(&found[2..9]) == 5 && replaced(&found[9..]) == 6, "{found:?}");
        // All pods are new, and more of them become available than ever since the last one was replaced.
        let last =
            improvements(&[[8, 10, 10, 12], [4, 2, 2, 4], [7, 2, 2, 7], [7, 3, 3, 7], [7, 5, 5, 7], [7, 6, 6, 7]]);
        assert_eq!(last, [true, true, false, true, true, true]);
    }

    #[test]
    fn numbers_of_any_size_are_compared() {
        let (least, most) = (i64::MIN, i64::MAX);
        assert_eq!(
            improvements(&[[most, 0, 0, least], [least, most, most, most], [least, least, least, most]]),
            [true, true, false]
        );
    }
}
