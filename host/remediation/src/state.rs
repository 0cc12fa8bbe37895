//! The remediations of a policy: the workloads that are due, those whose rollout is followed, and the results.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::crd::{DefaultResources, WorkloadState, WorkloadStatus};
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{Evaluation, Subject};
use kube_devops_runtime::clock::Now;
use tokio::time::Instant;

use super::EnforceOptions;
use super::due::{DueOwners, is_missing_resources, is_workload, may_belong_to_workload};
use super::follow::Follow;
use super::job::{Existence, JobResult, NextJob, PatchCount, Patched, WorkloadKey};
use super::pending::Pending;
use super::recent::{self, LIMIT_PERIOD};

/// The period of the checks whether a listed workload still exists.
const CHECK_PERIOD: Duration = Duration::from_secs(600);
/// The most workloads that a status lists.
pub const MAX_LISTED: usize = 100;
/// The number of workloads with a count of patches from which only the listed ones keep it.
const MAX_COUNTED: usize = 1_000;
/// The longest message, in bytes.
pub const MAX_MESSAGE_LENGTH: usize = 512;

/// The remediations of a policy. One job of a policy runs at a time.
#[derive(Debug, Default)]
pub struct Remediations {
    due: DueOwners,
    workloads: BTreeMap<WorkloadKey, Entry>,
    /// When workloads were patched in the last minute.
    recent: Vec<Instant>,
    patches: Arc<BTreeMap<WorkloadKey, PatchCount>>,
    pending: Option<Pending>,
    is_running: bool,
    is_policy_deleted: bool,
    /// Whether the last job was the check of a listed workload.
    checked_last: bool,
}

#[derive(Debug)]
struct Entry {
    state: WorkloadState,
    message: String,
    time: DateTime<Utc>,
    follow: Option<Follow>,
    /// When the existence of the workload is checked next.
    check: Instant,
}

impl Entry {
    /// When its rollout or its existence is checked next.
    fn next(&self) -> Instant {
        self.follow.as_ref().map_or(self.check, Follow::next)
    }

    /// Starts the check that is due.
    fn start<'a>(
        &mut self,
        key: WorkloadKey,
        pods: impl Iterator<Item = &'a Arc<Subject>>,
        is_policy_deleted: bool,
        now: Instant,
    ) -> NextJob {
        match &mut self.follow {
            Some(follow) => {
                let (failure, step) = follow.start(&key, pods, is_policy_deleted, now);
                NextJob::Follow { key, failure, step }
            }
            None => {
                self.check = now + CHECK_PERIOD;
                let is_over = matches!(self.state, WorkloadState::Patched | WorkloadState::Reverted);
                NextJob::Check { key, is_over }
            }
        }
    }
}

impl Remediations {
    /// Restores the remediations from the status that a previous leader wrote. `is_protected`: whether the policy has its finalizer,
    /// without which no workload is patched.
    pub fn restore(statuses: &[WorkloadStatus], is_protected: bool, options: &EnforceOptions, now: Now) -> Self {
        let mut remediations =
            Self { recent: recent::restored(statuses, is_protected, options, now), ..Self::default() };
        // Other clients can write a status, too.
        for WorkloadStatus { kind, name, state, message, time } in statuses.iter().filter(|status| is_workload(status))
        {
            let is_rolling_out = *state == WorkloadState::RollingOut;
            let follow = is_rolling_out.then(|| Follow::restored(options, now.instant));
            let key = WorkloadKey { kind: kind.clone(), name: name.clone() };
            let check = now.instant + CHECK_PERIOD;
            let message = cut(&escape_controls(message), MAX_MESSAGE_LENGTH);
            let entry = Entry { state: *state, message, time: *time, follow, check };
            remediations.workloads.insert(key, entry);
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
        if is_due && may_belong_to_workload(owner) {
            self.due.add(owner, has_violation, now.instant);
        }
    }

    /// Pods were removed. `owners` are the uids of the controllers of the pods that remain.
    pub fn pods_removed<'a>(&mut self, owners: impl Iterator<Item = &'a str>) {
        self.due.keep(owners);
        // A running job may have applied the patch.
        if !self.is_running {
            self.pending = self.pending.take().filter(|pending| self.due.contains(&pending.uid));
        }
    }

