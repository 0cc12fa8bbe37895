//! Tests of the fields that are added.

use kube_devops_cluster::install::FIELD_MANAGER;

use super::super::added::CONTAINERS;
use super::super::removal::revert;
use super::*;

fn workload(containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7" },
        "spec": { "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": containers } } },
    })
}

fn edit(container: &str, field: &str) -> Edit {
    Edit {
        check: "test".to_owned(),
        container: Some(container.to_owned()),
        field: field.to_owned(),
        value: r#"{"tcpSocket":{"port":80},"initialDelaySeconds":5,"periodSeconds":10}"#.to_owned(),
    }
}

fn fields(additions: &[Addition]) -> Vec<(&str, &str)> {
    additions.iter().map(|addition| (addition.container.as_str(), addition.field.as_str())).collect()
}

#[test]
fn only_missing_remediable_fields_are_added() {
    let ports = json!([{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 80 }]);
    let workload = workload(json!([
        { "name": "app", "livenessProbe": { "exec": {} }, "ports": ports },
        { "name": "proxy", "ports": ports },
        { "name": "worker" },
        { "name": "dns", "ports": [ports[0]] },
    ]));
    let edits = [
        edit("app", "/livenessProbe"),
        edit("app", "/readinessProbe"),
        edit("app", "/readinessProbe"),
        edit("proxy", "/livenessProbe"),
        edit("proxy", "/securityContext"),
        edit("proxy", "/image"),
        edit("proxy", "/resourcesX"),
        edit("missing", "/livenessProbe"),
        Edit { container: None, ..edit("", "/hostNetwork") },
        Edit { value: "no json".to_owned(), ..edit("proxy", "/startupProbe") },
        edit("worker", "/livenessProbe"),
        edit("dns", "/livenessProbe"),
    ];
    let Plan { additions, without_port, without_tcp_port, rejected } =
        plan(&workload, &DevOpsPolicySpec::default(), &edits);
    assert_eq!(fields(&additions), [("app", "/readinessProbe"), ("proxy", "/livenessProbe")]);
    assert_eq!(additions[0].value["tcpSocket"]["port"], 80);
    assert_eq!(without_port, ["worker".to_owned()].into());
    assert_eq!(without_tcp_port, ["dns".to_owned()].into());
    let rejected: Vec<&str> = rejected.iter().map(|(_, field)| field.as_str()).collect();
    let expected = ["/hostNetwork", "/image", "/livenessProbe", "/resourcesX", "/securityContext", "/startupProbe"];
    assert_eq!(rejected, expected);
}

#[test]
fn a_check_can_add_neither_commands_nor_requests_to_other_hosts_nor_other_resources() {
    let workload = workload(json!([{ "name": "app", "ports": [{ "containerPort": 80 }] }]));
    let added = |field: &str, value: Value| {
        let edit = Edit { value: value.to_string(), ..edit("app", field) };
        let mut additions = plan(&workload, &DevOpsPolicySpec::default(), &[edit]).additions;
        additions.pop().map(|addition| addition.value)
    };
    for value in [
        json!({ "exec": { "command": ["sh", "-c", "id"] } }),
        json!({ "exec": { "command": ["id"] }, "tcpSocket": { "port": 80 } }),
        json!({ "httpGet": { "host": "169.254.169.254", "port": 80 } }),
        json!({ "grpc": { "port": 80 } }),
        json!({ "tcpSocket": { "port": 80 }, "terminationGracePeriodSeconds": 0 }),
        json!({}),
        json!([]),
        json!("tcpSocket"),
    ] {
        assert_eq!(added("/livenessProbe", value.clone()), None, "{value}");
    }
    let probe = json!({ "tcpSocket": { "host": "10.0.0.1", "port": 22 }, "timeoutSeconds": 3, "periodSeconds": "x" });
    assert_eq!(added("/startupProbe", probe), Some(json!({ "tcpSocket": { "port": 80 }, "timeoutSeconds": 3 })));

    assert_eq!(added("/resources/limits/memory", json!("1Gi")), Some(json!("1Gi")));
    assert_eq!(added("/resources/requests/cpu", json!(1)), Some(json!(1)));
    for (field, value) in [
        ("/resources", json!({ "limits": { "cpu": "1" } })),
        ("/resources/claims", json!([{ "name": "gpu" }])),
        ("/resources/limits/nvidia.com~1gpu", json!("1")),
        ("/resources/limits/cpu/x", json!("1")),
        ("/resources/limits/cpu", json!("many")),
        ("/resources/limits/cpu", json!({})),
        ("/resources/limits/cpu", json!(-1)),
        ("livenessProbe", json!({ "tcpSocket": { "port": 80 } })),
    ] {
        assert_eq!(added(field, value), None, "{field}");
    }
}

