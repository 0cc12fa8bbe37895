//! `check`, `list pods` and `analyze` on a live cluster.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use anyhow::{Result, ensure};
use end_to_end::objects::{
    bad_container, bad_pod, documents, good_container, good_pod, in_namespace, labelled, pod, workload,
};
use end_to_end::{Folder, Ran, kube_devops, kubeconfig_of_nothing, run};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Kubeconfig, Namespace, eventually, pods};

/// Runs a command with a kubeconfig.
fn call(kubeconfig: &Path, arguments: &[&str]) -> Ran {
    run(kube_devops().args(arguments).arg("--kubeconfig").arg(kubeconfig))
}

/// Runs a command with a kubeconfig in the namespace.
fn call_in(namespace: &Namespace, arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    command.args(arguments).args(["-n", namespace.name(), "--kubeconfig"]);
    run(command.arg(namespace.kubeconfig().path()))
}

fn behaving(pod: Value, behaviour: &str, restarts: u32) -> Value {
    let mut pod = labelled(pod, json!({ pods::LABEL: behaviour }));
    pod["metadata"]["annotations"] = json!({ pods::RESTARTS: restarts.to_string() });
    pod
}

/// Pods of all kinds, and workloads that make more.
fn objects() -> Vec<Value> {
    let mut kinds = pod("kinds", [good_container("app"), bad_container("helper")]);
    kinds["spec"]["initContainers"] = json!([
        { "name": "first", "image": "busybox" },
        { "name": "beside", "image": "proxy:latest", "restartPolicy": "Always" },
    ]);
    let mut once = pod("once", [bad_container("app")]);
    once["spec"]["restartPolicy"] = "Never".into();
    let template = |kind: &str, name: &str, spec: Value| {
        let mut object = workload("apps/v1", kind, name, spec);
        object["spec"]["replicas"] = 2.into();
        object["spec"]["selector"] = json!({ "matchLabels": { "app": name } });
        object["spec"]["template"]["metadata"] = json!({ "labels": { "app": name } });
        object
    };
    vec![
        good_pod("good"),
        bad_pod("bad"),
        kinds,
        once,
        behaving(good_pod("few-restarts"), pods::RESTARTED, 3),
        behaving(good_pod("many-restarts"), pods::RESTARTED, 4),
        behaving(bad_pod("finished"), pods::COMPLETING, 0),
        behaving(bad_pod("failed"), pods::FAILING, 0),
        behaving(good_pod("stuck"), pods::STUCK, 0),
        template("Deployment", "deployed", json!({ "containers": [bad_container("app")] })),
        template("StatefulSet", "stateful", json!({ "containers": [good_container("app")] })),
    ]
}

/// Creates the objects, and waits until each pod is as it is going to stay.
async fn create(namespace: &Namespace, objects: &[Value]) -> Result<()> {
    namespace.kubectl_with_input(["apply", "-f", "-"], &documents(objects)).await?;
    eventually(DEADLINE, "the pods to settle", async || {
        let pods: Value = serde_json::from_str(&namespace.kubectl(["get", "pods", "-o", "json"]).await?)?;
        let pods = pods["items"].as_array().unwrap();
        ensure!(pods.len() == 13, "there are {} pods", pods.len());
        for pod in pods {
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            let name = pod["metadata"]["name"].as_str().unwrap();
            let expected = match name {
                "finished" => "Succeeded",
                "failed" => "Failed",
                "stuck" => "Pending",
                // kwok lets a pod that is not restarted finish, or not; either way it runs first.
                "once" => phase,
                _ => "Running",
            };
            ensure!(phase == expected && !phase.is_empty(), "{name} is {phase}");
        }
        Ok(())
    })
    .await
}

/// The violations of a report without what depends on where and when the subjects were read.
fn violations(ran: &Ran) -> Vec<Value> {
    let mut violations = ran.json()["violations"].as_array().unwrap().clone();
    for violation in &mut violations {
        violation.as_object_mut().unwrap().remove("source");
        if violation["check"] == "pending" {
            violation["message"] = Value::Null;
        }
    }
    violations
}

