//! Each manifest of `manifests/cases` with its complete result, and other manifests with the same kind of mistake.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use end_to_end::{Folder, Ran, kube_devops, root, run};
use serde_json::{Value, json};

/// The contents of a report, sorted by line.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    /// Container and line of the violations of latest-tag.
    latest: Vec<String>,
    /// Container and line of the violations of missing-liveness and of missing-readiness, which are equal in these
    /// manifests.
    probes: Vec<String>,
    /// The lines of the errors.
    errors: Vec<u64>,
}

fn case(name: &str) -> PathBuf {
    root().join("tests/end-to-end/manifests/cases").join(name)
}

fn analyze(path: &Path, arguments: &[&str]) -> Ran {
    run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(path).args(arguments))
}

fn analyze_named(name: &str, text: &str) -> Ran {
    let folder = Folder::with([(name, text)]);
    analyze(&folder.path().join(name), &[])
}

fn analyze_text(text: &str) -> Ran {
    analyze_named("manifest.yaml", text)
}

/// Returns a Pod with containers that start in line 6.
fn pod(containers: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n{containers}")
}

#[track_caller]
fn summary(ran: &Ran) -> Summary {
    let report = ran.json();
    let line = |value: &Value| value["source"]["line"].as_u64().unwrap();
    let of_check = |check: &str| {
        let violations = report["violations"].as_array().unwrap().iter();
        let mut found: Vec<_> = violations
            .filter(|violation| violation["check"] == check)
            .map(|violation| (line(violation), violation["container"].as_str().unwrap()))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(line, container)| format!("{container} {line}")).collect::<Vec<_>>()
    };
    let probes = of_check("missing-liveness");
    assert_eq!(probes, of_check("missing-readiness"), "{report:#}");
    let latest = of_check("latest-tag");
    let count = latest.len() + 2 * probes.len();
    assert_eq!(report["violations"].as_array().unwrap().len(), count, "another check has violations: {report:#}");
    Summary { latest, probes, errors: report["errors"].as_array().unwrap().iter().map(line).collect() }
}

/// Requires exactly these violations and no errors.
#[track_caller]
fn assert_violations(ran: Ran, latest: &[&str], probes: &[&str]) -> Value {
    let ran = ran.exits(0);
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(summary(&ran), Summary { latest: owned(latest), probes: owned(probes), errors: Vec::new() });
    ran.json()
}

/// Requires errors with these lines and message parts, and exit code 2.
#[track_caller]
fn assert_errors(ran: Ran, expected: &[(u64, &[&str])]) -> Value {
    let ran = ran.exits(2);
    let lines: Vec<_> = expected.iter().map(|(line, _)| *line).collect();
    let messages = ran.errors();
    assert_eq!(summary(&ran).errors, lines, "{messages:#?}");
    for (message, (_, parts)) in messages.iter().zip(expected) {
        for part in *parts {
            assert!(message.contains(part), "{part:?} is missing in {message}");
        }
    }
    ran.json()
}

/// Like [`assert_errors`], and requires that no subject was evaluated.
#[track_caller]
fn assert_only_errors(ran: Ran, expected: &[(u64, &[&str])]) {
    let report = assert_errors(ran, expected);
    assert_nothing_evaluated(&report);
}

/// Requires a report without subjects, which must not appear as a pass.
#[track_caller]
fn assert_nothing_evaluated(report: &Value) {
    assert_eq!((&report["subjects"], &report["violations"]), (&json!(0), &json!([])), "{report:#}");
    for key in ["score", "classification", "compliance", "grade"] {
        assert_eq!(report.get(key), Some(&Value::Null), "{key}");
    }
}

#[test]
fn anchors_in_comments_are_ignored() {
    assert_violations(analyze(&case("anchor-hidden-by-comment.yaml"), &[]), &["c 15"], &[]);
    assert_violations(analyze(&case("anchor-defined-again.yaml"), &[]), &["c 15"], &[]);
}

#[test]
fn anchors_in_other_text_are_ignored() {
    let text = r#"apiVersion: v1
kind: Pod
metadata:
  name: p
  annotations:
    a: &i reg.example.org/a:1
    b: &i reg.example.org/b:latest # and &i c:1
    folded: >-
      &i d:1
    literal: |
      x: &i e:1
    plain: text
      &i f:1
    single: 'it''s &i g:1'
    double: "h \
      &i h:1"
    in&i: x&i
x-flow: {k: '&i k:1', "l": "&i", m: z&i}
spec:
  containers:
  - name: c
    image: *i
    livenessProbe: {exec: {}}
    readinessProbe: {exec: {}}
"#;
    assert_violations(analyze_text(text), &["c 22"], &[]);
    let windows = pod(
        "  - name: a\n    image: &i a:1 # &i z:1\n  - name: b\n    image: &i b:latest\n  - name: c\n    image: *i\n",
    );
    assert_violations(analyze_text(&windows.replace('\n', "\r\n")), &["b 9", "c 11"], &["a 6", "b 8", "c 10"]);
}

