//! The fields that remediation added to a workload, and the record of them.
//!
//! The fields are added by a server-side apply, and given up when the rollout has started: `managedFields` no longer lists them,
//! and an annotation records them instead. An apply of another client that sets other values therefore causes no conflict, and a
//! container that another client removes is removed. To remove the fields, the operator takes them over again first.

use kube_devops_cluster::install::FIELD_MANAGER;
use kube_devops_cluster::managed_fields::{self, applied, extract, is_applied_by, set_of, subtract, union};
use serde_json::{Value, json};

/// The annotation with the set of the added fields of the containers.
pub const ADDED_FIELDS: &str = "devops.stochastic.io/added-fields";
/// The containers of a workload.
pub const CONTAINERS: &str = "/spec/template/spec/containers";
/// The containers in a set of fields.
const CONTAINER_FIELDS: &str = "/f:spec/f:template/f:spec/f:containers";
/// The probes of a container.
pub const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Returns the containers of a workload with the added fields and their present values. Fields that another manager has set since
/// are not among them.
pub fn added(workload: &Value) -> Vec<Value> {
    let recorded = workload["metadata"]["annotations"][ADDED_FIELDS].as_str();
    let recorded: Value = recorded.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let of_apply = applied(workload, FIELD_MANAGER).and_then(|fields| fields.pointer(CONTAINER_FIELDS));
    let mut set = union(json!({}), &recorded);
    set = union(set, of_apply.unwrap_or(&json!({})));
    // Anyone who can change the workload can change the annotation.
    for container in set.as_object_mut().into_iter().flat_map(|set| set.values_mut()) {
        if let Some(fields) = container.as_object_mut() {
            let is_remediable = |key: &str| key == "resources" || PROBES.contains(&key);
            fields.retain(|key, _| key.strip_prefix("f:").is_some_and(is_remediable));
        }
    }
    for other in
        managed_fields::of_others(workload, FIELD_MANAGER).filter_map(|fields| fields.pointer(CONTAINER_FIELDS))
    {
        subtract(&mut set, other);
    }
    if let Some(set) = set.as_object_mut() {
        set.retain(|key, fields| key.starts_with("k:") && fields.as_object().is_some_and(|fields| !fields.is_empty()));
        if set.is_empty() {
            return Vec::new();
        }
    }
    let containers = workload.pointer(CONTAINERS).and_then(|containers| extract(containers, &set));
    let Some(Value::Array(containers)) = containers else { return Vec::new() };
    containers.into_iter().filter(|container| container.as_object().is_some_and(|fields| fields.len() > 1)).collect()
}

/// Returns the value of [`ADDED_FIELDS`] for containers with added fields.
pub fn record(containers: &[Value]) -> String {
    set_of(&json!({ "containers": containers }))["f:containers"].to_string()
}

/// Returns the merge patch that gives up the added fields of an apply; `None` if the operator owns none of them. The API
/// server rejects it if the workload has changed in between.
pub fn give_up(workload: &Value) -> Option<Value> {
    let mut entries = workload.pointer("/metadata/managedFields")?.as_array()?.clone();
    let own = entries.iter_mut().find(|entry| is_applied_by(entry, FIELD_MANAGER))?;
    own["fieldsV1"].as_object_mut()?.remove("f:spec")?;
    let version = &workload["metadata"]["resourceVersion"];
    Some(json!({ "metadata": { "resourceVersion": version, "managedFields": entries } }))
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

    #[test]
    fn recorded_and_applied_fields_were_added() {
        let recorded: Value = serde_json::from_str(&record(&[app()])).unwrap_or_default();
        assert_eq!(added(&workload(&recorded, &json!([]))), [app()]);
        let limits = json!({ "f:resources": { "f:limits": { "f:cpu": {} } } });
        let apply =
            json!([{ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": in_container("side", &limits) }]);
        let side = json!({ "name": "side", "resources": { "limits": { "cpu": "2" } } });
        assert_eq!(added(&workload(&recorded, &apply)), [app(), side.clone()]);
        assert_eq!(added(&workload(&Value::Null, &apply)), [side]);
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
        let others = json!([{ "manager": "helm", "operation": "Update", "fieldsV1": in_container("app", &all) }]);
        assert_eq!(added(&workload(&recorded, &others)), Vec::<Value>::new());
    }

    #[test]
    fn a_forged_record_names_no_other_fields() {
        let forged = json!({ "k:{\"name\":\"app\"}": { "f:image": {}, "f:resources": {} }, "k:{\"name\":\"side\"}": {}, "x": 1 });
        let expected = json!({ "name": "app", "resources": { "limits": { "cpu": "1" } } });
        assert_eq!(added(&workload(&forged, &json!([]))), [expected]);
        for forged in [json!([]), json!("x"), json!({ "k:x": { "f:resources": {} } }), json!({ "f:name": {} })] {
            assert_eq!(added(&workload(&forged, &json!([]))), Vec::<Value>::new(), "{forged}");
        }
    }

    #[test]
    fn only_the_spec_is_given_up() {
        let mut fields = in_container("app", &json!({ "f:resources": {} }));
        fields["f:metadata"] = json!({ "f:annotations": {} });
        let other = json!({ "manager": "helm", "operation": "Apply", "fieldsV1": in_container("app", &json!({})) });
        let own = |fields: &Value| json!({ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields });
        let patch = give_up(&workload(&Value::Null, &json!([other, own(&fields)])));
        let left = own(&json!({ "f:metadata": { "f:annotations": {} } }));
        let expected = json!({ "metadata": { "resourceVersion": "7", "managedFields": [other, left] } });
        assert_eq!(patch, Some(expected));
        assert_eq!(give_up(&workload(&Value::Null, &json!([other, left]))), None);
        assert_eq!(give_up(&workload(&Value::Null, &json!([other]))), None);
    }
}