#[tokio::test]
async fn the_same_pods_give_the_same_violations_in_files_and_in_a_cluster() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("doors").await?;
    let objects = objects();
    create(&namespace, &objects).await?;

    let policy = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy", "metadata": { "name": "all" },
        "spec": {
            "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true,
            "maxRestartCount": 3, "forbidPendingDuration": 0,
            "severityOverrides": { "latestTag": "critical", "pending": "low" },
        },
    });
    let folder = Folder::with([("policy.json", policy.to_string())]);
    let policy = folder.path().join("policy.json");
    let policy = policy.to_str().unwrap();
    let analyze = ["analyze", "-o", "json", "--policy", policy];
    let live = eventually(DEADLINE, "the stuck pod to be pending for a second", async || {
        let live = call_in(&namespace, &analyze).exits(0).is_quiet();
        ensure!(live.violations().contains(&"pending Pod/stuck".to_owned()), "{:?}", live.violations());
        Ok(live)
    })
    .await?;
    for expected in [
        "latest-tag Pod/bad app",
        "latest-tag Pod/kinds beside",
        "latest-tag Pod/kinds first",
        "latest-tag Pod/kinds helper",
        "missing-liveness Pod/kinds helper",
        "latest-tag Pod/once app",
        "high-restarts Pod/many-restarts app",
    ] {
        assert!(live.violations().contains(&expected.to_owned()), "{expected}: {:?}", live.violations());
    }

    for format in ["yaml", "json"] {
        let exported = namespace.kubectl(["get", "pods", "-o", format]).await?;
        let file = folder.write(format!("pods.{format}"), exported);
        let from_file = call_in(&namespace, &[&analyze[..], &["-f", file.to_str().unwrap()]].concat()).exits(0);
        assert_eq!(violations(&from_file), violations(&live), "{format}");
        for field in ["score", "compliance", "grade", "subjects", "finished", "checks", "namespaces"] {
            assert_eq!(from_file.json()[field], live.json()[field], "{format}: {field}");
        }
    }

    // The manifests as they were written have no status, and the pods of workloads do not exist in them.
    let bare: Vec<Value> = objects
        .iter()
        .filter(|object| {
            object["kind"] == "Pod" && !["finished", "failed"].contains(&object["metadata"]["name"].as_str().unwrap())
        })
        .map(|object| in_namespace(object.clone(), namespace.name()))
        .collect();
    let file = folder.write("manifests.yaml", documents(&bare));
    let from_manifests = call_in(&namespace, &[&analyze[..], &["-f", file.to_str().unwrap()]].concat()).exits(0);
    let is_bare = |violation: &Value| {
        let is_spec = !["high-restarts", "pending"].contains(&violation["check"].as_str().unwrap());
        is_spec && bare.iter().any(|pod| pod["metadata"]["name"] == violation["name"])
    };
    let expected: Vec<Value> = violations(&live).into_iter().filter(is_bare).collect();
    assert!(!expected.is_empty());
    assert_eq!(violations(&from_manifests), expected);
    Ok(())
}

