//! A demonstration: a control plane with simulated nodes, the components of the platform, workloads and policies. It runs
//! until Ctrl+C, which removes everything.
#![forbid(unsafe_code)]

use anyhow::Result;
use end_to_end::objects::{bad_container_with_port, bad_pod, documents, labelled, selecting_workload};
use end_to_end::operator::Setting;
use end_to_end::webhook::Webhook;
use end_to_end::{Controller, kube_devops, program, run, service_account};
use kube_devops_cluster::permissions::Component;
use serde_json::json;
use test_cluster::pods;
use tokio::signal::unix::{SignalKind, signal};

/// The namespaces of the demonstration, with the bundles of their policies.
const NAMESPACES: [(&str, &str); 2] = [("shop", "baseline"), ("legacy", "restricted")];

/// Workloads with violations: one that can be remediated, and a pod that crashes repeatedly.
fn legacy() -> String {
    let importer = selecting_workload("Deployment", "importer", [bad_container_with_port("importer", 8080)]);
    let crashing = labelled(bad_pod("crashing"), json!({ pods::LABEL: pods::CRASH_LOOPING }));
    documents(&[importer, crashing])
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    eprintln!("Starting the control plane and the components ...");
    let setting = Setting::start().await?;
    setting.plane.nodes(2).await?;
    for (namespace, _) in NAMESPACES {
        setting.plane.kubectl(["create", "namespace", namespace]).await?;
    }
    let shop = end_to_end::root().join("examples/shop");
    setting.plane.kubectl(["apply", "-f", &shop.display().to_string()]).await?;
    setting.plane.kubectl_with_input(["apply", "-n", "legacy", "-f", "-"], &legacy()).await?;
    // The existing workloads were not evaluated at admission, as in a cluster in which the platform is new.
    let operator = setting.operator().await?;
    let webhook = Webhook::start_for_operator(&setting, &[]).await?;
    let account = service_account(&setting.plane, setting.namespace(), &[Component::Watch]).await?;
    let watch =
        Controller::start(&setting.plane, account.path(), &["watch", "--lease-namespace", setting.namespace().name()])
            .await?;
    for (namespace, bundle) in NAMESPACES {
        let mut command = kube_devops();
        command.args(["policy", "bundle-apply", bundle, "--namespace", namespace, "--policy-name", bundle]);
        let policy = run(&mut command).exits(0).stdout;
        setting.plane.kubectl_with_input(["apply", "-f", "-"], &policy).await?;
    }
    println!(
        "The platform runs. In another terminal:

  export KUBECONFIG={kubeconfig}
  kubectl get devopspolicies --all-namespaces --watch       # scores and violations, live
  kubectl describe devopspolicy restricted -n legacy        # violations, remediation, events
  kubectl run web --image=nginx:latest -n legacy            # denied by the webhook
  {program} analyze                # the same evaluation by the command line
  curl -s http://{watch}/metrics | grep health_score
  curl -s http://{operator}/metrics | grep violations_by
  curl -sk https://{webhook}/metrics | grep webhook_requests

Press Ctrl+C to stop and remove everything.",
        kubeconfig = setting.plane.kubeconfig().path().display(),
        program = program().display(),
        watch = watch.http().address,
        operator = operator.http().address,
        webhook = webhook.process.http().address,
    );
    interrupt.recv().await;
    Ok(())
}
