//! `policy export`, `policy import` and `policy diff` on a real API server.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use end_to_end::operator::{get, list, policy};
use end_to_end::{Folder, Ran, kube_devops, run, run_with_input, unreachable_kubeconfig};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, Namespace};
use tokio::sync::OnceCell;

/// Returns a shared control plane with the custom resources.
async fn plane() -> Result<&'static ControlPlane> {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE
        .get_or_try_init(|| async {
            let plane = ControlPlane::builder().start().await?;
            run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(plane.kubeconfig().path())).exits(0);
            Ok(plane)
        })
        .await
}

/// Runs `policy` with arguments and input, in the default namespace of the kubeconfig.
fn call_with(kubeconfig: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut command = kube_devops();
    command.arg("policy").args(arguments).arg("--kubeconfig").arg(kubeconfig);
    run_with_input(&mut command, input)
}

fn call(namespace: &Namespace, arguments: &[&str]) -> Ran {
    call_with(namespace.kubeconfig().path(), arguments, "")
}

/// Runs a command on manifests from standard input.
fn pipe(namespace: &Namespace, arguments: &[&str], manifests: &str) -> Ran {
    call_with(namespace.kubeconfig().path(), &[arguments, &["-"]].concat(), manifests)
}

/// Returns the lines of an import.
fn lines(namespace: &Namespace, results: &[(&str, &str)], suffix: &str) -> String {
    let line = |(name, word): &(&str, &str)| {
        format!("devopspolicy.devops.stochastic.io/{name} {word} in {}{suffix}\n", namespace.name())
    };
    results.iter().map(line).collect()
}

fn restarts(name: &str, count: i64) -> String {
    policy(name, &json!({ "maxRestartCount": count }))
}

/// Returns policies as the documents of one file.
fn documents(policies: &[String]) -> String {
    policies.iter().map(|policy| format!("---\n{policy}\n")).collect()
}

