//! The controllers of pods whose workloads are to be remediated, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::crd::{DefaultResources, WorkloadStatus};
use kube_devops_core::names::is_subdomain;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::workload::Workload;
use kube_devops_core::{ContainerKind, Subject};
use tokio::time::Instant;

use super::job::{JobResult, WorkloadKey, is_replica_set};
use super::state::MAX_MESSAGE_LENGTH;

/// The time until a workload that could not be patched is tried again. It doubles with each attempt.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The most times that it doubles.
const MAX_DOUBLINGS: u32 = 3;
/// The time until a workload is tried again whose pods are not all available, or after a failed request.
const WAIT_FOR: Duration = Duration::from_secs(10);

/// The controllers of pods with violations, by uid.
#[derive(Debug, Default)]
pub struct DueOwners {
    due: BTreeMap<String, Due>,
    /// When workloads were found to lack nothing, by the uids of the controllers of their pods.
    up_to_date: BTreeMap<String, Instant>,
    /// The controllers of the workloads that were patched. Old pods are due again only if they change.
    patched: BTreeMap<WorkloadKey, Arc<ObjectReference>>,
}

#[derive(Debug)]
struct Due {
    owner: Arc<ObjectReference>,
    at: Instant,
    /// Whether the first attempt is later because the workload was found to lack nothing.
    is_deferred: bool,
    attempts: u32,
    /// The reason why its workload could not be read, if the last attempt was denied.
    denial: Option<String>,
}

impl DueOwners {
    /// Adds a controller, which is due immediately, unless it is known. Without a violation, its pods lack resources: only the workload
    /// shows whether any can be added, for example because it has resources of the whole pod. It is not read with each change of a pod.
    pub fn add(&mut self, owner: &Arc<ObjectReference>, has_violation: bool, now: Instant) {
        let Some(uid) = &owner.uid else { return };
        let known = self.up_to_date.get(uid).filter(|_| !has_violation);
        let at = known.map_or(now, |known| now.max(*known + RETRY_AFTER));
        let due = || Due { owner: owner.clone(), at, is_deferred: known.is_some(), attempts: 0, denial: None };
        let due = self.due.entry(uid.clone()).or_insert_with(due);
        if due.is_deferred && has_violation {
            (due.at, due.is_deferred) = (now, false);
        }
    }

    /// The controller that has waited longest, if any is due.
    pub fn next(&self, now: Instant) -> Option<&Arc<ObjectReference>> {
        let next = self.due.values().filter(|due| due.at <= now).min_by_key(|due| due.at)?;
        Some(&next.owner)
    }

    /// A controller, if it is due.
    pub fn get(&self, uid: &str, now: Instant) -> Option<&Arc<ObjectReference>> {
        self.due.get(uid).filter(|due| due.at <= now).map(|due| &due.owner)
    }

    /// Makes a controller due immediately.
    pub fn start(&mut self, uid: &str, now: Instant) {
        if let Some(due) = self.due.get_mut(uid) {
            (due.at, due.is_deferred) = (now, false);
        }
    }

    /// An attempt ended. `key` is the workload, if it is known. `is_followed`: whether its rollout is followed.
    pub fn ended(&mut self, uid: &str, result: &JobResult, key: Option<&WorkloadKey>, is_followed: bool, now: Instant) {
        let Some(due) = self.due.get_mut(uid) else { return };
        due.is_deferred = false;
        due.denial = match result {
            JobResult::Denied(reason) if key.is_none() => Some(cut(&escape_controls(reason), MAX_MESSAGE_LENGTH)),
            _ => None,
        };
        let retry = match result {
            _ if is_followed => Some(WAIT_FOR),
            JobResult::UpToDate | JobResult::Gone | JobResult::Patched(_) => None,
            // It is due when the policy has its finalizer, and the status lists it.
            JobResult::Unprotected(_) | JobResult::Waiting(_) => Some(WAIT_FOR),
            _ => Some(RETRY_AFTER * 2u32.pow(due.attempts.min(MAX_DOUBLINGS))),
        };
        due.attempts += u32::from(!matches!(result, JobResult::Waiting(_) | JobResult::Unprotected(_)));
        match retry {
            Some(pause) => due.at = now + pause,
            None => {
                if *result == JobResult::UpToDate {
                    self.up_to_date.insert(uid.to_owned(), now);
                }
                let ended = self.due.remove(uid);
                if let (JobResult::Patched(_), Some(key), Some(Due { owner, .. })) = (result, key, ended) {
                    self.patched.insert(key.clone(), owner);
                }
            }
        }
    }

    /// The rollout of a workload is not followed any longer. If another client has replaced the patch, its pods may still have violations.
    pub fn followed(&mut self, key: &WorkloadKey, result: &JobResult, now: Instant) {
        if let Some(owner) = self.patched.remove(key)
            && *result == JobResult::Superseded
        {
            self.add(&owner, true, now);
        }
    }

