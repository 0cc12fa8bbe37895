//! The chart: it renders the same objects as the program prints, with exactly the permissions that the components need.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod cluster;
mod generated;
mod permissions;
mod values;

use anyhow::Result;
use end_to_end::helm::{documents, find, template};
use end_to_end::{kube_devops, run};
use serde::Deserialize;
use serde_json::{Value, json};

/// The objects that `kube-devops webhook install-config` prints.
fn configurations(arguments: &[&str]) -> Result<Vec<Value>> {
    let printed = run(kube_devops().args(["webhook", "install-config"]).args(arguments)).exits(0).stdout;
    documents(&printed)
}

/// Sorts the lists whose order has no meaning.
fn webhooks(configuration: &Value) -> Value {
    let mut webhooks = configuration["webhooks"].clone();
    for webhook in webhooks.as_array_mut().unwrap() {
        for expression in webhook["namespaceSelector"]["matchExpressions"].as_array_mut().into_iter().flatten() {
            expression["values"].as_array_mut().unwrap().sort_by_key(Value::to_string);
        }
    }
    webhooks
}

#[test]
fn the_webhook_is_registered_as_the_program_prints_it() -> Result<()> {
    let cases: [(&[&str], &[&str]); 3] = [
        (&[], &[]),
        (
            &["--set", "webhook.failurePolicy=Fail,webhook.timeoutSeconds=7,systemNamespaces={platform,kube-system}"],
            &["--fail-closed", "--timeout-seconds", "7", "--system-namespace", "platform"],
        ),
        (
            &["--set", "webhook.templatedResources={argoproj.io/rollouts},reconcile.serviceAccount.name=operator"],
            &["--resource", "argoproj.io/rollouts", "--operator-service-account", "operator"],
        ),
    ];
    for (values, arguments) in cases {
        let rendered = documents(&template(values)?)?;
        let printed = configurations(arguments)?;
        for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
            let (rendered, printed) =
                (find(&rendered, kind, "kube-devops-webhook")?, find(&printed, kind, "kube-devops-webhook")?);
            assert_eq!(webhooks(rendered), webhooks(printed), "{values:?} {kind}");
        }
    }
    Ok(())
}

#[test]
fn only_changes_of_workloads_can_fail_closed() -> Result<()> {
    let rendered = documents(&template(&["--set", "webhook.failurePolicy=Fail"])?)?;
    let mut failing: Vec<&str> = Vec::new();
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        let configuration = find(&rendered, kind, "kube-devops-webhook")?;
        let webhooks = configuration["webhooks"].as_array().unwrap().iter();
        let closed = webhooks.filter(|webhook| webhook["failurePolicy"] == "Fail");
        failing.extend(closed.map(|webhook| webhook["name"].as_str().unwrap()));
    }
    assert_eq!(failing, ["workloads.devops.stochastic.io"]);
    Ok(())
}

#[test]
fn a_ca_bundle_is_rendered_only_if_it_is_provided() -> Result<()> {
    let bundle = |values: &[&str]| -> Result<Value> {
        let rendered = documents(&template(values)?)?;
        let configuration = find(&rendered, "ValidatingWebhookConfiguration", "kube-devops-webhook")?;
        Ok(configuration["webhooks"][0]["clientConfig"]["caBundle"].clone())
    };
    assert!(bundle(&[])?.is_null());
    assert!(bundle(&["--set", "webhook.certificate.source=cert-manager"])?.is_null());
    let provided =
        "webhook.certificate.source=provided,webhook.certificate.secretName=tls,webhook.certificate.caBundle=pem";
    assert_eq!(bundle(&["--set", provided])?, json!("cGVt"));
    let error = bundle(&["--set", "webhook.certificate.source=provided"]).unwrap_err().to_string();
    assert!(error.contains("webhook.certificate.caBundle is required"), "{error}");
    Ok(())
}

/// The files of a Secret belong to root, and the program does not run as root.
#[test]
fn the_webhook_can_read_a_certificate_in_a_secret() -> Result<()> {
    let group = |component: &str, values: &str| -> Result<Value> {
        let rendered = documents(&template(&["--set", values])?)?;
        let deployment = find(&rendered, "Deployment", &format!("kube-devops-{component}"))?;
        Ok(deployment["spec"]["template"]["spec"]["securityContext"]["fsGroup"].clone())
    };
    let issued = "webhook.certificate.source=cert-manager";
    let provided =
        "webhook.certificate.source=provided,webhook.certificate.secretName=tls,webhook.certificate.caBundle=pem";
    for values in [issued, provided] {
        assert_eq!(group("webhook", values)?, json!(65532), "{values}");
        assert!(group("reconcile", values)?.is_null(), "{values}");
        let own = format!("{values},podSecurityContext.fsGroup=1000");
        assert_eq!(group("webhook", &own)?, json!(1000), "{own}");
        let own = format!("{values},podSecurityContext.runAsGroup=2000");
        assert_eq!(group("webhook", &own)?, json!(2000), "{own}");
        // A platform that assigns users to namespaces also assigns the group.
        let own = format!("{values},podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null");
        assert!(group("webhook", &own)?.is_null(), "{own}");
    }
    assert!(group("webhook", "webhook.certificate.source=managed")?.is_null());
    Ok(())
}