#[tokio::test]
async fn pods_are_listed_with_phase_and_node() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("list").await?;
    let mut elsewhere = labelled(good_pod("waiting"), json!({ "app": "api" }));
    elsewhere["spec"]["nodeSelector"] = json!({ "no": "such-node" });
    let web = labelled(good_pod("web-with-a-name-that-is-longer-than-usual-by-far"), json!({ "app": "web" }));
    namespace.kubectl_with_input(["apply", "-f", "-"], &documents(&[elsewhere, web])).await?;
    namespace.kubectl(["wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=90s"]).await?;

    let list = |arguments: &[&str]| call_in(&namespace, &[&["list", "pods"], arguments].concat()).exits(0).is_quiet();
    let text = list(&[]).stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let name = namespace.name();
    assert_eq!(rows[0], [name, "waiting", "Pending"], "{text}");
    assert_eq!(rows[1][..3], [name, "web-with-a-name-that-is-longer-than-usual-by-far", "Running"], "{text}");
    assert!(rows[1][3].starts_with("node-"), "{text}");
    let columns: Vec<_> = text.lines().map(|line| line.find("Pending").or(line.find("Running"))).collect();
    assert_eq!(columns[0], columns[1], "{text}");

    let json = list(&["-l", "app=api", "-o", "json"]).json();
    assert_eq!(json, json!([{ "namespace": name, "name": "waiting", "phase": "Pending", "node": "" }]));
    let yaml: Value = serde_norway::from_str(&list(&["-l", "app=api", "-o", "yaml"]).stdout)?;
    assert_eq!(yaml, json);
    assert_eq!(list(&["-l", "app in (api)", "-o", "name"]).stdout, "pod/waiting\n");
    let none = call_in(&namespace, &["list", "pods", "-l", "app=nothing"]).exits(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no pods found\n"));
    let everywhere = call(namespace.kubeconfig().path(), &["list", "pods"]).exits(0).stdout;
    assert!(everywhere.contains(" waiting "), "{everywhere}");
    Ok(())
}

#[tokio::test]
async fn namespaces_and_selectors_choose_what_is_judged() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (one, two) = (plane.namespace("choose").await?, plane.namespace("choose").await?);
    for namespace in [&one, &two] {
        let pods = ["a", "b"].map(|name| labelled(bad_pod(name), json!({ "app": name })));
        namespace.kubectl_with_input(["apply", "-f", "-"], &documents(&pods)).await?;
    }
    let kubeconfig = plane.kubeconfig().path();
    let subjects = |arguments: &[&str]| {
        call(kubeconfig, &[&["analyze", "-o", "json"], arguments].concat()).exits(0).json()["subjects"].clone()
    };
    assert_eq!(subjects(&["-n", one.name()]), 2);
    assert_eq!(subjects(&["-n", one.name(), "-n", two.name()]), 4);
    assert_eq!(subjects(&["-n", one.name(), "-n", two.name(), "-l", "app=a"]), 2);
    assert_eq!(subjects(&["-n", one.name(), "-l", "app notin (a, b)"]), 0);
    call(kubeconfig, &["analyze", "-l", "app within (a)"]).exits(2).complains(&["error: "]);
    call(kubeconfig, &["analyze", "-n", "no-such-namespace"]).exits(2).complains(&["there is no namespace"]);
    let empty = plane.namespace("empty").await?;
    let nothing = call(kubeconfig, &["analyze", "-n", empty.name()]).exits(0);
    nothing.complains(&["warning: nothing was evaluated"]);
    call(kubeconfig, &["analyze", "-n", empty.name(), "--min-score", "0"])
        .exits(1)
        .complains(&["nothing was evaluated"]);
    Ok(())
}

#[tokio::test]
async fn system_namespaces_of_a_cluster_are_left_out_and_counted() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let pod = in_namespace(bad_pod("of-the-system"), "kube-system").to_string();
    eventually(DEADLINE, "a pod in kube-system", || plane.kubectl_with_input(["apply", "-f", "-"], &pod)).await?;
    let evaluate = |arguments: &[&str]| {
        call(plane.kubeconfig().path(), &[&["analyze", "-o", "json", "-n", "kube-system"], arguments].concat()).exits(0)
    };
    let without = evaluate(&[]);
    assert_eq!((&without.json()["subjects"], &without.json()["excluded"]), (&json!(0), &json!(1)));
    assert_eq!(evaluate(&["--include-system"]).json()["subjects"], 1);
    Ok(())
}

