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
    self, applied, extract, is_applied_by, of_others, paths, set_of, subtract, union,
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
/// never adds are ignored.
fn recorded(workload: &Value) -> Value {
    let recorded = workload["metadata"]["annotations"][ADDED_FIELDS].as_str();
    let recorded: Value = recorded.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut set = union(json!({}), &recorded);
    for container in set.as_object_mut().into_iter().flat_map(|set| set.values_mut()) {
        for probe in PROBES {
            retain(container, probe, &|fields| {
                fields.retain(|key, _| {
                    key.strip_prefix("f:").is_some_and(|key| key == "tcpSocket" || TIMES.contains(&key))
                });
            });
        }
        retain(container, "resources", &|fields| {
            fields.retain(|key, _| matches!(key.as_str(), "f:requests" | "f:limits"));
            for list in fields.values_mut().filter_map(Value::as_object_mut) {
                list.retain(|key, _| matches!(key.as_str(), "f:cpu" | "f:memory"));
            }
            fields.retain(|_, list| list.as_object().is_some_and(|list| !list.is_empty()));
        });
        if let Some(fields) = container.as_object_mut() {
            let is_remediable = |key: &str| key == "resources" || PROBES.contains(&key);
            fields.retain(|key, _| key.strip_prefix("f:").is_some_and(is_remediable));
        }
    }
    if let Some(set) = set.as_object_mut() {
        set.retain(|key, _| key.starts_with("k:"));
    }
    set
}

/// Retains fields below a field, and removes the field itself if none remains.
fn retain(container: &mut Value, field: &str, retain: &dyn Fn(&mut Map<String, Value>)) {
    let Some(container) = container.as_object_mut() else { return };
    let key = format!("f:{field}");
    let Some(fields) = container.get_mut(&key).and_then(Value::as_object_mut) else { return };
    retain(fields);
    if fields.is_empty() {
        container.remove(&key);
    }
}