#[test]
fn every_pod_has_the_pull_secrets_the_registry_and_the_restricted_security_context() -> Result<()> {
    let values = "global.imageRegistry=registry.example.com,global.imagePullSecrets={first},imagePullSecrets={second}";
    let rendered = documents(&template(&["--set", values])?)?;
    let mut seen = 0;
    for object in &rendered {
        let pod = match object["kind"].as_str() {
            Some("Pod") => &object["spec"],
            Some("Deployment" | "Job") => &object["spec"]["template"]["spec"],
            _ => continue,
        };
        seen += 1;
        let name = &object["metadata"]["name"];
        assert_eq!(pod["imagePullSecrets"], json!([{ "name": "first" }, { "name": "second" }]), "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true), "{name}");
        let container = &pod["containers"][0];
        let image = container["image"].as_str().unwrap();
        assert!(image.starts_with("registry.example.com/stochasticquant/kube-devops:v"), "{name}: {image}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true), "{name}");
        assert_eq!(container["resources"]["limits"]["memory"], json!("256Mi"), "{name}");
    }
    assert_eq!(seen, 6, "three Deployments, two Jobs and the test");
    Ok(())
}

#[test]
fn overlapping_labels_are_merged_and_never_change_a_selector() -> Result<()> {
    let values = "monitoring.assumeInstalled=true,commonLabels.team=all,podLabels.team=pods,watch.podLabels.team=watch,\
                  commonLabels.release=all,serviceMonitor.labels.release=prometheus,prometheusRule.labels.release=rules,\
                  grafanaDashboard.labels.release=grafana,commonLabels.app\\.kubernetes\\.io/name=other,\
                  podLabels.app\\.kubernetes\\.io/component=other,commonAnnotations.a=all,podAnnotations.a=pods";
    let text = template(&["--set", values])?;
    // Other than a JSON value, a YAML value has no duplicate keys.
    for document in serde_norway::Deserializer::from_str(&text) {
        serde_norway::Value::deserialize(document)?;
    }
    let rendered = documents(&text)?;
    let selected = |component: &str| json!([component, "kube-devops", "kube-devops"]);
    for (component, team) in [("watch", "watch"), ("reconcile", "pods"), ("webhook", "pods")] {
        let deployment = find(&rendered, "Deployment", &format!("kube-devops-{component}"))?;
        let template = &deployment["spec"]["template"]["metadata"];
        for labels in
            [&deployment["metadata"]["labels"], &deployment["spec"]["selector"]["matchLabels"], &template["labels"]]
        {
            let identity = ["component", "instance", "name"].map(|name| &labels[format!("app.kubernetes.io/{name}")]);
            assert_eq!(json!(identity), selected(component));
        }
        assert_eq!((&template["labels"]["team"], &template["annotations"]["a"]), (&json!(team), &json!("pods")));
    }
    for (kind, name, release) in [
        ("ServiceMonitor", "kube-devops-watch", "prometheus"),
        ("PrometheusRule", "kube-devops", "rules"),
        ("ConfigMap", "kube-devops-dashboard", "grafana"),
        ("Service", "kube-devops-watch", "all"),
    ] {
        assert_eq!(find(&rendered, kind, name)?["metadata"]["labels"]["release"], json!(release), "{kind}");
    }
    let cleanup = find(&rendered, "Job", "kube-devops-cleanup")?;
    let annotations = &cleanup["metadata"]["annotations"];
    assert_eq!((&annotations["helm.sh/hook"], &annotations["a"]), (&json!("post-delete"), &json!("all")));
    // The log is deleted with the pod.
    assert_eq!(annotations["helm.sh/hook-output-log-policy"], json!("hook-succeeded,hook-failed"));
    let template = &cleanup["spec"]["template"]["metadata"];
    assert_eq!((&template["labels"]["team"], &template["annotations"]["a"]), (&json!("pods"), &json!("pods")));
    Ok(())
}

/// Helm keeps definitions that exist already.
#[test]
fn a_job_updates_the_definitions_before_an_installation_and_an_upgrade() -> Result<()> {
    let rendered = documents(&template(&[])?)?;
    let job = find(&rendered, "Job", "kube-devops-crd-upgrade")?;
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], json!("pre-install,pre-upgrade"));
    let rendered = documents(&template(&["--set", "crds.upgrade=false"])?)?;
    assert!(find(&rendered, "Job", "kube-devops-crd-upgrade").is_err());
    Ok(())
}

#[test]
fn alerts_are_rendered_for_each_component_that_exports_their_metrics() -> Result<()> {
    let groups = |values: &str| -> Result<Vec<String>> {
        let values = format!("monitoring.assumeInstalled=true,{values}");
        let rendered = documents(&template(&["--set", &values])?)?;
        let rule = find(&rendered, "PrometheusRule", "kube-devops")?;
        let groups = rule["spec"]["groups"].as_array().unwrap().iter();
        Ok(groups.map(|group| group["name"].as_str().unwrap().trim_start_matches("kube-devops.").to_owned()).collect())
    };
    assert_eq!(groups("watch.enabled=true")?, ["watch", "reconcile", "modules", "webhook"]);
    assert_eq!(groups("reconcile.enabled=false")?, ["watch", "modules", "webhook"]);
    assert_eq!(groups("watch.enabled=false,webhook.enabled=false")?, ["reconcile", "modules"]);
    assert_eq!(groups("reconcile.enabled=false,webhook.enabled=false")?, ["watch"]);
    assert!(groups("watch.enabled=false,reconcile.enabled=false,webhook.enabled=false").is_err());
    Ok(())
}

#[test]
fn a_component_with_one_replica_has_no_disruption_budget() -> Result<()> {
    let budgets = |values: &str| -> Result<usize> {
        let rendered = documents(&template(&["--set", values])?)?;
        Ok(rendered.iter().filter(|object| object["kind"] == "PodDisruptionBudget").count())
    };
    assert_eq!(budgets("pdb.enabled=true")?, 3);
    assert_eq!(budgets("watch.replicaCount=1")?, 2);
    assert_eq!(budgets("replicaCount=1,webhook.replicaCount=3")?, 1);
    Ok(())
}
