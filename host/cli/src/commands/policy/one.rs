//! The only policy of a file, which is read as `policy import` and kubectl read it.

use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use chrono::DateTime;
use kube_devops_cluster::crd::DevOpsPolicy;
use kube_devops_cluster::policy_file::{self, PolicyFileError};
use kube_devops_core::Source;
use kube_devops_manifests::{Limits, ManifestObject, Objects, ReadOptions, read_objects};

use super::files::{KIND, error_text, place};

/// The largest file with a policy, in bytes. The API server accepts no larger object.
const MAX_SIZE: u64 = 3 << 20;

/// A valid policy of a file.
#[derive(Debug)]
pub struct FilePolicy {
    /// The policy.
    pub policy: DevOpsPolicy,
    /// Its file and line.
    pub place: String,
}

/// Reads a file with one policy, and validates it as the API server would.
pub fn read_one(file: &Path) -> Result<FilePolicy> {
    if file.as_os_str() == "-" {
        bail!("a policy is not read from standard input; specify its file");
    }
    if file.is_dir() {
        bail!("failed to read {}: it is a folder; specify the file of the policy", file.display());
    }
    let limits = Limits { file_bytes: MAX_SIZE, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::new(DateTime::UNIX_EPOCH) };
    one(read_objects(&[file.to_owned()], &[KIND], &options), file)
}

/// Returns the only object of a file as a policy.
fn one(mut objects: Objects, file: &Path) -> Result<FilePolicy> {
    if let Some(error) = objects.errors.first() {
        bail!(error_text(error));
    }
    let skipped = objects.skipped.iter().map(|object| &object.source);
    let mut sources: Vec<&Source> = objects.objects.iter().map(|object| &object.source).chain(skipped).collect();
    sources.sort_by_key(|source| (source.document, source.line));
    if let Some(second) = sources.get(1) {
        bail!("{}: more than one object: a file contains one DevOpsPolicy", place(second));
    }
    if let Some(other) = objects.skipped.pop() {
        let error = PolicyFileError::OtherKind { api_version: other.api_version, kind: other.kind };
        return Err(error).context(place(&other.source));
    }
    let Some(object) = objects.objects.pop() else {
        bail!("{}: not a DevOpsPolicy: there is no object", file.display());
    };
    checked(&object)
}

fn checked(object: &ManifestObject) -> Result<FilePolicy> {
    let policy = policy_file::check(&object.value).map_err(|error| {
        let line = object.lines.line_of(&error.pointer()).unwrap_or(object.source.line);
        let place = place(&Source { line, ..object.source.clone() });
        Error::from(error).context(place)
    })?;
    Ok(FilePolicy { policy, place: place(&object.source) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    const HEAD: &str = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: a}\nspec:\n";

    /// Reads a file with the content, and returns the error without the folder of the file.
    fn read(content: impl AsRef<[u8]>) -> Result<DevOpsPolicy, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        fs::write(&file, content).unwrap();
        let folder = format!("{}/", folder.path().display());
        read_one(&file).map(|read| read.policy).map_err(|error| format!("{error:#}").replace(&folder, ""))
    }

    fn settings(text: &str) -> Value {
        let policy = read(format!("{HEAD}  checks:\n  - check: a\n    settings: {text}\n")).unwrap();
        serde_json::to_value(&policy.spec).unwrap()["checks"][0]["settings"].clone()
    }

    #[test]
    fn settings_have_the_types_of_kubectl() {
        for (text, expected) in [
            ("{labels: [y, yes, 'on', off]}", json!({ "labels": [true, true, "on", false] })),
            ("{n: 1, 'y': 2}", json!({ "false": 1, "y": 2 })),
            (
                "{mode: 0777, size: 1_000, time: 12:30, whole: 5.0}",
                json!({ "mode": 511, "size": 1000, "time": "12:30", "whole": 5 }),
            ),
            (
                "{a: &a {b: y}, c: {<<: *a, d: *a}}",
                json!({ "a": { "b": true }, "c": { "b": true, "d": { "b": true } } }),
            ),
        ] {
            assert_eq!(settings(text), expected, "{text}");
        }
    }

    #[test]
    fn a_policy_may_use_every_notation_that_kubectl_reads() {
        let plain = format!("{HEAD}  forbidLatestTag: yes\n  requireReadinessProbe: on\n");
        let merged = format!("{HEAD}  <<: {{forbidLatestTag: yes}}\n  requireReadinessProbe: on\n");
        let list = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicyList\nitems:\n- metadata: {name: a}\n  spec: {forbidLatestTag: y, requireReadinessProbe: On}\n";
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| format!("\u{feff}{plain}").encode_utf16().flat_map(bytes).collect();
        let utf_16: [Vec<u8>; 2] = [utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes)];
        let texts = [
            plain.clone(),
            merged,
            list.to_owned(),
            format!("\u{feff}---\n{plain}"),
            format!("# comment\n---\n{plain}---\n# nothing\n---\nnull\n"),
            plain.replace('\n', "\r\n"),
        ];
        for content in texts.map(String::into_bytes).into_iter().chain(utf_16) {
            let spec = read(&content).map(|policy| policy.spec);
            let enabled = spec.map(|spec| (spec.forbid_latest_tag, spec.require_readiness_probe));
            assert_eq!(enabled, Ok((Some(true), Some(true))), "{:?}", String::from_utf8_lossy(&content));
        }
    }

    #[test]
    fn errors_have_the_line_of_the_field() {
        let plain = format!("{HEAD}  forbidLatestTag: true\n");
        for (text, start, part) in [
            (format!("{plain}  maxRestartCount: -1\n"), "policy.yaml:6: ", "-1 is less than"),
            (format!("{plain}  requireLiveness: true\n"), "policy.yaml:6: ", "no field spec.requireLiveness"),
            (format!("{plain}  checks:\n  - check: n\n"), "policy.yaml:7: ", "false has another type than string"),
            (format!("{plain}  forbidLatestTag: true\n"), "policy.yaml:6 (document 1): ", "duplicate"),
            (format!("{plain}  checks: [\n"), "policy.yaml:6 (document 1): ", "invalid YAML"),
            (plain.replace("name: a", "name: y"), "policy.yaml:3 (document 1): ", "string is expected"),
            (format!("{plain}---\n{plain}"), "policy.yaml:7: ", "more than one object"),
            (format!("# a Pod\nkind: Pod\n---\n{plain}"), "policy.yaml:4: ", "more than one object"),
            ("kind: Pod\n".to_owned(), "policy.yaml:1: ", "kind is \"Pod\""),
            ("a: 1\n".to_owned(), "policy.yaml:1: ", "not a DevOpsPolicy"),
            (String::new(), "policy.yaml: ", "not a DevOpsPolicy"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.starts_with(start) && error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn only_a_file_is_read() {
        assert!(read_one(Path::new("-")).unwrap_err().to_string().contains("standard input"));
        let folder = tempfile::tempdir().unwrap();
        assert!(read_one(folder.path()).unwrap_err().to_string().contains("it is a folder"));
        let error = read_one(&folder.path().join("a.yaml")).unwrap_err();
        assert!(format!("{error:#}").contains("does not exist"), "{error:#}");
    }
}