/// Returns the resource version and the generation of each policy.
async fn versions(namespace: &Namespace) -> Result<BTreeMap<String, (String, i64)>> {
    let version = |policy: &Value| {
        let metadata = &policy["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap().to_owned();
        (text("name"), (text("resourceVersion"), metadata["generation"].as_i64().unwrap()))
    };
    Ok(list(namespace, "devopspolicies").await?.iter().map(version).collect())
}

async fn names(namespace: &Namespace) -> Result<Vec<String>> {
    Ok(versions(namespace).await?.into_keys().collect())
}

/// Creates policies by several clients, with a status and with annotations that are difficult to write.
async fn create_policies(namespace: &Namespace) -> Result<()> {
    let annotations = json!({
        "note": "two\nlines: \"quoted\" # no comment\n", "on": "yes", "number": "0777", "empty": "", "direction": "a\u{202e}b",
        "argocd.argoproj.io/tracking-id": "app:devops.stochastic.io/DevOpsPolicy:shop/all",
    });
    let mut all: Value = serde_json::from_str(&policy(
        "all",
        &json!({
            "forbidLatestTag": true, "requireLivenessProbe": true, "maxRestartCount": 0, "enforcementMode": "enforce",
            "defaultResources": { "cpuLimit": "2", "memoryLimit": "1Gi" }, "severityOverrides": { "latestTag": "high" },
        }),
    ))?;
    all["metadata"]["annotations"] = annotations;
    all["metadata"]["labels"] = json!({ "team": "1" });
    namespace.kubectl_with_input(["apply", "-f", "-"], &all.to_string()).await?;
    let server_side = ["apply", "--server-side", "--field-manager=flux", "-f", "-"];
    namespace.kubectl_with_input(server_side, &restarts("flux", 5)).await?;
    let status = r#"{"status":{"healthScore":90,"message":"Healthy"}}"#;
    let finalizer = r#"{"metadata":{"finalizers":["devops.stochastic.io/cleanup"]}}"#;
    namespace.kubectl(["patch", "devopspolicy", "all", "--subresource=status", "--type=merge", "-p", status]).await?;
    namespace.kubectl(["patch", "devopspolicy", "flux", "--type=merge", "-p", finalizer]).await?;
    Ok(())
}

#[tokio::test]
async fn an_export_is_clean_and_applies_back_unchanged() -> Result<()> {
    let plane = plane().await?;
    let namespace = plane.namespace("export").await?;
    create_policies(&namespace).await?;
    let before = versions(&namespace).await?;
    let specs = |policies: &[Value]| policies.iter().map(|policy| policy["spec"].clone()).collect::<Vec<_>>();
    let stored = list(&namespace, "devopspolicies").await?;

    let export = call(&namespace, &["export"]).exits(0).is_quiet().stdout;
    assert_eq!(call(&namespace, &["export"]).stdout, export);
    assert!(
        export.starts_with(&format!("# DevOpsPolicy {}/all from {}", namespace.name(), plane.server())),
        "{export}"
    );
    for server_set in [
        "status",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "finalizers",
        "tracking-id",
    ] {
        assert!(!export.contains(server_set), "{server_set}: {export}");
    }
    assert!(!export.contains('\u{202e}'), "{export}");
    assert_eq!(call(&namespace, &["export", "-o", "name"]).stdout.lines().count(), 2);

    // No difference, whatever the line ends.
    for text in [export.clone(), export.replace('\n', "\r\n"), format!("# a comment\n---\n{export}---\n# nothing\n")] {
        assert_eq!(pipe(&namespace, &["diff", "--cluster-only"], &text).exits(0).is_quiet().stdout, "");
    }
    // kubectl applies it, too, and without conflicts.
    namespace.kubectl_with_input(["apply", "--server-side", "--dry-run=server", "-f", "-"], &export).await?;

    pipe(&namespace, &["import"], &export).exits(0).is_quiet();
    let after = versions(&namespace).await?;
    let generations = |versions: &BTreeMap<String, (String, i64)>| {
        versions.iter().map(|(name, version)| (name.clone(), version.1)).collect::<Vec<_>>()
    };
    assert_eq!(generations(&after), generations(&before), "an import of an export changes no spec");
    let imported = list(&namespace, "devopspolicies").await?;
    assert_eq!(specs(&imported), specs(&stored));
    assert_eq!(imported[0]["metadata"]["annotations"], stored[0]["metadata"]["annotations"]);
    assert_eq!(imported[0]["status"], stored[0]["status"]);

    let twice = pipe(&namespace, &["import"], &export.replace('\n', "\r\n")).exits(0).is_quiet();
    assert_eq!(twice.stdout, lines(&namespace, &[("all", "unchanged"), ("flux", "unchanged")], ""));
    assert_eq!(versions(&namespace).await?, after);

    // Into another namespace of the same cluster.
    let other = plane.namespace("copy").await?;
    let copy = export.replace(&format!("namespace: {}", namespace.name()), &format!("namespace: {}", other.name()));
    pipe(&other, &["import"], &copy).exits(0);
    assert_eq!(specs(&list(&other, "devopspolicies").await?), specs(&stored));
    let both = call(&other, &["export", "-A", "-o", "json"]).exits(0).json();
    let namespaces = both["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["namespace"]);
    assert!(
        namespaces.clone().any(|name| name == namespace.name()) && namespaces.clone().any(|name| name == other.name())
    );
    Ok(())
}

#[tokio::test]
async fn audit_results_are_exported_on_request_and_not_imported() -> Result<()> {
    let namespace = plane().await?.namespace("audit").await?;
    let record = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "PolicyAuditResult", "metadata": { "name": "record" },
        "spec": {
            "policy": "strict", "policyGeneration": 1, "evaluatedAt": "2026-01-01T00:00:00Z", "healthScore": 90,
            "classification": "Healthy", "compliance": 95.5, "subjects": 3, "violationCount": 0,
        },
    });
    namespace.kubectl_with_input(["apply", "-f", "-"], &record.to_string()).await?;
    pipe(&namespace, &["import"], &restarts("strict", 3)).exits(0);
    assert!(!call(&namespace, &["export"]).exits(0).stdout.contains("PolicyAuditResult"));
    let export = call(&namespace, &["export", "--audit-results"]).exits(0).is_quiet().stdout;
    assert!(export.contains("kind: PolicyAuditResult\n"), "{export}");
    let before = get(&namespace, "policyauditresult", "record").await?;
    namespace.kubectl_with_input(["apply", "--server-side", "--force-conflicts", "-f", "-"], &export).await?;
    let after = get(&namespace, "policyauditresult", "record").await?;
    assert_eq!(after["spec"], before["spec"]);
    let ran = pipe(&namespace, &["import", "--force-conflicts"], &export).exits(0);
    let name = format!("PolicyAuditResult {}/record is not a DevOpsPolicy", namespace.name());
    ran.complains(&["skipped: stdin:", &name]);
    Ok(())
}

