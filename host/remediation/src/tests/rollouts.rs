//! Tests of following rollouts.

use kube_devops_core::Quantities;

use super::*;

#[test]
fn a_rollout_is_checked_every_two_seconds_until_it_has_settled() {
    let now = start();
    let mut remediations = rolling_out(now);
    let follow = |step| Some(NextJob::Follow { key: key("web"), failure: None, step });
    assert_eq!(next(&mut remediations, now), follow(Step::Check));
    remediations.followed(key("web"), &in_progress(1), &options(), now);
    assert_eq!(next(&mut remediations, now + seconds(1)), None);
    assert_eq!(next(&mut remediations, now + seconds(2)), follow(Step::Check));
    remediations.followed(key("web"), &rolled_out(), &options(), now + seconds(2));
    assert_eq!(state(&remediations), Some(WorkloadState::RollingOut));

    // The settle time starts with the complete rollout.
    assert_eq!(next(&mut remediations, now + seconds(21)), follow(Step::Check));
    remediations.followed(key("web"), &rolled_out(), &options(), now + seconds(21));
    assert_eq!(next(&mut remediations, now + seconds(23)), follow(Step::Complete(SETTLE)));
    remediations.followed(key("web"), &JobResult::Completed, &options(), now + seconds(23));
    let statuses = remediations.statuses();
    assert_eq!((statuses[0].state, statuses[0].message.as_str()), (WorkloadState::Patched, "app: livenessProbe"));
    assert_eq!(statuses[0].time, (now + seconds(23)).utc);
    assert_eq!(next(&mut remediations, now + seconds(60)), None);
}

#[test]
fn a_workload_whose_patch_another_client_replaced_is_remediated_again() {
    let now = start();
    let ended = |result: &JobResult| {
        let mut remediations = rolling_out(now);
        next(&mut remediations, now);
        remediations.followed(key("web"), &in_progress(1), &options(), now);
        assert!(matches!(next(&mut remediations, now + seconds(2)), Some(NextJob::Follow { .. })));
        remediations.followed(key("web"), result, &options(), now + seconds(2));
        (next(&mut remediations, now + seconds(2)), remediations)
    };
    let (job, mut remediations) = ended(&JobResult::Superseded);
    assert_eq!(job, Some(NextJob::Remediate { owner: owner("web") }), "its old pods do not change");
    let waiting = JobResult::Waiting("not all of its pods are up to date and available".to_owned());
    remediations.remediated(&owner("web"), Some(key("web")), &waiting, &options(), now + seconds(2));
    assert_eq!(state(&remediations), Some(WorkloadState::Waiting));
    assert_eq!(remediations.patches().get(&key("web")).map(|patches| patches.count), Some(1));
    for result in [JobResult::Completed, JobResult::Reverted("it restarted".to_owned()), JobResult::Gone] {
        assert_eq!(ended(&result).0, None, "{result:?}");
    }
}

#[test]
fn the_settle_time_starts_again_when_the_added_fields_change() {
    let now = start();
    let mut remediations = rolling_out(now);
    next(&mut remediations, now);
    remediations.followed(key("web"), &rolled_out(), &options(), now);
    // Another policy has added a field, or a client has edited an added probe, and the pods were replaced within a period.
    let later = now + seconds(19);
    next(&mut remediations, later);
    let longer = seconds(90);
    remediations.followed(key("web"), &JobResult::RolledOut(longer), &options(), later);
    let follow = |step| Some(NextJob::Follow { key: key("web"), failure: None, step });
    assert_eq!(next(&mut remediations, later + seconds(89)), follow(Step::Check));
    remediations.followed(key("web"), &JobResult::RolledOut(longer), &options(), later + seconds(89));
    assert_eq!(next(&mut remediations, later + seconds(91)), follow(Step::Complete(longer)));
}

#[test]
fn a_denied_give_up_is_tried_again_after_a_pause_in_which_the_rollout_is_still_checked() {
    let now = start();
    let mut remediations = rolling_out(now);
    let mut steps = Vec::new();
    for second in (0..=34).step_by(2) {
        let now = now + seconds(second);
        let Some(NextJob::Follow { step, .. }) = next(&mut remediations, now) else { panic!("it is not checked") };
        steps.extend((step == Step::Check).then_some(second));
        let progress = Progress { updated: 1, ..Progress::default() };
        let result =
            if step == Step::Check { JobResult::NotGivenUp(progress) } else { JobResult::InProgress(progress) };
        remediations.followed(key("web"), &result, &options(), now);
    }
    assert_eq!(steps, [0, 30]);
    assert_eq!(state(&remediations), Some(WorkloadState::RollingOut));
}