    /// Whether the deletion of the policy must wait, because a rollout of ours is in progress or about to start.
    pub fn needs_finalizer(&self) -> bool {
        self.pending.is_some() || self.workloads.values().any(|entry| entry.follow.is_some())
    }

    /// Whether the policy is being deleted: its deletion waits for rollouts.
    pub fn set_policy_deleted(&mut self, is_deleted: bool) {
        self.is_policy_deleted = is_deleted;
    }

    /// The patches so far.
    pub fn patches(&self) -> Arc<BTreeMap<WorkloadKey, PatchCount>> {
        self.patches.clone()
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
        self.pending = self.pending.take().filter(|pending| enforces && self.due.contains(&pending.uid));
        // What waits longest is next, and checks of rollouts take turns with remediations: neither many rollouts nor many workloads
        // that are not ready keep others waiting.
        let listed = self.workloads.iter().map(|(key, entry)| (entry.next(), key)).min_by_key(|(at, _)| *at);
        let listed = listed.filter(|(at, _)| *at <= now).map(|(_, key)| key.clone());
        let owner = if enforces { self.next_remediation(options, now) } else { None };
        let job = match (listed, owner) {
            (Some(key), owner) if !self.checked_last || owner.is_none() => {
                self.workloads.get_mut(&key).map(|entry| entry.start(key, pods, self.is_policy_deleted, now))
            }
            (_, owner) => owner.map(|owner| NextJob::Remediate { owner }),
        };
        self.is_running = job.is_some();
        self.checked_last = job.as_ref().is_some_and(|job| !matches!(job, NextJob::Remediate { .. }));
        job
    }

    /// The controller of the pods that are to be remediated next, if the limits allow it.
    fn next_remediation(&self, options: &EnforceOptions, now: Instant) -> Option<Arc<ObjectReference>> {
        let recent = self.recent.iter().filter(|patch| now.saturating_duration_since(**patch) < LIMIT_PERIOD);
        if recent.count() >= options.patches_a_minute {
            return None;
        }
        match &self.pending {
            Some(pending) if pending.is_recorded => self.due.get(&pending.uid, now).cloned(),
            Some(_) => None,
            // All rollouts must fit into the status, where the next leader finds them.
            None if self.workloads.values().filter(|entry| entry.follow.is_some()).count() >= MAX_LISTED => None,
            None => self.due.next(now).cloned(),
        }
    }

    /// A remediation job ended. `key` is the workload, if there is one. Returns whether the state of the workload changed.
    pub fn remediated(
        &mut self,
        owner: &ObjectReference,
        key: Option<WorkloadKey>,
        result: &JobResult,
        options: &EnforceOptions,
        now: Now,
    ) -> bool {
        self.is_running = false;
        let uid = owner.uid.clone().unwrap_or_default();
        let pending = self.pending.take_if(|pending| pending.uid == uid);
        let is_followed =
            key.as_ref().and_then(|key| self.workloads.get(key)).is_some_and(|entry| entry.follow.is_some());
        self.due.ended(&uid, result, key.as_ref(), is_followed, now.instant);
        let Some(key) = key else { return false };
        if let JobResult::Unprotected(what) = result {
            self.pending = Some(Pending::new(&uid, key, what, pending, options, now.utc));
            return false;
        }
        if let JobResult::Patched(patched) = result {
            self.count_patch(&key, patched, now.instant);
        }
        // Old pods have violations until the last of them is replaced, which is expected.
        if is_followed {
            return false;
        }
        let follow = match result {
            JobResult::Patched(patched) => Some(Follow::new(patched, options, now.instant)),
            _ => None,
        };
        // The status lists a patched workload already.
        let utc = pending.filter(|pending| follow.is_some() && pending.key == key).map_or(now.utc, |known| known.time);
        self.enter(key, result, follow, Now { utc, ..now })
    }