#[test]
fn a_probe_targets_a_declared_tcp_port_or_that_of_the_policy() {
    let port = |ports: Value, of_policy: Option<i32>| tcp_port(&json!({ "ports": ports }), of_policy);
    let web = || json!([{ "containerPort": 80 }, { "containerPort": 9000, "protocol": "TCP" }]);
    assert_eq!(port(web(), None), Some(80));
    assert_eq!(port(web(), Some(9000)), Some(9000));
    assert_eq!(port(web(), Some(8080)), Some(80), "the port of the policy is not declared");
    assert_eq!(port(Value::Null, Some(8080)), Some(8080));
    assert_eq!(port(Value::Null, None), None);
    assert_eq!(port(json!([{ "containerPort": 53, "protocol": "UDP" }]), Some(8080)), None);
}

#[test]
fn the_default_probe_of_the_policy_is_applied() {
    let policy = DevOpsPolicySpec {
        default_probe: Some(DefaultProbe {
            tcp_port: Some(9000),
            initial_delay_seconds: None,
            period_seconds: Some(3),
        }),
        ..DevOpsPolicySpec::default()
    };
    let container = json!({ "name": "app", "ports": [{ "containerPort": 80 }, { "containerPort": 9000 }] });
    let additions = plan(&workload(json!([container])), &policy, &[edit("app", "/livenessProbe")]).additions;
    let expected = json!({ "tcpSocket": { "port": 9000 }, "initialDelaySeconds": 5, "periodSeconds": 3 });
    assert_eq!(additions[0].value, expected);
}

/// A policy that defines all requests and limits.
fn with_default_resources() -> DevOpsPolicySpec {
    let quantity = |text: &str| Some(text.to_owned());
    DevOpsPolicySpec {
        default_resources: Some(DefaultResources {
            cpu_request: quantity("100m"),
            cpu_limit: quantity("500m"),
            memory_request: quantity("128Mi"),
            memory_limit: quantity("256Mi"),
        }),
        ..DevOpsPolicySpec::default()
    }
}

#[test]
fn added_requests_never_exceed_limits() {
    let policy = with_default_resources();
    let added = |resources: Value| {
        let workload = workload(json!([{ "name": "app", "resources": resources }]));
        let additions = plan(&workload, &policy, &[]).additions;
        additions.iter().map(|addition| addition.field.replace("/resources/", "")).collect::<Vec<_>>()
    };
    assert_eq!(added(json!({})), ["requests/cpu", "limits/cpu", "requests/memory", "limits/memory"]);
    let all = json!({ "requests": { "cpu": 1, "memory": "1" }, "limits": { "cpu": 1, "memory": "1" } });
    assert!(added(all).is_empty());
    // 100m exceeds the limit of 50m, and 256Mi is less than the request of 1Gi.
    let tight = json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": "50m" } });
    assert!(added(tight).is_empty());
    let loose = json!({ "requests": { "memory": "64Mi" }, "limits": { "cpu": 2 } });
    assert_eq!(added(loose), ["limits/memory"]);
}

