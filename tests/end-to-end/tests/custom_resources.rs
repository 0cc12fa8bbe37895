//! The custom resources on a real API server: installation and validation.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Result, ensure};
use end_to_end::{Folder, Ran, kube_devops, root, run};
use serde_json::{Value, json};
use test_cluster::{Builder, ControlPlane, DEADLINE, eventually};
use tokio::sync::OnceCell;

const NAMES: [&str; 3] = [
    "devopspolicies.devops.stochastic.io",
    "policyauditresults.devops.stochastic.io",
    "policymodules.devops.stochastic.io",
];

/// Returns a control plane with an API server only.
fn api_server() -> Builder {
    ControlPlane::builder()
}

fn install(plane: &ControlPlane) -> Ran {
    run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(plane.kubeconfig().path()))
}

/// Returns a shared control plane with the custom resources, for tests that only create objects.
async fn installed() -> Result<&'static ControlPlane> {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE
        .get_or_try_init(|| async {
            let plane = api_server().start().await?;
            install(&plane).exits(0);
            Ok(plane)
        })
        .await
}

fn expected(outcome: &str) -> String {
    NAMES.map(|name| format!("customresourcedefinition.apiextensions.k8s.io/{name} {outcome}\n")).concat()
}

async fn versions(plane: &ControlPlane) -> Result<Vec<Value>> {
    let crds = plane.kubectl(["get", "crd", NAMES[0], NAMES[1], "-o", "json"]).await?;
    let crds: Value = serde_json::from_str(&crds)?;
    let version = |crd: &Value| json!([crd["metadata"]["resourceVersion"], crd["metadata"]["generation"]]);
    Ok(crds["items"].as_array().unwrap().iter().map(version).collect())
}

#[tokio::test]
async fn a_second_installation_changes_nothing() -> Result<()> {
    let plane = api_server().start().await?;
    assert_eq!(install(&plane).exits(0).is_quiet().stdout, expected("created"));
    // The API server serves the kinds when the command returns.
    plane.kubectl(["get", "devopspolicies,policyauditresults", "-A"]).await?;
    let before = versions(&plane).await?;
    assert_eq!(install(&plane).exits(0).is_quiet().stdout, expected("unchanged"));
    assert_eq!(versions(&plane).await?, before);

    let drift = r#"[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]"#;
    plane.kubectl(["patch", "crd", NAMES[0], "--type=json", "-p", drift]).await?;
    let first = install(&plane).exits(0).stdout.lines().next().unwrap().to_owned();
    assert!(first.ends_with(&format!("{} configured", NAMES[0])), "{first}");
    Ok(())
}

#[tokio::test]
async fn generated_and_installed_definitions_are_identical() -> Result<()> {
    let plane = api_server().start().await?;
    let generated = run(kube_devops().args(["crd", "generate"])).exits(0).is_quiet().stdout;
    plane.kubectl_with_input(["apply", "--server-side", "-f", "-"], &generated).await?;
    plane.kubectl(["wait", "--for=condition=Established", "crd", NAMES[0], NAMES[1], "--timeout=60s"]).await?;
    let before = versions(&plane).await?;
    install(&plane).exits(0);
    let generation = |versions: &[Value]| versions.iter().map(|version| version[1].clone()).collect::<Vec<_>>();
    assert_eq!(generation(&versions(&plane).await?), generation(&before), "installing changes no spec");
    Ok(())
}

/// Helm 4, kubectl and GitOps tools apply the definitions without force.
#[tokio::test]
async fn another_tool_applies_later_definitions_without_a_conflict() -> Result<()> {
    let plane = api_server().start().await?;
    let generated = run(kube_devops().args(["crd", "generate"])).exits(0).stdout;
    let version = |label: &str| generated.replace("storage: true", &format!("storage: true\n    {label}"));
    let apply = async |arguments: &[&str], text: &str| {
        plane.kubectl_with_input([&["apply", "-f", "-"], arguments].concat(), text).await
    };
    // Installed by others, of which each owns the fields.
    apply(&[], &version("deprecated: true")).await?;
    apply(&["--server-side", "--force-conflicts", "--field-manager=helm"], &version("deprecated: true")).await?;
    install(&plane).exits(0);
    let later = version("deprecationWarning: later\n    deprecated: true");
    for manager in ["helm", "argocd-controller"] {
        apply(&["--server-side", &format!("--field-manager={manager}")], &later).await?;
        assert_eq!(install(&plane).exits(0).stdout, expected("configured"));
        assert_eq!(install(&plane).exits(0).stdout, expected("unchanged"));
    }
    // Also if there was nothing to change.
    apply(&["--server-side", "--field-manager=helm"], &generated).await?;
    assert_eq!(install(&plane).exits(0).stdout, expected("unchanged"));
    apply(&["--server-side", "--field-manager=other"], &later).await?;
    Ok(())
}

