//! `check`, `list pods` and `analyze` on a live cluster.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use anyhow::{Result, ensure};
use end_to_end::objects::{
    bad_container, bad_pod, documents, good_container, good_pod, in_namespace, labelled, pod, workload,
};
use end_to_end::{Folder, Ran, kube_devops, run, unreachable_kubeconfig};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Kubeconfig, Namespace, eventually, pods};

/// Runs a command with a kubeconfig.
fn call(kubeconfig: &Path, arguments: &[&str]) -> Ran {
    run(kube_devops().args(arguments).arg("--kubeconfig").arg(kubeconfig))
}

/// Runs a command with the kubeconfig of the namespace, in the namespace.
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

/// Returns pods with all kinds of findings, and workloads that create more pods.
fn objects() -> Vec<Value> {
    let mut containers = pod("containers", [good_container("app"), bad_container("helper")]);
    containers["spec"]["initContainers"] = json!([
        { "name": "first", "image": "busybox" },
        { "name": "sidecar", "image": "proxy:latest", "restartPolicy": "Always" },
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
        containers,
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

/// Creates the objects and waits until each pod has reached its final phase.
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
                // A pod that is never restarted can be running or finished.
                "once" => phase,
                _ => "Running",
            };
            ensure!(phase == expected && !phase.is_empty(), "{name} is {phase}");
        }
        Ok(())
    })
    .await
}

/// Returns the violations of a report without the fields that depend on source and time.
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
async fn files_and_cluster_report_the_same_violations() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("sources").await?;
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
        "latest-tag Pod/containers first",
        "latest-tag Pod/containers helper",
        "latest-tag Pod/containers sidecar",
        "missing-liveness Pod/containers helper",
        "latest-tag Pod/once app",
        "high-restarts Pod/many-restarts app",
    ] {
        assert!(live.violations().contains(&expected.to_owned()), "{expected}: {:?}", live.violations());
    }

    for format in ["yaml", "json"] {
        // In a file, the finished pods would be evaluated too: the manifest creates pods that run.
        let running = "--field-selector=status.phase!=Succeeded,status.phase!=Failed";
        let exported = namespace.kubectl(["get", "pods", running, "-o", format]).await?;
        let file = folder.write(format!("pods.{format}"), exported);
        let from_file = call_in(&namespace, &[&analyze[..], &["-f", file.to_str().unwrap()]].concat()).exits(0);
        assert_eq!(violations(&from_file), violations(&live), "{format}");
        for field in ["score", "compliance", "grade", "subjects", "checks", "namespaces"] {
            assert_eq!(from_file.json()[field], live.json()[field], "{format}: {field}");
        }
    }

    // The original manifests have no status and do not contain the pods of the workloads.
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
async fn pods_are_listed_with_their_phase_and_node() -> Result<()> {
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
async fn namespaces_and_selectors_select_the_pods_to_evaluate() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (one, two) = (plane.namespace("select").await?, plane.namespace("select").await?);
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
async fn system_namespaces_of_a_cluster_are_excluded_and_counted() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let pod = in_namespace(bad_pod("system"), "kube-system").to_string();
    eventually(DEADLINE, "a pod in kube-system", || plane.kubectl_with_input(["apply", "-f", "-"], &pod)).await?;
    let evaluate = |arguments: &[&str]| {
        call(plane.kubeconfig().path(), &[&["analyze", "-o", "json", "-n", "kube-system"], arguments].concat()).exits(0)
    };
    let default = evaluate(&[]);
    assert_eq!((&default.json()["subjects"], &default.json()["excluded"]), (&json!(0), &json!(1)));
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
async fn long_lists_are_read_in_pages() -> Result<()> {
    // These pods do not run: an API server and etcd are enough to store them.
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
async fn the_context_selects_the_cluster() -> Result<()> {
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
    assert_eq!(run(&mut by_environment).exits(0).stdout, "pod/there -n default\n");
    Ok(())
}

#[tokio::test]
async fn an_administrator_has_all_permissions() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let ran = call(plane.kubeconfig().path(), &["check"]).exits(0).is_quiet();
    let version = plane.client().await?.apiserver_version().await?.git_version;
    for part in [plane.server(), plane.kubeconfig().context(), &version, "All permissions are granted."] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.stdout.lines().any(|line| line.starts_with("NO")), "{}", ran.stdout);
    Ok(())
}

