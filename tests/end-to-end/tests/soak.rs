//! Two operators and two webhooks under rollouts, changes of policies, restarts of the API server and kills, for a minute, or for
//! `KUBE_DEVOPS_SOAK_SECONDS`.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use end_to_end::http::Trust;
use end_to_end::objects::{bad_container_with_port, bad_pod, selecting_workload};
use end_to_end::operator::{Setting, apply, get, list, policy};
use end_to_end::webhook::{api_server_fail_open_count, namespace_with_bundle};
use end_to_end::{Controller, Folder, kube_devops, run, service_account};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{Component as Part, DEADLINE, Kubeconfig, Namespace, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

const DEFAULT_SECONDS: u64 = 60;
const NAMESPACES: usize = 3;
const PORT: u16 = 8080;

/// A process of two, and how it is started again.
struct Replica {
    process: Controller,
    arguments: Vec<String>,
    kubeconfig: Kubeconfig,
    is_webhook: bool,
}

impl Replica {
    async fn start(setting: &Setting, is_webhook: bool, identity: &str) -> Result<Self> {
        let components: &[_] =
            if is_webhook { &[Component::Webhook] } else { &[Component::Reconcile, Component::Remediate] };
        let kubeconfig = service_account(&setting.plane, setting.namespace(), components).await?;
        let own: &[&str] = if is_webhook {
            &["webhook", "serve", "--ip-san", "127.0.0.1"]
        } else {
            &["reconcile", "--audit-period", "5", "--rollout-deadline", "20"]
        };
        let namespace = setting.namespace().name();
        let common = ["--lease-duration", "3", "--identity", identity, "--lease-namespace", namespace];
        let arguments: Vec<String> = own.iter().chain(&common).map(|&argument| argument.to_owned()).collect();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let process = launch(setting, &kubeconfig, any, is_webhook, &arguments).await?;
        Ok(Self { process, arguments, kubeconfig, is_webhook })
    }

    async fn restart(&mut self, setting: &Setting) -> Result<()> {
        let address = self.process.http().address;
        self.process = launch(setting, &self.kubeconfig, address, self.is_webhook, &self.arguments).await?;
        self.process.ready().await
    }
}

async fn launch(
    setting: &Setting,
    kubeconfig: &Kubeconfig,
    address: SocketAddr,
    is_webhook: bool,
    arguments: &[String],
) -> Result<Controller> {
    let trust = if is_webhook { Trust::Any } else { Trust::Plain };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Controller::start_at(&setting.plane, kubeconfig.path(), address, trust, &arguments).await
}

/// A Service in front of the webhooks: it forwards each connection to the next replica that is ready.
struct Service {
    address: SocketAddr,
    replicas: Arc<Vec<(SocketAddr, AtomicBool)>>,
    tasks: JoinSet<()>,
}

impl Service {
    async fn start(addresses: &[SocketAddr]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let replicas = addresses.iter().map(|address| (*address, AtomicBool::new(true))).collect();
        let replicas: Arc<Vec<(SocketAddr, AtomicBool)>> = Arc::new(replicas);
        let mut tasks = JoinSet::new();
        let next = AtomicUsize::new(0);
        let targets = replicas.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let ready: Vec<_> = targets.iter().filter(|(_, ready)| ready.load(Ordering::Relaxed)).collect();
                if ready.is_empty() {
                    continue;
                }
                let (address, _) = *ready[next.fetch_add(1, Ordering::Relaxed) % ready.len()];
                connections.spawn(async move {
                    // A connection to a replica that was killed ends, until the replica is no longer ready.
                    if let Ok(mut server) = TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, replicas, tasks })
    }

    fn set_ready(&self, replica: usize, ready: bool) {
        self.replicas[replica].1.store(ready, Ordering::Relaxed);
    }
}

/// A client that creates pods with violations all the time, except while `pause` is held.
struct Load {
    pause: Arc<RwLock<()>>,
    ended: Arc<AtomicBool>,
    client: tokio::task::JoinHandle<Result<u64>>,
}

impl Load {
    async fn start(namespace: &Namespace) -> Result<Self> {
        let (pause, ended) = (Arc::new(RwLock::new(())), Arc::new(AtomicBool::new(false)));
        let pods: Api<Pod> = Api::default_namespaced(namespace.client().await?);
        let mut pod: Pod = serde_json::from_value(bad_pod("unused"))?;
        pod.metadata.name = None;
        pod.metadata.generate_name = Some("bad-".to_owned());
        let (paused, is_over) = (pause.clone(), ended.clone());
        let client = tokio::spawn(async move {
            let mut denied = 0;
            while !is_over.load(Ordering::Relaxed) {
                let _running = paused.read().await;
                match pods.create(&PostParams::default(), &pod).await {
                    Err(kube::Error::Api(status)) if status.message.contains("3 violations in Pod ") => denied += 1,
                    Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                        anyhow::bail!("failed to create a pod: {status:?}")
                    }
                    // The API server is being restarted.
                    Ok(_) | Err(_) => tokio::task::yield_now().await,
                }
            }
            Ok(denied)
        });
        Ok(Self { pause, ended, client })
    }
}

