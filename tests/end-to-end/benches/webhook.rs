//! The webhook under load, on the same cores as the clients: the cost of an evaluation compared with a server that allows
//! everything.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use end_to_end::guests::guest;
use end_to_end::http::{Connection, Http, Trust};
use end_to_end::operator::{Setting, policy};
use end_to_end::webhook::{Webhook, namespace_with_bundle, review_of};
use futures::FutureExt;
use kube::runtime::watcher::Event;
use kube_devops_core::{Severity, SystemNamespaces};
use kube_devops_engine::{Catalog, Engine, Grants, Limits, LoadedModule};
use kube_devops_webhook::admission::{Admission, AdmissionOptions};
use kube_devops_webhook::certificate::{CertificateNames, ServerCertificate, issue};
use kube_devops_webhook::{Indexer, PolicyIndex, review, server};
use prometheus::Registry;
use serde_json::{Value, json};
use test_cluster::ControlPlane;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 8;
/// The number of checks in a pack.
const CUSTOM: usize = 50;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

/// Returns a typical pod: two containers, three labels, and many fields that no check reads.
fn object() -> Value {
    let container = |name: &str| {
        let variables: Vec<Value> =
            (0..12).map(|index| json!({ "name": format!("{}_SETTING_{index}", name.to_uppercase()), "value": "some value of usual length" })).collect();
        let probe = |path: &str| json!({ "httpGet": { "path": path, "port": 8080, "scheme": "HTTP" }, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3 });
        json!({
            "name": name, "image": format!("registry.example.com:5000/shop/{name}:1.29.3"), "env": variables,
            "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
            "livenessProbe": probe("/healthz"), "readinessProbe": probe("/ready"),
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "cpu": "500m", "memory": "256Mi" } },
            "volumeMounts": [{ "name": "data", "mountPath": "/var/lib/data" }],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true },
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "shop-7d4b9c8f6d-x2x7k", "generateName": "shop-7d4b9c8f6d-", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "shop", "pod-template-hash": "7d4b9c8f6d", "tier": "front" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7d4b9c8f6d", "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "controller": true }],
        },
        "spec": {
            "containers": [container("web"), container("sidecar")], "restartPolicy": "Always", "serviceAccountName": "shop",
            "volumes": [{ "name": "data", "emptyDir": {} }], "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        },
        "status": { "phase": "Pending", "qosClass": "Burstable" },
    })
}

/// A request on a persistent connection.
struct Client {
    connection: Connection,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    fn new(http: &Http, path: &str, body: &[u8]) -> Result<Self> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend(body);
        Ok(Self { connection: http.connect()?, request, buffer: vec![0; 64 * 1024] })
    }

    fn send(&mut self) -> Result<()> {
        self.connection.write_all(&self.request)?;
        self.connection.flush()?;
        let mut filled = 0;
        loop {
            let count = self.connection.read(&mut self.buffer[filled..])?;
            ensure!(count > 0, "the connection ended");
            filled += count;
            let text = &self.buffer[..filled];
            let Some(head) = text.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let headers = std::str::from_utf8(&text[..head])?;
            let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).context("a length")?;
            if filled < head + 4 + length.parse::<usize>()? {
                continue;
            }
            ensure!(headers.starts_with("HTTP/1.1 200") && text.ends_with(b"}"), "{headers}");
            let allowed = b"\"allowed\":true";
            ensure!(text.windows(allowed.len()).any(|window| window == allowed), "{}", String::from_utf8_lossy(text));
            return Ok(());
        }
    }
}

/// The measurements of one kind of request.
struct Measured {
    name: &'static str,
    path: &'static str,
    body: Vec<u8>,
    latencies: Vec<Duration>,
    time: Duration,
}

impl Measured {
    fn new(name: &'static str, path: &'static str, namespace: &str) -> Self {
        let body = review_of(&object(), namespace).to_string().into_bytes();
        Self { name, path, body, latencies: Vec::new(), time: Duration::ZERO }
    }

