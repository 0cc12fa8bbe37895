//! A rollout that is followed until its pods have settled, or there is a reason to revert it.

use std::sync::Arc;
use std::time::Duration;

use kube_devops_core::quantity::Quantity;
use kube_devops_core::{Container, Subject};
use tokio::time::Instant;

use super::EnforceOptions;
use super::added::quantity;
use super::job::{JobResult, Patched, RolloutFailure, Step, WorkloadKey};
use super::plan::Addition;
use super::progress::{Best, Furthest, Progress};

/// The period of the checks of a rollout.
const PERIOD: Duration = Duration::from_secs(2);

/// The pause after the end of a rollout, the revert of its patch, or giving up the added fields was denied.
const DENIED_PERIOD: Duration = Duration::from_secs(30);
/// The most denials, so that the deletion of the policy does not wait for a rollout that can never be ended.
const MAX_DENIALS: u32 = 20;

/// The time after the deadline of a Deployment in which Kubernetes can report the lack of progress itself. It does not if the
/// write of another client made it lose the start of the rollout; see [`is_recorded`](super::rollout::is_recorded).
const MARGIN: Duration = Duration::from_secs(30);

/// A rollout that is followed.
#[derive(Debug)]
pub struct Follow {
    /// The longest time without progress of a workload without a deadline.
    rollout_deadline: Duration,
    progress: Progress,
    best: Best,
    /// When there was progress last.
    progressed: Instant,
    furthest: Furthest,
    /// When the rollout got that far.
    advanced: Instant,
    /// When all pods had been replaced, and how long they are watched from then on.
    complete: Option<(Instant, Duration)>,
    next: Instant,
    fields: Vec<Addition>,
    /// Whether the added fields are not known: the rollout was started by a previous leader.
    is_restored: bool,
    /// How often its end or revert was denied.
    denials: u32,
    /// When giving up the added fields is tried again.
    give_up: Instant,
}

impl Follow {
    /// Follows the rollout of a patch.
    pub fn new(patched: &Patched, options: &EnforceOptions, now: Instant) -> Self {
        Self { fields: patched.fields.clone(), is_restored: false, ..Self::restored(options, now) }
    }

    /// Follows a rollout that a previous leader started, until the added fields are known.
    pub fn restored(options: &EnforceOptions, now: Instant) -> Self {
        Self {
            rollout_deadline: options.rollout_deadline,
            progress: Progress::default(),
            best: Best::default(),
            progressed: now,
            furthest: Furthest::default(),
            advanced: now,
            complete: None,
            next: now,
            fields: Vec::new(),
            is_restored: true,
            denials: 0,
            give_up: now,
        }
    }

