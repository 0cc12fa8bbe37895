//! `--bundle`, `--policy` and the `policy` commands: which checks run, with which settings and severities.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use end_to_end::objects::{bad_pod, documents, good_pod, pod, restarted, with_status};
use end_to_end::{Folder, Ran, kube_devops, run, run_with_input};
use serde_json::{Value, json};

const BUNDLES: [&str; 3] = ["baseline", "permissive", "restricted"];

/// Pods that violate all five checks.
fn offenders() -> String {
    let mut waiting = with_status(good_pod("waiting"), json!({ "phase": "Pending" }));
    waiting["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
    documents(&[bad_pod("bad"), restarted(good_pod("restarted"), 20), waiting])
}

/// Judges pods that violate everything with some arguments, and gives the JSON report.
fn evaluate(arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    run_with_input(command.args(["analyze", "-o", "json", "-f", "-"]).args(arguments), offenders())
}

/// The same by a policy of this spec.
fn judge_by_policy(spec: &Value) -> Ran {
    judge_by_file(policy(spec))
}

fn judge_by_file(text: impl AsRef<[u8]>) -> Ran {
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

/// Check and severity of each violation.
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
fn without_a_policy_all_five_checks_are_of_medium_severity() {
    let all = ["high-restarts", "latest-tag", "missing-liveness", "missing-readiness", "pending"];
    assert_eq!(severities(&evaluate(&[]).exits(0)), expected(&all.map(|check| (check, "medium"))));
}

#[test]
fn bundles_choose_checks_and_severities() {
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
fn bundles_bring_thresholds() {
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
fn an_unknown_bundle_is_named_with_those_there_are() {
    for arguments in [
        &["analyze", "-f", "examples", "--bundle", "strict"][..],
        &["policy", "bundle-show", "strict"],
        &["policy", "bundle-apply", "strict"],
    ] {
        let ran = run(kube_devops().args(arguments)).exits(2);
        assert_eq!(ran.stderr, "error: there is no bundle \"strict\"; there are: baseline, permissive, restricted\n");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_policy_and_a_bundle_exclude_one_another() {
    evaluate(&["--bundle", "baseline", "--policy", "policy.yaml"]).exits(2).complains(&["cannot be used with"]);
}

#[test]
fn a_policy_turns_on_what_it_names() {
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
        assert_eq!(severities(&judge_by_policy(&spec).exits(0).is_quiet()), expected(pairs), "{spec}");
    }
}

#[test]
fn thresholds_of_a_policy_are_exact() {
    for (threshold, violations) in [(19, 1), (20, 0), (21, 0)] {
        let ran = judge_by_policy(&json!({ "maxRestartCount": threshold })).exits(0);
        assert_eq!(ran.violations().len(), violations, "{threshold}");
    }
}

#[test]
fn the_severity_changes_nothing_about_the_score() {
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
fn the_policies_of_the_examples_can_be_judged_by() {
    let gate = |policy: &str| {
        let mut command = kube_devops();
        command.args(["analyze", "-f", "examples/staging", "--fail-on", "high", "--policy"]);
        run(command.arg(format!("examples/policies/{policy}.yaml")))
    };
    gate("production").exits(1).complains(&["gate not met"]);
    gate("self-mending").exits(0).is_quiet();
}

#[test]
fn a_policy_as_the_api_server_gives_it_can_be_judged_by() {
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
    assert_eq!(severities(&judge_by_file(text).exits(0)), expected(&[("latest-tag", "medium")]));
}

#[test]
fn forms_of_a_policy_file_that_yaml_allows_are_read() {
    let plain = policy(&json!({ "forbidLatestTag": true }));
    for text in [
        plain.clone(),
        format!("# a comment\n---\n{plain}\n"),
        serde_norway::to_string(&serde_norway::from_str::<Value>(&plain).unwrap()).unwrap().replace('\n', "\r\n"),
    ] {
        assert_eq!(severities(&judge_by_file(&text).exits(0)), expected(&[("latest-tag", "medium")]), "{text:?}");
    }
}

#[test]
fn a_policy_file_may_have_a_byte_order_mark_and_an_empty_document_behind() {
    let plain = policy(&json!({ "forbidLatestTag": true }));
    for text in [format!("\u{feff}{plain}\n"), format!("{plain}\n---\n"), format!("{plain}\n---\n# nothing\n")] {
        assert_eq!(severities(&judge_by_file(&text).exits(0)), expected(&[("latest-tag", "medium")]), "{text:?}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_is_explained() {
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
        (json!({ "forbidLatestTag": true, "enforcementMode": "mend" }), &["spec.enforcementMode", "mend", "enforce"]),
        (json!({ "maxRestartCount": 99_999_999_999_u64 }), &["spec.maxRestartCount"]),
        (json!({ "maxRestartCount": "3" }), &["spec.maxRestartCount"]),
        (json!({}), &["turns no check on"]),
        (json!({ "forbidLatestTag": false }), &["turns no check on"]),
        (Value::Null, &["spec"]),
    ] {
        let ran = judge_by_policy(&spec).exits(2);
        assert_eq!(ran.stdout, "", "{spec}");
        let ran = ran.complains(parts);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("policy.yaml: "), "{spec}: {}", ran.stderr);
    }
}

#[test]
fn a_negative_count_is_explained_by_file_and_field() {
    for field in ["maxRestartCount", "forbidPendingDuration"] {
        let ran = judge_by_policy(&json!({ field: -1 })).exits(2);
        assert_eq!(ran.stdout, "");
        ran.complains(&["error: ", "policy.yaml", field, "-1"]);
    }
}

#[test]
fn what_the_api_server_would_refuse_is_refused() {
    for (spec, part) in [
        (json!({ "maxRestartCount": 1_000_001 }), "maxRestartCount"),
        (json!({ "forbidPendingDuration": 31_536_001 }), "forbidPendingDuration"),
        (json!({ "requireLivenessProbe": true, "defaultProbe": { "tcpPort": 0 } }), "tcpPort"),
        (json!({ "requireLivenessProbe": true, "defaultResources": { "cpuRequest": "lots" } }), "cpuRequest"),
        (json!({ "requireLivenessProbe": true, "defaultResources": {} }), "defaultResources is empty"),
        (json!({ "forbidLatestTag": true, "enforcementMode": "enforce" }), "nothing to mend"),
    ] {
        let ran = judge_by_policy(&spec);
        assert_eq!(ran.code, Some(2), "{spec} is accepted");
        ran.complains(&[part]);
    }
}

#[test]
fn what_is_no_policy_is_explained() {
    let twice = format!("---\n{0}\n---\n{0}\n", policy(&json!({ "forbidLatestTag": true })));
    let bytes: [(&[u8], &[&str]); 7] = [
        (b"", &["not a DevOpsPolicy"]),
        (b"kind: Pod\n", &["not a DevOpsPolicy", "kind is \"Pod\""]),
        (b"apiVersion: devops.stochastic.io/v2\nkind: DevOpsPolicy\nspec: {forbidLatestTag: true}\n", &["v2"]),
        (b"a: [\n", &["not a DevOpsPolicy", "line 2"]),
        (b"\xff\n", &["UTF-8"]),
        (b"apiVersion: \"\\e[31m\"\n", &["not a DevOpsPolicy", "\\u{1b}[31m"]),
        (twice.as_bytes(), &["more than one document"]),
    ];
    for (text, parts) in bytes {
        let ran = judge_by_file(text).exits(2).complains(parts);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("policy.yaml"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    judge_by_file("a: ".to_owned() + &"[".repeat(100_000)).exits(2);
}

#[test]
fn a_policy_file_that_does_not_exist_is_named() {
    evaluate(&["--policy", "no/such/policy.yaml"]).exits(2).complains(&["error: no/such/policy.yaml cannot be read"]);
    evaluate(&["--policy", "examples"]).exits(2).complains(&["error: examples cannot be read"]);
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
fn a_bundle_becomes_a_policy_with_a_name_and_a_namespace() {
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
fn the_policy_of_a_bundle_is_exactly_the_bundle() {
    insta::assert_snapshot!("restricted-as-policy", bundle_apply("restricted", &[]));
    for bundle in BUNDLES {
        let by_policy = judge_by_file(bundle_apply(bundle, &[])).exits(0).json();
        let mut by_bundle = evaluate(&["--bundle", bundle]).exits(0).json();
        // How long a pod has been waiting is counted to this moment.
        let same = |report: &Value| {
            let mut report = report.clone();
            for violation in report["violations"].as_array_mut().unwrap() {
                violation["message"] = Value::Null;
            }
            report
        };
        by_bundle = same(&by_bundle);
        assert_eq!(same(&by_policy), by_bundle, "{bundle}");
    }
}
