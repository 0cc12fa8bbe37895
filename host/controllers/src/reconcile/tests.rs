//! Tests of the decisions about a policy, without cluster and without components.

mod enforced;
mod invalid;
mod tags;
mod unreadable;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::Event;
use kube_devops_cluster::crd::{DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus, EnforcementMode};
use kube_devops_cluster::finalizer::FINALIZER;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::pods::WatchedPod;
use kube_devops_core::SystemNamespaces;
use kube_devops_remediation::{EnforceOptions, JobResult, Patched, WorkloadKey};
use kube_devops_runtime::clock::Now;
use kube_devops_runtime::election::ElectionOptions;
use serde_json::json;
use tokio::time::Instant;

use self::tags::Tags;
use super::policy::Policy;
use super::rules::Rules;
use super::write::{EnforcementJob, EnforcementResult, Write, WriteResult};
use super::{AuditOptions, ReconcileOptions};
use crate::pod_index::PodIndex;

fn start() -> Now {
    Now { utc: DateTime::UNIX_EPOCH, instant: Instant::now() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn options() -> ReconcileOptions {
    ReconcileOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        election: ElectionOptions {
            namespace: "platform".to_owned(),
            name: "operator".to_owned(),
            identity: "one".to_owned(),
            duration: seconds(15),
        },
        audit: AuditOptions { retention: 3, period: seconds(60) },
        enforce: EnforceOptions { patches_a_minute: 10, rollout_deadline: seconds(600), dry_run: false },
        system: SystemNamespaces::default(),
    }
}

pub fn key() -> ObjectKey {
    ObjectKey { namespace: "shop".into(), name: "strict".into() }
}

fn pod_key(name: &str) -> ObjectKey {
    ObjectKey { namespace: "shop".into(), name: name.into() }
}

/// A policy.
fn object() -> DevOpsPolicy {
    let spec = DevOpsPolicySpec { forbid_latest_tag: Some(true), ..DevOpsPolicySpec::default() };
    let mut object = DevOpsPolicy::new("strict", spec);
    object.metadata.namespace = Some("shop".to_owned());
    object.metadata.uid = Some("uid".to_owned());
    object.metadata.generation = Some(1);
    object
}

/// A policy that enforces.
pub fn enforcing() -> DevOpsPolicy {
    let mut object = object();
    object.spec.enforcement_mode = EnforcementMode::Enforce;
    object
}

fn pod(name: &str, container: &str, image: &str) -> WatchedPod {
    let pod = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "namespace": "shop",
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "web", "controller": true,
            }],
        },
        "spec": { "containers": [{ "name": container, "image": image }] },
        "status": { "phase": "Running" },
    }));
    WatchedPod::of(pod.unwrap_or_else(|error| panic!("{error}")))
}

/// The pods of the tests: one with a violation, and one without.
fn pods() -> PodIndex {
    let mut pods = PodIndex::default();
    for event in [Event::Init, Event::InitApply(pod("bad", "app", "nginx")), Event::InitDone] {
        pods.apply(event, DateTime::UNIX_EPOCH);
    }
    pods.apply(Event::Apply(pod("good", "app", "nginx:1")), DateTime::UNIX_EPOCH);
    pods
}

fn policy(object: DevOpsPolicy, now: Now) -> Policy {
    let mut policy = Policy::new(object, Rules::Known(Arc::new(Tags::default())), &options().enforce, now);
    policy.set_audits(Vec::new());
    policy
}

/// A policy that was evaluated.
fn evaluated(object: DevOpsPolicy, pods: &PodIndex, now: Now) -> Policy {
    let mut policy = policy(object, now);
    policy.evaluate(&key(), pods, now);
    policy
}

/// The next write, as if it succeeded.
fn succeed(policy: &mut Policy, now: Now) -> Option<&'static str> {
    let (name, result) = match policy.next_write(&options(), now)? {
        Write::AddFinalizer { .. } => ("finalizer", WriteResult::Finalizers(vec![FINALIZER.to_owned()])),
        Write::Status { status, .. } => ("status", WriteResult::Status(status)),
        Write::Audit { record, fingerprint, surplus } => {
            let name = record.metadata.name.unwrap_or_default();
            ("audit", WriteResult::Audit { name, fingerprint, removed: surplus })
        }
        Write::Events(_) => ("events", WriteResult::Events),
        Write::RemoveFinalizer { .. } => ("no finalizer", WriteResult::Finalizers(Vec::new())),
    };
    policy.written(result, now);
    Some(name)
}

