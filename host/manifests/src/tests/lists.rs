//! Lists, in the format of kubectl and in other formats.

use proptest::prelude::*;

use super::*;

/// Returns the same list with a tag, which prevents splitting.
fn whole(list: &str) -> String {
    list.replacen("items:", "items: !!seq", 1)
}

fn indented(text: &str, indentation: usize) -> String {
    let blanks = " ".repeat(indentation);
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(index, line)| format!("{blanks}{}{line}", if index == 0 { "- " } else { "  " }))
        .collect();
    lines.join("\n") + "\n"
}

/// Returns a list of 400 items, with `item` as item 200.
fn long_list(item: &str, indentation: usize) -> String {
    let item = |index: usize| {
        if index == 200 { item.to_owned() } else { indented(&deployment(&format!("d{index}")), indentation) }
    };
    let items: String = (0..400).map(item).collect();
    format!("apiVersion: v1\nitems:\n# first\n{items}kind: List\nmetadata:\n  resourceVersion: \"\"\n")
}

#[test]
fn long_and_short_lists_are_read() {
    for indentation in [0, 2, 5] {
        let item = indented(&pod("odd"), indentation);
        let manifests = read_text(format!("# comment\n---\n{}", long_list(&item, indentation)));
        assert_eq!(manifests.errors, []);
        assert_eq!((manifests.subjects.len(), manifests.documents), (400, 1));
        let odd = &manifests.subjects[200];
        assert_eq!(&*odd.name, "odd");
        assert_eq!(source(odd).line, 6 + 200 * 10);
        assert_eq!(line_of(odd, "/spec/containers/0/image"), 6 + 200 * 10 + 5);
        assert_eq!(source(&manifests.subjects[201]).line, 6 + 200 * 10 + 6);

        let short = format!(
            "kind: List\nitems:\n{}{}",
            indented(&deployment("a"), indentation),
            indented(&pod("b"), indentation)
        );
        let manifests = read_text(short);
        assert_eq!(manifests.errors, []);
        let b = &manifests.subjects[1];
        assert_eq!(source(b).line, 13);
        assert_eq!(line_of(b, "/spec/containers/0/image"), 18);
    }
}

#[test]
fn an_invalid_item_does_not_affect_others() {
    let manifests = read_text(long_list("- kind: Pod\n  metadata: {name: a}\n  spec: [\n", 0));
    assert_eq!(manifests.subjects.len(), 399);
    assert_error(&manifests, (1, 4 + 2000 + 2), &["invalid YAML"]);
    let manifests =
        read_text(long_list("- kind: Pod\n  metadata: {name: a}\n  spec:\n    containers:\n    - image: 5\n", 0));
    assert_eq!(manifests.subjects.len(), 399);
    assert_error(
        &manifests,
        (1, 4 + 2000 + 4),
        &["invalid Pod a: ", "spec.containers[0].image: a string is expected, not the number 5"],
    );
    let manifests = read_text(long_list("- kind: Pod\n  spec:\n    containers: []\n    containers: []\n", 0));
    assert_error(&manifests, (1, 4 + 2000 + 3), &["duplicate key \"containers\" in lines 2006 and 2007"]);
    let manifests = read_text(long_list("- kind: Pod\n  spec: {}\n  spec: {}\n", 0));
    assert_error(&manifests, (1, 4 + 2000 + 2), &["duplicate key \"spec\" in lines 2005 and 2006; remove one of them"]);
    let manifests = read_text(long_list("- kind: Widget\n  spec: 5\n- kind: Widget\n  items: 5\n", 0));
    assert_eq!(manifests.errors, []);
    assert_eq!(manifests.extent.ignored, [("Widget".to_owned(), 2)].into());
}

#[test]
fn items_of_short_lists_are_read_separately() {
    let items =
        "- kind: Widget\n  spec: 5\n- kind: Pod\n  metadata: {name: b}\n  spec:\n    containers:\n    - image: 5\n";
    let text = format!("kind: List\nitems:\n{items}{}- kind: Pod\n", indented(&pod("a"), 0));
    for text in [whole(&text), text] {
        check_mixed(&read_text(text));
    }
}

