//! `--fail-on`, `--min-score` and `--min-compliance`: the exit codes 0, 1 and 2.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use end_to_end::objects::{bad_pod, documents, good_pod};
use end_to_end::{Folder, Ran, kube_devops, run, run_with_input};
use serde_json::json;

/// Evaluates a pod with all violations and one without: score 95, compliance 50 %.
fn evaluate(arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "-f", "-"]).args(arguments);
    run_with_input(&mut command, documents(&[bad_pod("bad"), good_pod("good")]))
}

/// Evaluates the same pods under a policy with one severity for all violations.
fn evaluate_with_severity(severity: &str, arguments: &[&str]) -> Ran {
    let policy = json!({
        "apiVersion": "devops.stochastic.io/v1",
        "kind": "DevOpsPolicy",
        "metadata": { "name": "test" },
        "spec": { "forbidLatestTag": true, "severityOverrides": { "latestTag": severity } },
    });
    let folder = Folder::with([("policy.yaml", policy.to_string())]);
    let path = folder.path().join("policy.yaml");
    evaluate(&[&["--policy", path.to_str().unwrap()], arguments].concat())
}

#[test]
fn without_gates_violations_do_not_fail() {
    evaluate(&[]).exits(0).is_quiet();
}

#[test]
fn fail_on_is_met_by_less_severe_violations() {
    let severities = ["low", "medium", "high", "critical"];
    for (worst, severity) in severities.iter().enumerate() {
        for (threshold, gate) in severities.iter().enumerate() {
            let ran = evaluate_with_severity(severity, &["--fail-on", gate]);
            if worst >= threshold {
                ran.exits(1).complains(&[
                    "gate not met: ",
                    &format!("with severity {gate} or higher, the highest is {severity}"),
                ]);
            } else {
                ran.exits(0).is_quiet();
            }
        }
    }
}

#[test]
fn fail_on_reports_the_number_of_violations_in_singular_and_plural() {
    evaluate(&["--fail-on", "low"])
        .exits(1)
        .complains(&["gate not met: 3 violations with severity low or higher, the highest is medium\n"]);
    let ran = evaluate_with_severity("high", &["--fail-on", "high"]).exits(1);
    assert_eq!(ran.stderr, "gate not met: 1 violation with severity high or higher, the highest is high\n");
}

#[test]
fn all_gates_are_met_without_violations() {
    let mut command = kube_devops();
    command.args(["analyze", "-f", "-", "--fail-on", "low", "--min-score", "100", "--min-compliance", "100"]);
    run_with_input(&mut command, good_pod("good").to_string()).exits(0).is_quiet();
}

#[test]
fn a_score_below_the_minimum_fails() {
    for (minimum, code) in [("0", 0), ("94", 0), ("95", 0), ("96", 1), ("100", 1)] {
        let ran = evaluate(&["--min-score", minimum]).exits(code);
        let message =
            if code == 0 { String::new() } else { format!("gate not met: the health score 95 is below {minimum}\n") };
        assert_eq!(ran.stderr, message);
    }
}

#[test]
fn a_compliance_below_the_minimum_fails() {
    for (minimum, code) in [("0", 0), ("49.9", 0), ("50", 0), ("50.0", 0), ("50.1", 1), ("100", 1)] {
        let ran = evaluate(&["--min-compliance", minimum]).exits(code);
        let message = if code == 0 {
            String::new()
        } else {
            format!("gate not met: the compliance of 50.0 % is below {minimum} %\n")
        };
        assert_eq!(ran.stderr, message);
    }
}

#[test]
fn every_failed_gate_is_reported() {
    let all = ["--fail-on", "medium", "--min-score", "96", "--min-compliance", "90"];
    let ran = evaluate(&all).exits(1);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.starts_with("gate not met: ")), "{}", ran.stderr);
    let one = ["--fail-on", "high", "--min-score", "95", "--min-compliance", "90"];
    let ran = evaluate(&one).exits(1);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    evaluate(&["--fail-on", "high", "--min-score", "95", "--min-compliance", "50"]).exits(0).is_quiet();
}

#[test]
fn gates_do_not_change_the_report() {
    assert_eq!(evaluate(&["--fail-on", "low"]).stdout, evaluate(&[]).stdout);
    for format in ["text", "yaml", "sarif", "junit", "github"] {
        let report = |arguments: &[&str]| {
            run(kube_devops().args(["analyze", "-f", "examples", "-o", format]).args(arguments)).stdout
        };
        assert_eq!(report(&["--min-score", "100"]), report(&[]), "{format}");
    }
}

