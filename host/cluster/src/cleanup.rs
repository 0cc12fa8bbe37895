//! The removal of what the components created, after they were removed themselves.

use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::crd::DevOpsPolicy;
use crate::finalizer;
use crate::key::ObjectKey;
use crate::metadata;
use crate::permissions::ObjectNames;
use crate::{ClusterError, is_not_served};

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

/// Removes the finalizers of policies, with which policies and their namespaces could not be deleted, and the Leases and the
/// certificate of the components. Returns a description of each removed object.
///
/// # Errors
///
/// If a request fails. What was removed before stays removed, and the next call continues.
pub async fn run(connection: &Connection, namespace: &str, names: &ObjectNames) -> Result<Vec<String>, ClusterError> {
    let mut removed = finalizers(connection).await?;
    for lease in [&names.watch_lease, &names.reconcile_lease, &names.webhook_lease] {
        removed.extend(delete::<Lease>(connection, namespace, lease).await?);
    }
    removed.extend(delete::<Secret>(connection, namespace, &names.certificate_secret).await?);
    Ok(removed)
}

async fn finalizers(connection: &Connection) -> Result<Vec<String>, ClusterError> {
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
    fn a_lease_is_held_until_it_is_released_or_expires() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
        assert_eq!(holder(&lease("operator-1", 1_799_999_990), now).as_deref(), Some("operator-1"));
        assert_eq!(holder(&lease("operator-1", 1_799_999_980), now), None);
        assert_eq!(holder(&lease("", 1_800_000_000), now), None);
        assert_eq!(holder(&Lease::default(), now), None);
    }
}
