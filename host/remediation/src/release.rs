//! The removal of all added fields of a workload, on request of a user.

use kube_devops_cluster::ClusterError;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::crd::GROUP;
use serde_json::Value;

use super::added::added;
use super::job::{Rejection, WorkloadKey};
use super::plan::{self, has_annotations};
use super::requests::{api, get, merge, revert};

/// The number of attempts if other clients change the workload at the same time.
const ATTEMPTS: usize = 5;
/// The reason that users see in the status of a policy.
const REASON: &str = "released by `kube-devops release`";

/// The result of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// The fields that were removed, per container, such as `container app: livenessProbe`.
    Fields(Vec<String>),
    /// No field was removed, because other clients have set all added fields since: only the annotations were.
    Annotations,
    /// The workload has no added fields.
    Nothing,
    /// There is no such workload.
    NotFound,
}

/// Removes all added fields of a workload, with the annotations of their patches. The operator adds them again only after another client
/// has changed the pod template.
///
/// # Errors
///
/// If a request fails or is denied.
pub async fn release(connection: &Connection, namespace: &str, key: &WorkloadKey) -> Result<Released, ClusterError> {
    let api = api(&connection.client, namespace, &key.kind);
    let what = format!("release {} {}", key.kind, key.name);
    let failed = |reason: String| ClusterError::Request { what: what.clone(), reason };
    for _ in 0..ATTEMPTS {
        let workload = get(&api, &key.name).await.map_err(|error| connection.error(error, &what))?;
        let Some(workload) = workload else { return Ok(Released::NotFound) };
        let added = lines(&workload);
        let (removed, released) = if !added.is_empty() {
            (revert(&api, &key.name, &workload, REASON).await, Released::Fields(added))
        } else if let Some(patch) = plan::abandon(&workload) {
            // Without annotations, only the ownership of fields is left, by which a container could not be removed.
            let released = if has_annotations(&workload) { Released::Annotations } else { Released::Nothing };
            (merge(&api, &key.name, &patch).await.map(|result| result.map(drop)), released)
        } else {
            return Ok(Released::Nothing);
        };
        match removed.map_err(|error| connection.error(error, &what))? {
            Ok(()) => return Ok(released),
            Err(Rejection::Changed) => {}
            Err(Rejection::Gone) => return Ok(Released::NotFound),
            Err(Rejection::Denied(reason)) => return Err(failed(denied(&reason))),
            Err(Rejection::Conflict(reason) | Rejection::Invalid(reason)) => return Err(failed(reason)),
        }
    }
    Err(failed("it is changed by other clients all the time; try again".to_owned()))
}

/// The reason of a denial, and what to do if it is that of a policy which requires the added fields.
fn denied(reason: &str) -> String {
    let hint = if reason.contains(GROUP) {
        "\nFix: a policy of the namespace requires these fields. Delete it, switch these checks off, or set --deny-severity none of the \
         webhook, and release the workload again"
    } else {
        ""
    };
    format!("{reason}{hint}")
}

/// The added fields, per container.
fn lines(workload: &Value) -> Vec<String> {
    let line = |container: &Value| {
        let fields = container.as_object()?.keys().filter(|key| *key != "name");
        let fields = fields.map(String::as_str).collect::<Vec<_>>().join(", ");
        let name = container["name"].as_str().unwrap_or_default();
        Some(format!("container {name}: {fields}"))
    };
    added(workload).iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::added::ADDED_FIELDS;
    use super::*;

    #[test]
    fn a_denial_by_a_policy_says_what_to_do() {
        let own = "admission webhook \"workloads.devops.stochastic.io\" denied the request: 1 violation";
        assert!(denied(own).contains("Fix: a policy of the namespace requires these fields"), "{}", denied(own));
        assert_eq!(denied("exceeded quota"), "exceeded quota");
    }

    #[test]
    fn the_added_fields_are_listed_per_container() {
        let fields = json!({
            "k:{\"name\":\"app\"}": {
                "f:name": {}, "f:livenessProbe": { "f:tcpSocket": { "f:port": {} } },
                "f:resources": { "f:limits": { "f:cpu": {} } },
            },
            "k:{\"name\":\"untouched\"}": { "f:name": {} },
        });
        let workload = |annotation: &str| {
            json!({
                "metadata": { "annotations": { annotation: fields.to_string() } },
                "spec": { "template": { "spec": { "containers": [
                    {
                        "name": "app", "livenessProbe": { "tcpSocket": { "port": 80 } },
                        "readinessProbe": { "tcpSocket": { "port": 80 } }, "resources": { "limits": { "cpu": "1" } },
                    },
                    { "name": "untouched" },
                ] } } },
            })
        };
        assert_eq!(lines(&workload(ADDED_FIELDS)), ["container app: livenessProbe, resources"]);
        assert_eq!(lines(&workload("other")), Vec::<String>::new());
    }
}
