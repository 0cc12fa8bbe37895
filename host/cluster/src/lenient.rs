//! Objects of a watch or a list of which one that cannot be parsed must not prevent the others from being read.

use std::borrow::Cow;
use std::fmt;

use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::crd::{DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus};
use crate::watch::watch_objects;

/// A part of an object, or the reason why it is malformed.
#[derive(Debug, Clone)]
pub struct Lenient<T>(pub Result<T, String>);

impl<T: DeserializeOwned> Lenient<T> {
    /// Reads a part of an object.
    pub fn of(text: &RawValue) -> Self {
        Self(serde_json::from_str(text.get()).map_err(|error| error.to_string()))
    }
}

impl<T> Lenient<T> {
    fn missing() -> Self {
        Self(Err("it is missing".to_owned()))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The extent of a value is found without recursion: one that is nested too deeply fails here alone.
        Ok(Self::of(&Box::<RawValue>::deserialize(deserializer)?))
    }
}

/// An object whose spec and status are read separately, and whose `managedFields` are not read: clients can write and nest them
/// as they like.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "P: DeserializeOwned, S: DeserializeOwned")]
pub struct LenientObject<P, S> {
    /// The metadata.
    #[serde(deserialize_with = "unmanaged")]
    pub metadata: ObjectMeta,
    /// The spec.
    #[serde(default = "Lenient::missing")]
    pub spec: Lenient<P>,
    /// The status.
    #[serde(default = "Option::default")]
    pub status: Option<Lenient<S>>,
}

impl<P, S> Resource for LenientObject<P, S> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Deserializes metadata without `managedFields`.
pub fn unmanaged<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    struct MetadataVisitor;

    impl<'de> Visitor<'de> for MetadataVisitor {
        type Value = ObjectMeta;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("metadata")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ObjectMeta, A::Error> {
            ObjectMeta::deserialize(MapAccessDeserializer::new(Unmanaged(map)))
        }
    }

    deserializer.deserialize_map(MetadataVisitor)
}

