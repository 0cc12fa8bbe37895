//! The line numbers of fields.

use super::*;

const TEXT: &str = "\
# comment
---
# Source: chart

kind: Deployment
metadata:
  name: a
spec:
  template:
    spec:
      initContainers: [{name: one,
        image: 'i:1'}]
      containers:
      # the app
      - name: app
        image: app:1
        env:
          - name: A
            value: |
              x: y
              z
      -
        image: other:1
        \"ports\": [{containerPort: 80}, {
            containerPort: 81}]
      - {name: flow, image: flow:1}
      - a/b: {c~d: 1}
";

#[test]
fn fields_have_line_numbers() {
    let spec = "/spec/template/spec";
    let expected = [
        ("/spec/template/spec", 10),
        ("/spec/template/spec/initContainers/0/image", 12),
        ("/spec/template/spec/containers", 13),
        ("/spec/template/spec/containers/0", 15),
        ("/spec/template/spec/containers/0/image", 16),
        ("/spec/template/spec/containers/0/env/0/value", 19),
        ("/spec/template/spec/containers/1/image", 23),
        ("/spec/template/spec/containers/1/ports/1/containerPort", 25),
        ("/spec/template/spec/containers/2/image", 26),
        ("/spec/template/spec/containers/3/a~1b/c~0d", 27),
        // Missing fields have the line of the closest existing value.
        ("/spec/template/spec/containers/0/livenessProbe", 15),
        ("/spec/template/spec/containers/0/resources/limits/cpu", 15),
        ("/spec/template/spec/containers/9/image", 13),
        ("/metadata/name", 5),
        ("/status", 5),
        ("nonsense", 5),
    ];
    for text in [TEXT.to_owned(), TEXT.replace('\n', "\r\n"), format!("\u{feff}{TEXT}")] {
        let manifests = read_text(text);
        let subject = &manifests.subjects[0];
        assert_eq!(subject.spec_pointer, spec);
        for (pointer, line) in expected {
            assert_eq!(line_of(subject, pointer), line, "{pointer}");
        }
    }
}

#[test]
fn fields_have_line_numbers_in_every_document() {
    let text: String = (0..50).map(|index| format!("---\n{}", deployment(&format!("d{index}")))).collect();
    let manifests = read_text(text);
    for (index, subject) in manifests.subjects.iter().enumerate().rev() {
        assert_eq!(line_of(subject, "/spec/template/spec/containers/0/image"), index * 11 + 11);
    }
}

#[test]
fn fields_have_line_numbers_in_json() {
    let json = "\n{\n\t\"kind\": \"Pod\",\n\t\"spec\": {\n\t\t\"containers\": [\n\t\t\t{\n\t\t\t\t\"name\":\t\"a: b\",\n\t\t\t\t\"image\":\t\"a\"}]}}\n";
    let manifests = read_named("a.json", json);
    let subject = &manifests.subjects[0];
    assert_eq!(source(subject).line, 2);
    for (pointer, line) in
        [("/spec", 4), ("/spec/containers/0", 6), ("/spec/containers/0/image", 8), ("/spec/containers/0/x", 6)]
    {
        assert_eq!(line_of(subject, pointer), line, "{pointer}");
    }
}

#[test]
fn fields_of_an_alias_have_the_line_of_the_alias() {
    let text = "kind: Pod\nx: &c\n- image: a\nspec:\n  restartPolicy: Always\n  containers: *c\n";
    let manifests = read_text(text);
    assert_eq!(line_of(&manifests.subjects[0], "/spec/containers/0/image"), 6);
}

#[test]
fn fields_after_brackets_in_the_column_of_their_key_have_line_numbers() {
    let text =
        "kind: Pod\nspec:\n  containers:\n  - name: a\n    args: [\n      x,\n    ]\n  - name: b\n    image: b:1\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(line_of(&manifests.subjects[0], "/spec/containers/1/image"), 9);
}

#[test]
fn lines_are_counted_as_in_editors() {
    let text =
        "kind: Pod\nmetadata:\n  annotations:\n    a: \"x\u{2028}y\u{85}z\"\nspec:\n  containers:\n  - image: a\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(line_of(&manifests.subjects[0], "/spec/containers/0/image"), 7);
}
