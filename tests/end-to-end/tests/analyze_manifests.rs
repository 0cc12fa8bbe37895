//! `analyze -f`: the evaluated objects, the checks that apply to them, and the score.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use end_to_end::objects::{
    bad_container, bad_pod, cron_job, documents, good_container, good_pod, in_namespace, labelled, pod, restarted,
    with_status, workload,
};
use end_to_end::{Folder, Ran, kube_devops, run, run_with_input};
use serde_json::{Value, json};

const ALL_THREE: &[&str] = &["latest-tag", "missing-liveness", "missing-readiness"];

/// Evaluates objects as the documents of standard input, with a JSON report.
fn evaluate(objects: &[Value], arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json"]).args(arguments).args(["-f", "-"]);
    run_with_input(&mut command, documents(objects))
}

/// Evaluates files and folders, with a JSON report.
fn evaluate_paths<P: AsRef<Path>>(paths: &[P], arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json"]).args(arguments).arg("-f");
    run(command.args(paths.iter().map(AsRef::as_ref)))
}

/// Returns the check of each violation of one object.
fn checks_of(object: &Value) -> Vec<String> {
    let ran = evaluate(std::slice::from_ref(object), &[]).exits(0).is_quiet();
    assert_eq!(ran.json()["subjects"], 1, "{object}");
    ran.json()["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["check"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns the names of the evaluated objects; only objects with violations are included.
fn evaluated(ran: &Ran) -> Vec<String> {
    let report = ran.json();
    let mut names: Vec<String> = report["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["name"].as_str().unwrap().to_owned())
        .collect();
    names.dedup();
    names
}

#[test]
fn the_examples_show_a_healthy_and_a_critical_namespace() {
    let ran = run(kube_devops().args(["analyze", "-f", "examples/"])).exits(0).is_quiet();
    insta::assert_snapshot!(ran.stdout);
    let report = evaluate_paths(&["examples"], &[]).exits(0).json();
    let classes: Vec<_> = report["namespaces"].as_array().unwrap().iter().map(|it| &it["classification"]).collect();
    assert!(classes.contains(&&json!("Healthy")) && classes.contains(&&json!("Critical")), "{classes:?}");
}

#[test]
fn a_report_without_violations_is_explicit() {
    let mut command = kube_devops();
    let ran = run_with_input(command.args(["analyze", "-f", "-"]), good_pod("fine").to_string()).exits(0).is_quiet();
    insta::assert_snapshot!(ran.stdout);
}

#[test]
fn no_subjects_are_a_warning_and_not_a_failure() {
    let mut command = kube_devops();
    let ran = run_with_input(command.args(["analyze", "-f", "-"]), "kind: Service\n").exits(0);
    assert_eq!(ran.stderr, "warning: nothing was evaluated: no pods or workloads found in stdin\n");
    insta::assert_snapshot!(ran.stdout);
}

#[test]
fn standard_input_is_read_once_if_given_repeatedly() {
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "-f", "-", "-f", "-", "-"]);
    let ran = run_with_input(&mut command, bad_pod("a").to_string()).exits(0);
    assert_eq!(ran.json()["subjects"], 1);
    assert_eq!(ran.json()["violations"][0]["source"]["file"], "stdin");
}

#[test]
fn paths_can_be_given_in_one_or_in_several_options() {
    let folder = Folder::with(["a", "b", "c"].map(|name| (format!("{name}.json"), bad_pod(name).to_string())));
    let path = |name: &str| folder.path().join(name);
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "-f"]).arg(path("b.json")).arg(path("a.json"));
    command.arg("--filename").arg(path("c.json"));
    let ran = run(&mut command).exits(0).is_quiet();
    assert_eq!(evaluated(&ran), ["a", "b", "c"]);
}

