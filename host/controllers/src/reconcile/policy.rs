//! A policy in the operator: its rules, the evaluations of its pods, and the next write. It decides and requests nothing.

mod enforcement;

use std::time::Duration;

use kube::Resource;
use kube_devops_cluster::crd::DevOpsPolicy;
use kube_devops_cluster::finalizer;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_core::{Ledger, Totals};
use kube_devops_remediation::{EnforceOptions, Remediations};
use kube_devops_runtime::backoff::Backoff;
use kube_devops_runtime::clock::Now;

use super::ReconcileOptions;
use super::audit::Audits;
use super::events::PendingEvents;
use super::found::Found;
use super::gate::WriteGate;
use super::rules::Rules;
use super::status::{differs, status};
use super::write::{KnownAudit, Write, WriteResult};
use crate::evaluator::{self, Due, EvaluatedPod};
use crate::pod_index::PodIndex;
use enforcement::restored;

/// The first and the longest pause before rules are created again.
const RULES_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A policy and the evaluations of its pods.
pub struct Policy {
    object: DevOpsPolicy,
    rules: Rules,
    ledger: Ledger,
    /// The totals in the metrics.
    shown: Totals,
    /// Whether all pods are due, and not only some.
    everything_is_due: bool,
    due: Due,
    is_evaluated: bool,
    events: PendingEvents,
    audits: Audits,
    remediations: Remediations,
    /// Whether the status may differ. To compare it costs time, and mostly nothing has changed.
    may_differ: bool,
    gate: WriteGate,
    /// What is being written, or was written last.
    last_write: LastWrite,
    rules_backoff: Backoff,
}

/// What was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWrite {
    /// An audit result.
    Audit,
    /// The policy, its status or events.
    Other {
        /// Whether the write failed.
        has_failed: bool,
    },
}

/// The result of one evaluation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EvaluationRun {
    /// The number of evaluated pods.
    pub scanned: usize,
    /// Whether a check failed.
    pub failed: bool,
}

impl Policy {
    /// A policy of the API server.
    pub fn new(object: DevOpsPolicy, rules: Rules, options: &EnforceOptions, now: Now) -> Self {
        let remediations = restored(&object, options, now);
        let gate = WriteGate::new(&object.metadata.uid);
        let mut rules_backoff = Backoff::of(&object.metadata.uid, RULES_PAUSES);
        // The first attempt was that of the caller.
        rules_backoff.failed(now.instant);
        Self {
            object,
            rules,
            ledger: Ledger::default(),
            shown: Totals::default(),
            everything_is_due: true,
            due: Due::default(),
            is_evaluated: false,
            events: PendingEvents::default(),
            audits: Audits::default(),
            remediations,
            may_differ: true,
            gate,
            last_write: LastWrite::Other { has_failed: false },
            rules_backoff,
        }
    }

    /// The object, unless its spec cannot be read.
    pub fn readable(&self) -> Option<&DevOpsPolicy> {
        self.rules.unreadable().is_none().then_some(&self.object)
    }

    /// Whether the rules read complete objects.
    pub fn needs_objects(&self) -> bool {
        self.rules.needs_objects()
    }

    /// Whether the object needs other rules. The writes of the operator itself do not change them. `unreadable` is the reason why the
    /// spec of the object cannot be read.
    pub fn needs_rules(&self, object: &DevOpsPolicy, unreadable: Option<&str>) -> bool {
        self.object.spec != object.spec
            || self.object.metadata.generation != object.metadata.generation
            || self.rules.unreadable() != unreadable
    }

    /// The object, if its rules could not be created and have to be tried again.
    pub fn rules_to_retry(&mut self, now: Now) -> Option<&DevOpsPolicy> {
        if !self.rules.may_be_retried() || !self.rules_backoff.is_over(now.instant) {
            return None;
        }
        self.rules_backoff.failed(now.instant);
        Some(&self.object)
    }

    /// Replaces rules that could not be created.
    pub fn set_rules(&mut self, rules: Rules) {
        if !rules.may_be_retried() {
            self.rules_backoff.succeeded();
        }
        self.rules = rules;
        self.everything_is_due = true;
    }

    /// Replaces the object, and its rules if it needs others.
    pub fn update(&mut self, object: DevOpsPolicy, rules: Option<Rules>) {
        if let Some(rules) = rules {
            self.set_rules(rules);
        }
        self.object = object;
        self.may_differ = true;
    }

