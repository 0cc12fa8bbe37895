//! The server-side apply of policies, and its dry run.

use kube::api::{DynamicObject, PatchParams, ValidationDirective};
use kube::{Api, Error};
use serde_json::Value;

use super::list::failed;
use super::{StoredKind, policies, value};
use crate::apply_patch::apply_patch;
use crate::connection::Connection;
use crate::install::ApplyOutcome;
use crate::key::ObjectKey;
use crate::{ClusterError, is_mistyped, is_not_served};

/// What corrects a stored field that has another type than in the schema.
const MISTYPED: &str = "the stored status is that of an earlier version, and the operator of this version replaces it: start the operator, \
                        and run this command again";

/// The options of an apply.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// The field manager.
    pub manager: String,
    /// Whether fields of other managers are taken over.
    pub force: bool,
    /// Whether the API server only validates the request.
    pub dry_run: bool,
}

/// The reason why a policy was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Other field managers own fields with other values. The message names the managers and the fields.
    #[error("{0}")]
    Conflict(String),
    /// The API server rejects the policy because of its content.
    #[error("{0}")]
    Invalid(String),
    /// The API server rejects the request for another reason.
    #[error("{0}")]
    Rejected(String),
    /// No policy can be applied.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The result of an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// What was changed.
    pub outcome: ApplyOutcome,
    /// Whether the policy is being deleted, which an apply does not stop.
    pub is_terminating: bool,
}

/// Applies a policy. The key names its namespace and name.
///
/// # Errors
///
/// If the API server rejects it or cannot be reached. Nothing is changed then.
pub async fn apply(
    connection: &Connection,
    key: &ObjectKey,
    policy: &Value,
    options: &ApplyOptions,
) -> Result<Applied, ApplyError> {
    let api = policies(&connection.client, &key.namespace);
    let before = stored(connection, &api, key).await?;
    let after = patch(connection, &api, key, policy, options).await?;
    let outcome = match before {
        None => ApplyOutcome::Created,
        Some(before) if is_unchanged(&before, &after, options.dry_run) => ApplyOutcome::Unchanged,
        Some(_) => ApplyOutcome::Configured,
    };
    Ok(Applied { outcome, is_terminating: is_terminating(&after) })
}

/// Whether an object is being deleted.
pub(super) fn is_terminating(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// A policy that is stored, and what an apply would store.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The stored policy.
    pub live: Option<Value>,
    /// What would be stored, with the defaults of the API server.
    pub merged: Value,
    /// Whether the stored policy is being deleted, which an apply does not stop.
    pub is_terminating: bool,
    /// The conflict without `force`.
    pub conflict: Option<String>,
}

impl Compared {
    fn new(live: Option<Value>, merged: Value, conflict: Option<String>) -> Self {
        let is_terminating = live.as_ref().is_some_and(is_terminating);
        Self { live, merged, is_terminating, conflict }
    }
}

/// Compares a policy with the stored one, by a dry run on the API server. Fields of other managers count as taken over.
///
/// # Errors
///
/// If the API server rejects the policy or cannot be reached.
pub async fn compare(
    connection: &Connection,
    key: &ObjectKey,
    policy: &Value,
    manager: &str,
) -> Result<Compared, ApplyError> {
    let api = policies(&connection.client, &key.namespace);
    let live = stored(connection, &api, key).await?;
    let mut options = ApplyOptions { manager: manager.to_owned(), force: false, dry_run: true };
    match patch(connection, &api, key, policy, &options).await {
        Err(ApplyError::Conflict(message)) => {
            options.force = true;
            let merged = patch(connection, &api, key, policy, &options).await?;
            Ok(Compared::new(live, merged, Some(message)))
        }
        merged => Ok(Compared::new(live, merged?, None)),
    }
}

async fn stored(
    connection: &Connection,
    api: &Api<DynamicObject>,
    key: &ObjectKey,
) -> Result<Option<Value>, ApplyError> {
    match api.get(&key.name).await {
        Ok(object) => value(&object, StoredKind::Policy).map(Some).map_err(|error| apply_error(connection, key, error)),
        Err(Error::Api(status)) if status.is_not_found() && !is_not_served(&status) => Ok(None),
        Err(error) => Err(apply_error(connection, key, error)),
    }
}

async fn patch(
    connection: &Connection,
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    policy: &Value,
    options: &ApplyOptions,
) -> Result<Value, ApplyError> {
    let parameters = PatchParams {
        dry_run: options.dry_run,
        force: options.force,
        field_manager: Some(options.manager.clone()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let object = async { api.patch(&key.name, &parameters, &apply_patch(policy)?).await };
    object
        .await
        .and_then(|object| value(&object, StoredKind::Policy))
        .map_err(|error| apply_error(connection, key, error))
}

fn apply_error(connection: &Connection, key: &ObjectKey, error: Error) -> ApplyError {
    let message = match &error {
        Error::Api(status) if status.code != 401 && !is_not_served(status) => status.message.clone(),
        Error::BuildRequest(error) => return ApplyError::Rejected(error.to_string()),
        _ => return failed(connection, error, &format!("apply the policy {key}")).into(),
    };
    match &error {
        Error::Api(status) if status.is_conflict() && message.starts_with("Apply failed") => {
            ApplyError::Conflict(message)
        }
        Error::Api(status) if is_mistyped(status) && message.contains(": .status") => {
            ApplyError::Rejected(format!("{message}\n{MISTYPED}"))
        }
        Error::Api(status) if matches!(status.code, 400 | 422 | 500) && !message.contains("webhook") => {
            ApplyError::Invalid(message)
        }
        _ => ApplyError::Rejected(message),
    }
}

/// Reports whether an apply changed nothing. A dry run does not set the version, so that the contents are compared.
fn is_unchanged(before: &Value, after: &Value, dry_run: bool) -> bool {
    if !dry_run {
        return before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
    }
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
            let entries = metadata.get_mut("managedFields").and_then(Value::as_array_mut);
            for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
        }
        object
    };
    content(before) == content(after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(version: &str, time: &str, count: u32) -> Value {
        json!({
            "metadata": { "resourceVersion": version, "managedFields": [{ "manager": "a", "time": time }] },
            "spec": { "maxRestartCount": count },
        })
    }

    #[test]
    fn an_apply_is_unchanged_if_the_version_is_the_same() {
        assert!(is_unchanged(&policy("1", "t", 3), &policy("1", "t", 3), false));
        assert!(!is_unchanged(&policy("1", "t", 3), &policy("2", "t", 3), false));
    }

    #[test]
    fn a_dry_run_is_unchanged_if_the_content_is_the_same() {
        assert!(is_unchanged(&policy("1", "t", 3), &policy("2", "u", 3), true));
        assert!(!is_unchanged(&policy("1", "t", 3), &policy("1", "t", 4), true));
        assert!(is_unchanged(&json!(null), &json!(null), true));
    }
}
