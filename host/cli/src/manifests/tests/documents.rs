//! How a text is split into documents.

use super::super::NO_KIND;
use super::*;

/// Name, document and line of each subject.
fn places(manifests: &Manifests) -> Vec<(&str, usize, usize)> {
    manifests
        .subjects
        .iter()
        .map(|subject| (subject.name.as_str(), source(subject).document, source(subject).line))
        .collect()
}

#[test]
fn splits_at_marks() {
    let text = format!("{}---\n{}--- # comment\n{}...\n{}", pod("a"), pod("b"), pod("c"), pod("d"));
    let manifests = read_text(text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1), ("b", 2, 8), ("c", 3, 15), ("d", 4, 22)]);
    assert_eq!((manifests.files, manifests.documents), (1, 4));
}

#[test]
fn does_not_count_comments() {
    let text = format!("# one\n---\n# Source: chart/x.yaml\n---\n\n---\n# two\n{}---\n", pod("a"));
    let manifests = read_text(text);
    assert_eq!(places(&manifests), [("a", 1, 8)]);
    assert_eq!(manifests.documents, 1);
    for nothing in ["", "\n", "---", "---\n", "---\n---\n", "# only this", "\u{feff}", "...\n", "--- # nothing"] {
        let manifests = read_text(nothing);
        assert_eq!((manifests.documents, &manifests.extent), (0, &Default::default()), "{nothing:?}");
    }
}

#[test]
fn splits_at_the_start_of_lines_only() {
    let text = "kind: Pod\nmetadata:\n  name: a\n  annotations:\n    script: |\n      x\n      ---\n      kind: Pod\n    more: \"--- a\"\n    ---a: b\nspec:\n  containers:\n  - image: a:1\n---a: b\n";
    let manifests = read_text(text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1)]);
}

#[test]
fn reads_documents_that_start_behind_the_mark() {
    let text =
        "--- {kind: Pod, metadata: {name: a}, spec: {containers: [{image: 'a:1'}]}}\n---\t# tab\nkind: ConfigMap\n";
    let manifests = read_text(text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1)]);
    assert_eq!(manifests.extent.ignored, [("ConfigMap".to_owned(), 1)].into());
}

#[test]
fn reads_directives() {
    let text = format!("%YAML 1.1\n# comment\n---\n{}...\n%YAML 1.1\n---\n{}", pod("a"), pod("b"));
    let manifests = read_text(text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 4), ("b", 2, 13)]);
}

#[test]
fn reads_windows_line_ends_and_byte_order_marks() {
    let text =
        format!("\u{feff}---\n{}---\n\u{feff}{}\u{feff}---\n{}", pod("a"), pod("b"), pod("c")).replace('\n', "\r\n");
    let manifests = read_text(text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 2), ("b", 2, 9), ("c", 3, 16)]);
}

#[test]
fn reads_json() {
    let json = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "a:1"}]}}"#;
    let more = "{\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"b\"},\n\t\"spec\": {\"containers\": [{}]}\n}";
    for name in ["a.json", "a.yaml", "a.txt"] {
        let manifests = read_named(name, format!("{json}{json}\n\n{more}\n{json}\n---\n{json}\n---\n{}", pod("c")));
        assert_eq!(manifests.extent.errors, []);
        let expected = [("a", 1, 1), ("a", 2, 1), ("b", 3, 3), ("a", 4, 8), ("a", 5, 10), ("c", 6, 12)];
        assert_eq!(places(&manifests), expected);
    }
}

#[test]
fn reads_flow_maps_that_are_no_json() {
    let text = "{kind: Pod, metadata: {name: a}, spec: {containers: [{image: 'a:1'}]}} # comment\n";
    let manifests = read_named("a.json", text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1)]);
    let json = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "a:1"}]}} # comment"#;
    assert_eq!(names(&read_text(json)), ["a"]);
}

#[test]
fn counts_what_is_no_workload() {
    let text = "replicas: 1\n---\n- a\n- b\n---\ntext\n---\n5\n---\nnull\n---\nservices: {web: {image: nginx}}\n---\nkind: [Deployment]\n";
    let manifests = read_text(text);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(manifests.extent.ignored, [(NO_KIND.to_owned(), 7)].into());
    let custom = "kind: Widget\nspec: 5\nstatus: [a]\nitems: x\nmetadata: {labels: [1]}\n---\nkind: Widget\nspec: {containers: 5, template: {spec: 3}}\n---\nkind: ConfigMap\nspec: text\n";
    let manifests = read_text(custom);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(manifests.extent.ignored, [("ConfigMap".to_owned(), 1), ("Widget".to_owned(), 2)].into());
    let json = r#"{"kind": "Widget", "spec": 5} [1, 2] "text" {"kind": 5}"#;
    let manifests = read_named("a.json", json);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(manifests.extent.ignored, [(NO_KIND.to_owned(), 3), ("Widget".to_owned(), 1)].into());
}

#[test]
fn judges_the_others() {
    let text = format!("{}---\nkind: Pod\n bad: [\n---\n{}", pod("a"), pod("b"));
    let manifests = read_text(text);
    assert_eq!(names(&manifests), ["a", "b"]);
    assert_error(&manifests, (2, 9), &["no valid YAML"]);
}
