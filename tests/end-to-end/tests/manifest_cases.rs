//! Manifests that tools of this kind get wrong, modelled on public reports: each must be read as kubectl reads it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;

use end_to_end::{Folder, Ran, kube_devops, root, run};
use serde_json::Value;

fn case(name: &str) -> PathBuf {
    root().join("tests/end-to-end/manifests/cases").join(name)
}

fn analyze(path: PathBuf, arguments: &[&str]) -> Ran {
    run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(path).args(arguments))
}

fn analyze_text(text: &str) -> Ran {
    let folder = Folder::with([("manifest.yaml", text)]);
    analyze(folder.path().join("manifest.yaml"), &[])
}

/// Check, container and line of each violation, sorted.
fn violations(ran: &Ran) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line =
        |found: &Value| format!("{} {} {}", text(&found["check"]), text(&found["container"]), found["source"]["line"]);
    let mut lines: Vec<_> = ran.json()["violations"].as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

/// The latest-tag violations alone.
fn latest(ran: &Ran) -> Vec<String> {
    violations(ran).into_iter().filter_map(|line| line.strip_prefix("latest-tag ").map(str::to_owned)).collect()
}

/// Requires errors at these lines, whose messages hold these parts, and nothing evaluated.
#[track_caller]
fn assert_errors(ran: Ran, expected: &[(u64, &str)]) {
    let report = ran.exits(2).json();
    let errors = report["errors"].as_array().unwrap();
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error["source"]["line"].as_u64().unwrap(), error["message"].as_str().unwrap()))
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, message), (expected_line, part)) in found.iter().zip(expected) {
        assert!(line == expected_line && message.contains(part), "{line}: {message}, not {expected_line}: {part}");
    }
    assert!(report["score"].is_null() && report["grade"].is_null(), "{report}");
}

fn pod(containers: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n{containers}")
}

#[test]
fn an_alias_is_the_last_anchor_before_it() {
    assert_eq!(latest(&analyze(case("anchor-hidden-by-comment.yaml"), &[]).exits(0)), ["c 15"]);
    assert_eq!(latest(&analyze(case("anchor-defined-again.yaml"), &[]).exits(0)), ["c 15"]);
    assert_eq!(latest(&analyze(case("anchor-after-flow-bracket.yaml"), &[]).exits(0)), ["b 13", "d 17"]);
    assert!(violations(&analyze(case("anchor-reused-per-container.yaml"), &[]).exits(0)).is_empty());
    assert!(violations(&analyze(case("ampersand-in-text.yaml"), &[]).exits(0)).is_empty());
    // Hidden by other text than a comment.
    for hidden in ["'x &i y'", "\"a &i b\"", "x#&i", "|\n        &i text", "[a, '&i']"] {
        let text = pod(&format!(
            "  - name: a\n    image: &i a:1\n    args: {hidden}\n  - name: b\n    image: &i b:latest\n  - name: c\n    image: *i\n"
        ));
        let ran = analyze_text(&text).exits(0);
        assert_eq!(latest(&ran).iter().map(|line| &line[..1]).collect::<Vec<_>>(), ["b", "c"], "{hidden}");
    }
}

#[test]
fn a_duplicate_key_is_an_error_with_both_lines() {
    assert_errors(analyze(case("duplicate-spec.yaml"), &[]), &[(6, "duplicate key \"spec\" in lines 5 and 6")]);
    let merged = analyze(case("duplicate-image-with-merge.yaml"), &[]);
    assert_errors(merged, &[(10, "duplicate key \"image\" in lines 9 and 10; remove one of them")]);
    let lost = "in lines 1 and 7; a line `---` between two objects may be missing";
    assert_errors(analyze(case("lost-document-separator.yaml"), &[]), &[(7, lost)]);
    let plain = pod("  - name: a\n    image: a:1\n    image: a:latest\n");
    assert_errors(analyze_text(&plain), &[(8, "duplicate key \"image\" in lines 7 and 8; remove one of them")]);
    for other in [
        "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\ndata: {c: d}\n",
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  \"yes\": a\n  yes: b\n  true: c\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"data\": {\"a\": \"b\", \"a\": \"c\"}}",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec: {containers: []}\n  spec: {containers: []}\n",
    ] {
        let ran = analyze_text(other).exits(2);
        assert!(ran.errors().iter().any(|error| error.contains("duplicate key")), "{other}: {:?}", ran.errors());
    }
}

#[test]
fn lines_behind_a_bracket_are_right() {
    let ran = analyze(case("flow-bracket-lines.yaml"), &[]).exits(0);
    assert_eq!(latest(&ran), ["b 13", "c 15"]);
    for column in 0..8 {
        let blanks = " ".repeat(column);
        let text = pod(&format!("  - name: a\n    args: [\n{blanks}x\n{blanks}]\n    image: a:latest\n"));
        assert_eq!(latest(&analyze_text(&text).exits(0)), ["a 10"], "{column}");
    }
}

