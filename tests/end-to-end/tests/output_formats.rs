//! `analyze -o`: the machine-readable formats, validated against their schemas.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;

use end_to_end::objects::{bad_pod, documents, good_pod, in_namespace};
use end_to_end::{Folder, Ran, kube_devops, root, run, run_with_input};
use roxmltree::Document;
use serde_json::{Value, json};

fn analyze_examples(format: &str) -> Ran {
    run(kube_devops().args(["analyze", "-f", "examples/", "-o", format])).exits(0).is_quiet()
}

/// Analyzes a valid pod and an invalid document.
fn analyze_with_an_error(format: &str) -> Ran {
    let mut command = kube_devops();
    command.args(["analyze", "-f", "-", "-o", format]);
    run_with_input(&mut command, format!("{}---\nkind: Pod\n", documents(&[bad_pod("a")]))).exits(2)
}

fn schema(path: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(root().join(path)).unwrap();
    // The pattern is not valid ECMAScript; OASIS corrected it in the errata.
    let text = text.replace("^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$", "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

#[track_caller]
fn assert_valid(validator: &jsonschema::Validator, value: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn json_and_yaml_reports_match_the_documented_schema_and_are_equal() {
    let validator = schema("docs/report.schema.json");
    for analyze in [analyze_examples, analyze_with_an_error] {
        let json = analyze("json").json();
        assert_valid(&validator, &json);
        let yaml: Value = serde_norway::from_str(&analyze("yaml").stdout).unwrap();
        assert_eq!(yaml, json);
    }
}

#[test]
fn the_json_report_has_the_fields_that_scripts_rely_on() {
    let report = analyze_examples("json").json();
    assert_eq!((&report["score"], &report["classification"]), (&json!(75), &json!("Stable")));
    assert_eq!((&report["compliance"], &report["grade"]), (&json!(45.5), &json!("F")));
    assert_eq!(report["subjects"], 7);
    let critical = report["namespaces"].as_array().unwrap().iter().find(|it| it["classification"] == "Critical");
    let expected = json!({
        "name": "legacy", "score": 20, "classification": "Critical", "compliance": 20.0, "grade": "F", "subjects": 2,
        "violations": 16,
    });
    assert_eq!(critical, Some(&expected));
    let latest = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == "latest-tag").unwrap();
    assert_eq!((&latest["passed"], &latest["failed"]), (&json!(3), &json!(4)));
    let violation = report["violations"].as_array().unwrap().iter().find(|it| it["kind"] == "Rollout").unwrap();
    let expected = json!({
        "check": "latest-tag", "severity": "medium", "weight": 5, "magnitude": 1, "namespace": "staging",
        "kind": "Rollout", "name": "payments", "container": "payments",
        "field": "/spec/template/spec/containers/0/image",
        "message": "image registry.example.com:5000/shop/payments:latest uses the tag latest",
        "source": { "file": "examples/staging/checkout.yaml", "document": 2, "line": 39 },
    });
    assert_eq!(violation, &expected);
    assert_eq!(report["errors"], json!([]));
}

#[test]
fn the_report_contains_errors_with_their_location() {
    let report = analyze_with_an_error("json").json();
    assert_eq!(report["subjects"], 1);
    let error = &report["errors"][0];
    assert_eq!(error["source"], json!({ "file": "stdin", "document": 2, "line": 4 }));
    assert!(error["message"].as_str().unwrap().contains("has no containers"), "{error}");
}

#[test]
fn sarif_matches_the_schema_of_oasis() {
    let validator = schema("tests/schemas/sarif-2.1.0.json");
    for analyze in [analyze_examples, analyze_with_an_error] {
        assert_valid(&validator, &analyze("sarif").json());
    }
    assert!(!validator.is_valid(&json!({ "version": "2.1.0" })), "the schema rejects an invalid log");
}

#[test]
fn sarif_contains_every_violation_with_rule_file_and_line() {
    let log = analyze_examples("sarif").json();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 22);
    for result in results {
        let rule = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        let file = place["artifactLocation"]["uri"].as_str().unwrap();
        let lines = fs::read_to_string(root().join(file)).unwrap().lines().count() as u64;
        assert!((1..=lines).contains(&place["region"]["startLine"].as_u64().unwrap()), "{result}");
    }
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    assert_eq!(analyze_with_an_error("sarif").json()["runs"][0]["invocations"][0]["executionSuccessful"], false);
}

#[test]
fn junit_contains_failures_and_errors() {
    let text = analyze_examples("junit").stdout;
    let document = Document::parse(&text).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "testsuites");
    assert_eq!((root.attribute("failures"), root.attribute("errors")), (Some("22"), Some("0")));
    let suites: Vec<_> =
        root.children().filter(|node| node.is_element()).map(|node| node.attribute("name").unwrap()).collect();
    assert_eq!(suites, ["kube-devops", "legacy", "staging"]);
    let failures = root.descendants().filter(|node| node.has_tag_name("failure")).count();
    assert_eq!(failures, 22);

    let text = analyze_with_an_error("junit").stdout;
    let document = Document::parse(&text).unwrap();
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("error")).count(), 1);
}

