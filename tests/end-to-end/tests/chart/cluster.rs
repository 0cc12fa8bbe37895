//! The chart on a real API server: every set of values is accepted, and a release installs, upgrades and disappears.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use end_to_end::helm::{documents, helm, output, template};
use end_to_end::{Folder, kube_devops, run};
use serde_json::{Value, json};
use test_cluster::ControlPlane;

/// Sets of values that users of such charts have. Files are in `chart_values/`.
const VALUES: [&str; 30] = [
    "watch.enabled=true",
    "watch.enabled=false",
    "reconcile.enabled=false",
    "webhook.enabled=false",
    "watch.enabled=false,reconcile.enabled=false,webhook.enabled=false",
    "nameOverride=governance",
    "fullnameOverride=governance",
    "fullnameOverride=a-name-that-is-longer-than-forty-characters-altogether",
    "global.imageRegistry=registry.example.com,global.imagePullSecrets={a}",
    "imagePullSecrets[0].name=a,imagePullSecrets[1]=b",
    "image.digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "image.tag=v1,image.pullPolicy=Always",
    "commonLabels.team=platform,commonAnnotations.owner=platform",
    "commonLabels.a=b,podLabels.a=c,webhook.podLabels.a=d,podAnnotations.e=f,watch.podAnnotations.e=g",
    "replicaCount=1",
    "replicaCount=3,webhook.replicaCount=5,pdb.minAvailable=50%",
    "pdb.enabled=false",
    "resources=null",
    "webhook.resources.limits.memory=256Mi,watch.resources.requests.cpu=1",
    "nodeSelector.pool=system,watch.nodeSelector.pool=other",
    "tolerations[0].key=a,tolerations[0].operator=Exists,tolerations[0].effect=NoSchedule",
    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a,affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
    "topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
    "priorityClassName=system-cluster-critical,webhook.priorityClassName=system-node-critical",
    "extraEnv[0].name=RUST_LOG,extraEnv[0].value=debug,watch.extraArgs={--lease-duration=30}",
    "systemNamespaces={platform,monitoring},webhook.namespaceSelector.matchLabels.governance=on,webhook.objectSelector.matchLabels.a=b",
    "webhook.failurePolicy=Fail,webhook.denySeverity=low,webhook.timeoutSeconds=30,webhook.denyControllerPods=true",
    "webhook.certificate.source=provided,webhook.certificate.secretName=tls,webhook.certificate.caBundle=CA_BUNDLE",
    "networkPolicy.enabled=true,networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
    "policies[0].name=a,policies[0].namespace=default,policies[0].bundle=restricted,policies[0].spec.maxRestartCount=9,policies[1].name=b,policies[1].namespace=default,policies[1].spec.forbidLatestTag=true,modules[0].name=a,modules[0].spec.source.configMap.name=a",
];

/// A namespace that enforces the restricted Pod Security Standard and warns about workloads that do not meet it.
const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: kube-devops\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n    pod-security.kubernetes.io/warn: restricted\n";

async fn plane() -> Result<ControlPlane> {
    let plane = ControlPlane::builder().controller_manager().scheduler().nodes(2).start().await?;
    plane.kubectl_with_input(["create", "-f", "-"], NAMESPACE).await?;
    Ok(plane)
}

/// Runs kubectl with input, and returns its output and its warnings.
async fn kubectl(plane: &ControlPlane, arguments: &[&str], input: &str) -> Result<(String, String)> {
    let folder = Folder::new();
    folder.write("input.yaml", input);
    let mut command = plane.kubeconfig().kubectl_command();
    let ran = command.args(arguments).arg("-f").arg(folder.path().join("input.yaml")).output().await?;
    let [output, warnings] = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(ran.status.success(), "kubectl {arguments:?}: {warnings}");
    Ok((output, warnings))
}

#[tokio::test]
async fn the_api_server_accepts_thirty_sets_of_values_without_a_warning() -> Result<()> {
    let plane = plane().await?;
    for file in fs::read_dir(end_to_end::root().join("chart/crds"))? {
        kubectl(&plane, &["create"], &fs::read_to_string(file?.path())?).await?;
    }
    for values in VALUES {
        let values = values.replace("CA_BUNDLE", &certificate_authority());
        let text = template(&["--skip-tests", "--set", &values])?;
        let (_, warnings) = kubectl(&plane, &["apply", "--server-side", "--dry-run=server"], &text).await?;
        ensure!(warnings.is_empty(), "{values}: {warnings}");
    }
    // What people without Helm apply.
    let printed = run(kube_devops().args(["deploy", "generate-all"])).exits(0).stdout;
    let (_, warnings) =
        kubectl(&plane, &["apply", "--server-side", "--force-conflicts", "--dry-run=server"], &printed).await?;
    ensure!(warnings.is_empty(), "{warnings}");
    Ok(())
}