fn failure(job: Option<NextJob>) -> Option<RolloutFailure> {
    match job {
        Some(NextJob::Follow { failure, .. }) => failure,
        job => panic!("{job:?}"),
    }
}

#[test]
fn a_rollout_may_take_long_but_not_without_progress() {
    let start = start();
    let mut now = start;
    let mut slow = rolling_out(now);
    for updated in 1..5 {
        now = now + seconds(599);
        assert_eq!(failure(next(&mut slow, now)), None);
        slow.followed(key("web"), &in_progress(updated), &options(), now);
    }
    now = now + seconds(600);
    let progress = Progress { updated: 4, ..Progress::default() };
    assert_eq!(failure(next(&mut slow, now)), Some(stalled(progress, 600)));

    // Kubernetes has time to report it first.
    let progress = Progress { deadline: Some(seconds(3600)), ..Progress::default() };
    let limit = seconds(3630);
    let mut now = start;
    let mut deployment = rolling_out(now);
    next(&mut deployment, now);
    deployment.followed(key("web"), &JobResult::InProgress(progress), &options(), now);
    now = now + seconds(3629);
    assert_eq!(failure(next(&mut deployment, now)), None);
    deployment.followed(key("web"), &JobResult::InProgress(progress), &options(), now);
    now = now + seconds(2);
    let mut restored = Remediations::restore(&deployment.statuses(), true, &options(), now);
    assert_eq!(failure(next(&mut deployment, now)), Some(stalled(progress, 3630)));

    // It is the same for a new leader, from when it knows the added fields.
    assert_eq!(failure(next(&mut restored, now)), None);
    restored.followed(key("web"), &patched(""), &options(), now);
    next(&mut restored, now);
    restored.followed(key("web"), &JobResult::InProgress(progress), &options(), now);
    assert_eq!(failure(next(&mut restored, now + limit)), Some(stalled(progress, 3630)));
}

#[test]
fn the_deletion_of_a_policy_does_not_wait_for_the_deadlines_of_workloads() {
    let start = start();
    let progress = Progress { deadline: Some(seconds(2_000_000_000)), ..Progress::default() };
    let mut remediations = rolling_out(start);
    next(&mut remediations, start);
    remediations.followed(key("web"), &JobResult::InProgress(progress), &options(), start);
    let mut now = start + seconds(3600);
    assert_eq!(failure(next(&mut remediations, now)), None);
    remediations.followed(key("web"), &JobResult::InProgress(progress), &options(), now);
    remediations.set_policy_deleted(true);
    now = now + seconds(2);
    assert_eq!(
        failure(next(&mut remediations, now)),
        Some(RolloutFailure::Overdue { furthest: Furthest::default(), limit: seconds(600), is_final: true })
    );

    // Nor for the time that containers may take to stop.
    let long = seconds(2_000_000_000);
    remediations.followed(key("web"), &JobResult::RolledOut(long), &options(), now);
    for (after, is_overdue) in [(599, false), (602, true)] {
        assert_eq!(failure(next(&mut remediations, now + seconds(after))).is_some(), is_overdue, "{after}");
        remediations.followed(key("web"), &JobResult::RolledOut(long), &options(), now + seconds(after));
    }
}

