//! `plain-secrets`: environment variables must not contain secrets in plain text. Facts do not contain environment variables, so
//! this check reads the complete object, for which a PolicyModule grants `object`.

use kube_devops_sdk::{Check, Findings, Info, NoSettings, Severity, Subject, export_checks};

/// The check.
pub struct PlainSecrets;

/// Parts of the names of variables that usually contain a secret.
const SECRETS: [&str; 4] = ["PASSWORD", "SECRET", "TOKEN", "PRIVATE_KEY"];

impl Check for PlainSecrets {
    type Settings = NoSettings;

    fn info() -> Info {
        Info {
            severity: Severity::Critical,
            remedy: "Store the value in a Secret, and refer to it with valueFrom.secretKeyRef.",
            ..Info::new("plain-secrets", "Container has a secret in plain text")
        }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    #[cfg(target_family = "wasm")]
    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        let read = |pointer: &str| kube_devops_sdk::object::get(findings.subject(), pointer);
        let names: Vec<Vec<String>> =
            subject.containers().map(|container| plain(&containers(read), container.name())).collect();
        for (index, names) in names.into_iter().enumerate() {
            for name in names {
                findings.container(index, "/env", format!("has a value for {name} in plain text"));
            }
        }
    }

    // The object exists only in the host.
    #[cfg(not(target_family = "wasm"))]
    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

/// The containers of the pod, or of the pod template of a workload.
pub fn containers(read: impl Fn(&str) -> Option<String>) -> Vec<serde_json::Value> {
    let specs = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"];
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let spec = specs.into_iter().find(|spec| read(&format!("{spec}/containers")).is_some()).unwrap_or_default();
    let list = |list: &str| -> Vec<serde_json::Value> {
        read(&format!("{spec}/{list}")).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    };
    lists.into_iter().flat_map(list).collect()
}

/// The names of the variables of a container that have a secret as their value.
pub fn plain(containers: &[serde_json::Value], name: &str) -> Vec<String> {
    let container = containers.iter().find(|container| container["name"] == name);
    let variables = container.and_then(|container| container["env"].as_array()).into_iter().flatten();
    let has_value = variables.filter(|variable| variable["value"].as_str().is_some_and(|value| !value.is_empty()));
    let names = has_value.filter_map(|variable| variable["name"].as_str());
    names.filter(|name| SECRETS.iter().any(|secret| name.to_uppercase().contains(secret))).map(str::to_owned).collect()
}

export_checks!(PlainSecrets);