/// The PEM text of a CA.
fn certificate_authority() -> String {
    let folder = Folder::new();
    run(kube_devops().args(["webhook", "cert-generate", "--output-dir"]).arg(folder.path())).exits(0);
    fs::read_to_string(folder.path().join("ca.crt")).unwrap()
}

#[tokio::test]
async fn a_second_server_side_apply_of_the_rendered_chart_changes_nothing() -> Result<()> {
    let plane = plane().await?;
    let text = template(&["--no-hooks", "--include-crds"])?;
    // The custom resources have to be served before the rest is applied, as Argo CD does in waves.
    kubectl(&plane, &["apply", "--server-side", "--field-manager=argocd-controller"], &text).await?;
    let versions = async || -> Result<Vec<(String, Value)>> {
        let (output, _) = kubectl(&plane, &["get", "-o", "json"], &text).await?;
        let list: Value = serde_json::from_str(&output)?;
        let items = list["items"].as_array().context("a list has items")?.iter();
        let generation = |item: &Value| {
            let name = format!("{} {}", item["kind"], item["metadata"]["name"]);
            let managers = item["metadata"]["managedFields"].as_array().into_iter().flatten();
            let ours = managers.filter(|manager| manager["manager"] == "argocd-controller");
            (name, json!([item["metadata"]["generation"], ours.collect::<Vec<_>>()]))
        };
        Ok(items.map(generation).collect())
    };
    let before = versions().await?;
    kubectl(&plane, &["apply", "--server-side", "--field-manager=argocd-controller"], &text).await?;
    assert_eq!(versions().await?, before);
    assert!(before.len() > 25, "{}", before.len());
    Ok(())
}

/// A release of the chart on a control plane.
struct Release<'a> {
    plane: &'a ControlPlane,
    home: Folder,
}

impl Release<'_> {
    fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = helm(self.home.path())?;
        command.arg("--kubeconfig").arg(self.plane.kubeconfig().path()).args(["--namespace", "kube-devops"]);
        output(command.args(arguments))
    }

    /// The names of all objects with the labels of the release, except the history of Helm.
    async fn objects(&self) -> Result<Vec<String>> {
        let kinds = "deployments,services,serviceaccounts,configmaps,secrets,leases,roles,rolebindings,poddisruptionbudgets,jobs,\
                     clusterroles,clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations";
        let names = self.plane.kubectl(["get", kinds, "-n", "kube-devops", "-o", "name"]).await?;
        Ok(names.lines().filter(|name| name.contains("kube-devops")).map(str::to_owned).collect())
    }
}

