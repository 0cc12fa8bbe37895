//! Validation of the types of the metadata of an object.
//!
//! kubectl rejects objects of all kinds with metadata of other types, except in the items of a `List`:
//! <https://github.com/kubernetes/cli-runtime/blob/v0.37.2/pkg/resource/metadata_decoder.go>.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::tree::Item;
use crate::values::{self, ValueError};

/// Validates the metadata of an object.
pub(crate) fn check(object: Item<'_>) -> Result<(), ValueError> {
    object.get("metadata").map_or(Ok(()), check_value)
}

/// Validates metadata.
pub(crate) fn check_value(metadata: Item<'_>) -> Result<(), ValueError> {
    if metadata.is_null() {
        return Ok(());
    }
    values::read::<ObjectMeta>(metadata).map(drop)
}

/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectMeta {
    name: Option<AnyString>,
    generate_name: Option<AnyString>,
    namespace: Option<AnyString>,
    self_link: Option<AnyString>,
    uid: Option<AnyString>,
    resource_version: Option<AnyString>,
    generation: Option<i64>,
    creation_timestamp: Option<DateTime<Utc>>,
    deletion_timestamp: Option<DateTime<Utc>>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<StringMap>,
    annotations: Option<StringMap>,
    owner_references: Option<Vec<Option<OwnerReference>>>,
    finalizers: Option<Vec<Option<AnyString>>>,
    managed_fields: Option<Vec<Option<ManagedFieldsEntry>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnerReference {
    api_version: Option<AnyString>,
    kind: Option<AnyString>,
    name: Option<AnyString>,
    uid: Option<AnyString>,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ManagedFieldsEntry {
    manager: Option<AnyString>,
    operation: Option<AnyString>,
    api_version: Option<AnyString>,
    time: Option<DateTime<Utc>>,
    fields_type: Option<AnyString>,
    subresource: Option<AnyString>,
}

/// A string, without its content.
struct AnyString;

impl<'de> Deserialize<'de> for AnyString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringVisitor;

        impl Visitor<'_> for StringVisitor {
            type Value = AnyString;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<AnyString, E> {
                Ok(AnyString)
            }
        }

        deserializer.deserialize_str(StringVisitor)
    }
}

/// A map of strings, without its content.
struct StringMap;

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringMapVisitor;

        impl<'de> Visitor<'de> for StringMapVisitor {
            type Value = StringMap;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
                while map.next_entry::<IgnoredAny, Option<AnyString>>()?.is_some() {}
                Ok(StringMap)
            }
        }

        deserializer.deserialize_map(StringMapVisitor)
    }
}
