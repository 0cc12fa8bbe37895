//! Sets of fields, in the format of `managedFields`: <https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#FieldsV1>.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

/// Returns the set of fields that `manager` applied, if it applied any.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
pub fn applied<'o>(object: &'o Value, manager: &str) -> Option<&'o Value> {
    entries(object).find(|entry| is_applied_by(entry, manager)).map(|entry| &entry["fieldsV1"])
}

/// Returns the sets of all fields that others than the applies of `manager` own. The API server, too, distinguishes the applies of a
/// manager from updates under the same name.
pub fn of_others<'o>(object: &'o Value, manager: &str) -> impl Iterator<Item = &'o Value> {
    let others = entries(object).filter(move |entry| is_of_object(entry) && !is_applied_by(entry, manager));
    others.map(|entry| &entry["fieldsV1"])
}

/// Returns the entries of `managedFields` of an object.
pub fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// Whether an entry of `managedFields` is for the object itself, and not for a subresource.
fn is_of_object(entry: &Value) -> bool {
    entry["subresource"].as_str().is_none_or(str::is_empty)
}

/// Whether an entry of `managedFields` is that of the applies of a manager.
pub fn is_applied_by(entry: &Value, manager: &str) -> bool {
    is_of_object(entry) && entry["manager"] == manager && entry["operation"] == "Apply"
}

/// Returns the key of a container in a set of fields.
pub fn key_of(name: impl Into<Value>) -> String {
    format!("k:{}", json!({ "name": name.into() }))
}

/// Returns the set of the fields of a value. The items of `containers` are identified by their names; other lists are one field.
pub fn set_of(value: &Value) -> Value {
    let Value::Object(entries) = value else { return json!({}) };
    let mut set = Map::new();
    for (key, value) in entries {
        let below = match value.as_array().filter(|_| key == "containers") {
            Some(items) => {
                let items = items.iter().filter_map(|item| Some((key_of(item.get("name")?.clone()), set_of(item))));
                items.collect::<Map<_, _>>().into()
            }
            None => set_of(value),
        };
        set.insert(format!("f:{key}"), below);
    }
    set.into()
}

/// Returns the union of two sets.
pub fn union(one: Value, other: &Value) -> Value {
    let (Value::Object(mut one), Value::Object(other)) = (one, other) else { return json!({}) };
    for (key, other) in other {
        let below = one.remove(key).unwrap_or_else(|| json!({}));
        one.insert(key.clone(), union(below, other));
    }
    one.into()
}

/// Removes the fields of `other` from a set. A map without fields in `other` keeps its fields.
pub fn subtract(set: &mut Value, other: &Value) {
    let (Some(set), Some(other)) = (set.as_object_mut(), other.as_object()) else { return };
    for (key, other) in other {
        let Some(below) = set.get_mut(key) else { continue };
        let had_children = has_children(below);
        subtract(below, other);
        if !has_children(below) && (had_children || key.starts_with("f:")) {
            set.remove(key);
        }
    }
}

/// Returns the paths of the fields of a set, such as `spec.containers[app].image`.
pub fn paths(set: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    add_paths(set, "", &mut paths);
    paths
}

fn add_paths(set: &Value, parent: &str, paths: &mut Vec<String>) {
    for (key, below) in set.as_object().into_iter().flatten().filter(|(key, _)| *key != ".") {
        let path = match (key.strip_prefix("f:"), key.strip_prefix("k:").or_else(|| key.strip_prefix("v:"))) {
            (Some(field), _) if parent.is_empty() => field.to_owned(),
            (Some(field), _) => format!("{parent}.{field}"),
            (_, Some(item)) => {
                let item: Value = serde_json::from_str(item).unwrap_or_else(|_| item.into());
                let name = item["name"].as_str().map_or_else(|| item.to_string(), str::to_owned);
                format!("{parent}[{name}]")
            }
            _ => format!("{parent}[{key}]"),
        };
        if has_children(below) { add_paths(below, &path, paths) } else { paths.push(path) }
    }
}

fn has_children(set: &Value) -> bool {
    set.as_object().is_some_and(|set| set.keys().any(|key| key != "."))
}

/// Returns the part of a value that a set of fields contains.
pub fn extract(value: &Value, fields: &Value) -> Option<Value> {
    if !has_children(fields) {
        return Some(value.clone());
    }
    let fields = fields.as_object()?;
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
        Value::Array(items) => extract_items(items, fields).map(Value::Array),
        _ => Some(value.clone()),
    }
}

/// Returns the items of a list that a set of fields contains. The time is linear in the size of both: clients choose them.
fn extract_items(items: &[Value], fields: &Map<String, Value>) -> Option<Vec<Value>> {
    let mut part = Vec::new();
    let mut by_keys: Option<ByKeys<'_>> = None;
    let values: HashSet<&Value> = match fields.keys().any(|key| key.starts_with("v:")) {
        true => items.iter().collect(),
        false => HashSet::new(),
    };
    for (key, below) in fields {
        if let Some(keys) = key.strip_prefix("k:") {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            let by_keys = by_keys.get_or_insert_with(|| ByKeys::new(items, keys.keys()));
            let Some(mut item) = by_keys.get(&keys).and_then(|item| extract(item, below)) else { continue };
            // The keys identify the item, even if another manager owns them.
            item.as_object_mut()?.extend(keys);
            part.push(item);
        } else if let Some(value) = key.strip_prefix("v:") {
            let value: Value = serde_json::from_str(value).ok()?;
            part.extend(values.contains(&value).then_some(value));
        }
    }
    Some(part)
}