#[tokio::test]
async fn a_release_installs_upgrades_rolls_back_and_leaves_nothing() -> Result<()> {
    let plane = plane().await?;
    let release = Release { plane: &plane, home: Folder::new() };
    let chart = "chart";
    // The policy is created before the webhook can answer, also if it fails closed.
    release.helm(&[
        "install",
        "kube-devops",
        chart,
        "--wait",
        "--timeout",
        "120s",
        "--set",
        "webhook.failurePolicy=Fail",
        "--set",
        "policies[0].name=a",
        "--set",
        "policies[0].namespace=default",
        "--set",
        "policies[0].bundle=baseline",
    ])?;
    let installed = release.objects().await?;
    assert!(installed.len() > 20, "{installed:?}");
    let policy = plane.kubectl(["get", "devopspolicy", "a", "-o", "jsonpath={.spec}"]).await?;
    assert_eq!(serde_json::from_str::<Value>(&policy)?["forbidLatestTag"], json!(true));

    // Two operators would overwrite each other's results.
    let second = ["install", "second", chart, "--dry-run=server"];
    for values in ["watch.enabled=true", "rbac.create=false", "webhook.enabled=false"] {
        let error = release.helm(&[&second[..], &["--set", values]].concat()).unwrap_err().to_string();
        assert!(error.contains("there is another installation of kube-devops in this cluster: the "), "{error}");
        assert!(error.contains("of the release kube-devops in the namespace kube-devops"), "{error}");
    }
    release.helm(&[&second[..], &["--set", "allowOtherInstallations=true"]].concat())?;

    // The webhook sets the CA bundle, as here; neither an upgrade nor a rollback removes it or conflicts with it.
    set_ca_bundle(&plane).await?;
    let upgrade = "upgrade kube-devops chart --reset-then-reuse-values --wait --timeout 120s --set replicaCount=3";
    release.helm(&upgrade.split(' ').collect::<Vec<_>>())?;
    plane.kubectl(["get", "devopspolicy", "a"]).await?;
    release.helm(&["rollback", "kube-devops", "1", "--wait", "--timeout", "120s"])?;
    let bundle = "jsonpath={.webhooks[*].clientConfig.caBundle}";
    let kept = plane.kubectl(["get", "validatingwebhookconfiguration", "kube-devops-webhook", "-o", bundle]).await?;
    assert_eq!(kept, "cGVt cGVt");

    // A policy whose operator disappeared during a rollout.
    let finalizer = r#"{"metadata":{"finalizers":["devops.stochastic.io/cleanup","example.com/other"]}}"#;
    plane.kubectl(["patch", "devopspolicy", "a", "--type=merge", "-p", finalizer]).await?;
    release.helm(&["uninstall", "kube-devops", "--no-hooks"])?;
    assert_eq!(release.objects().await?, Vec::<String>::new());
    let patched = "devops.stochastic.io/patched-by=kube-devops/a";
    plane.kubectl(["create", "deployment", "web", "--image=nginx", "--replicas=0"]).await?;
    plane.kubectl(["annotate", "deployment", "web", patched, "devops.stochastic.io/rolling-out=a"]).await?;
    cleanup(plane.kubeconfig().path());
    let finalizers = plane.kubectl(["get", "devopspolicy", "a", "-o", "jsonpath={.metadata.finalizers}"]).await?;
    assert_eq!(finalizers, r#"["example.com/other"]"#);
    let definitions = plane.kubectl(["get", "crds", "-o", "name"]).await?;
    assert_eq!(definitions.lines().count(), 3, "{definitions}");
    Ok(())
}

async fn set_ca_bundle(plane: &ControlPlane) -> Result<()> {
    let webhooks = ["workloads.devops.stochastic.io", "policies.devops.stochastic.io"]
        .map(|name| json!({ "name": name, "clientConfig": { "caBundle": "cGVt" } }));
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "kube-devops-webhook" }, "webhooks": webhooks,
    });
    plane
        .kubectl_with_input(
            [
                "patch",
                "validatingwebhookconfiguration",
                "kube-devops-webhook",
                "--type=strategic",
                "--field-manager=kube-devops-webhook",
                "-p",
                &patch.to_string(),
            ],
            "",
        )
        .await?;
    Ok(())
}

/// Replicas with the previous and with the new certificate run at the same time during an upgrade.
#[tokio::test]
async fn an_upgrade_after_which_api_servers_would_not_trust_the_webhook_is_rejected() -> Result<()> {
    let plane = plane().await?;
    let release = Release { plane: &plane, home: Folder::new() };
    let provided = |secret: &str, bundle: &str| {
        format!(
            "webhook.certificate.source=provided,webhook.certificate.secretName={secret},webhook.certificate.caBundle={bundle}"
        )
    };
    let upgrade = |values: &str| release.helm(&["upgrade", "kube-devops", "chart", "--no-hooks", "--set", values]);
    let rejected = |values: &str, from: &str| {
        let error = upgrade(values).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot be changed from {from} to ")), "{values}: {error}");
    };
    let (managed, issued) = ("webhook.certificate.source=managed", "webhook.certificate.source=cert-manager");
    let (one, other) = (certificate_authority(), certificate_authority());
    release.helm(&["install", "kube-devops", "chart", "--no-hooks"])?;
    rejected(&provided("tls", &one), "managed");
    rejected(issued, "managed");
    upgrade(managed)?;

    upgrade("webhook.enabled=false")?;
    upgrade(&provided("tls", &one))?;
    rejected(managed, "provided");
    rejected(issued, "provided");
    let error = upgrade(&provided("next", &other)).unwrap_err().to_string();
    assert!(error.contains("also contains the previous CA bundle"), "{error}");
    upgrade(&provided("next", &format!("{one}{other}")))?;
    // With the Secret as it is, the previous CA can be removed.
    upgrade(&provided("next", &other))?;

    // As with a temporary configuration.
    let configurations = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
    plane.kubectl(["delete", configurations, "kube-devops-webhook"]).await?;
    upgrade(managed)?;
    Ok(())
}

