//! The CLI, the webhook and the operator report the same violations for the same objects.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{
    bad_container, bad_pod, cron_job, documents, good_container, good_pod, in_namespace, labelled, pod, workload,
};
use end_to_end::operator::{Setting, apply, list, policy};
use end_to_end::webhook::{Webhook, apply_policy, review_of};
use end_to_end::{Folder, kube_devops, run};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Namespace, eventually};

const PODS: usize = 300;
const NAMESPACES: usize = 6;

/// The violations of an object, one line each.
type Lines = BTreeSet<String>;
/// The violations by kind and name of the object.
type Violations = BTreeMap<String, Lines>;

fn line(container: Option<&str>, message: &str, check: &str, severity: &str) -> String {
    let place = container.map(|container| format!("container {container}: ")).unwrap_or_default();
    format!("{place}{message} ({check}, {severity}, policy strict)")
}

/// Converts the violations of a report or an audit result.
fn violations_of(violations: &[Value]) -> Violations {
    let mut lines = Violations::new();
    for violation in violations {
        let text = |field: &str| violation[field].as_str().unwrap();
        let line = line(violation["container"].as_str(), text("message"), text("check"), text("severity"));
        lines.entry(format!("{}/{}", text("kind"), text("name"))).or_default().insert(line);
    }
    lines
}

fn image() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "nginx",
        "nginx:latest",
        "nginx:1.29.3",
        "registry:5000/app",
        "registry:5000/app:1",
        "registry:5000/app:latest",
        "ghcr.io/org/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "app:latest@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "localhost/latest",
        "latest",
        "latest:v1",
        "app:LATEST",
        "app:latest-1",
        "a/b/c/d:e",
        "app:",
    ])
}

/// Generates an app container, init container or sidecar without a name.
fn container() -> impl Strategy<Value = Value> {
    let resources = prop::sample::select(vec![
        json!(null),
        json!({}),
        json!({ "requests": { "cpu": "1m" } }),
        json!({ "limits": { "memory": "1Mi" } }),
    ]);
    (image(), any::<[bool; 3]>(), resources, prop::option::of(1..u16::MAX)).prop_map(
        |(image, probes, resources, port)| {
            let mut container = json!({ "image": image });
            let probe = json!({ "tcpSocket": { "port": 80 } });
            for (name, _) in
                ["livenessProbe", "readinessProbe", "startupProbe"].iter().zip(probes).filter(|(_, there)| *there)
            {
                container[name] = probe.clone();
            }
            if !resources.is_null() {
                container["resources"] = resources;
            }
            if let Some(port) = port {
                container["ports"] = json!([{ "containerPort": port }]);
            }
            container
        },
    )
}

/// Generates a pod spec that is valid for the API server.
fn pod_spec() -> impl Strategy<Value = Value> {
    let apps = prop::collection::vec(container(), 1..4);
    let inits = prop::collection::vec((container(), any::<bool>()), 0..3);
    let policy = prop::sample::select(vec![None, Some("Always"), Some("OnFailure"), Some("Never")]);
    (apps, inits, policy).prop_map(|(apps, inits, policy)| {
        let named = |(index, mut container): (usize, Value), what: &str| {
            container["name"] = format!("{what}-{index}").into();
            container
        };
        let apps: Vec<Value> = apps.into_iter().enumerate().map(|container| named(container, "app")).collect();
        let inits = inits.into_iter().enumerate().map(|(index, (mut container, is_sidecar))| {
            if is_sidecar {
                container["restartPolicy"] = "Always".into();
            } else {
                // The API server rejects probes of init containers that run to completion.
                container.as_object_mut().unwrap().retain(|field, _| !field.ends_with("Probe"));
            }
            named((index, container), "init")
        });
        let mut spec = json!({ "containers": apps });
        let inits: Vec<Value> = inits.collect();
        if !inits.is_empty() {
            spec["initContainers"] = inits.into();
        }
        if let Some(policy) = policy {
            spec["restartPolicy"] = policy.into();
        }
        spec
    })
}

/// Returns handwritten objects with unique names.
fn handwritten() -> Vec<Value> {
    let owned = |kind: &str, version: &str| {
        let mut pod = bad_pod(&format!("owned-by-{}", kind.to_lowercase()));
        pod["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": version, "kind": kind, "name": "owner", "uid": "1", "controller": true }]);
        pod
    };
    vec![
        bad_pod("bad"),
        good_pod("good"),
        labelled(bad_pod("labelled"), json!({ "a": "b", "app.kubernetes.io/name": "x" })),
        pod("many", (0..16).map(|index| bad_container(&format!("c-{index}"))).collect::<Vec<_>>()),
        pod("mixed", [good_container("good"), bad_container("bad")]),
        owned("Job", "batch/v1"),
        owned("ReplicaSet", "apps/v1"),
        owned("StatefulSet", "apps/v1"),
    ]
}