/// The manifest that `kubectl apply` applied last, or null.
fn last_applied(workload: &Value) -> Value {
    let manifest = workload["metadata"]["annotations"][LAST_APPLIED].as_str();
    manifest.and_then(|manifest| serde_json::from_str(manifest).ok()).unwrap_or_default()
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
    let by_key = containers(workload).iter().filter_map(|container| {
        let key = json!({ "name": container.get("name")? });
        Some((format!("k:{key}"), container.clone()))
    });
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
mod tests {
    use super::*;

    fn workload(recorded: &Value, entries: &Value) -> Value {
        json!({
            "metadata": {
                "resourceVersion": "7", "annotations": { ADDED_FIELDS: recorded.to_string() }, "managedFields": entries,
            },
            "spec": { "template": { "spec": { "containers": [
                {
                    "name": "app", "image": "web:1",
                    "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 10, "timeoutSeconds": 1 },
                    "resources": { "limits": { "cpu": "1" } },
                },
                { "name": "side", "image": "side:1", "resources": { "limits": { "cpu": "2" } } },
            ] } } },
        })
    }

    fn in_container(name: &str, fields: &Value) -> Value {
        json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": { format!("k:{{\"name\":\"{name}\"}}"): fields } } } } })
    }

    fn app() -> Value {
        json!({
            "name": "app", "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 10 },
            "resources": { "limits": { "cpu": "1" } },
        })
    }

    fn own(fields: &Value) -> Value {
        json!({ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields })
    }

    #[test]
    fn recorded_fields_were_added_and_others_were_not_even_if_they_have_the_field_manager() {
        let recorded: Value = serde_json::from_str(&record(&[app()])).unwrap_or_default();
        assert_eq!(added(&workload(&recorded, &json!([]))), [app()]);
        let limits = in_container("side", &json!({ "f:resources": { "f:limits": { "f:cpu": {} } } }));
        assert_eq!(added(&workload(&recorded, &json!([own(&limits)]))), [app()]);
        assert_eq!(added(&workload(&Value::Null, &json!([own(&limits)]))), Vec::<Value>::new());
    }

    #[test]
    fn fields_that_another_manager_has_set_are_no_longer_added() {
        let recorded: Value = serde_json::from_str(&record(&[app()])).unwrap_or_default();
        let theirs = json!({
            ".": {}, "f:image": {}, "f:resources": {}, "f:livenessProbe": { "f:periodSeconds": {}, "f:httpGet": {} },
        });
        let others = json!([{ "manager": "helm", "operation": "Apply", "fieldsV1": in_container("app", &theirs) }]);
        let mut expected = app();
        expected["livenessProbe"] = json!({ "tcpSocket": { "port": 80 } });
        assert_eq!(added(&workload(&recorded, &others)), [expected]);
        let all = set_of(&app());
        for manager in ["helm", FIELD_MANAGER] {
            let others = json!([{ "manager": manager, "operation": "Update", "fieldsV1": in_container("app", &all) }]);
            assert_eq!(added(&workload(&recorded, &others)), Vec::<Value>::new(), "{manager}");
        }
    }

    #[test]
    fn fields_in_the_manifest_of_kubectl_apply_are_no_longer_added() {
        let recorded: Value = serde_json::from_str(&record(&[app()])).unwrap_or_default();
        let added_with = |container: Value| {
            let mut workload = workload(&recorded, &json!([]));
            let manifest = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
            workload["metadata"]["annotations"][LAST_APPLIED] = manifest.to_string().into();
            added(&workload)
        };
        let mut copied = app();
        copied["image"] = json!("web:1");
        assert_eq!(added_with(copied.clone()), Vec::<Value>::new());
        copied["resources"]["limits"]["cpu"] = json!(1);
        assert_eq!(added_with(copied.clone()), Vec::<Value>::new(), "the API server returns text");
        copied["livenessProbe"] = json!({ "periodSeconds": 10, "timeoutSeconds": 1 });
        let probe = json!({ "name": "app", "livenessProbe": { "tcpSocket": { "port": 80 } } });
        assert_eq!(added_with(copied), [probe]);
        let before = json!({ "name": "app", "livenessProbe": { "tcpSocket": { "port": 81 } } });
        assert_eq!(added_with(before), [app()], "the manifest was applied before the patch");
        assert_eq!(added_with(json!({ "name": "side", "image": "side:1" })), [app()]);
    }

    #[test]
    fn quantities_in_the_manifest_of_kubectl_apply_are_compared_as_such() {
        let is_added = |list: &str, resource: &str, applied: Value, live: &str| {
            let with = |quantity: Value| json!({ "name": "app", "resources": { list: { resource: quantity } } });
            let live = with(live.into());
            let manifest = json!({ "spec": { "template": { "spec": { "containers": [with(applied)] } } } });
            let workload = json!({
                "metadata": { "annotations": {
                    ADDED_FIELDS: record(std::slice::from_ref(&live)), LAST_APPLIED: manifest.to_string(),
                } },
                "spec": { "template": { "spec": { "containers": [live] } } },
            });
            !added(&workload).is_empty()
        };
        assert!(!is_added("limits", "cpu", json!("1000m"), "1"));
        assert!(!is_added("requests", "cpu", json!("0.5"), "500m"));
        assert!(!is_added("requests", "cpu", json!(0.5), "500m"));
        assert!(!is_added("limits", "memory", json!("1024Mi"), "1Gi"));
        assert!(!is_added("requests", "memory", json!("0.5Gi"), "512Mi"));
        assert!(is_added("limits", "cpu", json!("1001m"), "1"));
        assert!(is_added("limits", "memory", json!("1G"), "1Gi"));
        assert!(is_added("limits", "memory", json!("lots"), "1Gi"));
        let port = |port: Value| json!({ "k:app": { "livenessProbe": { "tcpSocket": { "port": port } } } });
        assert_eq!(common(&port(json!("1k")), &port(json!(1000))), None, "the name of a port is no quantity");
    }

    #[test]
    fn a_forged_record_names_no_other_fields() {
        let forged = json!({
            "k:{\"name\":\"app\"}": {
                "f:image": {}, "f:livenessProbe": { "f:timeoutSeconds": {}, "f:exec": {}, "f:terminationGracePeriodSeconds": {} },
                "f:resources": { "f:limits": { "f:cpu": {}, "f:nvidia.com/gpu": {} }, "f:claims": {} },
            },
            "k:{\"name\":\"side\"}": { "f:resources": {}, "f:livenessProbe": {} },
            "x": 1,
        });
        let expected = json!({ "name": "app", "livenessProbe": { "timeoutSeconds": 1 }, "resources": { "limits": { "cpu": "1" } } });
        assert_eq!(added(&workload(&forged, &json!([]))), [expected]);
        for forged in [json!([]), json!("x"), json!({ "k:x": { "f:resources": {} } }), json!({ "f:name": {} })] {
            assert_eq!(added(&workload(&forged, &json!([]))), Vec::<Value>::new(), "{forged}");
        }
    }

    #[test]
    fn everything_but_the_annotations_of_the_operator_is_given_up() {
        let annotations = json!({ "f:metadata": { "f:annotations": { format!("f:{ADDED_FIELDS}"): {} } } });
        let mut fields = union(in_container("app", &json!({ "f:resources": {} })), &annotations);
        let other = json!({ "manager": "helm", "operation": "Apply", "fieldsV1": in_container("app", &json!({})) });
        let given_up = |fields: &Value| give_up(&workload(&Value::Null, &json!([other, own(fields)])));
        let expected =
            |left: &Value| Some(json!({ "metadata": { "resourceVersion": "7", "managedFields": [other, own(left)] } }));
        assert_eq!(given_up(&fields), expected(&annotations));
        fields["f:metadata"]["f:labels"] = json!({ "f:team": {} });
        fields["f:metadata"]["f:annotations"]["f:note"] = json!({});
        assert_eq!(given_up(&fields), expected(&annotations));
        assert_eq!(given_up(&json!({ "f:spec": { "f:replicas": {} } })), expected(&json!({})));
        assert_eq!(given_up(&annotations), None);
        let mut reverted = workload(&Value::Null, &json!([own(&fields)]));
        reverted["metadata"]["annotations"][REVERTED] = own_template(&reverted).into();
        let annotations_of = |workload: &Value| give_up(workload).map(|patch| patch["metadata"]["annotations"].clone());
        assert_eq!(annotations_of(&reverted), Some(Value::Null));
        reverted["metadata"]["annotations"][REVERTED] = "another template".into();
        assert_eq!(annotations_of(&reverted), Some(json!({ REVERTED: null, REVERTED_BECAUSE: null })));
        assert_eq!(given_up(&json!({})), None);
        assert_eq!(give_up(&workload(&Value::Null, &json!([other]))), None);
    }

    #[test]
    fn fields_that_another_client_applied_under_the_name_of_the_operator_are_foreign() {
        let recorded: Value = serde_json::from_str(&record(&[app()])).unwrap_or_default();
        let foreign = |fields: &Value| foreign(&workload(&recorded, &json!([own(fields)])));
        let annotations = json!({ "f:metadata": { "f:annotations": { format!("f:{ADDED_FIELDS}"): {} } } });
        let patch = set_of(&json!({ "spec": { "template": { "spec": { "containers": [app()] } } } }));
        let mut patch = union(patch, &annotations);
        patch["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"app\"}"]["."] = json!({});
        assert_eq!(foreign(&patch), Vec::<String>::new());
        assert_eq!(foreign(&annotations), Vec::<String>::new());

        let theirs = json!({
            "f:securityContext": { "f:runAsNonRoot": {} }, "f:livenessProbe": { "f:tcpSocket": { "f:port": {}, "f:host": {} } },
        });
        let theirs = union(in_container("app", &theirs), &in_container("side", &json!({ ".": {}, "f:name": {} })));
        let theirs = union(theirs, &json!({ "f:metadata": { "f:labels": { "f:team": {} } } }));
        let container = |field: &str| format!("spec.template.spec.containers{field}");
        let expected = [
            "metadata.labels.team".to_owned(),
            container("[app].livenessProbe.tcpSocket.host"),
            container("[app].securityContext.runAsNonRoot"),
            container("[side].name"),
        ];
        assert_eq!(foreign(&union(patch, &theirs)), expected);
        assert_eq!(
            super::foreign(&workload(&Value::Null, &json!([own(&in_container("app", &set_of(&app())))]))).len(),
            4
        );
    }
}
