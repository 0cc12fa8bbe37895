//! Splitting of a text into documents.

use super::*;
use crate::NO_KIND;

/// Returns name, document and line of each subject.
fn places(manifests: &Manifests) -> Vec<(&str, usize, usize)> {
    manifests.subjects.iter().map(|subject| (&*subject.name, source(subject).document, source(subject).line)).collect()
}

#[test]
fn documents_are_split_at_separators() {
    let text = format!("{}---\n{}--- # comment\n{}---\r\n{}", pod("a"), pod("b"), pod("c"), pod("d"));
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1), ("b", 2, 8), ("c", 3, 15), ("d", 4, 22)]);
    assert_eq!((manifests.files, manifests.documents), (1, 4));
}

#[test]
fn documents_with_only_comments_do_not_count() {
    let text = format!("# one\n---\n# Source: chart/x.yaml\n---\n\n---\n# two\n{}---\n", pod("a"));
    let manifests = read_text(text);
    assert_eq!(places(&manifests), [("a", 1, 8)]);
    assert_eq!(manifests.documents, 1);
    for empty in ["", "\n", "---", "---\n", "---\n---\n", "# only this", "\u{feff}", "--- # nothing"] {
        let manifests = read_text(empty);
        assert_eq!((manifests.documents, &manifests.extent), (0, &Default::default()), "{empty:?}");
        assert_eq!(manifests.errors, [], "{empty:?}");
    }
}

#[test]
fn separators_are_only_recognized_at_the_start_of_a_line() {
    let text = "kind: Pod\nmetadata:\n  name: a\n  annotations:\n    script: |\n      x\n      ---\n      kind: Pod\n    more: \"--- a\"\n    ---a: b\nspec:\n  containers:\n  - image: a:1\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1)]);
}

#[test]
fn documents_that_kubectl_does_not_read_are_errors() {
    let flow = "{kind: Pod, spec: {containers: [{image: 'a:1'}]}}";
    for (text, line, part) in [
        (format!("--- {flow}\n"), 1, "invalid document separator"),
        (format!("{}---a: b\n", pod("a")), 7, "invalid document separator: \"a: b\""),
        (format!("{}...\n{}", pod("a"), pod("b")), 8, "nothing after `...`"),
        (format!("%YAML 1.1\n---\n{}", pod("a")), 1, "directives"),
        (format!("# a\n\n%TAG ! x\n---\n{}", pod("a")), 3, "directives"),
    ] {
        let manifests = read_text(&text);
        let (message, place) = only_error(&manifests);
        assert!(message.contains(part), "{message}");
        assert_eq!(place.1, line, "{message}");
    }
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_read() {
    let text =
        format!("\u{feff}---\n{}---\n\u{feff}{}\u{feff}---\n{}", pod("a"), pod("b"), pod("c")).replace('\n', "\r\n");
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 2), ("b", 2, 9), ("c", 3, 16)]);
}

#[test]
fn sequences_of_json_values_are_read() {
    let json = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "a:1"}]}}"#;
    let more = "{\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"b\"},\n\t\"spec\": {\"containers\": [{}]}\n}";
    for name in ["a.json", "a.yaml", "a.txt"] {
        let manifests = read_named(name, format!(" {json}{json}\n\n{more}\n{json}\n"));
        assert_eq!(manifests.errors, []);
        assert_eq!(places(&manifests), [("a", 1, 1), ("a", 2, 1), ("b", 3, 3), ("a", 4, 8)]);
        let manifests = read_named(name, format!("{more} # comment\n---\n{json}\n---\n{}", pod("c")));
        assert_eq!(manifests.errors, []);
        assert_eq!(places(&manifests), [("b", 1, 1), ("a", 2, 7), ("c", 3, 9)]);
    }
}

#[test]
fn json_after_the_start_of_a_file_is_yaml() {
    let json = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "a:1"}]}}"#;
    let escaped = json.replace("a:1", "x\\/a:1");
    assert_eq!(&*read_text(&escaped).subjects[0].containers[0].image, "x/a:1");
    for (text, errors) in [
        (format!("{json}\n---\n{escaped}"), vec![(2, 3)]),
        (format!("---\n{escaped}"), vec![(1, 2)]),
        (format!("# comment\n{escaped}"), vec![(1, 2)]),
        (format!("---\n{json}\n{json}"), vec![(1, 3)]),
        (format!("---\n{}", json.replace("\"image\"", "\"image\"\n")), vec![(1, 3)]),
        (format!("{json}{json}\n---\n{json}"), vec![(3, 2)]),
        (format!("{json}\n{json}\n{}", pod("b")), vec![(3, 3)]),
        (format!("{}---\n...\n---\n{}", pod("a"), pod("b")), vec![(2, 8)]),
    ] {
        let manifests = read_text(&text);
        let found: Vec<_> = manifests.errors.iter().filter_map(|error| error.source.as_ref()).collect();
        let found: Vec<_> = found.iter().map(|source| (source.document, source.line)).collect();
        assert_eq!(found, errors, "{text}\n{:?}", manifests.errors);
    }
}

