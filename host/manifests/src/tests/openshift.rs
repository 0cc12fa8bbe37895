//! OpenShift templates.

use super::*;

/// Returns a template with these objects and the parameter `A`.
fn template(objects: &str, value: &str) -> String {
    format!(
        "apiVersion: template.openshift.io/v1\nkind: Template\nparameters:\n- {{name: A, value: {value:?}}}\nobjects:\n{objects}"
    )
}

#[test]
fn parameters_are_replaced_by_their_values() {
    let object = "- kind: Pod\n  metadata: {name: 'web-${A}'}\n  spec:\n    hostNetwork: '${{B}}'\n    containers:\n    - {name: '${A', image: '${A}/${C}:${${A}'}\n";
    let text = template(object, "x").replace("objects:", "- {name: B, value: 'true'}\nobjects:");
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(names(&manifests), ["web-x"]);
    let container = &manifests.subjects[0].containers[0];
    assert_eq!((&*container.name, &*container.image), ("${A", "x/${C}:${x"));
    assert_eq!(line_of(&manifests.subjects[0], "/spec/containers/0"), 12);
}

#[test]
fn aliases_and_merge_keys_of_a_template_are_resolved() {
    let object = "- kind: Pod\n  metadata: {name: a}\n  spec:\n    containers: &c\n    - &app {image: 'x:${A}'}\n    - {<<: *app, name: b}\n- kind: Pod\n  metadata: {name: b}\n  spec: {containers: *c}\n";
    let manifests = read_text(template(object, "1"));
    assert_eq!(manifests.errors, []);
    for subject in &manifests.subjects {
        let images: Vec<_> = subject.containers.iter().map(|container| &*container.image).collect();
        assert_eq!(images, ["x:1", "x:1"]);
    }
    assert_eq!(names(&manifests), ["a", "b"]);
}

#[test]
fn the_expansion_of_parameters_is_limited() {
    let limits = Limits { expansion_bytes: 1 << 20, ..Limits::default() };
    let options = ReadOptions { limits, ..options() };
    let read_text = |text: String| {
        let folder = folder(&[("a.yaml", text.as_bytes())]);
        read(&[folder.path().to_owned()], &[], &options)
    };
    let object = |name: &str| {
        format!("- kind: Pod\n  metadata: {{name: a}}\n  spec: {{nodeName: '{name}', containers: [{{image: a}}]}}\n")
    };
    let value = "a".repeat(1 << 10);
    let within = read_text(template(&object(&"${A}".repeat(1 << 10)), &value));
    assert_eq!((within.errors.len(), within.subjects.len()), (0, 1));

    let message = ["the parameters (${NAME}) of this document expand to more than 1 MiB", "use fewer parameters"];
    let one = read_text(template(&object(&"${A}".repeat((1 << 10) + 1)), &value));
    assert_error(&one, (1, 8), &message);
    assert_eq!(one.subjects.len(), 0);
    let many = read_text(template(&object(&"${A}".repeat(600)).repeat(2), &value));
    assert_error(&many, (1, 11), &message);

    // The limit applies to all templates of a document.
    let pod = format!(
        r#"{{"kind": "Pod", "spec": {{"nodeName": "{}", "containers": [{{"image": "a"}}]}}}}"#,
        "${A}".repeat(600)
    );
    let template =
        format!(r#"{{"kind": "Template", "parameters": [{{"name": "A", "value": "{value}"}}], "objects": [{pod}]}}"#);
    let list = read_text(format!("kind: List\nitems: [\n{template},\n{template}]\n"));
    assert_error(&list, (1, 4), &message);
    assert_eq!(list.subjects.len(), 1);
}
