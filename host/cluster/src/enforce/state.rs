//! The remediations of a policy: the workloads that are due, those whose rollout is followed, and the results.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::workload::Workload;
use kube_devops_core::{ContainerKind, Evaluation, Subject};
use tokio::time::Instant;

use super::EnforceOptions;
use super::job::{JobResult, NextJob, Patched, WorkloadKey, is_replica_set};
use crate::clock::Now;
use crate::crd::{DefaultResources, WorkloadState, WorkloadStatus};

/// The period of the checks of a rollout.
const FOLLOW_PERIOD: Duration = Duration::from_secs(2);
/// The time beyond the deadline of a workload, within which its own controller notices the failure first.
const GRACE: Duration = Duration::from_secs(30);
/// The time until a workload that could not be changed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The time until a workload is tried again whose pods are not all available.
const WAIT_FOR: Duration = Duration::from_secs(10);
/// The period that the limit of patches applies to.
const LIMIT_PERIOD: Duration = Duration::from_secs(60);
/// The most workloads that a status lists.
const MOST_LISTED: usize = 100;
/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 512;

/// The remediations of a policy. One job of a policy runs at a time.
#[derive(Debug, Default)]
pub struct Remediations {
    /// The controllers of pods with violations, by uid, and when they are due.
    due: BTreeMap<String, (Arc<ObjectReference>, Instant)>,
    workloads: BTreeMap<WorkloadKey, Entry>,
    /// When workloads were patched in the last minute.
    patches: VecDeque<Instant>,
    is_running: bool,
}

#[derive(Debug)]
struct Entry {
    state: WorkloadState,
    message: String,
    time: DateTime<Utc>,
    follow: Option<Follow>,
}

/// A rollout that is being followed.
#[derive(Debug)]
struct Follow {
    deadline: Instant,
    settle: Duration,
    /// When all pods had been replaced.
    complete: Option<Instant>,
    next: Instant,
    selector: BTreeMap<String, String>,
}

impl Remediations {
    /// Restores the remediations from the status that a previous leader wrote.
    pub fn restore(statuses: &[WorkloadStatus], options: &EnforceOptions, now: Now) -> Self {
        let mut remediations = Self::default();
        for WorkloadStatus { kind, name, state, message, time } in statuses {
            let follow = (*state == WorkloadState::RollingOut).then(|| Follow {
                deadline: now.instant + options.rollout_deadline,
                settle: Duration::ZERO,
                complete: None,
                next: now.instant,
                selector: BTreeMap::new(),
            });
            let key = WorkloadKey { kind: kind.clone(), name: name.clone() };
            remediations.workloads.insert(key, Entry { state: *state, message: message.clone(), time: *time, follow });
        }
        remediations
    }

    /// A pod was evaluated. `owner` is its controller, `remediating` are the checks that can remediate.
    pub fn evaluated(
        &mut self,
        subject: &Subject,
        evaluation: &Evaluation,
        owner: &Arc<ObjectReference>,
        remediating: &[&str],
        resources: Option<&DefaultResources>,
        now: Now,
    ) {
        let has_violation = evaluation.violations.iter().any(|violation| remediating.contains(&&*violation.check));
        let is_due = has_violation || resources.is_some_and(|resources| is_missing_resources(subject, resources));
        let (Some(uid), true) = (&owner.uid, is_due && may_belong_to_workload(owner)) else { return };
        self.due.entry(uid.clone()).or_insert_with(|| (owner.clone(), now.instant));
    }

