//! The custom resources of the group `devops.stochastic.io`.
// Two columns of one type are no mistake.
#![allow(clippy::duplicated_attributes)]

mod audit_result;
pub mod condition;
mod devops_policy;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use audit_result::{AuditedViolation, PolicyAuditResult, PolicyAuditResultSpec};
pub use devops_policy::{
    DefaultProbe, DefaultResources, DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus, EnforcementMode,
    SeverityOverrides, WorkloadState, WorkloadStatus,
};

/// All custom resources.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [DevOpsPolicy::crd(), PolicyAuditResult::crd()]
}
