//! Tests of the schedule of remediations.

mod hostile;
mod pending;
mod rollouts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::crd::{DefaultResources, WorkloadState};
use kube_devops_core::{Container, Controller, Evaluation, Severity, Subject, testing};
use kube_devops_runtime::clock::Now;
use serde_json::json;
use tokio::time::Instant;

use super::job::{Existence, Patched, RolloutFailure, Step};
use super::plan::Addition;
use super::progress::{Best, Furthest, Progress};
use super::{EnforceOptions, JobResult, NextJob, Remediations, WorkloadKey};

fn start() -> Now {
    Now { utc: DateTime::UNIX_EPOCH, instant: Instant::now() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn options() -> EnforceOptions {
    EnforceOptions { patches_a_minute: 2, rollout_deadline: seconds(600), dry_run: false }
}

fn owner(name: &str) -> Arc<ObjectReference> {
    let text = |text: &str| Some(text.to_owned());
    Arc::new(ObjectReference {
        api_version: text("apps/v1"),
        kind: text("StatefulSet"),
        name: text(name),
        uid: text(name),
        ..ObjectReference::default()
    })
}

fn key(name: &str) -> WorkloadKey {
    WorkloadKey { kind: "StatefulSet".to_owned(), name: name.to_owned() }
}

fn controller(group: &str, kind: &str, name: &str) -> Arc<Controller> {
    Arc::new(Controller { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned() })
}

fn pod(name: &str, restarts: u32) -> Arc<Subject> {
    let container = Container { has_liveness_probe: true, restart_count: Some(restarts), ..testing::container("app") };
    let controller = Some(controller("apps", "StatefulSet", "web"));
    Arc::new(Subject { controller, containers: vec![container], ..testing::pod(name) })
}

fn violation(check: &str) -> Evaluation {
    Evaluation { violations: vec![testing::violation(check, Severity::High, "web-0")], ..Evaluation::default() }
}

fn patched(what: &str) -> JobResult {
    JobResult::Patched(Patched {
        what: what.to_owned(),
        fields: vec![Addition { container: "app".to_owned(), field: "/livenessProbe".to_owned(), value: json!({}) }],
        template: "template".to_owned(),
    })
}

/// A patch that waits until it is recorded.
fn unprotected() -> JobResult {
    JobResult::Unprotected("app: livenessProbe".to_owned())
}

/// Remediations in which these workloads are due.
fn due(names: &[&str], now: Now) -> Remediations {
    due_in(Remediations::default(), names, now)
}

/// The same remediations, in which these workloads are due, too.
fn due_in(mut remediations: Remediations, names: &[&str], now: Now) -> Remediations {
    for name in names {
        let pod = Subject::default();
        remediations.evaluated(&pod, &violation("liveness"), &owner(name), &["liveness"], None, now);
    }
    remediations
}

/// The settle time of an added field.
const SETTLE: Duration = Duration::from_secs(20);

/// All pods have been replaced.
fn rolled_out() -> JobResult {
    JobResult::RolledOut(SETTLE)
}

fn in_progress(updated: i64) -> JobResult {
    JobResult::InProgress(Progress { updated, ..Progress::default() })
}

fn stalled(progress: Progress, limit: u64) -> RolloutFailure {
    let mut best = Best::default();
    best.improve(progress);
    RolloutFailure::Stalled { best, deadline: progress.deadline, limit: seconds(limit) }
}

fn next(remediations: &mut Remediations, now: Now) -> Option<NextJob> {
    remediations.next(&options(), true, [].iter(), now)
}

fn state(remediations: &Remediations) -> Option<WorkloadState> {
    remediations.statuses().first().map(|status| status.state)
}

/// Remediations with one workload that was patched just now.
fn rolling_out(now: Now) -> Remediations {
    let mut remediations = due(&["web"], now);
    assert_eq!(next(&mut remediations, now), Some(NextJob::Remediate { owner: owner("web") }));
    remediations.remediated(&owner("web"), Some(key("web")), &patched("app: livenessProbe"), &options(), now);
    remediations.recorded(&remediations.statuses(), now);
    remediations
}

#[test]
fn only_violations_that_a_check_can_remediate_are_due() {
    let now = start();
    let mut remediations = Remediations::default();
    let pod = Subject::default();
    remediations.evaluated(&pod, &violation("latest-tag"), &owner("web"), &["liveness"], None, now);
    let job = ObjectReference { kind: Some("Job".to_owned()), ..ObjectReference::clone(&owner("job")) };
    remediations.evaluated(&pod, &violation("liveness"), &Arc::new(job), &["liveness"], None, now);
    let custom = ObjectReference {
        api_version: Some("apps.kruise.io/v1".to_owned()),
        ..ObjectReference::clone(&owner("custom"))
    };
    remediations.evaluated(&pod, &violation("liveness"), &Arc::new(custom), &["liveness"], None, now);
    let bare = ObjectReference { uid: None, ..ObjectReference::clone(&owner("bare")) };
    remediations.evaluated(&pod, &violation("liveness"), &Arc::new(bare), &["liveness"], None, now);
    assert_eq!(next(&mut remediations, now), None);
}

#[test]
fn containers_without_default_resources_are_due() {
    let now = start();
    let limits = DefaultResources { memory_limit: Some("1Gi".to_owned()), ..DefaultResources::default() };
    let requests = DefaultResources { cpu_request: Some("1".to_owned()), ..DefaultResources::default() };
    let container = Container { has_resource_requests: true, ..Container::default() };
    let pod = Subject { containers: vec![container], ..Subject::default() };
    let is_due = |resources: &DefaultResources| {
        let mut remediations = Remediations::default();
        remediations.evaluated(&pod, &Evaluation::default(), &owner("web"), &[], Some(resources), now);
        next(&mut remediations, now).is_some()
    };
    assert!(is_due(&limits) && !is_due(&requests));
}

#[test]
fn one_job_runs_at_a_time_and_only_when_the_policy_enforces() {
    let now = start();
    let mut remediations = due(&["a", "b"], now);
    assert_eq!(remediations.next(&options(), false, [].iter(), now), None);
    assert!(next(&mut remediations, now).is_some());
    assert_eq!(next(&mut remediations, now), None);
    remediations.remediated(&owner("a"), Some(key("a")), &JobResult::UpToDate, &options(), now);
    assert_eq!(next(&mut remediations, now), Some(NextJob::Remediate { owner: owner("b") }));
}

#[test]
fn a_limited_number_of_workloads_is_patched_per_minute() {
    let now = start();
    let mut remediations = due(&["a", "b", "c"], now);
    for name in ["a", "b"] {
        let job = next(&mut remediations, now);
        assert_eq!(job, Some(NextJob::Remediate { owner: owner(name) }));
        remediations.remediated(&owner(name), Some(key(name)), &patched("app"), &options(), now);
        // Its rollout is complete, and is not followed any longer.
        remediations.followed(key(name), &JobResult::Gone, &options(), now);
    }
    assert_eq!(next(&mut remediations, now + seconds(59)), None);
    assert!(matches!(next(&mut remediations, now + seconds(60)), Some(NextJob::Remediate { .. })));

    // The fields were removed during the rollout, and are added again.
    let mut remediations = rolling_out(now);
    remediations.remediated(&owner("web"), Some(key("web")), &patched("app"), &options(), now);
    remediations.followed(key("web"), &JobResult::Gone, &options(), now);
    assert_eq!(next(&mut due_in(remediations, &["a"], now), now + seconds(59)), None);
}

#[test]
fn the_limit_of_patches_is_the_same_for_a_new_leader() {
    let now = start();
    let mut remediations = due(&["a", "b", "c"], now);
    next(&mut remediations, now);
    remediations.remediated(&owner("a"), Some(key("a")), &patched("app"), &options(), now);
    let statuses = remediations.statuses();
    let restored = |is_protected, now| {
        let remediations = Remediations::restore(&statuses, is_protected, &options(), now);
        let mut remediations = due_in(remediations, &["b", "c"], now);
        remediations.followed(key("a"), &JobResult::Completed, &options(), now);
        remediations
    };
    let later = now + seconds(20);
    let mut after = restored(true, later);
    assert_eq!(next(&mut after, later), None, "the previous leader may have patched another workload");
    assert_eq!(next(&mut after, later + seconds(40)), Some(NextJob::Remediate { owner: owner("b") }));
    let mut after = restored(false, later);
    assert_eq!(next(&mut after, later), Some(NextJob::Remediate { owner: owner("b") }));
}

#[test]
fn workloads_are_retried_after_a_pause_that_depends_on_the_result_and_grows() {
    let text = |text: &str| text.to_owned();
    let cases = [
        (JobResult::Waiting(text("unavailable")), [10, 10, 10], WorkloadState::Waiting),
        (JobResult::Conflict(text("owned by helm")), [60, 120, 240], WorkloadState::Conflict),
        (JobResult::Denied(text("quota exceeded")), [60, 120, 240], WorkloadState::Denied),
        (JobResult::Skipped(text("it is paused")), [60, 120, 240], WorkloadState::Skipped),
        (JobResult::WouldPatch(text("app")), [60, 120, 240], WorkloadState::DryRun),
        (JobResult::Ignored, [60, 120, 240], WorkloadState::Ignored),
        // No second attempt before the template changes, which the next job finds out.
        (JobResult::Reverted(text("it restarted")), [60, 120, 240], WorkloadState::Reverted),
    ];
    for (result, pauses, expected) in cases {
        let mut now = start();
        let mut remediations = due(&["web"], now);
        for (attempt, pause) in pauses.into_iter().enumerate() {
            assert!(next(&mut remediations, now).is_some(), "{result:?}");
            let is_changed = remediations.remediated(&owner("web"), Some(key("web")), &result, &options(), now);
            assert_eq!(is_changed, attempt == 0, "only the first result is a change: {result:?}");
            assert_eq!(state(&remediations), Some(expected));
            assert_eq!(next(&mut remediations, now + seconds(pause - 1)), None, "{result:?}");
            now = now + seconds(pause);
        }
        assert!(!remediations.needs_finalizer());
        let mut restored = Remediations::restore(&remediations.statuses(), false, &options(), now);
        let is_changed = restored.remediated(&owner("web"), Some(key("web")), &result, &options(), now);
        assert!(!is_changed, "a new leader knows it: {result:?}");
    }
}

#[test]
fn patches_of_one_template_are_counted() {
    let now = start();
    let mut remediations = Remediations::default();
    let count = |remediations: &Remediations| remediations.patches().get(&key("web")).map(|patches| patches.count);
    for expected in 1..=3 {
        remediations.remediated(&owner("web"), Some(key("web")), &patched("app"), &options(), now);
        remediations.followed(key("web"), &JobResult::Completed, &options(), now);
        assert_eq!(count(&remediations), Some(expected));
    }
    remediations.remediated(&owner("web"), Some(key("web")), &patched(""), &options(), now);
    assert_eq!(count(&remediations), Some(3), "a patch of before a restart is not counted again");
    let JobResult::Patched(other) = patched("app") else { return };
    let other = JobResult::Patched(Patched { template: "other".to_owned(), ..other });
    remediations.followed(key("web"), &JobResult::Completed, &options(), now);
    remediations.remediated(&owner("web"), Some(key("web")), &other, &options(), now);
    assert_eq!(count(&remediations), Some(1));
}

#[test]
fn deleted_workloads_leave_the_status_and_their_patches_do_not_count_any_longer() {
    let now = start();
    let mut remediations = rolling_out(now);
    next(&mut remediations, now + seconds(10));
    remediations.followed(key("web"), &JobResult::Completed, &options(), now);
    let later = now + seconds(600);
    let check = NextJob::Check { key: key("web"), is_over: true };
    assert_eq!(remediations.next(&options(), false, [].iter(), later), Some(check));
    remediations.checked(&key("web"), Existence::Exists);
    assert_eq!(state(&remediations), Some(WorkloadState::Patched));
    assert_eq!(remediations.next(&options(), false, [].iter(), later), None);
    remediations.next(&options(), false, [].iter(), later + seconds(600));
    assert_eq!(remediations.patches().len(), 1);
    remediations.checked(&key("web"), Existence::Gone);
    assert_eq!(state(&remediations), None);
    assert!(remediations.patches().is_empty());
}

#[test]
fn a_failed_request_is_retried_after_ten_seconds() {
    let now = start();
    let mut remediations = due(&["web"], now);
    next(&mut remediations, now);
    remediations.failed(Some(&owner("web")), now);
    assert_eq!(next(&mut remediations, now + seconds(9)), None);
    assert!(next(&mut remediations, now + seconds(10)).is_some());
    remediations.failed(None, now);
    assert_eq!(state(&remediations), None);
}

#[test]
fn a_workload_of_no_interest_leaves_no_state() {
    let now = start();
    for (key, result) in [
        (None, JobResult::Skipped("not controlled by a Deployment".to_owned())),
        (Some(key("web")), JobResult::UpToDate),
        (Some(key("web")), JobResult::Gone),
    ] {
        let mut remediations = due(&["web"], now);
        next(&mut remediations, now);
        remediations.remediated(&owner("web"), key, &result, &options(), now);
        assert_eq!(state(&remediations), None, "{result:?}");
    }
}

#[test]
fn workloads_that_wait_and_rollouts_do_not_delay_others_forever() {
    let now = start();
    let names: Vec<String> = (0..50).map(|index| format!("{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut remediations = rolling_out(now);
    remediations = due_in(remediations, &names, now);
    let (mut seen, mut follows) = (BTreeSet::new(), 0);
    for second in 0..110 {
        // A job takes a second, in which others become due again.
        let now = now + seconds(second);
        match next(&mut remediations, now) {
            Some(NextJob::Remediate { owner: of }) => {
                let name = of.name.clone().unwrap_or_default();
                let waiting = JobResult::Waiting("its pods are not available".to_owned());
                remediations.remediated(&of, Some(key(&name)), &waiting, &options(), now);
                seen.insert(name);
            }
            Some(NextJob::Follow { key, .. }) => {
                remediations.followed(key, &in_progress(1), &options(), now);
                follows += 1;
            }
            job => panic!("{job:?}"),
        }
    }
    assert_eq!(seen.len(), names.len(), "{seen:?}");
    assert!(follows > 15, "{follows}");
}

#[test]
fn the_counts_of_patches_are_limited_to_the_listed_workloads() {
    let now = start();
    let mut remediations = Remediations::default();
    for index in 0..1_500 {
        let name = format!("web-{index}");
        remediations.remediated(&owner(&name), Some(key(&name)), &patched("app: livenessProbe"), &options(), now);
        remediations.followed(key(&name), &JobResult::Superseded, &options(), now);
    }
    assert!(remediations.patches().len() <= 1_000, "{}", remediations.patches().len());
}