/// All writes until there is none, each a second after the other.
fn writes(policy: &mut Policy, mut now: Now) -> Vec<&'static str> {
    let mut writes = Vec::new();
    while let Some(write) = succeed(policy, now) {
        writes.push(write);
        now = now + seconds(1);
    }
    writes
}

#[test]
fn a_new_policy_gets_status_and_audit_result_one_after_the_other() {
    let (now, pods) = (start(), pods());
    let mut policy = policy(object(), now);
    assert!(policy.is_due());
    assert!(policy.next_write(&options(), now).is_none(), "nothing is written before the evaluation");
    let run = policy.evaluate(&key(), &pods, now);
    assert_eq!((run.scanned, run.failed, policy.is_due()), (2, false, false));
    assert_eq!(policy.ledger().total().violations, 1);
    assert!(policy.next_write(&options(), now).is_some());
    assert!(policy.next_write(&options(), now).is_none(), "one write runs at a time");
    policy.write_failed(now);
    assert!(policy.next_write(&options(), now).is_none(), "a failure has a backoff");
    assert_eq!(writes(&mut policy, now + seconds(1)), ["audit", "status"]);
    assert!(policy.next_write(&options(), now + seconds(3600)).is_none(), "nothing changed, nothing is written");
}

#[test]
fn an_audit_result_is_written_although_the_status_cannot_be() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    assert!(matches!(policy.next_write(&options(), now), Some(Write::Status { .. })));
    policy.write_failed(now);
    assert_eq!(succeed(&mut policy, now + seconds(60)), Some("audit"));
    assert_eq!(succeed(&mut policy, now + seconds(120)), Some("status"));
}

#[test]
fn only_changed_pods_are_evaluated_again() {
    let (now, mut pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    writes(&mut policy, now);
    for changed in pods.apply(Event::Apply(pod("bad", "app", "nginx:1")), now.utc) {
        policy.pod_changed(changed);
    }
    assert_eq!(policy.evaluate(&key(), &pods, now).scanned, 1);
    assert_eq!(policy.ledger().total().violations, 0);
    pods.apply(Event::Delete(pod("good", "app", "nginx:1")), now.utc);
    policy.pod_changed(pod_key("good"));
    assert_eq!(policy.evaluate(&key(), &pods, now).scanned, 0);
    assert_eq!(policy.ledger().total().subjects, 1);
    let (before, shown) = policy.show();
    assert_eq!((before.subjects, shown.subjects), (0, 1));
    assert_eq!(policy.shown().subjects, 1);
    assert_eq!(writes(&mut policy, now + seconds(60)), ["status", "audit"]);
}

#[test]
fn a_status_waits_for_half_a_second_after_the_last_one() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    assert_eq!(succeed(&mut policy, now), Some("status"));
    assert_eq!(succeed(&mut policy, now + Duration::from_millis(499)), None);
    assert_eq!(succeed(&mut policy, now + Duration::from_millis(500)), Some("audit"));
}

#[test]
fn new_violations_are_emitted_once_and_known_ones_never() {
    let (now, mut pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    assert_eq!(writes(&mut policy, now), ["status", "audit"], "the first evaluation emits no events");
    policy.pod_aged(pod_key("bad"));
    policy.evaluate(&key(), &pods, now);
    assert_eq!(writes(&mut policy, now + seconds(10)), Vec::<&str>::new(), "a pod that is pending for longer");
    let mut new = pod("new", "app", "nginx");
    new.metadata.owner_references = None;
    pods.apply(Event::Apply(new), now.utc);
    policy.pod_changed(pod_key("new"));
    policy.evaluate(&key(), &pods, now);
    assert_eq!(writes(&mut policy, now + seconds(60)), ["status", "events", "audit"]);
}

#[test]
fn an_edit_evaluates_everything_and_a_status_of_our_own_nothing() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    let mut same = object();
    same.status = Some(DevOpsPolicyStatus::default());
    assert!(!policy.needs_rules(&same, None) && !policy.is_other(&same));
    policy.update(same, None);
    assert!(!policy.is_due());
    let mut edited = object();
    edited.metadata.generation = Some(2);
    assert!(policy.needs_rules(&edited, None));
    policy.update(edited, Some(Rules::Known(Arc::new(Tags::default()))));
    assert_eq!(policy.evaluate(&key(), &pods, now).scanned, 2);
    assert_eq!(writes(&mut policy, now), ["status", "audit"], "known violations emit no events");
    let mut other = object();
    other.metadata.uid = Some("other".to_owned());
    assert!(policy.is_other(&other));
}