#[test]
fn a_file_given_twice_is_evaluated_once() {
    let folder = Folder::with([("a.json", bad_pod("a").to_string())]);
    let paths = [folder.path().join("a.json"), folder.path().to_owned(), folder.path().join(".").join("a.json")];
    assert_eq!(evaluate_paths(&paths, &[]).exits(0).json()["subjects"], 1);
}

#[test]
fn folders_are_read_recursively() {
    let folder = Folder::with([
        ("a.yaml", bad_pod("a").to_string()),
        ("b.yml", bad_pod("b").to_string()),
        ("deep/er/c.json", bad_pod("c").to_string()),
        ("D.YAML", bad_pod("d").to_string()),
        ("README.md", "no manifest: {{{".to_owned()),
        ("values.toml", "no manifest = {{{".to_owned()),
        (".hidden/e.yaml", bad_pod("e").to_string()),
        (".f.yaml", bad_pod("f").to_string()),
    ]);
    let ran = evaluate_paths(&[folder.path()], &[]).exits(0).is_quiet();
    assert_eq!(evaluated(&ran), ["a", "b", "c", "d"]);
}

#[test]
fn a_file_given_by_name_is_read_regardless_of_its_extension() {
    let folder = Folder::with([("manifest.txt", bad_pod("a").to_string()), (".hidden", bad_pod("b").to_string())]);
    let ran = evaluate_paths(&[folder.path().join("manifest.txt"), folder.path().join(".hidden")], &[]).exits(0);
    assert_eq!(evaluated(&ran), ["a", "b"]);
}

#[test]
fn violations_name_their_document_and_line() {
    let text = "# one\n---\nkind: Service\n---\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: app\n    image: nginx\n";
    let folder = Folder::with([("a.yaml", text)]);
    let ran = evaluate_paths(&[folder.path()], &[]).exits(0);
    let locations: Vec<_> = ran.json()["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let source = &found["source"];
            assert!(source["file"].as_str().unwrap().ends_with("/a.yaml"));
            (found["check"].as_str().unwrap().to_owned(), source["document"].clone(), source["line"].clone())
        })
        .collect();
    let expected = [("latest-tag", 2, 11), ("missing-liveness", 2, 10), ("missing-readiness", 2, 10)];
    assert_eq!(locations, expected.map(|(check, document, line)| (check.to_owned(), json!(document), json!(line))));
}

#[test]
fn namespaces_are_selected_by_name() {
    let objects = ["one", "two", "three"].map(|name| in_namespace(bad_pod(name), name));
    let unnamed = bad_pod("unnamed");
    let all: Vec<_> = objects.into_iter().chain([unnamed]).collect();
    for (arguments, expected) in [
        (&["-n", "one"][..], &["one", "unnamed"][..]),
        (&["-n", "one", "--namespace", "three"], &["one", "three"]),
        (&["--namespace=default"], &["unnamed"]),
        (&["-n", "on", "-n", "of"], &[]),
    ] {
        let ran = evaluate(&all, arguments).exits(0);
        assert_eq!(evaluated(&ran), expected, "{arguments:?}");
        assert_eq!(ran.stderr.is_empty(), !expected.is_empty(), "{}", ran.stderr);
    }
}

#[test]
fn selectors_have_the_semantics_of_kubectl() {
    let pods = [
        labelled(bad_pod("a"), json!({ "app": "web", "tier": "front" })),
        labelled(bad_pod("b"), json!({ "app": "web", "tier": "cache" })),
        labelled(bad_pod("c"), json!({ "app": "api" })),
        bad_pod("d"),
    ];
    for (selector, expected) in [
        ("app=web", &["a", "b"][..]),
        ("app==web,tier!=cache", &["a"]),
        ("app!=web", &["c", "d"]),
        ("app in (web, api),!tier", &["c"]),
        ("app notin (web)", &["c", "d"]),
        ("tier", &["a", "b"]),
        ("!app", &["d"]),
        ("app=nothing", &[]),
        ("", &["a", "b", "c", "d"]),
    ] {
        assert_eq!(evaluated(&evaluate(&pods, &["-l", selector]).exits(0)), expected, "{selector}");
    }
    evaluate(&pods, &["--selector", "app within (a)"]).exits(2).complains(&[
        "error: ",
        "app within (a)",
        "key in (a,b)",
    ]);
}

