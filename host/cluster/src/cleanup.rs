//! The removal of what the components created, after they were removed themselves.

use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::crd::DevOpsPolicy;
use crate::finalizer;
use crate::key::ObjectKey;
use crate::lenient::LenientObject;
use crate::metadata;
use crate::permissions::ObjectNames;
use crate::{ClusterError, is_not_served};

/// The labels of the Deployment of an operator, by the chart.
const OPERATOR: &str = "app.kubernetes.io/part-of=kube-devops,app.kubernetes.io/component=reconcile";

/// The period of reading the Leases.
const PERIOD: Duration = Duration::from_secs(1);

/// Waits until no component holds its Lease. Returns a description of those that still do after `wait`.
///
/// # Errors
///
/// If a request fails.
pub async fn wait_for_components(
    connection: &Connection,
    namespace: &str,
    names: &ObjectNames,
    wait: Duration,
) -> Result<Vec<String>, ClusterError> {
    let deadline = Instant::now() + wait;
    let leases: Api<Lease> = Api::namespaced(connection.client.clone(), namespace);
    loop {
        let mut held = Vec::new();
        for name in [&names.watch_lease, &names.reconcile_lease, &names.webhook_lease] {
            let lease = leases.get_opt(name).await;
            let lease = lease.map_err(|error| connection.error(error, &format!("get lease/{name} in {namespace}")))?;
            let holder = lease.and_then(|lease| holder(&lease, Utc::now()));
            held.extend(holder.map(|holder| format!("lease/{name} is held by {holder}")));
        }
        if held.is_empty() || Instant::now() >= deadline {
            return Ok(held);
        }
        sleep(PERIOD).await;
    }
}

/// The holder of a Lease that has not expired.
fn holder(lease: &Lease, now: DateTime<Utc>) -> Option<String> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let expiry = spec.renew_time.as_ref()?.0.as_second() + i64::from(spec.lease_duration_seconds.unwrap_or(0));
    (now.timestamp() < expiry).then_some(holder)
}

/// Finds the operators of other installations that are running, whose rollouts the finalizers of policies protect. Returns a description
/// of each, with its namespace. An operator that was started without the chart is not found.
///
/// # Errors
///
/// If a request fails.
pub async fn other_operators(
    connection: &Connection,
    namespace: &str,
    names: &ObjectNames,
) -> Result<Vec<String>, ClusterError> {
    let deployments: Api<LenientObject<Replicas, Replicas>> =
        Api::all_with(connection.client.clone(), &ApiResource::erase::<Deployment>(&()));
    let found = deployments.list(&ListParams::default().labels(OPERATOR)).await;
    let found = found.map_err(|error| connection.error(error, "list deployments"))?;
    let running = found.items.iter().filter(|deployment| {
        let status = deployment.status.as_ref().and_then(|status| status.0.as_ref().ok());
        is_running(deployment.spec.0.as_ref().ok(), status)
    });
    let keys = running.map(|deployment| ObjectKey::of(&deployment.metadata));
    let is_own = |key: &ObjectKey| *key.namespace == *namespace && *key.name == *names.reconcile_lease;
    let others = keys.filter(|key| !is_own(key));
    Ok(others.map(|ObjectKey { namespace, name }| format!("deployment/{name} in {namespace}")).collect())
}

/// The wanted or the existing number of pods of a Deployment.
#[derive(Debug, Clone, Deserialize)]
struct Replicas {
    replicas: Option<i32>,
}

/// Whether a Deployment has pods, or is about to.
fn is_running(spec: Option<&Replicas>, status: Option<&Replicas>) -> bool {
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let existing = status.and_then(|status| status.replicas).unwrap_or(0);
    wanted > 0 || existing > 0
}

/// Removes the Leases and the certificate of the components. Returns a description of each removed object.
///
/// # Errors
///
/// If a request fails. What was removed before stays removed, and the next call continues.
pub async fn objects(
    connection: &Connection,
    namespace: &str,
    names: &ObjectNames,
) -> Result<Vec<String>, ClusterError> {
    let mut removed = Vec::new();
    for lease in [&names.watch_lease, &names.reconcile_lease, &names.webhook_lease] {
        removed.extend(delete::<Lease>(connection, namespace, lease).await?);
    }
    removed.extend(delete::<Secret>(connection, namespace, &names.certificate_secret).await?);
    Ok(removed)
}

/// Removes the finalizers of policies, with which policies and their namespaces could not be deleted. Returns a description of each.
///
/// # Errors
///
/// If a request fails. What was removed before stays removed, and the next call continues.
pub async fn finalizers(connection: &Connection) -> Result<Vec<String>, ClusterError> {
    let policies: Api<DevOpsPolicy> = Api::all(connection.client.clone());
    let found = match metadata::list(&policies).await {
        Ok(found) => found,
        // The custom resources are not installed.
        Err(kube::Error::Api(status)) if is_not_served(&status) => return Ok(Vec::new()),
        Err(error) => return Err(connection.error(error, "list DevOpsPolicies")),
    };
    let mut removed = Vec::new();
    for policy in found.iter().filter(|policy| finalizer::is_set(&policy.metadata)) {
        let ObjectKey { namespace, name } = ObjectKey::of(&policy.metadata);
        let others = finalizer::others(&policy.metadata);
        match finalizer::replace(&connection.client, &policy.metadata, &others).await {
            Ok(()) => removed.push(format!("finalizer of devopspolicy/{name} in {namespace}")),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                let what = format!("remove the finalizer of devopspolicy/{name} in {namespace}");
                return Err(connection.error(error, &what));
            }
        }
    }
    Ok(removed)
}

/// Deletes an object, if it exists.
async fn delete<K>(connection: &Connection, namespace: &str, name: &str) -> Result<Option<String>, ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let object = format!("{}/{name}", K::kind(&()).to_lowercase());
    let api: Api<K> = Api::namespaced(connection.client.clone(), namespace);
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(Some(format!("{object} in {namespace}"))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(connection.error(error, &format!("delete {object} in {namespace}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Lease {
        let time = DateTime::from_timestamp(renewed, 0).unwrap_or_default().to_rfc3339();
        let spec = json!({ "holderIdentity": holder, "renewTime": time, "leaseDurationSeconds": 15 });
        serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap_or_default()
    }

    #[test]
    fn a_deployment_that_is_scaled_to_zero_is_not_running() {
        let is_running = |wanted: Option<i32>, existing: Option<i32>| {
            is_running(Some(&Replicas { replicas: wanted }), Some(&Replicas { replicas: existing }))
        };
        assert!(is_running(Some(2), Some(2)));
        assert!(is_running(Some(2), None), "its pods are about to start");
        assert!(is_running(Some(0), Some(1)), "its last pod is stopping");
        assert!(is_running(None, None), "the default is one");
        assert!(!is_running(Some(0), None));
    }

    #[test]
    fn a_lease_is_held_until_it_is_released_or_expires() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
        assert_eq!(holder(&lease("operator-1", 1_799_999_990), now).as_deref(), Some("operator-1"));
        assert_eq!(holder(&lease("operator-1", 1_799_999_980), now), None);
        assert_eq!(holder(&lease("", 1_800_000_000), now), None);
        assert_eq!(holder(&Lease::default(), now), None);
    }
}