    fn round(&mut self, http: &Http, time: Duration, counts: bool) -> Result<()> {
        let ended = AtomicBool::new(false);
        let started = Instant::now();
        let latencies: Vec<Duration> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Client::new(http, self.path, &self.body)?;
                        let mut latencies = Vec::new();
                        while !ended.load(Ordering::Relaxed) {
                            let sent = Instant::now();
                            client.send()?;
                            latencies.push(sent.elapsed());
                        }
                        anyhow::Ok(latencies)
                    })
                })
                .collect();
            std::thread::sleep(time);
            ended.store(true, Ordering::Relaxed);
            let latencies = clients.into_iter().map(|client| client.join().unwrap());
            anyhow::Ok(latencies.collect::<Result<Vec<_>>>()?.concat())
        })?;
        if counts {
            self.latencies.extend(latencies);
            self.time += started.elapsed();
        }
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    fn percentile(&self, part: f64) -> f64 {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
    }
}

fn report(measured: &[Measured]) {
    println!("| request | per second | rate relative to allow-all | p50 ms | p99 ms | p99 relative to allow-all |");
    println!("|---|---|---|---|---|---|");
    let base = &measured[0];
    for one in measured {
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
            one.name,
            one.rate(),
            one.rate() / base.rate(),
            one.percentile(0.5),
            one.percentile(0.99),
            one.percentile(0.99) / base.percentile(0.99)
        );
    }
}

/// Returns the admission logic of the webhook with policies of one and of three checks.
fn admission() -> Result<Arc<Admission>> {
    let engine = Engine::new(Limits::default())?;
    let mut catalog = Catalog::new(engine.clone(), kube_devops_modules::checks(&engine)?, []);
    let pack = guest("pack", Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    catalog.add(&LoadedModule::compile(&engine, &pack, "sha256:pack", Grants::default())?)?;
    let custom: Vec<String> = catalog.added().iter().cloned().collect();
    let checks = Arc::new(catalog.checks());
    let index = Arc::new(PolicyIndex::default());
    let options = AdmissionOptions {
        deny: Some(Severity::High),
        fail_closed: false,
        deadline: Duration::from_secs(2),
        most_at_once: 64,
        system: SystemNamespaces::default(),
        operator: None,
        deny_controller_pods: false,
    };
    let admission = Arc::new(Admission::new(checks.clone(), index.clone(), options, &Registry::new())?);
    let mut indexer = Indexer::new(checks, index);
    indexer.apply(Event::Init);
    let fields = ["forbidLatestTag", "requireLivenessProbe", "requireReadinessProbe"];
    for (namespace, count) in [("one", 1), ("three", 3)] {
        let spec = Value::from_iter(fields[..count].iter().map(|&field| (field, Value::Bool(true))));
        let mut object: Value = serde_json::from_str(&policy("policy", &spec))?;
        object["metadata"]["namespace"] = namespace.into();
        indexer.apply(Event::InitApply(serde_json::from_value(object)?));
    }
    for count in [1, 10, CUSTOM] {
        let enabled: Vec<Value> = custom[..count].iter().map(|id| json!({ "check": id })).collect();
        let mut object: Value = serde_json::from_str(&policy("policy", &json!({ "checks": enabled })))?;
        object["metadata"]["namespace"] = format!("custom-{count}").into();
        indexer.apply(Event::InitApply(serde_json::from_value(object)?));
    }
    indexer.apply(Event::InitDone);
    Ok(admission)
}

async fn allow_all(_body: Bytes) -> impl axum::response::IntoResponse {
    const ANSWER: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}"#;
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}