#[test]
fn a_selector_matches_the_labels_of_the_pod_template() {
    let mut deployment = workload("apps/v1", "Deployment", "a", json!({ "containers": [bad_container("app")] }));
    deployment["metadata"]["labels"] = json!({ "app": "outer" });
    deployment["spec"]["template"]["metadata"] = json!({ "labels": { "app": "inner" } });
    assert_eq!(evaluated(&evaluate(std::slice::from_ref(&deployment), &["-l", "app=inner"])), ["a"]);
    assert!(evaluated(&evaluate(&[deployment], &["-l", "app=outer"])).is_empty());
}

#[test]
fn workloads_of_every_kind_are_evaluated_by_their_pod_template() {
    let spec = json!({ "containers": [bad_container("app")] });
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("serving.knative.dev/v1", "Service"),
        ("apps.openshift.io/v1", "DeploymentConfig"),
        ("example.com/v1", "Whatever"),
    ] {
        let object = workload(api_version, kind, "a", spec.clone());
        assert_eq!(checks_of(&object), ALL_THREE, "{kind}");
        let found = &evaluate(&[object], &[]).json()["violations"][0];
        assert_eq!((&found["kind"], &found["field"]), (&json!(kind), &json!("/spec/template/spec/containers/0/image")));
    }
    assert_eq!(checks_of(&bad_pod("a")), ALL_THREE);
}

#[test]
fn pods_that_run_to_completion_need_no_probes() {
    let spec = json!({ "containers": [bad_container("app")] });
    let with_policy = |policy: &str| json!({ "restartPolicy": policy, "containers": [bad_container("app")] });
    let mut owned = bad_pod("a");
    owned["metadata"]["ownerReferences"] = json!([{ "kind": "Job", "name": "j", "controller": true }]);
    let mut bare = bad_pod("a");
    bare["spec"]["restartPolicy"] = "Never".into();
    for object in [
        workload("batch/v1", "Job", "a", spec.clone()),
        workload("batch/v1", "Job", "a", with_policy("OnFailure")),
        cron_job("a", spec),
        cron_job("a", with_policy("Never")),
        workload("example.com/v1", "Whatever", "a", with_policy("Never")),
        bare,
    ] {
        assert_eq!(checks_of(&object), ["latest-tag"], "{object}");
    }
    let always = workload("example.com/v1", "Whatever", "a", with_policy("Always"));
    let of_another_group = workload("example.com/v1", "Job", "a", with_policy("Always"));
    let mut restarted = bad_pod("a");
    restarted["spec"]["restartPolicy"] = "Never".into();
    restarted["spec"]["containers"][0]["restartPolicy"] = "Always".into();
    for object in [always, of_another_group, owned, restarted] {
        assert_eq!(checks_of(&object), ALL_THREE, "{object}");
    }
    let field = evaluate(&[cron_job("a", with_policy("Never"))], &[]).json()["violations"][0]["field"].clone();
    assert_eq!(field, "/spec/jobTemplate/spec/template/spec/containers/0/image");
}

