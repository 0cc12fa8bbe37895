//! Generated manifests are read as the real kubectl reads them: with the same images and probes, or with an error. If
//! kubectl fails, an error of the program is required; if kubectl silently accepts a mistake, such as a duplicate key, the
//! generator marks it and an error is allowed.
//!
//! `READING_DOCUMENTS` and `READING_SEED` configure a deeper run.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod composer;
mod expected;
mod file;
mod json;
mod node;
mod random;
mod yaml;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::thread;

use end_to_end::kubectl::objects_by_kubectl;
use end_to_end::{Folder, kube_devops, run};
use serde_json::Value;

use composer::{Composer, TRAILING_TEXT};
use expected::expected_of;
use file::File;
use random::Random;

/// The number of concurrent kubectl processes.
const THREADS: usize = 4;

/// Reads a number from an environment variable.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The result of the program for a file: violations as object and text, and errors with their line.
#[derive(Debug, Default)]
struct Reading {
    violations: Vec<(String, String)>,
    errors: Vec<(usize, String)>,
}

fn readings(folder: &Folder) -> BTreeMap<String, Reading> {
    let report = run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(folder.path())).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let file =
        |found: &Value| Path::new(&text(&found["source"]["file"])).file_name().unwrap().to_str().unwrap().to_owned();
    let mut readings: BTreeMap<String, Reading> = BTreeMap::new();
    for found in report["violations"].as_array().unwrap() {
        let line = format!("{} {}", text(&found["check"]), text(&found["container"]));
        readings.entry(file(found)).or_default().violations.push((text(&found["name"]), line));
    }
    for error in report["errors"].as_array().unwrap() {
        let line = error["source"]["line"].as_u64().unwrap() as usize;
        readings.entry(file(error)).or_default().errors.push((line, text(&error["message"])));
    }
    readings
}

/// The notations that kubectl reads and the program does not, as documented in docs/manifests.md: the message of the
/// program, and a part of the text.
const KNOWN: [(&str, &str); 3] = [
    ("invalid YAML: found unexpected ':'", ":"),
    ("invalid YAML: did not find expected whitespace or line break", "!!str,"),
    ("invalid YAML: the parser failed on this document", "!!str,"),
];

/// Reports whether an error is about one of the notations that only kubectl reads.
fn is_known(error: &str, text: &str) -> bool {
    KNOWN.iter().any(|(message, part)| error == *message && text.contains(part))
}

/// Returns the first difference between kubectl and the program for a file.
fn difference(file: &File, objects: &[Value], kubectl_error: Option<&str>, ours: &Reading) -> Option<String> {
    let is_alone = file.documents.len() == 1;
    let mut start = 0;
    let mut is_cut_off = false;
    for (document, (end, separator)) in file.documents.iter().zip(&file.ends) {
        let name = format!("p{}", document.number);
        let object = if is_alone {
            objects.first()
        } else {
            objects.iter().find(|object| object["metadata"]["name"].as_str().is_some_and(|found| found.trim() == name))
        };
        let ends_elsewhere = document.allowed.contains(&TRAILING_TEXT);
        let is_here = |line: &usize| ends_elsewhere || (start + 1..=*separator).contains(line);
        let errors: Vec<_> =
            ours.errors.iter().filter(|(line, _)| is_here(line)).map(|(_, message)| message.as_str()).collect();
        let is_error = !errors.is_empty();
        let is_known = is_error && errors.iter().all(|error| is_known(error, &document.text));
        let mut found: Vec<_> = ours
            .violations
            .iter()
            .filter(|(of, _)| is_alone || of.trim() == name)
            .map(|(_, line)| line.clone())
            .collect();
        found.sort();
        start = *end;
        // kubectl stops reading a file at its first error.
        is_cut_off |= object.is_some() && kubectl_error.is_some() && is_error && ends_elsewhere;
        let is_same = match object {
            Some(object) if !matches!(object["kind"].as_str(), Some("Pod" | "Deployment")) => true,
            Some(object) => match expected_of(object) {
                None => is_error,
                // The error of kubectl can be about the text after the object.
                Some(expected) if is_error && kubectl_error.is_some() => {
                    !document.allowed.is_empty() || found == expected
                }
                Some(_) if is_error => !document.allowed.is_empty() || is_known,
                Some(expected) => found == expected,
            },
            None if is_cut_off => true,
            None => {
                is_cut_off = kubectl_error.is_some();
                // Documents without kind and apiVersion are counted and are not errors.
                let is_no_object = kubectl_error
                    .is_some_and(|text| text.contains("Object 'Kind' is missing") && !text.contains("\"apiVersion\":"));
                is_error || (kubectl_error.is_none() || is_no_object) && found.is_empty()
            }
        };
        if !is_same {
            let theirs = match object {
                Some(object) => format!("{:?} of {object}; {kubectl_error:?}", expected_of(object)),
                None => format!("nothing; {kubectl_error:?}"),
            };
            return Some(format!(
                "{name} ({:?}) of\n{}\n{:?}\nkubectl: {theirs}\nours: {ours:?}\n",
                document.allowed, file.text, file.text
            ));
        }
    }
    None
}

#[test]
fn generated_manifests_are_read_as_by_kubectl() {
    let documents = number("READING_DOCUMENTS", 500) as usize;
    let mut random = Random::new(number("READING_SEED", 0x5eed));
    let mut composer = Composer {
        random: &mut random,
        anchors: BTreeMap::new(),
        allowed: Vec::new(),
        quoted_merges: 0,
        oddity: 0,
        needs_name: false,
    };
    let (mut files, mut count) = (Vec::new(), 0);
    while count < documents {
        let file = composer.file(count);
        count += file.documents.len();
        files.push(file);
    }
    let name = |index: usize| format!("{index:06}.yaml");
    let folder = Folder::with(files.iter().enumerate().map(|(index, file)| (name(index), &file.text)));
    let readings = readings(&folder);
    let kubectl = test_cluster::kubectl().unwrap();

    let nothing = Reading::default();
    let check = |index: usize| {
        let (objects, error) = objects_by_kubectl(&kubectl, &folder.path().join(name(index)));
        let ours = readings.get(&name(index)).unwrap_or(&nothing);
        difference(&files[index], &objects, error.as_deref(), ours)
    };
    let differences: Vec<String> = thread::scope(|scope| {
        let (check, files) = (&check, &files);
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                scope.spawn(move || (worker..files.len()).step_by(THREADS).filter_map(check).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let errors = readings.values().filter(|reading| !reading.errors.is_empty()).count();
    let shown: String = differences.iter().take(5).map(|text| format!("----\n{text}\n")).collect();
    assert!(differences.is_empty(), "{} of {} files are read differently:\n{shown}", differences.len(), files.len());
    assert!(errors * 2 < files.len(), "{errors} of {} files have errors: too few are compared", files.len());
}
