//! The added fields that are removed from an update of another client, because they would make it fail.
//!
//! The API server merges an update with the added fields. It rejects the result if a probe has two handlers, a container has no
//! image, or a request exceeds its limit, although the client has set only valid fields. A mutating webhook runs before that
//! validation.

use std::collections::HashMap;

use kube_devops_core::pointer::escape;
use serde_json::Value;

use super::added::{CONTAINERS, PROBES, added, containers, exceeds, of_pod};
use super::plan::PATCHED_BY;

/// The fields of a probe that say how the container is asked.
const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];

/// An added field that is removed from an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Yielded {
    /// JSON Pointer to the field in the new object.
    pub path: String,
    /// The name of the container.
    pub container: String,
    /// The field of the container, such as `livenessProbe.tcpSocket`; `None` for the whole container.
    pub field: Option<String>,
}

/// Returns the added fields to remove from `new`, the update of `old`, in an order in which no removal changes the path of a later
/// one.
///
/// - A container without an image: the client has removed the container.
/// - The handler of a probe and its periods: the client has set another handler.
/// - The request or the limit of a resource: the client has set the other one so that the request exceeds the limit, or has set those
///   of the whole pod.
///
/// A field that the client has set too is not removed.
pub fn yielded(old: &Value, new: &Value) -> Vec<Yielded> {
    if old["metadata"]["annotations"].get(PATCHED_BY).is_none() {
        return Vec::new();
    }
    let added = added(new);
    let (before, added) = (by_name(containers(old)), by_name(&added));
    let mut yielded = Vec::new();
    for (index, container) in containers(new).iter().enumerate().rev() {
        let Some(name) = container["name"].as_str() else { continue };
        let Some(added) = added.get(name) else { continue };
        let path = format!("{CONTAINERS}/{index}");
        if container["image"].as_str().is_none_or(str::is_empty) {
            yielded.push(Yielded { path, container: name.to_owned(), field: None });
            continue;
        }
        let mut remove = |field: &[&str]| {
            if get(added, field).is_some() {
                let keys: String = field.iter().map(|key| format!("/{}", escape(key))).collect();
                let field = Some(field.join("."));
                yielded.push(Yielded { path: format!("{path}{keys}"), container: name.to_owned(), field });
            }
        };
        for probe in PROBES {
            let has =
                |container: &Value, handler: &str| container[probe].get(handler).is_some_and(|value| !value.is_null());
            if HANDLERS.iter().any(|handler| has(container, handler) && !has(added, handler)) {
                let keys = added[probe].as_object().into_iter().flat_map(|probe| probe.keys());
                keys.for_each(|key| remove(&[probe, key]));
            }
        }
        let before = before.get(name).copied().unwrap_or(&Value::Null);
        for [list, other] in [["requests", "limits"], ["limits", "requests"]] {
            let resources = added["resources"][list].as_object();
            for resource in resources.into_iter().flat_map(|resources| resources.keys()) {
                let is_changed =
                    before["resources"][other].get(resource) != container["resources"][other].get(resource);
                let is_changed_of_pod = ["requests", "limits"]
                    .iter()
                    .any(|list| of_pod(old, list, resource) != of_pod(new, list, resource));
                if is_changed && exceeds_limit(container, resource) || is_changed_of_pod {
                    remove(&["resources", list, resource]);
                }
            }
        }
    }
    yielded
}

/// Returns the containers by name; the first one of two.
fn by_name(containers: &[Value]) -> HashMap<&str, &Value> {
    containers.iter().rev().filter_map(|container| Some((container["name"].as_str()?, container))).collect()
}

fn get<'a>(value: &'a Value, field: &[&str]) -> Option<&'a Value> {
    field.iter().try_fold(value, |value, key| value.get(key))
}

/// Whether the request of a container exceeds its limit.
fn exceeds_limit(container: &Value, resource: &str) -> bool {
    let [request, limit] = ["requests", "limits"].map(|list| &container["resources"][list][resource]);
    exceeds(request, limit) == Some(true)
}

#[cfg(test)]
mod tests;
