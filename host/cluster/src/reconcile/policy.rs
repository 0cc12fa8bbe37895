//! A policy in the operator: what it asks for, what is known of its pods, and what has to be done about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use kube_devops_core::evaluations;
use kube_devops_core::{Ledger, Subject, SystemNamespaces, Totals};
use kube_devops_engine::{Checks, RuleSet};
use tokio::time::Instant;

use super::ReconcileOptions;
use super::audit::Audits;
use super::audit_list::Known;
use super::events::PendingEvents;
use super::status::{Verdict, differs, status};
use super::writes::{Action, FINALIZER};
use crate::crd::{DevOpsPolicy, DevOpsPolicyStatus, EnforcementMode};
use crate::enforce::{Enforcement, Outcome, RemediationJob, Step, WorkloadKey};
use crate::key::ObjectKey;
use crate::pod_index::PodIndex;
use crate::policies;

/// The shortest time between two writes of a status, so that pods that change all the time do not make it as many writes.
const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// The wait after a write that failed: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// The annotation of a policy that only says what it would do.
const DRY_RUN: &str = "devops.stochastic.io/dry-run";

/// What the policy's rules are.
enum Rules {
    Valid(Arc<RuleSet>),
    Invalid(String),
    SystemNamespace,
}

/// A policy, and what is known of its pods.
pub struct Policy {
    object: DevOpsPolicy,
    rules: Rules,
    ledger: Ledger,
    /// What the metrics say.
    shown: Totals,
    /// Whether all pods are to be judged, rather than some.
    everything_is_due: bool,
    changed: BTreeSet<Arc<str>>,
    older: BTreeSet<Arc<str>>,
    evaluated: bool,
    events: PendingEvents,
    audits: Audits,
    enforcement: Enforcement,
    /// Whether something may have to be written. Finding out costs time, and most of the time nothing has changed.
    may_differ: bool,
    writing: bool,
    backoff: Duration,
    not_before: Option<Instant>,
}

/// What one evaluation did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EvaluationRun {
    /// How many pods were shown to the checks.
    pub scanned: usize,
    /// Whether a check failed.
    pub failed: bool,
}

impl Policy {
    /// A policy as the API server has it.
    pub fn new(object: DevOpsPolicy, checks: &Checks, options: &ReconcileOptions) -> Self {
        let rules = rules(&object, checks, &options.system);
        let enforcement = known_workloads(&object, options);
        Self {
            object,
            rules,
            ledger: Ledger::default(),
            shown: Totals::default(),
            everything_is_due: true,
            changed: BTreeSet::new(),
            older: BTreeSet::new(),
            evaluated: false,
            events: PendingEvents::default(),
            audits: Audits::default(),
            enforcement,
            may_differ: true,
            writing: false,
            backoff: BACKOFF.0,
            not_before: None,
        }
    }

    /// The policy has been changed. What the operator itself writes changes nothing here.
    pub fn update(&mut self, object: DevOpsPolicy, checks: &Checks, system: &SystemNamespaces) {
        if self.object.spec != object.spec || self.object.metadata.generation != object.metadata.generation {
            self.rules = rules(&object, checks, system);
            self.everything_is_due = true;
        }
        self.object = object;
        self.may_differ = true;
    }

    /// Whether this is another object of the same name.
    pub fn is_other(&self, object: &DevOpsPolicy) -> bool {
        self.object.metadata.uid != object.metadata.uid
    }

    /// A pod of the policy's namespace is another than before, or gone.
    pub fn pod_changed(&mut self, name: &Arc<str>) {
        self.changed.insert(name.clone());
    }

    /// A pod of the policy's namespace has waited longer.
    pub fn pod_grew_older(&mut self, name: &Arc<str>) {
        self.older.insert(name.clone());
    }

    /// Everything is judged anew, and written where it is not what the API server has: for a new leader.
    pub fn start_over(&mut self, options: &ReconcileOptions) {
        self.may_differ = true;
        self.everything_is_due = true;
        self.evaluated = false;
        self.audits = Audits::default();
        self.enforcement = known_workloads(&self.object, options);
        self.writing = false;
        self.not_before = None;
        self.events.clear();
    }

    /// The audit results that there are, the oldest first.
    pub fn set_audits(&mut self, known: Vec<Known>) {
        self.audits = Audits::known(known);
    }

    /// Whether there is something to evaluate.
    pub fn is_due(&self) -> bool {
        self.everything_is_due || !self.changed.is_empty() || !self.older.is_empty()
    }

