//! The policies of each namespace with their rules, kept up to date by a watch: a request never waits for the API server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::ops::BitOr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kube::runtime::watcher::Event;
use kube_devops_cluster::crd::DevOpsPolicySpec;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::lenient::{WatchedPolicy, unreadable_spec};
use kube_devops_cluster::policies::{self, RulesError};
use kube_devops_cluster::rules::PossibleRules;
use kube_devops_core::Needs;
use kube_devops_engine::{Checks, RuleSet};
use kube_devops_runtime::backoff::Backoff;
use kube_devops_runtime::store::{Store, Watched};
use tokio::time::Instant;

use crate::response::{EvaluationFailure, Reason};

/// The first and the longest pause before rules are created again.
const RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The most policies whose rules are created again at once, so that requests are served in between.
const RETRIES_AT_ONCE: usize = 4;

/// The time for the rules of a policy. Each check may take a second; those that were not called by then are called with the next
/// attempt.
const CREATION: Duration = Duration::from_secs(5);

/// A policy of a namespace.
#[derive(Clone)]
pub struct AppliedPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules; `None` if its spec cannot be read.
    pub rules: Option<Arc<RuleSet>>,
    /// Why its other rules could not be created.
    pub failures: Vec<EvaluationFailure>,
}

/// The policies of a namespace, by name.
#[derive(Default)]
pub struct NamespacePolicies {
    /// The policies.
    pub policies: Vec<AppliedPolicy>,
    is_slow: AtomicBool,
    /// The slow evaluations in progress, also under previous policies of the namespace.
    slow_evaluations: Arc<AtomicUsize>,
}

/// A slow evaluation in progress, until it is dropped.
#[derive(Debug)]
pub struct SlowEvaluation(Arc<AtomicUsize>);

impl Drop for SlowEvaluation {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FromIterator<AppliedPolicy> for NamespacePolicies {
    fn from_iter<I: IntoIterator<Item = AppliedPolicy>>(policies: I) -> Self {
        Self { policies: policies.into_iter().collect(), ..Self::default() }
    }
}

impl NamespacePolicies {
    /// Whether an evaluation has ever taken so long that it must not block other requests.
    pub fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// Marks them as slow.
    pub fn set_slow(&self) {
        self.is_slow.store(true, Ordering::Relaxed);
    }

    /// Begins a slow evaluation, unless `most` of the namespace are in progress.
    pub fn begin_slow_evaluation(&self, most: usize) -> Option<SlowEvaluation> {
        let begun = SlowEvaluation(self.slow_evaluations.clone());
        // Dropping it ends it again.
        (self.slow_evaluations.fetch_add(1, Ordering::Relaxed) < most).then_some(begun)
    }

    /// What the rules need in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        let rules = self.policies.iter().filter_map(|policy| policy.rules.as_ref());
        rules.map(|rules| rules.needs()).fold(Needs::default(), Needs::bitor)
    }
}

/// The policies of all namespaces.
#[derive(Default)]
pub struct PolicyIndex {
    namespaces: RwLock<HashMap<Arc<str>, Arc<NamespacePolicies>>>,
    is_synced: AtomicBool,
}

impl PolicyIndex {
    /// Whether all policies have been listed once.
    pub fn is_synced(&self) -> bool {
        self.is_synced.load(Ordering::Acquire)
    }

    /// The policies of a namespace; `None` if it has none.
    pub fn of(&self, namespace: &str) -> Option<Arc<NamespacePolicies>> {
        // No holder of the lock can panic during a change.
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    fn set(&self, namespace: &Arc<str>, policies: Vec<AppliedPolicy>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if policies.is_empty() {
            namespaces.remove(namespace);
        } else {
            let slow_evaluations =
                namespaces.get(namespace).map(|before| before.slow_evaluations.clone()).unwrap_or_default();
            let policies = NamespacePolicies { policies, slow_evaluations, ..NamespacePolicies::default() };
            namespaces.insert(namespace.clone(), Arc::new(policies));
        }
    }
}

/// Keeps the index up to date.
pub struct Indexer {
    policies: Policies,
    watched: Watched,
}

impl Indexer {
    /// An indexer that knows no policies.
    pub fn new(checks: Arc<Checks>, index: Arc<PolicyIndex>) -> Self {
        let policies = Policies { checks, index, known: BTreeMap::new(), retries: BTreeMap::new() };
        Self { policies, watched: Watched::default() }
    }