/// The fields of metadata without `managedFields`.
struct Unmanaged<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Unmanaged<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.0.next_key::<String>()? {
            if key != "managedFields" {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.0.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// A policy of a watch.
pub type WatchedPolicy = LenientObject<DevOpsPolicySpec, DevOpsPolicyStatus>;

/// Watches all policies. Interruptions are errors of the stream, which continues after a backoff.
pub fn watch_policies(
    client: &Client,
) -> impl futures::Stream<Item = Result<watcher::Event<WatchedPolicy>, watcher::Error>> + use<> {
    let resource = ApiResource::erase::<DevOpsPolicy>(&());
    let api: Api<WatchedPolicy> = Api::all_with(client.clone(), &resource);
    watch_objects(api, watcher::Config::default())
}

/// Returns the policy, and the reason why its spec cannot be read; the policy has an empty spec then. A malformed status is the same
/// as none, and will be replaced.
pub fn policy(watched: WatchedPolicy) -> (DevOpsPolicy, Option<String>) {
    let WatchedPolicy { metadata, spec, status } = watched;
    let (spec, unreadable) = match spec.0 {
        Ok(spec) => (spec, None),
        Err(reason) => (DevOpsPolicySpec::default(), Some(reason)),
    };
    (DevOpsPolicy { metadata, spec, status: status.and_then(|status| status.0.ok()) }, unreadable)
}

/// The message for users about a spec that cannot be read.
pub fn unreadable_spec(reason: &str) -> String {
    format!(
        "failed to read the spec: {reason}; correct it, or install the version of kube-devops that it is written for"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use kube_devops_engine::Limits;
    use serde_json::{Value, json};

    use super::*;

    fn watched(spec: Value, status: Value) -> WatchedPolicy {
        serde_json::from_value(json!({ "metadata": { "name": "strict" }, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn a_malformed_spec_is_an_error_of_the_object_and_a_malformed_status_is_none() {
        let status = |policy: &DevOpsPolicy| policy.status.as_ref().and_then(|status| status.health_score);
        let (valid, unreadable) = policy(watched(json!({ "forbidLatestTag": true }), json!({ "healthScore": 95 })));
        assert_eq!((status(&valid), unreadable), (Some(95), None));
        let newer = json!({ "enforcementMode": "a mode of a later version" });
        let (newer, unreadable) = policy(watched(newer, json!({ "healthScore": 95 })));
        assert_eq!((newer.metadata.name.as_deref(), status(&newer)), (Some("strict"), Some(95)));
        assert!(unreadable.unwrap().contains("a mode of a later version"));
        let (policy, unreadable) = policy(watched(json!({}), json!({ "workloads": 5 })));
        assert!(policy.status.is_none() && unreadable.is_none());
    }

    /// A policy with settings and managed fields of a depth.
    fn nested(settings: usize, managed: usize) -> String {
        let nested = |depth: usize| format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth));
        format!(
            r#"{{"apiVersion":"devops.stochastic.io/v1","kind":"DevOpsPolicy","metadata":{{"name":"deep","managedFields":[{{"time":"9999-12-31T23:59:59-12:00","fieldsV1":{}}}],"labels":{{"a":"b"}}}},"spec":{{"checks":[{{"check":"labels","settings":{}}}]}}}}"#,
            nested(managed),
            nested(settings)
        )
    }

    #[test]
    fn managed_fields_of_any_depth_are_skipped_in_lists_and_events() {
        let object = nested(1, 400);
        let list = format!(r#"{{"apiVersion":"v1","kind":"List","metadata":{{}},"items":[{object},{object}]}}"#);
        let list: ObjectList<WatchedPolicy> = serde_json::from_str(&list).unwrap();
        let event = format!(r#"{{"type":"ADDED","object":{object}}}"#);
        let WatchEvent::Added(added) = serde_json::from_str::<WatchEvent<WatchedPolicy>>(&event).unwrap() else {
            panic!("{event}");
        };
        for watched in list.items.into_iter().chain([added]) {
            let (policy, unreadable) = policy(watched);
            assert_eq!(unreadable, None);
            let label = policy.metadata.labels.as_ref().and_then(|labels| labels.get("a"));
            assert_eq!((policy.metadata.name.as_deref(), label.map(String::as_str)), (Some("deep"), Some("b")));
            assert!(policy.metadata.managed_fields.is_none());
            assert_eq!(policy.spec.checks.len(), 1);
        }
    }

    #[test]
    fn settings_that_are_nested_too_deeply_hide_no_other_check_of_their_policy() {
        let limit = Limits::default().settings_depth;
        let depth = |settings: &Value| {
            std::iter::successors(Some(settings), |value| value.get("f:a")).filter(|value| value.is_object()).count()
        };
        for (levels, remaining) in [(limit - 1, limit), (limit, limit + 1), (200, limit + 2), (9000, limit + 2)] {
            let list = format!(r#"{{"metadata":{{}},"items":[{},{}]}}"#, nested(levels, 1), nested(1, 1));
            let list: ObjectList<WatchedPolicy> = serde_json::from_str(&list).unwrap();
            let [deep, valid] = <[WatchedPolicy; 2]>::try_from(list.items).unwrap();
            let (deep, unreadable) = policy(deep);
            let settings = deep.spec.checks[0].settings.as_ref().map(depth);
            assert_eq!((unreadable, settings), (None, Some(remaining)), "the engine rejects more than {limit} levels");
            assert_eq!(policy(valid).1, None);
        }
    }

    #[test]
    fn a_missing_spec_is_an_error_of_the_object() {
        let watched: WatchedPolicy = serde_json::from_str(r#"{"metadata":{"name":"empty"}}"#).unwrap();
        assert_eq!(policy(watched).1.as_deref(), Some("it is missing"));
    }
}
