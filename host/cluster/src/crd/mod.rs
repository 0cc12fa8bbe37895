//! The custom resources of the group `devops.stochastic.io`.
// Two columns of one type are no mistake.
#![allow(clippy::duplicated_attributes)]

mod audit_result;
pub(crate) mod bounds;
mod check_rule;
pub mod condition;
mod devops_policy;
mod policy_module;
mod policy_rules;
mod settings;
pub(crate) mod stored;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use audit_result::{AuditedViolation, PolicyAuditResult, PolicyAuditResultSpec};
pub use check_rule::CheckRule;
pub use devops_policy::{
    DefaultProbe, DefaultResources, DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus, EnforcementMode,
    SeverityOverrides, WorkloadState, WorkloadStatus,
};

pub use policy_module::{
    ConfigMapSource, Grant, ModuleSource, OciSource, PolicyModule, PolicyModuleSpec, PolicyModuleStatus,
    ResolvedSource, Verification,
};

/// The API group of the custom resources.
pub const GROUP: &str = "devops.stochastic.io";

/// The annotation of a policy that tests the way to the webhook, which denies it.
pub const INSTALLATION_CHECK: &str = "devops.stochastic.io/installation-check";

/// All custom resources.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [DevOpsPolicy::crd(), PolicyAuditResult::crd(), PolicyModule::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_custom_resources_are_of_the_group() {
        assert!(definitions().iter().all(|definition| definition.spec.group == GROUP));
    }
}