    /// The number of policies.
    pub fn count(&self) -> usize {
        self.policies.known.len()
    }

    /// Whether rules that could not be created are due to be tried again.
    pub fn is_retry_due(&self, now: Instant) -> bool {
        self.policies.retries.values().any(|backoff| backoff.is_over(now))
    }

    /// Creates rules again that could not be created: a check crashed, or ran out of time or memory.
    pub fn retry(&mut self, now: Instant) {
        self.policies.retry(now);
    }

    /// Creates the rules of all policies from other checks. The policies of a namespace change together, so that no request is
    /// evaluated by some of them.
    pub fn set_checks(&mut self, checks: Arc<Checks>) {
        self.policies.set_checks(checks, Instant::now());
    }

    /// Applies an event of the watch.
    pub fn apply(&mut self, event: Event<WatchedPolicy>) {
        self.watched.apply(&mut self.policies, event);
        self.policies.index.is_synced.store(self.watched.is_synced(), Ordering::Release);
    }
}

/// The spec of a policy, or the reason why it cannot be read.
type Spec = Result<DevOpsPolicySpec, String>;

/// The failure of a policy, of which a rule could not be created, or of which the spec cannot be evaluated.
fn failure(policy: &str, reason: Reason, cause: impl Display) -> EvaluationFailure {
    let problem = if reason == Reason::InvalidPolicy { " is invalid" } else { "" };
    EvaluationFailure { reason, text: format!("policy {policy}{problem}: {cause}") }
}

fn reason(error: &RulesError) -> Reason {
    match error {
        RulesError::Spec(_) => Reason::InvalidPolicy,
        RulesError::Rule(error) => Reason::of_rule(error),
    }
}

/// The known policies.
struct Policies {
    checks: Arc<Checks>,
    index: Arc<PolicyIndex>,
    known: BTreeMap<ObjectKey, (Spec, AppliedPolicy)>,
    /// The policies whose rules could not be created.
    retries: BTreeMap<ObjectKey, Backoff>,
}

impl Policies {
    fn create_rules(&mut self, key: &ObjectKey, spec: Spec, now: Instant) {
        // Requests in its namespace are evaluated by its other rules and by the other policies, and the failures are reported.
        let (rules, failures) = match &spec {
            Ok(spec) => {
                let PossibleRules { rules, errors } = self.rules(key, spec, now);
                (Some(Arc::new(rules)), errors.iter().map(|error| failure(&key.name, reason(error), error)).collect())
            }
            Err(error) => {
                let message = unreadable_spec(error);
                tracing::warn!(policy = %key, "the policy is not evaluated: {message}");
                (None, vec![failure(&key.name, Reason::InvalidPolicy, message)])
            }
        };
        let applied = AppliedPolicy { name: key.name.clone(), rules, failures };
        self.known.insert(key.clone(), (spec, applied));
    }

    fn rules(&mut self, key: &ObjectKey, spec: &DevOpsPolicySpec, now: Instant) -> PossibleRules {
        let possible = policies::possible_rules(&key.name, spec, &self.checks, std::time::Instant::now() + CREATION);
        for error in &possible.errors {
            let retrying = if error.is_temporary() { ", retrying" } else { "" };
            tracing::warn!(policy = %key, "failed to create a rule of the policy{retrying}: {error}");
        }
        if possible.errors.iter().any(RulesError::is_temporary) {
            let backoff = self.retries.entry(key.clone());
            backoff.or_insert_with(|| Backoff::of(key, RETRIES)).failed(now);
        } else {
            self.retries.remove(key);
        }
        possible
    }