fn within_one_server(admission: &Arc<Admission>, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let names = CertificateNames { service: "bench".to_owned(), namespace: "bench".to_owned(), addresses: Vec::new() };
    let issued = issue(&names, chrono::Utc::now(), chrono::Duration::days(1))?;
    let certificate = ServerCertificate::new(issued.certificate.as_bytes(), issued.key.as_bytes())?;
    let router = Router::new().route("/allow-all", post(allow_all)).merge(server::router(admission.clone(), 8 << 20));
    let stop = CancellationToken::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_tls, current_tls) = watch::channel(certificate.config);
    let (address, served) =
        runtime.block_on(server::serve(any, current_tls, router, Default::default(), stop.clone()))?;
    let http = Http { address, trust: Trust::Any };
    let mut measured = [
        Measured::new("allow-all in the same server", "/allow-all", "free"),
        Measured::new("a namespace without policies", "/validate", "free"),
        Measured::new("one check", "/validate", "one"),
        Measured::new("three checks", "/validate", "three"),
        Measured::new("1 custom check", "/validate", "custom-1"),
        Measured::new("10 custom checks", "/validate", "custom-10"),
        Measured::new("50 custom checks", "/validate", "custom-50"),
    ];
    println!("a review of {} bytes, {CONNECTIONS} connections\n", measured[0].body.len());
    for round in 0..=ROUNDS {
        for one in &mut measured {
            // The first round is a warm-up.
            one.round(&http, ROUND, round > 0)?;
        }
    }
    report(&measured);
    stop.cancel();
    Ok(runtime.block_on(served)?)
}

/// Measures the parts of an evaluation on one core and without a server.
fn by_part(admission: &Admission) -> Result<()> {
    fn micros(mut work: impl FnMut()) -> f64 {
        let run = |count: u32, work: &mut dyn FnMut()| {
            let started = Instant::now();
            (0..count).for_each(|_| work());
            started.elapsed().as_secs_f64() * 1e6 / f64::from(count)
        };
        run(2000, &mut work);
        (0..9).map(|_| run(4000, &mut work)).fold(f64::INFINITY, f64::min)
    }
    let body = |namespace: &str| review_of(&object(), namespace).to_string().into_bytes();
    let review = body("free");
    println!("\n| part, one core | us |\n|---|---|");
    println!("| parse the review | {:.1} |", micros(|| drop(std::hint::black_box(review::parse(&review)))));
    let namespaces = [
        ("no policy", "free"),
        ("one check", "one"),
        ("three checks", "three"),
        ("1 custom check", "custom-1"),
        ("10 custom checks", "custom-10"),
        ("50 custom checks", "custom-50"),
    ];
    for (name, namespace) in namespaces {
        let body = body(namespace);
        let answer = || admission.answer(&body, Instant::now()).now_or_never().context("it waits");
        let response = answer()?.map_err(|error| anyhow::anyhow!("{error}"))?;
        let response = String::from_utf8(response.to_json())?;
        ensure!(!response.contains("warnings"), "{name}: {response}");
        let time = micros(|| {
            let response = answer().map(|response| response.map(|response| response.to_json()));
            drop(std::hint::black_box(response));
        });
        println!("| evaluate it: {name} | {time:.1} |");
    }
    Ok(())
}

async fn the_program() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let idle = webhook.process.memory("VmRSS")?;
    let mut one = Measured::new("the program, bundle restricted", "/validate", namespace.name());
    let http = webhook.process.http().clone();
    let one = tokio::task::spawn_blocking(move || {
        one.round(&http, ROUND, false)?;
        (0..ROUNDS).try_for_each(|_| one.round(&http, ROUND, true))?;
        anyhow::Ok(one)
    })
    .await??;
    println!(
        "\n{}: {:.0} requests per second, p50 {:.2} ms, p99 {:.2} ms; memory {} MB before, {} MB peak",
        one.name,
        one.rate(),
        one.percentile(0.5),
        one.percentile(0.99),
        idle / 1000,
        webhook.process.memory("VmHWM")? / 1000
    );
    Ok(())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let admission = admission()?;
    by_part(&admission)?;
    within_one_server(&admission, &runtime)?;
    runtime.block_on(the_program())
}
