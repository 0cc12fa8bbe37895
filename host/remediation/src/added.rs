//! The fields that remediation added to a workload, and the record of them.
//!
//! The fields are added by a server-side apply, and given up when the rollout has started: `managedFields` no longer lists them,
//! and an annotation records them instead. An apply of another client that sets other values therefore causes no conflict, and a
//! container that another client removes is removed.
//!
//! An apply removes all fields that its manager owns and that it does not contain. Anyone can choose the name of the operator as the
//! field manager, so that the operator gives up everything but its annotations before it applies.

use kube_devops_cluster::gitops::LAST_APPLIED;
use kube_devops_cluster::install::FIELD_MANAGER;
use kube_devops_cluster::managed_fields::{
    self, applied, extract, is_applied_by, key_of, of_others, paths, set_of, subtract,
};
use kube_devops_core::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::plan::{OWN_ANNOTATIONS, REVERTED, REVERTED_BECAUSE, TIMES, own_template};

/// The annotation with the set of the added fields of the containers.
pub const ADDED_FIELDS: &str = "devops.stochastic.io/added-fields";
/// The containers of a workload.
pub const CONTAINERS: &str = "/spec/template/spec/containers";
/// The containers in a set of fields.
const CONTAINER_FIELDS: &str = "/f:spec/f:template/f:spec/f:containers";
/// The probes of a container.
pub const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Returns the containers of a workload with the added fields and their present values. Fields that another manager has set since
/// are not among them. `kubectl apply` does not own a field that it leaves at its value, even if the manifest contains it.
pub fn added(workload: &Value) -> Vec<Value> {
    let mut set = recorded(workload);
    for other in of_others(workload, FIELD_MANAGER).filter_map(|fields| fields.pointer(CONTAINER_FIELDS)) {
        subtract(&mut set, other);
    }
    if let Some(same) = common(&by_key(&last_applied(workload)), &by_key(workload)) {
        subtract(&mut set, &same);
    }
    if let Some(set) = set.as_object_mut() {
        set.retain(|_, fields| fields.as_object().is_some_and(|fields| !fields.is_empty()));
        if set.is_empty() {
            return Vec::new();
        }
    }
    let containers = workload.pointer(CONTAINERS).and_then(|containers| extract(containers, &set));
    let Some(Value::Array(containers)) = containers else { return Vec::new() };
    containers.into_iter().filter(|container| container.as_object().is_some_and(|fields| fields.len() > 1)).collect()
}

/// The recorded fields of the containers. Anyone who can change the workload can change the annotation: fields that the operator
/// never adds are ignored, and so are containers whose key is in another notation, because sets are compared by the text of the keys.
fn recorded(workload: &Value) -> Value {
    let recorded = workload["metadata"]["annotations"][ADDED_FIELDS].as_str();
    let recorded: Value = recorded.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let addable = addable();
    let containers = recorded.as_object().into_iter().flatten().filter(|(key, _)| is_key_of_container(key));
    let containers = containers.filter_map(|(key, fields)| Some((key.clone(), limited(fields, &addable)?)));
    containers.collect::<Map<_, _>>().into()
}

/// Returns the set of all fields that can be added to a container.
fn addable() -> Value {
    let mut probe: Map<String, Value> = TIMES.map(|field| (field.to_owned(), Value::Null)).into_iter().collect();
    probe.insert("tcpSocket".to_owned(), json!({ "port": null }));
    let quantities = json!({ "cpu": null, "memory": null });
    let mut container = json!({ "resources": { "requests": quantities, "limits": quantities } });
    for name in PROBES {
        container[name] = probe.clone().into();
    }
    set_of(&container)
}

/// Returns the fields of `limits` without fields below them that are in a set; `None` if there are none.
fn limited(set: &Value, limits: &Value) -> Option<Value> {
    let (set, limits) = (set.as_object()?, limits.as_object()?);
    let both = limits.iter().filter_map(|(key, limits)| Some((key.clone(), limited(set.get(key)?, limits)?)));
    let both: Map<_, _> = both.collect();
    (limits.is_empty() || !both.is_empty()).then(|| both.into())
}

/// Whether a key is that of a container, as the API server writes it.
fn is_key_of_container(key: &str) -> bool {
    let names: Option<Value> = key.strip_prefix("k:").and_then(|names| serde_json::from_str(names).ok());
    let name = names.as_ref().and_then(|names| names["name"].as_str());
    name.is_some_and(|name| key == key_of(name))
}

/// The manifest that `kubectl apply` applied last, or null.
pub fn last_applied(workload: &Value) -> Value {
    let manifest = workload["metadata"]["annotations"][LAST_APPLIED].as_str();
    manifest.and_then(|manifest| serde_json::from_str(manifest).ok()).unwrap_or_default()
}

/// The entries of `managedFields` in which other clients own an annotation.
pub fn other_owners<'w>(workload: &'w Value, annotation: &'w str) -> impl Iterator<Item = &'w Value> {
    let others = managed_fields::entries(workload).filter(|entry| entry["manager"] != FIELD_MANAGER);
    others.filter(move |entry| has_annotation(&entry["fieldsV1"], annotation))
}

/// Whether the operator owns an annotation by an apply.
pub fn is_own(workload: &Value, annotation: &str) -> bool {
    applied(workload, FIELD_MANAGER).is_some_and(|fields| has_annotation(fields, annotation))
}

