//! Objects of unknown kinds with containers.

use super::*;

const TEMPLATE: &str = "{spec: {containers: [{name: a, image: 'a:latest'}]}}";

fn machine(spec: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Machine\nmetadata: {{name: m}}\nspec:\n{spec}")
}

/// Returns the numbers of evaluated pods, of reported objects and of ignored objects.
fn counts(text: &str) -> (usize, usize, usize) {
    let manifests = read_text(text);
    let extent = &manifests.extent;
    assert_eq!(manifests.errors, [], "{text}");
    (manifests.subjects.len(), extent.not_evaluated.len(), extent.ignored.values().sum())
}

#[test]
fn containers_in_usual_locations_are_evaluated() {
    for spec in [
        format!("  template: {TEMPLATE}\n"),
        format!("  jobTemplate: {{spec: {{template: {TEMPLATE}}}}}\n"),
        "  template: {spec: {containers: [{name: a}]}}\n".to_owned(),
    ] {
        assert_eq!(counts(&machine(&spec)), (1, 0, 0), "{spec}");
    }
    let both = format!("  template: {TEMPLATE}\n  jobTemplate: {{spec: {{template: {TEMPLATE}}}}}\n");
    assert_eq!(counts(&machine(&both)), (2, 0, 0));
}

#[test]
fn containers_in_other_locations_are_reported() {
    let other = format!("  worker: {TEMPLATE}\n");
    assert_eq!(counts(&machine(&other)), (0, 1, 1));
    for template in [TEMPLATE, "{spec: {containers: [{name: a}]}}"] {
        let text = machine(&format!("  template: {template}\n{other}{}", other.replace("worker", "other")));
        assert_eq!(counts(&text), (1, 1, 0), "{text}");
    }
    let manifests = read_text(format!("# first\n{}", machine(&format!("  template: {TEMPLATE}\n{other}"))));
    let [object] = manifests.extent.not_evaluated.as_slice() else { panic!("{:?}", manifests.extent) };
    assert_eq!((&*object.api_version, &*object.kind, &*object.name), ("example.com/v1", "Machine", "m"));
    assert_eq!(place(object.source.as_ref()), (1, 2));
}

#[test]
fn containers_in_the_fields_of_other_kinds_are_reported() {
    for fields in [
        "{initContainers: [{image: a}]}",
        "{steps: [{image: a}]}",
        "{sidecars: [{name: b}, {image: a}]}",
        "{container: {image: a}}",
        "{script: {image: a}}",
        "{a: [{b: {containers: [{image: a}]}}]}",
    ] {
        assert_eq!(counts(&machine(&format!("  worker: {fields}\n"))), (0, 1, 1), "{fields}");
    }
    for fields in
        ["{image: a}", "{container: a}", "{steps: [a]}", "{container: {name: a}}", "{containers: [{image: {}}]}"]
    {
        assert_eq!(counts(&machine(&format!("  worker: {fields}\n"))), (0, 0, 1), "{fields}");
    }
}

#[test]
fn containers_of_aliases_are_reported() {
    let same = format!("  template: &t {TEMPLATE}\n  worker: *t\n");
    assert_eq!(counts(&machine(&same)), (1, 1, 0));
    let merged = format!("  template: &t {TEMPLATE}\n  worker:\n    <<: *t\n");
    assert_eq!(counts(&machine(&merged)), (1, 1, 0));
    let list = format!("kind: List\nitems:\n- {}", machine(&format!("  a: &t {TEMPLATE}\n")).replace('\n', "\n  "));
    let list = format!("{}\n- kind: Other\n  spec: {{worker: [*t]}}\n", list.trim_end());
    assert_eq!(counts(&list), (0, 2, 2));
}
