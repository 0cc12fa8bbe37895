//! The changes that the API server makes to a custom resource before it validates it.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use serde_json::{Map, Value};

/// Returns a value as the API server reads it: a field that is null and must not be is omitted, or has its default, and a
/// number without a fraction is an integer.
///
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting-and-nullable>
pub fn as_stored(schema: &JSONSchemaProps, mut value: Value) -> Value {
    replace_nulls(schema, &mut value);
    replace_whole_floats(&mut value);
    value
}

fn replace_nulls(schema: &JSONSchemaProps, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema.properties.iter().flat_map(BTreeMap::iter) {
                replace_null(schema, name, fields);
                if let Some(value) = fields.get_mut(name) {
                    replace_nulls(schema, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return };
            items.iter_mut().for_each(|item| replace_nulls(schema, item));
        }
        _ => {}
    }
}

fn replace_null(schema: &JSONSchemaProps, name: &str, fields: &mut Map<String, Value>) {
    if schema.nullable == Some(true) || !fields.get(name).is_some_and(Value::is_null) {
        return;
    }
    match &schema.default {
        Some(default) => drop(fields.insert(name.to_owned(), default.0.clone())),
        None => drop(fields.remove(name)),
    }
}

/// Replaces the numbers without a fraction by integers.
pub fn replace_whole_floats(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            // Larger numbers are not integers of any field.
            const MOST: f64 = (1_u64 << 53) as f64;
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= MOST) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_whole_floats),
        Value::Object(fields) => fields.values_mut().for_each(replace_whole_floats),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(value: Value) -> Value {
        let object = |properties: Value| json!({ "type": "object", "properties": properties });
        let schema = object(json!({
            "mode": { "type": "string", "default": "audit" },
            "count": { "type": "integer", "nullable": true },
            "list": { "type": "array", "items": object(json!({ "name": { "type": "string" } })) },
            "settings": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        }));
        as_stored(&serde_json::from_value(schema).unwrap(), value)
    }

    #[test]
    fn a_null_is_omitted_or_has_its_default_unless_it_is_allowed() {
        assert_eq!(stored(json!({ "mode": null, "list": null, "settings": null })), json!({ "mode": "audit" }));
        assert_eq!(stored(json!({ "count": null, "other": null })), json!({ "count": null, "other": null }));
        assert_eq!(stored(json!({ "list": [{ "name": null }, null] })), json!({ "list": [{}, null] }));
        assert_eq!(stored(json!({ "settings": { "a": null } })), json!({ "settings": { "a": null } }));
        assert_eq!(stored(json!({ "mode": "enforce" })), json!({ "mode": "enforce" }));
        assert_eq!(stored(json!(null)), json!(null));
    }

    #[test]
    fn numbers_without_a_fraction_are_integers() {
        let numbers = json!({ "count": 3.0, "settings": { "list": [1e3, -0.0, 2.5, 1e300, "3.0"] } });
        let expected = json!({ "count": 3, "settings": { "list": [1000, 0, 2.5, 1e300, "3.0"] } });
        assert_eq!(stored(numbers), expected);
    }
}
