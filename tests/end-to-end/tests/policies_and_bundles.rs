//! `--bundle`, `--policy` and the `policy` commands: the enabled checks, their settings and severities.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use end_to_end::kubectl::objects_by_kubectl;
use end_to_end::objects::{bad_pod, documents, good_pod, pod, restarted, with_status};
use end_to_end::{Folder, Ran, kube_devops, run, run_with_input};
use serde_json::{Value, json};

const BUNDLES: [&str; 3] = ["baseline", "permissive", "restricted"];

/// Returns pods with a violation of each of the five checks.
fn violating_pods() -> String {
    let mut waiting = with_status(good_pod("waiting"), json!({ "phase": "Pending" }));
    waiting["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
    documents(&[bad_pod("bad"), restarted(good_pod("restarted"), 20), waiting])
}

/// Evaluates pods with all violations, with a JSON report.
fn evaluate(arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    run_with_input(command.args(["analyze", "-o", "json", "-f", "-"]).args(arguments), violating_pods())
}

/// Evaluates the same pods under a policy with this spec.
fn evaluate_with_spec(spec: &Value) -> Ran {
    evaluate_with_policy(policy(spec))
}

fn evaluate_with_policy(text: impl AsRef<[u8]>) -> Ran {
    let folder = Folder::with([("policy.yaml", text)]);
    evaluate(&["--policy", folder.path().join("policy.yaml").to_str().unwrap()])
}

fn policy(spec: &Value) -> String {
    let policy = json!({
        "apiVersion": "devops.stochastic.io/v1",
        "kind": "DevOpsPolicy",
        "metadata": { "name": "test", "namespace": "default" },
        "spec": spec,
    });
    policy.to_string()
}

/// Returns check and severity of each violation.
fn severities(ran: &Ran) -> BTreeMap<String, String> {
    let report = ran.json();
    let violations = report["violations"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    violations.map(|found| (text(&found["check"]), text(&found["severity"]))).collect()
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(check, severity)| ((*check).to_owned(), (*severity).to_owned())).collect()
}

#[test]
fn without_a_policy_all_five_checks_have_medium_severity() {
    let all = ["high-restarts", "latest-tag", "missing-liveness", "missing-readiness", "pending"];
    assert_eq!(severities(&evaluate(&[]).exits(0)), expected(&all.map(|check| (check, "medium"))));
}

#[test]
fn bundles_define_checks_and_severities() {
    for (bundle, pairs) in [
        ("baseline", &[("latest-tag", "medium"), ("missing-readiness", "medium")][..]),
        (
            "restricted",
            &[
                ("high-restarts", "critical"),
                ("latest-tag", "critical"),
                ("missing-liveness", "high"),
                ("missing-readiness", "high"),
                ("pending", "high"),
            ],
        ),
        (
            "permissive",
            &[
                ("high-restarts", "medium"),
                ("latest-tag", "low"),
                ("missing-liveness", "low"),
                ("missing-readiness", "low"),
                ("pending", "low"),
            ],
        ),
    ] {
        let ran = evaluate(&["--bundle", bundle]).exits(0).is_quiet();
        assert_eq!(severities(&ran), expected(pairs), "{bundle}");
        assert_eq!(ran.json()["checks"].as_array().unwrap().len(), pairs.len(), "{bundle}");
    }
}

#[test]
fn bundles_define_thresholds() {
    let objects: Vec<_> = [3, 4, 10, 11].map(|count| restarted(good_pod(&format!("r{count}")), count)).to_vec();
    for (bundle, names) in [
        ("baseline", &[][..]),
        ("restricted", &["high-restarts Pod/r10 app", "high-restarts Pod/r11 app", "high-restarts Pod/r4 app"]),
        ("permissive", &["high-restarts Pod/r11 app"]),
    ] {
        let mut command = kube_devops();
        command.args(["analyze", "-o", "json", "-f", "-", "--bundle", bundle]);
        assert_eq!(run_with_input(&mut command, documents(&objects)).violations(), names, "{bundle}");
    }
}

#[test]
fn an_unknown_bundle_is_rejected_with_the_available_bundles() {
    for arguments in [
        &["analyze", "-f", "examples", "--bundle", "strict"][..],
        &["policy", "bundle-show", "strict"],
        &["policy", "bundle-apply", "strict"],
    ] {
        let ran = run(kube_devops().args(arguments)).exits(2);
        assert_eq!(
            ran.stderr,
            "error: unknown bundle \"strict\"; available bundles: baseline, permissive, restricted\n"
        );
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn policy_and_bundle_are_mutually_exclusive() {
    evaluate(&["--bundle", "baseline", "--policy", "policy.yaml"]).exits(2).complains(&["cannot be used with"]);
}

#[test]
fn a_policy_enables_the_checks_it_names() {
    for (spec, pairs) in [
        (json!({ "forbidLatestTag": true }), &[("latest-tag", "medium")][..]),
        (json!({ "requireLivenessProbe": true }), &[("missing-liveness", "medium")]),
        (json!({ "requireReadinessProbe": true, "forbidLatestTag": false }), &[("missing-readiness", "medium")]),
        (json!({ "maxRestartCount": 0 }), &[("high-restarts", "medium")]),
        (json!({ "maxRestartCount": 20, "requireLivenessProbe": null }), &[]),
        (json!({ "forbidPendingDuration": 0 }), &[("pending", "medium")]),
        (json!({ "forbidPendingDuration": 300, "severityOverrides": { "pending": "low" } }), &[("pending", "low")]),
        (
            json!({
                "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true,
                "maxRestartCount": 3, "forbidPendingDuration": 300,
                "severityOverrides": {
                    "latestTag": "critical", "missingLiveness": "high", "missingReadiness": "medium",
                    "highRestarts": "low", "pending": "critical",
                },
            }),
            &[
                ("latest-tag", "critical"),
                ("missing-liveness", "high"),
                ("missing-readiness", "medium"),
                ("high-restarts", "low"),
                ("pending", "critical"),
            ],
        ),
    ] {
        assert_eq!(severities(&evaluate_with_spec(&spec).exits(0).is_quiet()), expected(pairs), "{spec}");
    }
}

#[test]
fn restarts_up_to_the_threshold_of_a_policy_are_allowed() {
    for (threshold, violations) in [(19, 1), (20, 0), (21, 0)] {
        let ran = evaluate_with_spec(&json!({ "maxRestartCount": threshold })).exits(0);
        assert_eq!(ran.violations().len(), violations, "{threshold}");
    }
}

#[test]
fn the_severity_does_not_affect_the_score() {
    let scores = ["baseline", "restricted"].map(|bundle| {
        let mut command = kube_devops();
        command.args(["analyze", "-o", "json", "-f", "-", "--bundle", bundle]);
        let mut container = end_to_end::objects::good_container("app");
        container["image"] = "nginx".into();
        run_with_input(&mut command, pod("a", [container]).to_string()).json()["score"].clone()
    });
    assert_eq!(scores, [json!(95), json!(95)]);
}

#[test]
fn the_example_policies_are_valid() {
    let gate = |policy: &str| {
        let mut command = kube_devops();
        command.args(["analyze", "-f", "examples/staging", "--fail-on", "high", "--policy"]);
        run(command.arg(format!("examples/policies/{policy}.yaml")))
    };
    gate("production").exits(1).complains(&["gate not met"]);
    gate("remediating").exits(0).is_quiet();
}

#[test]
fn an_exported_policy_is_a_valid_policy_file() {
    let text = "\
# kubectl get devopspolicy -o yaml
apiVersion: devops.stochastic.io/v1
kind: DevOpsPolicy
metadata:
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}
  creationTimestamp: '2026-01-01T00:00:00Z'
  generation: 2
  managedFields: [{manager: kubectl, operation: Update, fieldsV1: {'f:spec': {}}, time: '2026-01-01T00:00:00Z'}]
  name: test
  namespace: default
  resourceVersion: '123'
  uid: 5a0c5a39-4f4b-4c7e-8a39-0d2f5a1c9b11
spec:
  enforcementMode: audit
  forbidLatestTag: true
status:
  healthScore: 90
  healthy: true
  message: Healthy
  observedGeneration: 2
";
    assert_eq!(severities(&evaluate_with_policy(text).exits(0)), expected(&[("latest-tag", "medium")]));
}

#[test]
fn policy_files_may_use_every_yaml_notation() {
    let plain = policy(&json!({ "forbidLatestTag": true }));
    for text in [
        plain.clone(),
        format!("# a comment\n---\n{plain}\n"),
        serde_norway::to_string(&serde_norway::from_str::<Value>(&plain).unwrap()).unwrap().replace('\n', "\r\n"),
    ] {
        assert_eq!(
            severities(&evaluate_with_policy(&text).exits(0)),
            expected(&[("latest-tag", "medium")]),
            "{text:?}"
        );
    }
}

#[test]
fn a_policy_file_may_have_a_byte_order_mark_and_an_empty_last_document() {
    let plain = policy(&json!({ "forbidLatestTag": true }));
    for text in [format!("\u{feff}{plain}\n"), format!("{plain}\n---\n"), format!("{plain}\n---\n# nothing\n")] {
        assert_eq!(
            severities(&evaluate_with_policy(&text).exits(0)),
            expected(&[("latest-tag", "medium")]),
            "{text:?}"
        );
    }
}

#[test]
fn invalid_policy_fields_are_named() {
    for (spec, parts) in [
        (json!({ "forbidLatestTag": true, "forbidLatest": true }), &["no field", "spec.forbidLatest"][..]),
        (
            json!({ "forbidLatestTag": true, "severityOverrides": { "latest": "high" } }),
            &["no field", "spec.severityOverrides.latest"],
        ),
        (
            json!({ "forbidLatestTag": true, "severityOverrides": { "latestTag": "catastrophic" } }),
            &["spec.severityOverrides.latestTag", "catastrophic", "critical"],
        ),
        (json!({ "forbidLatestTag": "true" }), &["spec.forbidLatestTag", "boolean"]),
        (json!({ "forbidLatestTag": true, "enforcementMode": "fix" }), &["spec.enforcementMode", "fix", "enforce"]),
        (json!({ "maxRestartCount": 99_999_999_999_u64 }), &["spec.maxRestartCount"]),
        (json!({ "maxRestartCount": "3" }), &["spec.maxRestartCount"]),
        (json!({}), &["enables no check"]),
        (json!({ "forbidLatestTag": false }), &["enables no check"]),
        (Value::Null, &["spec"]),
    ] {
        let ran = evaluate_with_spec(&spec).exits(2);
        assert_eq!(ran.stdout, "", "{spec}");
        let ran = ran.complains(parts);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("policy.yaml:1: "), "{spec}: {}", ran.stderr);
    }
}

#[test]
fn a_negative_count_is_rejected_with_file_and_field() {
    for field in ["maxRestartCount", "forbidPendingDuration"] {
        let ran = evaluate_with_spec(&json!({ field: -1 })).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: ", "policy.yaml", field, "-1"]);
    }
}

#[test]
fn specs_that_the_api_server_rejects_are_invalid() {
    for (spec, part) in [
        (json!({ "maxRestartCount": 1_000_001 }), "maxRestartCount"),
        (json!({ "forbidPendingDuration": 31_536_001 }), "forbidPendingDuration"),
        (json!({ "requireLivenessProbe": true, "defaultProbe": { "tcpPort": 0 } }), "tcpPort"),
        (json!({ "requireLivenessProbe": true, "defaultResources": { "cpuRequest": "lots" } }), "cpuRequest"),
        (json!({ "requireLivenessProbe": true, "defaultResources": {} }), "defaultResources is empty"),
        (json!({ "forbidLatestTag": true, "enforcementMode": "enforce" }), "nothing to remediate"),
    ] {
        let ran = evaluate_with_spec(&spec);
        assert_eq!(ran.code, Some(2), "{spec} is accepted");
        ran.complains(&[part]);
    }
}

#[test]
fn invalid_policy_files_are_rejected() {
    let twice = format!("---\n{0}\n---\n{0}\n", policy(&json!({ "forbidLatestTag": true })));
    let bytes: [(&[u8], &[&str]); 7] = [
        (b"", &["not a DevOpsPolicy"]),
        (b"kind: Pod\n", &["not a DevOpsPolicy", "kind is \"Pod\""]),
        (b"apiVersion: devops.stochastic.io/v2\nkind: DevOpsPolicy\nspec: {forbidLatestTag: true}\n", &["v2"]),
        (b"a: [\n", &["policy.yaml:1 (document 1): invalid YAML"]),
        (b"\xff\n", &["UTF-8"]),
        (b"apiVersion: \"\\e[31m\"\nkind: a\n", &["not a DevOpsPolicy", "\\u{1b}[31m"]),
        (twice.as_bytes(), &["policy.yaml:4: more than one object"]),
    ];
    for (text, parts) in bytes {
        let ran = evaluate_with_policy(text).exits(2).complains(parts);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("policy.yaml"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    evaluate_with_policy("a: ".to_owned() + &"[".repeat(100_000)).exits(2);
}

/// A policy whose values have other types in YAML 1.2, or that is invalid there.
const YAML_1_1: &str = "\
apiVersion: devops.stochastic.io/v1
kind: DevOpsPolicy
metadata: {name: test, annotations: {a: &high high}}
spec:
  <<: {forbidLatestTag: yes}
  requireReadinessProbe: on
  requireLivenessProbe: off
  maxRestartCount: 0x10
  forbidPendingDuration: 1_000
  severityOverrides: {latestTag: *high}
";

/// Returns the violations, or the reason of the error without the place of the policy.
fn violations_or_reason(ran: &Ran) -> Result<Value, String> {
    if ran.code == Some(0) {
        let mut violations = ran.json()["violations"].take();
        // Its message starts with the time since the creation of the pod, which grows.
        for pending in violations.as_array_mut().into_iter().flatten().filter(|found| found["check"] == "pending") {
            let message = pending["message"].as_str().and_then(|message| message.split_once(", "));
            pending["message"] = message.map_or("", |(_, threshold)| threshold).into();
        }
        return Ok(violations);
    }
    let place = ran.stderr.split_once("policy.yaml:").and_then(|(_, place)| place.split_once(": "));
    // The reason of a check that rejects the settings has no place.
    Err(place.map_or(&*ran.stderr, |(_, reason)| reason).to_owned())
}

#[test]
fn a_policy_file_has_the_meaning_that_it_has_for_kubectl() {
    let kubectl = test_cluster::kubectl().unwrap();
    let with_settings = |settings: &str| {
        let start = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: test}\nspec:\n";
        format!("{start}  checks:\n  - check: high-restarts\n    settings: {settings}\n").into_bytes()
    };
    let in_utf_16 = format!("\u{feff}{YAML_1_1}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut contents: Vec<Vec<u8>> = vec![YAML_1_1.into(), in_utf_16];
    // The message of the violation contains the threshold, and that of an error the value or key of the wrong type.
    let thresholds = ["010", "0x10", "1_0", "0b11", "5.0", "1e1", "y", "on", "12:30", "~", "'5'", "!!int 5", "&a 5"];
    contents.extend(thresholds.map(|threshold| with_settings(&format!("{{threshold: {threshold}}}"))));
    contents.extend(["{n: 5}", "{'n': 5}", "{<<: {threshold: 7}}", "{}"].map(with_settings));
    for content in contents {
        let folder = Folder::with([("policy.yaml", &content)]);
        let text = String::from_utf8_lossy(&content);
        let (objects, error) = objects_by_kubectl(&kubectl, &folder.path().join("policy.yaml"));
        let ([object], None) = (&*objects, &error) else { panic!("{text}: {objects:?} {error:?}") };
        let (ours, theirs) = (evaluate_with_policy(&content), evaluate_with_spec(&object["spec"]));
        assert_eq!(ours.code, theirs.code, "{text}\n{}\n{}", ours.stderr, theirs.stderr);
        assert_eq!(violations_or_reason(&ours), violations_or_reason(&theirs), "{text}");
    }
}

#[test]
fn an_unreadable_policy_file_is_named() {
    evaluate(&["--policy", "no/such/policy.yaml"])
        .exits(2)
        .complains(&["error: ", "no/such/policy.yaml does not exist"]);
    evaluate(&["--policy", "examples"]).exits(2).complains(&["error: failed to read examples"]);
}

#[test]
fn bundles_are_listed() {
    let ran = run(kube_devops().args(["policy", "bundle-list"])).exits(0).is_quiet();
    let lines = [
        "Available policy bundles:",
        "  baseline    — Balanced audit policy for general use",
        "  permissive  — Lenient monitoring for development",
        "  restricted  — Strict enforcement with auto-patching",
    ];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn bundles_are_shown() {
    for bundle in BUNDLES {
        let ran = run(kube_devops().args(["policy", "bundle-show", bundle])).exits(0).is_quiet();
        insta::assert_snapshot!(bundle, ran.stdout);
    }
}

fn bundle_apply(bundle: &str, arguments: &[&str]) -> String {
    run(kube_devops().args(["policy", "bundle-apply", bundle]).args(arguments)).exits(0).is_quiet().stdout
}

#[test]
fn bundle_apply_sets_name_and_namespace_of_the_policy() {
    let metadata = |arguments: &[&str]| {
        let policy: Value = serde_norway::from_str(&bundle_apply("baseline", arguments)).unwrap();
        assert_eq!(
            (&policy["apiVersion"], &policy["kind"]),
            (&json!("devops.stochastic.io/v1"), &json!("DevOpsPolicy"))
        );
        policy["metadata"].clone()
    };
    assert_eq!(metadata(&[]), json!({ "name": "devops-policy", "namespace": "default" }));
    let arguments = ["--namespace", "production", "--policy-name", "strict"];
    assert_eq!(metadata(&arguments), json!({ "name": "strict", "namespace": "production" }));
    assert_eq!(metadata(&["-n", "production"])["namespace"], "production");
}

#[test]
fn the_policy_of_a_bundle_is_equivalent_to_the_bundle() {
    insta::assert_snapshot!("restricted-as-policy", bundle_apply("restricted", &[]));
    for bundle in BUNDLES {
        let by_policy = evaluate_with_policy(bundle_apply(bundle, &[])).exits(0).json();
        let mut by_bundle = evaluate(&["--bundle", bundle]).exits(0).json();
        // The messages of pending pods contain the elapsed time.
        let without_messages = |report: &Value| {
            let mut report = report.clone();
            for violation in report["violations"].as_array_mut().unwrap() {
                violation["message"] = Value::Null;
            }
            report
        };
        by_bundle = without_messages(&by_bundle);
        assert_eq!(without_messages(&by_policy), by_bundle, "{bundle}");
    }
}
