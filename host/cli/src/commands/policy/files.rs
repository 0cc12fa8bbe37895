//! The policies of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use chrono::DateTime;
use kube_devops_cluster::crd::GROUP;
use kube_devops_cluster::gitops::without_server_fields;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_core::Source;
use kube_devops_core::report::ReportError;
use kube_devops_core::text::number;
use kube_devops_manifests::{ManifestObject, Objects, ReadOptions, STANDARD_INPUT, SkippedObject, read_objects};
use serde_json::Value;

use crate::arguments::SourceArguments;
use crate::progress::Progress;
use crate::terminal::print_message;

/// Group and kind of policies.
pub(super) const KIND: (&str, &str) = (GROUP, "DevOpsPolicy");

/// A policy of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredPolicy {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The policy as it is applied, with its namespace and without the fields that the API server sets.
    pub value: Value,
    /// Its file and line.
    pub place: String,
}

/// The policies of files, and the number of documents and policies that cannot be used.
#[derive(Debug, Default, PartialEq)]
pub struct PolicyFiles {
    /// The policies, in the order of the files.
    pub policies: Vec<DeclaredPolicy>,
    /// The number of errors, which were printed.
    pub failures: usize,
}

/// Reads the objects of the files. Prints the errors, and the objects that are no policies.
pub fn read(source: &SourceArguments) -> Objects {
    let _progress = Progress::new("reading manifests");
    let options = ReadOptions { default_namespace: String::new(), ..ReadOptions::new(DateTime::UNIX_EPOCH) };
    let objects = read_objects(&source.paths, &[KIND], &options);
    for error in &objects.errors {
        print_message("error", &error_text(error));
    }
    for object in objects.skipped.iter().filter(|object| misspelt_kind(object).is_none()) {
        let name = match (object.namespace.as_str(), object.name.as_str()) {
            (_, "") => String::new(),
            ("", name) => format!(" {name}"),
            (namespace, name) => format!(" {namespace}/{name}"),
        };
        let kind = if object.kind.is_empty() { "a document without a kind" } else { &object.kind };
        print_message("skipped", &format!("{}: {kind}{name} is not a DevOpsPolicy", place(&object.source)));
    }
    if objects.patches > 0 {
        let message = format!(
            "{} of a kustomization, so that the policies are those without it; to import what it renders, use \
             `kubectl kustomize FOLDER | kube-devops policy import -`",
            number(objects.patches, "patch file")
        );
        print_message("skipped", &message);
    }
    for (count, reason) in [(objects.excluded, "excluded by .kube-devopsignore"), (objects.hidden, "hidden")] {
        if count > 0 {
            print_message("skipped", &format!("{}: {reason}", number(count, "file")));
        }
    }
    objects
}

/// Returns the message about an object of this API group whose kind is in the wrong case, which the API server does not know.
fn misspelt_kind(object: &SkippedObject) -> Option<String> {
    let is_of_group = object.api_version.split('/').next() == Some(GROUP);
    let is_misspelt = is_of_group && object.kind.eq_ignore_ascii_case(KIND.1);
    is_misspelt.then(|| format!("{}: unknown kind {}; write {}", place(&object.source), object.kind, KIND.1))
}

/// Returns the paths as the user named them, for messages.
fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| match path.as_os_str() == "-" {
        true => STANDARD_INPUT.to_owned(),
        false => path.display().to_string(),
    };
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
}

pub(super) fn place(source: &Source) -> String {
    format!("{}:{}", source.file, source.line)
}

/// Returns the text of an error of a file, with its place.
pub fn error_text(error: &ReportError) -> String {
    match &error.source {
        Some(source) => format!("{} (document {}): {}", place(source), source.document, error.message),
        None => error.message.clone(),
    }
}

impl PolicyFiles {
    /// Returns the policies of objects of a source. Prints the reasons why an object cannot be used.
    ///
    /// # Errors
    ///
    /// If there is nothing to do; `done` is what was not done, such as "imported".
    pub fn of(objects: Objects, source: &SourceArguments, default_namespace: &str, done: &str) -> Result<Self> {
        let (policies, mut errors) = declare(objects.objects, source.namespace.as_deref(), default_namespace);
        errors.extend(objects.skipped.iter().filter_map(misspelt_kind));
        errors.iter().for_each(|error| print_message("error", error));
        let failures = objects.errors.len() + errors.len();
        if policies.is_empty() && failures == 0 {
            bail!("no DevOpsPolicy in {}; nothing was {done}", names(&source.paths));
        }
        Ok(Self { policies, failures })
    }
}

