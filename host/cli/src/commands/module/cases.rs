//! The cases of a project: manifests, and the findings that are expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use kube_devops_cluster::policy_file::settings_as_stored;
use kube_devops_core::{CheckResult, Policy, RuleConfig, evaluations};
use kube_devops_engine::Checks;
use kube_devops_manifests::{self as manifests, Limits, ReadOptions, read_document};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::evaluate::need_status;
use super::super::policy::error_text;

/// The suffix of the files with expected findings.
const EXPECTED: &str = ".expected.yaml";

/// The extensions of manifests.
const EXTENSIONS: [&str; 3] = [".yaml", ".yml", ".json"];

/// The content of the file with the expected findings.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The settings of the checks, by their ids; those that are missing have their default settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
    /// The findings, in the order of the report.
    #[serde(default)]
    pub findings: Vec<ExpectedFinding>,
}

impl Expected {
    /// Returns the content with the settings as the cluster has them if a policy specifies the same.
    fn with_stored_settings(mut self) -> Self {
        let settings = self.settings.into_iter().filter(|(_, settings)| !settings.is_null());
        self.settings = settings.map(|(check, settings)| (check, settings_as_stored(settings))).collect();
        self
    }
}

/// A finding.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFinding {
    /// The id of the check.
    pub check: String,
    /// Kind, namespace and name of the object.
    pub object: String,
    /// The name of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The JSON Pointer to the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The message.
    pub message: String,
}

/// A case.
pub struct Case {
    /// The name: that of the file without its extension.
    pub name: String,
    manifest: PathBuf,
    /// The file with the expected findings.
    pub expected_file: PathBuf,
}

/// Returns the cases of a project, sorted by name.
pub fn of(folder: &Path) -> Result<Vec<Case>> {
    let folder = folder.join("cases");
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("failed to read the cases in {}; create NAME.yaml there", folder.display()))?;
    let (mut cases, mut expectations): (Vec<Case>, Vec<String>) = (Vec::new(), Vec::new());
    for entry in entries {
        let manifest = entry?.path();
        ensure!(!manifest.is_dir(), "{} is a folder; move its cases to {}", manifest.display(), folder.display());
        let file = manifest.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(name) = file.strip_suffix(EXPECTED) {
            expectations.push(name.to_owned());
        } else if let Some(name) = EXTENSIONS.iter().find_map(|extension| file.strip_suffix(extension)) {
            let expected_file = folder.join(format!("{name}{EXPECTED}"));
            cases.push(Case { name: name.to_owned(), manifest, expected_file });
        }
    }
    if let Some(orphan) = expectations.iter().find(|name| !cases.iter().any(|case| case.name == **name)) {
        bail!("{orphan}{EXPECTED} belongs to no manifest: there is no {orphan}.yaml in {}", folder.display());
    }
    ensure!(!cases.is_empty(), "{} contains no case; create NAME.yaml there", folder.display());
    cases.sort_by(|one, other| (&one.name, &one.manifest).cmp(&(&other.name, &other.manifest)));
    if let Some([one, other]) = cases.array_windows().find(|[one, other]| one.name == other.name) {
        let (one, other) = (one.manifest.display(), other.manifest.display());
        bail!("{one} and {other} have the same name, and would have the same expected findings; rename one of them");
    }
    Ok(cases)
}

impl Case {
    /// The expected findings; nothing is expected if there is no file.
    pub fn expected(&self) -> Result<Expected> {
        let file = &self.expected_file;
        if !file.try_exists().with_context(|| file.display().to_string())? {
            return Ok(Expected::default());
        }
        let read = read_document(file, &Limits::default()).map_err(|error| Error::msg(error_text(&error)))?;
        Ok(read.map(Expected::with_stored_settings).unwrap_or_default())
    }

