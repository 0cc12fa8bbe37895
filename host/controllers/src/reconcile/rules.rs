//! The rules of a policy in the operator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube_devops_cluster::crd::DevOpsPolicy;
use kube_devops_cluster::policies::{self, RulesError};
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::{Ledger, SystemNamespaces};
use kube_devops_engine::Checks;
use tokio::task::block_in_place;

use super::found::Found;
use super::status::PolicyState;

/// The time for the rules of a policy. Checks that were not called by then are called with the next attempt.
const CREATION: Duration = Duration::from_secs(1);

/// The rules of a policy.
#[derive(Clone)]
pub enum Rules {
    /// Rules to evaluate; all of the policy, unless they have errors.
    Known(Arc<dyn PolicyRules>),
    /// The spec cannot be read, with the reason: which rules it asks for is not known.
    Unreadable(String),
    /// The policy is in a system namespace, which is excluded.
    SystemNamespace,
}

impl Rules {
    /// Creates the rules of a policy. The checks are called, each of which may take a second: this occupies the thread, while other
    /// tasks, such as the endpoints and the leader election, have to run.
    pub fn of(object: &DevOpsPolicy, checks: &Checks, system: &SystemNamespaces) -> Self {
        if system.contains(&object.namespace().unwrap_or_default()) {
            return Self::SystemNamespace;
        }
        let (name, deadline) = (object.name_any(), Instant::now() + CREATION);
        Self::Known(Arc::new(block_in_place(|| policies::possible_rules(&name, &object.spec, checks, deadline, false))))
    }

    /// The rules, if all rules of the policy could be created, except those of checks that do not exist.
    pub fn valid(&self) -> Option<&Arc<dyn PolicyRules>> {
        if let Self::Known(rules) = self { Some(rules).filter(|rules| rules.errors().is_empty()) } else { None }
    }

    /// Whether another attempt to create rules may succeed: a check crashed, or ran out of time or memory, or the module of a bundle
    /// is not loaded yet.
    pub fn may_be_retried(&self) -> bool {
        matches!(self, Self::Known(rules) if rules.errors().iter().any(RulesError::is_temporary))
    }

    /// The evaluations by the rules.
    pub fn found<'a>(&'a self, ledger: &'a Ledger) -> Option<Found<'a>> {
        let Self::Known(rules) = self else { return None };
        Some(Found::by(&**rules, ledger))
    }

    /// The state of the policy, with its evaluations.
    pub fn state<'a>(&'a self, ledger: &'a Ledger) -> PolicyState<'a> {
        match self {
            Self::Known(rules) => PolicyState::Evaluated(Found::by(&**rules, ledger)),
            Self::Unreadable(reason) => PolicyState::Unreadable(reason),
            Self::SystemNamespace => PolicyState::SystemNamespace,
        }
    }

    /// The reason why the spec cannot be read.
    pub fn unreadable(&self) -> Option<&str> {
        if let Self::Unreadable(reason) = self { Some(reason) } else { None }
    }

    /// Whether they read complete objects.
    pub fn needs_objects(&self) -> bool {
        matches!(self, Self::Known(rules) if rules.needs().objects)
    }
}