#[tokio::test]
async fn modules_are_exported_on_request_and_apply_back_unchanged() -> Result<()> {
    let namespace = plane().await?.namespace("modules").await?;
    let module = json!({
        "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": "labels" },
        "spec": { "source": { "configMap": { "name": "labels" } }, "grants": ["object"] },
    });
    namespace.kubectl_with_input(["apply", "-f", "-"], &module.to_string()).await?;
    let export = call(&namespace, &["export", "--modules"]).exits(0).stdout;
    assert!(export.contains("# PolicyModule labels from https://"), "{export}");
    let applied = namespace.kubectl_with_input(["apply", "-f", "-"], &export).await?;
    assert!(applied.contains("policymodule.devops.stochastic.io/labels unchanged"), "{applied}");
    assert!(!call(&namespace, &["export", "-A"]).exits(0).stdout.contains("PolicyModule"));
    Ok(())
}

#[tokio::test]
async fn an_import_prints_what_it_does_to_each_policy() -> Result<()> {
    let namespace = plane().await?.namespace("import").await?;
    let folder = Folder::with([
        (
            "b/list.yaml",
            format!(
                "# two policies\r\nkind: List\r\napiVersion: v1\r\nitems:\r\n- {}\r\n- {}\r\n",
                restarts("two", 2),
                restarts("three", 3)
            ),
        ),
        ("a.json", restarts("one", 1)),
        (
            "service.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n---\nreplicas: 2\n".to_owned(),
        ),
    ]);
    let path = folder.path().to_str().unwrap();
    let all = |word: &str| lines(&namespace, &["one", "two", "three"].map(|name| (name, word)), "");

    let dry = call(&namespace, &["import", path, "--dry-run"]).exits(0);
    assert_eq!(dry.stdout, all("created").replace('\n', " (server dry run)\n"));
    assert_eq!(names(&namespace).await?, Vec::<String>::new());

    let first = call(&namespace, &["import", path]).exits(0);
    assert_eq!(first.stdout, all("created"));
    let first = first.complains(&["service.yaml:1: Service shop/web is not a DevOpsPolicy\n"]);
    first.complains(&["service.yaml:5: a document without a kind is not a DevOpsPolicy\n"]);
    let before = versions(&namespace).await?;
    assert_eq!(call(&namespace, &["import", path]).exits(0).stdout, all("unchanged"));
    let dry = call(&namespace, &["import", path, "--dry-run"]).exits(0);
    assert_eq!(dry.stdout, all("unchanged").replace('\n', " (server dry run)\n"));
    assert_eq!(versions(&namespace).await?, before);

    folder.write("a.json", restarts("one", 10));
    let changed = [("one", "configured"), ("two", "unchanged"), ("three", "unchanged")];
    let dry = call(&namespace, &["import", path, "--dry-run"]).exits(0);
    assert_eq!(dry.stdout, lines(&namespace, &changed, " (server dry run)"));
    assert_eq!(versions(&namespace).await?, before);
    assert_eq!(call(&namespace, &["import", path]).exits(0).stdout, lines(&namespace, &changed, ""));
    assert_eq!(get(&namespace, "devopspolicy", "one").await?["spec"]["maxRestartCount"], 10);
    Ok(())
}

