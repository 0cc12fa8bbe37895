//! Whether the metadata of an object have the types that Kubernetes gives them.
//!
//! kubectl reads no object of any kind whose metadata have others, but for the items of a `List`:
//! <https://github.com/kubernetes/cli-runtime/blob/v0.37.2/pkg/resource/metadata_decoder.go>.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::tree::Item;
use crate::values::{self, ValueError};

/// What is wrong with the metadata of an object.
pub(crate) fn check(object: Item<'_>) -> Result<(), ValueError> {
    match object.get("metadata") {
        Some(metadata) if !metadata.is_null() => values::read::<ObjectMeta>(metadata).map(drop),
        _ => Ok(()),
    }
}

/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectMeta {
    name: Option<Text>,
    generate_name: Option<Text>,
    namespace: Option<Text>,
    self_link: Option<Text>,
    uid: Option<Text>,
    resource_version: Option<Text>,
    generation: Option<i64>,
    creation_timestamp: Option<DateTime<Utc>>,
    deletion_timestamp: Option<DateTime<Utc>>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<Texts>,
    annotations: Option<Texts>,
    owner_references: Option<Vec<Option<OwnerReference>>>,
    finalizers: Option<Vec<Option<Text>>>,
    managed_fields: Option<Vec<Option<ManagedFieldsEntry>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnerReference {
    api_version: Option<Text>,
    kind: Option<Text>,
    name: Option<Text>,
    uid: Option<Text>,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ManagedFieldsEntry {
    manager: Option<Text>,
    operation: Option<Text>,
    api_version: Option<Text>,
    time: Option<DateTime<Utc>>,
    fields_type: Option<Text>,
    subresource: Option<Text>,
}

/// A text, which is not kept.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A map of texts, which are not kept.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                while map.next_entry::<IgnoredAny, Option<Text>>()?.is_some() {}
                Ok(Texts)
            }
        }

        deserializer.deserialize_map(TextsVisitor)
    }
}
