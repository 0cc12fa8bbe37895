//! Tests of patches that wait until they are recorded.

use kube_devops_cluster::crd::WorkloadStatus;

use super::*;

#[test]
fn a_workload_is_patched_when_the_status_lists_it() {
    let now = start();
    let mut remediations = due(&["a", "b"], now);
    let before = remediations.statuses();
    next(&mut remediations, now);
    assert!(!remediations.remediated(&owner("a"), Some(key("a")), &unprotected(), &options(), now));
    let later = now + seconds(30);
    assert_eq!(next(&mut remediations, later), None, "the next leader would not know of the patch");
    remediations.recorded(&before, later);
    assert_eq!((next(&mut remediations, later), remediations.recorded_workload()), (None, None));
    let recorded = remediations.statuses();
    assert_eq!(recorded.iter().map(|status| status.state).collect::<Vec<_>>(), [WorkloadState::RollingOut]);
    remediations.recorded(&recorded, later);
    assert_eq!(remediations.recorded_workload(), Some(key("a")));
    assert_eq!(next(&mut remediations, later), Some(NextJob::Remediate { owner: owner("a") }));
    remediations.remediated(&owner("a"), Some(key("a")), &patched("app: livenessProbe"), &options(), later);
    assert_eq!(remediations.statuses(), recorded, "the patch needs no second write");
    assert_eq!(remediations.recorded_workload(), None);

    // The workload has recovered a state that prevents the patch.
    let mut waiting = due(&["a"], now);
    next(&mut waiting, now);
    waiting.remediated(&owner("a"), Some(key("a")), &unprotected(), &options(), now);
    waiting.recorded(&waiting.statuses(), now);
    next(&mut waiting, now);
    waiting.remediated(&owner("a"), Some(key("a")), &JobResult::Waiting(String::new()), &options(), now);
    assert_eq!(state(&waiting), Some(WorkloadState::Waiting));
    assert!(!waiting.needs_finalizer());
}

#[test]
fn a_patch_whose_response_is_lost_is_followed_by_the_same_leader_and_the_next() {
    let now = start();
    let mut remediations = due(&["web"], now);
    next(&mut remediations, now);
    remediations.remediated(&owner("web"), Some(key("web")), &unprotected(), &options(), now);
    remediations.failed(Some(&owner("web")), now);
    assert!(remediations.statuses().len() == 1 && remediations.recorded_workload().is_none(), "nothing was patched");
    remediations.recorded(&remediations.statuses(), now);
    next(&mut remediations, now);
    let adopt = || Some(NextJob::Follow { key: key("web"), failure: None, step: Step::Adopt });
    let mut restored = Remediations::restore(&remediations.statuses(), true, &options(), now);
    assert_eq!(next(&mut restored, now), adopt());
    remediations.failed(Some(&owner("web")), now);
    remediations.pods_removed([].into_iter());
    assert!(remediations.needs_finalizer(), "its rollout may have replaced all pods");
    assert_eq!(next(&mut remediations, now), adopt());
}

#[test]
fn no_more_workloads_roll_out_than_a_status_lists() {
    let now = start();
    let status = |index: usize| WorkloadStatus {
        kind: "StatefulSet".to_owned(),
        name: format!("web-{index}"),
        state: WorkloadState::RollingOut,
        message: String::new(),
        time: now.utc,
    };
    for (rolling_out, is_due) in [(99, true), (100, false)] {
        let statuses = (0..rolling_out).map(status).collect::<Vec<_>>();
        let restored = Remediations::restore(&statuses, true, &options(), now);
        let mut remediations = due_in(restored, &["a"], now);
        let later = now + seconds(60);
        let jobs = [next(&mut remediations, later), {
            remediations.failed(None, later);
            next(&mut remediations, later)
        }];
        let is_remediated = jobs.iter().flatten().any(|job| matches!(job, NextJob::Remediate { .. }));
        assert_eq!(is_remediated, is_due, "{rolling_out}");
    }
}

#[test]
fn a_patch_waits_for_the_finalizer_of_the_policy() {
    let now = start();
    let mut remediations = due(&["web"], now);
    assert!(!remediations.needs_finalizer());
    next(&mut remediations, now);
    remediations.remediated(&owner("web"), Some(key("web")), &unprotected(), &options(), now);
    assert!(remediations.needs_finalizer());
    assert_eq!(next(&mut remediations, now + seconds(9)), None, "the finalizer is not set yet");
    remediations.protected(now);
    remediations.recorded(&remediations.statuses(), now);
    assert_eq!(next(&mut remediations, now), Some(NextJob::Remediate { owner: owner("web") }));
    remediations.remediated(&owner("web"), Some(key("web")), &patched("app"), &options(), now);
    assert!(remediations.needs_finalizer(), "its rollout is in progress");
    next(&mut remediations, now);
    remediations.followed(key("web"), &JobResult::Completed, &options(), now);
    assert!(!remediations.needs_finalizer());

    // Other workloads wait, and are not due because of it.
    let mut remediations = due(&["api", "web"], now);
    next(&mut remediations, now);
    remediations.remediated(&owner("api"), Some(key("api")), &unprotected(), &options(), now);
    assert!(next(&mut remediations, now).is_none() && remediations.needs_finalizer());
    remediations.protected(now);
    remediations.recorded(&remediations.statuses(), now);
    assert_eq!(next(&mut remediations, now), Some(NextJob::Remediate { owner: owner("api") }));
    remediations.remediated(&owner("api"), Some(key("api")), &JobResult::UpToDate, &options(), now);
    assert!(!remediations.needs_finalizer());
    assert_eq!(next(&mut remediations, now), Some(NextJob::Remediate { owner: owner("web") }));

    // The policy stops enforcing before the patch.
    let mut remediations = due(&["web"], now);
    next(&mut remediations, now);
    remediations.remediated(&owner("web"), Some(key("web")), &unprotected(), &options(), now);
    assert_eq!(remediations.next(&options(), false, [].iter(), now), None);
    assert!(!remediations.needs_finalizer());
}
