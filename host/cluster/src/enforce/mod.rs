//! Enforcement: workloads whose pods lack probes or resources get them, safely.
//!
//! ```text
//!   pods that lack something --> owners --> Mend: what is missing is applied, never forced, never twice
//!                                             |
//!                                  Follow: the rollout is watched, and taken back where the new pods do not run
//! ```
//!
//! In come violations and what the policy wants; out come the states of workloads for the status of the policy. One workload
//! of a policy is looked at at a time, and so many are changed in a minute.

mod fields;
mod plan;
mod remediate;
mod rollout;

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{ContainerKind, Evaluation, Subject};
use tokio::time::Instant;

use crate::crd::{DefaultResources, WorkloadState, WorkloadStatus};

pub use remediate::{Outcome, Patched, RemediationJob, WorkloadKey, follow, remediate};

/// How often a rollout is looked at.
const FOLLOWED_EVERY: Duration = Duration::from_secs(2);
/// The grace beyond the deadline of a workload, which its own controller notices first.
const GRACE: Duration = Duration::from_secs(30);
/// When a workload is looked at again that could not be changed.
const RETRIED_AFTER: Duration = Duration::from_secs(60);
/// When one is looked at again whose pods are not all available.
const WAITED_FOR: Duration = Duration::from_secs(10);
/// The most workloads that a status lists.
const MOST_LISTED: usize = 100;
/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 512;

/// How workloads are changed.
#[derive(Debug, Clone)]
pub struct EnforceOptions {
    /// How many workloads of a policy are changed in a minute.
    pub patches_a_minute: usize,
    /// How long a rollout may take where the workload does not say it itself.
    pub rollout_deadline: Duration,
    /// Whether it is only said what would be done.
    pub dry_run: bool,
}

/// What is known of the workloads of a policy.
#[derive(Default)]
pub struct Enforcement {
    /// What controls pods that lack something, by uid, with the moment from which on it is to be looked at.
    due: BTreeMap<String, (Arc<ObjectReference>, Instant)>,
    workloads: BTreeMap<WorkloadKey, Entry>,
    patches: VecDeque<Instant>,
    busy: bool,
}

struct Entry {
    state: WorkloadState,
    message: String,
    time: DateTime<Utc>,
    follow: Option<Follow>,
}

/// A rollout that is being followed.
struct Follow {
    until: Instant,
    settle: Duration,
    /// When all pods had been replaced.
    complete: Option<Instant>,
    next: Instant,
    selector: BTreeMap<String, String>,
}

/// What is to be looked at next.
pub enum Step {
    /// A workload may lack something.
    Remediate(Arc<ObjectReference>),
    /// A workload was changed.
    Follow {
        /// Which.
        key: WorkloadKey,
        /// What speaks against the change.
        trouble: Option<String>,
    },
}

impl Enforcement {
    /// Begins with what an operator before this one wrote into the status.
    pub fn new(statuses: &[WorkloadStatus], options: &EnforceOptions) -> Self {
        let mut enforcement = Self::default();
        for WorkloadStatus { kind, name, state, message, time } in statuses {
            // What was rolling out then is followed from here on.
            let follow = (*state == WorkloadState::RollingOut).then(|| Follow {
                until: Instant::now() + options.rollout_deadline,
                settle: Duration::ZERO,
                complete: None,
                next: Instant::now(),
                selector: BTreeMap::new(),
            });
            let key = WorkloadKey { kind: kind.clone(), name: name.clone() };
            enforcement.workloads.insert(key, Entry { state: *state, message: message.clone(), time: *time, follow });
        }
        enforcement
    }

    /// A pod was judged. `workload` is what controls it.
    pub fn evaluated(
        &mut self,
        subject: &Subject,
        evaluation: &Evaluation,
        workload: &Arc<ObjectReference>,
        remediating: &[&str],
        resources: Option<&DefaultResources>,
    ) {
        const OWNERS: [&str; 3] = ["ReplicaSet", "StatefulSet", "DaemonSet"];
        let is_violation = evaluation.violations.iter().any(|violation| remediating.contains(&&*violation.check));
        let lacks = is_violation || resources.is_some_and(|resources| lacks_resources(subject, resources));
        let kind = workload.kind.as_deref().unwrap_or_default();
        let (Some(uid), true) = (&workload.uid, lacks && OWNERS.contains(&kind)) else { return };
        self.due.entry(uid.clone()).or_insert_with(|| (workload.clone(), Instant::now()));
    }