/// API servers drop fields that a definition does not have.
#[tokio::test]
async fn the_check_of_an_installation_reports_outdated_and_missing_definitions() -> Result<()> {
    let plane = api_server().start().await?;
    let check = || {
        let mut command = kube_devops();
        command.args(["check", "--installation", "--without", "watch", "--without", "reconcile", "--kubeconfig"]);
        run(command.arg(plane.kubeconfig().path())).exits(1).stdout
    };
    let advice = "; run `kube-devops crd install`\n";
    let text = check();
    assert!(text.starts_with(&format!("resources   FAILED: {} does not exist{advice}", NAMES[0])), "{text}");
    install(&plane).exits(0);
    let text = check();
    assert!(text.starts_with("resources   the custom resources are those of this version\n"), "{text}");
    let grants =
        r#"[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/grants"}]"#;
    plane.kubectl(["patch", "crd", NAMES[2], "--type=json", "-p", grants]).await?;
    let text = check();
    let outdated = format!("resources   FAILED: {} is outdated: spec.grants is missing{advice}", NAMES[2]);
    assert!(text.starts_with(&outdated), "{text}");
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/maxRestartCount";
    let string = json!([{ "op": "replace", "path": path, "value": { "type": "string" } }]).to_string();
    plane.kubectl(["patch", "crd", NAMES[0], "--type=json", "-p", &string]).await?;
    let text = check();
    let reason = "spec.maxRestartCount has the type string instead of integer";
    let outdated = format!("resources   FAILED: {} is outdated: {reason}{advice}", NAMES[0]);
    assert!(text.starts_with(&outdated), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_installation_without_permission_is_reported() -> Result<()> {
    let plane = api_server().start().await?;
    let unprivileged = plane.kubeconfig_for_user("unprivileged", &[])?;
    let ran = run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(unprivileged.path())).exits(2);
    ran.complains(&["error: not allowed to install devopspolicies.devops.stochastic.io", "\"unprivileged\""]);
    Ok(())
}

fn policy(name: &str, spec: &Value) -> String {
    let object = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": name, "namespace": "default" }, "spec": spec,
    });
    object.to_string()
}

async fn create(plane: &ControlPlane, object: &str) -> Result<String> {
    plane.kubectl_with_input(["create", "-f", "-", "-o", "json"], object).await
}

/// Returns invalid specs, each with a part of the message of the API server.
fn invalid_specs() -> Vec<(Value, &'static str)> {
    let probe = |probe: Value| json!({ "requireLivenessProbe": true, "defaultProbe": probe });
    let resources = |resources: Value| json!({ "requireLivenessProbe": true, "defaultResources": resources });
    vec![
        (json!({ "maxRestartCount": -1 }), "spec.maxRestartCount in body should be greater than or equal to 0"),
        (
            json!({ "maxRestartCount": 1_000_001 }),
            "spec.maxRestartCount in body should be less than or equal to 1000000",
        ),
        (json!({ "maxRestartCount": 2.5 }), "spec.maxRestartCount"),
        (json!({ "maxRestartCount": "3" }), "spec.maxRestartCount"),
        (
            json!({ "forbidPendingDuration": -1 }),
            "spec.forbidPendingDuration in body should be greater than or equal to 0",
        ),
        (json!({ "forbidPendingDuration": 31_536_001 }), "spec.forbidPendingDuration"),
        (json!({ "forbidLatestTag": "yes" }), "spec.forbidLatestTag"),
        (json!({ "forbidLatestTag": true, "enforcementMode": "yolo" }), "supported values: \"audit\", \"enforce\""),
        (json!({ "forbidLatestTag": true, "forbidLatest": true }), "unknown field \"spec.forbidLatest\""),
        (
            json!({ "forbidLatestTag": true, "severityOverrides": { "latestTag": "catastrophic" } }),
            "supported values: \"low\", \"medium\", \"high\", \"critical\"",
        ),
        (
            json!({ "forbidLatestTag": true, "severityOverrides": { "latest": "high" } }),
            "unknown field \"spec.severityOverrides.latest\"",
        ),
        (json!({}), "the policy enables no check: set forbidLatestTag"),
        (json!({ "enforcementMode": "audit" }), "the policy enables no check"),
        (
            json!({ "forbidLatestTag": true, "enforcementMode": "enforce" }),
            "enforcementMode enforce has nothing to remediate",
        ),
        (probe(json!({ "tcpPort": 0 })), "spec.defaultProbe.tcpPort in body should be greater than or equal to 1"),
        (
            probe(json!({ "tcpPort": 70_000 })),
            "spec.defaultProbe.tcpPort in body should be less than or equal to 65535",
        ),
        (probe(json!({ "periodSeconds": 0 })), "spec.defaultProbe.periodSeconds"),
        (probe(json!({ "initialDelaySeconds": -1 })), "spec.defaultProbe.initialDelaySeconds"),
        (json!({ "maxRestartCount": null }), "the policy enables no check"),
        (json!({ "checks": null }), "the policy enables no check"),
        (json!({ "checks": [{ "check": null }] }), "spec.checks[0].check"),
        (json!({ "checks": [null] }), "spec.checks[0]"),
        (json!({ "checks": [{ "check": "pending", "severity": null }] }), "spec.checks[0].severity"),
        (
            json!({ "forbidLatestTag": true, "severityOverrides": { "latestTag": null } }),
            "spec.severityOverrides.latestTag",
        ),
        (resources(json!({ "cpuLimit": null })), "defaultResources is empty"),
        (resources(json!({})), "defaultResources is empty"),
        (resources(json!({ "cpuRequest": "lots" })), "spec.defaultResources.cpuRequest in body should match"),
        (resources(json!({ "memoryLimit": "-1Gi" })), "spec.defaultResources.memoryLimit in body should match"),
        (resources(json!({ "cpuRequest": "2", "cpuLimit": "500m" })), "cpuRequest is greater than cpuLimit"),
        (
            resources(json!({ "memoryRequest": "1Gi", "memoryLimit": "900Mi" })),
            "memoryRequest is greater than memoryLimit",
        ),
    ]
}

