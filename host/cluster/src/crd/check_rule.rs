//! A check that a policy enables by its id.

use kube_devops_core::Severity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::settings;

/// The pattern of the id of a check and of the name of a bundle.
pub const NAME: &str = "^[a-z0-9]+(-[a-z0-9]+)*$";

/// A check of a policy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckRule {
    /// The id of the check.
    #[schemars(regex(pattern = NAME), length(min = 1, max = 63))]
    pub check: String,
    /// The settings, which the check validates. Default: those of the check.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "settings")]
    #[schemars(schema_with = "settings_schema")]
    pub settings: Option<Value>,
    /// The severity of its violations. Default: that of the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The cost of a violation in the health score. Default: that of the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<i32>,
}

/// The schema of settings: any object. The check validates it.
fn settings_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
