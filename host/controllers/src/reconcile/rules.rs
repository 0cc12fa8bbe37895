//! The rules of a policy in the operator.

use std::sync::Arc;

use kube::ResourceExt;
use kube_devops_cluster::crd::DevOpsPolicy;
use kube_devops_cluster::policies;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::{Ledger, SystemNamespaces};
use kube_devops_engine::Checks;
use tokio::task::block_in_place;

use super::found::Found;
use super::status::PolicyState;

/// The rules of a policy.
#[derive(Clone)]
pub enum Rules {
    /// Rules to evaluate.
    Valid(Arc<dyn PolicyRules>),
    /// A check rejects its settings, or does not exist; with the message.
    Invalid(String),
    /// A check crashed, or ran out of time or memory; with the message. Another attempt may succeed.
    Failed(String),
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
        match block_in_place(|| policies::rules(&object.name_any(), &object.spec, checks)) {
            Ok(rules) => Self::Valid(Arc::new(rules)),
            Err(error) if error.is_temporary() => Self::Failed(error.to_string()),
            Err(error) => Self::Invalid(error.to_string()),
        }
    }

    /// The evaluations by valid rules.
    pub fn found<'a>(&'a self, ledger: &'a Ledger) -> Option<Found<'a>> {
        let Self::Valid(rules) = self else { return None };
        Some(Found { ledger, missing: rules.missing() })
    }

    /// The state of the policy, with its evaluations.
    pub fn state<'a>(&'a self, ledger: &'a Ledger) -> PolicyState<'a> {
        match self {
            Self::Valid(rules) => PolicyState::Evaluated(Found { ledger, missing: rules.missing() }),
            Self::Invalid(reason) | Self::Failed(reason) => PolicyState::Invalid(reason),
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
        matches!(self, Self::Valid(rules) if rules.needs().objects)
    }
}