#[test]
fn what_kubectl_cannot_read_is_an_error() {
    assert_errors(
        analyze(case("kind-misspelt.yaml"), &[]),
        &[(1, "`Kind:`"), (6, "`Kind:`"), (12, "`kind: Pod`"), (17, "`kind: Deployment`"), (21, "kind is missing")],
    );
    assert_errors(analyze(case("top-level-list.yaml"), &[]), &[(1, "a list is not an object")]);
    assert_errors(analyze(case("unrendered-template.yaml"), &[]), &[(5, "looks like a Helm template")]);
    for text in ["\"{{ .Values.name }}\"", "a-{{ .Release.Name }}"] {
        let ran = analyze_text(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {text}\n"));
        assert_errors(ran, &[(4, "is not rendered; this looks like a Helm template")]);
    }
    let image = pod("  - name: a\n    image: \"{{ .Values.image }}\"\n");
    assert_errors(analyze_text(&image), &[(7, "the image {{ .Values.image }} of container a is not rendered")]);
}

#[test]
fn json_is_parsed_as_json() {
    assert_errors(analyze(case("json-with-comments.json"), &[]), &[(2, "JSON has no comments")]);
    for (text, part) in [
        (
            "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {\"containers\": [{\"image\": \"x:1\"},]}}",
            "trailing comma",
        ),
        ("{\"apiVersion\": \"v1\", /* a */ \"kind\": \"Pod\"}", "JSON has no comments"),
        (
            "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {\"containers\": [[\"a\", \"x:1\"]]}}",
            "a map is expected, not a list",
        ),
        ("{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": [[]]}", "a map is expected, not a list"),
    ] {
        assert_errors(analyze_text(text), &[(1, part)]);
    }
}

#[test]
fn an_invalid_image_pins_nothing() {
    let ran = analyze(case("malformed-images.yaml"), &[]).exits(0);
    assert_eq!(latest(&ran), ["at-latest 7", "digest-as-tag 9", "empty-digest 6", "nil-digest 8"]);
    for found in ran.json()["violations"].as_array().unwrap() {
        assert!(found["message"].as_str().unwrap().contains("is not a valid image reference: "), "{found}");
    }
    let ran = analyze_text(&pod("  - {name: a, image: 'app:${TAG}'}\n")).exits(0);
    assert!(ran.stdout.contains("image app:${TAG} has an unresolved placeholder ${TAG}"), "{}", ran.stdout);
}

#[test]
fn group_and_kind_decide_together() {
    let ran = analyze(case("job-of-another-group.yaml"), &[]).exits(0);
    assert_eq!(violations(&ran), ["latest-tag w 13"]);
    assert!(violations(&analyze(case("image-filled-by-trigger.yaml"), &[]).exits(0)).is_empty());
    let never = analyze(case("deployment-that-never-restarts.yaml"), &[]).exits(0);
    assert_eq!(violations(&never), ["missing-liveness w 10", "missing-readiness w 10"]);
    // A Pod may run to completion, and a Job does so whatever is written.
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{name: a, image: 'a:1'}]}}}\n";
    assert!(violations(&analyze_text(job).exits(0)).is_empty());
    let pod = pod("  - {name: a, image: 'a:1'}\n  restartPolicy: Never\n");
    assert!(violations(&analyze_text(&pod).exits(0)).is_empty());
}

#[test]
fn each_workload_counts_once() {
    let ran = analyze(case("exported-owner-chain.yaml"), &[]).exits(0);
    assert_eq!(latest(&ran).len(), 1);
    let report = ran.json();
    let counts = ["subjects", "owned", "scaledToZero"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(report["violations"][0]["kind"], "Deployment");
}

#[test]
fn patches_of_a_kustomization_are_left_out_and_counted() {
    let ran = analyze(case("kustomize"), &[]).exits(2);
    let report = ran.json();
    assert_eq!(report["patches"], 2);
    assert_eq!(latest(&ran), ["shop 8"]);
    // No kustomization names these.
    let errors: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|error| error["message"].as_str().unwrap()).collect();
    assert!(errors.len() == 2 && errors[1].contains("JSON patch of kustomize"), "{errors:?}");
    let text = run(kube_devops().args(["analyze", "-f"]).arg(case("kustomize"))).exits(2).stdout;
    assert!(text.contains("2 patch files of kustomize"), "{text}");
}

#[test]
fn an_object_without_a_namespace_is_in_the_one_asked_for() {
    let ran = analyze(case("no-namespace.yaml"), &["-n", "production"]).exits(0);
    assert_eq!(ran.json()["violations"][0]["namespace"], "production");
    assert_eq!(latest(&ran), ["c 7"]);
    let ran = analyze(case("no-namespace.yaml"), &["-n", "a", "-n", "b", "--fail-on", "low"]).exits(1);
    assert_eq!(ran.json()["filtered"], 1);
    ran.complains(&["gate not met: nothing was evaluated"]);
}