#[test]
fn an_anchor_may_precede_a_value_in_every_notation() {
    let text = r#"apiVersion: v1
kind: Pod
metadata: {name: p}
x:
- &i !!str i:latest
- !!str &j j:latest
- &k
  k:latest
- &l "l:latest"
- ? &m m:latest
  : v
spec:
  containers:
  - {name: i, image: *i}
  - {name: j, image: *j}
  - {name: k, image: *k}
  - {name: l, image: *l}
  - {name: m, image: *m }
"#;
    let all = ["i 14", "j 15", "k 16", "l 17", "m 18"];
    assert_violations(analyze_text(text), &all, &all);
}

#[test]
fn an_anchor_is_redefined_after_brackets() {
    let probes = ["a 7", "b 12", "c 14", "d 16"];
    assert_violations(analyze(&case("anchor-after-flow-bracket.yaml"), &[]), &["b 13", "d 17"], &probes);
    for brackets in ["[\n]", "[\n    ]", "[[\n  x], [\n y]\n        ]", "[ # &i z:1 ]\n ]", "['&i ]', \"]\n \"]"] {
        let lines = brackets.matches('\n').count();
        let text = pod(&format!(
            "  - name: a\n    image: &i a:1\n    args: {brackets}\n  - name: b\n    image: &i b:latest\n  - name: c\n    image: *i\n"
        ));
        let (b, c) = (format!("b {}", lines + 10), format!("c {}", lines + 12));
        let ran = analyze_text(&text).exits(0);
        assert_eq!(summary(&ran).latest, [b, c], "{brackets}");
    }
}

#[test]
fn an_anchor_may_be_redefined_for_each_container() {
    let report = assert_violations(analyze(&case("anchor-reused-per-container.yaml"), &[]), &[], &[]);
    assert_eq!((&report["subjects"], &report["score"]), (&json!(1), &json!(100)));
    // An item of a list may use the anchor of another item; a document may not use the anchor of another document.
    let object = |name: &str, image: &str| {
        format!(
            "apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}}}\n  spec: {{containers: [{{name: {name}, image: {image}}}]}}\n"
        )
    };
    let items = [object("a", "&i a:1"), object("b", "&i b:latest"), object("c", "*i ")].map(|item| format!("- {item}"));
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}", items.concat());
    assert_violations(analyze_text(&list), &["b 11", "c 15"], &["a 7", "b 11", "c 15"]);
    let documents =
        [object("a", "&i a:latest"), object("b", "*i ")].map(|item| item.replace("\n  ", "\n")).join("---\n");
    let ran = analyze_text(&documents);
    assert_eq!(summary(&ran).latest, ["a 4"]);
    assert_errors(ran, &[(9, &["unknown anchor", "*i"])]);
}

#[test]
fn an_ampersand_in_text_is_not_an_anchor() {
    assert_violations(analyze(&case("ampersand-in-text.yaml"), &[]), &[], &[]);
    for text in [
        "a&b",
        "\"&\"",
        "'& &'",
        "a & b",
        "\"*a\"",
        "x*a",
        "\"&nbsp;&nbsp;\"",
        "|\n    &nbsp;\n    *nbsp",
        "[\"&a\", b&c]",
    ] {
        let text = pod(&format!("  - {{name: c, image: 'c:latest'}}\nx:\n  y: {text}\n"));
        assert_violations(analyze_text(&text), &["c 6"], &["c 6"]);
    }
}

#[test]
fn a_missing_separator_is_an_error_with_a_hint() {
    const HINT: &str = "a line `---` between two objects may be missing";
    let ran = analyze(&case("lost-document-separator.yaml"), &[]);
    assert_only_errors(ran, &[(7, &["duplicate key \"apiVersion\" in lines 1 and 7", HINT])]);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c, image: 'c:latest'}]}}}\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}\n";
    let kind_first = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: web}\n";
    for (first, second) in [(deployment, map), (map, deployment), (map, map)] {
        let ran = analyze_text(&format!("# Source: a.yaml\n{first}# Source: b.yaml\n{second}"));
        assert_only_errors(ran, &[(7, &["duplicate key \"apiVersion\" in lines 2 and 7", HINT])]);
    }
    let ran = analyze_text(&format!("{kind_first}{kind_first}"));
    assert_only_errors(ran, &[(4, &["duplicate key \"kind\" in lines 1 and 4", HINT])]);
    // The other documents are evaluated.
    let ran = analyze_text(&format!("{deployment}---\n{map}{map}---\n{deployment}"));
    assert_eq!(summary(&ran).latest, ["c 4", "c 18"]);
    assert_errors(ran, &[(10, &["in lines 6 and 10", HINT])]);
}