/// Returns a kubeconfig for a user with the permission to list pods in all namespaces only.
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
async fn missing_permissions_are_reported_with_the_commands_that_need_them() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let lister = lister(plane).await?;
    let ran = call(lister.path(), &["check", "-n", "platform"]).exits(1).is_quiet();
    let lines = |start: &str| ran.stdout.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let allowed = lines("yes");
    assert_eq!(allowed.len(), 1, "{}", ran.stdout);
    assert!(allowed[0].contains("list pods") && allowed[0].contains("evaluate pods"), "{}", ran.stdout);
    let denied = lines("NO");
    for part in ["watch pods", "patch devopspolicies/status", "get,update leases", "customresourcedefinitions"] {
        assert!(denied.iter().any(|line| line.contains(part)), "{part}: {}", ran.stdout);
    }
    for part in [
        "you cannot run: crd install, watch, reconcile, remediation, webhook, cleanup.",
        "namespace platform",
        "ClusterRole",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }

    // A user with access to a single namespace checks the permissions in that namespace.
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
    let denied: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("NO")).collect();
    assert!(denied.len() == 1 && denied[0].contains("list pods in default"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the pods of default cannot be evaluated"), "{}", ran.stdout);

    // A namespace that does not exist is reported as by `analyze`.
    let misspelt = ["check", "--analyze-namespace", namespace.name(), "--analyze-namespace", "no-such-namespace"];
    call(plane.kubeconfig().path(), &misspelt).exits(2).complains(&["there is no namespace", "no-such-namespace"]);

    // `list pods` and `analyze` need no other permission.
    call(lister.path(), &["list", "pods"]).exits(0);
    call(lister.path(), &["analyze"]).exits(0);
    // For this user, a misspelt namespace is like an empty one, which must not meet a gate.
    namespace.apply(&documents(&[good_pod("web")])).await?;
    let both = ["-n", namespace.name(), "-n", "misspelt"];
    call(lister.path(), &[&["analyze"][..], &both].concat()).exits(0).complains(&["warning: ", "misspelt"]);
    let ran = call(lister.path(), &[&["analyze", "--min-score", "1"][..], &both].concat()).exits(2);
    let ran = ran.complains(&["not everything was evaluated"]);
    assert!(ran.stdout.contains("no pods in namespace \"misspelt\""), "{}", ran.stdout);

    let unprivileged = plane.kubeconfig_for_user("unprivileged", &[])?;
    for command in ["list pods", "analyze"] {
        let arguments: Vec<_> = command.split(' ').collect();
        let ran = call(unprivileged.path(), &arguments).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&[
            "error: not allowed to list ",
            "pods is forbidden",
            "\"unprivileged\"",
            "`kube-devops check` lists",
        ]);
    }
    Ok(())
}

#[tokio::test]
async fn invalid_credentials_are_reported() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let text = std::fs::read_to_string(plane.kubeconfig().path())?;
    let mut kubeconfig: Value = serde_norway::from_str(&text)?;
    kubeconfig["users"][0]["user"] = json!({ "token": "invalid-token" });
    let folder = Folder::with([("kubeconfig", kubeconfig.to_string())]);
    for command in [&["check"][..], &["analyze"], &["list", "pods"], &["crd", "install"]] {
        let ran = call(&folder.path().join("kubeconfig"), command).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: ", plane.server(), "does not accept the credentials", "Log in again"]);
    }
    Ok(())
}

#[test]
fn an_unreachable_server_is_named() {
    let folder = Folder::with([("kubeconfig", unreachable_kubeconfig())]);
    for command in [&["check"][..], &["analyze"], &["list", "pods"], &["crd", "install"]] {
        let ran = call(&folder.path().join("kubeconfig"), command).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: https://127.0.0.1:1 cannot be reached: ", "refused", "is this the right context"]);
    }
}

#[tokio::test]
async fn a_namespace_that_is_selected_twice_counts_once() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("twice").await?;
    namespace.apply(&documents(&[good_pod("web")])).await?;
    let twice = ["analyze", "-n", namespace.name(), "-n", namespace.name(), "-o", "json"];
    assert_eq!(call(plane.kubeconfig().path(), &twice).exits(0).json()["subjects"], 1);
    for name in ["", "a/pods?x=", "UPPER"] {
        call(plane.kubeconfig().path(), &["analyze", "-n", name]).exits(2).complains(&["--namespace", "lowercase"]);
    }
    Ok(())
}

#[test]
fn the_cause_of_an_unusable_context_is_named() {
    let config = |server: &str, user: Value| {
        json!({
            "current-context": "here",
            "contexts": [
                { "name": "here", "context": { "cluster": "one", "user": "me" } },
                { "name": "unknown-user", "context": { "cluster": "one", "user": "other" } },
            ],
            "clusters": [{ "name": "one", "cluster": { "server": server } }],
            "users": [{ "name": "me", "user": user }],
        })
        .to_string()
    };
    let plugin = |command: &str| {
        let arguments = ["-c", "echo SECRET; echo log in first >&2; exit 1"];
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": arguments,
            "installHint": "Install it.", "interactiveMode": "Never",
        });
        config("https://127.0.0.1:1", json!({ "exec": exec }))
    };
    let folder = Folder::with([
        ("no-scheme", config("127.0.0.1:1", json!({}))),
        ("failing", plugin("sh")),
        ("missing", plugin("no-such-plugin")),
    ]);
    let analyze = |name: &str, context: &str| {
        let ran = call(&folder.path().join(name), &["analyze", "--context", context]).exits(2);
        assert!(!ran.stderr.contains("SECRET") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    };
    analyze("no-scheme", "here").complains(&["http://127.0.0.1:1 cannot be reached"]);
    analyze("no-scheme", "unknown-user").complains(&["\"unknown-user\" names the user \"other\""]);
    analyze("no-scheme", "nowhere").complains(&["no context \"nowhere\"", "the contexts are here, unknown-user"]);
    analyze("failing", "here").complains(&["credential plugin", "log in first"]);
    analyze("missing", "here").complains(&["credential plugin no-such-plugin", "Install it."]);
}

#[test]
fn a_missing_or_invalid_kubeconfig_is_rejected() {
    let folder = Folder::with([("broken", "a: [\n"), ("empty", ""), ("no-context", "apiVersion: v1\nkind: Config\n")]);
    for name in ["broken", "empty", "no-context", "no-such-file"] {
        let ran = call(&folder.path().join(name), &["analyze"]).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: no usable cluster configuration: ", "Use --kubeconfig"]);
    }
    run(kube_devops().arg("analyze")).exits(2).complains(&["error: no usable cluster configuration: "]);
}