#[test]
fn the_items_of_lists_are_evaluated() {
    let deployment = workload("apps/v1", "Deployment", "b", json!({ "containers": [bad_container("app")] }));
    let list =
        json!({ "apiVersion": "v1", "kind": "List", "items": [bad_pod("a"), deployment, { "kind": "Service" }] });
    let ran = evaluate(&[list], &[]).exits(0);
    assert_eq!(ran.json()["subjects"], 2);
    assert_eq!(ran.json()["ignored"], json!({ "Service": 1 }));
    assert_eq!(evaluated(&ran), ["b", "a"], "Deployment sorts before Pod");

    let mut pods = [bad_pod("a"), bad_pod("b")];
    for pod in &mut pods {
        pod.as_object_mut().unwrap().remove("kind");
    }
    let list = json!({ "apiVersion": "v1", "kind": "PodList", "items": pods });
    assert_eq!(evaluated(&evaluate(&[list], &[]).exits(0)), ["a", "b"]);
    let empty = json!({ "apiVersion": "v1", "kind": "List", "items": [] });
    assert_eq!(evaluate(&[empty], &[]).exits(0).json()["subjects"], 0);
    let nested = json!({ "kind": "List", "items": [{ "kind": "List", "items": [bad_pod("deep")] }] });
    assert_eq!(evaluated(&evaluate(&[nested], &[]).exits(0)), ["deep"]);
}