#[test]
fn duplicate_keys_are_errors_at_every_level() {
    let ran = analyze(&case("duplicate-spec.yaml"), &[]);
    assert_only_errors(ran, &[(6, &["duplicate key \"spec\" in lines 5 and 6", "remove one of them"])]);
    let in_item = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    containers: [{name: a, image: 'a:latest'}]\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec:\n    containers:\n    - name: b\n      image: b:1\n      image: b:latest\n";
    let ran = analyze_text(in_item);
    assert_eq!(summary(&ran).latest, ["a 8"]);
    assert_errors(ran, &[(16, &["duplicate key \"image\" in lines 15 and 16"])]);
    let documents = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\nspec: {containers: [{name: c, image: 'c:1'}]}\n";
    let ran = analyze_text(documents);
    assert!(ran.errors()[0].starts_with("manifest.yaml:2:9: "), "{:?}", ran.errors());
    assert_only_errors(ran, &[(9, &["duplicate key \"name\" in lines 8 and 9"])]);
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n \"metadata\": {\"name\": \"p\"},\n \"spec\": {\"containers\": [\n  {\"name\": \"c\", \"image\": \"c:1\",\n   \"image\": \"c:latest\"}]}}\n";
    assert_only_errors(analyze_named("pod.json", json), &[(5, &["duplicate key \"image\" in lines 4 and 5"])]);
    for (containers, line) in [
        ("  - name: a\n    \"image\": a:1\n    image: a:latest\n", 8),
        ("  - name: a\n    ? image\n    : a:1\n    image: a:latest\n", 9),
        ("  - {name: a, image: 'a:1',\n     image: 'a:latest'}\n", 7),
        ("  - name: a\n    image: a:1\n    env: [{name: A, value: b}]\n    env: []\n", 9),
    ] {
        assert_only_errors(analyze_text(&pod(containers)), &[(line, &["duplicate key"])]);
    }
}