    /// The next job, if one is due; it counts as running from now on. `enforces`: whether workloads may be patched. `pods` are
    /// those of the namespace.
    pub fn next<'a>(
        &mut self,
        options: &EnforceOptions,
        enforces: bool,
        pods: impl Iterator<Item = &'a Arc<Subject>>,
        now: Now,
    ) -> Option<NextJob> {
        if self.is_running {
            return None;
        }
        let now = now.instant;
        let follow = self
            .workloads
            .iter_mut()
            .find_map(|(key, entry)| Some((key, entry.follow.as_mut()?)).filter(|(_, follow)| follow.next <= now));
        if let Some((key, follow)) = follow {
            self.is_running = true;
            follow.next = now + FOLLOW_PERIOD;
            let restarted = follow.complete.and_then(|_| restarted(&follow.selector, pods));
            let is_late = follow.complete.is_none() && now >= follow.deadline;
            let late = is_late.then(|| "the new pods were not available before the deadline".to_owned());
            return Some(NextJob::Follow { key: key.clone(), trouble: restarted.or(late) });
        }
        self.patches.retain(|patch| now.saturating_duration_since(*patch) < LIMIT_PERIOD);
        if !enforces || self.patches.len() >= options.patches_a_minute {
            return None;
        }
        let (owner, _) = self.due.values().find(|(_, due)| *due <= now)?;
        self.is_running = true;
        Some(NextJob::Remediate { owner: owner.clone() })
    }

    /// A remediation job ended. `key` is the workload, if there is one.
    pub fn remediated(
        &mut self,
        owner: &ObjectReference,
        key: Option<WorkloadKey>,
        result: &JobResult,
        options: &EnforceOptions,
        now: Now,
    ) {
        self.is_running = false;
        let uid = owner.uid.clone().unwrap_or_default();
        let is_followed =
            key.as_ref().and_then(|key| self.workloads.get(key)).is_some_and(|entry| entry.follow.is_some());
        let retry = match result {
            _ if is_followed => Some(WAIT_FOR),
            JobResult::UpToDate | JobResult::Gone | JobResult::Patched(_) => None,
            JobResult::Waiting(_) => Some(WAIT_FOR),
            _ => Some(RETRY_AFTER),
        };
        match (retry, self.due.get_mut(&uid)) {
            (Some(pause), Some(due)) => due.1 = now.instant + pause,
            (_, _) => drop(self.due.remove(&uid)),
        }
        // Old pods have violations until the last of them is replaced, which is expected.
        let Some(key) = key.filter(|_| !is_followed) else { return };
        let follow = match result {
            JobResult::Patched(patched) => Some(self.follow(patched, options, now.instant)),
            _ => None,
        };
        self.enter(key, result, follow, now.utc);
    }

    /// The rollout of a workload was checked.
    pub fn followed(&mut self, key: WorkloadKey, result: &JobResult, now: Now) {
        self.is_running = false;
        let follow = self.workloads.get_mut(&key).and_then(|entry| entry.follow.take());
        match (result, follow) {
            (JobResult::InProgress, Some(follow)) => self.resume(&key, Follow { complete: None, ..follow }),
            (JobResult::RolledOut, Some(mut follow)) => {
                let complete = *follow.complete.get_or_insert(now.instant);
                if now.instant.saturating_duration_since(complete) < follow.settle {
                    self.resume(&key, follow);
                } else {
                    self.enter(key, result, None, now.utc);
                }
            }
            _ => self.enter(key, result, None, now.utc),
        }
    }

    /// The requests of a job failed. It is tried again.
    pub fn failed(&mut self, owner: Option<&ObjectReference>, now: Now) {
        self.is_running = false;
        if let Some(due) = owner.and_then(|owner| self.due.get_mut(owner.uid.as_deref().unwrap_or_default())) {
            due.1 = now.instant + WAIT_FOR;
        }
    }

    /// The states of the workloads, the newest first.
    pub fn statuses(&self) -> Vec<WorkloadStatus> {
        let mut entries: Vec<_> = self.workloads.iter().collect();
        entries.sort_by_key(|(_, entry)| Reverse(entry.time));
        let status = |(key, entry): (&WorkloadKey, &Entry)| WorkloadStatus {
            kind: key.kind.clone(),
            name: key.name.clone(),
            state: entry.state,
            message: entry.message.clone(),
            time: entry.time,
        };
        entries.into_iter().take(MOST_LISTED).map(status).collect()
    }

    fn follow(&mut self, patched: &Patched, options: &EnforceOptions, now: Instant) -> Follow {
        // Without additions the workload was patched before a restart, which counts only once.
        if !patched.what.is_empty() {
            self.patches.push_back(now);
        }
        let deadline = patched.deadline.map_or(options.rollout_deadline, |deadline| deadline + GRACE);
        Follow {
            deadline: now + deadline,
            settle: patched.settle,
            complete: None,
            next: now,
            selector: patched.selector.clone(),
        }
    }

    fn resume(&mut self, key: &WorkloadKey, follow: Follow) {
        if let Some(entry) = self.workloads.get_mut(key) {
            entry.follow = Some(follow);
        }
    }

    fn enter(&mut self, key: WorkloadKey, result: &JobResult, follow: Option<Follow>, time: DateTime<Utc>) {
        let (state, message) = match result {
            JobResult::Gone => return drop(self.workloads.remove(&key)),
            JobResult::UpToDate => {
                self.workloads.retain(|known, entry| *known != key || entry.state == WorkloadState::Patched);
                return;
            }
            JobResult::Ignored => (WorkloadState::Ignored, "it is annotated to be ignored"),
            JobResult::Skipped(reason) => (WorkloadState::Skipped, reason.as_str()),
            JobResult::WouldPatch(what) => (WorkloadState::DryRun, what.as_str()),
            JobResult::Waiting(reason) => (WorkloadState::Waiting, reason.as_str()),
            JobResult::Conflict(reason) => (WorkloadState::Conflict, reason.as_str()),
            JobResult::Patched(patched) => (WorkloadState::RollingOut, patched.what.as_str()),
            JobResult::InProgress => (WorkloadState::RollingOut, ""),
            JobResult::RolledOut => (WorkloadState::Patched, ""),
            JobResult::Reverted(reason) => (WorkloadState::Reverted, reason.as_str()),
        };
        let message = cut(&escape_controls(message), LONGEST_MESSAGE);
        match self.workloads.get_mut(&key) {
            Some(entry) => {
                // A rolled out workload keeps the description of the added fields.
                let message = if message.is_empty() { entry.message.clone() } else { message };
                if (entry.state, &entry.message) != (state, &message) {
                    log(&key, state, &message);
                    *entry = Entry { state, message, time, follow: None };
                }
                entry.follow = follow;
            }
            None => {
                log(&key, state, &message);
                self.workloads.insert(key, Entry { state, message, time, follow });
            }
        }
    }
}