/// Whether a set of fields contains an annotation.
fn has_annotation(fields: &Value, annotation: &str) -> bool {
    let annotations = fields.pointer("/f:metadata/f:annotations");
    annotations.is_some_and(|annotations| annotations.get(format!("f:{annotation}")).is_some())
}

/// The containers of a workload.
pub fn containers(workload: &Value) -> &[Value] {
    workload.pointer(CONTAINERS).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The request or limit of the whole pod.
pub fn of_pod<'a>(workload: &'a Value, list: &str, resource: &str) -> Option<&'a Value> {
    workload.pointer("/spec/template/spec/resources")?.get(list)?.get(resource)
}

/// The containers of a workload, by their keys in a set of fields.
fn by_key(workload: &Value) -> Value {
    let by_key = containers(workload)
        .iter()
        .filter_map(|container| Some((key_of(container.get("name")?.clone()), container.clone())));
    by_key.collect::<Map<_, _>>().into()
}

/// Returns the set of the fields with the same value in both. The API server returns quantities in another form than they were
/// applied in, such as `1` for `1000m`.
fn common(one: &Value, other: &Value) -> Option<Value> {
    common_by(one, other, |one, other| text(one) == text(other))
}

fn common_by(one: &Value, other: &Value, is_same: fn(&Value, &Value) -> bool) -> Option<Value> {
    if let (Value::Object(one), Value::Object(other)) = (one, other) {
        let same = one.iter().filter_map(|(key, one)| {
            let key_in_set = if key.starts_with("k:") { key.clone() } else { format!("f:{key}") };
            let is_same = if key == "resources" { is_same_quantity } else { is_same };
            Some((key_in_set, common_by(one, other.get(key)?, is_same)?))
        });
        return Some(same.collect::<Map<_, _>>()).filter(|same| !same.is_empty()).map(Value::Object);
    }
    is_same(one, other).then(|| json!({}))
}

fn is_same_quantity(one: &Value, other: &Value) -> bool {
    match (quantity(one), quantity(other)) {
        (Some(one), Some(other)) => one.value() == other.value(),
        _ => text(one) == text(other),
    }
}

/// The value of a request or a limit.
pub fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::parse(&text(value))
}

/// The text of a value: the API server returns the quantity 1 as text.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a request exceeds a limit, if both are quantities.
pub fn exceeds(request: &Value, limit: &Value) -> Option<bool> {
    Some(quantity(request)?.value() > quantity(limit)?.value())
}

/// Returns the value of [`ADDED_FIELDS`] for containers with added fields.
pub fn record(containers: &[Value]) -> String {
    set_of(&json!({ "containers": containers }))["f:containers"].to_string()
}

/// Returns the merge patch that gives up everything but the annotations of an apply; `None` if the operator owns nothing else. The
/// API server rejects it if the workload has changed in between.
pub fn give_up(workload: &Value) -> Option<Value> {
    let mut entries = managed_fields::entries(workload).cloned().collect::<Vec<_>>();
    let own = entries.iter_mut().find(|entry| is_applied_by(entry, FIELD_MANAGER))?;
    let mut annotations = own["fieldsV1"].pointer("/f:metadata/f:annotations").cloned().unwrap_or_default();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.retain(|key, _| key.strip_prefix("f:").is_some_and(|key| OWN_ANNOTATIONS.contains(&key)));
    }
    let has_annotations = annotations.as_object().is_some_and(|annotations| !annotations.is_empty());
    let left = if has_annotations { json!({ "f:metadata": { "f:annotations": annotations } }) } else { json!({}) };
    let owned = std::mem::replace(&mut own["fieldsV1"], left);
    if paths(&owned) == paths(&own["fieldsV1"]) {
        return None;
    }
    let version = &workload["metadata"]["resourceVersion"];
    let mut patch = json!({ "metadata": { "resourceVersion": version, "managedFields": entries } });
    // The patch of another template was reverted, before this one was patched.
    let reverted = workload["metadata"]["annotations"][REVERTED].as_str();
    if reverted.is_some_and(|reverted| reverted != own_template(workload)) {
        patch["metadata"]["annotations"] = json!({ REVERTED: null, REVERTED_BECAUSE: null });
    }
    Some(patch)
}

/// Returns the merge patch of [`give_up`], or one that changes nothing, for further changes. The API server rejects it if the workload has
/// changed in between.
pub fn merge_patch(workload: &Value) -> Value {
    let version = &workload["metadata"]["resourceVersion"];
    give_up(workload).unwrap_or_else(|| json!({ "metadata": { "resourceVersion": version } }))
}

/// Returns the paths of the fields that another client has applied with the field manager of the operator.
pub fn foreign(workload: &Value) -> Vec<String> {
    let mut set = applied(workload, FIELD_MANAGER).cloned().unwrap_or_default();
    let annotations: Map<_, _> = OWN_ANNOTATIONS.iter().map(|name| (format!("f:{name}"), json!({}))).collect();
    let mut containers = recorded(workload);
    for container in containers.as_object_mut().into_iter().flat_map(|set| set.values_mut()) {
        container["f:name"] = json!({});
    }
    subtract(
        &mut set,
        &json!({
            "f:metadata": { "f:annotations": annotations },
            "f:spec": { "f:template": { "f:spec": { "f:containers": containers } } },
        }),
    );
    paths(&set)
}

#[cfg(test)]
mod tests;