fn deployment(name: &str) -> Value {
    let mut object = selecting_workload("Deployment", name, [bad_container_with_port("app", PORT)]);
    object["spec"]["replicas"] = 4.into();
    object
}

/// The index of the replica that holds a Lease.
async fn leader(setting: &Setting, lease: &str) -> Result<usize> {
    let holder = ["get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}"];
    Ok(usize::from(setting.namespace().kubectl(holder).await? == "second"))
}

/// The violations of a policy by check, evaluated by the CLI.
async fn evaluated(setting: &Setting, namespace: &Namespace, name: &str) -> Result<Value> {
    let policy = namespace.kubectl(["get", "devopspolicy", name, "-o", "yaml"]).await?;
    let folder = Folder::with([("policy.yaml", policy)]);
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "-n", namespace.name(), "--policy"]);
    command.arg(folder.path().join("policy.yaml")).arg("--kubeconfig").arg(setting.plane.kubeconfig().path());
    let report = run(&mut command).json();
    let mut counts = serde_json::Map::new();
    for violation in report["violations"].as_array().context("a list of violations")? {
        let count = counts.entry(violation["check"].as_str().unwrap_or_default()).or_insert_with(|| json!(0));
        *count = json!(count.as_u64().unwrap_or_default() + 1);
    }
    Ok(counts.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_stay_correct_and_small_under_faults() -> Result<()> {
    let seconds = std::env::var("KUBE_DEVOPS_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    let setting = Setting::start().await?;
    let mut operators =
        [Replica::start(&setting, false, "first").await?, Replica::start(&setting, false, "second").await?];
    let mut webhooks =
        [Replica::start(&setting, true, "first").await?, Replica::start(&setting, true, "second").await?];
    for replica in operators.iter().chain(&webhooks) {
        replica.process.ready().await?;
    }
    let addresses = [0, 1].map(|index| webhooks[index].process.http().address);
    let mut service = Service::start(&addresses).await?;
    let url = format!("https://{}", service.address);
    let mut command = kube_devops();
    command.args(["webhook", "install-config", "--url", &url, "--namespace", setting.namespace().name()]);
    command.args(["--operator-service-account", &setting.operator_account()]);
    setting.plane.kubectl_with_input(["apply", "-f", "-"], &run(&mut command).exits(0).stdout).await?;

    let strict = namespace_with_bundle(&setting, &webhooks[0].process, "restricted").await?;
    eventually(DEADLINE, "a denial", async || {
        let denied = strict.kubectl(["run", "bad", "--image=nginx", "--dry-run=server"]).await;
        ensure!(denied.as_ref().is_err_and(|error| format!("{error:#}").contains("denied")), "{denied:?}");
        Ok(())
    })
    .await?;
    let mut namespaces = Vec::new();
    for index in 0..NAMESPACES {
        let namespace = setting.plane.namespace(&format!("team-{index}")).await?;
        apply(&namespace, &deployment("web").to_string()).await?;
        apply(&namespace, &deployment("worker").to_string()).await?;
        let mode = if index == 0 { "enforce" } else { "audit" };
        let spec = json!({
            "forbidLatestTag": true, "requireLivenessProbe": true, "enforcementMode": mode,
            "defaultProbe": { "initialDelaySeconds": 0, "periodSeconds": 1 },
            "severityOverrides": { "latestTag": "low", "missingLiveness": "low", "missingReadiness": "low" },
        });
        apply(&namespace, &policy("team", &spec)).await?;
        namespaces.push(namespace);
    }

    let load = Load::start(&strict).await?;
    let (mut failed_open, mut round) = (0.0, 0);
    let mut memory = None;
    let start = Instant::now();
    while start.elapsed() < duration {
        let is_second_half = start.elapsed() > duration / 2;
        if is_second_half && memory.is_none() {
            // From now on, only the first replicas are killed.
            memory = Some([&operators[1], &webhooks[1]].map(|replica| replica.process.memory("VmRSS").unwrap()));
        }
        let namespace = &namespaces[round % NAMESPACES];
        namespace.kubectl(["rollout", "restart", "deployment/web"]).await?;
        let requires = json!({ "spec": { "requireReadinessProbe": round % 2 == 0 } }).to_string();
        namespace.kubectl(["patch", "devopspolicy", "team", "--type=merge", "--patch", &requires]).await?;
        match round % 4 {
            0 => {
                let victim = if is_second_half { 0 } else { leader(&setting, "kube-devops-reconcile").await? };
                operators[victim].process.kill()?;
                operators[victim].restart(&setting).await?;
            }
            1 => {
                let victim = if is_second_half { 0 } else { leader(&setting, "kube-devops-webhook").await? };
                let paused = load.pause.write().await;
                failed_open += webhooks[victim].process.sum("webhook_fail_open_total")?;
                drop(paused);
                webhooks[victim].process.kill()?;
                service.set_ready(victim, false);
                webhooks[victim].restart(&setting).await?;
                service.set_ready(victim, true);
            }
            2 => {
                let paused = load.pause.write().await;
                failed_open += api_server_fail_open_count(&setting).await? as f64;
                setting.plane.kill(Part::ApiServer).await?;
                setting.plane.restart(Part::ApiServer).await?;
                drop(paused);
            }
            _ => {
                let name = format!("extra-{round}");
                namespace.kubectl(["run", &name, "--image=nginx:1.29.3"]).await?;
                namespace.kubectl(["delete", "pod", &name, "--wait=false"]).await?;
            }
        }
        round += 1;
    }
    load.ended.store(true, Ordering::Relaxed);
    let denied = load.client.await??;
    failed_open += api_server_fail_open_count(&setting).await? as f64;
    for webhook in &webhooks {
        failed_open += webhook.process.sum("webhook_fail_open_total")?;
    }
    let admitted = list(&strict, "pods").await?.len();
    eprintln!("{round} rounds, {denied} pods denied, {admitted} admitted, {failed_open} requests failed open");
    ensure!(round >= 4 && denied > 0, "{round} rounds, {denied} denied");
    // The counters include the pods and workloads of other namespaces.
    ensure!(admitted as f64 <= failed_open, "{admitted} pods were admitted, and {failed_open} requests are counted");

    // After several restarts of the API server, their watches wait up to a minute before the next attempt (a backoff of
    // client-go with a limit of 30 seconds, plus jitter).
    for part in [Part::ControllerManager, Part::Scheduler, Part::Kwok] {
        setting.plane.restart(part).await?;
    }
    for namespace in &namespaces {
        for name in ["web", "worker"] {
            namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
        }
        eventually(DEADLINE, format!("the status in {} to equal a fresh evaluation", namespace.name()), async || {
            let status = get(namespace, "devopspolicy", "team").await?["status"].take();
            let expected = evaluated(&setting, namespace, "team").await?;
            let counts = status.get("violationsByCheck").cloned().unwrap_or_else(|| json!({}));
            ensure!(counts == expected, "it is {counts}, and a fresh evaluation {expected}");
            Ok(())
        })
        .await
        .with_context(|| format!("{}\n{}", operators[0].process.log(), operators[1].process.log()))?;
    }

    let before = memory.context("the first half took all the time")?;
    for (replica, before) in [&operators[1], &webhooks[1]].into_iter().zip(before) {
        let now = replica.process.memory("VmRSS")?;
        eprintln!("{}: {before} KB after half of the time, {now} KB now", replica.arguments[0]);
        assert!(now < before + before / 4 + 8 * 1024, "the memory grew from {before} KB to {now} KB");
    }
    for mut replica in operators.into_iter().chain(webhooks) {
        replica.process.stop().await?;
    }
    service.tasks.shutdown().await;
    Ok(())
}