#[test]
fn github_annotations_name_file_and_line() {
    let text = analyze_examples("github").stdout;
    let annotations: Vec<&str> = text.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(annotations.len(), 22);
    let expected = "::warning file=examples/staging/checkout.yaml,line=39,title=latest-tag (medium)::";
    assert_eq!(annotations.iter().filter(|line| line.starts_with(expected)).count(), 1, "{text}");
    let last = text.lines().last().unwrap();
    assert_eq!(last, "Score 75 (Stable), compliance 45.5 % (grade F), 22 violations, 0 errors");
}

#[test]
fn every_format_is_valid_without_violations_and_without_subjects() {
    for text in [good_pod("a").to_string(), "kind: Service\n".to_owned()] {
        let analyze = |format: &str| {
            let mut command = kube_devops();
            run_with_input(command.args(["analyze", "-f", "-", "-o", format]), text.as_str()).exits(0)
        };
        assert_valid(&schema("docs/report.schema.json"), &analyze("json").json());
        assert_valid(&schema("tests/schemas/sarif-2.1.0.json"), &analyze("sarif").json());
        assert_eq!(Document::parse(&analyze("junit").stdout).unwrap().root_element().attribute("failures"), Some("0"));
        assert_eq!(analyze("github").stdout.lines().count(), 1);
        assert!(serde_norway::from_str::<Value>(&analyze("yaml").stdout).unwrap().is_object());
    }
}

#[test]
fn an_unknown_format_is_rejected_with_the_available_formats() {
    let ran = run(kube_devops().args(["analyze", "-f", "examples/", "-o", "csv"])).exits(2);
    ran.complains(&["csv", "text", "json", "yaml", "sarif", "junit", "github"]);
}

#[test]
fn output_to_a_pipe_has_no_colours() {
    assert!(!analyze_examples("text").stdout.contains('\u{1b}'));
}

#[test]
fn control_characters_in_names_are_escaped() {
    let pod = in_namespace(bad_pod("a\u{1b}[2J\u{1b}[31m\n::error::forged\u{202e}"), "x\u{1b}[0m");
    for format in ["text", "json", "yaml", "sarif", "junit", "github"] {
        let mut command = kube_devops();
        let ran = run_with_input(command.args(["analyze", "-f", "-", "-o", format]), pod.to_string()).exits(0);
        assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{format}: {}", ran.stdout);
        assert!(!ran.stdout.lines().any(|line| line.starts_with("::error::forged")), "{format}: {}", ran.stdout);
    }
}

#[test]
fn a_closed_pipe_ends_the_program_without_an_error() {
    // More than a pipe holds, so that the program still writes after the reader has exited.
    let pods: Vec<Value> = (0..5_000).map(|index| bad_pod(&format!("pod-{index}"))).collect();
    let folder = Folder::with([("pods.yaml", documents(&pods))]);
    let file = folder.path().join("pods.yaml");
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "set -o pipefail; \"$0\" analyze -o json -f \"$1\" | head -n 1"]);
    let ran = run(shell.arg(end_to_end::program()).arg(&file)).exits(0).is_quiet();
    assert_eq!(ran.stdout, "{\n");

    // The gates and the other reports do not depend on the reader.
    let report = folder.path().join("report.xml");
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "set -o pipefail; \"$0\" analyze -o json -o junit=\"$2\" --fail-on low -f \"$1\" | head -n 1"]);
    let ran = run(shell.arg(end_to_end::program()).arg(file).arg(&report)).exits(1);
    assert!(ran.stderr.contains("gate not met"), "{}", ran.stderr);
    assert!(std::fs::read_to_string(report).unwrap().ends_with("</testsuites>\n"));
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "\"$0\" analyze -o text -o json=>(head -n 1 > /dev/null) --fail-on low -f \"$1\" > /dev/null"]);
    run(shell.arg(end_to_end::program()).arg(folder.path())).exits(1).complains(&["gate not met"]);
}