#[test]
fn a_policy_in_a_system_namespace_has_a_status_and_no_audit_result() {
    let (now, pods) = (start(), pods());
    let mut policy = Policy::new(object(), Rules::SystemNamespace, &options().enforce, now);
    policy.set_audits(Vec::new());
    assert_eq!(policy.evaluate(&key(), &pods, now).scanned, 0);
    assert!(policy.next_job(&key(), &pods, &options(), now).is_none());
    assert_eq!(writes(&mut policy, now), ["status"]);
}

#[test]
fn a_failed_check_is_reported_and_is_no_pass() {
    let (now, mut pods) = (start(), pods());
    pods.apply(Event::Apply(pod("crash", "broken", "nginx:1")), now.utc);
    let mut policy = policy(object(), now);
    assert!(policy.evaluate(&key(), &pods, now).failed);
    let Some(Write::Status { status, .. }) = policy.next_write(&options(), now) else { panic!("no status") };
    let evaluated = status.conditions.iter().find(|condition| condition.type_ == "Evaluated");
    assert_eq!(evaluated.map(|condition| condition.status.as_str()), Some("False"));
}

#[test]
fn the_status_never_combines_a_generation_with_older_evaluations() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    let mut edited = object();
    edited.metadata.generation = Some(2);
    policy.update(edited, Some(Rules::Known(Arc::new(Tags::default()))));
    assert!(policy.next_write(&options(), now).is_none());
    policy.evaluate(&key(), &pods, now);
    let Some(Write::Status { status, .. }) = policy.next_write(&options(), now) else { panic!("no status") };
    assert_eq!(status.observed_generation, Some(2));
}

#[test]
fn the_deletion_of_a_policy_waits_for_its_rollout_and_for_nothing_else() {
    let (now, pods) = (start(), pods());
    let deleted = |mut object: DevOpsPolicy| {
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        object
    };
    let mut policy = evaluated(deleted(enforcing()), &pods, now);
    assert!(policy.next_job(&key(), &pods, &options(), now).is_none());
    assert!(policy.next_write(&options(), now).is_none());

    // The finalizer of an earlier version.
    let mut finalized = deleted(object());
    finalized.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let mut policy = evaluated(finalized, &pods, now);
    assert_eq!(writes(&mut policy, now), ["no finalizer"]);

    let mut finalized = enforcing();
    let mut policy = evaluated(finalized.clone(), &pods, now);
    assert_eq!(writes(&mut policy, now), ["status", "audit", "status"]);
    let job = policy.next_job(&key(), &pods, &options(), now);
    let owner = job.as_ref().and_then(EnforcementJob::owner).cloned().unwrap_or_default();
    let result = |result| {
        let web = WorkloadKey { kind: "StatefulSet".to_owned(), name: "web".to_owned() };
        EnforcementResult::Remediated { owner: owner.clone(), key: Some(web), result }
    };
    policy.job_done(result(JobResult::Unprotected("app: livenessProbe".to_owned())), &options().enforce, now);
    assert_eq!(succeed(&mut policy, now + seconds(10)), Some("finalizer"));
    assert!(policy.next_job(&key(), &pods, &options(), now + seconds(10)).is_none(), "the status does not list it");
    assert_eq!(succeed(&mut policy, now + seconds(11)), Some("status"));
    let Some(EnforcementJob::Remediate(job)) = policy.next_job(&key(), &pods, &options(), now + seconds(11)) else {
        panic!("no job");
    };
    assert!(job.is_protected && job.recorded.is_some());
    let patched = JobResult::Patched(Patched {
        what: "app: livenessProbe".to_owned(),
        fields: Vec::new(),
        template: "template".to_owned(),
    });
    policy.job_done(result(patched), &options().enforce, now);
    finalized.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    policy.update(deleted(finalized), None);
    assert!(policy.next_write(&options(), now + seconds(20)).is_none(), "the rollout is in progress");
    let Some(EnforcementJob::Follow { key: web, .. }) = policy.next_job(&key(), &pods, &options(), now) else {
        panic!("the rollout is not followed");
    };
    policy.job_done(EnforcementResult::Followed { key: web, result: JobResult::Completed }, &options().enforce, now);
    assert_eq!(writes(&mut policy, now + seconds(30)), ["no finalizer"]);
}

