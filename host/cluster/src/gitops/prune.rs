//! The deletion of policies that an import has applied and the files do not contain any more.

use std::collections::BTreeSet;

use kube::Error;
use kube::api::{DeleteParams, ObjectMeta, Preconditions};
use serde_json::Value;

use super::apply::is_terminating;
use super::{StoredKind, policies, value};
use crate::connection::Connection;
use crate::key::ObjectKey;
use crate::managed_fields;

/// A stored policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    /// The namespace and name.
    pub key: ObjectKey,
    uid: String,
    resource_version: String,
}

/// What to delete, and what not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// The policies to delete.
    pub delete: Vec<StoredPolicy>,
    /// Imported policies that are kept, with the reason.
    pub keep: Vec<(ObjectKey, String)>,
}

/// Decides which of the stored policies are deleted: those that were applied by the field manager, are not declared, and are
/// managed by nothing else. A policy that another client manages as well may be needed by that client.
pub fn plan(stored: &[Value], declared: &BTreeSet<ObjectKey>, manager: &str) -> PrunePlan {
    let mut plan = PrunePlan::default();
    for policy in stored {
        let metadata = &policy["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let key = ObjectKey::of_value(policy);
        let is_imported = managed_fields::applied(policy, manager).is_some();
        let is_deleted = is_terminating(policy);
        if declared.contains(&key) || is_deleted || !is_imported {
            continue;
        }
        let others = other_managers(policy, manager);
        if let Some(owner) = controller(metadata) {
            plan.keep.push((key, format!("{owner} controls it")));
        } else if !others.is_empty() {
            plan.keep.push((key, format!("its spec is also managed by {}", others.join(", "))));
        } else {
            let (uid, resource_version) = (text("uid").to_owned(), text("resourceVersion").to_owned());
            plan.delete.push(StoredPolicy { key, uid, resource_version });
        }
    }
    plan
}

/// Returns the other managers of fields of the spec, as `"NAME"`.
fn other_managers(policy: &Value, manager: &str) -> Vec<String> {
    let others = managed_fields::entries(policy)
        .filter(|entry| entry["manager"] != manager && entry["fieldsV1"].get("f:spec").is_some())
        .map(|entry| format!("{:?}", entry["manager"].as_str().unwrap_or_default()));
    let others: BTreeSet<String> = others.collect();
    others.into_iter().collect()
}

fn controller(metadata: &Value) -> Option<String> {
    let owners = metadata["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    Some(format!("{} {}", text("kind"), text("name")))
}

/// The number of attempts to delete a policy whose version changes, usually by a new status.
const ATTEMPTS: usize = 3;

/// The result of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// The policy does not exist any more.
    Gone,
    /// The policy is deleted when these finalizers are removed.
    Waiting(Vec<String>),
}

/// Deletes a policy, unless another client has started to manage it after it was read.
///
/// # Errors
///
/// If the API server does not delete it, or it must be kept now.
pub async fn delete(
    connection: &Connection,
    policy: &StoredPolicy,
    manager: &str,
    dry_run: bool,
) -> Result<Deleted, String> {
    const CHANGED: &str = "it was changed after it was listed";
    let (api, key) = (policies(&connection.client, &policy.key.namespace), &policy.key);
    let mut policy = policy.clone();
    for _ in 0..ATTEMPTS {
        let preconditions =
            Preconditions { uid: Some(policy.uid.clone()), resource_version: Some(policy.resource_version.clone()) };
        let parameters = DeleteParams { dry_run, preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&key.name, &parameters).await {
            Ok(deleted) => return Ok(deleted.left().map_or(Deleted::Gone, |policy| remaining(&policy.metadata))),
            Err(Error::Api(status)) if status.is_not_found() => return Ok(Deleted::Gone),
            Err(Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(reason(connection, key, error)),
        }
        let stored = match api.get_opt(&key.name).await {
            Ok(Some(stored)) => value(&stored, StoredKind::Policy).map_err(|error| reason(connection, key, error))?,
            Ok(None) => return Ok(Deleted::Gone),
            Err(error) => return Err(reason(connection, key, error)),
        };
        match plan(&[stored], &BTreeSet::new(), manager).delete.pop() {
            Some(current) if current.uid == policy.uid => policy = current,
            _ => return Err(CHANGED.to_owned()),
        }
    }
    Err(CHANGED.to_owned())
}

/// The result of a deletion, from the metadata that the API server returned.
fn remaining(policy: &ObjectMeta) -> Deleted {
    match policy.finalizers.clone().unwrap_or_default() {
        finalizers if finalizers.is_empty() => Deleted::Gone,
        finalizers => Deleted::Waiting(finalizers),
    }
}

fn reason(connection: &Connection, key: &ObjectKey, error: Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        error => connection.error(error, &format!("delete the policy {key}")).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gitops::IMPORT_MANAGER;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({ "manager": manager, "operation": operation, "fieldsV1": fields })
    }

    fn ours() -> Value {
        entry(IMPORT_MANAGER, "Apply", json!({ "f:spec": { "f:forbidLatestTag": {} } }))
    }

    fn policy(name: &str, managed_fields: &[Value]) -> Value {
        json!({ "metadata": {
            "name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7", "managedFields": managed_fields,
        } })
    }

    fn planned(stored: &[Value]) -> (Vec<String>, Vec<String>) {
        let declared = BTreeSet::from([ObjectKey { namespace: "shop".into(), name: "declared".into() }]);
        let plan = plan(stored, &declared, IMPORT_MANAGER);
        let deleted = plan.delete.iter().map(|policy| policy.key.name.to_string()).collect();
        (deleted, plan.keep.into_iter().map(|(key, reason)| format!("{}: {reason}", key.name)).collect())
    }

    #[test]
    fn only_imported_policies_that_are_not_declared_are_deleted() {
        let kubectl = entry("kubectl-client-side-apply", "Update", json!({ "f:spec": {} }));
        let update = entry(IMPORT_MANAGER, "Update", json!({ "f:spec": {} }));
        let mut status = entry(IMPORT_MANAGER, "Apply", json!({ "f:status": {} }));
        status["subresource"] = "status".into();
        let mut deleted = policy("deleted", &[ours()]);
        deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let stored = [
            policy("declared", &[ours()]),
            policy("gone", &[ours()]),
            policy("foreign", &[kubectl]),
            policy("no-apply", &[update]),
            policy("only-status", &[status]),
            policy("unmanaged", &[]),
            deleted,
        ];
        assert_eq!(planned(&stored), (vec!["gone".to_owned()], vec![]));
    }

    #[test]
    fn policies_that_others_manage_are_kept() {
        let edited = entry("kubectl-edit", "Update", json!({ "f:spec": { "f:maxRestartCount": {} } }));
        let annotated = entry("kubectl-annotate", "Update", json!({ "f:metadata": { "f:annotations": {} } }));
        let operator = entry("kube-devops", "Apply", json!({ "f:status": {} }));
        let mut owned = policy("owned", &[ours()]);
        owned["metadata"]["ownerReferences"] = json!([{ "kind": "Tenant", "name": "shop", "controller": true }]);
        let stored = [policy("edited", &[ours(), edited]), policy("annotated", &[ours(), annotated, operator]), owned];
        let (deleted, kept) = planned(&stored);
        assert_eq!(deleted, ["annotated"]);
        let expected = ["edited: its spec is also managed by \"kubectl-edit\"", "owned: Tenant shop controls it"];
        assert_eq!(kept, expected);
    }
}
