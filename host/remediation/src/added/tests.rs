//! Tests of the record of the added fields.

use kube_devops_cluster::managed_fields::union;

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
    let expected =
        json!({ "name": "app", "livenessProbe": { "timeoutSeconds": 1 }, "resources": { "limits": { "cpu": "1" } } });
    assert_eq!(added(&workload(&forged, &json!([]))), [expected]);
    for forged in [json!([]), json!("x"), json!({ "k:x": { "f:resources": {} } }), json!({ "f:name": {} })] {
        assert_eq!(added(&workload(&forged, &json!([]))), Vec::<Value>::new(), "{forged}");
    }
}

#[test]
fn a_forged_record_takes_no_fields_from_their_owners() {
    let fields = set_of(&app());
    let handler = json!({ "f:livenessProbe": { "f:tcpSocket": { "f:port": {}, "f:host": {} }, "f:httpGet": {} } });
    let name = r#"k:{"name":"app"}"#;
    for forged in [
        json!({ r#"k:{"name": "app"}"#: fields }),
        json!({ r#"k: {"name":"app"}"#: fields }),
        json!({ r#"k:{"name":"\u0061pp"}"#: fields }),
        json!({ r#"k:{"name":"side","name":"app"}"#: fields }),
        json!({ r#"k:{"image":"web:1","name":"app"}"#: fields }),
        json!({ r#"k:{"name":"app","image":"x"}"#: fields }),
        json!({ r#"k:{"image":"web:1"}"#: fields }),
        json!({ r#"k:"app""#: fields, "k:{": fields, r#"v:{"name":"app"}"#: fields, "i:0": fields, "f:app": fields }),
        json!({ name: { "f:livenessProbe": {}, "f:resources": { "f:limits": {} } } }),
        json!({ name: { "f:livenessProbe": { "f:tcpSocket": {} }, "f:resources": { "f:limits": { "f:cpu": null } } } }),
        json!({ name: { "livenessProbe": { "f:tcpSocket": { "f:port": {} } }, "f:image": {}, ".": {} } }),
        json!({ name: { "f:livenessProbe": { "f:tcpSocket": { "f:host": {} }, "v:10": {}, "k:{}": {} } } }),
        json!({ name: { "f:lifecycle": handler, "f:resources": handler } }),
    ] {
        let mut workload = workload(&forged, &json!([]));
        workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["tcpSocket"]["host"] = json!("10.0.0.1");
        assert_eq!(added(&workload), Vec::<Value>::new(), "{forged}");
    }
    // What the operator can have added is that of its owner.
    let nested =
        json!({ name: { "f:resources": { "f:limits": { "f:cpu": { "f:x": {} } } } }, r#"k:{"name": "app"}"#: fields });
    let limit = json!([{ "manager": "helm", "operation": "Apply", "fieldsV1": in_container("app", &fields) }]);
    assert_eq!(added(&workload(&nested, &json!([]))), [json!({ "name": "app", "resources": app()["resources"] })]);
    assert_eq!(added(&workload(&nested, &limit)), Vec::<Value>::new());
    assert_eq!(limited(&handler, &addable()), Some(json!({ "f:livenessProbe": { "f:tcpSocket": { "f:port": {} } } })));
}

#[test]
fn every_field_that_can_be_added_is_recorded() {
    let probe = json!({
        "tcpSocket": { "port": 80 }, "initialDelaySeconds": 1, "periodSeconds": 2, "timeoutSeconds": 3,
        "successThreshold": 1, "failureThreshold": 4,
    });
    let quantities = json!({ "cpu": "1", "memory": "1Gi" });
    let container = json!({
        "name": "app", "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe,
        "resources": { "requests": quantities, "limits": quantities },
    });
    let workload = json!({
        "metadata": { "annotations": { ADDED_FIELDS: record(std::slice::from_ref(&container)) } },
        "spec": { "template": { "spec": { "containers": [container] } } },
    });
    assert_eq!(added(&workload), [container]);
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
    assert_eq!(super::foreign(&workload(&Value::Null, &json!([own(&in_container("app", &set_of(&app())))]))).len(), 4);
}