    /// The requests of an attempt failed.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        if let Some(due) = self.due.get_mut(uid) {
            due.at = now + WAIT_FOR * 2u32.pow(due.attempts.min(MAX_DOUBLINGS));
            due.is_deferred = false;
            due.attempts += 1;
        }
    }

    /// Removes the controllers without pods, of which `uids` are those that have some. Jobs of deleted pods would be tried again
    /// forever if they fail.
    pub fn keep<'a>(&mut self, uids: impl Iterator<Item = &'a str>) {
        if self.due.is_empty() && self.up_to_date.is_empty() {
            return;
        }
        let (mut due, mut up_to_date) = (BTreeMap::new(), BTreeMap::new());
        for uid in uids {
            due.extend(self.due.remove_entry(uid));
            up_to_date.extend(self.up_to_date.remove_entry(uid));
        }
        (self.due, self.up_to_date) = (due, up_to_date);
    }

    /// Whether a controller is known.
    pub fn contains(&self, uid: &str) -> bool {
        self.due.contains_key(uid)
    }

    /// The reasons why workloads could not be read, one per controller.
    pub fn denials(&self) -> impl Iterator<Item = &str> {
        self.due.values().filter_map(|due| due.denial.as_deref())
    }
}

/// Whether a status is that of a workload that can be remediated.
pub fn is_workload(status: &WorkloadStatus) -> bool {
    let workload = Workload::find("apps/v1", &status.kind);
    workload.is_some_and(|workload| workload.can_be_remediated) && is_subdomain(&status.name)
}

/// Whether a controller of pods is a workload that can be remediated, or may be controlled by one.
pub fn may_belong_to_workload(owner: &ObjectReference) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let workload = Workload::find(&text(&owner.api_version), &text(&owner.kind));
    workload.is_some_and(|workload| workload.can_be_remediated || is_replica_set(workload))
}

/// Whether an app container has no requests or no limits, for which the policy has defaults.
pub fn is_missing_resources(subject: &Subject, resources: &DefaultResources) -> bool {
    let requests = resources.cpu_request.is_some() || resources.memory_request.is_some();
    let limits = resources.cpu_limit.is_some() || resources.memory_limit.is_some();
    let apps = subject.containers.iter().filter(|container| container.kind == ContainerKind::App);
    apps.into_iter().any(|app| requests && !app.has_resource_requests || limits && !app.has_resource_limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str) -> Arc<ObjectReference> {
        Arc::new(ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() })
    }

    fn uid(due: &DueOwners, now: Instant) -> Option<&str> {
        due.next(now).and_then(|owner| owner.uid.as_deref())
    }

    #[test]
    fn failing_jobs_of_pods_that_are_gone_are_not_tried_again() {
        let now = Instant::now();
        let mut due = DueOwners::default();
        for index in 0..300 {
            due.add(&owner(&format!("gone-{index}")), true, now);
            due.failed(&format!("gone-{index}"), now);
        }
        due.add(&owner("web"), true, now);
        due.failed("web", now);
        due.keep(["web", "web", "other"].into_iter());
        assert_eq!(due.due.len(), 1);
        assert_eq!(uid(&due, now), None, "the backoff of the others remains");
        assert_eq!(uid(&due, now + WAIT_FOR), Some("web"));
        due.keep([].into_iter());
        assert!(!due.contains("web"));
    }

    #[test]
    fn a_denial_counts_until_the_next_attempt_and_only_without_a_known_workload() {
        let now = Instant::now();
        let mut due = DueOwners::default();
        due.add(&owner("web"), true, now);
        let denied = JobResult::Denied(format!("forbidden\n{}", "a".repeat(60_000)));
        due.ended("web", &denied, None, false, now);
        let denials: Vec<_> = due.denials().collect();
        assert!(denials.len() == 1 && denials[0].len() <= MAX_MESSAGE_LENGTH && !denials[0].contains('\n'));
        assert_eq!(uid(&due, now + RETRY_AFTER), Some("web"), "it is tried again");
        let web = WorkloadKey { kind: "Deployment".to_owned(), name: "web".to_owned() };
        due.ended("web", &denied, Some(&web), false, now);
        assert_eq!(due.denials().count(), 0, "the state of the workload shows it");
    }

    #[test]
    fn a_workload_that_lacks_nothing_is_not_read_with_each_change_of_a_pod_without_resources() {
        let now = Instant::now();
        let mut due = DueOwners::default();
        let mut reads = Vec::new();
        for second in 0..150 {
            let now = now + Duration::from_secs(second);
            due.add(&owner("web"), false, now);
            if uid(&due, now).is_some() {
                reads.push(second);
                due.ended("web", &JobResult::UpToDate, None, false, now);
            }
        }
        assert_eq!(reads, [0, 60, 120]);
        let later = now + Duration::from_secs(150);
        due.keep([].into_iter());
        due.add(&owner("web"), false, later);
        assert_eq!(uid(&due, later), Some("web"), "it has had no pods in between");
        due.ended("web", &JobResult::UpToDate, None, false, later);
        due.add(&owner("web"), false, later);
        assert_eq!(uid(&due, later), None);
        due.add(&owner("web"), true, later);
        assert_eq!(uid(&due, later), Some("web"), "a pod has a violation");
        due.failed("web", later);
        due.add(&owner("web"), true, later);
        assert_eq!(uid(&due, later), None, "it is tried again after a pause");
    }
}
