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
        for index in 0..subject.containers().count() {
            let variables = kube_devops_sdk::object::container(findings.subject(), index, "/env");
            for name in plain(&variables.unwrap_or_default()) {
                findings.container(index, "/env", format!("has a value for {name} in plain text"));
            }
        }
    }

    // The object exists only in the host.
    #[cfg(not(target_family = "wasm"))]
    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

/// The names of the variables that have a secret as their value. `variables` is the list of variables as JSON text; empty if there is
/// none.
pub fn plain(variables: &str) -> Vec<String> {
    let variables: Vec<serde_json::Value> = serde_json::from_str(variables).unwrap_or_default();
    let has_value = variables.iter().filter(|variable| variable["value"].as_str().is_some_and(|value| !value.is_empty()));
    let names = has_value.filter_map(|variable| variable["name"].as_str());
    names.filter(|name| SECRETS.iter().any(|secret| name.to_uppercase().contains(secret))).map(str::to_owned).collect()
}

export_checks!(PlainSecrets);