#[test]
fn evaluation_errors_take_precedence_over_gates() {
    let folder = Folder::with([("bad.json", bad_pod("bad").to_string()), ("broken.yaml", "kind: [\n".to_owned())]);
    let evaluate = |arguments: &[&str]| {
        run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(folder.path()).args(arguments)).exits(2)
    };
    evaluate(&[]).complains(&["not everything was evaluated"]);
    let ran = evaluate(&["--fail-on", "low", "--min-score", "100"]);
    let ran = ran.complains(&["gate not met: ", "not everything was evaluated"]);
    assert_eq!(ran.json()["subjects"], 1);
    evaluate(&["--fail-on", "critical"]).complains(&["not everything was evaluated"]);
}

#[test]
fn gates_apply_to_the_selected_namespaces_only() {
    let mut command = kube_devops();
    command.args(["analyze", "-f", "examples", "-n", "shop", "--fail-on", "low", "--min-compliance", "100"]);
    run(&mut command).exits(0).is_quiet();
    let mut command = kube_devops();
    run(command.args(["analyze", "-f", "examples", "-n", "legacy", "--min-score", "21"])).exits(1);
}

#[test]
fn no_gate_is_met_without_evaluated_subjects() {
    for gate in
        [&["--min-score", "0"][..], &["--min-compliance", "0"], &["--fail-on", "critical"], &["--fail-on-empty"]]
    {
        let mut command = kube_devops();
        command.args(["analyze", "-o", "json", "-f", "examples", "-n", "no-such"]).args(gate);
        let ran = run(&mut command).exits(1);
        let ran =
            ran.complains(&["warning: nothing was evaluated: none of the", "gate not met: nothing was evaluated"]);
        let report = ran.json();
        assert!(
            ["score", "classification", "compliance", "grade"].iter().all(|key| report[*key].is_null()),
            "{report}"
        );
    }
    let mut command = kube_devops();
    let ran = run(command.args(["analyze", "-f", "examples", "-n", "no-such"])).exits(0);
    assert!(ran.stdout.contains("Cluster Status             : not evaluated\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("Healthy") && !ran.stdout.contains("grade"), "{}", ran.stdout);
}

#[test]
fn no_gate_is_met_if_no_check_applies() {
    let check = |id: &str| json!({ "check": id });
    let policy = json!({
        "apiVersion": "devops.stochastic.io/v1",
        "kind": "DevOpsPolicy",
        "metadata": { "name": "runtime" },
        "spec": { "checks": [check("high-restarts"), check("pending")] },
    });
    let folder = Folder::with([("policy.yaml", policy.to_string()), ("pod.yaml", bad_pod("bad").to_string())]);
    let evaluate = |arguments: &[&str]| {
        let mut command = kube_devops();
        command.args(["analyze", "--policy"]).arg(folder.path().join("policy.yaml"));
        run(command.arg("-f").arg(folder.path().join("pod.yaml")).args(arguments))
    };
    for gate in [&["--min-score", "100"][..], &["--min-compliance", "100"], &["--fail-on", "low"], &["--fail-on-empty"]]
    {
        let ran = evaluate(&[&["-o", "json"], gate].concat()).exits(1);
        let ran = ran.complains(&["which none of them has: high-restarts, pending", "gate not met: nothing was"]);
        let report = ran.json();
        assert!(["score", "compliance", "grade"].iter().all(|key| report[*key].is_null()), "{report}");
    }
    let ran = evaluate(&[]).exits(0).complains(&["warning: nothing was evaluated: none of the checks applies"]);
    assert!(ran.stdout.contains("Cluster Status             : not evaluated\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("No violations"), "{}", ran.stdout);
}

#[test]
fn invalid_values_are_usage_errors() {
    for (arguments, parts) in [
        (&["--fail-on", "catastrophic"][..], &["catastrophic", "low, medium, high, critical"][..]),
        (&["--fail-on", "HIGH"], &["HIGH", "possible values"]),
        (&["--fail-on", ""], &["--fail-on"]),
        (&["--fail-on"], &["--fail-on"]),
        (&["--min-score", "101"], &["101", "0..=100"]),
        (&["--min-score=-1"], &["-1"]),
        (&["--min-score", "90.5"], &["90.5"]),
        (&["--min-score", "good"], &["good"]),
        (&["--min-compliance", "100.1"], &["100.1", "between 0 and 100"]),
        (&["--min-compliance=-0.1"], &["between 0 and 100"]),
        (&["--min-compliance", "NaN"], &["between 0 and 100"]),
        (&["--min-compliance", "inf"], &["between 0 and 100"]),
        (&["--min-compliance", "90%"], &["90%", "not a number"]),
        (&["--min-score", "1", "--min-score", "2"], &["cannot be used multiple times"]),
        (&["--min-sore", "1"], &["--min-sore", "--min-score"]),
        (&["-o", "xml"], &["xml", "sarif"]),
    ] {
        let mut command = kube_devops();
        let ran = run(command.args(["analyze", "-f", "examples"]).args(arguments)).exits(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        ran.complains(parts);
    }
}