    /// Whether this is another object of the same name.
    pub fn is_other(&self, object: &DevOpsPolicy) -> bool {
        self.object.metadata.uid != object.metadata.uid
    }

    /// A pod of the namespace was created, changed or removed.
    pub fn pod_changed(&mut self, pod: ObjectKey) {
        // A replica on standby evaluates everything when it becomes the leader, and must not collect pods until then.
        if !self.everything_is_due {
            self.due.changed(pod);
        }
    }

    /// A pod of the namespace has been pending for longer.
    pub fn pod_aged(&mut self, pod: ObjectKey) {
        if !self.everything_is_due {
            self.due.aged(pod);
        }
    }

    /// Starts over, for a new leader: evaluates everything, and writes what differs from the API server.
    pub fn start_over(&mut self, options: &EnforceOptions, now: Now) {
        self.may_differ = true;
        self.everything_is_due = true;
        self.is_evaluated = false;
        self.audits = Audits::default();
        self.remediations = restored(&self.object, options, now);
        self.gate = WriteGate::new(&self.object.metadata.uid);
        self.last_write = LastWrite::Other { has_failed: false };
        self.events.clear();
    }

    /// Sets the audit results that exist, the oldest first.
    pub fn set_audits(&mut self, known: Vec<KnownAudit>) {
        self.audits = Audits::known(known);
        self.may_differ = true;
    }

    /// Whether pods are due.
    pub fn is_due(&self) -> bool {
        self.everything_is_due || !self.due.is_empty()
    }

    /// Evaluates the pods that are due.
    pub fn evaluate(&mut self, key: &ObjectKey, pods: &PodIndex, now: Now) -> EvaluationRun {
        let due = std::mem::take(&mut self.due);
        let everything = std::mem::take(&mut self.everything_is_due);
        self.may_differ = true;
        let Rules::Known(rules) = self.rules.clone() else {
            self.ledger = Ledger::default();
            self.is_evaluated = true;
            self.audits.is_due = false;
            return EvaluationRun::default();
        };
        let due = if everything { pods.keys_in(&key.namespace).collect() } else { due };
        // The known evaluations are kept for the comparison, so that after an edit of the policy only new violations are
        // emitted as events.
        let before = everything.then(|| std::mem::take(&mut self.ledger));
        let evaluated = evaluator::evaluate(&*rules, pods, due);
        for pod in &evaluated.removed {
            self.audits.is_due |= self.ledger.remove(&pod.name);
        }
        let run = EvaluationRun {
            scanned: evaluated.pods.len(),
            failed: evaluated.pods.iter().any(|pod| !pod.evaluation.errors.is_empty()),
        };
        if everything || !evaluated.removed.is_empty() {
            self.remediations.pods_removed(pods.workload_uids(&key.namespace));
        }
        // A workload without the violations of some rules is not compliant.
        let remediating = self.rules.valid().is_some().then(|| rules.remediating());
        for pod in evaluated.pods {
            self.enter(pod, before.as_ref(), pods, remediating.as_deref(), now);
        }
        self.audits.is_due |= everything;
        self.is_evaluated = true;
        run
    }

    fn enter(
        &mut self,
        pod: EvaluatedPod<'_>,
        before: Option<&Ledger>,
        pods: &PodIndex,
        remediating: Option<&[&str]>,
        now: Now,
    ) {
        let workload = pods.workload(&pod.key);
        if let (Some(workload), Some(remediating), true) = (workload, remediating, self.enforces()) {
            let resources = self.object.spec.default_resources.as_ref();
            self.remediations.evaluated(pod.subject, &pod.evaluation, workload, remediating, resources, now);
        }
        let known = before.unwrap_or(&self.ledger).get(&pod.key.name);
        if pod.is_known(known.as_ref()) {
            return;
        }
        if let (Some(workload), Some(root)) = (workload, pods.root(&pod.key)) {
            self.events.evaluated(&root, workload, known.as_ref(), &pod.evaluation, self.is_evaluated);
        }
        self.audits.is_due |= self.ledger.set(&pod.key.name, pod.evaluation);
    }