    fn set_checks(&mut self, checks: Arc<Checks>, now: Instant) {
        self.checks = checks;
        let specs: Vec<_> = self.known.iter().map(|(key, (spec, _))| (key.clone(), spec.clone())).collect();
        for (key, spec) in &specs {
            self.create_rules(key, spec.clone(), now);
        }
        let namespaces: BTreeSet<&Arc<str>> = specs.iter().map(|(key, _)| &key.namespace).collect();
        namespaces.into_iter().for_each(|namespace| self.publish(namespace));
    }

    fn retry(&mut self, now: Instant) {
        let due = self.retries.iter().filter(|(_, backoff)| backoff.is_over(now));
        let due: Vec<ObjectKey> = due.map(|(key, _)| key.clone()).take(RETRIES_AT_ONCE).collect();
        for key in due {
            match self.known.get(&key).map(|(spec, _)| spec.clone()) {
                Some(spec) => {
                    self.create_rules(&key, spec, now);
                    self.publish(&key.namespace);
                }
                None => drop(self.retries.remove(&key)),
            }
        }
    }

    fn publish(&self, namespace: &Arc<str>) {
        let first = ObjectKey { namespace: namespace.clone(), name: "".into() };
        let policies = self.known.range(first..).take_while(|(key, _)| key.namespace == *namespace);
        self.index.set(namespace, policies.map(|(_, (_, applied))| applied.clone()).collect());
    }
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
        self.create_rules(&key, spec, Instant::now());
        self.publish(&key.namespace);
        (key, true)
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        self.retries.remove(key);
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
    use kube_devops_engine::Limits;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spec_that_cannot_be_read_is_no_pass_with_other_checks_either() {
        let checks = || Arc::new(Checks::new(BTreeMap::new(), Limits::default()));
        let index = Arc::new(PolicyIndex::default());
        let mut indexer = Indexer::new(checks(), index.clone());
        let policy = json!({ "metadata": { "name": "newer", "namespace": "shop" }, "spec": { "enforcementMode": 5 } });
        let policy: WatchedPolicy = serde_json::from_value(policy).unwrap_or_else(|error| panic!("{error}"));
        indexer.apply(Event::Apply(policy));
        let is_invalid = || {
            let policies = index.of("shop").unwrap_or_else(|| panic!("there is no policy"));
            let AppliedPolicy { rules, failures, .. } = &policies.policies[0];
            rules.is_none() && failures[0].text.starts_with("policy newer is invalid: failed to read the spec")
        };
        assert!(is_invalid());
        indexer.set_checks(checks());
        assert!(is_invalid());
    }

    #[test]
    fn a_policy_that_is_being_deleted_does_not_apply() {
        let index = Arc::new(PolicyIndex::default());
        let mut indexer = Indexer::new(Arc::new(Checks::new(BTreeMap::new(), Limits::default())), index.clone());
        let policy = |deleted: Option<&str>| {
            let metadata = json!({ "name": "strict", "namespace": "shop", "deletionTimestamp": deleted });
            let policy = json!({ "metadata": metadata, "spec": { "forbidLatestTag": true } });
            serde_json::from_value(policy).unwrap_or_else(|error| panic!("{error}"))
        };
        indexer.apply(Event::Apply(policy(None)));
        assert!(index.of("shop").is_some());
        indexer.apply(Event::Apply(policy(Some("2026-01-01T00:00:00Z"))));
        assert!(index.of("shop").is_none_or(|policies| policies.policies.is_empty()));
    }

    #[test]
    fn slow_evaluations_of_a_namespace_are_limited_across_changes_of_its_policies() {
        let index = PolicyIndex::default();
        let [shop, other] = ["shop", "other"].map(Arc::<str>::from);
        let policy = || vec![AppliedPolicy { name: "policy".into(), rules: None, failures: Vec::new() }];
        index.set(&shop, policy());
        index.set(&other, policy());
        let begin = |namespace: &str| index.of(namespace).and_then(|policies| policies.begin_slow_evaluation(2));
        let begun = [begin("shop"), begin("shop")];
        assert!(begun.iter().all(Option::is_some));
        assert!(begin("shop").is_none() && begin("shop").is_none());
        index.set(&shop, policy());
        assert!(begin("shop").is_none(), "a change of the policies does not add places");
        assert!(begin("other").is_some());
        drop(begun);
        assert!(begin("shop").is_some());
    }
}