fn check_mixed(manifests: &Manifests) {
    assert_eq!(names(manifests), ["a"]);
    assert_eq!(manifests.extent.ignored, [("Widget".to_owned(), 1)].into());
    let errors: Vec<_> =
        manifests.errors.iter().map(|error| (error.message.as_str(), place(error.source.as_ref()).1)).collect();
    assert_eq!(
        errors,
        [
            (
                "invalid Pod b: spec.containers[0].image: a string is expected, not the number 5; put the value in quotes",
                9
            ),
            ("Pod default/ has no containers: /spec/containers is missing or empty", 16),
        ]
    );
    assert_eq!(source(&manifests.subjects[0]).line, 10);
}

#[test]
fn anchors_are_resolved_across_items() {
    let first = "- kind: Pod\n  metadata: {name: a}\n  spec: &spec\n    containers:\n    - image: a:1\n- kind: Pod\n  metadata: {name: b}\n  spec: *spec\n";
    let manifests = read_text(long_list(first, 0));
    assert_eq!(manifests.errors, []);
    assert_eq!(manifests.subjects.len(), 401);
    let b = &manifests.subjects[201];
    assert_eq!((&*b.containers[0].image, source(b).line), ("a:1", 4 + 2000 + 5));
    assert_eq!(line_of(b, "/spec/containers/0"), 4 + 2000 + 7);
}

#[test]
fn text_that_looks_like_items_is_not_split() {
    let first = "- kind: Pod\n  metadata:\n    name: a\n    annotations:\n      a: \"x\n- kind: Pod\n\"\n      b: |\n        - kind: Pod\n\n        x\n  spec:\n    containers:\n    - image: a:1\n";
    let manifests = read_text(long_list(first, 0));
    assert_eq!(manifests.errors, []);
    assert_eq!(manifests.subjects.len(), 400);
}

#[test]
fn typed_lists_are_read() {
    let items: String = (0..400).map(|_| indented(&pod("p").replace("kind: Pod\n", ""), 0)).collect();
    let manifests = read_text(format!("kind: PodList\nitems:\n{items}"));
    assert_eq!(manifests.errors, []);
    assert!(manifests.subjects.len() == 400 && manifests.subjects.iter().all(|subject| &*subject.kind == "Pod"));
    let json =
        r#"{"kind": "PodList", "items": [{"spec": {"containers": [{}]}}, {"spec": {"containers": [{"image": 5}]}}]}"#;
    let manifests = read_text(json);
    assert_eq!(manifests.subjects.len(), 1);
    assert_error(&manifests, (1, 1), &["invalid Pod: spec.containers[0].image: a string is expected"]);
}

#[test]
fn json_lists_are_read() {
    let json = "{\"apiVersion\": \"v1\", \"items\": [\n{\"kind\": \"Widget\", \"spec\": 5},\n{\n\"kind\": \"Pod\",\n\"spec\": {\"containers\": [\n{\"image\":\n5}]}},\n{\"kind\": \"List\", \"items\": [\n{\"kind\": \"Widget\", \"spec\": 5},\n{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\"containers\": [\n{\"image\": \"a\"}]}}]}],\n\"kind\": \"List\"}";
    let manifests = read_named("a.json", json);
    assert_eq!(names(&manifests), ["a"]);
    assert_eq!(manifests.extent.ignored, [("Widget".to_owned(), 2)].into());
    assert_error(&manifests, (1, 6), &["invalid Pod: spec.containers[0].image: a string is expected"]);
    let a = &manifests.subjects[0];
    assert_eq!(source(a).line, 10);
    assert_eq!(line_of(a, "/spec/containers/0/image"), 11);
    assert_eq!(line_of(a, "/spec/containers/0/livenessProbe"), 11);
}