    /// Judges what is due.
    pub fn evaluate(&mut self, key: &ObjectKey, pods: &PodIndex) -> EvaluationRun {
        let (changed, older) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.older));
        let everything = std::mem::take(&mut self.everything_is_due);
        self.may_differ = true;
        let Rules::Valid(rules) = &self.rules else {
            self.ledger = Ledger::default();
            self.evaluated = true;
            self.audits.is_due = false;
            return EvaluationRun::default();
        };
        // Who was known before is forgotten only after the comparison, so that an edit of the policy tells what is new.
        let before = if everything { std::mem::take(&mut self.ledger) } else { Ledger::default() };
        let due: Vec<(&Arc<str>, &Arc<Subject>)> = if everything {
            pods.pods(&key.namespace).collect()
        } else {
            let pod = |name: &Arc<str>| ObjectKey { namespace: key.namespace.clone(), name: name.clone() };
            let mut different = false;
            for name in changed.iter().filter(|name| pods.get(&pod(name)).is_none()) {
                different |= self.ledger.remove(name);
            }
            self.audits.is_due |= different;
            let names = changed.union(&older);
            names.filter_map(|name| Some((name, pods.get(&pod(name))?))).collect()
        };
        let subjects: Vec<&Subject> = due.iter().map(|(_, subject)| subject.as_ref()).collect();
        let evaluation = evaluations(&subjects, &rules.evaluate(&subjects, None));
        let enforces = self.object.spec.enforcement_mode == EnforcementMode::Enforce;
        let remediating: Vec<&str> = rules.remediating().collect();
        let scanned = subjects.len();
        let failed = evaluation.iter().any(|evaluation| !evaluation.errors.is_empty());
        for ((name, subject), evaluation) in due.into_iter().zip(evaluation) {
            let pod = ObjectKey { namespace: key.namespace.clone(), name: name.clone() };
            if let Some(workload) = pods.workload(&pod).filter(|_| enforces) {
                let resources = self.object.spec.default_resources.as_ref();
                self.enforcement.evaluated(subject, &evaluation, workload, &remediating, resources);
            }
            let known = if everything { before.get(name) } else { self.ledger.get(name) };
            // A pod that goes on waiting is not news, though the text counts the seconds.
            let only_older = !everything && !changed.contains(name);
            if only_older && known.is_some_and(|known| known.agrees_with(&evaluation)) {
                continue;
            }
            if let Some(workload) = pods.workload(&pod).filter(|_| self.evaluated) {
                self.events.compare(workload, known, &evaluation);
            }
            self.audits.is_due |= self.ledger.set(name, evaluation);
        }
        self.audits.is_due |= everything;
        self.evaluated = true;
        EvaluationRun { scanned, failed }
    }

    /// What is known of the pods.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the metrics said, which from now on is what the ledger says.
    pub fn show(&mut self) -> (Totals, &Totals) {
        (std::mem::replace(&mut self.shown, self.ledger.total().clone()), self.ledger.total())
    }

    /// What the metrics say.
    pub fn shown(&self) -> &Totals {
        &self.shown
    }

    /// Whether the policy is to change workloads.
    pub fn enforces(&self) -> bool {
        self.object.spec.enforcement_mode == EnforcementMode::Enforce
    }

    /// The workload that is to be looked at next, if any is due. `namespace` is the operator's own, which it leaves alone.
    pub fn next_remediation(&mut self, key: &ObjectKey, pods: &PodIndex, options: &ReconcileOptions) -> Option<Action> {
        let Rules::Valid(rules) = &self.rules else { return None };
        let is_own = *key.namespace == *options.election.namespace;
        let mends = self.enforces() && !is_own && self.object.metadata.deletion_timestamp.is_none();
        let subjects = pods.pods(&key.namespace).map(|(_, subject)| subject);
        let rules = rules.clone();
        let step = self.enforcement.next(&options.enforce, mends, subjects)?;
        let policy = Box::new(self.object.clone());
        Some(match step {
            Step::Follow { key, trouble } => Action::Follow { policy, key, trouble },
            Step::Remediate(owner) => Action::Remediate(Box::new(RemediationJob {
                namespace: key.namespace.to_string(),
                owner,
                policy: key.name.to_string(),
                dry_run: options.enforce.dry_run
                    || policy.annotations().get(DRY_RUN).is_some_and(|value| value == "true"),
                spec: Box::new(policy.spec),
                rules,
            })),
        })
    }

    /// What is to be written next, if anything. One write of a policy is under way at a time.
    pub fn next_action(&mut self, now: DateTime<Utc>, options: &ReconcileOptions) -> Option<Action> {
        if self.writing || self.not_before.is_some_and(|moment| Instant::now() < moment) {
            return None;
        }
        let action = if std::mem::take(&mut self.may_differ) { self.action(now) } else { None };
        let action = action.or_else(|| self.audit(now, options))?;
        self.writing = true;
        Some(action)
    }

    /// The status, where the one that was written last says something else: for the end of the operator.
    pub fn last_status(&mut self, now: DateTime<Utc>) -> Option<Action> {
        self.action(now).filter(|action| matches!(action, Action::WriteStatus { .. }))
    }

    fn action(&mut self, now: DateTime<Utc>) -> Option<Action> {
        let finalized = self.object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        if self.object.metadata.deletion_timestamp.is_some() {
            let audits = self.audits.names();
            return finalized.then(|| Action::CleanUp { policy: Box::new(self.object.clone()), audits });
        }
        if !self.evaluated {
            return None;
        }
        let verdict = match &self.rules {
            Rules::Valid(_) => Verdict::Evaluated(&self.ledger),
            Rules::Invalid(reason) => Verdict::Invalid(reason),
            Rules::SystemNamespace => Verdict::SystemNamespace,
        };
        if !finalized && !matches!(self.rules, Rules::SystemNamespace) {
            return Some(Action::AddFinalizer { policy: Box::new(self.object.clone()) });
        }
        let status = status(&self.object, &verdict, self.enforcement.statuses(), now);
        if differs(self.object.status.as_ref(), &status) {
            return Some(Action::WriteStatus { policy: Box::new(self.object.clone()), status: Box::new(status) });
        }
        if self.events.is_empty() {
            None
        } else {
            Some(Action::EmitEvents(self.events.take(self.object.object_ref(&()))))
        }
    }

    fn audit(&mut self, now: DateTime<Utc>, options: &ReconcileOptions) -> Option<Action> {
        let is_judged = self.evaluated && matches!(self.rules, Rules::Valid(_));
        if !is_judged || self.object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        self.audits.next(&self.object, &self.ledger, now, options)
    }

    /// A write has been done.
    pub fn written(&mut self, action: Done) {
        self.writing = false;
        self.may_differ = true;
        self.backoff = BACKOFF.0;
        match action {
            Done::Finalizer(finalizers) => self.object.metadata.finalizers = Some(finalizers),
            Done::Status(status) => {
                self.object.status = Some(*status);
                self.not_before = Some(Instant::now() + STATUS_PERIOD);
            }
            Done::Audit { name, fingerprint, removed } => {
                self.audits.written(name, fingerprint, &removed);
            }
            Done::Emitted | Done::Remediated { .. } | Done::Followed { .. } => {}
        }
    }

    /// A workload was looked at.
    pub fn remediated(&mut self, done: Done, options: &ReconcileOptions) {
        self.may_differ = true;
        match done {
            Done::Remediated { owner, key, outcome } => {
                self.enforcement.remediated(&owner, key, &outcome, &options.enforce)
            }
            Done::Followed { key, outcome } => self.enforcement.followed(key, &outcome),
            _ => {}
        }
    }

    /// Looking at a workload failed; it is tried again later.
    pub fn not_remediated(&mut self, owner: Option<&ObjectReference>) {
        self.enforcement.failed(owner);
    }

    /// A write has failed; it is tried again later.
    pub fn not_written(&mut self) {
        self.writing = false;
        self.may_differ = true;
        self.not_before = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }
}