#[test]
fn objects_without_a_pod_template_are_ignored_and_counted() {
    let objects = [
        json!({ "kind": "ConfigMap", "data": { "a": "image: nginx" } }),
        json!({ "kind": "ConfigMap" }),
        json!({ "kind": "ApplicationSet", "spec": { "template": { "spec": { "source": { "repoURL": "x" } } } } }),
        json!({ "kind": "MachineDeployment", "spec": { "template": { "spec": { "version": "v1.33.0" } } } }),
        json!({ "kind": "Rendered", "spec": { "template": "a text" } }),
        json!({ "kind": "Fleet", "spec": { "containers": 5, "restartPolicy": { "a": "b" } } }),
        json!({ "kind": "Rollout", "spec": { "workloadRef": { "kind": "Deployment", "name": "web" } } }),
        json!({ "kind": "CustomResourceDefinition", "spec": { "names": { "kind": "Pod" }, "versions": [] } }),
        json!({ "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["a.yaml"] }),
    ];
    let ran = evaluate(&objects, &[]).exits(0);
    let expected = json!({
        "ApplicationSet": 1, "ConfigMap": 2, "CustomResourceDefinition": 1, "Fleet": 1, "Kustomization": 1,
        "MachineDeployment": 1, "Rendered": 1, "Rollout": 1,
    });
    assert_eq!(ran.json()["ignored"], expected);
    assert_eq!(ran.json()["subjects"], 0);
}

#[test]
fn image_references_are_parsed() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let valid = [
        "nginx:1.29".to_owned(),
        "nginx:stable".to_owned(),
        "nginx:latest-alpine".to_owned(),
        "nginx:v1-latest".to_owned(),
        "nginx:notlatest".to_owned(),
        "nginx:LATEST".to_owned(),
        "latest:1.0".to_owned(),
        "registry.example.com:5000/team/nginx:1.29".to_owned(),
        "REGISTRY.example.com/nginx:1.29".to_owned(),
        format!("nginx@{digest}"),
        format!("nginx:latest@{digest}"),
        format!("registry.example.com:5000/nginx:1@{digest}"),
    ];
    let invalid = [
        "nginx",
        "nginx:latest",
        "latest",
        "registry.example.com:5000/team/nginx",
        "registry.example.com:5000/team/nginx:latest",
        "localhost:5000/nginx",
        "nginx:",
        "nginx@",
        "",
        "   ",
    ];
    let valid = valid.iter().map(String::as_str).map(|image| (image, false));
    let images = valid.chain(invalid.map(|image| (image, true)));
    let (mut pods, mut expected) = (Vec::new(), Vec::new());
    for (index, (image, is_violation)) in images.enumerate() {
        let mut container = good_container("app");
        container["image"] = image.into();
        let name = format!("pod-{index:02}");
        if is_violation {
            expected.push(format!("latest-tag Pod/{name} app"));
        }
        pods.push(pod(&name, [container]));
    }
    assert_eq!(evaluate(&pods, &[]).exits(0).violations(), expected);
}

#[test]
fn a_container_without_an_image_is_a_violation() {
    let mut container = good_container("app");
    container.as_object_mut().unwrap().remove("image");
    assert_eq!(checks_of(&pod("a", [container])), ["latest-tag"]);
}

#[test]
fn images_are_checked_in_all_containers_and_probes_in_app_containers_only() {
    let bad = |name: &str| bad_container(name);
    let mut sidecar = bad("sidecar");
    sidecar["restartPolicy"] = "Always".into();
    let mut object = pod("a", [bad("app")]);
    object["spec"]["initContainers"] = json!([bad("init"), sidecar]);
    object["spec"]["ephemeralContainers"] = json!([bad("debug")]);
    let ran = evaluate(&[object], &[]).exits(0);
    let expected = [
        "latest-tag Pod/a app",
        "missing-liveness Pod/a app",
        "missing-readiness Pod/a app",
        "latest-tag Pod/a debug",
        "latest-tag Pod/a init",
        "latest-tag Pod/a sidecar",
    ];
    assert_eq!(ran.violations(), expected);
    let fields: Vec<_> =
        ran.json()["violations"].as_array().unwrap().iter().map(|found| found["field"].clone()).collect();
    assert!(fields.contains(&json!("/spec/initContainers/1/image")), "{fields:?}");
    assert!(fields.contains(&json!("/spec/ephemeralContainers/0/image")), "{fields:?}");
}

#[test]
fn a_startup_probe_replaces_no_other_probe() {
    let mut container = bad_container("app");
    container["image"] = "nginx:1".into();
    container["startupProbe"] = json!({ "tcpSocket": { "port": 80 } });
    assert_eq!(checks_of(&pod("a", [container])), ["missing-liveness", "missing-readiness"]);
}

#[test]
fn a_null_probe_is_missing() {
    let mut container = good_container("app");
    container["livenessProbe"] = Value::Null;
    assert_eq!(checks_of(&pod("a", [container])), ["missing-liveness"]);
}

#[test]
fn system_namespaces_are_excluded_by_default() {
    let namespaces = [
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "cert-manager",
        "istio-system",
        "x-system",
        "system",
        "platform",
    ];
    let objects = namespaces.map(|namespace| in_namespace(bad_pod(namespace), namespace));
    let ran = evaluate(&objects, &[]).exits(0);
    assert_eq!(evaluated(&ran), ["platform", "system"]);
    assert_eq!((&ran.json()["excluded"], &ran.json()["subjects"]), (&json!(6), &json!(2)));
    let ran = evaluate(&objects, &["--include-system"]).exits(0);
    assert_eq!((&ran.json()["excluded"], &ran.json()["subjects"]), (&json!(0), &json!(8)));
    let ran = evaluate(&objects, &["--system-namespace", "platform", "--system-namespace=other"]).exits(0);
    assert_eq!(evaluated(&ran), ["system"]);
    let text = run_with_input(kube_devops().args(["analyze", "-f", "-"]), documents(&objects)).exits(0).stdout;
    assert!(text.contains("Not evaluated: 6 in system namespaces (--include-system evaluates them)."), "{text}");
}

#[test]
fn the_restart_count_of_the_status_is_evaluated() {
    for (restarts, magnitude) in
        [(0, None), (3, None), (4, Some(4)), (5, Some(5)), (6, Some(5)), (2_147_483_647, Some(5))]
    {
        let ran = evaluate(&[restarted(good_pod("a"), restarts)], &[]).exits(0);
        let magnitudes: Vec<_> =
            ran.json()["violations"].as_array().unwrap().iter().map(|found| found["magnitude"].clone()).collect();
        assert_eq!(
            magnitudes,
            magnitude.map(|magnitude| json!(magnitude)).into_iter().collect::<Vec<_>>(),
            "{restarts}"
        );
    }
}

#[test]
fn restarts_are_matched_to_containers_by_name() {
    let object = pod("a", [good_container("one"), good_container("two")]);
    let statuses = json!([{ "name": "two", "restartCount": 9 }, { "name": "one", "restartCount": 0 }]);
    let object = with_status(object, json!({ "phase": "Running", "containerStatuses": statuses }));
    assert_eq!(evaluate(&[object], &[]).violations(), ["high-restarts Pod/a two"]);
}

#[test]
fn long_pending_pods_are_violations() {
    let waiting = |created: Option<&str>, phase: &str| {
        let mut object = with_status(good_pod("a"), json!({ "phase": phase }));
        object["metadata"]["creationTimestamp"] = created.into();
        object
    };
    let long_ago = Some("2020-01-01T00:00:00Z");
    assert_eq!(checks_of(&waiting(long_ago, "Pending")), ["pending"]);
    assert!(checks_of(&waiting(long_ago, "Running")).is_empty());
    assert!(checks_of(&waiting(long_ago, "Unknown")).is_empty());
    assert!(checks_of(&waiting(None, "Pending")).is_empty());
    assert!(checks_of(&waiting(Some("2999-01-01T00:00:00Z"), "Pending")).is_empty());
}

#[test]
fn runtime_checks_do_not_apply_without_a_status() {
    let applied = |object: Value| {
        let report = evaluate(&[object], &[]).exits(0).json();
        let checks = report["checks"].as_array().unwrap().clone();
        let applied = checks.into_iter().filter(|check| check["passed"] != 0 || check["failed"] != 0);
        applied.map(|check| check["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(applied(bad_pod("a")), ALL_THREE);
    assert_eq!(applied(with_status(bad_pod("a"), json!({}))), ALL_THREE);
    let all = ["high-restarts", "latest-tag", "missing-liveness", "missing-readiness", "pending"];
    assert_eq!(applied(restarted(bad_pod("a"), 0)), all);
    let mut deployment = workload("apps/v1", "Deployment", "a", json!({ "containers": [bad_container("app")] }));
    deployment["status"] = json!({ "phase": "Running", "replicas": 3 });
    assert_eq!(applied(deployment), ALL_THREE);
}

#[test]
fn finished_and_deleted_pods_in_a_file_are_evaluated() {
    let mut deleted = restarted(bad_pod("deleted"), 9);
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut objects = [
        with_status(bad_pod("succeeded"), json!({ "phase": "Succeeded" })),
        with_status(bad_pod("failed"), json!({ "phase": "Failed" })),
        deleted,
        bad_pod("alive"),
    ];
    // Manifests create running pods, also with a resource version: the API server drops their status and deletion timestamp.
    for version in [None, Some("7")] {
        if let Some(version) = version {
            objects.iter_mut().for_each(|object| object["metadata"]["resourceVersion"] = version.into());
        }
        let ran = evaluate(&objects, &[]).exits(0);
        assert_eq!(evaluated(&ran), ["alive", "deleted", "failed", "succeeded"]);
        assert_eq!((&ran.json()["finished"], &ran.json()["subjects"]), (&json!(0), &json!(4)));
    }
}

/// Returns score, classification, compliance and grade.
fn rating(objects: &[Value]) -> (u64, String, f64, String) {
    let report = evaluate(objects, &[]).exits(0).json();
    let text = |key: &str| report[key].as_str().unwrap().to_owned();
    let compliance = report["compliance"].as_f64().unwrap();
    (report["score"].as_u64().unwrap(), text("classification"), compliance, text("grade"))
}

#[test]
fn score_and_compliance_follow_the_formula() {
    let containers = |count: usize, container: fn(&str) -> Value| -> Vec<Value> {
        (0..count).map(|index| container(&format!("c{index}"))).collect()
    };
    for (objects, score, class, compliance, grade) in [
        (vec![good_pod("a")], 100, "Healthy", 100.0, "A"),
        // Penalty 5 + 3 + 2, and no check passes.
        (vec![bad_pod("a")], 90, "Healthy", 0.0, "F"),
        (vec![bad_pod("a"), good_pod("b")], 95, "Healthy", 50.0, "F"),
        // Both 10 / 3 and 100 x (1 - 10 / 30) are rounded down.
        (vec![bad_pod("a"), good_pod("b"), good_pod("c")], 97, "Healthy", 66.6, "D"),
        // Two containers double the penalty but fail the same checks.
        (vec![pod("a", containers(2, bad_container))], 80, "Healthy", 0.0, "F"),
        (vec![pod("a", containers(3, bad_container))], 70, "Stable", 0.0, "F"),
        (vec![pod("a", containers(5, bad_container))], 50, "Degraded", 0.0, "F"),
        (vec![pod("a", containers(7, bad_container))], 30, "Critical", 0.0, "F"),
        (vec![pod("a", containers(11, bad_container))], 0, "Critical", 0.0, "F"),
        // Penalty 6 x 5; five checks with a total weight of 20 apply, and weight 6 of them fails.
        (vec![restarted(good_pod("a"), 10)], 70, "Stable", 70.0, "C"),
        (vec![restarted(good_pod("a"), 4)], 76, "Stable", 70.0, "C"),
        // Penalty 60 / 2; weight 6 of 30 fails.
        (vec![restarted(pod("a", containers(2, good_container)), 9), good_pod("b")], 70, "Stable", 80.0, "B"),
    ] {
        let expected = (score, class.to_owned(), compliance, grade.to_owned());
        assert_eq!(rating(&objects), expected, "{objects:?}");
    }
}

#[test]
fn every_namespace_has_its_own_score() {
    let objects = [
        in_namespace(bad_pod("a"), "one"),
        in_namespace(good_pod("b"), "two"),
        in_namespace(pod("c", (0..7).map(|index| bad_container(&index.to_string())).collect::<Vec<_>>()), "three"),
    ];
    let report = evaluate(&objects, &[]).json();
    let scores: Vec<_> = report["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap().to_owned(), it["score"].clone(), it["violations"].clone()))
        .collect();
    let expected = [("one", 90, 3), ("three", 30, 21), ("two", 100, 0)];
    assert_eq!(scores, expected.map(|(name, score, count)| (name.to_owned(), json!(score), json!(count))));
    assert_eq!(report["score"], 100 - (10 + 70) / 3);
}

#[test]
fn reports_are_deterministic() {
    let folder = Folder::new();
    for index in 0..60 {
        let objects: Vec<_> =
            (0..20).map(|pod| in_namespace(bad_pod(&format!("p{pod}")), &format!("n{}", pod % 7))).collect();
        folder.write(format!("{index}.yaml"), documents(&objects) + "---\nkind: Pod\n---\na: [\n");
    }
    for format in ["text", "json", "yaml", "sarif", "junit", "github"] {
        let analyze = || {
            let ran = run(kube_devops().args(["analyze", "-o", format, "-f"]).arg(folder.path())).exits(2);
            (ran.stdout, ran.stderr)
        };
        assert_eq!(analyze(), analyze(), "{format}");
    }
}

#[test]
fn annotations_do_not_prevent_the_evaluation() {
    let mut object = bad_pod("a");
    object["metadata"]["annotations"] = json!({ "devops.stochastic.io/ignore": "true" });
    assert_eq!(checks_of(&object), ALL_THREE);
}

#[test]
fn crlf_line_endings_and_a_byte_order_mark_are_accepted() {
    let text = fs::read_to_string(end_to_end::root().join("examples/staging/checkout.yaml")).unwrap();
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let report = |text: String| {
        let mut command = kube_devops();
        run_with_input(command.args(["analyze", "-o", "json", "-f", "-"]), text).exits(0).is_quiet().stdout
    };
    assert_eq!(report(windows), report(text));
}
