//! Whether an installed custom resource definition has everything that the one of this program has.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// What a schema must also have, whatever its value is: a later definition may have another one.
const CONSTRAINTS: [&str; 9] = [
    "default",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "x-kubernetes-list-type",
];

/// What a schema must also allow.
const ALLOWANCES: [&str; 2] = ["nullable", "x-kubernetes-preserve-unknown-fields"];

/// The first thing of a definition that the installed one does not have, such as `spec.grants is missing`. API servers drop fields
/// that they do not know without an error, and store values that break rules which they do not know. A later definition has all
/// fields, types, values and constraints, and as many rules, so that it is not outdated.
pub fn outdated(definition: &CustomResourceDefinition, installed: &CustomResourceDefinition) -> Option<String> {
    definition.spec.versions.iter().find_map(|version| {
        let Some(found) = installed.spec.versions.iter().find(|found| found.name == version.name && found.served)
        else {
            return Some(format!("the version {} is missing", version.name));
        };
        let has_status =
            |subresources: &Option<_>| serde_json::to_value(subresources).unwrap_or_default()["status"] != Value::Null;
        if has_status(&version.subresources) && !has_status(&found.subresources) {
            return Some("the subresource status is missing".to_owned());
        }
        let [expected, found] =
            [version, found].map(|version| serde_json::to_value(&version.schema).unwrap_or_default());
        of_schema(&expected["openAPIV3Schema"], &found["openAPIV3Schema"], "")
    })
}

/// The first thing of a schema that another one does not have.
fn of_schema(expected: &Value, found: &Value, path: &str) -> Option<String> {
    let field = if path.is_empty() { "the object" } else { path };
    if let Some(lacking) = of_field(expected, found) {
        return Some(format!("{field} {lacking}"));
    }
    for (name, property) in expected["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(found) = found["properties"].get(name) else { return Some(format!("{path} is missing")) };
        if let Some(lacking) = of_schema(property, found, &path) {
            return Some(lacking);
        }
    }
    let below = [("items", "[]"), ("additionalProperties", ".*")];
    below.into_iter().find_map(|(below, suffix)| {
        expected.get(below).and_then(|expected| of_schema(expected, &found[below], &format!("{path}{suffix}")))
    })
}