#[test]
fn a_duplicate_key_next_to_a_merge_is_reported_with_its_line() {
    let message: &[&str] = &["duplicate key \"image\" in lines 9 and 10; remove one of them"];
    assert_only_errors(analyze(&case("duplicate-image-with-merge.yaml"), &[]), &[(10, message)]);
    // The message is the same without the merge.
    let plain = "apiVersion: v1\nkind: Pod\nmetadata: {name: m}\nx: {}\nspec:\n  containers:\n    -\n      name: c\n      image: busybox:1\n      image: busybox:latest\n";
    assert_only_errors(analyze_text(plain), &[(10, message)]);
    // A key is not a duplicate of a merged key. kubectl uses the last one, even if it is the merged one.
    let merged = "apiVersion: v1\nkind: Pod\nmetadata: {name: m}\nx: &x {image: 'x:latest'}\ny: &y {image: 'y:1'}\nspec:\n  containers:\n  - <<: *x\n    name: a\n  - <<: *x\n    name: b\n    image: b:1\n  - name: c\n    image: c:1\n    <<: *x\n  - name: d\n    image: d:latest\n    <<: *y\n";
    let ran = analyze_text(merged).exits(0);
    let summary = summary(&ran);
    assert_eq!(summary.latest.iter().map(|found| &found[..1]).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(summary.probes, ["a 8", "b 10", "c 13", "d 16"]);
}

#[test]
fn lines_after_brackets_are_those_of_the_file() {
    let ran = analyze(&case("flow-bracket-lines.yaml"), &[]);
    assert_violations(ran, &["b 13", "c 15"], &["a 7", "b 12", "c 14"]);
    let text = r#"apiVersion: v1
kind: Pod
metadata:
  name: p
  labels: {
 a: b
  }
spec:
  containers:
  - name: a
    command: ["sh",
"-c",
      "echo ]"
  ]
    image: a:latest
    env: [{name: A,
      value: "}"}, {
    name: B, value: c
    }]
  - { name: b,
      image:
        b:latest
    }
  - name: c
    image: "c:latest"
"#;
    assert_violations(analyze_text(text), &["a 15", "b 21", "c 25"], &["a 10", "b 20", "c 24"]);
}

#[test]
fn an_unrendered_template_is_an_error_with_a_hint() {
    const HINT: &[&str] = &["this looks like a Helm template", "helm template . | kube-devops analyze -f -"];
    assert_only_errors(analyze(&case("unrendered-template.yaml"), &[]), &[(5, HINT)]);
    let end = "spec: {containers: [{name: c, image: 'c:1'}]}\n";
    for (text, line) in [
        (
            format!(
                "{{{{- if .Values.enabled }}}}\napiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\n{end}{{{{- end }}}}\n"
            ),
            1,
        ),
        (format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{{{ include \"x\" . }}}}-web\n{end}"), 4),
        (format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"{{{{ .Release.Name }}}}-web\"\n{end}"), 4),
        (
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels:\n    {{{{- include \"l\" . | nindent 4 }}}}\n{end}"
            ),
            6,
        ),
        (pod("  - name: c\n    image: {{ .Values.image }}\n"), 7),
        (pod("  - name: c\n    image: \"reg.example.org/c:{{ .Chart.AppVersion }}\"\n"), 7),
    ] {
        assert_only_errors(analyze_text(&text), &[(line, HINT)]);
    }
    // Braces also have other uses.
    let text = pod("  - name: c\n    image: c:latest\n    args: [\"--format={{ .Name }}\"]\n");
    assert_violations(analyze_text(&text), &["c 7"], &["c 6"]);
}

#[test]
fn an_object_without_a_namespace_is_in_the_selected_namespace() {
    let file = case("no-namespace.yaml");
    for (arguments, namespace) in [(&[][..], "default"), (&["-n", "production"], "production")] {
        let report = assert_violations(analyze(&file, arguments), &["c 7"], &["c 7"]);
        assert_eq!((&report["violations"][0]["namespace"], &report["filtered"]), (&json!(namespace), &json!(0)));
    }
    analyze(&file, &["-n", "production", "--fail-on", "low"]).exits(1);
    let two = ["-n", "a", "-n", "b"];
    let ran = analyze(&file, &two).exits(0).complains(&["nothing was evaluated", "(1 filtered out)"]);
    assert_nothing_evaluated(&ran.json());
    assert_eq!(ran.json()["filtered"], 1);
    for gate in [&["--fail-on", "low"][..], &["--min-score", "1"], &["--min-compliance", "1"], &["--fail-on-empty"]] {
        let ran = analyze(&file, &[&two[..], gate].concat()).exits(1);
        assert_nothing_evaluated(&ran.json());
        ran.complains(&["gate not met: nothing was evaluated"]);
    }
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: production}\nspec: {containers: [{name: a, image: 'a:latest'}]}\n";
    let all = ["production", "other", "\"\""].map(|namespace| text.replace("production", namespace)).join("---\n");
    let folder = Folder::with([("manifest.yaml", all)]);
    let report = assert_violations(analyze(folder.path(), &["-n", "production"]), &["a 4", "a 14"], &["a 4", "a 14"]);
    assert_eq!((&report["subjects"], &report["filtered"]), (&json!(2), &json!(1)));
}

#[test]
fn a_job_is_identified_by_group_and_kind() {
    assert_violations(analyze(&case("job-of-another-group.yaml"), &[]), &["w 13"], &[]);
    let job = |api_version: &str| {
        format!(
            "apiVersion: {api_version}\nkind: Job\nmetadata: {{name: j}}\nspec: {{tasks: [{{template: {{spec: {{containers: [{{name: c, image: 'c:latest'}}]}}}}}}]}}\n"
        )
    };
    assert_violations(analyze_text(&job("batch.volcano.sh/v1")), &["c 4"], &[]);
    assert_only_errors(analyze_text(&job("batch/v1")), &[(1, &["Job default/j has no containers"])]);
    let report = assert_violations(analyze_text(&job("example.com/v1")), &[], &[]);
    assert_eq!((&report["notEvaluated"][0]["kind"], &report["ignored"]["Job"]), (&json!("Job"), &json!(1)));
    assert_nothing_evaluated(&report);
    let empty = "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: j}\nspec: {tasks: []}\n";
    assert_nothing_evaluated(&assert_violations(analyze_text(empty), &[], &[]));
}

#[test]
fn replicas_of_another_group_are_not_interpreted() {
    let text = "apiVersion: example.com/v1\nkind: ReplicaSet\nmetadata: {name: a}\nspec: {replicas: 0, template: {spec: {containers: [{name: c, image: 'c:latest'}]}}}\n";
    let report = assert_violations(analyze_text(text), &["c 4"], &["c 4"]);
    assert_eq!((&report["subjects"], &report["scaledToZero"]), (&json!(1), &json!(0)));
}

#[test]
fn owners_are_matched_by_group() {
    let text = "apiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: c, image: 'c:1'}]}}}\n---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: a-1, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: a, uid: u, controller: true}]}\nspec: {template: {spec: {containers: [{name: c, image: 'c:latest'}]}}}\n";
    let report = assert_violations(analyze_text(text), &["c 9"], &["c 4", "c 9"]);
    assert_eq!((&report["subjects"], &report["owned"]), (&json!(2), &json!(0)));
}

#[test]
fn a_document_that_is_not_an_object_is_an_error() {
    const HINT: &[&str] = &["a list is not an object, and kubectl cannot read it", "`kind: List`", "`---`"];
    assert_only_errors(analyze(&case("top-level-list.yaml"), &[]), &[(1, HINT)]);
    let json = "[{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"c\"}]}}]";
    assert_only_errors(analyze_named("list.json", json), &[(1, HINT)]);
    assert_only_errors(analyze_text("[]\n"), &[(1, HINT)]);
    let good = pod("  - {name: c, image: 'c:latest'}\n");
    let ran = analyze_text(&format!("{good}---\njust text\n---\n- 1\n---\n# a comment\n---\n{good}"));
    assert_eq!(summary(&ran).latest, ["c 6", "c 19"]);
    assert_errors(ran, &[(8, &["an object is expected", "that is a scalar"]), (10, HINT)]);
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: {containers: [{name: a, image: 'a:latest'}]}\n- - apiVersion: v1\n    kind: Pod\n    spec: {containers: [{name: b, image: 'b:latest'}]}\n- text\n";
    let ran = analyze_text(list);
    assert_eq!(summary(&ran).latest, ["a 7"]);
    assert_errors(ran, &[(8, HINT), (11, &["an object is expected"])]);
}

#[test]
fn a_misspelt_kind_is_an_error_of_each_document() {
    let ran = analyze(&case("kind-misspelt.yaml"), &[]);
    assert_only_errors(
        ran,
        &[
            (1, &["kind-misspelt.yaml:1:1: kind is missing", "`Kind:` is not read; write `kind:`"]),
            (6, &["kind-misspelt.yaml:2:6: kind is missing", "`Kind:` is not read; write `kind:`"]),
            (12, &["kind-misspelt.yaml:3:12: unknown kind \"pod\" in v1", "write `kind: Pod`"]),
            (17, &["kind-misspelt.yaml:4:17: unknown kind \"deployment\" in apps/v1", "write `kind: Deployment`"]),
            (21, &["kind-misspelt.yaml:5:21: kind is missing", "as in `kind: Deployment`"]),
        ],
    );
    let suggests = |api_version: &str, kind: &str, expected: &str| {
        let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n");
        assert_only_errors(analyze_text(&text), &[(2, &[kind, &format!("write `kind: {expected}`")])]);
    };
    suggests("batch/v1", "Cronjob", "CronJob");
    suggests("batch/v1beta1", "cronJob", "CronJob");
    suggests("apps/v1", "StatefulSEt", "StatefulSet");
    suggests("apps/v1beta2", "Daemonset", "DaemonSet");
    suggests("extensions/v1beta1", "DEPLOYMENT", "Deployment");
    suggests("v1", "Configmap", "ConfigMap");
    suggests("v1", "replicationController", "ReplicationController");
    for (text, line) in [
        ("KIND: Pod\napiVersion: v1\n", 1),
        ("apiVersion: v1\nkind:\nmetadata: {name: x}\n", 1),
        ("apiVersion: v1\nkind: ''\nmetadata: {name: x}\n", 1),
        ("apiVersion: v1\nkind: [Pod]\nmetadata: {name: x}\n", 2),
        ("apiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: Cronjob\n  metadata: {name: x}\n", 5),
    ] {
        assert_only_errors(analyze_text(text), &[(line, &["kind"])]);
    }
}

#[test]
fn a_misspelt_kind_of_another_group_of_the_table_is_an_error() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: workflow\nmetadata: {name: x}\nspec: {templates: [{name: t, container: {image: 'c:latest'}}]}\n";
    assert_only_errors(analyze_text(text), &[(2, &["workflow", "write `kind: Workflow`"])]);
}

#[test]
fn invalid_json_is_an_error_with_a_reason() {
    let ran = analyze(&case("json-with-comments.json"), &[]);
    assert_only_errors(ran, &[(2, &["invalid JSON", "JSON has no comments"])]);
    let comma = "{\n \"apiVersion\": \"v1\",\n \"kind\": \"Pod\",\n \"metadata\": {\"name\": \"p\"},\n \"spec\": {\"containers\": [\n  {\"name\": \"c\", \"image\": \"c:latest\",}\n ]}\n}\n";
    let list = comma.replace("\",}\n ]", "\"},\n ]");
    let block = comma.replace("\"Pod\",", "\"Pod\", /* a comment */").replace("\",}", "\"}");
    for (text, line, part) in
        [(comma, 6, "trailing comma"), (&list, 7, "trailing comma"), (&block, 3, "JSON has no comments")]
    {
        for name in ["pod.json", "pod.yaml"] {
            assert_only_errors(analyze_named(name, text), &[(line, &["invalid JSON", part])]);
        }
    }
    let cut = &comma[..comma.find("\"spec\"").unwrap()];
    assert_eq!(summary(&analyze_named("pod.json", cut).exits(2)).errors.len(), 1);
    let urls = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\", \"annotations\": {\"a\": \"http://x // y\", \"b\": \"/* z */\", \"c\": \",}\"}},\n \"spec\": {\"containers\": [\n  {\"name\": \"c\", \"image\": \"c:latest\"}]}}\n";
    assert_violations(analyze_named("pod.json", urls), &["c 3"], &["c 3"]);
}

#[test]
fn an_invalid_image_reference_is_a_violation() {
    let all = ["empty-digest 6", "at-latest 7", "nil-digest 8", "digest-as-tag 9"];
    let report = assert_violations(analyze(&case("malformed-images.yaml"), &[]), &all, &[]);
    for violation in report["violations"].as_array().unwrap() {
        let message = violation["message"].as_str().unwrap();
        let reason = match violation["container"].as_str().unwrap() {
            "empty-digest" => "exactly 64 lower-case hexadecimal digits",
            "at-latest" => "latest after @ is not a digest",
            "nil-digest" => "%!s(<nil>) after @ is not a digest",
            _ => "the tag has a colon",
        };
        assert!(message.contains("is not a valid image reference: ") && message.contains(reason), "{message}");
    }
    let digest = "1".repeat(64);
    let images = [
        "a:",
        "a:1@",
        "reg.example.org/A:1",
        "a:1 ",
        " a:1",
        "a@sha256:abc",
        "a:1@sha512:11",
        "a//b:1",
        "a:-1",
        "https://a/b:1",
        "a:1:2",
        "-a:1",
        "a:<tag>",
        "%!s(<nil>)",
        ":1",
    ];
    let images = images
        .map(str::to_owned)
        .into_iter()
        .chain([format!("@sha256:{digest}"), format!("a@sha256:{}", "g".repeat(64))]);
    for image in images {
        let ran = analyze_text(&pod(&format!("  - {{name: c, image: \"{image}\"}}\n")));
        let report = assert_violations(ran, &["c 6"], &["c 6"]);
        let messages = report["violations"].to_string();
        assert!(messages.contains("is not a valid image reference: "), "{image}: {messages}");
    }
    for image in [
        format!("a@sha256:{digest}"),
        format!("a:latest@sha256:{digest}"),
        "reg.example.org:5000/a/b_c:v1.0-x_Y".to_owned(),
    ] {
        assert_violations(analyze_text(&pod(&format!("  - {{name: c, image: \"{image}\"}}\n"))), &[], &["c 6"]);
    }
}

#[test]
fn an_image_trigger_sets_the_images_it_names() {
    let report = assert_violations(analyze(&case("image-filled-by-trigger.yaml"), &[]), &[], &[]);
    assert_eq!(report["subjects"], 1);
    let text = r#"apiVersion: apps.openshift.io/v1
kind: DeploymentConfig
metadata: {name: dc}
spec:
  triggers:
  - type: ConfigChange
  - type: ImageChange
    imageChangeParams: {containerNames: [web, init], from: {kind: ImageStreamTag, name: "web:latest"}}
  template:
    spec:
      initContainers:
      - {name: init, image: ' '}
      - {name: init-other, image: 'b:latest'}
      containers:
      - {name: web, image: 'web:latest'}
      - {name: blank, image: ' '}
      - {name: none}
"#;
    let latest = ["init-other 13", "blank 16", "none 17"];
    assert_violations(analyze_text(text), &latest, &["web 15", "blank 16", "none 17"]);
}

#[test]
fn image_triggers_of_another_group_are_not_interpreted() {
    let text = "apiVersion: example.com/v1\nkind: DeploymentConfig\nmetadata: {name: dc}\nspec:\n  triggers: [{type: ImageChange, imageChangeParams: {containerNames: [web], from: {name: 'web:1'}}}]\n  template: {spec: {containers: [{name: web, image: 'web:latest'}]}}\n";
    assert_violations(analyze_text(text), &["web 6"], &["web 6"]);
}

#[test]
fn a_restart_policy_does_not_exempt_a_long_running_workload_from_probes() {
    assert_violations(analyze(&case("deployment-that-never-restarts.yaml"), &[]), &[], &["w 10"]);
    let workload = |api_version: &str, kind: &str, policy: &str| {
        format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: w}}\nspec:\n  template:\n    spec:\n      restartPolicy: {policy}\n      containers: [{{name: w, image: 'w:1'}}]\n"
        )
    };
    for (api_version, kind) in [
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("apps.kruise.io/v1alpha1", "CloneSet"),
    ] {
        for policy in ["Never", "OnFailure"] {
            assert_violations(analyze_text(&workload(api_version, kind, policy)), &[], &["w 8"]);
        }
    }
    assert_violations(analyze_text(&workload("batch/v1", "Job", "Never")), &[], &[]);
    let expected: &[&str] = &["restartPolicy", "one of Always, OnFailure, Never", "\"never\""];
    assert_only_errors(analyze_text(&workload("apps/v1", "Deployment", "never")), &[(7, expected)]);
}