#[test]
fn the_deletion_of_a_policy_does_not_wait_for_pods_that_become_unavailable_again_and_again() {
    let start = start();
    let mut now = start;
    let mut remediations = rolling_out(now);
    remediations.set_policy_deleted(true);
    let mut check = |result: JobResult| {
        now = now + seconds(590);
        let found = failure(next(&mut remediations, now));
        remediations.followed(key("web"), &result, &options(), now);
        found
    };
    // Pods are replaced, then more of them are available, and then all for the first time.
    let available = JobResult::InProgress(Progress { updated: 2, available: 1, ..Progress::default() });
    for result in [in_progress(1), in_progress(2), available, rolled_out()] {
        assert_eq!(check(result.clone()), None, "{result:?}");
    }
    assert_eq!(check(in_progress(1)), None);
    let furthest = Furthest { updated: 2, available: Furthest::ALL };
    let overdue = |is_final| Some(RolloutFailure::Overdue { furthest, limit: seconds(600), is_final });
    assert_eq!(check(rolled_out()), overdue(false), "pods that were available may become so again");
    for result in [in_progress(2), in_progress(1), rolled_out()] {
        assert_eq!(check(result.clone()), overdue(true), "{result:?}");
    }
    // Without the deletion, pods that were all available have the time again.
    remediations.set_policy_deleted(false);
    assert_eq!(failure(next(&mut remediations, now + seconds(590))), None);
}

#[test]
fn the_time_without_progress_starts_when_pods_of_a_complete_rollout_become_unavailable() {
    let mut now = start();
    let mut remediations = rolling_out(now);
    next(&mut remediations, now);
    remediations.followed(key("web"), &in_progress(1), &options(), now);
    for result in [rolled_out(), in_progress(1)] {
        now = now + seconds(599);
        assert_eq!(failure(next(&mut remediations, now)), None, "{result:?}");
        remediations.followed(key("web"), &result, &options(), now);
    }
    assert_eq!(failure(next(&mut remediations, now + seconds(2))), None);
}

#[test]
fn other_pods_and_changes_of_the_size_do_not_delay_the_revert_of_a_rollout_without_progress() {
    let start = start();
    let stuck = Progress { updated: 1, ready: 3, available: 3, pods: 4, deadline: Some(seconds(60)) };
    let flapping = [Progress { ready: 2, available: 2, ..stuck }, Progress { updated: 0, ..stuck }, stuck];
    let resized = [Progress { ready: 2, pods: 3, ..stuck }, Progress { pods: 9, ..stuck }, stuck];
    for results in [flapping, resized] {
        let mut remediations = rolling_out(start);
        let mut failures = Vec::new();
        // Of the resized one, fewer old pods are progress once, and then more ready ones.
        for (second, progress) in (0..=118).step_by(2).zip([stuck].iter().chain(results.iter().cycle())) {
            let now = start + seconds(second);
            failures.extend(failure(next(&mut remediations, now)).map(|failure| (second, failure)));
            remediations.followed(key("web"), &JobResult::InProgress(*progress), &options(), now);
        }
        let expected = if results == flapping { 90 } else { 94 };
        assert_eq!(failures.first().map(|(second, _)| *second), Some(expected), "{results:?}");
        assert!(failures.iter().all(|(_, failure)| matches!(failure, RolloutFailure::Stalled { .. })), "{failures:?}");
    }
}

#[test]
fn a_rollout_has_its_whole_time_again_when_its_deadline_changes() {
    let start = start();
    let mut remediations = rolling_out(start);
    let progress =
        |deadline| JobResult::InProgress(Progress { deadline: Some(seconds(deadline)), ..Progress::default() });
    for (second, result) in [(0, progress(3600)), (1800, progress(600))] {
        assert_eq!(failure(next(&mut remediations, start + seconds(second))), None);
        remediations.followed(key("web"), &result, &options(), start + seconds(second));
    }
    assert_eq!(failure(next(&mut remediations, start + seconds(1800 + 629))), None);
    remediations.followed(key("web"), &progress(600), &options(), start + seconds(1800 + 629));
    assert!(failure(next(&mut remediations, start + seconds(1800 + 631))).is_some());
}