/// A write that has been done.
#[derive(Debug)]
pub enum Done {
    /// The finalizers are these.
    Finalizer(Vec<String>),
    /// The status is this.
    Status(Box<DevOpsPolicyStatus>),
    /// An audit result was written, and old ones were removed.
    Audit {
        /// Its name.
        name: String,
        /// The fingerprint of what it says.
        fingerprint: String,
        /// The names of those that were removed.
        removed: Vec<String>,
    },
    /// Events were sent, or could not be, which changes nothing.
    Emitted,
    /// A workload that may have lacked something was looked at.
    Remediated {
        /// What controls the pods.
        owner: Arc<ObjectReference>,
        /// The workload, if there is one.
        key: Option<WorkloadKey>,
        /// What became of it.
        outcome: Outcome,
    },
    /// A workload that was changed was looked at.
    Followed {
        /// The workload.
        key: WorkloadKey,
        /// What became of it.
        outcome: Outcome,
    },
}

/// What the status says of workloads, which an operator before this one wrote.
fn known_workloads(object: &DevOpsPolicy, options: &ReconcileOptions) -> Enforcement {
    Enforcement::new(object.status.as_ref().map_or(&[], |status| &status.workloads), &options.enforce)
}

fn rules(object: &DevOpsPolicy, checks: &Checks, system: &SystemNamespaces) -> Rules {
    if system.contains(&object.namespace().unwrap_or_default()) {
        return Rules::SystemNamespace;
    }
    match checks.rule_set(&policies::policy(&object.name_any(), &object.spec)) {
        Ok(rules) => Rules::Valid(Arc::new(rules)),
        Err(error) => Rules::Invalid(error.to_string()),
    }
}
