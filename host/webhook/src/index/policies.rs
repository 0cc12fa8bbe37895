//! The known policies, and the creation of their rules. It calls checks, which may take long, while events of other policies arrive.
//!
//! ```text
//!   event --> rules of checks that are prompt --> index
//!                '--> queue --> rules of checks that may hang, a second at a time --> index
//!   other checks --^                '--> failures: again after a pause
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use kube_devops_cluster::crd::DevOpsPolicySpec;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::lenient::{WatchedPolicy, unreadable_spec};
use kube_devops_cluster::policies::{self, RulesError};
use kube_devops_cluster::rules::PossibleRules;
use kube_devops_engine::Checks;
use kube_devops_runtime::backoff::Backoff;
use kube_devops_runtime::store::Store;
use tokio::time::Instant;

use super::{AppliedPolicy, PolicyIndex};
use crate::response::{EvaluationFailure, Reason};

/// The first and the longest pause before rules are created again.
const RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long checks are called at a time. The last call may take a second longer.
const STEP: Duration = Duration::from_secs(1);
/// The pause after the retry of a policy, relative to its time, so that checks that hang do not occupy a core.
const REST: u32 = 4;

/// The spec of a policy, or the reason why it cannot be read.
type Spec = Result<DevOpsPolicySpec, String>;

/// The failure of a policy, of which a rule could not be created, or of which the spec cannot be evaluated.
fn failure(policy: &str, reason: Reason, cause: impl Display) -> EvaluationFailure {
    let problem = if reason == Reason::InvalidPolicy { " is invalid" } else { "" };
    EvaluationFailure { reason, text: format!("policy {policy}{problem}: {cause}") }
}

/// The reason why requests cannot be evaluated because of this error, if it is one.
fn reason(error: &RulesError) -> Option<Reason> {
    match error {
        RulesError::Spec(_) => Some(Reason::InvalidPolicy),
        RulesError::Rule(error) => Some(Reason::of_rule(error)),
        RulesError::NoChecks => None,
    }
}

/// The policies whose rules are to be created, each once.
#[derive(Default)]
struct Queue {
    /// Without the checks of modules that have ever exceeded their time limit. They come first.
    prompt: VecDeque<ObjectKey>,
    /// With all checks.
    slow: VecDeque<ObjectKey>,
    in_slow: BTreeSet<ObjectKey>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.prompt.is_empty() && self.slow.is_empty()
    }

    fn add_slow(&mut self, key: &ObjectKey) {
        if self.in_slow.insert(key.clone()) {
            self.slow.push_back(key.clone());
        }
    }

    /// The next policy, and whether only prompt checks are called.
    fn next(&mut self) -> Option<(ObjectKey, bool)> {
        if let Some(key) = self.prompt.pop_front() {
            return Some((key, true));
        }
        let key = self.slow.pop_front()?;
        self.in_slow.remove(&key);
        Some((key, false))
    }
}

/// The known policies.
pub struct Policies {
    checks: Arc<Checks>,
    pub index: Arc<PolicyIndex>,
    known: BTreeMap<ObjectKey, (Spec, AppliedPolicy)>,
    queue: Queue,
    /// The policies whose rules are those of previous checks.
    outdated: BTreeSet<ObjectKey>,
    /// The policies whose rules could not be created.
    retries: BTreeMap<ObjectKey, Backoff>,
    /// The end of the pause after the last retry.
    next_retry: Option<Instant>,
}

impl Policies {
    /// No policies.
    pub fn new(checks: Arc<Checks>, index: Arc<PolicyIndex>) -> Self {
        Self {
            checks,
            index,
            known: BTreeMap::new(),
            queue: Queue::default(),
            outdated: BTreeSet::new(),
            retries: BTreeMap::new(),
            next_retry: None,
        }
    }

    /// The number of policies.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Whether there are policies with previous rules, although creating the new ones takes no time.
    pub fn is_catching_up(&self) -> bool {
        !self.queue.prompt.is_empty()
    }

    /// Whether rules are to be created.
    pub fn is_due(&self, now: Instant) -> bool {
        !self.queue.is_empty()
            || self.next_retry.is_none_or(|next| next <= now)
                && self.retries.values().any(|backoff| backoff.is_over(now))
    }

    /// Replaces the checks. The previous rules apply until there are others.
    pub fn set_checks(&mut self, checks: Arc<Checks>) {
        self.checks = checks;
        self.queue = Queue { prompt: self.known.keys().cloned().collect(), ..Queue::default() };
        self.outdated = self.known.keys().cloned().collect();
    }

    /// Creates rules: first those of prompt checks, then those of checks that were not called yet, then those that failed.
    pub fn proceed(&mut self, now: Instant) {
        let started = std::time::Instant::now();
        while started.elapsed() < STEP {
            match self.queue.next() {
                Some((key, only_prompt)) => self.create_again(&key, started + STEP, only_prompt, now),
                None if self.is_due(now) => return self.retry(started + STEP, now),
                None => return,
            }
        }
    }

    fn retry(&mut self, deadline: std::time::Instant, now: Instant) {
        let mut due = self.retries.iter().filter(|(_, backoff)| backoff.is_over(now));
        if let Some(key) = due.next().map(|(key, _)| key.clone()) {
            let started = std::time::Instant::now();
            self.create_again(&key, deadline, false, now);
            let took = started.elapsed();
            self.next_retry = Some(now + took + took * REST);
        }
    }

