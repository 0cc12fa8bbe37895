//! The removal of all added fields of a workload.

use serde_json::{Map, Value, json};

use super::added::{PROBES, added, merge_patch};
use super::plan::{OF_PATCH, REVERTED, REVERTED_BECAUSE, own_template};

/// Returns the strategic merge patch that removes all added fields and gives up all ownership, with the reason. Unlike an apply, it
/// removes fields of any owner, and nothing else. The API server rejects it if another client has changed the workload.
pub fn revert(workload: &Value, reason: &str) -> Value {
    let containers: Vec<Value> = added(workload).iter().map(removal).collect();
    let mut annotations: Map<String, Value> = OF_PATCH.map(|name| (name.to_owned(), Value::Null)).into_iter().collect();
    annotations.insert(REVERTED.to_owned(), own_template(workload).into());
    annotations.insert(REVERTED_BECAUSE.to_owned(), reason.into());
    let mut patch = merge_patch(workload);
    patch["metadata"]["annotations"] = annotations.into();
    if !containers.is_empty() {
        patch["spec"] = json!({ "template": { "spec": { "containers": containers } } });
    }
    patch
}

/// Returns the part of a strategic merge patch that removes the added fields of a container.
fn removal(added: &Value) -> Value {
    let mut removal = json!({ "name": added["name"] });
    for (key, value) in added.as_object().into_iter().flatten().filter(|(key, _)| *key != "name") {
        removal[key] = if is_whole_probe(key, value) { Value::Null } else { nulls(value) };
    }
    removal
}

/// Whether the handler of a probe was added. What another client has set in such a probe is nothing without its handler.
pub fn is_whole_probe(field: &str, added: &Value) -> bool {
    PROBES.contains(&field) && added["tcpSocket"].is_object()
}

fn nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), nulls(value))).collect::<Map<_, _>>().into()
        }
        _ => Value::Null,
    }
}