    /// When the next check is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Starts a check. The deletion of a policy waits neither for pods that become unavailable again and again nor longer than for a
    /// workload without a deadline: a client that can change the workload chooses its deadline and its grace period. Returns a reason to
    /// revert that is not visible in the workload, and the next step.
    pub fn start<'a>(
        &mut self,
        key: &WorkloadKey,
        pods: impl Iterator<Item = &'a Arc<Subject>>,
        is_policy_deleted: bool,
        now: Instant,
    ) -> (Option<RolloutFailure>, Step) {
        self.next = now + PERIOD;
        let (best, deadline) = (self.best, self.progress.deadline);
        let limit = deadline.map_or(self.rollout_deadline, |deadline| deadline + MARGIN);
        let is_late = self.complete.is_none() && now.saturating_duration_since(self.progressed) >= limit;
        let stalled = is_late.then_some(RolloutFailure::Stalled { best, deadline, limit });
        let overdue = self.overdue(now).filter(|_| is_policy_deleted);
        let is_over = |(at, settle): &(Instant, Duration)| now.saturating_duration_since(*at) >= *settle;
        let step = match (self.is_restored, self.complete.filter(is_over)) {
            (true, _) => Step::Adopt,
            (false, None) if now < self.give_up => Step::Watch,
            (false, None) => Step::Check,
            (false, Some((_, settle))) => Step::Complete(settle),
        };
        (self.restarted(key, pods).map(RolloutFailure::Restarted).or(overdue).or(stalled), step)
    }

    /// The follow-up after the result of a check; `None` if the rollout is over.
    pub fn after(mut self, result: &JobResult, now: Instant) -> Option<Self> {
        match result {
            JobResult::InProgress(progress) | JobResult::NotGivenUp(progress) => {
                if matches!(result, JobResult::NotGivenUp(_)) {
                    self.give_up = now + DENIED_PERIOD;
                }
                // Pods of a complete rollout may be replaced for another reason, such as a drained node. Kubernetes, too, gives a
                // rollout that was paused the whole time again.
                if self.complete.take().is_some() || progress.deadline != self.progress.deadline {
                    (self.best, self.progressed) = (Best::default(), now);
                }
                self.progress = *progress;
                if self.best.improve(*progress) {
                    self.progressed = now;
                }
                self.advance((*progress).into(), now);
                Some(self)
            }
            JobResult::RolledOut(settle) => {
                // With another settle time, the added fields have changed, and the pods were replaced since the last check.
                self.complete = self.complete.filter(|(_, known)| known == settle).or(Some((now, *settle)));
                self.advance(Furthest { available: Furthest::ALL, ..self.furthest }, now);
                Some(self)
            }
            JobResult::Reverting => Some(self),
            // A webhook or a quota may allow it later, and a harmful patch must not stay because of them.
            JobResult::Denied(_) | JobResult::Conflict(_) | JobResult::Skipped(_) if self.denials < MAX_DENIALS => {
                self.denials += 1;
                self.next = now + DENIED_PERIOD;
                Some(self)
            }
            _ => None,
        }
    }

    fn advance(&mut self, to: Furthest, now: Instant) {
        if to > self.furthest {
            (self.furthest, self.advanced) = (to, now);
        }
    }

    /// The reason to end the rollout if its policy is deleted.
    fn overdue(&self, now: Instant) -> Option<RolloutFailure> {
        let (furthest, limit) = (self.furthest, self.rollout_deadline);
        let since = now.saturating_duration_since(self.advanced);
        // Pods that were available may be unavailable for another reason, such as a drained node.
        let is_final = furthest.available != Furthest::ALL || since >= 2 * limit;
        (since >= limit).then_some(RolloutFailure::Overdue { furthest, limit, is_final })
    }

    /// A message about the first new pod with a restarted container.
    fn restarted<'a>(&self, key: &WorkloadKey, mut pods: impl Iterator<Item = &'a Arc<Subject>>) -> Option<String> {
        pods.find_map(|subject| {
            let is_restarted = |count: &u32| *count > 0;
            let mut containers = subject.containers.iter();
            let container = containers.find(|container| container.restart_count.as_ref().is_some_and(is_restarted))?;
            self.is_new(key, subject)
                .then(|| format!("container {} of pod {} was restarted after the patch", container.name, subject.name))
        })
    }

    /// Whether a pod belongs to the workload and has the added fields.
    fn is_new(&self, key: &WorkloadKey, subject: &Subject) -> bool {
        let has_field = |added: &Addition| {
            let container = subject.containers.iter().find(|container| *container.name == *added.container);
            container.is_some_and(|container| has_field(container, added))
        };
        belongs_to(subject, key) && !self.fields.is_empty() && self.fields.iter().all(has_field)
    }
}

/// Whether a pod belongs to a workload, by its controller: workloads may have overlapping selectors.
fn belongs_to(pod: &Subject, key: &WorkloadKey) -> bool {
    let Some(controller) = pod.controller.as_ref().filter(|controller| controller.group == "apps") else {
        return false;
    };
    if key.kind != "Deployment" {
        return (&controller.kind, &controller.name) == (&key.kind, &key.name);
    }
    // The ReplicaSets of a Deployment are named NAME-HASH, and their pods have the hash as a label.
    let hash = pod.labels.iter().find(|(name, _)| name == "pod-template-hash").map(|(_, hash)| hash);
    let of_name = controller.name.strip_prefix(&*key.name).and_then(|rest| rest.strip_prefix('-'));
    controller.kind == "ReplicaSet" && hash.is_some_and(|hash| of_name == Some(hash))
}

/// Whether a container has an added field. A resource must have the added quantity: a LimitRange may set another one in old pods.
fn has_field(container: &Container, added: &Addition) -> bool {
    let quantity = quantity(&added.value);
    match added.field.as_str() {
        "/livenessProbe" => container.has_liveness_probe,
        "/readinessProbe" => container.has_readiness_probe,
        "/startupProbe" => container.has_startup_probe,
        "/resources/requests/cpu" => container.requests.cpu_millicores == quantity.map(Quantity::thousandths),
        "/resources/requests/memory" => container.requests.memory_bytes == quantity.map(Quantity::units),
        "/resources/limits/cpu" => container.limits.cpu_millicores == quantity.map(Quantity::thousandths),
        "/resources/limits/memory" => container.limits.memory_bytes == quantity.map(Quantity::units),
        _ => false,
    }
}