/// A chart with its own namespace, as that of version 0.2, and its only ServiceAccount.
fn chart_with_namespace() -> Folder {
    let folder = Folder::new();
    folder.write("Chart.yaml", "apiVersion: v2\nname: kube-devops\nversion: 0.2.0\n");
    for (kind, name) in [("Namespace", "kube-devops"), ("ServiceAccount", "kube-devops")] {
        let object = format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n");
        folder.write(format!("templates/{kind}.yaml"), object);
    }
    folder
}

/// A user who may do all that Helm does for the chart, but not read namespaces.
const HELM_WITHOUT_NAMESPACES: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: helm }
rules:
  - apiGroups: [rbac.authorization.k8s.io, admissionregistration.k8s.io, apps, policy, batch, coordination.k8s.io, devops.stochastic.io]
    resources: ["*"]
    verbs: ["*"]
  - apiGroups: [""]
    resources: [pods, secrets, services, configmaps, serviceaccounts, events]
    verbs: ["*"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: helm }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: helm }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: helm }]
"#;

/// Helm deletes what the installed chart contains and the new one does not.
#[tokio::test]
async fn an_upgrade_that_would_delete_the_namespace_is_rejected() -> Result<()> {
    let plane = plane().await?;
    let release = Release { plane: &plane, home: Folder::new() };
    let of_release = ["meta.helm.sh/release-name=kube-devops", "meta.helm.sh/release-namespace=kube-devops"];
    let namespace = ["namespace", "kube-devops"];
    plane.kubectl([&["label"][..], &namespace[..], &["app.kubernetes.io/managed-by=Helm"]].concat()).await?;
    plane.kubectl([&["annotate"][..], &namespace[..], &of_release].concat()).await?;
    let earlier = chart_with_namespace();
    let earlier = earlier.path().to_str().context("a path is text")?;
    release.helm(&["install", "kube-devops", earlier])?;

    let upgrade = ["upgrade", "kube-devops", "chart", "--no-hooks"];
    let error = release.helm(&upgrade).unwrap_err().to_string();
    assert!(error.contains("the upgrade would delete it with everything in it"), "{error}");
    let hint = "kubectl annotate namespace kube-devops helm.sh/resource-policy=keep";
    assert!(error.contains(hint), "{error}");
    plane.kubectl(hint.split(' ').skip(1)).await?;
    release.helm(&upgrade)?;
    let phase = [&["get"][..], &namespace[..], &["-o", "jsonpath={.status.phase}"]].concat();
    assert_eq!(plane.kubectl(phase.clone()).await?, "Active");

    // The release does not contain the namespace any more, so that later upgrades neither delete nor read it.
    plane.kubectl([&["annotate"][..], &namespace[..], &["helm.sh/resource-policy-"]].concat()).await?;
    plane.kubectl_with_input(["create", "-f", "-"], HELM_WITHOUT_NAMESPACES).await?;
    release.helm(&[&upgrade[..], &["--kube-as-user", "helm"]].concat())?;
    assert_eq!(plane.kubectl(phase).await?, "Active");
    Ok(())
}

/// Runs `cleanup` twice.
fn cleanup(kubeconfig: &Path) {
    let cleanup = || run(kube_devops().args(["cleanup", "--kubeconfig"]).arg(kubeconfig)).exits(0).stdout;
    let left = "deployment/web in default keeps the fields that remediation added, whose rollout was not complete; to remove them: \
                kube-devops release deployment/web -n default\n";
    assert_eq!(cleanup(), format!("finalizer of devopspolicy/a in default removed\n{left}"));
    assert_eq!(cleanup(), format!("nothing to remove\n{left}"));
}

#[tokio::test]
async fn every_rendered_object_belongs_to_the_namespace_or_to_the_cluster() -> Result<()> {
    for object in documents(&template(&[])?)? {
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "kube-devops", "{object:#}");
    }
    Ok(())
}