/// The items of a list by the values of the fields that identify them, which are the same for all items of a list.
struct ByKeys<'i> {
    names: Vec<String>,
    items: HashMap<Vec<&'i Value>, &'i Value>,
}

impl<'i> ByKeys<'i> {
    fn new<'n>(items: &'i [Value], names: impl Iterator<Item = &'n String>) -> Self {
        let names: Vec<String> = names.cloned().collect();
        let keys = |item: &'i Value| names.iter().map(|name| item.get(name)).collect::<Option<Vec<_>>>();
        // Of items with the same keys, the first one counts.
        let items = items.iter().rev().filter_map(|item| Some((keys(item)?, item))).collect();
        Self { names, items }
    }

    fn get(&self, keys: &Map<String, Value>) -> Option<&'i Value> {
        let is_same = keys.len() == self.names.len();
        let values: Option<Vec<&Value>> = self.names.iter().map(|name| keys.get(name)).collect();
        self.items.get(&values.filter(|_| is_same)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
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
        })
    }

    #[test]
    fn the_applied_fields_are_returned_with_their_values() {
        let object = object();
        let expected = json!({
            "metadata": { "annotations": { "ours": "yes" } },
            "spec": { "template": { "spec": { "containers": [{
                "name": "app",
                "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 10 },
                "resources": { "limits": { "cpu": "1" } },
            }] } } },
        });
        assert_eq!(applied(&object, "us").and_then(|fields| extract(&object, fields)), Some(expected.clone()));
        assert_eq!(applied(&object, "kubectl"), None, "an update is not an apply");
        assert_eq!(applied(&json!({}), "us"), None);
        // The set of a value contains exactly that value.
        assert_eq!(extract(&object, &set_of(&expected)), Some(expected));
    }

    #[test]
    fn removed_fields_are_not_returned() {
        let fields = json!({ "f:a": {}, "f:b": { "f:c": {} }, "f:d": { "k:{\"name\":\"x\"}": {}, "v:\"y\"": {} } });
        assert_eq!(extract(&json!({ "b": {}, "d": ["z"] }), &fields), Some(json!({ "b": {}, "d": [] })));
    }

    #[test]
    fn items_are_identified_by_all_their_keys() {
        let items =
            json!([{ "port": 1, "protocol": "TCP", "name": "a" }, { "port": 1, "protocol": "UDP" }, { "port": 1 }]);
        let of = |keys: &str| extract(&items, &json!({ format!("k:{keys}"): { "f:name": {} } }));
        let tcp = json!([{ "port": 1, "protocol": "TCP", "name": "a" }]);
        assert_eq!(of(r#"{"protocol":"TCP","port":1}"#), Some(tcp));
        assert_eq!(of(r#"{"port":1,"protocol":"UDP"}"#), Some(json!([{ "port": 1, "protocol": "UDP" }])));
        assert_eq!(of(r#"{"port":2,"protocol":"UDP"}"#), Some(json!([])));
        assert_eq!(of(r#"{"port":1}"#), Some(json!([{ "port": 1, "name": "a" }])), "the first of two");
    }

    #[test]
    fn updates_under_the_name_of_a_manager_are_those_of_others() {
        let mut object = object();
        object["metadata"]["managedFields"][0]["manager"] = json!("us");
        assert_eq!(of_others(&object, "us").collect::<Vec<_>>(), [&json!({ "f:spec": {} })]);
    }

    #[test]
    fn paths_of_fields_are_those_of_people() {
        let set = json!({
            "f:metadata": { "f:labels": { ".": {}, "f:app": {} }, "f:finalizers": { "v:\"x\"": {} } },
            "f:spec": { "k:{\"name\":\"app\"}": { ".": {}, "f:image": {} }, "k:{\"port\":1}": {} },
        });
        let expected = ["metadata.finalizers[\"x\"]", "metadata.labels.app", "spec[app].image", "spec[{\"port\":1}]"];
        assert_eq!(paths(&set), expected);
    }

    #[test]
    fn sets_are_united_and_subtracted() {
        let one = json!({ "f:a": { "f:b": {} }, "f:c": {} });
        let other = json!({ "f:a": { ".": {}, "f:d": {} } });
        let both = union(one.clone(), &other);
        assert_eq!(both, json!({ "f:a": { ".": {}, "f:b": {}, "f:d": {} }, "f:c": {} }));
        let without = |other: Value| {
            let mut set = both.clone();
            subtract(&mut set, &other);
            set
        };
        assert_eq!(without(json!({ "f:a": {} })), both, "only the map itself");
        assert_eq!(without(json!({ "f:c": {}, "f:e": {} })), json!({ "f:a": { ".": {}, "f:b": {}, "f:d": {} } }));
        assert_eq!(without(json!({ "f:a": { "f:b": {}, "f:d": {} } })), json!({ "f:c": {} }));
        assert_eq!(without(Value::Null), both);
    }
}