    /// A status that lists these workloads was written: a patch that waits for it is due.
    pub fn recorded(&mut self, workloads: &[WorkloadStatus], now: Now) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| !pending.is_recorded)
            && workloads.contains(&pending.status())
        {
            pending.is_recorded = true;
            self.due.start(&pending.uid, now.instant);
        }
    }

    /// The workload that may be patched: the status lists it.
    pub fn recorded_workload(&self) -> Option<WorkloadKey> {
        self.pending.as_ref().filter(|pending| pending.is_recorded).map(|pending| pending.key.clone())
    }

    /// The policy has its finalizer, so that a patch that waits for it is due.
    pub fn protected(&mut self, now: Now) {
        if let Some(pending) = &self.pending {
            self.due.start(&pending.uid, now.instant);
        }
    }

    /// The rollout of a workload was checked. Returns whether the state of the workload changed.
    pub fn followed(&mut self, key: WorkloadKey, result: &JobResult, options: &EnforceOptions, now: Now) -> bool {
        self.is_running = false;
        let follow = self.workloads.get_mut(&key).and_then(|entry| entry.follow.take());
        let follow = follow.and_then(|follow| match result {
            JobResult::Patched(adopted) => Some(Follow::new(adopted, options, now.instant)),
            result => follow.after(result, now.instant),
        });
        match (follow, self.workloads.get_mut(&key)) {
            (Some(follow), Some(entry)) => {
                entry.follow = Some(follow);
                false
            }
            _ => {
                self.due.followed(&key, result, now.instant);
                self.enter(key, result, None, now)
            }
        }
    }

    /// The existence of a workload was checked.
    pub fn checked(&mut self, key: &WorkloadKey, existence: Existence) {
        self.is_running = false;
        if existence == Existence::Gone {
            self.forget(key);
        }
    }

    /// The requests of a job failed. It is tried again. `owner` is the controller of the pods, if the job remediates.
    pub fn failed(&mut self, owner: Option<&ObjectReference>, now: Now) {
        self.is_running = false;
        if let Some(owner) = owner {
            let uid = owner.uid.as_deref().unwrap_or_default();
            self.due.failed(uid, now.instant);
            // The patch may have been applied nevertheless.
            if let Some(Pending { key, options, .. }) =
                self.pending.take_if(|known| known.is_recorded && known.uid == uid)
                && self.workloads.get(&key).is_none_or(|entry| entry.follow.is_none())
            {
                let follow = Some(Follow::restored(&options, now.instant));
                self.enter(key, &JobResult::Reverting, follow, now);
            }
        }
    }

    /// The states of the workloads, the newest first.
    pub fn statuses(&self) -> Vec<WorkloadStatus> {
        let mut entries: Vec<_> = self.workloads.iter().collect();
        // A rollout that is followed must not drop out of the status, where the next leader finds it.
        entries.sort_by_key(|(_, entry)| (entry.follow.is_none(), Reverse(entry.time)));
        let pending = self.pending.as_ref();
        let others = entries.into_iter().filter(|(key, _)| pending.is_none_or(|pending| pending.key != **key));
        let others = others.map(|(key, entry)| status_of(key, entry));
        pending.map(Pending::status).into_iter().chain(others).take(MAX_LISTED).collect()
    }

    /// The number of workloads that cannot be remediated, listed in the statuses or not.
    pub fn incomplete(&self) -> usize {
        use WorkloadState::{Conflict, Denied, Reverted, Skipped};
        let entries = self.workloads.values();
        entries.filter(|entry| matches!(entry.state, Conflict | Denied | Reverted | Skipped)).count()
    }

    /// The number of controllers of pods whose workloads could not be read, because a request was denied, and the first reason.
    pub fn denials(&self) -> Option<(usize, &str)> {
        let first = self.due.denials().next()?;
        Some((self.due.denials().count(), first))
    }

    fn count_patch(&mut self, key: &WorkloadKey, patched: &Patched, now: Instant) {
        // Without additions the workload was patched before a restart, which counts only once.
        if patched.what.is_empty() {
            return;
        }
        self.recent.retain(|patch| now.saturating_duration_since(*patch) < LIMIT_PERIOD);
        self.recent.push(now);
        let patches = Arc::make_mut(&mut self.patches);
        if patches.len() >= MAX_COUNTED {
            patches.retain(|key, _| self.workloads.contains_key(key));
        }
        let template = patched.template.clone();
        let known = patches.get(key).filter(|known| known.template == template);
        let count = known.map_or(1, |known| known.count + 1);
        patches.insert(key.clone(), PatchCount { template, count });
    }

    /// A workload was deleted: another one of the same name has nothing of it. Returns whether it was listed.
    fn forget(&mut self, key: &WorkloadKey) -> bool {
        Arc::make_mut(&mut self.patches).remove(key);
        self.workloads.remove(key).is_some()
    }

    fn enter(&mut self, key: WorkloadKey, result: &JobResult, follow: Option<Follow>, now: Now) -> bool {
        let (state, message) = match result {
            JobResult::Gone => return self.forget(&key),
            // The patches of its template still count: a client that replaces the workload each time may have removed the fields.
            JobResult::Superseded => return self.workloads.remove(&key).is_some(),
            JobResult::UpToDate => {
                self.workloads.retain(|known, entry| *known != key || entry.state == WorkloadState::Patched);
                return false;
            }
            JobResult::Unprotected(_) => return false,
            JobResult::Ignored => (WorkloadState::Ignored, "it is annotated to be ignored"),
            JobResult::Skipped(reason) => (WorkloadState::Skipped, reason.as_str()),
            JobResult::WouldPatch(what) => (WorkloadState::DryRun, what.as_str()),
            JobResult::Waiting(reason) => (WorkloadState::Waiting, reason.as_str()),
            JobResult::Conflict(reason) => (WorkloadState::Conflict, reason.as_str()),
            JobResult::Denied(reason) => (WorkloadState::Denied, reason.as_str()),
            JobResult::Patched(patched) => (WorkloadState::RollingOut, patched.what.as_str()),
            JobResult::InProgress(_) | JobResult::NotGivenUp(_) | JobResult::RolledOut(_) | JobResult::Reverting => {
                (WorkloadState::RollingOut, "")
            }
            JobResult::Completed => (WorkloadState::Patched, ""),
            JobResult::Reverted(reason) => (WorkloadState::Reverted, reason.as_str()),
        };
        let message = cut(&escape_controls(message), MAX_MESSAGE_LENGTH);
        let (check, time) = (now.instant + CHECK_PERIOD, now.utc);
        match self.workloads.get_mut(&key) {
            Some(entry) => {
                // A rolled out workload keeps the description of the added fields.
                let message = if message.is_empty() { entry.message.clone() } else { message };
                let is_changed = (entry.state, &entry.message) != (state, &message);
                if is_changed {
                    log(&key, state, &message);
                    *entry = Entry { state, message, time, follow: None, check };
                }
                entry.follow = follow;
                is_changed
            }
            None => {
                log(&key, state, &message);
                self.workloads.insert(key, Entry { state, message, time, follow, check });
                true
            }
        }
    }
}

fn status_of(key: &WorkloadKey, entry: &Entry) -> WorkloadStatus {
    WorkloadStatus {
        kind: key.kind.clone(),
        name: key.name.clone(),
        state: entry.state,
        message: entry.message.clone(),
        time: entry.time,
    }
}

fn log(key: &WorkloadKey, state: WorkloadState, message: &str) {
    tracing::info!(kind = key.kind, name = key.name, ?state, "{message}");
}