#[tokio::test]
async fn a_failure_in_the_middle_does_not_affect_the_other_policies() -> Result<()> {
    let namespace = plane().await?.namespace("failures").await?;
    pipe(&namespace, &["import"], &restarts("extra", 1)).exits(0);
    let elsewhere =
        restarts("elsewhere", 1).replace("\"metadata\":{", "\"metadata\":{\"namespace\":\"no-such-namespace\",");
    let manifests = documents(&[
        restarts("first", 1),
        restarts("negative", -1),
        policy("unknown-field", &json!({ "forbidLatestTag": true, "forbidLatest": true })),
        "a: [".to_owned(),
        restarts("first", 2),
        elsewhere,
        policy("no-check", &json!({ "forbidLatestTag": false })),
        restarts("last", 3),
    ]);
    let ran = pipe(&namespace, &["import", "--prune"], &manifests).exits(1);
    // Neither duplicate is applied.
    let applied = ["no-check", "last"].map(|name| (name, "created"));
    assert_eq!(ran.stdout, lines(&namespace, &applied, ""));
    let ran = ran.complains(&[
        "error: stdin:8 (document 4): ",
        "should be greater than or equal to 0",
        "spec.maxRestartCount: -1 is less than the minimum of 0",
        "forbidLatest",
        "DevOpsPolicy has no field spec.forbidLatest",
        &format!("duplicate DevOpsPolicy {}/first; the first one is at stdin:2", namespace.name()),
        "namespaces \"no-such-namespace\" not found",
        &format!("warning: stdin:14: DevOpsPolicy {}/no-check: the policy enables no check", namespace.name()),
        "not pruned: nothing is deleted after a failure",
        "5 errors: not everything was imported\n",
    ]);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(names(&namespace).await?, ["extra", "last", "no-check"]);
    let dry = pipe(&namespace, &["import", "--dry-run"], &restarts("negative", -1)).exits(2);
    dry.complains(&["should be greater than or equal to 0"]);
    Ok(())
}

