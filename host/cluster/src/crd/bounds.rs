//! The types and bounds in the schema of a custom resource: ranges, lengths, patterns and values.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use regex::Regex;
use serde_json::Value;

use crate::field_path::{FieldError, FieldPath};

/// Returns the violations of the types and bounds by the value of a field.
pub fn errors(schema: &JSONSchemaProps, value: &Value, field: &FieldPath) -> Vec<FieldError> {
    let mut found = Vec::new();
    add_errors(schema, value, field, &mut found);
    found
}

fn add_errors(schema: &JSONSchemaProps, value: &Value, field: &FieldPath, found: &mut Vec<FieldError>) {
    let mut add = |message: String| found.push(FieldError { field: field.clone(), message });
    if let Some(expected) = schema.type_.as_deref().filter(|expected| !has_type(value, expected)) {
        return add(format!("{value} has another type than {expected}"));
    }
    if let Some(values) = schema.enum_.as_ref().filter(|values| !values.iter().any(|known| known.0 == *value)) {
        let values: Vec<String> = values.iter().map(|known| known.0.to_string()).collect();
        return add(format!("{value} is not one of {}", values.join(", ")));
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if let Some(minimum) = schema.minimum.filter(|&minimum| number < minimum) {
                add(format!("{value} is less than the minimum of {minimum}"));
            }
            if let Some(maximum) = schema.maximum.filter(|&maximum| number > maximum) {
                add(format!("{value} is greater than the maximum of {maximum}"));
            }
        }
        Value::String(text) => {
            // Of characters, as in the API server.
            let length = length(text.chars().count());
            if let Some(least) = schema.min_length.filter(|&least| length < least) {
                add(format!("{value} is shorter than the minimum of {least} characters"));
            }
            if let Some(most) = schema.max_length.filter(|&most| length > most) {
                add(format!("{value} is longer than the maximum of {most} characters"));
            }
            if let Some(pattern) = schema.pattern.as_deref().filter(|pattern| !matches(pattern, text)) {
                add(format!("{value} does not match {pattern}"));
            }
        }
        Value::Array(items) => {
            let length = length(items.len());
            if let Some(least) = schema.min_items.filter(|&least| length < least) {
                add(format!("{length} items are less than the minimum of {least}"));
            }
            if let Some(most) = schema.max_items.filter(|&most| length > most) {
                add(format!("{length} items are more than the maximum of {most}"));
            }
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                add_errors(schema, item, &field.index(index), found);
            }
        }
        Value::Object(fields) => {
            for (name, schema) in schema.properties.iter().flat_map(BTreeMap::iter) {
                let Some(value) = fields.get(name) else { continue };
                add_errors(schema, value, &field.key(name), found);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether a value has a type of a schema. A field without a value is not set.
fn has_type(value: &Value, expected: &str) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => expected == "boolean",
        Value::Number(number) => expected == "number" || expected == "integer" && !number.is_f64(),
        Value::String(_) => expected == "string",
        Value::Array(_) => expected == "array",
        Value::Object(_) => expected == "object",
    }
}