/// Returns the policies of objects, and the reasons why objects cannot be used. A policy without a namespace has the chosen
/// or the default one; a policy with a namespace must have the chosen one, as for kubectl.
fn declare(
    objects: Vec<ManifestObject>,
    chosen: Option<&str>,
    default_namespace: &str,
) -> (Vec<DeclaredPolicy>, Vec<String>) {
    let mut policies: Vec<DeclaredPolicy> = Vec::with_capacity(objects.len());
    let mut errors = Vec::new();
    let mut known: BTreeMap<ObjectKey, String> = BTreeMap::new();
    let mut ambiguous = BTreeSet::new();
    for ManifestObject { value, source, .. } in objects {
        let place = place(&source);
        let mut error = |message: String| errors.push(format!("{place}: {message}"));
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
        let name = text("name");
        if name.is_empty() {
            error("a DevOpsPolicy without a name; add metadata.name".to_owned());
            continue;
        }
        let version = value["apiVersion"].as_str().unwrap_or_default();
        if version != "devops.stochastic.io/v1" {
            error(format!("DevOpsPolicy {name}: unknown apiVersion {version:?}; write devops.stochastic.io/v1"));
            continue;
        }
        let namespace = match (text("namespace"), chosen) {
            ("", chosen) => chosen.unwrap_or(default_namespace),
            (own, Some(chosen)) if own != chosen => {
                error(format!(
                    "DevOpsPolicy {own}/{name} is not in the namespace {chosen} of -n; omit -n, or the namespace of the policy"
                ));
                continue;
            }
            (own, _) => own,
        };
        let key = ObjectKey { namespace: namespace.into(), name: name.into() };
        if let Some(first) = known.get(&key) {
            error(format!("duplicate DevOpsPolicy {key}; the first one is at {first}; remove one of them"));
            ambiguous.insert(key);
            continue;
        }
        let mut value = without_server_fields(&value);
        value["metadata"]["namespace"] = (&*key.namespace).into();
        known.insert(key.clone(), place.clone());
        policies.push(DeclaredPolicy { key, value, place });
    }
    // The order of files must not decide which policy applies.
    policies.retain(|policy| !ambiguous.contains(&policy.key));
    (policies, errors)
}

#[cfg(test)]
mod tests {
    use kube_devops_core::lines::Lines;
    use serde_json::json;

    use super::*;

    fn object(metadata: Value, line: usize) -> ManifestObject {
        let value = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy", "metadata": metadata, "spec": {},
        });
        let source = Source { file: "a.yaml".into(), document: 1, line, object_line: line };
        ManifestObject { value, source, lines: Lines::default() }
    }

    fn declared(objects: &[Value], chosen: Option<&str>) -> (Vec<String>, Vec<String>) {
        let objects = objects.iter().enumerate().map(|(index, metadata)| object(metadata.clone(), index + 1)).collect();
        let (policies, errors) = declare(objects, chosen, "current");
        (policies.iter().map(|policy| policy.key.to_string()).collect(), errors)
    }

    #[test]
    fn a_policy_without_a_namespace_has_the_chosen_or_the_default_one() {
        let metadata = [json!({ "name": "a" }), json!({ "name": "b", "namespace": "shop" })];
        assert_eq!(declared(&metadata, None), (vec!["current/a".to_owned(), "shop/b".to_owned()], vec![]));
        assert_eq!(declared(&metadata, Some("shop")).0, ["shop/a", "shop/b"]);
        let (policies, errors) = declared(&metadata, Some("other"));
        assert_eq!(policies, ["other/a"]);
        assert!(errors[0].starts_with("a.yaml:2: DevOpsPolicy shop/b is not in the namespace other"), "{errors:?}");
    }

    #[test]
    fn policies_without_a_name_and_duplicates_are_errors() {
        let metadata = [
            json!({ "name": "a" }),
            json!({ "generateName": "a-" }),
            json!({ "name": "a", "namespace": "current" }),
            json!(null),
            json!({ "name": "b" }),
        ];
        let (policies, errors) = declared(&metadata, None);
        assert_eq!(policies, ["current/b"], "neither duplicate is applied");
        assert_eq!(errors.len(), 3);
        assert!(errors[1].contains("duplicate DevOpsPolicy current/a; the first one is at a.yaml:1"), "{errors:?}");
    }

    #[test]
    fn another_version_is_an_error_and_server_fields_are_removed() {
        let mut other = object(json!({ "name": "a" }), 1);
        other.value["apiVersion"] = "devops.stochastic.io/v2".into();
        let stored = object(json!({ "name": "b", "uid": "1", "resourceVersion": "2" }), 5);
        let (policies, errors) = declare(vec![other, stored], None, "shop");
        assert_eq!(policies[0].value["metadata"], json!({ "name": "b", "namespace": "shop" }));
        assert!(errors[0].contains("unknown apiVersion \"devops.stochastic.io/v2\""), "{errors:?}");
    }
}