#[tokio::test]
async fn conflicts_name_the_manager_and_are_resolved_on_request() -> Result<()> {
    let namespace = plane().await?.namespace("conflicts").await?;
    let manifests = documents(&[restarts("edited", 1), restarts("other", 1)]);
    pipe(&namespace, &["import"], &manifests).exits(0);
    let patch = r#"{"spec":{"maxRestartCount":7}}"#;
    let edit = ["patch", "devopspolicy", "edited", "--type=merge", "--field-manager=kubectl-edit", "-p", patch];
    namespace.kubectl(edit).await?;

    let changed = documents(&[restarts("edited", 2), restarts("other", 2)]);
    let ran = pipe(&namespace, &["import"], &changed).exits(1);
    assert_eq!(ran.stdout, lines(&namespace, &[("other", "configured")], ""));
    let message = format!("error: stdin:2: DevOpsPolicy {}/edited: Apply failed with 1 conflict", namespace.name());
    ran.complains(&[
        &message,
        "\"kubectl-edit\"",
        ".spec.maxRestartCount",
        "hint: --force-conflicts takes over the fields",
    ]);
    assert_eq!(get(&namespace, "devopspolicy", "edited").await?["spec"]["maxRestartCount"], 7);

    let diff = pipe(&namespace, &["diff"], &changed).exits(1);
    assert!(diff.stdout.contains("-  maxRestartCount: 7\n+  maxRestartCount: 2\n"), "{}", diff.stdout);
    diff.complains(&["warning: stdin:2: ", "\"kubectl-edit\"", "An import needs --force-conflicts"]);

    let forced = pipe(&namespace, &["import", "--force-conflicts"], &changed).exits(0).is_quiet();
    assert_eq!(forced.stdout, lines(&namespace, &[("edited", "configured"), ("other", "unchanged")], ""));
    pipe(&namespace, &["diff"], &changed).exits(0).is_quiet();
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_being_deleted_is_not_imported_silently() -> Result<()> {
    let namespace = plane().await?.namespace("terminating").await?;
    let mut held: Value = serde_json::from_str(&restarts("held", 1))?;
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    // An API server reads the body of an apply as YAML, which changes or rejects such a text if it is not escaped.
    held["metadata"]["annotations"] = json!({ "note": "x \u{2028} y\u{81}\u{feff}\u{1f600}" });
    let escaped = ["2028", "0081", "feff"].iter().fold(held.to_string(), |text, code| {
        let character = u32::from_str_radix(code, 16).ok().and_then(char::from_u32).unwrap();
        text.replace(character, &format!("\\u{code}"))
    });
    let both = documents(&[escaped, restarts("other", 1)]);
    pipe(&namespace, &["import"], &both).exits(0);
    let stored = get(&namespace, "devopspolicy", "held").await?;
    assert_eq!(stored["metadata"]["annotations"], held["metadata"]["annotations"]);
    pipe(&namespace, &["diff"], &both).exits(0).is_quiet();

    let pruned = pipe(&namespace, &["import", "--prune"], &restarts("other", 1)).exits(0);
    let marked = lines(&namespace, &[("held", "marked for deletion")], "");
    assert!(pruned.stdout.ends_with(&marked), "{}", pruned.stdout);
    pruned.complains(&["is deleted after its finalizers: example.com/hold"]);
    let ran = pipe(&namespace, &["import"], &both).exits(1);
    assert_eq!(ran.stdout, lines(&namespace, &[("held", "unchanged"), ("other", "unchanged")], ""));
    let message = format!("DevOpsPolicy {}/held is being deleted in the cluster", namespace.name());
    ran.complains(&["error: stdin:2: ", &message, "1 error: not everything was imported"]);
    pipe(&namespace, &["diff"], &both).exits(1).complains(&["warning: stdin:2: ", &message]);

    let patch = r#"{"metadata":{"finalizers":null}}"#;
    namespace.kubectl(["patch", "devopspolicy", "held", "--type=merge", "-p", patch]).await?;
    let ran = pipe(&namespace, &["import"], &both).exits(0);
    assert_eq!(ran.stdout, lines(&namespace, &[("held", "created"), ("other", "unchanged")], ""));
    namespace.kubectl(["patch", "devopspolicy", "held", "--type=merge", "-p", patch]).await?;
    Ok(())
}

#[tokio::test]
async fn prune_deletes_only_what_an_import_manages_alone() -> Result<()> {
    let plane = plane().await?;
    let (namespace, other) = (plane.namespace("prune").await?, plane.namespace("untouched").await?);
    let imported = ["gone", "edited", "kept", "being-moved"].map(|name| restarts(name, 1));
    pipe(&namespace, &["import"], &documents(&imported)).exits(0);
    pipe(&other, &["import"], &restarts("elsewhere", 1)).exits(0);
    pipe(&namespace, &["import", "--field-manager", "another-repository"], &restarts("another", 1)).exits(0);
    namespace.kubectl_with_input(["apply", "-f", "-"], &restarts("by-kubectl", 1)).await?;
    let patch = r#"{"spec":{"forbidLatestTag":true}}"#;
    let edit = ["patch", "devopspolicy", "edited", "--type=merge", "--field-manager=kubectl-edit", "-p", patch];
    namespace.kubectl(edit).await?;
    let all = ["another", "being-moved", "by-kubectl", "edited", "gone", "kept"];

    // Neither nothing nor other objects are a reason to delete everything.
    for text in ["", "kind: Service\napiVersion: v1\nmetadata: {name: a}\n"] {
        pipe(&namespace, &["import", "--prune"], text).exits(2).complains(&["error: no DevOpsPolicy in stdin"]);
    }
    assert_eq!(names(&namespace).await?, all);

    let rest = restarts("kept", 1);
    let expected = |suffix: &str| {
        let results = [
            ("kept", "unchanged"),
            ("being-moved", "will be deleted"),
            ("gone", "will be deleted"),
            ("being-moved", "pruned"),
            ("gone", "pruned"),
        ];
        lines(&namespace, &results, suffix)
    };
    let reason = format!(
        "kept: DevOpsPolicy {}/edited is not in the files, but its spec is also managed by \"kubectl-edit\"\n",
        namespace.name()
    );
    let dry = pipe(&namespace, &["import", "--prune", "--dry-run"], &rest).exits(0);
    assert_eq!((&*dry.stdout, &*dry.stderr), (&*expected(" (server dry run)"), &*reason));
    assert_eq!(names(&namespace).await?, all);
    let ran = pipe(&namespace, &["import", "--prune"], &rest).exits(0);
    assert_eq!((&*ran.stdout, &*ran.stderr), (&*expected(""), &*reason));
    assert_eq!(names(&namespace).await?, ["another", "by-kubectl", "edited", "kept"]);
    assert_eq!(names(&other).await?, ["elsewhere"]);
    Ok(())
}

#[tokio::test]
async fn a_diff_shows_what_an_import_would_change() -> Result<()> {
    let namespace = plane().await?.namespace("diff").await?;
    let stored = policy("strict", &json!({ "forbidLatestTag": true, "maxRestartCount": 3 }));
    pipe(&namespace, &["import"], &documents(&[stored.clone(), restarts("extra", 1)])).exits(0);
    // The default of enforcementMode is no difference.
    pipe(&namespace, &["diff"], &stored).exits(0).is_quiet();

    let before = versions(&namespace).await?;
    let changed =
        documents(&[policy("strict", &json!({ "forbidLatestTag": true, "maxRestartCount": 5 })), restarts("new", 1)]);
    let ran = pipe(&namespace, &["diff"], &changed).exits(1).is_quiet();
    let name = namespace.name();
    for part in [
        format!("--- DevOpsPolicy {name}/strict in https://"),
        format!("+++ DevOpsPolicy {name}/strict in stdin:2\n@@ "),
        "-  maxRestartCount: 3\n+  maxRestartCount: 5\n".to_owned(),
        format!("--- /dev/null\n+++ DevOpsPolicy {name}/new in stdin:4\n"),
        "+  enforcementMode: audit\n".to_owned(),
    ] {
        assert!(ran.stdout.contains(&part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("extra") && !ran.stdout.contains("managedFields"), "{}", ran.stdout);
    assert_eq!(pipe(&namespace, &["diff"], &changed).stdout, ran.stdout);
    let removed = pipe(&namespace, &["diff"], &policy("strict", &json!({ "forbidLatestTag": true }))).exits(1).stdout;
    assert!(removed.contains("\n-  maxRestartCount: 3\n"), "{removed}");

    let extra = pipe(&namespace, &["diff", "--cluster-only"], &stored).exits(1).is_quiet().stdout;
    assert!(
        extra.contains(&format!("/extra in {}", plane().await?.server())) && extra.contains("\n+++ /dev/null\n"),
        "{extra}"
    );
    let invalid =
        pipe(&namespace, &["diff"], &documents(&[restarts("negative", -1), restarts("new", 1), "a: [".to_owned()]));
    assert!(invalid.stdout.contains("/new in stdin:4\n"), "{}", invalid.stdout);
    invalid.exits(2).complains(&[
        "should be greater than or equal to 0",
        "(document 3)",
        "2 errors: not everything was compared",
    ]);
    pipe(&namespace, &["diff"], "").exits(2).complains(&["error: no DevOpsPolicy in stdin; nothing was compared"]);
    assert_eq!(versions(&namespace).await?, before);
    Ok(())
}

#[tokio::test]
async fn namespaces_are_chosen_as_with_kubectl() -> Result<()> {
    let plane = plane().await?;
    let (one, two) = (plane.namespace("one").await?, plane.namespace("two").await?);
    pipe(&one, &["import", "-n", two.name()], &restarts("chosen", 1)).exits(0);
    assert_eq!(names(&two).await?, ["chosen"]);
    let own =
        restarts("own", 1).replace("\"metadata\":{", &format!("\"metadata\":{{\"namespace\":\"{}\",", one.name()));
    pipe(&one, &["import"], &own).exits(0);
    let message = format!("is not in the namespace {} of -n", two.name());
    pipe(&one, &["import", "-n", two.name()], &own).exits(2).complains(&[&message]);
    assert_eq!(
        call(&one, &["export", "-n", two.name(), "-o", "name"]).stdout,
        "devopspolicy.devops.stochastic.io/chosen\n"
    );
    let both = call(&one, &["export", "-n", two.name(), "-n", one.name(), "-o", "name"]).exits(0).stdout;
    assert_eq!(both.lines().count(), 2);
    call(&one, &["export", "-n", "no-such-namespace"]).exits(2).complains(&["there is no namespace"]);
    let empty = plane.namespace("empty").await?;
    let none = call(&empty, &["export"]).exits(0);
    assert_eq!((&*none.stdout, &*none.stderr), ("", &*format!("no policies found in {}\n", empty.name())));
    Ok(())
}

#[tokio::test]
async fn a_thousand_policies_are_imported_compared_and_exported() -> Result<()> {
    let namespace = plane().await?.namespace("thousand").await?;
    let policies: Vec<String> = (0..1_000).map(|index| restarts(&format!("policy-{index:04}"), index)).collect();
    let folder = Folder::with([("policies.yaml", documents(&policies))]);
    let path = folder.path().to_str().unwrap();
    let results = |ran: &Ran, word: &str| ran.stdout.lines().filter(|line| line.contains(word)).count();
    let first = call(&namespace, &["import", path]).exits(0).is_quiet();
    assert_eq!(results(&first, " created in "), 1_000);
    let order: Vec<&str> = first.stdout.lines().collect();
    assert!(order.is_sorted(), "the order of the files");
    let before = versions(&namespace).await?;
    let second = call(&namespace, &["import", path, "--prune"]).exits(0).is_quiet();
    assert_eq!(results(&second, " unchanged in "), 1_000);
    assert_eq!(versions(&namespace).await?, before);
    assert_eq!(call(&namespace, &["diff", path, "--cluster-only"]).exits(0).is_quiet().stdout, "");
    let export = call(&namespace, &["export"]).exits(0).stdout;
    assert_eq!(export.matches("kind: DevOpsPolicy\n").count(), 1_000);
    Ok(())
}

#[tokio::test]
async fn missing_custom_resources_and_permissions_are_reported() -> Result<()> {
    let bare = ControlPlane::builder().start().await?;
    let kubeconfig = bare.kubeconfig().path();
    let manifests = documents(&[restarts("a", 1), restarts("b", 1)]);
    for arguments in [&["import", "-"][..], &["diff", "-"], &["export"]] {
        let ran = call_with(kubeconfig, arguments, &manifests).exits(2);
        ran.complains(&["has no custom resources of kube-devops; install them with `kube-devops crd install`"]);
    }
    let unprivileged = plane().await?.kubeconfig_for_user("unprivileged", &[])?;
    let ran = call_with(unprivileged.path(), &["import", "-"], &manifests).exits(2);
    assert_eq!(ran.stderr.matches("\"unprivileged\" cannot get resource").count(), 2, "{}", ran.stderr);
    call_with(unprivileged.path(), &["diff", "-"], &manifests)
        .exits(2)
        .complains(&["\"unprivileged\" cannot get resource"]);
    call_with(unprivileged.path(), &["export"], "")
        .exits(2)
        .complains(&["error: not allowed to list the devopspolicies"]);
    Ok(())
}

#[test]
fn without_a_cluster_nothing_is_imported() {
    let folder = Folder::with([("kubeconfig", unreachable_kubeconfig())]);
    let kubeconfig = folder.path().join("kubeconfig");
    for arguments in [&["import", "-", "--prune"][..], &["diff", "-"], &["export"]] {
        let ran = call_with(&kubeconfig, arguments, &documents(&[restarts("a", 1), restarts("b", 1)])).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["https://127.0.0.1:1 cannot be reached: "]);
    }
    let ran = call_with(&kubeconfig, &["import", "no/such/folder"], "").exits(2);
    ran.complains(&["error: no/such/folder:1 (document 1): no/such/folder does not exist"]);
    run(kube_devops().args(["policy", "import"])).exits(2).complains(&["PATH"]);
    run(kube_devops().args(["policy", "export", "-A", "-n", "a"])).exits(2).complains(&["cannot be used with"]);
}