    /// Evaluates the manifest with all checks, and returns the findings with the settings of the case.
    pub fn evaluate(&self, checks: &Checks, settings: BTreeMap<String, Value>) -> Result<Expected> {
        let ids: Vec<String> = checks.infos().map(|info| info.id.clone()).collect();
        if let Some(unknown) = settings.keys().find(|id| !ids.contains(id)) {
            bail!("{}: settings of an unknown check {unknown}", self.expected_file.display());
        }
        let rule = |id: &String| match settings.get(id) {
            Some(settings) => RuleConfig { settings: settings.clone(), ..RuleConfig::default_of(id) },
            None => RuleConfig::default_of(id),
        };
        let rules = checks.rule_set(&Policy { name: self.name.clone(), rules: ids.iter().map(rule).collect() })?;
        let options = ReadOptions { needs: rules.needs(), ..ReadOptions::new(chrono::Utc::now()) };
        let mut read = manifests::read(std::slice::from_ref(&self.manifest), &[], &options);
        manifests::leave_out_owned(&mut read.subjects);
        if let Some(error) = read.errors.first() {
            let line = error.source.as_ref().map_or(0, |source| source.line);
            bail!("{}:{line}: {}", self.manifest.display(), error.message);
        }
        ensure!(!read.subjects.is_empty(), "{} contains no pods or workloads", self.manifest.display());
        let outcomes = rules.evaluate(&read.subjects);
        if let Some(error) = outcomes.iter().flat_map(|outcome| &outcome.errors).next() {
            bail!("{error}");
        }
        ensure!(
            outcomes.iter().flat_map(|outcome| &outcome.results).any(|result| *result != CheckResult::NotApplicable),
            "no check applies to an object in {}; {}",
            self.manifest.display(),
            need_status(&ids)
        );
        let violations =
            evaluations(&read.subjects, &outcomes).into_iter().flat_map(|evaluation| evaluation.violations);
        let findings = violations.map(|violation| ExpectedFinding {
            object: format!("{} {}/{}", violation.kind, violation.namespace, violation.name),
            check: violation.check.to_string(),
            container: violation.container.as_deref().map(str::to_owned),
            field: violation.field.as_deref().map(str::to_owned),
            message: violation.message.to_string(),
        });
        Ok(Expected { settings, findings: findings.collect() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube_devops_engine::{Engine, Limits as EngineLimits};
    use serde_json::json;

    use super::*;
    use crate::commands::document::ordered_document;

    /// The names of the cases in files, or the error.
    fn names(files: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join("cases").join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let cases = of(folder.path()).map_err(|error| error.to_string())?;
        Ok(cases.into_iter().map(|case| case.name).collect())
    }

    #[test]
    fn each_manifest_is_a_case() {
        let files = ["b.yaml", "a.json", "a.expected.yaml", "c.yml", "README.md"];
        assert_eq!(names(&files), Ok(["a", "b", "c"].map(str::to_owned).to_vec()));
        assert!(names(&["a.expected.yaml", "b.yaml"]).unwrap_err().contains("belongs to no manifest"));
        assert!(names(&["README.md"]).unwrap_err().contains("contains no case"));
    }

    #[test]
    fn no_case_is_left_out_or_replaced() {
        let error = names(&["a.yaml", "more/b.yaml"]).unwrap_err();
        assert!(error.contains("more is a folder"), "{error}");
        let error = names(&["a.yaml", "b.yaml", "a.json"]).unwrap_err();
        assert!(error.contains("a.json and ") && error.contains("a.yaml have the same name"), "{error}");
    }

    /// Reads a file with expected findings.
    fn expected(content: impl AsRef<[u8]>) -> Result<Expected, String> {
        let folder = tempfile::tempdir().unwrap();
        let expected_file = folder.path().join("a.expected.yaml");
        fs::write(&expected_file, content).unwrap();
        let case = Case { name: "a".to_owned(), manifest: folder.path().join("a.yaml"), expected_file };
        let prefix = format!("{}/", folder.path().display());
        case.expected().map_err(|error| format!("{error:#}").replace(&prefix, ""))
    }

    #[test]
    fn settings_are_those_that_the_cluster_has_for_the_same_text() {
        let settings = |text: &str| expected(format!("settings: {text}\nfindings: []\n")).unwrap().settings;
        for (text, a) in [
            ("{a: {labels: [y, 'y', off]}}", json!({ "labels": [true, "y", false] })),
            ("{a: {n: 0777, 'n': 1_000, whole: 5.0}}", json!({ "false": 511, "n": 1000, "whole": 5 })),
            ("{a: &b {b: 1}, c: {<<: *b}}", json!({ "b": 1 })),
        ] {
            assert_eq!(settings(text)["a"], a, "{text}");
        }
        assert_eq!(settings("{a: null}"), BTreeMap::new());
        let utf_16 = "\u{feff}settings: {a: {b: yes}}\n".encode_utf16().flat_map(u16::to_le_bytes);
        assert_eq!(expected(utf_16.collect::<Vec<u8>>()).unwrap().settings["a"], json!({ "b": true }));
        assert_eq!(expected(""), Ok(Expected::default()));
    }

    #[test]
    fn errors_of_expected_findings_have_file_and_line() {
        for (text, start) in [
            ("finding: []\n", "a.expected.yaml:1 (document 1): unknown field `finding`"),
            ("findings: []\nfindings: []\n", "a.expected.yaml:2 (document 1): duplicate"),
            ("findings:\n- {check: n, object: a, message: b}\n", "a.expected.yaml:2 (document 1): findings[0].check: "),
            ("findings: []\n---\nfindings: []\n", "a.expected.yaml:3 (document 2): more than one document"),
        ] {
            let error = expected(text).unwrap_err();
            assert!(error.starts_with(start), "{text}: {error}");
        }
    }

    #[test]
    fn updated_findings_are_read_back_unchanged() {
        let finding = |text: &str| ExpectedFinding {
            check: text.to_owned(),
            object: "Pod default/a".to_owned(),
            container: None,
            field: None,
            message: text.to_owned(),
        };
        for text in ["y", "off", "1_000", "0777", "0b1", "<<", "~", "a: b", "has no label team"] {
            let settings = [(text.to_owned(), json!({ text: [text, 1.5, null] }))].into();
            let content = Expected { settings, findings: vec![finding(text)] };
            assert_eq!(expected(ordered_document(&content).unwrap()), Ok(content), "{text}");
        }
        let plain = Expected { findings: vec![finding("no label")], ..Expected::default() };
        assert!(
            ordered_document(&plain).unwrap().starts_with("findings:\n- check: no label\n  object: Pod default/a\n")
        );
    }

    #[test]
    fn a_case_to_which_no_check_applies_fails() {
        let engine = Engine::new(EngineLimits::default()).unwrap();
        let only = |id: &str| {
            let mut checks = kube_devops_modules::checks(&engine).unwrap();
            checks.retain(|known, _| known == id);
            Checks::new(checks, EngineLimits::default())
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pod.yaml");
        let evaluate = |checks: &Checks, manifest: &str| {
            fs::write(&file, manifest).unwrap();
            let (manifest, expected_file) = (file.clone(), folder.path().join("pod.expected.yaml"));
            let case = Case { name: "pod".to_owned(), manifest, expected_file };
            case.evaluate(checks, BTreeMap::new()).map_err(|error| error.to_string())
        };
        let pod =
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: 'web:1'}]}\n";
        assert!(evaluate(&only("latest-tag"), pod).is_ok());
        let error = evaluate(&only("pending"), pod).unwrap_err();
        assert!(error.ends_with("these evaluate the status of pods, which none of them has: pending"), "{error}");
        assert!(evaluate(&only("pending"), &format!("{pod}status: {{phase: Running}}\n")).is_ok());
    }
}