#[test]
fn requests_and_limits_of_a_resource_that_the_whole_pod_has_are_not_added() {
    let policy = with_default_resources();
    let of_checks = ["cpu", "memory"]
        .map(|resource| Edit { value: "1".to_owned(), ..edit("app", &format!("/resources/limits/{resource}")) });
    let added = |of_pod: Value, policy: &DevOpsPolicySpec, edits: &[Edit]| {
        let mut workload = workload(json!([{ "name": "app" }]));
        workload["spec"]["template"]["spec"]["resources"] = of_pod;
        let Plan { additions, rejected, .. } = plan(&workload, policy, edits);
        assert!(rejected.is_empty(), "{rejected:?}");
        additions.iter().map(|addition| addition.field.replace("/resources/", "")).collect::<Vec<_>>()
    };
    let (cpu, memory) = (["requests/cpu", "limits/cpu"], ["requests/memory", "limits/memory"]);
    for (of_pod, expected) in [
        (json!({ "limits": { "memory": "1Gi" } }), &cpu[..]),
        (json!({ "requests": { "memory": "64Mi" } }), &cpu),
        (json!({ "limits": { "cpu": "1" }, "requests": { "cpu": 1 } }), &memory),
        (json!({ "limits": { "cpu": "1" }, "requests": { "memory": "1Gi" } }), &[]),
        (json!({ "limits": { "cpu": null, "hugepages-2Mi": "4Mi" } }), &[cpu, memory].concat()),
    ] {
        assert_eq!(added(of_pod.clone(), &policy, &[]), expected, "{of_pod}");
        let expected: Vec<_> = expected.iter().filter(|field| field.starts_with("limits")).copied().collect();
        assert_eq!(added(of_pod.clone(), &DevOpsPolicySpec::default(), &of_checks), expected, "{of_pod}");
    }
}

#[test]
fn a_patch_contains_the_fields_that_were_added_before() {
    let mut workload = workload(json!([
        { "name": "app", "livenessProbe": { "tcpSocket": { "port": 1 }, "timeoutSeconds": 1 } },
        { "name": "new" },
    ]));
    let before = json!({ "name": "app", "livenessProbe": { "tcpSocket": { "port": 1 } } });
    workload["metadata"]["annotations"] = json!({ ADDED_FIELDS: record(&[before]) });
    let additions =
        [Addition { container: "new".to_owned(), field: "/resources/limits/cpu".to_owned(), value: json!("1") }];
    let patch = patch(&workload, &additions, "strict");
    let containers = json!([
        { "name": "app", "livenessProbe": { "tcpSocket": { "port": 1 } } },
        { "name": "new", "resources": { "limits": { "cpu": "1" } } },
    ]);
    assert_eq!(patch.pointer(CONTAINERS), Some(&containers));
    let record = |containers: &Value| record(containers.as_array().map_or(&[], Vec::as_slice));
    let annotations = json!({
        PATCHED_BY: "kube-devops/strict", ROLLING_OUT: own_template(&workload), ADDED_FIELDS: record(&containers),
    });
    assert_eq!(patch["metadata"]["annotations"], annotations);
    workload["metadata"]["annotations"] = annotations;
    let first = json!([containers[0]]);
    let done = complete(&workload);
    let annotations = json!({ PATCHED_BY: "kube-devops/strict", ADDED_FIELDS: record(&first) });
    assert_eq!(done["metadata"]["annotations"], annotations);
    assert!(done.get("spec").is_none(), "the added fields would be owned again");
    assert_eq!(patch["metadata"]["resourceVersion"], "7");

    // The added fields and their defaults do not change the fingerprint.
    let mut bare = workload.clone();
    bare["metadata"].as_object_mut().map(|metadata| metadata.remove("managedFields"));
    bare["spec"]["template"]["spec"]["containers"] = json!([{ "name": "app" }, { "name": "new" }]);
    assert_eq!(own_template(&workload), own_template(&bare));
    bare["spec"]["template"]["spec"]["containers"][1]["image"] = json!("x");
    assert_ne!(own_template(&workload), own_template(&bare));
}