    fn create_again(&mut self, key: &ObjectKey, deadline: std::time::Instant, only_prompt: bool, now: Instant) {
        let Some((spec, _)) = self.known.get(key).cloned() else {
            self.retries.remove(key);
            return;
        };
        let (applied, is_complete) = self.create(key, &spec, deadline, only_prompt, now);
        if !is_complete {
            self.queue.add_slow(key);
            if self.outdated.contains(key) {
                return;
            }
        }
        self.outdated.remove(key);
        self.known.insert(key.clone(), (spec, applied));
        let is_in_namespace = |other: &&ObjectKey| other.namespace == key.namespace;
        if !self.outdated.range(first_of(&key.namespace)..).take_while(is_in_namespace).any(|_| true) {
            self.publish(&key.namespace);
        }
    }

    /// Creates the rules of a policy, and returns whether all its checks were called.
    fn create(
        &mut self,
        key: &ObjectKey,
        spec: &Spec,
        deadline: std::time::Instant,
        only_prompt: bool,
        now: Instant,
    ) -> (AppliedPolicy, bool) {
        // Requests in its namespace are evaluated by its other rules and by the other policies, and the failures are reported.
        let (rules, added, failures, is_complete) = match spec {
            Ok(spec) => {
                let PossibleRules { rules, errors } =
                    policies::possible_rules(&key.name, spec, &self.checks, deadline, only_prompt);
                self.note_errors(key, &errors, now);
                let failures = errors.iter().filter_map(|error| Some(failure(&key.name, reason(error)?, error)));
                let (rules, added) = rules.by_origin();
                let added = (!added.is_empty()).then(|| Arc::new(added));
                // Without checks, there is nothing that could not be evaluated.
                let rules = (!errors.contains(&RulesError::NoChecks)).then(|| Arc::new(rules));
                (rules, added, failures.collect(), !errors.iter().any(RulesError::is_not_called))
            }
            Err(error) => {
                let message = unreadable_spec(error);
                tracing::warn!(policy = %key, "the policy is not evaluated: {message}");
                (None, None, vec![failure(&key.name, Reason::InvalidPolicy, message)], true)
            }
        };
        (AppliedPolicy { name: key.name.clone(), rules, added, failures }, is_complete)
    }

    fn note_errors(&mut self, key: &ObjectKey, errors: &[RulesError], now: Instant) {
        let called = || errors.iter().filter(|error| !error.is_not_called());
        for error in called() {
            let retrying = if error.is_temporary() { ", retrying" } else { "" };
            tracing::warn!(policy = %key, "not every rule of the policy is evaluated{retrying}: {error}");
        }
        if called().any(RulesError::is_temporary) {
            let backoff = self.retries.entry(key.clone());
            backoff.or_insert_with(|| Backoff::of(key, RETRIES)).failed(now);
        } else {
            self.retries.remove(key);
        }
    }

    fn publish(&self, namespace: &Arc<str>) {
        let policies = self.known.range(first_of(namespace)..).take_while(|(key, _)| key.namespace == *namespace);
        let policies = policies.map(|(_, (_, applied))| applied).filter(|applied| applied.applies());
        self.index.set(namespace, policies.cloned().collect());
    }
}

/// The key before those of all policies of a namespace.
fn first_of(namespace: &Arc<str>) -> ObjectKey {
    ObjectKey { namespace: namespace.clone(), name: "".into() }
}

impl Store for Policies {
    type Object = WatchedPolicy;

    fn set(&mut self, policy: WatchedPolicy) -> (ObjectKey, bool) {
        let (key, spec) = (Self::key(&policy), policy.spec.0);
        // Its finalizer is that of the operator, which may have to revert what the policy would deny.
        if policy.metadata.deletion_timestamp.is_some() {
            let is_known = self.remove(&key);
            return (key, is_known);
        }
        // The operator writes statuses all the time, which change no rule.
        if self.known.get(&key).is_some_and(|(known, _)| *known == spec) {
            return (key, false);
        }
        self.retries.remove(&key);
        self.outdated.remove(&key);
        let deadline = std::time::Instant::now() + STEP;
        // Checks that may take long are called later, so that they do not delay the events of other policies.
        let (applied, is_complete) = self.create(&key, &spec, deadline, true, Instant::now());
        if !is_complete {
            self.queue.add_slow(&key);
        }
        self.known.insert(key.clone(), (spec, applied));
        self.publish(&key.namespace);
        (key, true)
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        self.retries.remove(key);
        self.outdated.remove(key);
        let is_known = self.known.remove(key).is_some();
        if is_known {
            self.publish(&key.namespace);
        }
        is_known
    }

    fn key(policy: &WatchedPolicy) -> ObjectKey {
        ObjectKey::of(&policy.metadata)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.known.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_checks_are_called_before_those_that_may_hang() {
        let key = |name: &str| ObjectKey { namespace: "shop".into(), name: name.into() };
        let mut queue = Queue::default();
        for name in ["hangs", "other", "hangs"] {
            queue.add_slow(&key(name));
        }
        queue.prompt.push_back(key("new"));
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, [(key("new"), true), (key("hangs"), false), (key("other"), false)]);
        assert!(queue.is_empty());
        queue.add_slow(&key("hangs"));
        assert_eq!(queue.next(), Some((key("hangs"), false)), "it is added again after its turn");
    }
}
