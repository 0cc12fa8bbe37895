//! Whatever happens to the webhook, nobody is stopped by it, and how many were let in failed_open is known.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use chrono::{Duration, Utc};
use end_to_end::Folder;
use end_to_end::objects::bad_pod;
use end_to_end::operator::{Setting, list};
use end_to_end::webhook::{Webhook, generate, is_asked, namespace_with_bundle};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube_devops_cluster::webhook::certificate::{CertificateNames, make, write_files};
use test_cluster::{Component, ControlPlane, DEADLINE, Namespace, eventually};
use tokio::task::JoinSet;

const CLIENTS: usize = 4;

/// Creates pods that are to be denied, all the time, and counts what becomes of them.
#[derive(Default)]
struct Load {
    admitted: AtomicU64,
    denied: AtomicU64,
    ended: AtomicBool,
}

impl Load {
    async fn run(self: Arc<Self>, namespace: &Namespace) -> Result<JoinSet<Result<()>>> {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let load = self.clone();
            let pods: Api<Pod> = Api::default_namespaced(namespace.client().await?);
            clients.spawn(async move {
                let mut pod: Pod = serde_json::from_value(bad_pod("unused"))?;
                pod.metadata.name = None;
                pod.metadata.generate_name = Some("bad-".to_owned());
                while !load.ended.load(Ordering::Relaxed) {
                    match pods.create(&PostParams::default(), &pod).await {
                        Ok(_) => load.admitted.fetch_add(1, Ordering::Relaxed),
                        Err(kube::Error::Api(status)) if status.message.contains("is refused for 3 violations") => {
                            load.denied.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => bail!("a creation failed: {error}"),
                    };
                }
                Ok(())
            });
        }
        Ok(clients)
    }

    /// Waits until some more have been denied, or admitted.
    async fn go_on(&self, what: &str, counter: impl Fn(&Self) -> &AtomicU64) -> Result<()> {
        let enough = counter(self).load(Ordering::Relaxed) + 20;
        eventually(DEADLINE, format!("more pods to be {what}"), async || {
            let count = counter(self).load(Ordering::Relaxed);
            ensure!(count >= enough, "there are {count}");
            Ok(())
        })
        .await
    }

    async fn denied(&self) -> Result<()> {
        self.go_on("denied", |load| &load.denied).await
    }

    async fn admitted(&self) -> Result<()> {
        self.go_on("admitted", |load| &load.admitted).await
    }

    async fn end(&self, mut clients: JoinSet<Result<()>>) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }
}

/// How many requests the API server let in because the webhook did not answer.
async fn let_in_unanswered(setting: &Setting) -> Result<u64> {
    let metrics = setting.plane.kubectl(["get", "--raw", "/metrics"]).await?;
    let series = "apiserver_admission_webhook_fail_open_count{name=\"workloads.devops.stochastic.io\"";
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stopped_by_a_webhook_that_fails_and_those_let_in_are_counted() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let mut webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let before = let_in_unanswered(&setting).await?;
    let mut failed_open = 0.0;

    let load = Arc::new(Load::default());
    let clients = load.clone().run(&namespace).await?;
    load.denied().await?;
    assert_eq!(load.admitted.load(Ordering::Relaxed), 0);

    // Killed, and started again.
    webhook.process.kill()?;
    load.admitted().await?;
    webhook.start_again(&setting).await?;
    load.denied().await?;
    // Replaced in order.
    failed_open += webhook.process.sum("webhook_fail_open_total")?;
    webhook.process.stop().await?;
    webhook.start_again(&setting).await?;
    load.denied().await?;

    // A certificate that has ended, in the place of a good one.
    let names = CertificateNames {
        service: "webhook".to_owned(),
        namespace: "default".to_owned(),
        addresses: vec![[127, 0, 0, 1].into()],
    };
    let ended = make(&names, Utc::now() - Duration::days(10), Duration::days(5))?;
    let folder = Folder::new();
    write_files(folder.path(), &ended)?;
    for name in ["tls.key", "tls.crt"] {
        std::fs::copy(folder.path().join(name), webhook.certificates().path().join(name))?;
    }
    eventually(DEADLINE, "a complaint about the certificate", async || {
        ensure!(webhook.process.log().contains("has ended"), "{}", webhook.process.log());
        Ok(())
    })
    .await?;
    load.denied().await.context("the good one is served on")?;

    // A new one, of an authority that nobody trusts yet, and then somebody does.
    std::fs::remove_file(webhook.certificates().path().join("ca.crt"))?;
    generate(webhook.certificates());
    failed_open += webhook.process.sum("webhook_fail_open_total")?;
    webhook.process.stop().await?;
    webhook.start_again(&setting).await?;
    load.admitted().await?;
    webhook.install(&setting, &[]).await?;
    load.denied().await?;

    load.end(clients).await?;
    failed_open += webhook.process.sum("webhook_fail_open_total")?;
    let admitted = load.admitted.load(Ordering::Relaxed);
    let let_in = let_in_unanswered(&setting).await? - before;
    assert_eq!(
        admitted as f64,
        let_in as f64 + failed_open,
        "admitted; let in unanswered {let_in}, failed_open {failed_open}"
    );
    let pods = list(&namespace, "pods").await?.len() as u64;
    assert_eq!(pods, admitted);
    assert!(!webhook.process.log().contains("panicked"));

    // The API server comes back and finds the webhook again.
    setting.plane.kill(Component::ApiServer).await?;
    setting.plane.restart(Component::ApiServer).await?;
    is_asked(&setting, &webhook.process).await?;
    let load = Arc::new(Load::default());
    let clients = load.clone().run(&namespace).await?;
    load.denied().await?;
    load.end(clients).await?;
    assert_eq!(load.admitted.load(Ordering::Relaxed), let_in_unanswered(&setting).await?);
    Ok(())
}