#[test]
fn a_new_leader_starts_over_and_writes_only_differences() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    assert!(policy.next_write(&options(), now).is_some(), "a write is running when the lease is lost");
    policy.start_over(&options().enforce, now);
    assert!(policy.is_due());
    assert!(policy.next_write(&options(), now).is_none());
    policy.set_audits(Vec::new());
    policy.evaluate(&key(), &pods, now);
    assert_eq!(writes(&mut policy, now), ["status", "audit"]);
    assert!(policy.last_status(&options(), now).is_none());
    policy.start_over(&options().enforce, now);
    policy.evaluate(&key(), &pods, now + seconds(60));
    assert_eq!(writes(&mut policy, now), Vec::<&str>::new(), "the status is the same, and audit results are unknown");
}

#[test]
fn an_enforcing_policy_remediates_outside_of_the_namespace_of_the_operator() {
    let (now, pods) = (start(), pods());
    let mut auditing = evaluated(object(), &pods, now);
    assert!(!auditing.enforces());
    assert!(auditing.next_job(&key(), &pods, &options(), now).is_none());

    let mut own = options();
    own.election.namespace = "shop".to_owned();
    let mut policy = evaluated(enforcing(), &pods, now);
    assert!(policy.next_job(&key(), &pods, &options(), now).is_none(), "the state before is not recorded yet");
    assert_eq!(writes(&mut policy, now), ["status", "audit", "status"]);
    assert!(policy.next_job(&key(), &pods, &own, now).is_none());
    let Some(EnforcementJob::Remediate(job)) = policy.next_job(&key(), &pods, &options(), now) else {
        panic!("no job");
    };
    assert_eq!((job.namespace.as_str(), job.policy.as_str(), job.dry_run), ("shop", "strict", false));
    assert!(policy.next_job(&key(), &pods, &options(), now).is_none(), "one job runs at a time");
    policy.job_failed(Some(&job.owner), now);
    assert!(policy.next_job(&key(), &pods, &options(), now).is_none());
    let job = policy.next_job(&key(), &pods, &options(), now + seconds(10));
    assert_eq!(job.as_ref().and_then(EnforcementJob::owner).and_then(|owner| owner.name.clone()), Some("web".into()));

    let web = WorkloadKey { kind: "StatefulSet".to_owned(), name: "web".to_owned() };
    let owner =
        Arc::new(job.as_ref().and_then(EnforcementJob::owner).map(|owner| (**owner).clone()).unwrap_or_default());
    let result = JobResult::Conflict("owned by helm".to_owned());
    let result = EnforcementResult::Remediated { owner, key: Some(web), result };
    policy.job_done(result, &options().enforce, now + seconds(10));
    let Some(Write::Status { status, .. }) = policy.next_write(&options(), now + seconds(10)) else {
        panic!("no status");
    };
    assert_eq!(status.workloads.len(), 1);
}

#[test]
fn the_dry_run_annotation_of_a_policy_counts() {
    let (now, pods) = (start(), pods());
    let mut object = enforcing();
    object.metadata.annotations = Some([("devops.stochastic.io/dry-run".to_owned(), "true".to_owned())].into());
    let mut policy = evaluated(object, &pods, now);
    writes(&mut policy, now);
    let job = policy.next_job(&key(), &pods, &options(), now);
    assert!(matches!(job, Some(EnforcementJob::Remediate(job)) if job.dry_run));
}