/// A length in the type of the bounds.
fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Patterns of the API server are not anchored either. A test compiles those of the custom resources.
fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube::CustomResourceExt;
    use serde_json::json;

    use super::*;
    use crate::crd::DevOpsPolicy;

    fn of(schema: Value, value: &Value) -> Vec<String> {
        let found = errors(&serde_json::from_value(schema).unwrap(), value, &FieldPath::of("spec"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_must_have_the_type_of_the_schema() {
        let values = [json!(true), json!(1), json!(1.5), json!("1"), json!([1]), json!({ "a": 1 }), Value::Null];
        for (expected, valid) in [
            ("boolean", "true null"),
            ("integer", "1 null"),
            ("number", "1 1.5 null"),
            ("string", "\"1\" null"),
            ("array", "[1] null"),
            ("object", "{\"a\":1} null"),
        ] {
            let is_valid = |value: &&Value| of(json!({ "type": expected, "maximum": 9 }), value).is_empty();
            let found: Vec<String> = values.iter().filter(is_valid).map(Value::to_string).collect();
            assert_eq!(found.join(" "), valid);
        }
        assert_eq!(of(json!({ "type": "string" }), &json!(2)), ["spec: 2 has another type than string"]);
    }

    #[test]
    fn numbers_must_be_within_their_range() {
        let schema = || json!({ "minimum": 1.0, "maximum": 10.0 });
        for valid in [json!(1), json!(10), json!(9.5)] {
            assert!(of(schema(), &valid).is_empty(), "{valid}");
        }
        assert_eq!(of(schema(), &json!(0)), ["spec: 0 is less than the minimum of 1"]);
        assert_eq!(of(schema(), &json!(11)), ["spec: 11 is greater than the maximum of 10"]);
        assert_eq!(of(schema(), &json!(u64::MAX)).len(), 1);
        assert_eq!(of(schema(), &json!(i64::MIN)).len(), 1);
    }

    #[test]
    fn texts_must_match_their_pattern_and_lengths_in_characters() {
        let schema = || json!({ "minLength": 2, "maxLength": 3, "pattern": "^[a-zä]*$" });
        for valid in ["ab", "äää"] {
            assert!(of(schema(), &json!(valid)).is_empty(), "{valid}");
        }
        assert_eq!(of(schema(), &json!("a")), [r#"spec: "a" is shorter than the minimum of 2 characters"#]);
        assert_eq!(of(schema(), &json!("ääää")), [r#"spec: "ääää" is longer than the maximum of 3 characters"#]);
        assert_eq!(of(schema(), &json!("a-b")), [r#"spec: "a-b" does not match ^[a-zä]*$"#]);
        assert_eq!(of(schema(), &json!("A")).len(), 2, "each violation is reported");
        assert!(of(json!({ "pattern": "b" }), &json!("abc")).is_empty(), "patterns are not anchored");
    }

    #[test]
    fn values_must_be_listed_even_if_they_are_null() {
        let schema = || json!({ "type": "string", "enum": ["low", "high"], "nullable": true });
        assert!(of(schema(), &json!("low")).is_empty());
        assert_eq!(of(schema(), &json!("medium")), [r#"spec: "medium" is not one of "low", "high""#]);
        assert_eq!(of(schema(), &json!(null)), [r#"spec: null is not one of "low", "high""#]);
    }

    #[test]
    fn violations_in_objects_and_lists_contain_the_path() {
        let item = json!({ "properties": { "port": { "maximum": 9 } } });
        let schema = || json!({ "properties": { "list": { "minItems": 1, "maxItems": 2, "items": item } } });
        let list = |items: Value| json!({ "list": items, "other": 1 });
        assert!(of(schema(), &list(json!([{ "port": 9 }, { "port": null }]))).is_empty());
        assert!(of(schema(), &json!({ "list": null })).is_empty());
        assert_eq!(of(schema(), &list(json!([]))), ["spec.list: 0 items are less than the minimum of 1"]);
        assert_eq!(
            of(schema(), &list(json!([{}, { "port": 10 }, {}]))),
            [
                "spec.list: 3 items are more than the maximum of 2",
                "spec.list[1].port: 10 is greater than the maximum of 9"
            ]
        );
    }

    #[test]
    fn every_keyword_of_the_schema_of_a_policy_is_checked_here_or_elsewhere() {
        const HERE: [&str; 11] = [
            "enum",
            "items",
            "maxItems",
            "maxLength",
            "maximum",
            "minItems",
            "minLength",
            "minimum",
            "pattern",
            "properties",
            "type",
        ];
        /// By the types of the fields, and `DevOpsPolicySpec::broken_rules`.
        const ELSEWHERE: [&str; 4] = ["format", "nullable", "required", "x-kubernetes-validations"];
        const LIST_MAP: [&str; 2] = ["x-kubernetes-list-map-keys", "x-kubernetes-list-type"];
        const WITHOUT_BOUNDS: [&str; 3] = ["default", "description", "x-kubernetes-preserve-unknown-fields"];
        fn visit(schema: &Value) {
            for (keyword, value) in schema.as_object().unwrap() {
                let keyword = keyword.as_str();
                let known =
                    [&HERE[..], &ELSEWHERE, &LIST_MAP, &WITHOUT_BOUNDS].iter().any(|known| known.contains(&keyword));
                assert!(known, "{keyword} in {schema}");
                match keyword {
                    "properties" => value.as_object().unwrap().values().for_each(visit),
                    "items" => visit(value),
                    "pattern" => drop(Regex::new(value.as_str().unwrap()).unwrap()),
                    _ => {}
                }
            }
        }
        let definition = serde_json::to_value(DevOpsPolicy::crd()).unwrap();
        visit(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    }
}
