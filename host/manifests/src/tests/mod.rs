//! Tests of reading files and folders.
#![allow(clippy::unwrap_used)]

mod arbitrary;
mod bad_input;
mod documents;
mod files;
mod kustomizations;
mod lines;
mod lists;
mod objects;
mod openshift;
mod split_lists;
mod unknown_kinds;
mod values;
mod workflows;

use std::path::{Path, PathBuf};

use kube_devops_core::report::ReportError;
use kube_devops_core::{Needs, Source, Subject};
use tempfile::TempDir;

use crate::{Limits, Manifests, ReadOptions, read};

fn options() -> ReadOptions {
    ReadOptions {
        now: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        default_namespace: "default".to_owned(),
        rendered_charts: Vec::new(),
        rendered_kustomizations: Vec::new(),
        exclude: Vec::new(),
        stdin_name: None,
        needs: Needs::default(),
        limits: Limits::default(),
    }
}

/// Creates a folder with files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn read_paths(paths: &[&Path]) -> Manifests {
    read(&paths.iter().map(PathBuf::from).collect::<Vec<_>>(), &[], &options())
}

fn read_named(name: &str, content: impl AsRef<[u8]>) -> Manifests {
    let folder = folder(&[(name, content.as_ref())]);
    read_paths(&[&folder.path().join(name)])
}

fn read_text(text: impl AsRef<[u8]>) -> Manifests {
    read_named("manifests.yaml", text)
}

/// Returns a deployment with one container.
fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n        image: app:1\n"
    )
}

fn pod(name: &str) -> String {
    format!("kind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - image: a:1\n")
}

fn names(manifests: &Manifests) -> Vec<&str> {
    manifests.subjects.iter().map(|subject| &*subject.name).collect()
}

fn source(subject: &Subject) -> &Source {
    subject.source.as_ref().unwrap()
}

fn place(source: Option<&Source>) -> (usize, usize) {
    source.map(|source| (source.document, source.line)).unwrap()
}

/// Returns the message, document and line of the only error.
fn only_error(manifests: &Manifests) -> (&str, (usize, usize)) {
    let [ReportError { message, source, .. }] = manifests.errors.as_slice() else {
        panic!("not one error: {:#?}", manifests.errors)
    };
    (message, place(source.as_ref()))
}

/// Asserts that there is one error, in this document and line, with a message that contains all `parts`.
#[track_caller]
fn assert_error(manifests: &Manifests, place: (usize, usize), parts: &[&str]) {
    let (message, found) = only_error(manifests);
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert_eq!(found, place, "{message}");
}

/// Returns the line of a finding about a field.
fn line_of(subject: &Subject, pointer: &str) -> usize {
    subject.line_of(pointer).unwrap_or(source(subject).line)
}