#[test]
fn the_metadata_of_a_list_is_validated() {
    let pod = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{}]}}"#;
    let list = |kind: &str, metadata: &str| {
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"{kind}\",\n\"metadata\":\n{metadata},\n\"items\": [{pod}]}}")
    };
    for kind in ["List", "PodList"] {
        for valid in ["{}", "null", "{\"resourceVersion\": \"\"}", "{\"continue\": 5, \"labels\": null}"] {
            let manifests = read_text(list(kind, valid));
            assert_eq!((names(&manifests), manifests.errors.len()), (vec!["a"], 0), "{valid}");
        }
        for (invalid, field) in [
            ("{\"name\": 5}", "metadata.name"),
            ("{\"labels\": {\"a\": 1}}", "metadata.labels.a"),
            ("{\"resourceVersion\": 5}", "metadata.resourceVersion"),
            ("{\"creationTimestamp\": \"x\"}", "metadata.creationTimestamp"),
            ("[]", "metadata"),
            ("5", "metadata"),
        ] {
            let manifests = read_text(list(kind, invalid));
            let (message, (document, line)) = only_error(&manifests);
            assert!(message.starts_with(&format!("invalid {kind}")) && message.contains(field), "{message}");
            assert!(document == 1 && (2..=3).contains(&line) && manifests.subjects.is_empty(), "{line}");
            // The same in YAML, and in a list that is not split.
            let yaml = format!("apiVersion: v1\nkind: {kind}\nmetadata: {invalid}\nitems:\n- {pod}\n");
            assert_eq!(only_error(&read_text(yaml)).0, message);
        }
    }
}

#[test]
fn the_nesting_of_lists_is_limited() {
    let deep = |depth: usize| {
        format!(
            "{}{}{}",
            "{\"kind\": \"List\", \"items\": [".repeat(depth),
            "{\"kind\": \"Pod\", \"spec\": {\"containers\": [{}]}}",
            "]}".repeat(depth)
        )
    };
    assert_eq!(read_text(deep(4)).subjects.len(), 1);
    assert_error(&read_text(deep(10)), (1, 1), &["lists are nested more than"]);
    for depth in [100, 100_000] {
        assert_eq!(read_text(deep(depth)).errors.len(), 1);
    }
}

proptest! {
    /// The results of a list do not depend on splitting.
    #[test]
    fn splitting_a_list_does_not_change_the_results(
        items in prop::collection::vec(prop::sample::select(vec![
            "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{}]}\n",
            "kind: Pod\nspec:\n  containers:\n  - args:\n    - |\n      - kind: Pod\n\n      x\n    - a\n    # comment\n    - b\n",
            "kind: Widget\nspec: 5\n",
            "kind: Pod\nspec:\n  containers:\n  - image: 5\n",
            "kind: Pod\n",
            "kind: Pod\nx: \"y\n\n  z\"\nspec: &a\n  containers: [{}]\n",
            "kind: List\nitems:\n- kind: Pod\n  spec: {containers: [{image: a}]}\n- kind: Widget\n",
            "spec: {template: {spec: {containers: [{}]}}}\n",
            "5\n",
            "- 5\n- - 6\n",
        ]), 1..6),
        indentation in 0..4_usize,
        kind in prop::sample::select(vec!["List", "PodList", "Widget"]),
    ) {
        let items: String = items.iter().map(|item| indented(item, indentation)).collect();
        let list = format!("items: # comment\n\n{items}# comment\nkind: {kind}\n");
        let (split, whole) = (read_text(&list), read_text(whole(&list)));
        let facts = |manifests: &Manifests| {
            let place = |source: &Source| source.line;
            let subjects: Vec<_> = manifests.subjects.iter().map(|subject| {
                let line = line_of(subject, "/spec/containers/0/image");
                (subject.name.clone(), place(source(subject)), line)
            }).collect();
            let errors: Vec<_> = manifests.errors.iter().map(|error| (error.message.clone(), error.source.as_ref().map(place))).collect();
            (subjects, errors, manifests.extent.ignored.clone())
        };
        prop_assert_eq!(facts(&split), facts(&whole));
    }
}