#[tokio::test]
async fn the_text_report_of_a_cluster_groups_pods_by_their_workload() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("text").await?;
    let mut deployment = workload("apps/v1", "Deployment", "web", json!({ "containers": [bad_container("app")] }));
    deployment["spec"]["replicas"] = 3.into();
    deployment["spec"]["selector"] = json!({ "matchLabels": { "app": "web" } });
    deployment["spec"]["template"]["metadata"] = json!({ "labels": { "app": "web" } });
    namespace.kubectl_with_input(["apply", "-f", "-"], &deployment.to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    let ran = call_in(&namespace, &["analyze", "--fail-on", "high"]).exits(0).is_quiet();
    for part in ["9 violations in 1 workload", "(3 pods)", "Workload Pods Analyzed     : 3", plane.server()] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    call_in(&namespace, &["analyze", "--fail-on", "medium"]).exits(1).complains(&["gate not met"]);
    Ok(())
}

#[tokio::test]
async fn long_lists_are_read_page_by_page() -> Result<()> {
    // Nobody runs these pods: an API server and etcd are enough to keep them.
    let plane = ControlPlane::builder().start().await?;
    let pods: Vec<Value> = (0..1_050).map(|index| bad_pod(&format!("pod-{index:04}"))).collect();
    plane.kubectl_with_input(["create", "-f", "-"], &documents(&pods)).await?;
    let ran = call(plane.kubeconfig().path(), &["analyze", "-o", "json"]).exits(0);
    assert_eq!(ran.json()["subjects"], 1_050);
    assert_eq!(ran.json()["violations"].as_array().unwrap().len(), 3 * 1_050);
    let listed = call(plane.kubeconfig().path(), &["list", "pods", "-o", "name"]).exits(0).stdout;
    assert_eq!(listed.lines().count(), 1_050);
    Ok(())
}

#[tokio::test]
async fn a_context_chooses_the_cluster() -> Result<()> {
    let (here, there) = (ControlPlane::shared().await?, ControlPlane::builder().start().await?);
    there.kubectl_with_input(["create", "-f", "-"], &bad_pod("there").to_string()).await?;
    let file = here.kubeconfig().with_context("here")?.merged_with(&there.kubeconfig().with_context("there")?)?;
    let list =
        |arguments: &[&str]| call(&file, &[&["list", "pods", "-n", "default", "-o", "name"], arguments].concat());
    assert_eq!(list(&["--context", "there"]).exits(0).stdout, "pod/there\n");
    assert_eq!(list(&["--context", "here"]).exits(0).stdout, "");
    assert_eq!(list(&[]).exits(0).stdout, "", "the current context is here");
    list(&["--context", "nowhere"]).exits(2).complains(&["error: ", "nowhere"]);
    let mut by_environment = kube_devops();
    by_environment.args(["list", "pods", "-o", "name", "--context", "there"]).env("KUBECONFIG", &file);
    assert_eq!(run(&mut by_environment).exits(0).stdout, "pod/there\n");
    Ok(())
}

#[tokio::test]
async fn an_administrator_is_allowed_everything() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let ran = call(plane.kubeconfig().path(), &["check"]).exits(0).is_quiet();
    let version = plane.client().await?.apiserver_version().await?.git_version;
    for part in [plane.server(), plane.kubeconfig().context(), &version, "Everything is allowed."] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.stdout.lines().any(|line| line.starts_with("NO")), "{}", ran.stdout);
    Ok(())
}

/// Somebody who may list pods in every namespace, and nothing else.
async fn lister(plane: &ControlPlane) -> Result<Kubeconfig> {
    let group = "listers-of-pods";
    for arguments in [
        &["create", "clusterrole", group, "--verb=list", "--resource=pods"][..],
        &["create", "clusterrolebinding", group, "--clusterrole", group, "--group", group],
    ] {
        plane.kubectl([arguments, &["--save-config=false"]].concat()).await?;
    }
    let lister = plane.kubeconfig_for_user("lister", &[group])?;
    eventually(DEADLINE, "the role", || lister.kubectl(["get", "pods", "-A"])).await?;
    Ok(lister)
}

