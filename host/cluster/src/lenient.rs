//! Objects of a watch of which one that cannot be parsed must not prevent the others from being read.

use kube::api::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::crd::{DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus};

/// A part of an object, or the reason why it is malformed.
#[derive(Debug, Clone)]
pub struct Lenient<T>(pub Result<T, String>);

impl<T: DeserializeOwned> Lenient<T> {
    /// Reads a part of an object.
    pub fn of(value: &Value) -> Self {
        Self(T::deserialize(value).map_err(|error| error.to_string()))
    }
}

impl<T: Default> Default for Lenient<T> {
    fn default() -> Self {
        Self(Ok(T::default()))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Value::deserialize(deserializer)?))
    }
}

/// A policy of a watch.
pub type WatchedPolicy = kube::core::Object<Lenient<DevOpsPolicySpec>, Lenient<DevOpsPolicyStatus>>;

/// Watches all policies. Interruptions are errors of the stream, which continues after a backoff.
pub fn watch_policies(
    client: &Client,
) -> impl futures::Stream<Item = Result<watcher::Event<WatchedPolicy>, watcher::Error>> + use<> {
    let resource = ApiResource::erase::<DevOpsPolicy>(&());
    let api: Api<WatchedPolicy> = Api::all_with(client.clone(), &resource);
    watcher(api, watcher::Config::default()).default_backoff()
}

/// Returns the policy.
///
/// # Errors
///
/// If its spec is malformed. A malformed status is the same as none, and will be replaced.
pub fn policy(watched: WatchedPolicy) -> Result<DevOpsPolicy, String> {
    let WatchedPolicy { metadata, spec, status, .. } = watched;
    Ok(DevOpsPolicy { metadata, spec: spec.0?, status: status.and_then(|status| status.0.ok()) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn watched(spec: Value, status: Value) -> WatchedPolicy {
        serde_json::from_value(json!({ "metadata": { "name": "strict" }, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn a_malformed_spec_is_an_error_of_the_object_and_a_malformed_status_is_none() {
        let valid = policy(watched(json!({ "forbidLatestTag": true }), json!({ "healthScore": 95 }))).unwrap();
        assert_eq!(valid.status.and_then(|status| status.health_score), Some(95));
        let newer = watched(json!({ "enforcementMode": "a mode of a later version" }), Value::Null);
        assert_eq!(newer.metadata.name.as_deref(), Some("strict"));
        assert!(policy(newer).unwrap_err().contains("a mode of a later version"));
        let status = policy(watched(json!({}), json!({ "workloads": 5 }))).unwrap().status;
        assert!(status.is_none());
    }
}