fn log(key: &WorkloadKey, state: WorkloadState, message: &str) {
    tracing::info!(kind = key.kind, name = key.name, ?state, "{message}");
}

/// Whether a controller of pods is a workload that can be remediated, or may be controlled by one.
fn may_belong_to_workload(owner: &ObjectReference) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let workload = Workload::find(&text(&owner.api_version), &text(&owner.kind));
    workload.is_some_and(|workload| workload.can_be_remediated || is_replica_set(workload))
}

/// Whether an app container has no requests or no limits, for which the policy has defaults.
fn is_missing_resources(subject: &Subject, resources: &DefaultResources) -> bool {
    let requests = resources.cpu_request.is_some() || resources.memory_request.is_some();
    let limits = resources.cpu_limit.is_some() || resources.memory_limit.is_some();
    let apps = subject.containers.iter().filter(|container| container.kind == ContainerKind::App);
    apps.into_iter().any(|app| requests && !app.has_resource_requests || limits && !app.has_resource_limits)
}

/// A message about the first container with a liveness probe of a new pod that was restarted.
fn restarted<'a>(selector: &BTreeMap<String, String>, pods: impl Iterator<Item = &'a Arc<Subject>>) -> Option<String> {
    let is_selected = |subject: &&Arc<Subject>| {
        let has =
            |(key, value): (&String, &String)| subject.labels.iter().any(|label| (&label.0, &label.1) == (key, value));
        !selector.is_empty() && selector.iter().all(has)
    };
    pods.filter(is_selected).find_map(|subject| {
        let probed = subject.containers.iter().filter(|container| container.has_liveness_probe);
        let restarted = probed.into_iter().find(|container| container.restart_count.is_some_and(|count| count > 0))?;
        Some(format!("container {} of pod {} was restarted after the probe was added", restarted.name, subject.name))
    })
}
