//! A check that crashes: what it could not judge is said to be unjudged, and everything else goes on.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use end_to_end::checks_of_which_one_crashes;
use end_to_end::objects::{bad_pod, documents};
use end_to_end::operator::{Setting, apply, get, policy};
use kube_devops_cluster::connection::{Connection, ConnectionOptions};
use kube_devops_cluster::election::ElectionOptions;
use kube_devops_cluster::enforce::EnforceOptions;
use kube_devops_cluster::reconcile::{self, ReconcileOptions};
use kube_devops_core::SystemNamespaces;
use serde_json::{Value, json};
use test_cluster::{DEADLINE, eventually};
use tokio_util::sync::CancellationToken;

fn temporary() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_what_it_could_not_judge_until_it_can() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("poisoned").await?;
    let kubeconfig = setting.plane.kubeconfig().path().to_owned();
    let connection = Connection::open(&ConnectionOptions { kubeconfig: Some(kubeconfig), context: None }).await?;
    let election = ElectionOptions {
        namespace: setting.namespace().name().to_owned(),
        name: "operator".to_owned(),
        identity: "test".to_owned(),
        duration: Duration::from_secs(15),
    };
    let enforce = EnforceOptions { patches_a_minute: 10, rollout_deadline: Duration::from_secs(600), dry_run: false };
    let options = ReconcileOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        election,
        retention: 10,
        audit_period: Duration::from_secs(1),
        enforce,
        system: SystemNamespaces::default(),
    };
    let checks = Arc::new(tokio::task::spawn_blocking(|| checks_of_which_one_crashes(temporary())).await??);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let operator = tokio::spawn(async move { reconcile::run(&connection, checks, options, stopped).await });

    apply(&namespace, &documents(&["good", "poison", "other"].map(bad_pod))).await?;
    apply(&namespace, &policy("mixed", &json!({ "forbidLatestTag": true, "requireLivenessProbe": true }))).await?;
    let expect = async |what: &str, holds: fn(&Value, &Value) -> bool| {
        eventually(DEADLINE, what.to_owned(), async || {
            let status = get(&namespace, "devopspolicy", "mixed").await?["status"].take();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let evaluated = conditions.into_iter().find(|condition| condition["type"] == "Evaluated");
            ensure!(holds(&status, &evaluated.unwrap_or_default()), "{status:#}");
            Ok(())
        })
        .await
    };
    expect("a check to fail, and the other one not", |status, evaluated| {
        let message = evaluated["message"].as_str().unwrap_or_default();
        evaluated["reason"] == "ChecksFailed"
            && message.contains("check hostile (module sha256:hostile) failed: it crashed")
            && status["violationsByCheck"] == json!({ "missing-liveness": 3 })
    })
    .await?;
    namespace.kubectl(["delete", "pod", "poison"]).await?;
    expect("every pod to be judged", |status, evaluated| {
        evaluated["status"] == "True" && status["violationsByCheck"] == json!({ "missing-liveness": 2 })
    })
    .await?;
    stop.cancel();
    operator.await??;
    Ok(())
}