    /// The evaluations of the pods.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the totals in the metrics, and the current ones, which replace them.
    pub fn show(&mut self) -> (Totals, &Totals) {
        (std::mem::replace(&mut self.shown, self.ledger.total().clone()), self.ledger.total())
    }

    /// The totals in the metrics.
    pub fn shown(&self) -> &Totals {
        &self.shown
    }

    /// Whether every check of the policy evaluated every pod that it applies to.
    pub fn is_complete(&self) -> bool {
        self.rules.found(&self.ledger).is_some_and(|found| found.is_complete())
    }

    /// The health score, if anything was evaluated.
    pub fn score(&self) -> Option<u8> {
        self.rules.found(&self.ledger).filter(Found::has_score).map(|found| found.total().score())
    }

    /// The next write, if one is due; it counts as running from now on.
    pub fn next_write(&mut self, options: &ReconcileOptions, now: Now) -> Option<Write> {
        if !self.gate.is_open(now.instant) {
            return None;
        }
        // A status that cannot be written must not keep back the audit results.
        let is_failing = self.last_write == LastWrite::Other { has_failed: true };
        let audit = if is_failing { self.audit(options, now) } else { None };
        let write = audit.or_else(|| {
            let write = if std::mem::take(&mut self.may_differ) { self.write(options, now) } else { None };
            write.or_else(|| self.audit(options, now))
        })?;
        self.last_write = match write {
            Write::Audit { .. } => LastWrite::Audit,
            _ => LastWrite::Other { has_failed: false },
        };
        self.gate.started();
        Some(write)
    }

    /// The status, if it differs from the last one: the last write of the operator.
    pub fn last_status(&mut self, options: &ReconcileOptions, now: Now) -> Option<Write> {
        self.write(options, now).filter(|write| matches!(write, Write::Status { .. }))
    }

    fn write(&mut self, options: &ReconcileOptions, now: Now) -> Option<Write> {
        let policy = || Box::new(self.object.clone());
        match (self.remediations.needs_finalizer(), self.is_finalized()) {
            (false, true) => return Some(Write::RemoveFinalizer { policy: policy() }),
            // The API server rejects new finalizers of an object that is being deleted.
            (true, false) if !self.is_deleted() => return Some(Write::AddFinalizer { policy: policy() }),
            _ => {}
        }
        // The status must not combine the generation of the object with the evaluations of the previous one.
        if self.is_deleted() || !self.is_evaluated || self.everything_is_due {
            return None;
        }
        let status = status(&self.object, &self.rules.state(&self.ledger), self.remediation_state(options), now.utc);
        if differs(self.object.status.as_ref(), &status) {
            return Some(Write::Status { policy: policy(), status: Box::new(status) });
        }
        if self.events.is_empty() { None } else { Some(Write::Events(self.events.take(self.object.object_ref(&())))) }
    }

    fn audit(&mut self, options: &ReconcileOptions, now: Now) -> Option<Write> {
        if !self.is_evaluated || self.everything_is_due || self.is_deleted() {
            return None;
        }
        let found = self.rules.found(&self.ledger)?;
        self.audits.next(&self.object, &found, &options.audit, now)
    }

    /// A write succeeded. Returns whether another client writes the same status all the time, which is true once.
    pub fn written(&mut self, result: WriteResult, now: Now) -> bool {
        self.may_differ = true;
        let is_contested = self.gate.succeeded(result.status(), now.instant);
        match result {
            WriteResult::Finalizers(finalizers) => {
                self.object.metadata.finalizers = Some(finalizers);
                if self.is_finalized() {
                    self.remediations.protected(now);
                }
            }
            WriteResult::Status(status) => {
                self.remediations.recorded(&status.workloads, now);
                self.object.status = Some(*status);
            }
            WriteResult::Audit { name, fingerprint, removed } => self.audits.written(name, fingerprint, &removed, now),
            WriteResult::Events => {}
        }
        is_contested
    }

    /// A write failed. It is derived and tried again after a backoff.
    pub fn write_failed(&mut self, now: Now) {
        self.may_differ = true;
        if let LastWrite::Other { has_failed } = &mut self.last_write {
            *has_failed = true;
        }
        self.gate.failed(now.instant);
    }

    fn is_finalized(&self) -> bool {
        finalizer::is_set(&self.object.metadata)
    }

    fn is_deleted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }
}
