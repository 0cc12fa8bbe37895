//! The workloads that keep added fields after the operator was removed.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::ObjectMeta;
use kube::{Api, Resource};
use kube_devops_cluster::ClusterError;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::metadata;

use super::job::WorkloadKey;
use super::plan::{PATCHED_BY, ROLLING_OUT};

/// A workload with added fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchedWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its kind and name.
    pub key: WorkloadKey,
    /// Whether the rollout of its patch is not complete. Without an operator, nothing reverts it if it fails.
    pub is_rolling_out: bool,
}

/// Lists the workloads that the operator has patched, in all namespaces.
///
/// # Errors
///
/// If a request fails.
pub async fn patched_workloads(connection: &Connection) -> Result<Vec<PatchedWorkload>, ClusterError> {
    let mut found = list::<Deployment>(connection).await?;
    found.extend(list::<StatefulSet>(connection).await?);
    found.extend(list::<DaemonSet>(connection).await?);
    Ok(found)
}

async fn list<K: Resource<DynamicType = ()> + Clone>(
    connection: &Connection,
) -> Result<Vec<PatchedWorkload>, ClusterError> {
    let api: Api<K> = Api::all(connection.client.clone());
    let found = metadata::list(&api).await;
    let found = found.map_err(|error| connection.error(error, &format!("list {}", K::plural(&()))))?;
    Ok(found.iter().filter_map(|workload| patched(&K::kind(&()), &workload.metadata)).collect())
}

fn patched(kind: &str, metadata: &ObjectMeta) -> Option<PatchedWorkload> {
    let annotations = metadata.annotations.as_ref()?;
    let is_rolling_out = annotations.contains_key(ROLLING_OUT);
    let ObjectKey { namespace, name } = ObjectKey::of(metadata);
    let key = WorkloadKey { kind: kind.to_owned(), name: name.to_string() };
    let workload = PatchedWorkload { namespace: namespace.to_string(), key, is_rolling_out };
    (is_rolling_out || annotations.contains_key(PATCHED_BY)).then_some(workload)
}

#[cfg(test)]
mod tests {
    use super::super::plan::REVERTED;
    use super::*;

    #[test]
    fn workloads_with_added_fields_are_found_and_reverted_ones_are_not() {
        let with = |annotations: &[&str]| {
            let annotations = annotations.iter().map(|name| ((*name).to_owned(), "a".to_owned()));
            let metadata = ObjectMeta {
                name: Some("web".to_owned()),
                namespace: Some("shop".to_owned()),
                annotations: Some(annotations.collect()),
                ..ObjectMeta::default()
            };
            patched("Deployment", &metadata).map(|found| (found.namespace, found.key.name, found.is_rolling_out))
        };
        let found = |is_rolling_out| Some(("shop".to_owned(), "web".to_owned(), is_rolling_out));
        assert_eq!(with(&[PATCHED_BY]), found(false));
        assert_eq!(with(&[PATCHED_BY, ROLLING_OUT]), found(true));
        assert_eq!(with(&[ROLLING_OUT]), found(true));
        assert_eq!(with(&[REVERTED]), None);
        assert_eq!(patched("Deployment", &ObjectMeta::default()), None);
    }
}
