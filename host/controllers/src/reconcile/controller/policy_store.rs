//! The policies of the operator, kept up to date by a watch.

use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::lenient::{self, WatchedPolicy, unreadable_spec};
use kube_devops_runtime::clock::Now;
use kube_devops_runtime::store::Store;

use super::{AuditList, Operator};
use crate::reconcile::policy::Policy;
use crate::reconcile::rules::Rules;

impl Store for Operator {
    type Object = WatchedPolicy;

    fn set(&mut self, object: WatchedPolicy) -> (ObjectKey, bool) {
        let key = Self::key(&object);
        let (object, unreadable) = lenient::policy(object);
        if self.policies.get(&key).is_some_and(|known| known.is_other(&object)) {
            self.remove(&key);
        }
        let rules = || match &unreadable {
            Some(reason) => {
                tracing::warn!(policy = %key, "the policy is not evaluated: {}", unreadable_spec(reason));
                Rules::Unreadable(reason.clone())
            }
            None => Rules::of(&object, &self.checks, &self.options.system),
        };
        match self.policies.get_mut(&key) {
            Some(known) => {
                let rules = known.needs_rules(&object, unreadable.as_deref()).then(rules);
                known.update(object, rules);
            }
            None => {
                let rules = rules();
                let mut policy = Policy::new(object, rules, &self.options.enforce, Now::read());
                if self.audits == AuditList::Known {
                    // It was created after the list of audit results, so it has none.
                    policy.set_audits(Vec::new());
                }
                self.policies.insert(key.clone(), policy);
            }
        }
        (key, true)
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        let Some(policy) = self.policies.remove(key) else { return false };
        self.metrics.remove(key, policy.shown());
        true
    }

    fn key(policy: &WatchedPolicy) -> ObjectKey {
        ObjectKey::of(&policy.metadata)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.policies.keys().cloned().collect()
    }
}