#[test]
fn flow_maps_that_are_not_json_are_read_as_yaml() {
    let text = "{kind: Pod, metadata: {name: a}, spec: {containers: [{image: 'a:1'}]}} # comment\n";
    let manifests = read_named("a.json", text);
    assert_eq!(manifests.errors, []);
    assert_eq!(places(&manifests), [("a", 1, 1)]);
    let json = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "a:1"}]}} # comment"#;
    assert_eq!(names(&read_text(json)), ["a"]);
}

#[test]
fn objects_that_are_not_workloads_are_counted() {
    let text = "replicas: 1\n---\nnull\n---\nservices: {web: {image: nginx}}\n---\nresources: [a.yaml]\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(manifests.extent.ignored, [(NO_KIND.to_owned(), 3)].into());
    let custom = "kind: Widget\nspec: 5\nstatus: [a]\n---\nkind: Widget\nspec: {containers: 5, template: {spec: 3}}\n---\nkind: ConfigMap\nspec: text\n";
    let manifests = read_text(custom);
    assert_eq!(manifests.errors, []);
    assert_eq!(manifests.extent.ignored, [("ConfigMap".to_owned(), 1), ("Widget".to_owned(), 2)].into());
}

#[test]
fn documents_that_are_not_objects_are_errors() {
    for (text, part) in [
        ("- a\n- b\n", "a list is not an object"),
        ("- op: replace\n  path: /spec\n  value: 1\n", "JSON patch of kustomize"),
        ("text\n", "an object is expected"),
        ("5\n", "an object is expected"),
        ("[1, 2]", "a list is not an object"),
        ("\"text\"", "an object is expected"),
        ("{\"kind\": 5}", "kind: a string is expected"),
        ("kind: [Deployment]\n", "kind: a string is expected"),
        ("apiVersion: 1\nkind: Pod\n", "apiVersion: a string is expected"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "kind is missing"),
        ("apiVersion: v1\nKind: Pod\n", "`Kind:` is not read"),
        ("apiversion: v1\nkind: Pod\n", "`apiversion:` is not read"),
        ("apiVersion: v1\nkind: List\nitems:\n  kind: Pod\n", "start each object with `- `"),
        ("apiVersion: v1\nkind: Pod\nitems: []\nspec: {containers: [{}]}\n", "a Pod has no items"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, name: b}\n", "duplicate key \"name\" in one line"),
        ("apiVersion: example.com/v1\nkind: AllowList\nitems: x\n", "a list of objects is expected"),
        ("apiVersion: example.com/v1\nkind: Widget\nitems: [x]\n", "an object is expected"),
        ("apiVersion: v1\nkind: pod\n", "write `kind: Pod`"),
        ("apiVersion: apps/v1\nkind: Statefulset\n", "write `kind: StatefulSet`"),
        ("apiVersion: v1\nkind: List\n", "the List has no items"),
        ("apiVersion: v1\nkind: PodList\n", "the PodList has no items"),
        ("apiVersion: v1\nkind: List\nitems: [{spec: {}}]\n", "an item of a list without apiVersion and kind"),
        ("apiVersion: v1\nkind: List\nitems: [text]\n", "an object is expected"),
        ("? {a: b}\n: c\n", "a map as a key"),
        ("kind: Pod\nx: {[a]: b}\n", "a list as a key"),
        ("kind: Pod\n~: b\n", "the key \"~\" is not a string"),
    ] {
        let manifests = read_text(text);
        let (message, _) = only_error(&manifests);
        assert!(message.contains(part), "{text:?}: {message}");
    }
    for (text, kind) in [
        ("apiVersion: example.com/v1\nkind: pod\n", "pod"),
        ("apiVersion: example.com/v1\nkind: Widget\nitems: [{a: b}]\n", "Widget"),
        ("apiVersion: example.com/v1\nkind: AllowList\n", "AllowList"),
    ] {
        let manifests = read_text(text);
        assert_eq!(manifests.errors, []);
        assert_eq!(manifests.extent.ignored, [(kind.to_owned(), 1)].into());
    }
    let empty = read_text("apiVersion: v1\nkind: List\nitems: []\n");
    assert_eq!((empty.extent, empty.errors), Default::default());
}

#[test]
fn an_invalid_document_does_not_affect_others() {
    let text = format!("{}---\nkind: Pod\n bad: [\n---\n{}", pod("a"), pod("b"));
    let manifests = read_text(text);
    assert_eq!(names(&manifests), ["a", "b"]);
    assert_error(&manifests, (2, 9), &["invalid YAML"]);
}
