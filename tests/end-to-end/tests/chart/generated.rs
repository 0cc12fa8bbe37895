//! The files that are generated from the chart and from the program are up to date. `UPDATE_DOCS=1` updates them.

use std::collections::BTreeMap;
use std::env;
use std::fs;

use anyhow::{Context, Result, ensure};
use end_to_end::helm::template;
use end_to_end::{kube_devops, root, run};

/// Compares files with their expected content, and updates them if requested.
pub fn expect_files(expected: &BTreeMap<String, String>) -> Result<()> {
    for (path, text) in expected {
        let file = root().join(path);
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
            fs::write(&file, text)?;
        }
        let stored = fs::read_to_string(&file).unwrap_or_default();
        ensure!(&stored == text, "{path} is outdated: run the tests with UPDATE_DOCS=1, twice");
    }
    Ok(())
}

/// Renders the chart with the placeholders of `deploy` and `observability`, without what only Helm needs.
fn rendered(arguments: &[&str], is_selected: impl Fn(&str) -> bool) -> Result<String> {
    let image = "image.registry=,image.repository=IMAGE-PLACEHOLDER,image.tag=v0";
    let fixed = ["--no-hooks", "--namespace", "NAMESPACE-PLACEHOLDER", "--set", image];
    let text = template(&[&fixed, arguments].concat())?;
    let mut documents = Vec::new();
    for document in text.split("---\n") {
        let lines = document.lines().filter(|line| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with("# Source:") && !line.starts_with("helm.sh/chart:")
        });
        let document: String = lines.map(|line| format!("{line}\n")).collect();
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
        if kind.is_some_and(&is_selected) {
            documents.push(document.replace("managed-by: Helm", "managed-by: kube-devops"));
        }
    }
    Ok(documents.join("---\n"))
}

#[test]
fn the_manifests_of_the_program_are_the_rendered_chart() -> Result<()> {
    let is_monitoring = |kind: &str| ["ServiceMonitor", "PrometheusRule", "ConfigMap"].contains(&kind);
    let monitoring = ["--set", "monitoring.assumeInstalled=true"];
    expect_files(&BTreeMap::from([
        ("host/cli/manifests/deploy.yaml".to_owned(), rendered(&[], |kind| !is_monitoring(kind))?),
        ("host/cli/manifests/observability.yaml".to_owned(), rendered(&monitoring, is_monitoring)?),
    ]))
}

fn printed(arguments: &str) -> String {
    run(kube_devops().args(arguments.split(' '))).exits(0).stdout
}

#[test]
fn the_files_for_people_without_helm_are_what_the_program_prints() -> Result<()> {
    let mut files = BTreeMap::from([
        ("deploy/install.yaml".to_owned(), printed("deploy generate-all")),
        ("deploy/observability.yaml".to_owned(), printed("observability generate-all")),
    ]);
    for bundle in ["baseline", "restricted", "permissive"] {
        let policy = format!("policy bundle-apply {bundle} --namespace production --policy-name {bundle}");
        files.insert(format!("deploy/samples/{bundle}.yaml"), printed(&policy));
    }
    expect_files(&files)
}

#[test]
fn the_chart_contains_the_custom_resources_and_the_bundles_of_the_program() -> Result<()> {
    let mut files = BTreeMap::new();
    for definition in kube_devops_cluster::crd::definitions() {
        let name = &definition.spec.names.plural;
        files.insert(format!("chart/crds/{name}.yaml"), serde_norway::to_string(&definition)?);
    }
    for bundle in ["baseline", "restricted", "permissive"] {
        let policy = printed(&format!("policy bundle-apply {bundle}"));
        let spec = policy.split_once("\nspec:\n").context("a policy has a spec")?.1;
        let spec: String = spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
        files.insert(format!("chart/files/bundles/{bundle}.yaml"), spec);
    }
    expect_files(&files)
}

#[test]
fn the_versions_of_chart_and_program_are_the_same() -> Result<()> {
    let chart = fs::read_to_string(root().join("chart/Chart.yaml"))?;
    let version = env!("CARGO_PKG_VERSION");
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        ensure!(chart.lines().any(|found| found == line), "chart/Chart.yaml has no line {line:?}");
    }
    ensure!(chart.contains(&format!("kube-devops:v{version}")), "the image of Artifact Hub is outdated");
    Ok(())
}

#[test]
fn the_namespace_and_the_image_of_printed_manifests_can_be_set() -> Result<()> {
    let text = printed("deploy generate-all --namespace platform --image registry.example.com/a:1");
    ensure!(!text.contains("PLACEHOLDER") && !text.contains("ghcr.io"), "{text}");
    ensure!(text.contains("system:serviceaccount:platform:kube-devops-reconcile"), "{text}");
    ensure!(text.matches("image: registry.example.com/a:1").count() == 3, "{text}");
    let rbac = printed("deploy generate-rbac");
    ensure!(rbac.contains("kind: ClusterRole\n") && !rbac.contains("kind: Deployment"), "{rbac}");
    let deployments = printed("deploy generate-deployments");
    ensure!(deployments.matches("kind: Deployment").count() == 3 && !deployments.contains("kind: Service\n"));
    let monitors = printed("observability generate-service-monitors");
    ensure!(monitors.matches("kind: ServiceMonitor").count() == 3 && !monitors.contains("kind: ConfigMap"));
    ensure!(printed("observability generate-dashboard").starts_with("apiVersion: v1\nkind: ConfigMap"));
    ensure!(printed("observability generate-alerts").contains("alert: KubeDevops"));
    for arguments in ["deploy generate-all -n Platform", "deploy generate-deployments --image a#b"] {
        let failed = run(kube_devops().args(arguments.split(' '))).exits(2);
        ensure!(failed.stdout.is_empty(), "{}", failed.stdout);
    }
    Ok(())
}