/// Returns workloads, which create no pods without a controller manager.
fn workloads(specs: &[Value]) -> Vec<Value> {
    let kinds = [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
        ("argoproj.io/v1alpha1", "Rollout"),
    ];
    let of = |(index, spec): (usize, &Value)| {
        let name = format!("workload-{index}");
        match kinds.get(index % (kinds.len() + 1)) {
            Some((version, kind)) => workload(version, kind, &name, spec.clone()),
            None => cron_job(&name, spec.clone()),
        }
    };
    specs.iter().enumerate().map(of).collect()
}

async fn by_webhook(webhook: &Webhook, objects: &[Value], namespace: &str) -> Result<Violations> {
    let mut violations = Violations::new();
    for object in objects {
        let (code, body) =
            webhook.process.http().post("/validate", review_of(object, namespace).to_string().as_bytes())?;
        ensure!(code == 200, "{code}: {body}");
        let response = serde_json::from_str::<Value>(&body)?["response"].take();
        ensure!(response.get("warnings").is_none(), "everything denies: {response:#}");
        let text = response["status"]["message"].as_str().unwrap_or_default();
        let lines: Lines = text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect();
        ensure!(response["allowed"].as_bool() == Some(lines.is_empty()), "{response:#}");
        if !lines.is_empty() {
            let name = object["metadata"]["name"].as_str().unwrap();
            violations.insert(format!("{}/{name}", object["kind"].as_str().unwrap()), lines);
        }
    }
    Ok(violations)
}

async fn by_operator(namespace: &Namespace, expected: usize) -> Result<Violations> {
    eventually(DEADLINE, format!("an audit result of {expected} pods"), async || {
        let audits = list(namespace, "policyauditresults").await?;
        let last = &audits.last().context("there is none")?["spec"];
        ensure!(last["subjects"] == expected, "it is about {}", last["subjects"]);
        ensure!(last["truncated"] != true, "it is truncated");
        Ok(violations_of(last["violations"].as_array().map_or(&[][..], Vec::as_slice)))
    })
    .await
}

#[tokio::test]
async fn cli_webhook_and_operator_report_the_same_violations() -> Result<()> {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, b"the same objects in every run...");
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let specs: Vec<Value> = (0..PODS).map(|_| pod_spec().new_tree(&mut runner).unwrap().current()).collect();
    let mut pods = handwritten();
    pods.extend(specs.iter().enumerate().map(|(index, spec)| {
        let mut pod = bad_pod(&format!("generated-{index}"));
        pod["spec"] = spec.clone();
        pod
    }));
    let workloads = workloads(&specs[..80]);
    assert!(pods.len() + workloads.len() >= 300);

    // Without nodes and a controller manager no pod starts, and pods with missing owners are not removed: all pods stay
    // Pending, as at admission.
    let setting = Setting::new(ControlPlane::builder().start().await?).await?;
    let operator = setting.operator().await?;
    let webhook = Webhook::start(&setting, &["--deny-severity", "low"]).await?;
    setting.plane.kubectl(["delete", "validatingwebhookconfiguration", "kube-devops-webhook"]).await?;
    let spec = json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true, "maxRestartCount": 1,
        "severityOverrides": { "latestTag": "critical", "missingLiveness": "low" },
    });
    let policy = policy("strict", &spec);
    let folder = Folder::with([("policy.yaml", &policy)]);
    let mut violations = 0;
    for chunk in pods.chunks(pods.len().div_ceil(NAMESPACES)) {
        let namespace = setting.plane.namespace("same").await?;
        apply_policy(&webhook.process, &namespace, &policy).await?;
        apply(&namespace, &documents(chunk)).await?;
        let objects: Vec<Value> = chunk.iter().map(|pod| in_namespace(pod.clone(), namespace.name())).collect();
        let by_cli = by_cli(&folder, &objects);
        assert_eq!(by_cli, by_webhook(&webhook, &objects, namespace.name()).await?, "CLI and webhook");
        assert_eq!(
            by_cli,
            by_operator(&namespace, chunk.len()).await.with_context(|| operator.log())?,
            "CLI and operator"
        );
        violations += by_cli.values().map(BTreeSet::len).sum::<usize>();
    }
    assert!(violations > PODS, "there were {violations}");
    let namespace = setting.plane.namespace("same").await?;
    apply_policy(&webhook.process, &namespace, &policy).await?;
    let objects: Vec<Value> = workloads.into_iter().map(|object| in_namespace(object, namespace.name())).collect();
    assert_eq!(by_cli(&folder, &objects), by_webhook(&webhook, &objects, namespace.name()).await?, "workloads");
    Ok(())
}

fn by_cli(folder: &Folder, objects: &[Value]) -> Violations {
    let manifest = folder.write("objects.yaml", documents(objects));
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "--policy"]).arg(folder.path().join("policy.yaml")).arg("-f").arg(manifest);
    let report = run(&mut command).exits(0).json();
    violations_of(report["violations"].as_array().unwrap())
}
