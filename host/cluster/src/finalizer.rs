//! The finalizer of policies.

use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::crd::DevOpsPolicy;
use crate::metadata;

/// The finalizer that delays the deletion of a policy until its rollouts have ended. It is present only during rollouts, so that
/// the deletion of policies and namespaces does not depend on a running operator.
pub const FINALIZER: &str = "devops.stochastic.io/cleanup";

/// Whether a policy has the finalizer.
pub fn is_set(policy: &ObjectMeta) -> bool {
    policy.finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// The finalizers of a policy without this one.
pub fn others(policy: &ObjectMeta) -> Vec<String> {
    policy.finalizers.iter().flatten().filter(|name| *name != FINALIZER).cloned().collect()
}

/// Replaces the finalizers of a policy, unless it was changed at the same time.
///
/// # Errors
///
/// If the request fails, or the policy was changed.
pub async fn replace(client: &Client, policy: &ObjectMeta, finalizers: &[String]) -> Result<(), kube::Error> {
    let (name, namespace) = (policy.name.as_deref(), policy.namespace.as_deref());
    let policies: Api<DevOpsPolicy> = Api::namespaced(client.clone(), namespace.unwrap_or_default());
    let fields = json!({ "uid": policy.uid, "resourceVersion": policy.resource_version, "finalizers": finalizers });
    let patch = Patch::Merge(json!({ "metadata": fields }));
    metadata::patch(&policies, name.unwrap_or_default(), &PatchParams::default(), &patch).await.map(drop)
}