/// The first thing of the schema of a field, without the fields below, that another one does not have.
fn of_field(expected: &Value, found: &Value) -> Option<String> {
    if let Some(kind) = expected["type"].as_str()
        && found["type"] != kind
    {
        let other = found["type"].as_str().unwrap_or("unknown");
        return Some(format!("has the type {other} instead of {kind}"));
    }
    if let Some(key) = ALLOWANCES.into_iter().find(|key| expected[*key] == true && found[*key] != true) {
        return Some(format!("is not {key}"));
    }
    if let Some(key) = CONSTRAINTS.into_iter().find(|key| !expected[*key].is_null() && found[*key].is_null()) {
        return Some(format!("has no {key}"));
    }
    let items = |schema: &Value, key: &str| schema[key].as_array().cloned().unwrap_or_default();
    if !items(expected, "enum").is_empty() && items(found, "enum").is_empty() {
        return Some("has no enum".to_owned());
    }
    for (key, what) in [("enum", "the value"), ("required", "the required field")] {
        let known: BTreeSet<String> = items(found, key).iter().map(Value::to_string).collect();
        let unknown =
            items(expected, key).into_iter().map(|value| value.to_string()).find(|value| !known.contains(value));
        if let Some(value) = unknown {
            return Some(format!("does not have {what} {value}"));
        }
    }
    let [rules, known] = [expected, found].map(|schema| items(schema, "x-kubernetes-validations").len());
    (known < rules).then(|| format!("has {known} of {rules} validation rules"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd;

    /// DevOpsPolicy after a change of a part of its schema.
    fn changed(pointer: &str, change: impl Fn(&mut Value)) -> Option<String> {
        let definition = crd::definitions()[0].clone();
        let mut installed = serde_json::to_value(&definition).unwrap();
        let schema = format!("/spec/versions/0/schema/openAPIV3Schema/properties{pointer}");
        change(installed.pointer_mut(&schema).unwrap());
        outdated(&definition, &serde_json::from_value(installed).unwrap())
    }

    fn without(pointer: &str, key: &str) -> Option<String> {
        changed(pointer, |schema| drop(schema.as_object_mut().unwrap().remove(key).unwrap()))
    }

    #[test]
    fn a_definition_without_a_field_at_any_depth_or_a_version_is_outdated() {
        for definition in crd::definitions() {
            assert_eq!(outdated(&definition, &definition), None);
            let mut other = definition.clone();
            other.spec.versions[0].name = "v0".to_owned();
            let version = &definition.spec.versions[0].name;
            assert_eq!(outdated(&definition, &other), Some(format!("the version {version} is missing")));
            other = definition.clone();
            other.spec.versions[0].subresources = None;
            let is_reported = outdated(&definition, &other).is_some();
            assert_eq!(is_reported, definition.spec.versions[0].subresources.is_some());
        }
        let leaf = json!({ "type": "string" });
        let expected = json!({ "properties": { "spec": { "properties": {
            "a": leaf,
            "list": { "items": { "properties": { "b": leaf } } },
            "map": { "additionalProperties": { "properties": { "c": leaf } } },
        } } } });
        for (pointer, name, path) in [
            ("/properties/spec/properties", "a", "spec.a"),
            ("/properties/spec/properties/list/items/properties", "b", "spec.list[].b"),
            ("/properties/spec/properties/map/additionalProperties/properties", "c", "spec.map.*.c"),
        ] {
            let mut found = expected.clone();
            found.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name);
            assert_eq!(of_schema(&expected, &found, ""), Some(format!("{path} is missing")));
        }
    }

    #[test]
    fn a_definition_with_another_type_or_without_a_value_a_bound_or_a_rule_is_outdated() {
        let of = |lacking: Option<String>| lacking.unwrap();
        let count = "/spec/properties/maxRestartCount";
        let string = |schema: &mut Value| schema["type"] = json!("string");
        assert_eq!(of(changed(count, string)), "spec.maxRestartCount has the type string instead of integer");
        assert_eq!(of(without(count, "maximum")), "spec.maxRestartCount has no maximum");
        let mode = "/spec/properties/enforcementMode";
        assert_eq!(of(without(mode, "enum")), "spec.enforcementMode has no enum");
        assert_eq!(of(without(mode, "default")), "spec.enforcementMode has no default");
        let audit = |schema: &mut Value| schema["enum"] = json!(["audit"]);
        assert_eq!(of(changed(mode, audit)), "spec.enforcementMode does not have the value \"enforce\"");
        assert_eq!(of(without("/spec", "x-kubernetes-validations")), "spec has 0 of 2 validation rules");
        let limit = "/spec/properties/defaultResources/properties/cpuLimit";
        assert_eq!(of(without(limit, "pattern")), "spec.defaultResources.cpuLimit has no pattern");
        let violations = |schema: &mut Value| *schema = json!({ "type": "integer" });
        let reason = changed("/status/properties/violations", violations);
        assert_eq!(of(reason), "status.violations has the type integer instead of array");
        assert_eq!(
            of(without("/spec/properties/checks/items", "required")),
            "spec.checks[] does not have the required field \"check\""
        );
    }

    #[test]
    fn a_later_definition_is_not_outdated() {
        let later = [
            changed("/spec/properties", |fields| fields["later"] = json!({ "type": "string" })),
            changed("/spec/properties/enforcementMode/enum", |values| {
                values.as_array_mut().unwrap().push(json!("later"))
            }),
            changed("/spec/properties/maxRestartCount", |schema| schema["maximum"] = json!(5)),
            changed("/spec/x-kubernetes-validations", |rules| {
                rules[0]["rule"] = json!("true");
                rules.as_array_mut().unwrap().push(json!({ "rule": "true" }));
            }),
        ];
        assert_eq!(later, [const { None }; 4]);
    }
}
