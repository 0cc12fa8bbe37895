//! The fields that are added to a workload: probes of rules, and default resources of the policy.

use std::collections::{BTreeMap, BTreeSet};

use kube_devops_cluster::crd::{DefaultProbe, DefaultResources, DevOpsPolicySpec};
use kube_devops_core::Edit;
use kube_devops_core::quantity::Quantity;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::added::{ADDED_FIELDS, PROBES, added, containers, exceeds, give_up, merge_patch, of_pod, record};
use super::removal::is_whole_probe;

/// The policy whose enforcement added fields.
pub const PATCHED_BY: &str = "devops.stochastic.io/patched-by";
/// The prefix of the name of the policy in [`PATCHED_BY`].
const PATCHED_BY_PREFIX: &str = "kube-devops/";
/// The annotation with the fingerprint of the pod template of a rollout that is not complete.
pub const ROLLING_OUT: &str = "devops.stochastic.io/rolling-out";
/// Excludes a workload from remediation.
pub const IGNORE: &str = "devops.stochastic.io/ignore";
/// The fingerprint of the pod template whose patch was reverted: it is not patched again.
pub const REVERTED: &str = "devops.stochastic.io/reverted";
/// The reason why the patch was reverted.
pub const REVERTED_BECAUSE: &str = "devops.stochastic.io/reverted-because";

/// The annotations of a workload with added fields.
pub const OF_PATCH: [&str; 3] = [PATCHED_BY, ROLLING_OUT, ADDED_FIELDS];
/// The annotations that the operator sets.
pub const OWN_ANNOTATIONS: [&str; 5] = [PATCHED_BY, ROLLING_OUT, ADDED_FIELDS, REVERTED, REVERTED_BECAUSE];

/// What to do about annotations of the operator in the manifest of a client, such as one that was exported from a cluster.
pub fn removal_hint(annotations: &[&str]) -> String {
    let names = annotations.join(", ");
    format!("remove {names} from the annotations of the workload and of its manifest: only the operator sets them")
}

/// The fields of a probe besides its handler.
pub const TIMES: [&str; 5] =
    ["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"];

/// A field that is added to a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Addition {
    /// The container.
    pub container: String,
    /// JSON Pointer to the field in the container.
    pub field: String,
    /// The value.
    pub value: Value,
}

/// The fields to add to a workload.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// The fields.
    pub additions: Vec<Addition>,
    /// The containers that need a probe and declare no port, nor does the policy name one.
    pub without_port: BTreeSet<String>,
    /// The containers that need a probe and declare only ports of other protocols than TCP.
    pub without_tcp_port: BTreeSet<String>,
    /// The checks that request a value which is never added, with the field.
    pub rejected: BTreeSet<(String, String)>,
}

/// Returns the fields of the edits and the policy that are missing in the workload. Existing fields are not changed.
pub fn plan(workload: &Value, policy: &DevOpsPolicySpec, edits: &[Edit]) -> Plan {
    let containers = containers(workload);
    let mut plan = Plan::default();
    for Edit { container, field, value, check } in edits {
        let is_named = |found: &&Value| container.as_deref().is_some_and(|name| found["name"] == name);
        let found = containers.iter().find(is_named);
        let value = serde_json::from_str(value).ok();
        let Some((found, value)) = found.zip(value).filter(|(_, value)| is_remediable(field, value)) else {
            plan.rejected.insert((check.clone(), field.clone()));
            continue;
        };
        let name = container.clone().unwrap_or_default();
        let is_missing = found.pointer(field).is_none_or(Value::is_null);
        let is_new = !plan.additions.iter().any(|known| known.container == name && known.field == *field);
        let is_of_pod = resource(field).is_some_and(|resource| is_set_for_pod(workload, resource));
        if !is_missing || !is_new || is_of_pod {
            continue;
        }
        match if is_probe(field) { probe(&value, found, policy.default_probe.as_ref()) } else { Some(value) } {
            Some(value) => plan.additions.push(Addition { container: name, field: field.clone(), value }),
            None if found["ports"].as_array().is_none_or(Vec::is_empty) => drop(plan.without_port.insert(name)),
            None => drop(plan.without_tcp_port.insert(name)),
        }
    }
    if let Some(resources) = &policy.default_resources {
        containers.iter().for_each(|container| add_resources(workload, container, resources, &mut plan.additions));
    }
    plan
}

/// Whether a check may set a field to this value: a TCP probe, as a whole, or a request or limit. Checks are not trusted, and a
/// probe with another handler would run a command in the container, or send requests to another host.
fn is_remediable(field: &str, value: &Value) -> bool {
    if resource(field).is_some() {
        return match value {
            Value::String(text) => Quantity::parse(text).is_some(),
            value => value.is_u64(),
        };
    }
    let handlers = value.as_object().into_iter().flat_map(Map::keys).filter(|key| !TIMES.contains(&key.as_str()));
    is_probe(field) && handlers.eq(["tcpSocket"])
}

