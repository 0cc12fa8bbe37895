//! The fields of an object that a field manager owns, with their values.
//!
//! A server-side apply removes every field that its manager applied before and that it does not contain. To add a field, an
//! apply must contain the fields that the manager already owns.

use serde_json::{Map, Value};

/// Returns the fields that `manager` applied, in the structure of the object; `None` if there are none.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
pub fn owned(object: &Value, manager: &str) -> Option<Value> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let entry = entries.iter().find(|entry| {
        entry["manager"] == manager
            && entry["operation"] == "Apply"
            && entry.get("subresource").is_none_or(|it| it == "")
    })?;
    extract(object, &entry["fieldsV1"])
}

/// Returns the part of a value that a set of fields contains.
fn extract(value: &Value, fields: &Value) -> Option<Value> {
    let fields = fields.as_object()?;
    let has_children = |fields: &Map<String, Value>| fields.keys().any(|key| key != ".");
    if !has_children(fields) {
        return Some(value.clone());
    }
    match value {
        Value::Object(entries) => {
            let mut part = Map::new();
            for (key, below) in fields.iter().filter_map(|(key, below)| Some((key.strip_prefix("f:")?, below))) {
                if let Some(value) = entries.get(key).and_then(|value| extract(value, below)) {
                    part.insert(key.to_owned(), value);
                }
            }
            Some(Value::Object(part))
        }
        Value::Array(items) => {
            let mut part = Vec::new();
            for (key, below) in fields {
                let item = if let Some(keys) = key.strip_prefix("k:") {
                    let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
                    let is_it = |item: &&Value| keys.iter().all(|(key, value)| item.get(key) == Some(value));
                    items.iter().find(is_it).and_then(|item| {
                        let mut item = extract(item, below)?;
                        // The keys identify the item, even if another manager owns them.
                        item.as_object_mut()?.extend(keys.clone());
                        Some(item)
                    })
                } else if let Some(value) = key.strip_prefix("v:") {
                    let value: Value = serde_json::from_str(value).ok()?;
                    items.contains(&value).then_some(value)
                } else {
                    None
                };
                part.extend(item);
            }
            Some(Value::Array(part))
        }
        _ => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_applied_fields_are_returned_with_their_values() {
        let object = json!({
            "metadata": {
                "name": "web",
                "annotations": { "ours": "yes", "theirs": "no" },
                "managedFields": [
                    { "manager": "kubectl", "operation": "Update", "fieldsV1": { "f:spec": {} } },
                    {
                        "manager": "us", "operation": "Apply",
                        "fieldsV1": {
                            "f:metadata": { "f:annotations": { "f:ours": {} } },
                            "f:spec": { "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"app\"}": {
                                ".": {}, "f:name": {},
                                "f:livenessProbe": { "f:tcpSocket": { "f:port": {} }, "f:periodSeconds": {} },
                                "f:resources": { "f:limits": { "f:cpu": {} } },
                            } } } } },
                        },
                    },
                    { "manager": "us", "operation": "Apply", "subresource": "status", "fieldsV1": { "f:status": {} } },
                ],
            },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [
                { "name": "other", "image": "x" },
                {
                    "name": "app", "image": "nginx",
                    "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 10, "timeoutSeconds": 1 },
                    "resources": { "limits": { "cpu": "1", "memory": "1Gi" } },
                },
            ] } } },
        });
        let expected = json!({
            "metadata": { "annotations": { "ours": "yes" } },
            "spec": { "template": { "spec": { "containers": [{
                "name": "app",
                "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 10 },
                "resources": { "limits": { "cpu": "1" } },
            }] } } },
        });
        assert_eq!(owned(&object, "us"), Some(expected));
        assert_eq!(owned(&object, "kubectl"), None, "an update is not an apply");
        assert_eq!(owned(&json!({}), "us"), None);
    }

    #[test]
    fn removed_fields_are_not_owned() {
        let fields = json!({ "f:a": {}, "f:b": { "f:c": {} }, "f:d": { "k:{\"name\":\"x\"}": {}, "v:\"y\"": {} } });
        assert_eq!(extract(&json!({ "b": {}, "d": ["z"] }), &fields), Some(json!({ "b": {}, "d": [] })));
    }
}
