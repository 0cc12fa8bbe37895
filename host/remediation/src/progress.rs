//! How far a rollout is.

use std::time::Duration;

/// How far a rollout is. A different value is progress.
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

/// How far a rollout has got: the most pods of the newest template, and of all pods the most that were available since then. Unlike
/// progress, this cannot go on forever.
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
