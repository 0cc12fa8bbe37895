//! The patches of the last minute, as a new leader knows them: the limit of patches is that of the policy, and not that of a leader.

use std::time::Duration;

use kube_devops_cluster::crd::{WorkloadState, WorkloadStatus};
use kube_devops_runtime::clock::Now;
use tokio::time::Instant;

use super::EnforceOptions;
use super::state::MAX_LISTED;

/// The period that the limit of patches applies to.
pub const LIMIT_PERIOD: Duration = Duration::from_secs(60);

/// When workloads were patched in the last minute, or could have been. `statuses` are those that a previous leader wrote, and
/// `is_protected` is whether the policy has its finalizer, without which no workload is patched.
pub fn restored(statuses: &[WorkloadStatus], is_protected: bool, options: &EnforceOptions, now: Now) -> Vec<Instant> {
    // A workload is patched when the status lists it, or shortly after.
    let is_patched = |status: &&WorkloadStatus| {
        matches!(status.state, WorkloadState::RollingOut | WorkloadState::Patched | WorkloadState::Reverted)
    };
    let ages = statuses.iter().filter(is_patched).map(|status| age(status, now)).filter(|age| *age < LIMIT_PERIOD);
    let mut recent: Vec<Instant> = ages.map(|age| now.instant.checked_sub(age).unwrap_or(now.instant)).collect();
    // A workload is recorded before it is patched: the previous leader may have applied the last patch much later.
    recent.extend(is_protected.then_some(now.instant));
    if is_cut(statuses, now) {
        recent.resize(recent.len().max(options.patches_a_minute), now.instant);
    }
    recent
}

/// Whether workloads that were patched in the last minute may be missing in the status. It lists those that are rolling out first,
/// and the most recent change first.
fn is_cut(statuses: &[WorkloadStatus], now: Now) -> bool {
    let last = statuses.last().filter(|_| statuses.len() >= MAX_LISTED);
    last.is_some_and(|last| last.state == WorkloadState::RollingOut || age(last, now) < LIMIT_PERIOD)
}

/// The age of a state; zero if the clock of the previous leader was ahead.
fn age(status: &WorkloadStatus, now: Now) -> Duration {
    (now.utc - status.time).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn now() -> Now {
        Now { utc: DateTime::UNIX_EPOCH, instant: Instant::now() }
    }

    fn options() -> EnforceOptions {
        EnforceOptions { patches_a_minute: 10, rollout_deadline: Duration::ZERO, dry_run: false }
    }

    /// A workload whose state changed this many seconds ago.
    fn status(state: WorkloadState, age: i64) -> WorkloadStatus {
        let time = DateTime::UNIX_EPOCH - TimeDelta::seconds(age);
        WorkloadStatus { kind: "Deployment".to_owned(), name: "web".to_owned(), state, message: String::new(), time }
    }

    /// The ages of the restored patches, in seconds.
    fn ages(statuses: &[WorkloadStatus], is_protected: bool) -> Vec<u64> {
        let now = now();
        let recent = restored(statuses, is_protected, &options(), now);
        recent.into_iter().map(|patch| (now.instant - patch).as_secs()).collect()
    }

    #[test]
    fn workloads_that_were_patched_within_the_last_minute_count() {
        use WorkloadState::{Conflict, Denied, DryRun, Ignored, Patched, Reverted, RollingOut, Skipped, Waiting};
        for (state, counts) in [
            (RollingOut, true),
            (Patched, true),
            (Reverted, true),
            (Waiting, false),
            (Skipped, false),
            (Conflict, false),
            (Denied, false),
            (Ignored, false),
            (DryRun, false),
        ] {
            let expected = if counts { vec![0, 59] } else { Vec::new() };
            let statuses = [0, 59, 60, 600].map(|age| status(state, age));
            assert_eq!(ages(&statuses, false), expected, "{state:?}");
        }
        assert_eq!(ages(&[status(RollingOut, -30)], false), [0], "the clock of the previous leader was ahead");
    }

    #[test]
    fn a_patch_may_have_been_applied_before_its_status_was_written() {
        assert_eq!(ages(&[], false), [0; 0], "no workload is patched without the finalizer");
        assert_eq!(ages(&[], true), [0]);
        assert_eq!(ages(&[status(WorkloadState::RollingOut, 5)], true), [5, 0]);
    }

    #[test]
    fn a_list_that_may_be_cut_counts_as_the_whole_limit() {
        let list = |length: usize, last: WorkloadStatus| {
            let mut statuses = vec![status(WorkloadState::Skipped, 90); length - 1];
            statuses.push(last);
            ages(&statuses, false).len()
        };
        let old = || status(WorkloadState::Skipped, 90);
        assert_eq!(list(MAX_LISTED, status(WorkloadState::Skipped, 30)), 10);
        assert_eq!(list(MAX_LISTED, status(WorkloadState::RollingOut, 90)), 10);
        assert_eq!(list(MAX_LISTED, old()), 0, "those that are missing are older");
        assert_eq!(list(MAX_LISTED - 1, status(WorkloadState::Skipped, 30)), 0);
    }
}