#[test]
fn an_owner_chain_is_evaluated_once() {
    let report = assert_violations(analyze(&case("exported-owner-chain.yaml"), &[]), &["c 7"], &["c 7"]);
    let counts = ["subjects", "owned", "scaledToZero", "filtered"].map(|key| &report[key]);
    assert_eq!(counts, [1, 1, 1, 0]);
    let found = &report["violations"][0];
    // YAML 1.1 reads the namespace n as a boolean, and kubectl drops it.
    assert_eq!(
        (&found["kind"], &found["name"], &found["namespace"]),
        (&json!("Deployment"), &json!("web"), &json!("default"))
    );
}

#[test]
fn owner_chains_are_matched_by_namespace_kind_and_name() {
    let object = |kind: &str, name: &str, namespace: &str, owner: &str, spec: &str| {
        let group = if matches!(kind, "Job" | "CronJob") { "batch" } else { "apps" };
        let owners = match owner.split_once('/') {
            Some((kind, name)) => format!(
                ", ownerReferences: [{{apiVersion: {group}/v1, kind: {kind}, name: {name}, uid: u, controller: true}}]"
            ),
            None => String::new(),
        };
        let template = "template: {spec: {containers: [{name: c, image: 'c:latest'}]}}";
        let spec = if kind == "CronJob" {
            format!("jobTemplate: {{spec: {{{template}}}}}")
        } else {
            format!("{spec}{template}")
        };
        format!(
            "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{owners}}}\nspec: {{{spec}}}\n"
        )
    };
    let count = |objects: &[String]| {
        let report = analyze_text(&objects.join("---\n")).exits(0).json();
        ["subjects", "owned", "scaledToZero"].map(|key| report[key].as_u64().unwrap())
    };
    let web = object("Deployment", "web", "one", "", "");
    assert_eq!(count(&[web.clone(), object("ReplicaSet", "web-1", "one", "Deployment/web", "")]), [1, 1, 0]);
    // The owner may follow its dependent.
    assert_eq!(count(&[object("ReplicaSet", "web-1", "one", "Deployment/web", ""), web.clone()]), [1, 1, 0]);
    assert_eq!(count(&[web.clone(), object("ReplicaSet", "web-1", "two", "Deployment/web", "")]), [2, 0, 0]);
    assert_eq!(count(&[web.clone(), object("ReplicaSet", "web-1", "one", "Deployment/other", "")]), [2, 0, 0]);
    assert_eq!(count(&[web.clone(), object("ReplicaSet", "web-1", "one", "StatefulSet/web", "")]), [2, 0, 0]);
    let nightly = object("CronJob", "nightly", "one", "", "");
    assert_eq!(count(&[nightly, object("Job", "nightly-1", "one", "CronJob/nightly", "")]), [1, 1, 0]);
    // No pod runs, even without an owner in the input.
    assert_eq!(count(&[object("ReplicaSet", "alone", "one", "", "replicas: 0, ")]), [0, 0, 1]);
    assert_eq!(count(&[object("ReplicaSet", "alone", "one", "Deployment/gone", "replicas: 0, ")]), [0, 0, 1]);
    assert_eq!(count(&[object("ReplicaSet", "alone", "one", "", "replicas: 1, ")]), [1, 0, 0]);
    // A Deployment can be scaled up again at any time.
    assert_eq!(count(&[object("Deployment", "web", "one", "", "replicas: 0, ")]), [1, 0, 0]);
    let alone = object("ReplicaSet", "alone", "one", "", "replicas: 0, ");
    assert_nothing_evaluated(&analyze_text(&alone).exits(0).json());
}