#[tokio::test]
async fn missing_permissions_are_named_with_what_to_do() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let lister = lister(plane).await?;
    let ran = call(lister.path(), &["check", "-n", "platform"]).exits(1).is_quiet();
    let lines = |start: &str| ran.stdout.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let allowed = lines("yes");
    assert_eq!(allowed.len(), 1, "{}", ran.stdout);
    assert!(allowed[0].contains("list pods") && allowed[0].contains("judge pods"), "{}", ran.stdout);
    let refused = lines("NO");
    for part in ["watch pods", "patch devopspolicies/status", "get,create,update leases", "customresourcedefinitions"] {
        assert!(refused.iter().any(|line| line.contains(part)), "{part}: {}", ran.stdout);
    }
    for part in ["you cannot run: crd install, watch, reconcile, webhook.", "namespace platform", "ClusterRole"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }

    // Who may see one namespace alone asks for that one.
    let namespace = plane.namespace("visible").await?;
    let user = "one-namespace";
    let binding = ["create", "rolebinding", user, "--clusterrole=view", "--user", user, "-n", namespace.name()];
    plane.kubectl(binding).await?;
    let visitor = plane.kubeconfig_for_user(user, &[])?;
    eventually(DEADLINE, "the role", || visitor.kubectl(["get", "pods", "-n", namespace.name()])).await?;
    let ran = call(visitor.path(), &["check", "--analyze-namespace", namespace.name()]).exits(0).is_quiet();
    let command = format!("You can run: kube-devops analyze -n {}", namespace.name());
    assert!(ran.stdout.contains(&command), "{}", ran.stdout);
    call(visitor.path(), &["analyze", "-n", namespace.name()]).exits(0);
    let both = ["check", "--analyze-namespace", namespace.name(), "--analyze-namespace", "default"];
    let ran = call(visitor.path(), &both).exits(1).is_quiet();
    let refused: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("NO")).collect();
    assert!(refused.len() == 1 && refused[0].contains("list pods in default"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the pods of default cannot be evaluated"), "{}", ran.stdout);

    // That one permission is all that these two need.
    call(lister.path(), &["list", "pods"]).exits(0);
    call(lister.path(), &["analyze"]).exits(0);
    let nobody = plane.kubeconfig_for_user("nobody", &[])?;
    for command in ["list pods", "analyze"] {
        let arguments: Vec<_> = command.split(' ').collect();
        let ran = call(nobody.path(), &arguments).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: not allowed to list ", "pods is forbidden", "\"nobody\"", "`kube-devops check` lists"]);
    }
    Ok(())
}

#[tokio::test]
async fn who_is_not_known_is_told_so() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let text = std::fs::read_to_string(plane.kubeconfig().path())?;
    let mut kubeconfig: Value = serde_norway::from_str(&text)?;
    kubeconfig["users"][0]["user"] = json!({ "token": "no-token-of-anybody" });
    let folder = Folder::with([("kubeconfig", kubeconfig.to_string())]);
    for command in [&["check"][..], &["analyze"], &["list", "pods"], &["crd", "install"]] {
        let ran = call(&folder.path().join("kubeconfig"), command).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: ", plane.server(), "does not accept the credentials", "Log in again"]);
    }
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let folder = Folder::with([("kubeconfig", kubeconfig_of_nothing())]);
    for command in [&["check"][..], &["analyze"], &["list", "pods"], &["crd", "install"]] {
        let ran = call(&folder.path().join("kubeconfig"), command).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: https://127.0.0.1:1 cannot be reached: ", "refused", "--context"]);
    }
}

#[test]
fn a_missing_or_broken_configuration_is_explained() {
    let folder = Folder::with([("broken", "a: [\n"), ("empty", ""), ("no-context", "apiVersion: v1\nkind: Config\n")]);
    for name in ["broken", "empty", "no-context", "no-such-file"] {
        let ran = call(&folder.path().join(name), &["analyze"]).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: no usable cluster configuration: ", "Use --kubeconfig"]);
    }
    run(kube_devops().arg("analyze")).exits(2).complains(&["error: no usable cluster configuration: "]);
}