#[test]
fn the_fingerprint_of_a_patch_is_that_of_the_admitted_template() {
    let workload = workload(json!([{ "name": "app" }]));
    let added = json!({ "tcpSocket": { "port": 80 } });
    let addition = Addition { container: "app".to_owned(), field: "/livenessProbe".to_owned(), value: added.clone() };
    let patch = patch(&workload, &[addition], "strict");
    let mut admitted = workload.clone();
    admitted["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
    admitted["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = added;
    assert_eq!(with_template(&patch, &admitted), None, "nothing but the added fields has changed");
    admitted["spec"]["template"]["metadata"]["labels"]["injected"] = json!("true");
    let Some(corrected) = with_template(&patch, &admitted) else { panic!("not corrected") };
    assert_eq!(corrected["metadata"]["annotations"][ROLLING_OUT], own_template(&admitted));
    assert_eq!(corrected["spec"], patch["spec"]);
    assert_eq!(with_template(&corrected, &admitted), None);
}

/// A workload of one container with an added probe, request and limit, and with these fields that another client has set since.
fn edited(theirs: &Value) -> Value {
    let probe = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 10 });
    let resources = json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2", "memory": "1Gi" } });
    let added = json!({ "name": "app", "livenessProbe": probe, "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "2" } } });
    let mut workload = workload(json!([{ "name": "app", "livenessProbe": probe, "resources": resources }]));
    workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["timeoutSeconds"] = json!(1);
    workload["metadata"]["annotations"] =
        json!({ PATCHED_BY: "kube-devops/strict", ADDED_FIELDS: record(&[added]), ROLLING_OUT: "x" });
    let theirs =
        json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"app\"}": theirs } } } } });
    workload["metadata"]["managedFields"] =
        json!([{ "manager": "kubectl-patch", "operation": "Update", "fieldsV1": theirs }]);
    workload
}

#[test]
fn a_revert_removes_the_added_fields_and_probes_without_a_handler() {
    let removed = |theirs: Value| revert(&edited(&theirs), "it restarted").pointer(CONTAINERS).cloned();
    let resources = json!({ "requests": { "cpu": null }, "limits": { "cpu": null } });
    let all = json!([{ "name": "app", "livenessProbe": null, "resources": resources }]);
    assert_eq!(removed(json!({})), Some(all.clone()));
    assert_eq!(removed(json!({ "f:livenessProbe": { "f:periodSeconds": {}, "f:timeoutSeconds": {} } })), Some(all));
    let handler = json!({ "f:livenessProbe": { "f:tcpSocket": { "f:port": {} } }, "f:resources": { "f:requests": { "f:cpu": {} } } });
    let rest = json!([{ "name": "app", "livenessProbe": { "periodSeconds": null }, "resources": { "limits": { "cpu": null } } }]);
    assert_eq!(removed(handler), Some(rest));

    let patch = revert(&edited(&json!({})), "it restarted");
    let annotations = json!({
        PATCHED_BY: null, ROLLING_OUT: null, ADDED_FIELDS: null,
        REVERTED: own_template(&edited(&json!({}))), REVERTED_BECAUSE: "it restarted",
    });
    assert_eq!(patch["metadata"], json!({ "resourceVersion": "7", "annotations": annotations }));
    assert_eq!(revert(&workload(json!([{ "name": "app" }])), "x").get("spec"), None);
}

#[test]
fn a_revert_gives_up_the_container_so_that_another_client_can_remove_it() {
    let mut workload = edited(&json!({}));
    let owned = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"app\"}": { ".": {}, "f:name": {}, "f:livenessProbe": { "f:periodSeconds": {} } },
    } } } } });
    let entry = |fields: Value| json!({ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields });
    workload["metadata"]["managedFields"] = json!([entry(owned)]);
    workload["metadata"]["annotations"][REVERTED] = "another template".into();
    let patch = revert(&workload, "it restarted");
    assert_eq!(patch["metadata"]["managedFields"], json!([entry(json!({}))]));
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert_eq!(patch["metadata"]["annotations"][REVERTED], own_template(&workload));
    assert_eq!(patch["metadata"]["annotations"][ROLLING_OUT], Value::Null);
    assert_eq!(patch.pointer(CONTAINERS).map(|containers| &containers[0]["livenessProbe"]), Some(&Value::Null));
}

#[test]
fn the_fingerprint_contains_probes_whose_handler_another_client_has_set() {
    let fingerprint = |theirs: Value| own_template(&edited(&theirs));
    let own = fingerprint(json!({}));
    assert_eq!(fingerprint(json!({ "f:livenessProbe": { "f:periodSeconds": {} } })), own);
    assert_ne!(fingerprint(json!({ "f:livenessProbe": { "f:tcpSocket": { "f:port": {} } } })), own);
}