#[tokio::test]
async fn the_api_server_rejects_invalid_policies_with_a_helpful_message() -> Result<()> {
    let plane = installed().await?;
    for (index, (spec, part)) in invalid_specs().into_iter().enumerate() {
        let error = create(plane, &policy(&format!("invalid-{index}"), &spec)).await.expect_err(&spec.to_string());
        let error = format!("{error:#}");
        assert!(error.contains(part), "{spec}: {error}");
    }
    let no_spec = policy("no-spec", &Value::Null);
    let error = format!("{:#}", create(plane, &no_spec).await.expect_err("it has no spec"));
    assert!(error.contains("spec"), "{error}");
    Ok(())
}

/// The program validates policy files as strictly as the API server validates objects.
#[test]
fn policy_files_are_validated_like_objects() {
    for (spec, part) in invalid_specs() {
        let folder = Folder::with([("policy.json", policy("a", &spec))]);
        let mut command = kube_devops();
        command.args(["analyze", "-f", "examples", "--policy"]).arg(folder.path().join("policy.json"));
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(2), "{spec} is accepted, but the API server rejects it: {part}");
        let field = part.split([' ', '"']).find(|word| word.starts_with("spec.")).unwrap_or_default();
        // A missing field is reported at the object that lacks it.
        let object = field.strip_suffix(".check").unwrap_or(field);
        ran.complains(&["error: ", "policy.json", object]);
    }
}

fn valid_specs() -> Vec<Value> {
    vec![
        json!({ "forbidLatestTag": true }),
        json!({ "maxRestartCount": 0, "forbidPendingDuration": 0 }),
        json!({ "maxRestartCount": 1_000_000, "forbidPendingDuration": 31_536_000 }),
        json!({ "requireReadinessProbe": true, "enforcementMode": "enforce" }),
        json!({ "forbidLatestTag": true, "enforcementMode": "enforce", "defaultResources": { "cpuLimit": "1.5" } }),
        json!({ "forbidLatestTag": true, "defaultResources": { "memoryRequest": "1024Mi", "memoryLimit": "1Gi" } }),
        json!({ "forbidLatestTag": true, "defaultResources": { "cpuRequest": "500m", "cpuLimit": "0.5" } }),
        json!({ "forbidLatestTag": true, "defaultProbe": { "tcpPort": 65_535, "periodSeconds": 1 } }),
    ]
}

