use serde_json::json;

use super::*;
use crate::subject::{Needs, Subject};

fn subject(object: &serde_json::Value, annotations: bool) -> Subject {
    let object: Object = serde_json::from_value(object.clone()).expect("an object");
    let needs = Needs { annotations, objects: false };
    let context = Context { now: DateTime::UNIX_EPOCH, default_namespace: "default".to_owned(), source: None, needs };
    object.extract(&context).expect("it can be evaluated").into_subject().expect("it runs pods")
}

const CONTEXT: Context = Context {
    now: DateTime::UNIX_EPOCH,
    default_namespace: String::new(),
    source: None,
    needs: Needs { annotations: false, objects: false },
};

fn spec() -> serde_json::Value {
    json!({
        "serviceAccount": "old", "serviceAccountName": "robot", "hostNetwork": true, "hostPID": true, "hostIPC": true,
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1 },
        "volumes": [
            { "name": "b", "secret": { "secretName": "s" } },
            { "name": "a", "hostPath": { "path": "/" } },
            { "name": "c", "secret": null, "hostPath": { "path": "/etc" } },
        ],
        "containers": [
            {
                "name": "own",
                "securityContext": {
                    "privileged": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "runAsNonRoot": false, "runAsUser": 0,
                },
                "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "1Gi", "nvidia.com/gpu": 1 } },
            },
            { "name": "inherits" },
        ],
    })
}

#[test]
fn the_facts_of_a_pod_are_those_of_its_template() {
    let metadata = json!({ "labels": { "a": "b" }, "annotations": { "y": "2", "x": "1" } });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec() });
    let template = json!({ "metadata": metadata, "spec": spec() });
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "template": template } });
    for object in [pod, deployment] {
        let found = subject(&object, true);
        assert_eq!(&*found.pod.service_account, "robot");
        assert!(found.pod.host_network && found.pod.host_pid && found.pod.host_ipc);
        assert_eq!(found.pod.volume_types, ["hostPath", "secret"]);
        assert_eq!(found.annotations, [("x", "1"), ("y", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())));
        let [own, inherits] = found.containers.as_slice() else { panic!("{found:?}") };
        let context = own.security_context;
        assert!(context.privileged && context.read_only_root_filesystem);
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!((context.run_as_non_root, context.run_as_user), (Some(false), Some(0)));
        let context = inherits.security_context;
        assert_eq!((context.run_as_non_root, context.run_as_user), (Some(true), Some(1000)));
        assert!(!context.privileged && context.allow_privilege_escalation.is_none());
        // The request of memory is the limit, as for the API server.
        assert_eq!((own.requests.cpu_millicores, own.requests.memory_bytes), (Some(100), Some(1 << 30)));
        assert_eq!((own.limits.cpu_millicores, own.limits.memory_bytes), (None, Some(1 << 30)));
        assert!(own.has_resource_requests && own.has_resource_limits && !inherits.has_resource_limits);
        assert!(subject(&object, false).annotations.is_empty(), "no check needs them");
    }
}

#[test]
fn limits_are_also_the_requests_that_are_missing() {
    let container = |resources| {
        let spec = json!({ "containers": [{ "name": "a", "resources": resources }] });
        let pod = subject(&json!({ "apiVersion": "v1", "kind": "Pod", "spec": spec }), false);
        let container = &pod.containers[0];
        (container.has_resource_requests, container.requests.cpu_millicores, container.limits.cpu_millicores)
    };
    assert_eq!(container(json!({ "limits": { "cpu": "2" } })), (true, Some(2_000), Some(2_000)));
    assert_eq!(
        container(json!({ "limits": { "cpu": 2 }, "requests": { "cpu": 1 } })),
        (true, Some(1_000), Some(2_000))
    );
    assert_eq!(container(json!({ "requests": { "cpu": 1 } })), (true, Some(1_000), None));
    assert_eq!(container(json!({ "limits": {} })), (false, None, None));
}

#[test]
fn a_pod_runs_until_deletion_if_one_of_its_app_containers_does() {
    let policy = |of_pod: &str, own: &[Option<&str>]| {
        let containers: Vec<_> = own.iter().map(|own| json!({ "name": "a", "restartPolicy": own })).collect();
        let init = json!([{ "name": "sidecar", "restartPolicy": "Always" }]);
        let spec = json!({ "restartPolicy": of_pod, "containers": containers, "initContainers": init });
        subject(&json!({ "apiVersion": "v1", "kind": "Pod", "spec": spec }), false).restart_policy
    };
    assert_eq!(policy("Never", &[None]), RestartPolicy::Never);
    assert_eq!(policy("Never", &[Some("Always")]), RestartPolicy::Always);
    assert_eq!(policy("OnFailure", &[None, Some("Always")]), RestartPolicy::Always);
    assert_eq!(policy("Never", &[None, Some("OnFailure")]), RestartPolicy::OnFailure);
    assert_eq!(policy("Always", &[Some("Never"), None]), RestartPolicy::Always);
    assert_eq!(policy("Always", &[Some("Never"), Some("Never")]), RestartPolicy::Never);
}