    /// What is to be looked at next, if anything is due. `pods` are those of the namespace.
    pub fn next<'a>(
        &mut self,
        options: &EnforceOptions,
        mends: bool,
        pods: impl Iterator<Item = &'a Arc<Subject>>,
    ) -> Option<Step> {
        if self.busy {
            return None;
        }
        let now = Instant::now();
        let follow = self
            .workloads
            .iter_mut()
            .find_map(|(key, entry)| Some((key, entry.follow.as_mut()?)).filter(|(_, follow)| follow.next <= now));
        if let Some((key, follow)) = follow {
            self.busy = true;
            follow.next = now + FOLLOWED_EVERY;
            let restarted = follow.complete.and_then(|_| restarted(&follow.selector, pods));
            let late = (follow.complete.is_none() && now >= follow.until)
                .then(|| "the new pods were not ready in time".to_owned());
            return Some(Step::Follow { key: key.clone(), trouble: restarted.or(late) });
        }
        self.patches.retain(|patch| patch.elapsed() < Duration::from_secs(60));
        if !mends || self.patches.len() >= options.patches_a_minute {
            return None;
        }
        let (owner, _) = self.due.values().find(|(_, moment)| *moment <= now)?;
        self.busy = true;
        Some(Step::Remediate(owner.clone()))
    }

    /// A workload that may have lacked something was looked at. Answers whether it was changed, or could not be.
    pub fn remediated(
        &mut self,
        owner: &ObjectReference,
        key: Option<WorkloadKey>,
        outcome: &Outcome,
        options: &EnforceOptions,
    ) {
        self.busy = false;
        let uid = owner.uid.clone().unwrap_or_default();
        let is_followed =
            key.as_ref().and_then(|key| self.workloads.get(key)).is_some_and(|entry| entry.follow.is_some());
        let again = match outcome {
            _ if is_followed => Some(WAITED_FOR),
            Outcome::Fine | Outcome::Gone | Outcome::Patched(_) => None,
            Outcome::Waiting(_) => Some(WAITED_FOR),
            _ => Some(RETRIED_AFTER),
        };
        match (again, self.due.get_mut(&uid)) {
            (Some(pause), Some(due)) => due.1 = Instant::now() + pause,
            (_, _) => drop(self.due.remove(&uid)),
        }
        // Old pods lack something until the last of them is replaced, which is nothing new.
        let Some(key) = key.filter(|_| !is_followed) else { return };
        let follow = match outcome {
            Outcome::Patched(patched) => {
                if !patched.what.is_empty() {
                    self.patches.push_back(Instant::now());
                }
                let deadline = patched.deadline.map_or(options.rollout_deadline, |deadline| deadline + GRACE);
                Some(Follow {
                    until: Instant::now() + deadline,
                    settle: patched.settle,
                    complete: None,
                    next: Instant::now(),
                    selector: patched.selector.clone(),
                })
            }
            _ => None,
        };
        self.enter(key, outcome, follow);
    }

    /// A workload that was changed was looked at.
    pub fn followed(&mut self, key: WorkloadKey, outcome: &Outcome) {
        self.busy = false;
        let follow = self.workloads.get_mut(&key).and_then(|entry| entry.follow.take());
        match (outcome, follow) {
            (Outcome::Underway, Some(follow)) => self.put_back(&key, Follow { complete: None, ..follow }),
            (Outcome::RolledOut, Some(mut follow)) => {
                let complete = *follow.complete.get_or_insert_with(Instant::now);
                if complete.elapsed() < follow.settle {
                    self.put_back(&key, follow);
                } else {
                    self.enter(key, outcome, None);
                }
            }
            _ => self.enter(key, outcome, None),
        }
    }

    /// Looking at a workload failed; it is tried again.
    pub fn failed(&mut self, owner: Option<&ObjectReference>) {
        self.busy = false;
        if let Some(due) = owner.and_then(|owner| self.due.get_mut(owner.uid.as_deref().unwrap_or_default())) {
            due.1 = Instant::now() + WAITED_FOR;
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

    fn put_back(&mut self, key: &WorkloadKey, follow: Follow) {
        if let Some(entry) = self.workloads.get_mut(key) {
            entry.follow = Some(follow);
        }
    }

    fn enter(&mut self, key: WorkloadKey, outcome: &Outcome, follow: Option<Follow>) {
        let (state, message) = match outcome {
            // Whatever it was before, it is no more.
            Outcome::Gone => return drop(self.workloads.remove(&key)),
            Outcome::Fine => {
                self.workloads.retain(|known, entry| *known != key || entry.state == WorkloadState::Patched);
                return;
            }
            Outcome::Ignored => (WorkloadState::Ignored, "it is annotated to be left as it is"),
            Outcome::Refused(reason) => (WorkloadState::Refused, reason.as_str()),
            Outcome::WouldPatch(what) => (WorkloadState::DryRun, what.as_str()),
            Outcome::Waiting(reason) => (WorkloadState::Waiting, reason.as_str()),
            Outcome::Conflict(reason) => (WorkloadState::Conflict, reason.as_str()),
            Outcome::Patched(patched) => (WorkloadState::RollingOut, patched.what.as_str()),
            Outcome::Underway => (WorkloadState::RollingOut, ""),
            Outcome::RolledOut => (WorkloadState::Patched, ""),
            Outcome::Reverted(reason) => (WorkloadState::Reverted, reason.as_str()),
        };
        let message = cut(&escape_controls(message), LONGEST_MESSAGE);
        match self.workloads.get_mut(&key) {
            Some(entry) => {
                // What was added is still what was added when it has been rolled out.
                let message = if message.is_empty() { entry.message.clone() } else { message };
                if (entry.state, &entry.message) != (state, &message) {
                    log(&key, state, &message);
                    *entry = Entry { state, message, time: Utc::now(), follow: None };
                }
                entry.follow = follow;
            }
            None => {
                log(&key, state, &message);
                self.workloads.insert(key, Entry { state, message, time: Utc::now(), follow });
            }
        }
    }
}

fn log(key: &WorkloadKey, state: WorkloadState, message: &str) {
    tracing::info!(kind = key.kind, name = key.name, ?state, "{message}");
}

/// Whether an app container has no requests or no limits, though the policy has some to give.
fn lacks_resources(subject: &Subject, resources: &DefaultResources) -> bool {
    let requests = resources.cpu_request.is_some() || resources.memory_request.is_some();
    let limits = resources.cpu_limit.is_some() || resources.memory_limit.is_some();
    let apps = subject.containers.iter().filter(|container| container.kind == ContainerKind::App);
    apps.into_iter().any(|app| requests && !app.has_resource_requests || limits && !app.has_resource_limits)
}

/// The first container of a new pod that was restarted, in words.
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