/// Returns valid specs that the API server changes, each with the result.
fn changed_specs() -> Vec<(Value, Value)> {
    let latest = |field: &str, value: Value| json!({ "forbidLatestTag": true, field: value });
    let audited = |mut spec: Value| {
        spec["enforcementMode"] = "audit".into();
        spec
    };
    let check = |rule: Value| json!({ "checks": [rule] });
    vec![
        (latest("enforcementMode", Value::Null), audited(json!({ "forbidLatestTag": true }))),
        (latest("checks", Value::Null), audited(json!({ "forbidLatestTag": true }))),
        (latest("maxRestartCount", Value::Null), audited(latest("maxRestartCount", Value::Null))),
        (json!({ "maxRestartCount": 3.0 }), audited(json!({ "maxRestartCount": 3 }))),
        (latest("defaultProbe", json!({ "tcpPort": 80.0 })), audited(latest("defaultProbe", json!({ "tcpPort": 80 })))),
        (
            check(json!({ "check": "pending", "settings": null, "weight": 5.0 })),
            audited(check(json!({ "check": "pending", "weight": 5 }))),
        ),
    ]
}

#[tokio::test]
async fn nulls_and_whole_numbers_are_changed_before_the_validation() -> Result<()> {
    let plane = installed().await?;
    for (index, (spec, expected)) in changed_specs().into_iter().enumerate() {
        let created = create(plane, &policy(&format!("changed-{index}"), &spec)).await?;
        assert_eq!(serde_json::from_str::<Value>(&created)?["spec"], expected, "{spec}");
    }
    Ok(())
}

