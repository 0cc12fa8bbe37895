//! The policies of each namespace with their rules, kept up to date by a watch: a request never waits for the API server.

mod policies;

use std::collections::HashMap;
use std::ops::BitOr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use kube::runtime::watcher::Event;
use kube_devops_cluster::lenient::WatchedPolicy;
use kube_devops_core::Needs;
use kube_devops_engine::{Checks, RuleSet};
use kube_devops_runtime::store::Watched;
use tokio::time::Instant;

use crate::response::EvaluationFailure;

use policies::Policies;

/// How many evaluations after a slow one are treated as slow.
const SLOW_EVALUATIONS: usize = 100;

/// A policy of a namespace.
#[derive(Clone)]
pub struct AppliedPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules of the checks of the program; `None` if its spec cannot be read, or if it enables no check.
    pub rules: Option<Arc<RuleSet>>,
    /// Its rules of the checks of added modules, if there are any.
    pub added: Option<Arc<RuleSet>>,
    /// Why its other rules could not be created.
    pub failures: Vec<EvaluationFailure>,
}

impl AppliedPolicy {
    /// Whether it says anything about requests.
    fn applies(&self) -> bool {
        self.rules.is_some() || self.added.is_some() || !self.failures.is_empty()
    }
}

/// The policies of a namespace, by name.
#[derive(Default)]
pub struct NamespacePolicies {
    /// The policies.
    pub policies: Vec<AppliedPolicy>,
    /// How many more evaluations are treated as slow.
    slow: AtomicUsize,
}

impl FromIterator<AppliedPolicy> for NamespacePolicies {
    fn from_iter<I: IntoIterator<Item = AppliedPolicy>>(policies: I) -> Self {
        Self { policies: policies.into_iter().collect(), ..Self::default() }
    }
}

impl NamespacePolicies {
    /// Whether one of the last evaluations has taken so long that another one must not block other requests.
    pub fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }

    /// Notes whether an evaluation was slow. Without a slow one, it changes nothing.
    pub fn evaluated(&self, was_slow: bool) {
        let slow = self.slow.load(Ordering::Relaxed);
        if was_slow {
            self.slow.store(SLOW_EVALUATIONS, Ordering::Relaxed);
        } else if slow > 0 {
            // Of two at the same time, one may not count.
            self.slow.store(slow - 1, Ordering::Relaxed);
        }
    }

    /// Whether there are checks of added modules.
    pub fn have_added(&self) -> bool {
        self.policies.iter().any(|policy| policy.added.is_some())
    }

    /// What the rules need in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        let rules = self.policies.iter().flat_map(|policy| [&policy.rules, &policy.added]).flatten();
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

    pub(crate) fn set(&self, namespace: &Arc<str>, policies: Vec<AppliedPolicy>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if policies.is_empty() {
            namespaces.remove(namespace);
        } else {
            namespaces.insert(namespace.clone(), Arc::new(policies.into_iter().collect()));
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
        Self { policies: Policies::new(checks, index), watched: Watched::default() }
    }

    /// The number of policies.
    pub fn count(&self) -> usize {
        self.policies.count()
    }

    /// Whether there are policies whose checks were replaced, and which still have their previous rules, although creating the new ones
    /// takes no time.
    pub fn is_catching_up(&self) -> bool {
        self.policies.is_catching_up()
    }

    /// Whether rules are to be created that do not exist yet, or could not be created.
    pub fn is_due(&self, now: Instant) -> bool {
        self.policies.is_due(now)
    }

    /// Creates rules that do not exist yet, or could not be created, for a second or two.
    pub fn proceed(&mut self, now: Instant) {
        self.policies.proceed(now);
    }

    /// Replaces the checks. The rules are created by [`Indexer::proceed`]; until then, the previous ones apply. The policies of a
    /// namespace change together, so that no request is evaluated by some of them, unless one of them changes meanwhile.
    pub fn set_checks(&mut self, checks: Arc<Checks>) {
        self.policies.set_checks(checks);
    }

    /// Applies an event of the watch.
    pub fn apply(&mut self, event: Event<WatchedPolicy>) {
        self.watched.apply(&mut self.policies, event);
        self.policies.index.is_synced.store(self.watched.is_synced(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        assert!(is_invalid() && indexer.is_catching_up());
        indexer.proceed(Instant::now());
        assert!(is_invalid() && !indexer.is_due(Instant::now()));
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
    fn a_slow_evaluation_counts_until_enough_were_fast() {
        let policies = NamespacePolicies::default();
        policies.evaluated(false);
        assert!(!policies.is_slow());
        policies.evaluated(true);
        (1..SLOW_EVALUATIONS).for_each(|_| policies.evaluated(false));
        assert!(policies.is_slow());
        policies.evaluated(false);
        assert!(!policies.is_slow());
    }

    #[test]
    fn a_policy_that_enables_no_check_does_not_apply() {
        let index = Arc::new(PolicyIndex::default());
        let mut indexer = Indexer::new(Arc::new(Checks::new(BTreeMap::new(), Limits::default())), index.clone());
        let mut set = |name: &str, forbids: bool| {
            let metadata = json!({ "name": name, "namespace": "shop" });
            let policy = json!({ "metadata": metadata, "spec": { "forbidLatestTag": forbids } });
            indexer.apply(Event::Apply(serde_json::from_value(policy).unwrap_or_else(|error| panic!("{error}"))));
            let policies = index.of("shop");
            let names = policies.iter().flat_map(|policies| &policies.policies).map(|policy| policy.name.to_string());
            names.collect::<Vec<String>>()
        };
        assert_eq!(set("strict", false), [""; 0]);
        assert_eq!(set("strict", true), ["strict"]);
        assert_eq!(set("other", false), ["strict"]);
        assert_eq!(set("strict", false), [""; 0]);
    }
}
