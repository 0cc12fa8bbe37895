//! The removal of what the components created, after they were removed themselves.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
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

/// The longest observation of a Lease. Its duration is what its holder has written, and operators have 15 seconds.
const MAX_OBSERVATION: Duration = Duration::from_secs(60);
/// The period of reading the Leases.
const PERIOD: Duration = Duration::from_secs(1);

/// Waits until no component holds its Lease. Returns a description of those that still do after `wait`.
///
/// A component renews its Lease. Whether it does is observed, for at most the lease duration and a minute: the clock of its machine may
/// differ.
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
    let latest = Instant::now() + MAX_OBSERVATION;
    let leases: Api<Lease> = Api::namespaced(connection.client.clone(), namespace);
    let mut observed =
        [&names.watch_lease, &names.reconcile_lease, &names.webhook_lease].map(|name| (name, Renewals::default()));
    loop {
        let mut held = Vec::new();
        let mut is_known = true;
        for (name, renewals) in &mut observed {
            let lease = leases.get_opt(name).await;
            let lease = lease.map_err(|error| connection.error(error, &format!("get lease/{name} in {namespace}")))?;
            if let Some(holder) = renewals.holder(lease.and_then(|lease| lease.spec), Instant::now()) {
                is_known &= renewals.is_renewed;
                held.push(format!("lease/{name} is held by {holder}"));
            }
        }
        if held.is_empty() || Instant::now() >= if is_known { deadline } else { deadline.max(latest) } {
            return Ok(held);
        }
        sleep(PERIOD).await;
    }
}

/// The renewals of a Lease, as they are observed.
#[derive(Default)]
struct Renewals {
    /// The Lease, and since when it is like this.
    last: Option<(LeaseSpec, Instant)>,
    /// Whether the Lease was renewed while it was observed.
    is_renewed: bool,
}

impl Renewals {
    /// The holder of a Lease, unless it was not renewed for as long as the lease duration.
    fn holder(&mut self, lease: Option<LeaseSpec>, now: Instant) -> Option<String> {
        let lease = lease?;
        let holder = lease.holder_identity.clone().filter(|holder| !holder.is_empty())?;
        let duration = Duration::from_secs(lease.lease_duration_seconds.unwrap_or(0).try_into().unwrap_or(0));
        let since = match &self.last {
            Some((last, since)) if *last == lease => *since,
            last => {
                self.is_renewed |= last.is_some();
                self.last = Some((lease, now));
                now
            }
        };
        (now.saturating_duration_since(since) < duration).then_some(holder)
    }
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
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Option<LeaseSpec> {
        let time = DateTime::from_timestamp(renewed, 0).unwrap_or_default().to_rfc3339();
        let spec = json!({ "holderIdentity": holder, "renewTime": time, "leaseDurationSeconds": 15 });
        serde_json::from_value(spec).ok()
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
    fn a_lease_is_held_until_it_is_released_or_no_longer_renewed_by_any_clock() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for renewed in [0, 1_800_000_000, 9_000_000_000] {
            let mut renewals = Renewals::default();
            let mut holder = |lease, seconds| {
                let holder = renewals.holder(lease, after(seconds));
                (holder.is_some(), renewals.is_renewed)
            };
            assert_eq!(holder(lease("operator-1", renewed), 0), (true, false));
            assert_eq!(holder(lease("operator-1", renewed), 14), (true, false));
            assert_eq!(holder(lease("operator-1", renewed + 2), 15), (true, true));
            assert_eq!(holder(lease("operator-1", renewed + 2), 29), (true, true));
            assert_eq!(holder(lease("operator-1", renewed + 2), 30), (false, true));
            assert_eq!(holder(lease("operator-2", renewed + 2), 31), (true, true), "another replica");
            assert_eq!(holder(lease("", renewed), 32), (false, true));
        }
        let mut renewals = Renewals::default();
        assert_eq!(renewals.holder(lease("operator-1", 0), start).as_deref(), Some("operator-1"));
        assert_eq!(renewals.holder(None, start), None);
        assert_eq!(renewals.holder(Some(LeaseSpec::default()), start), None);
    }
}