/// The program accepts the policy files that the API server accepts.
#[test]
fn valid_policy_files_are_accepted_like_objects() {
    for spec in valid_specs().into_iter().chain(changed_specs().into_iter().map(|(spec, _)| spec)) {
        let folder = Folder::with([("policy.json", policy("a", &spec))]);
        let mut command = kube_devops();
        command.args(["analyze", "-f", "examples", "--policy"]).arg(folder.path().join("policy.json"));
        let ran = run(&mut command);
        assert!(!ran.stderr.contains("error: "), "{spec}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn valid_policies_are_accepted_and_defaulted() -> Result<()> {
    let plane = installed().await?;
    for (index, spec) in valid_specs().into_iter().enumerate() {
        let created = create(plane, &policy(&format!("valid-{index}"), &spec)).await?;
        let created: Value = serde_json::from_str(&created)?;
        let mode = spec.get("enforcementMode").cloned().unwrap_or(json!("audit"));
        assert_eq!(created["spec"]["enforcementMode"], mode, "{spec}");
        for (field, value) in spec.as_object().unwrap() {
            assert_eq!(&created["spec"][field], value, "{spec}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn bundles_and_examples_can_be_applied() -> Result<()> {
    let plane = installed().await?;
    for bundle in ["baseline", "restricted", "permissive"] {
        let mut command = kube_devops();
        command.args(["policy", "bundle-apply", bundle, "--policy-name", bundle]);
        let text = run(&mut command).exits(0).stdout;
        let applied = plane.kubectl_with_input(["apply", "-f", "-"], &text).await?;
        assert_eq!(applied, format!("devopspolicy.devops.stochastic.io/{bundle} created\n"));
        // The exported policy is a valid policy file.
        let exported = plane.kubectl(["get", "devopspolicy", bundle, "-o", "yaml"]).await?;
        let folder = Folder::with([("policy.yaml", exported)]);
        let mut command = kube_devops();
        command.args(["analyze", "-f", "examples", "--policy"]).arg(folder.path().join("policy.yaml"));
        run(&mut command).exits(0).is_quiet();
    }
    for namespace in ["production", "staging"] {
        plane.kubectl(["create", "namespace", namespace]).await?;
    }
    let folder = root().join("examples/policies");
    plane.kubectl(["apply", "--dry-run=server", "-f", folder.to_str().unwrap()]).await?;
    Ok(())
}

#[tokio::test]
async fn policies_have_short_names_categories_and_printer_columns() -> Result<()> {
    let plane = installed().await?;
    create(plane, &policy("columns", &json!({ "forbidLatestTag": true }))).await?;
    let status =
        json!({ "healthScore": 85, "healthy": true, "message": "Healthy", "compliance": 62.5, "violationCount": 3 });
    let status = json!({ "status": status });
    let patch = ["patch", "dop", "columns", "--subresource=status", "--type=merge", "-p"];
    plane.kubectl([&patch[..], &[&status.to_string()]].concat()).await?;
    let table = plane.kubectl(["get", "dop", "columns"]).await?;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SCORE", "STATUS", "COMPLIANCE", "VIOLATIONS", "MODE", "EVALUATED", "AGE"], "{table}");
    assert_eq!(rows[1][..6], ["columns", "85", "Healthy", "62.5", "3", "audit"], "{table}");
    let category = plane.kubectl(["get", "governance", "-o", "name"]).await?;
    assert!(category.contains("devopspolicy.devops.stochastic.io/columns"), "{category}");
    for field in ["spec.maxRestartCount", "spec.defaultResources.cpuLimit", "status.violations"] {
        let text = plane.kubectl(["explain", &format!("devopspolicy.{field}")]).await?;
        assert!(text.contains("DESCRIPTION") && !text.contains("<empty>"), "{field}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_status_update_changes_neither_the_spec_nor_the_generation() -> Result<()> {
    let plane = installed().await?;
    create(plane, &policy("status", &json!({ "forbidLatestTag": true }))).await?;
    let status = json!({ "status": { "healthScore": 101 } });
    let patch = ["patch", "dop", "status", "--subresource=status", "--type=merge", "-p"];
    let error =
        plane.kubectl([&patch[..], &[&status.to_string()]].concat()).await.expect_err("the score is out of range");
    assert!(format!("{error:#}").contains("status.healthScore"), "{error:#}");
    let both = json!({ "spec": { "forbidLatestTag": false }, "status": { "healthScore": 50 } }).to_string();
    plane.kubectl([&patch[..], &[&both]].concat()).await?;
    let object: Value = serde_json::from_str(&plane.kubectl(["get", "dop", "status", "-o", "json"]).await?)?;
    assert_eq!(object["spec"]["forbidLatestTag"], true);
    assert_eq!((&object["metadata"]["generation"], &object["status"]["healthScore"]), (&json!(1), &json!(50)));
    Ok(())
}

/// A definition of an earlier version accepted quantities that cannot be parsed.
#[tokio::test]
async fn a_stored_quantity_that_cannot_be_parsed_does_not_prevent_status_updates() -> Result<()> {
    let plane = api_server().start().await?;
    install(&plane).exits(0);
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/defaultResources";
    let any = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let patch = json!([{ "op": "replace", "path": path, "value": any }]).to_string();
    plane.kubectl(["patch", "crd", NAMES[0], "--type=json", "-p", &patch]).await?;
    let resources = json!({ "cpuRequest": "100m", "cpuLimit": "lots", "memoryRequest": "much", "memoryLimit": "1Gi" });
    let spec = json!({ "forbidLatestTag": true, "defaultResources": resources });
    eventually(DEADLINE, "the API server to accept any quantity", async || create(&plane, &policy("old", &spec)).await)
        .await?;
    install(&plane).exits(0);
    eventually(DEADLINE, "the API server to reject it", async || {
        let rejected = create(&plane, &policy("new", &spec)).await;
        if rejected.is_ok() {
            plane.kubectl(["delete", "dop", "new"]).await?;
        }
        ensure!(rejected.is_err(), "it was created");
        Ok(())
    })
    .await?;
    let status = json!({ "status": { "healthScore": 50 } }).to_string();
    plane.kubectl(["patch", "dop", "old", "--subresource=status", "--type=merge", "-p", &status]).await?;
    Ok(())
}

#[tokio::test]
async fn audit_results_are_immutable() -> Result<()> {
    let plane = installed().await?;
    let result = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "PolicyAuditResult",
        "metadata": { "name": "record", "namespace": "default" },
        "spec": {
            "policy": "columns", "policyGeneration": 1, "evaluatedAt": "2026-01-01T00:00:00Z", "healthScore": 90,
            "classification": "Healthy", "compliance": 75.5, "subjects": 2, "violationCount": 1,
            "violations": [{
                "check": "latest-tag", "severity": "medium", "weight": 5, "magnitude": 1, "kind": "Pod", "name": "a",
                "message": "image nginx has no tag, which means latest",
            }],
        },
    });
    create(plane, &result.to_string()).await?;
    let table = plane.kubectl(["get", "par", "record"]).await?;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "POLICY", "SCORE", "STATUS", "VIOLATIONS", "AGE"], "{table}");
    assert_eq!(rows[1][..5], ["record", "columns", "90", "Healthy", "1"], "{table}");
    let patch = ["patch", "par", "record", "--type=merge", "-p", r#"{"spec": {"healthScore": 100}}"#];
    let error = format!("{:#}", plane.kubectl(patch).await.expect_err("it is immutable"));
    assert!(error.contains("an audit result is immutable"), "{error}");
    let mut invalid = result;
    invalid["metadata"]["name"] = "invalid".into();
    invalid["spec"]["violations"][0]["severity"] = "awful".into();
    let error = format!("{:#}", create(plane, &invalid.to_string()).await.expect_err("there is no such severity"));
    assert!(error.contains("spec.violations[0].severity"), "{error}");
    Ok(())
}
