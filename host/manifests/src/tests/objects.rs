//! Tests of reading complete objects.

use serde_json::{Value, json};

use super::*;
use crate::{ManifestObject, Objects, read_objects};

const KINDS: &[(&str, &str)] = &[("example.com", "Policy")];

fn objects(text: &str) -> Objects {
    let folder = folder(&[("policies.yaml", text.as_bytes())]);
    read_objects(&[folder.path().join("policies.yaml")], KINDS, &options())
}

fn policy(name: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Policy\nmetadata:\n  name: {name}\nspec:\n  limit: 3\n")
}

/// Returns name, document and line of each object.
fn found(objects: &Objects) -> Vec<(&str, usize, usize)> {
    let objects = objects.objects.iter();
    objects.map(|ManifestObject { value, source, .. }| (name(value), source.document, source.line)).collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

#[test]
fn objects_of_the_wanted_kinds_are_complete_and_have_their_place() {
    let text = format!("# first\n{}---\n{}", policy("a"), policy("b"));
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let read = objects(&text);
        assert_eq!(found(&read), [("a", 1, 2), ("b", 2, 9)]);
        assert_eq!((read.errors.len(), read.skipped.len()), (0, 0));
        let expected = json!({
            "apiVersion": "example.com/v1", "kind": "Policy", "metadata": { "name": "a" }, "spec": { "limit": 3 },
        });
        assert_eq!(read.objects[0].value, expected);
    }
}

#[test]
fn items_inherit_version_and_kind_of_their_list() {
    let text = "apiVersion: example.com/v1\nkind: PolicyList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n";
    let read = objects(text);
    assert_eq!(found(&read), [("a", 1, 4), ("b", 1, 5)]);
    assert_eq!(read.objects[1].value["kind"], "Policy");
    assert_eq!(read.objects[1].value["apiVersion"], "example.com/v1");
}

#[test]
fn other_objects_and_documents_without_a_kind_are_skipped_by_name() {
    let text = format!("{}---\n{}---\nreplicas: 3\n---\n# nothing\n", deployment("web"), policy("a"));
    let read = objects(&text);
    assert_eq!(found(&read).len(), 1);
    let skipped: Vec<_> = read.skipped.iter().map(|object| (&*object.kind, &*object.name)).collect();
    assert_eq!(skipped, [("Deployment", "web"), ("", "")]);
    assert!(read.errors.is_empty(), "{:?}", read.errors);
}

#[test]
fn errors_are_those_of_the_evaluation() {
    for text in [
        "a: [\n".to_owned(),
        policy("a") + "metadata: {}\n",
        policy("a").replace("name: a", "name: 5"),
        "- kind: Policy\n".to_owned(),
        "apiVersion: example.com/v1\n".to_owned(),
    ] {
        let text = format!("{}---\n{text}---\n{}", policy("first"), policy("last"));
        let read = objects(&text);
        assert_eq!(found(&read).iter().map(|(name, ..)| *name).collect::<Vec<_>>(), ["first", "last"], "{text}");
        assert_eq!(read.errors, read_text(&text).errors.iter().map(|error| rename(error, &read)).collect::<Vec<_>>());
        assert_eq!(read.errors.len(), 1, "{text}");
    }
}

/// Sets the file, which is in another temporary folder.
fn rename(error: &ReportError, read: &Objects) -> ReportError {
    let mut error = error.clone();
    if let (Some(source), Some(object)) = (&mut error.source, read.objects.first()) {
        source.file = object.source.file.clone();
    }
    error
}