#[test]
fn the_first_restart_of_a_new_pod_is_a_failure_and_those_of_other_pods_are_not() {
    let now = start();
    let mut remediations = rolling_out(now);
    let with_pods = |remediations: &mut Remediations, pods: &[Arc<Subject>], second| {
        let found = failure(remediations.next(&options(), true, pods.iter(), now + seconds(second)));
        remediations.followed(key("web"), &in_progress(1), &options(), now + seconds(second));
        found
    };
    let mut old = Subject::clone(&pod("old", 3));
    old.containers[0].has_liveness_probe = false;
    let mut unknown = Subject::clone(&pod("unknown", 3));
    unknown.controller = None;
    let pods = [Arc::new(old), Arc::new(unknown), pod("web-1", 0)];
    assert_eq!(with_pods(&mut remediations, &pods, 0), None);
    let Some(RolloutFailure::Restarted(reason)) = with_pods(&mut remediations, &[pod("web-0", 1)], 2) else {
        panic!("no restart")
    };
    assert!(reason.starts_with("container app of pod web-0 was restarted"), "{reason}");

    next(&mut remediations, now + seconds(4));
    remediations.followed(key("web"), &JobResult::Reverting, &options(), now + seconds(4));
    assert_eq!(state(&remediations), Some(WorkloadState::RollingOut));
    assert!(remediations.needs_finalizer(), "the revert is not complete");
    next(&mut remediations, now + seconds(6));
    assert!(remediations.followed(key("web"), &JobResult::Reverted(reason), &options(), now + seconds(6)));
    assert_eq!(state(&remediations), Some(WorkloadState::Reverted));
}

#[test]
fn only_pods_that_the_workload_controls_count() {
    let now = start();
    let web = |kind: &str| WorkloadKey { kind: kind.to_owned(), name: "web".to_owned() };
    let has_failed = |key: WorkloadKey, controller: Arc<Controller>, hash: &str| {
        let mut remediations = due(&["web"], now);
        next(&mut remediations, now);
        remediations.remediated(&owner("web"), Some(key), &patched("app: livenessProbe"), &options(), now);
        let labels = vec![("app".to_owned(), "web".to_owned()), ("pod-template-hash".to_owned(), hash.to_owned())];
        let pod = Arc::new(Subject {
            labels: labels.into(),
            controller: Some(controller),
            ..Subject::clone(&pod("web-0", 1))
        });
        failure(remediations.next(&options(), true, [&pod].into_iter(), now)).is_some()
    };
    for (kind, group, controller_kind, name, hash, counts) in [
        ("StatefulSet", "apps", "StatefulSet", "web", "", true),
        ("StatefulSet", "apps", "StatefulSet", "web-canary", "", false),
        ("StatefulSet", "apps.kruise.io", "StatefulSet", "web", "", false),
        ("DaemonSet", "apps", "DaemonSet", "web", "", true),
        ("DaemonSet", "apps", "StatefulSet", "web", "", false),
        ("Deployment", "apps", "ReplicaSet", "web-5d4c", "5d4c", true),
        ("Deployment", "apps", "ReplicaSet", "web-canary-5d4c", "5d4c", false),
        ("Deployment", "apps", "ReplicaSet", "web-canary", "", false),
        ("Deployment", "argoproj.io", "ReplicaSet", "web-5d4c", "5d4c", false),
        ("Deployment", "apps", "StatefulSet", "web-5d4c", "5d4c", false),
    ] {
        let found = has_failed(web(kind), controller(group, controller_kind, name), hash);
        assert_eq!(found, counts, "{kind} of {group} {controller_kind} {name}");
    }
}

#[test]
fn restarts_of_old_pods_with_other_resources_are_no_failures() {
    let now = start();
    let limits = |cpu, memory| {
        let pod = Subject::clone(&pod("web-0", 3));
        let limits = Quantities { cpu_millicores: cpu, memory_bytes: memory };
        let container = Container { limits, has_resource_limits: true, ..pod.containers[0].clone() };
        Arc::new(Subject { containers: vec![container], ..pod })
    };
    let added = |field: &str, value| Addition { container: "app".to_owned(), field: field.to_owned(), value };
    for (fields, pod, is_new) in [
        (vec![added("/resources/limits/memory", json!("1Gi"))], limits(Some(500), None), false),
        (vec![added("/resources/limits/memory", json!("1Gi"))], limits(Some(500), Some(1 << 29)), false),
        (vec![added("/resources/limits/memory", json!("1Gi"))], limits(None, Some(1 << 30)), true),
        (vec![added("/resources/limits/cpu", json!(1))], limits(Some(1000), None), true),
        (
            vec![added("/resources/limits/cpu", json!(1)), added("/resources/requests/cpu", json!(1))],
            limits(Some(1000), None),
            false,
        ),
    ] {
        let mut remediations = due(&["web"], now);
        next(&mut remediations, now);
        let JobResult::Patched(patched) = patched("app: resources") else { panic!("not patched") };
        let result = JobResult::Patched(Patched { fields, ..patched });
        remediations.remediated(&owner("web"), Some(key("web")), &result, &options(), now);
        let found = failure(remediations.next(&options(), true, [&pod].into_iter(), now));
        assert_eq!(found.is_some(), is_new, "{result:?}: {pod:?}");
    }
}