#[test]
fn workloads_that_own_themselves_or_each_other_are_evaluated() {
    let deployment = |name: &str, owner: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: {owner}, uid: u, controller: true}}]}}\nspec: {{template: {{spec: {{containers: [{{name: c, image: 'c:latest'}}]}}}}}}\n"
        )
    };
    let report = assert_violations(analyze_text(&deployment("web", "web")), &["c 4"], &["c 4"]);
    assert_eq!((&report["subjects"], &report["owned"]), (&json!(1), &json!(0)));
    let both = [deployment("a", "b"), deployment("b", "a")].join("---\n");
    let report = assert_violations(analyze_text(&both), &["c 4", "c 9"], &["c 4", "c 9"]);
    assert_eq!((&report["subjects"], &report["owned"]), (&json!(2), &json!(0)));
}

#[test]
fn an_owner_that_is_filtered_out_does_not_hide_its_pods() {
    let text = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c, image: 'c:latest'}]}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-x, labels: {app: web}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: u, controller: true}]}\nspec: {containers: [{name: c, image: 'c:latest'}]}\n";
    let folder = Folder::with([("own.yaml", text)]);
    let counts = |arguments: &[&str]| {
        let report = analyze(&folder.path().join("own.yaml"), arguments).exits(0).json();
        ["subjects", "owned", "filtered"].map(|key| report[key].as_u64().unwrap())
    };
    assert_eq!(counts(&[]), [1, 1, 0]);
    assert_eq!(counts(&["-l", "app=web"]), [1, 0, 1]);
    assert_eq!(counts(&["-l", "app=other"]), [0, 0, 2]);
}

