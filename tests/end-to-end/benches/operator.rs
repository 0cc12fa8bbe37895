//! The operator on a cluster of 10,000 pods in 200 namespaces with 200 policies: the time of the first evaluation, the
//! latency of a change, the memory, and the requests to the API server.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_pod, documents, good_pod, in_namespace};
use end_to_end::operator::{Setting, policy};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, eventually};

const NAMESPACES: usize = 200;
const PODS: usize = 50;
const TIMEOUT: Duration = Duration::from_secs(300);

/// Returns the number of requests to the API server since its start, by verb and resource.
async fn requests(plane: &ControlPlane) -> Result<BTreeMap<String, u64>> {
    let text = plane.kubectl(["get", "--raw", "/metrics"]).await?;
    let mut requests = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| Some(line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0);
        let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else { continue };
        let count: f64 = line.rsplit(' ').next().context("a value")?.parse()?;
        *requests.entry(format!("{verb} {resource}")).or_default() += count as u64;
    }
    Ok(requests)
}

async fn difference(plane: &ControlPlane, before: &BTreeMap<String, u64>) -> Result<Vec<String>> {
    let now = requests(plane).await?;
    let more =
        |(what, count): (&String, &u64)| Some((what.clone(), count.checked_sub(*before.get(what).unwrap_or(&0))?));
    let ours = ["pods", "devopspolicies", "policyauditresults", "leases", "events"];
    let is_ours = |what: &str| what.split(' ').nth(1).is_some_and(|resource| ours.contains(&resource));
    Ok(now
        .iter()
        .filter_map(more)
        .filter(|(what, count)| *count > 0 && is_ours(what))
        .map(|(what, count)| format!("{count} {what}"))
        .collect())
}

/// Counts the policies with a status that includes all pods.
async fn complete_statuses(plane: &ControlPlane) -> Result<usize> {
    let list: Value = serde_json::from_str(&plane.kubectl(["get", "devopspolicies", "-A", "-o", "json"]).await?)?;
    let expected = json!(3 * PODS / 2);
    Ok(list["items"].as_array().unwrap().iter().filter(|policy| policy["status"]["violationCount"] == expected).count())
}

async fn run() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let plane = &setting.plane;
    eprintln!("creating {NAMESPACES} namespaces, {} pods and {NAMESPACES} policies", NAMESPACES * PODS);
    let namespaces: Vec<String> = (0..NAMESPACES).map(|index| format!("team-{index:03}")).collect();
    let objects: Vec<Value> = namespaces
        .iter()
        .map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
        .collect();
    plane.kubectl_with_input(["create", "-f", "-"], &documents(&objects)).await?;
    let spec = json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true, "maxRestartCount": 3,
    });
    let client = plane.client().await?;
    for name in &namespaces {
        let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
            kube::Api::namespaced(client.clone(), name);
        eventually(TIMEOUT, "the ServiceAccount", async || Ok(accounts.get("default").await?)).await?;
        let pods = (0..PODS).map(|index| {
            if index % 2 == 0 { bad_pod(&format!("pod-{index}")) } else { good_pod(&format!("pod-{index}")) }
        });
        let policy = in_namespace(serde_json::from_str(&policy("policy", &spec))?, name);
        let objects: Vec<Value> = pods.map(|pod| in_namespace(pod, name)).chain([policy]).collect();
        plane.kubectl_with_input(["create", "-f", "-"], &documents(&objects)).await?;
    }

    let before = requests(plane).await?;
    let operator = setting.default_operator(&[]).await?;
    eventually(TIMEOUT, "readiness", async || {
        ensure!(operator.get("/readyz")?.0 == 200);
        Ok(())
    })
    .await?;
    let synced = Instant::now();
    eventually(TIMEOUT, "the first evaluation", async || {
        let count = operator.metric("devopspolicy_reconcile_total")?.unwrap_or_default();
        ensure!(count >= NAMESPACES as f64, "{count}");
        Ok(())
    })
    .await?;
    println!("all pods evaluated under all policies, after the sync: {:.2} s", synced.elapsed().as_secs_f64());
    eventually(TIMEOUT, "every status", async || {
        let count = complete_statuses(plane).await?;
        ensure!(count == NAMESPACES, "{count}");
        Ok(())
    })
    .await?;
    println!("all statuses written, after the sync: {:.2} s", synced.elapsed().as_secs_f64());
    operator.expect_metric("audit_results_total", Some(NAMESPACES as f64)).await?;
    println!("memory: {} MB peak, {} MB now", operator.memory("VmHWM")? / 1000, operator.memory("VmRSS")? / 1000);
    println!("requests up to this point: {}", difference(plane, &before).await?.join(", "));

    let before = requests(plane).await?;
    let quiet = Instant::now();
    eventually(TIMEOUT, "two minutes without a change", async || {
        ensure!(quiet.elapsed() >= Duration::from_secs(120));
        Ok(())
    })
    .await?;
    println!("requests in two minutes without a change: {}", difference(plane, &before).await?.join(", "));

    let mut latencies = Vec::new();
    for index in 0..20 {
        let namespace = plane.kubeconfig().with_namespace(&namespaces[index * 7])?;
        let client = namespace.client().await?;
        let policies: kube::Api<kube_devops_cluster::crd::DevOpsPolicy> = kube::Api::default_namespaced(client.clone());
        let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::default_namespaced(client);
        let pod = serde_json::from_value(bad_pod("changed"))?;
        let changed = Instant::now();
        pods.create(&kube::api::PostParams::default(), &pod).await?;
        eventually(TIMEOUT, "the changed pod in the status", async || {
            let status = policies.get("policy").await?.status.context("a status")?;
            ensure!(status.violation_count == Some(3 * PODS as i64 / 2 + 3));
            Ok(())
        })
        .await?;
        latencies.push(changed.elapsed());
    }
    latencies.sort();
    println!(
        "a changed pod in the status: {:.0} ms median, {:.0} ms maximum",
        latencies[10].as_secs_f64() * 1e3,
        latencies[19].as_secs_f64() * 1e3
    );
    Ok(())
}

fn main() -> Result<()> {
    // Cargo also runs benchmarks as tests, which would take minutes.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}
