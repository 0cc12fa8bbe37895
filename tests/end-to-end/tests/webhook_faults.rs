//! A webhook that fails admits all requests, and the requests that failed open are counted.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use chrono::{Duration, Utc};
use end_to_end::Folder;
use end_to_end::objects::bad_pod;
use end_to_end::operator::{Setting, list};
use end_to_end::webhook::{
    Webhook, api_server_fail_open_count, generate_certificate, namespace_with_bundle, wait_until_called,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube_devops_webhook::certificate::{CertificateNames, issue, write_files};
use test_cluster::{Component, ControlPlane, DEADLINE, Namespace, eventually};
use tokio::task::JoinSet;

const CLIENTS: usize = 4;

/// Continuously creates pods with violations, and counts those admitted and those denied.
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
                        Err(kube::Error::Api(status)) if status.message.contains("3 violations in Pod ") => {
                            load.denied.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => bail!("failed to create a pod: {error}"),
                    };
                }
                Ok(())
            });
        }
        Ok(clients)
    }

    /// Waits until the counter has grown.
    async fn wait_for_more(&self, what: &str, counter: impl Fn(&Self) -> &AtomicU64) -> Result<()> {
        let enough = counter(self).load(Ordering::Relaxed) + 20;
        eventually(DEADLINE, format!("more pods to be {what}"), async || {
            let count = counter(self).load(Ordering::Relaxed);
            ensure!(count >= enough, "there are {count}");
            Ok(())
        })
        .await
    }

    async fn denied(&self) -> Result<()> {
        self.wait_for_more("denied", |load| &load.denied).await
    }

    async fn admitted(&self) -> Result<()> {
        self.wait_for_more("admitted", |load| &load.admitted).await
    }

    async fn end(&self, mut clients: JoinSet<Result<()>>) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_webhook_admits_all_pods_and_counts_them() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let mut webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let before = api_server_fail_open_count(&setting).await?;
    let mut failed_open = 0.0;

    let load = Arc::new(Load::default());
    let clients = load.clone().run(&namespace).await?;
    load.denied().await?;
    assert_eq!(load.admitted.load(Ordering::Relaxed), 0);

    // Kill and restart.
    webhook.process.kill()?;
    load.admitted().await?;
    webhook.restart(&setting).await?;
    load.denied().await?;
    // Graceful restart.
    failed_open += webhook.process.sum("webhook_fail_open_total")?;
    webhook.process.stop().await?;
    webhook.restart(&setting).await?;
    load.denied().await?;

    // Replace the certificate with one that is not valid yet, and with an expired one.
    let names = CertificateNames {
        service: "webhook".to_owned(),
        namespace: "default".to_owned(),
        addresses: vec![[127, 0, 0, 1].into()],
    };
    for (days, text) in [(2, "the new one is not valid yet"), (-10, "the new one has expired")] {
        let issued = issue(&names, Utc::now() + Duration::days(days), Duration::days(5))?;
        let folder = Folder::new();
        write_files(folder.path(), &issued)?;
        for name in ["tls.key", "tls.crt"] {
            std::fs::copy(folder.path().join(name), webhook.certificates().path().join(name))?;
        }
        webhook.process.expect_log(text).await?;
        load.denied().await.context("the valid certificate remains in use")?;
    }

    // Replace it with one of a new CA, which the API server trusts only after the next install.
    std::fs::remove_file(webhook.certificates().path().join("ca.crt"))?;
    generate_certificate(webhook.certificates());
    failed_open += webhook.process.sum("webhook_fail_open_total")?;
    webhook.process.stop().await?;
    webhook.restart(&setting).await?;
    load.admitted().await?;
    webhook.install(&setting, &[]).await?;
    load.denied().await?;

    load.end(clients).await?;
    failed_open += webhook.process.sum("webhook_fail_open_total")?;
    let admitted = load.admitted.load(Ordering::Relaxed);
    let unanswered = api_server_fail_open_count(&setting).await? - before;
    assert_eq!(
        admitted as f64,
        unanswered as f64 + failed_open,
        "API server failed open: {unanswered}, webhook failed open: {failed_open}"
    );
    let pods = list(&namespace, "pods").await?.len() as u64;
    assert_eq!(pods, admitted);
    assert!(!webhook.process.log().contains("panicked"));

    // A restarted API server calls the webhook again.
    setting.plane.kill(Component::ApiServer).await?;
    setting.plane.restart(Component::ApiServer).await?;
    wait_until_called(&setting, &webhook.process).await?;
    let load = Arc::new(Load::default());
    let clients = load.clone().run(&namespace).await?;
    load.denied().await?;
    load.end(clients).await?;
    assert_eq!(load.admitted.load(Ordering::Relaxed), api_server_fail_open_count(&setting).await?);
    Ok(())
}