/// The resource of which a field is the request or the limit, if it can be added.
fn resource(field: &str) -> Option<&str> {
    match field.split('/').collect::<Vec<_>>().as_slice() {
        ["", "resources", "requests" | "limits", resource @ ("cpu" | "memory")] => Some(resource),
        _ => None,
    }
}

/// Whether the request or the limit of a resource is set for the whole pod. The containers share it: a limit of a container would take
/// a part of it away, and the API server rejects values that exceed those of the pod.
/// <https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/>
fn is_set_for_pod(workload: &Value, resource: &str) -> bool {
    ["requests", "limits"].iter().any(|list| of_pod(workload, list, resource).is_some_and(|value| !value.is_null()))
}

fn is_probe(field: &str) -> bool {
    field.strip_prefix('/').is_some_and(|field| PROBES.contains(&field))
}

/// Returns a TCP probe with the times of `requested`, and with the default probe of the policy. `None` if no port of the container is
/// known to accept TCP connections.
fn probe(requested: &Value, container: &Value, default: Option<&DefaultProbe>) -> Option<Value> {
    let port = tcp_port(container, default.and_then(|default| default.tcp_port))?;
    // Nothing else of the handler is used, such as its host.
    let mut value = json!({ "tcpSocket": { "port": port } });
    for field in TIMES {
        if let Some(number) = requested[field].as_u64() {
            value[field] = number.into();
        }
    }
    let Some(default) = default else { return Some(value) };
    if let Some(seconds) = default.initial_delay_seconds {
        value["initialDelaySeconds"] = seconds.into();
    }
    if let Some(seconds) = default.period_seconds {
        value["periodSeconds"] = seconds.into();
    }
    Some(value)
}

