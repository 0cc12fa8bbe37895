//! The policies of each namespace, ready to judge by, and kept up to date by a watch: a request never waits for the API
//! server.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use kube::runtime::watcher::Event;
use kube_devops_engine::{Checks, RuleSet};

use crate::crd::{DevOpsPolicy, DevOpsPolicySpec};
use crate::key::ObjectKey;
use crate::policies;
use crate::relist::Relist;

/// A policy that applies in a namespace.
#[derive(Clone)]
pub struct AppliedPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules, or why there are none.
    pub rules: Result<Arc<RuleSet>, Arc<str>>,
}

/// The policies of a namespace, by name.
pub struct NamespacePolicies {
    /// The policies.
    pub policies: Vec<AppliedPolicy>,
    is_slow: AtomicBool,
}

impl NamespacePolicies {
    /// Whether judging by them has ever taken so long that it must not hold up other requests.
    pub fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// From now on they are slow.
    pub fn set_slow(&self) {
        self.is_slow.store(true, Ordering::Relaxed);
    }

    /// Whether any rule reads whole objects.
    pub fn needs_objects(&self) -> bool {
        self.policies.iter().any(|policy| policy.rules.as_ref().is_ok_and(|rules| rules.needs_objects()))
    }
}

/// The policies of all namespaces, for those who judge.
#[derive(Default)]
pub struct PolicyIndex {
    namespaces: RwLock<HashMap<Arc<str>, Arc<NamespacePolicies>>>,
    is_synced: AtomicBool,
}

impl PolicyIndex {
    /// Whether all policies have been seen once.
    pub fn is_synced(&self) -> bool {
        self.is_synced.load(Ordering::Acquire)
    }

    /// The policies of a namespace; none: it has none.
    pub fn of(&self, namespace: &str) -> Option<Arc<NamespacePolicies>> {
        // Nothing that holds the lock can panic half way through a change.
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    fn set(&self, namespace: &Arc<str>, policies: Vec<AppliedPolicy>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if policies.is_empty() {
            namespaces.remove(namespace);
        } else {
            let policies = NamespacePolicies { policies, is_slow: AtomicBool::new(false) };
            namespaces.insert(namespace.clone(), Arc::new(policies));
        }
    }
}

/// Takes in what a watch of policies says, and keeps the index.
pub struct Indexer {
    checks: Arc<Checks>,
    index: Arc<PolicyIndex>,
    policies: BTreeMap<ObjectKey, (DevOpsPolicySpec, AppliedPolicy)>,
    relist: Relist,
}

impl Indexer {
    /// One that knows of no policies yet.
    pub fn new(checks: Arc<Checks>, index: Arc<PolicyIndex>) -> Self {
        Self { checks, index, policies: BTreeMap::new(), relist: Relist::default() }
    }

    /// How many policies there are.
    pub fn count(&self) -> usize {
        self.policies.len()
    }

    /// Takes in what the watch says.
    pub fn apply(&mut self, event: Event<DevOpsPolicy>) {
        match event {
            Event::Init => self.relist.begin(),
            Event::InitApply(policy) => {
                let key = self.set(policy);
                self.relist.listed(key);
            }
            Event::InitDone => {
                let gone = self.relist.gone(self.policies.keys().cloned());
                gone.iter().for_each(|key| self.remove(key));
                self.index.is_synced.store(true, Ordering::Release);
            }
            Event::Apply(policy) => drop(self.set(policy)),
            Event::Delete(policy) => self.remove(&ObjectKey::of(&policy.metadata)),
        }
    }

    fn set(&mut self, policy: DevOpsPolicy) -> ObjectKey {
        let key = ObjectKey::of(&policy.metadata);
        // The operator writes statuses all the time, which change no rule.
        if self.policies.get(&key).is_some_and(|(spec, _)| *spec == policy.spec) {
            return key;
        }
        let rules = self.checks.rule_set(&policies::policy(&key.name, &policy.spec));
        let rules = rules.map(Arc::new).map_err(|error| {
            tracing::warn!(policy = %key, "the policy is not valid and judges nothing: {error}");
            error.to_string().into()
        });
        let applied = AppliedPolicy { name: key.name.clone(), rules };
        self.policies.insert(key.clone(), (policy.spec, applied));
        self.publish(&key.namespace);
        key
    }

    fn remove(&mut self, key: &ObjectKey) {
        if self.policies.remove(key).is_some() {
            self.publish(&key.namespace);
        }
    }

    fn publish(&self, namespace: &Arc<str>) {
        let first = ObjectKey { namespace: namespace.clone(), name: "".into() };
        let policies = self.policies.range(first..).take_while(|(key, _)| key.namespace == *namespace);
        self.index.set(namespace, policies.map(|(_, (_, applied))| applied.clone()).collect());
    }
}