#[test]
fn a_denied_revert_is_tried_again_for_a_limited_time() {
    let start = start();
    let mut remediations = rolling_out(start);
    let denied = JobResult::Denied("failed calling webhook".to_owned());
    let mut now = start;
    for _ in 0..20 {
        assert!(next(&mut remediations, now).is_some());
        assert!(!remediations.followed(key("web"), &denied, &options(), now));
        assert_eq!(next(&mut remediations, now + seconds(29)), None);
        assert!(remediations.needs_finalizer());
        now = now + seconds(30);
    }
    assert_eq!(state(&remediations), Some(WorkloadState::RollingOut), "a new leader continues");
    next(&mut remediations, now);
    assert!(remediations.followed(key("web"), &denied, &options(), now));
    assert_eq!(state(&remediations), Some(WorkloadState::Denied));
    assert!(!remediations.needs_finalizer());
}

#[test]
fn a_rollout_of_another_client_is_followed_no_longer() {
    let now = start();
    let mut remediations = rolling_out(now);
    next(&mut remediations, now);
    remediations.followed(key("web"), &JobResult::Superseded, &options(), now);
    assert_eq!(state(&remediations), None);
    // A client that replaces the workload removes the fields each time.
    remediations.evaluated(&pod("web-0", 0), &violation("liveness"), &owner("web"), &["liveness"], None, now);
    next(&mut remediations, now);
    remediations.remediated(&owner("web"), Some(key("web")), &patched("app"), &options(), now);
    assert_eq!(remediations.patches().get(&key("web")).map(|patches| patches.count), Some(2));
    next(&mut remediations, now);
    remediations.followed(key("web"), &JobResult::Gone, &options(), now);
    assert!(remediations.patches().is_empty());
}

#[test]
fn violations_of_old_pods_do_not_disturb_a_rollout() {
    let now = start();
    let mut remediations = rolling_out(now);
    remediations.evaluated(&pod("old", 0), &violation("liveness"), &owner("web"), &["liveness"], None, now);
    next(&mut remediations, now);
    remediations.followed(key("web"), &in_progress(1), &options(), now);
    assert_eq!(next(&mut remediations, now), Some(NextJob::Remediate { owner: owner("web") }));
    remediations.remediated(&owner("web"), Some(key("web")), &patched(""), &options(), now);
    assert_eq!(state(&remediations), Some(WorkloadState::RollingOut));
    assert!(matches!(next(&mut remediations, now + seconds(2)), Some(NextJob::Follow { .. })));
}

#[test]
fn a_new_leader_follows_the_rollouts_of_the_status() {
    let now = start();
    let before = rolling_out(now);
    let mut after = Remediations::restore(&before.statuses(), true, &options(), now);
    assert_eq!(after.statuses(), before.statuses());
    let follow = |step| Some(NextJob::Follow { key: key("web"), failure: None, step });
    assert_eq!(next(&mut after, now), follow(Step::Adopt));
    assert!(!after.followed(key("web"), &patched(""), &options(), now));
    assert_eq!(after.statuses(), before.statuses(), "the description of the added fields stays");
    // The restarts and the settle time are those of the added fields.
    let restarted = failure(after.next(&options(), true, [pod("web-0", 1)].iter(), now));
    assert!(matches!(restarted, Some(RolloutFailure::Restarted(_))), "{restarted:?}");
    after.followed(key("web"), &rolled_out(), &options(), now);
    assert_eq!(next(&mut after, now + seconds(19)), follow(Step::Check));
    after.followed(key("web"), &rolled_out(), &options(), now + seconds(19));
    assert_eq!(next(&mut after, now + seconds(21)), follow(Step::Complete(SETTLE)));
    after.followed(key("web"), &JobResult::Completed, &options(), now + seconds(21));
    assert_eq!(state(&after), Some(WorkloadState::Patched));
    // A patched workload stays listed while its template is up to date.
    after.remediated(&owner("web"), Some(key("web")), &JobResult::UpToDate, &options(), now);
    assert_eq!(state(&after), Some(WorkloadState::Patched));
}