/// The port for a probe: that of the policy if the container declares it, else the first declared TCP port. Without any
/// declared port, that of the policy.
fn tcp_port(container: &Value, of_policy: Option<i32>) -> Option<i64> {
    let ports = container["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let is_tcp = |port: &&Value| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
    let mut declared = ports.iter().filter(is_tcp).filter_map(|port| port["containerPort"].as_i64());
    let of_policy = of_policy.map(i64::from);
    match of_policy {
        Some(port) if ports.is_empty() || declared.clone().any(|declared| declared == port) => Some(port),
        _ => declared.next(),
    }
}

/// Adds missing requests and limits, unless a request would exceed its limit, or those of the whole pod are set.
fn add_resources(workload: &Value, container: &Value, resources: &DefaultResources, additions: &mut Vec<Addition>) {
    let Some(name) = container["name"].as_str() else { return };
    let defaults = [
        ("cpu", &resources.cpu_request, &resources.cpu_limit),
        ("memory", &resources.memory_request, &resources.memory_limit),
    ];
    for (resource, request, limit) in defaults.into_iter().filter(|(name, ..)| !is_set_for_pod(workload, name)) {
        let existing =
            |list: &str| container.pointer(&format!("/resources/{list}/{resource}")).filter(|value| !value.is_null());
        let mut add = |list: &str, quantity: &str| {
            additions.push(Addition {
                container: name.to_owned(),
                field: format!("/resources/{list}/{resource}"),
                value: quantity.into(),
            });
        };
        match (existing("requests"), existing("limits")) {
            (None, None) => {
                request.iter().for_each(|request| add("requests", request));
                limit.iter().for_each(|limit| add("limits", limit));
            }
            (Some(existing), None) => {
                // The API server rejects a request above its limit, and with it the whole patch.
                limit
                    .iter()
                    .filter(|limit| exceeds(existing, &Value::String((*limit).clone())) == Some(false))
                    .for_each(|limit| add("limits", limit));
            }
            // Without a request, Kubernetes uses the limit as the request: another value would lower it.
            (_, Some(_)) => {}
        }
    }
}

/// Returns the server-side apply with the additions, and with the fields that were added before.
pub fn patch(workload: &Value, additions: &[Addition], policy: &str) -> Value {
    let (mut patch, record) = with_fields(workload, additions);
    patch["metadata"]["annotations"] =
        json!({ PATCHED_BY: by(policy), ROLLING_OUT: own_template(workload), ADDED_FIELDS: record });
    patch
}

/// Returns the apply with the fingerprint of the pod template of `admitted`; `None` if it has this one.
pub fn with_template(patch: &Value, admitted: &Value) -> Option<Value> {
    let template = own_template(admitted);
    if patch["metadata"]["annotations"][ROLLING_OUT] == template {
        return None;
    }
    let mut patch = patch.clone();
    patch["metadata"]["annotations"][ROLLING_OUT] = template.into();
    Some(patch)
}

/// The value of [`PATCHED_BY`] of a policy.
pub fn by(policy: &str) -> String {
    format!("{PATCHED_BY_PREFIX}{policy}")
}

/// Returns the fields that were added to a workload, with their present values.
pub fn additions(workload: &Value) -> Vec<Addition> {
    let mut additions = Vec::new();
    for container in added(workload) {
        let name = container["name"].as_str().unwrap_or_default();
        let mut add = |field: String, value: &Value| {
            additions.push(Addition { container: name.to_owned(), field, value: value.clone() });
        };
        for probe in PROBES.iter().filter(|probe| container[**probe].is_object()) {
            add(format!("/{probe}"), &container[*probe]);
        }
        for list in ["requests", "limits"] {
            for (resource, value) in container["resources"][list].as_object().into_iter().flatten() {
                add(format!("/resources/{list}/{resource}"), value);
            }
        }
    }
    additions
}

/// Returns the server-side apply of all added fields without annotations, and their record.
fn with_fields(workload: &Value, additions: &[Addition]) -> (Value, String) {
    let mut containers: BTreeMap<String, Value> = BTreeMap::new();
    for container in added(workload) {
        containers.insert(container["name"].as_str().unwrap_or_default().to_owned(), container);
    }
    for Addition { container, field, value } in additions {
        let entry = containers.entry(container.clone()).or_insert_with(|| json!({ "name": container }));
        set(entry, field, value.clone());
    }
    let containers: Vec<Value> = containers.into_values().collect();
    let record = record(&containers);
    let mut patch = skeleton(workload);
    patch["spec"] = json!({ "template": { "spec": { "containers": containers } } });
    (patch, record)
}

/// Returns the server-side apply after a complete rollout: the rollout is over. The added fields stay, because the operator has
/// given them up.
pub fn complete(workload: &Value) -> Value {
    let mut patch = skeleton(workload);
    let by = &workload["metadata"]["annotations"][PATCHED_BY];
    patch["metadata"]["annotations"] = json!({ PATCHED_BY: by, ADDED_FIELDS: record(&added(workload)) });
    patch
}

/// Whether a workload has annotations of a patch.
pub fn has_annotations(workload: &Value) -> bool {
    OF_PATCH.iter().any(|name| workload["metadata"]["annotations"].get(*name).is_some())
}

/// Returns the merge patch after which the operator no longer follows a rollout, because another client has changed the template;
/// `None` if nothing is left of it. The annotations remain for as long as there are added fields.
pub fn abandon(workload: &Value) -> Option<Value> {
    let over: &[&str] = if added(workload).is_empty() { &OF_PATCH } else { &[ROLLING_OUT] };
    let existing = over.iter().filter(|name| workload["metadata"]["annotations"].get(**name).is_some());
    let annotations: Map<String, Value> = existing.map(|name| ((*name).to_owned(), Value::Null)).collect();
    if annotations.is_empty() {
        return give_up(workload);
    }
    let mut patch = merge_patch(workload);
    for (name, value) in annotations {
        patch["metadata"]["annotations"][name] = value;
    }
    Some(patch)
}

/// Returns the fields of every apply. With the resource version, the apply fails if another client has changed the workload.
fn skeleton(workload: &Value) -> Value {
    json!({
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "metadata": {
            "name": workload["metadata"]["name"],
            "namespace": workload["metadata"]["namespace"],
            "resourceVersion": workload["metadata"]["resourceVersion"],
        },
    })
}

/// Returns a fingerprint of the pod template without the added fields. It changes when another client changes the template.
pub fn own_template(workload: &Value) -> String {
    let mut template = workload.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(containers) = template.pointer_mut("/spec/containers") {
        remove(containers, &Value::Array(added(workload)));
    }
    remove_empty(&mut template);
    let digest = Sha256::digest(template.to_string());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the fields of `owned` from `value`, with all other fields of a probe whose handler was added, and with maps that become
/// empty.
fn remove(value: &mut Value, owned: &Value) {
    match (value, owned) {
        (Value::Object(entries), Value::Object(owned)) => {
            for (key, owned) in owned.iter().filter(|(key, _)| *key != "name") {
                let is_probe = is_whole_probe(key, owned);
                if let Some(entry) = entries.get_mut(key) {
                    remove(entry, owned);
                    if is_probe
                        || !entry.is_object() && !entry.is_array()
                        || entry.as_object().is_some_and(Map::is_empty)
                    {
                        entries.remove(key);
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(owned)) => {
            for owned in owned {
                if let Some(item) = items.iter_mut().find(|item| item["name"] == owned["name"]) {
                    remove(item, owned);
                }
            }
        }
        _ => {}
    }
}

/// Removes empty maps: it does not matter whether one remains after a patch was reverted.
fn remove_empty(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.values_mut().for_each(remove_empty);
            entries.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
        }
        Value::Array(items) => items.iter_mut().for_each(remove_empty),
        _ => {}
    }
}

/// Sets the value at a JSON Pointer, and creates missing maps of its path.
fn set(target: &mut Value, pointer: &str, value: Value) {
    let mut place = target;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
}

#[cfg(test)]
mod tests;