#[test]
fn patches_of_a_kustomization_are_skipped_and_counted() {
    let ran = analyze(&case("kustomize"), &[]);
    assert_eq!(summary(&ran).latest, ["shop 8"]);
    assert_eq!(summary(&ran).probes, ["shop 8"]);
    // The kustomization does not name these patches.
    let delete: &[&str] = &["patch-delete.yaml:1:1: ", "no containers"];
    let json_patch: &[&str] = &["patch6902.yaml:1:1: ", "this looks like a JSON patch of kustomize"];
    let report = assert_errors(ran, &[(1, delete), (1, json_patch)]);
    let counts = ["subjects", "patches"].map(|key| &report[key]);
    assert_eq!(counts, [1, 2]);
    assert_eq!(report["ignored"], json!({"Kustomization": 1}));
    let text = run(kube_devops().args(["analyze", "-f"]).arg(case("kustomize"))).exits(2).stdout;
    assert!(text.contains("2 kustomize patch files (--kustomize evaluates the rendered manifests)"), "{text}");
}

#[test]
fn patches_are_skipped_for_every_key_that_names_them() {
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n";
    let operation = "- {op: replace, path: /spec/replicas, value: 2}\n";
    let app = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c, image: 'c:latest'}]}}}\n";
    let base = "resources: [app.yaml]\npatchesStrategicMerge:\n- ./merge.yaml\n- |-\n  apiVersion: apps/v1\n  kind: Deployment\n";
    let over = "resources: [../base]\npatchesJson6902:\n- target: {version: v1, kind: Deployment, name: web}\n  path: p/../p/operation.yaml\npatches:\n- patch: |-\n    - {op: remove, path: /spec}\n- path: ../base/shared.yaml\n- path: missing.yaml\n";
    let folder = Folder::with([
        ("base/kustomization.yml", base),
        ("base/app.yaml", app),
        ("base/merge.yaml", patch),
        ("base/shared.yaml", patch),
        ("over/Kustomization", over),
        ("over/p/operation.yaml", operation),
    ]);
    let report = assert_violations(analyze(folder.path(), &[]), &["c 4"], &["c 4"]);
    assert_eq!(report["patches"], 3);
    // A patch file given by name is read.
    assert_only_errors(analyze(&folder.path().join("base/merge.yaml"), &[]), &[(1, &["no containers"])]);
    let hint: &[&str] = &["JSON patch of kustomize"];
    assert_only_errors(analyze(&folder.path().join("over/p/operation.yaml"), &[]), &[(1, hint)]);
}