#[test]
fn wrong_types_of_facts_are_errors() {
    for (field, value) in [
        ("hostNetwork", json!("true")),
        ("hostPID", json!(1)),
        ("serviceAccountName", json!(5)),
        ("securityContext", json!({ "runAsUser": "root" })),
        ("securityContext", json!([])),
        ("volumes", json!({})),
        ("volumes", json!(["a"])),
        ("containers", json!([{ "securityContext": { "privileged": "yes" } }])),
        ("containers", json!([{ "livenessProbe": "tcp" }])),
        ("containers", json!([{ "readinessProbe": [] }])),
        ("containers", json!([{ "startupProbe": true }])),
    ] {
        let mut object = json!({ "kind": "Pod", "spec": spec() });
        object["spec"][field] = value;
        assert!(serde_json::from_value::<Object>(object.clone()).is_err(), "{object}");
    }
    let mut nothing = json!({ "apiVersion": "v1", "kind": "Pod", "spec": { "containers": [{}] } });
    for field in ["hostNetwork", "serviceAccountName", "securityContext", "volumes"] {
        nothing["spec"][field] = json!(null);
    }
    assert_eq!(subject(&nothing, false).pod, crate::subject::PodContext::default());
}

#[test]
fn restart_counts_beyond_the_range_are_the_closest_ones_within() {
    let counts = [("a", json!(-1)), ("b", json!(7)), ("c", json!(i64::MAX)), ("d", json!(null))];
    let containers: Vec<_> = counts.iter().map(|(name, _)| json!({ "name": name })).collect();
    let statuses: Vec<_> = counts.iter().map(|(name, count)| json!({ "name": name, "restartCount": count })).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": { "containers": containers },
        "status": { "phase": "Running", "containerStatuses": statuses },
    });
    let found: Vec<_> = subject(&pod, false).containers.iter().map(|container| container.restart_count).collect();
    assert_eq!(found, [Some(0), Some(7), Some(u32::MAX), None]);
}

#[test]
fn fields_of_a_custom_resource_with_the_names_of_those_of_a_pod_can_have_any_type() {
    let template = json!({ "spec": { "containers": [{ "name": "app" }] } });
    for (field, value) in [
        ("containers", json!({ "app": 1 })),
        ("volumes", json!("none")),
        ("nodeName", json!(5)),
        ("serviceAccount", json!({})),
        ("restartPolicy", json!({ "type": "Always" })),
        ("securityContext", json!([])),
        ("hostNetwork", json!("yes")),
    ] {
        let mut rollout = json!({ "apiVersion": "example.com/v1", "kind": "Rollout", "status": "ok" });
        rollout["spec"] = json!({ "template": template, field: value });
        let object: Templated = serde_json::from_value(rollout).expect(field);
        assert!(Object::from(object).extract(&CONTEXT).is_ok_and(|found| found.into_subject().is_some()), "{field}");
    }
}

#[test]
fn every_usual_template_of_an_unknown_kind_is_a_subject() {
    let template = |name: &str| json!({ "spec": { "containers": [{ "name": name }] } });
    let containers = |api_version: &str, kind: &str, spec: serde_json::Value| {
        let object = json!({ "apiVersion": api_version, "kind": kind, "spec": spec });
        let object: Object = serde_json::from_value(object).expect("an object");
        let subjects =
            object.by_template().into_iter().filter_map(|object| object.extract(&CONTEXT).ok()?.into_subject());
        subjects.map(|subject| format!("{} {}", subject.spec_pointer, subject.containers[0].name)).collect::<Vec<_>>()
    };
    let (one, other) = ("/spec/template/spec a", "/spec/jobTemplate/spec/template/spec b");
    let both = |first: serde_json::Value| json!({ "template": first, "jobTemplate": { "spec": { "template": template("b") } } });
    assert_eq!(containers("example.com/v1", "Any", both(template("a"))), [one, other]);
    assert_eq!(containers("example.com/v1", "Any", both(json!({}))), [other]);
    assert_eq!(containers("example.com/v1", "Any", both(json!(null))), [other]);
    assert_eq!(containers("argoproj.io/v1alpha1", "Rollout", both(template("a"))), [one]);
    assert_eq!(containers("batch/v1", "CronJob", both(template("a"))), [other]);
}

#[test]
fn the_template_of_a_revision_is_a_subject() {
    let extracted = |data: serde_json::Value| {
        let revision = json!({ "apiVersion": "apps/v1", "kind": "ControllerRevision", "data": data });
        let revision: Revision = serde_json::from_value(revision).expect("a revision");
        Object::from(revision).extract(&CONTEXT).expect("it can be evaluated").into_subject()
    };
    let container = json!([{ "name": "app", "image": "nginx:latest" }]);
    for list in ["containers", "initContainers"] {
        let template = json!({ "$patch": "replace", "spec": { list: container } });
        let subject = extracted(json!({ "spec": { "template": template } })).expect(list);
        assert_eq!((&*subject.kind, &*subject.spec_pointer), ("ControllerRevision", "/data/spec/template/spec"));
        assert_eq!(&*subject.containers[0].image, "nginx:latest");
    }
    // It is a patch, which need not name the containers.
    let host_network = json!({ "spec": { "template": { "spec": { "hostNetwork": true } } } });
    assert!(extracted(host_network).is_some_and(|subject| subject.pod.host_network));
    for data in [json!(null), json!({ "spec": { "cpu": 1 } }), json!({ "spec": { "template": null } })] {
        assert!(extracted(data).is_none());
    }
}
