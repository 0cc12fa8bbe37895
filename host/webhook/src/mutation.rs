//! The removal of fields that remediation added, from updates that would fail because of them.
//!
//! Nothing else is ever changed. A request that cannot be processed is admitted as it is.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_remediation::{Yielded, yielded};
use serde_json::{Value, json};

use crate::metrics::Metrics;
use crate::response::{MAX_WARNING_LENGTH, MAX_WARNINGS};
use crate::review::{Patch, Request, Response, ReviewError, parse_values};

/// Responds to a review. `operator` is the user who remediates, whose updates are never changed.
///
/// # Errors
///
/// If the body is not a review with a uid, to which a response is possible.
pub fn answer(body: &[u8], operator: Option<&str>, metrics: &Metrics) -> Result<Response, ReviewError> {
    let request = parse_values(body)?;
    let yielded = yields(&request, operator);
    if !yielded.is_empty() {
        metrics.yields.inc();
        log(&request, &yielded);
    }
    Ok(response(&request.uid, &yielded))
}

fn yields(request: &Request<'_, Value>, operator: Option<&str>) -> Vec<Yielded> {
    let is_update = request.operation == "UPDATE" && request.sub_resource.is_empty();
    let is_operator = operator == Some(&*request.user_info.username);
    match (&request.old_object, &request.object) {
        (Some(old), Some(new)) if is_update && !is_operator => yielded(old, new),
        _ => Vec::new(),
    }
}

fn response(uid: &str, yielded: &[Yielded]) -> Response {
    let mut response = Response::allowed(uid);
    if yielded.is_empty() {
        return response;
    }
    let operations: Vec<Value> =
        yielded.iter().map(|yielded| json!({ "op": "remove", "path": yielded.path })).collect();
    response.patch =
        Some(Patch { patch: ByteString(Value::from(operations).to_string().into_bytes()), patch_type: "JSONPatch" });
    let warnings = by_container(yielded).into_iter().take(MAX_WARNINGS).map(|(container, fields)| {
        let text = if fields.is_empty() {
            format!("removed container {container}, of which only the fields remained that kube-devops had added")
        } else {
            let fields = fields.join(", ");
            format!("container {container}: removed {fields}, which kube-devops had added, because this update sets other values")
        };
        cut(&escape_controls(&text), MAX_WARNING_LENGTH)
    });
    response.warnings = warnings.collect();
    response
}

/// The removed fields of each container; none for a whole container.
fn by_container(yielded: &[Yielded]) -> BTreeMap<&str, Vec<&str>> {
    let mut containers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Yielded { container, field, .. } in yielded {
        containers.entry(container).or_default().extend(field.as_deref());
    }
    containers
}

fn log(request: &Request<'_, Value>, yielded: &[Yielded]) {
    let shown = |text: &str| cut(&escape_controls(text), MAX_WARNING_LENGTH);
    let name = request.object.as_ref().and_then(|object| object["metadata"]["name"].as_str()).unwrap_or_default();
    tracing::info!(
        namespace = shown(&request.namespace),
        kind = shown(&request.kind.kind),
        name = shown(name),
        user = shown(&request.user_info.username),
        fields = yielded.len(),
        "removed added fields from an update"
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::Registry;

    use super::*;

    fn review(request: &Value) -> Vec<u8> {
        let mut request = request.clone();
        request["uid"] = "1-2".into();
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
            .to_string()
            .into_bytes()
    }

    fn workload(probe: &Value) -> Value {
        json!({
            "metadata": {
                "name": "web",
                "annotations": {
                    "devops.stochastic.io/patched-by": "kube-devops/policy",
                    "devops.stochastic.io/added-fields":
                        json!({ "k:{\"name\":\"app\"}": { "f:livenessProbe": { "f:tcpSocket": { "f:port": {} } } } }).to_string(),
                },
            },
            "spec": { "template": { "spec": { "containers": [
                { "name": "app", "image": "web:1", "livenessProbe": probe },
            ] } } },
        })
    }

    fn update(user: &str) -> Value {
        let (tcp, http) = (json!({ "port": 80 }), json!({ "port": 81 }));
        json!({
            "operation": "UPDATE", "namespace": "shop", "userInfo": { "username": user },
            "oldObject": workload(&json!({ "tcpSocket": tcp })),
            "object": workload(&json!({ "tcpSocket": tcp, "httpGet": http })),
        })
    }

    fn answered(request: &Value) -> Value {
        let metrics = Metrics::new(&Registry::new(), false).unwrap();
        let response = answer(&review(request), Some("operator"), &metrics).unwrap();
        let json: Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!((&json["response"]["uid"], &json["response"]["allowed"]), (&"1-2".into(), &true.into()));
        assert_eq!(metrics.yields.get() > 0, json["response"].get("patch").is_some());
        json["response"].clone()
    }

    #[test]
    fn an_update_with_another_handler_gets_a_patch_and_a_warning() {
        let response = answered(&update("jane"));
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
        let path = "/spec/template/spec/containers/0/livenessProbe/tcpSocket";
        assert_eq!(serde_json::from_slice::<Value>(&patch.0).unwrap(), json!([{ "op": "remove", "path": path }]));
        let warning = "container app: removed livenessProbe.tcpSocket, which kube-devops had added, because this update sets other values";
        assert_eq!(response["warnings"], json!([warning]));
    }

    #[test]
    fn other_requests_are_admitted_as_they_are() {
        let mut requests = vec![update("operator"), json!({}), json!({ "operation": "UPDATE", "object": [] })];
        for (field, value) in [("operation", "CREATE"), ("operation", "DELETE"), ("subResource", "scale")] {
            let mut request = update("jane");
            request[field] = value.into();
            requests.push(request);
        }
        for field in ["object", "oldObject"] {
            let mut request = update("jane");
            request[field] = Value::Null;
            requests.push(request);
        }
        for request in requests {
            let response = answered(&request);
            assert!(response.get("patch").is_none() && response.get("warnings").is_none(), "{request}: {response}");
        }
    }
}
