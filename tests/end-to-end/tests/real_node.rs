//! Remediation on a real node, where kubelets probe the pods and a Service leads to them.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use end_to_end::Controller;
use end_to_end::operator::{Setting, apply, get, policy};
use end_to_end::webhook::Webhook;
use serde_json::{Value, json};
use test_cluster::{ControlPlane, Namespace, eventually, real_node};

const IMAGE: &str = "localhost/busybox:1";
/// Image builds, probes and rollouts take their time.
const DEADLINE: Duration = Duration::from_secs(180);

/// A Deployment and a Service of a web server on port 8080, which declares `declared` as its port.
fn web_server(name: &str, declared: u16) -> Value {
    let labels = json!({ "app": name });
    let command = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/bin"];
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": {
                "replicas": 1, "progressDeadlineSeconds": 15, "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [{
                            "name": "web", "image": IMAGE, "command": command, "ports": [{ "containerPort": declared }],
                            // Connections end only after the endpoint is gone everywhere.
                            "lifecycle": { "preStop": { "exec": { "command": ["/bin/busybox", "sleep", "1"] } } },
                        }],
                    },
                },
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] },
        },
    ] })
}

/// Sends requests to a Service all the time.
struct Client {
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let client = Self { answered: Arc::default(), failed: Arc::default(), ended: Arc::default() };
        let (answered, failed, ended) = (client.answered.clone(), client.failed.clone(), client.ended.clone());
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let counter = if is_answered(address).unwrap_or(false) { &answered } else { &failed };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        client
    }

    /// Waits for more answers, and requires that no request failed.
    async fn expect_answers(&self) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        eventually(DEADLINE, "answers", async || {
            ensure!(self.answered.load(Ordering::Relaxed) > before + 20);
            Ok(())
        })
        .await?;
        ensure!(self.failed.load(Ordering::Relaxed) == 0, "{} requests failed", self.failed.load(Ordering::Relaxed));
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn is_answered(address: SocketAddr) -> Result<bool> {
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET /busybox HTTP/1.0\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head == *b"HTTP/1.0 200" || head == *b"HTTP/1.1 200")
}

async fn service_address(namespace: &Namespace, name: &str) -> Result<SocketAddr> {
    let address = namespace.kubectl(["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]).await?;
    let address = SocketAddr::new(address.parse()?, 80);
    eventually(DEADLINE, format!("{name} to answer"), async || {
        ensure!(is_answered(address)?);
        Ok(())
    })
    .await?;
    Ok(address)
}

async fn expect_state(operator: &Controller, namespace: &Namespace, name: &str, expected: &str) -> Result<()> {
    eventually(DEADLINE, format!("{name} to be {expected}"), async || {
        let status = get(namespace, "devopspolicy", "probes").await?["status"].take();
        let workloads = status["workloads"].as_array().context("no workloads")?;
        let found = workloads.iter().find(|workload| workload["name"] == name);
        ensure!(found.is_some_and(|found| found["state"] == expected), "the status is {status:#}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())
}

fn container(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn remediation_follows_real_probes() -> Result<()> {
    real_node::isolated("remediation_follows_real_probes", || Ok(()), async {
        let plane = ControlPlane::builder().controller_manager().scheduler().real_node().start().await?;
        plane.load_busybox(IMAGE)?;
        let setting = Setting::new(plane).await?;
        let operator = setting.operator().await?;
        let _webhook = Webhook::start_for_operator(&setting, &["--deny-severity", "critical"]).await?;

        let namespace = setting.plane.namespace("shop").await?;
        apply(&namespace, &web_server("web", 8080).to_string()).await?;
        // Nothing listens on the declared port.
        apply(&namespace, &web_server("broken", 9999).to_string()).await?;
        let mut clients = Vec::new();
        for name in ["web", "broken"] {
            namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=120s"]).await?;
            clients.push(Client::start(service_address(&namespace, name).await?));
        }
        let spec = json!({
            "requireLivenessProbe": true, "requireReadinessProbe": true, "enforcementMode": "enforce",
            "defaultProbe": { "initialDelaySeconds": 1, "periodSeconds": 1 },
        });
        apply(&namespace, &policy("probes", &spec)).await?;

        expect_state(&operator, &namespace, "web", "Patched").await?;
        let web = get(&namespace, "deployment", "web").await?;
        assert_eq!(container(&web)["livenessProbe"]["tcpSocket"]["port"], 8080);
        expect_state(&operator, &namespace, "broken", "Reverted").await?;
        let broken = get(&namespace, "deployment", "broken").await?;
        assert!(container(&broken).get("livenessProbe").is_none(), "{broken:#}");
        namespace.kubectl(["rollout", "status", "deployment/broken", "--timeout=120s"]).await?;
        for client in &clients {
            client.expect_answers().await?;
        }

        // The team sets its own probe, which asks another way.
        let mut own = web_server("web", 8080);
        let probe = json!({ "httpGet": { "path": "/busybox", "port": 8080 }, "periodSeconds": 2 });
        own["items"][0]["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe;
        apply(&namespace, &own.to_string()).await?;
        namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
        let web = get(&namespace, "deployment", "web").await?;
        let probe = &container(&web)["livenessProbe"];
        assert_eq!((&probe["httpGet"]["path"], &probe["periodSeconds"]), (&json!("/busybox"), &json!(2)), "{probe}");
        assert!(probe.get("tcpSocket").is_none() && probe.get("initialDelaySeconds").is_none(), "{probe}");
        clients[0].expect_answers().await?;
        Ok(())
    })
}
