//! A DevOpsPolicy in a file, with the validation of the API server.

use kube::{CustomResourceExt, Resource};
use serde::Deserialize;
use serde_json::Value;
use serde_norway::{Deserializer, Value as Yaml};

use crate::crd::{DevOpsPolicy, bounds};

/// The reason why a text is not a policy that the API server would accept.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It is not YAML or JSON, or there is no document.
    #[error("not a DevOpsPolicy: {0}")]
    Unreadable(String),
    /// It is another object.
    #[error(
        "not a DevOpsPolicy: apiVersion is {api_version:?} and kind is {kind:?}, not {:?} and \"DevOpsPolicy\"",
        DevOpsPolicy::api_version(&())
    )]
    OtherKind {
        /// Its API version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// A field has a value of the wrong type.
    #[error("not a valid DevOpsPolicy: {0}")]
    WrongType(String),
    /// Fields that do not exist, and would have no effect.
    #[error("DevOpsPolicy has no field {0}")]
    UnknownFields(String),
    /// The violations of the schema and its rules.
    #[error("not a valid DevOpsPolicy: {0}")]
    Invalid(String),
    /// There is more than one document.
    #[error("more than one document: a file contains one DevOpsPolicy")]
    Several,
}

/// Reads one DevOpsPolicy from YAML or JSON text.
pub fn parse(text: &str) -> Result<DevOpsPolicy, PolicyFileError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut documents = Vec::new();
    for (index, document) in Deserializer::from_str(text).enumerate() {
        let value = Yaml::deserialize(document).map_err(|error| PolicyFileError::Unreadable(error.to_string()))?;
        if !value.is_null() {
            documents.push((index, value));
        }
    }
    let (index, document) = match documents.len() {
        0 => return Err(PolicyFileError::Unreadable("there is no document".to_owned())),
        1 => documents.remove(0),
        _ => return Err(PolicyFileError::Several),
    };
    let text_of = |key: &str| document.get(key).and_then(Yaml::as_str).unwrap_or_default().to_owned();
    check_kind(text_of("apiVersion"), text_of("kind"))?;
    // The text is read again, because only errors of the text contain lines.
    let Some(document) = Deserializer::from_str(text).nth(index) else { return Err(PolicyFileError::Several) };
    read(document)
}

/// Validates an object as the API server would, with the same messages as for a policy in a file.
pub fn check(object: &Value) -> Result<DevOpsPolicy, PolicyFileError> {
    let text_of = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    check_kind(text_of("apiVersion"), text_of("kind"))?;
    read(object)
}

fn check_kind(api_version: String, kind: String) -> Result<(), PolicyFileError> {
    if kind == "DevOpsPolicy" && api_version == DevOpsPolicy::api_version(&()) {
        return Ok(());
    }
    Err(PolicyFileError::OtherKind { api_version, kind })
}

fn read<'de, D>(document: D) -> Result<DevOpsPolicy, PolicyFileError>
where
    D: serde::Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    let mut unknown = Vec::new();
    let policy: DevOpsPolicy = serde_ignored::deserialize(document, |path| unknown.push(path.to_string()))
        .map_err(|error| PolicyFileError::WrongType(error.to_string()))?;
    // `?` denotes an optional value in the path of the field. The types were read above.
    let unknown = unknown.iter().map(|path| path.replace(".?", ""));
    let unknown: Vec<_> = unknown.filter(|path| path != "apiVersion" && path != "kind").collect();
    if !unknown.is_empty() {
        return Err(PolicyFileError::UnknownFields(unknown.join(", ")));
    }
    let mut violations = schema_violations(&policy)?;
    violations.extend(policy.spec.broken_rules());
    if violations.is_empty() { Ok(policy) } else { Err(PolicyFileError::Invalid(violations.join("; "))) }
}

/// Returns the violations of the bounds of the schema by the policy's spec, each with its field.
fn schema_violations(policy: &DevOpsPolicy) -> Result<Vec<String>, PolicyFileError> {
    let spec = serde_json::to_value(&policy.spec).map_err(|error| PolicyFileError::Invalid(error.to_string()))?;
    let versions = DevOpsPolicy::crd().spec.versions;
    let schemas =
        versions.into_iter().filter_map(|version| version.schema?.open_api_v3_schema?.properties?.remove("spec"));
    Ok(schemas.flat_map(|schema| bounds::violations(&schema, &spec, "spec")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: a}\nspec:\n";

    fn result(text: &str) -> String {
        parse(text).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    }

    #[test]
    fn every_violated_bound_and_rule_is_reported() {
        let spec = "  maxRestartCount: -1\n  enforcementMode: enforce\n  defaultProbe: {tcpPort: 0}\n";
        let text = result(&format!("{POLICY}{spec}"));
        for part in
            ["spec.maxRestartCount: -1 is less than", "spec.defaultProbe.tcpPort: 0 is less", "nothing to remediate"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn one_document_is_read_regardless_of_comments_and_empty_documents() {
        let policy = format!("{POLICY}  forbidLatestTag: true\n");
        for text in [
            policy.clone(),
            format!("\u{feff}---\n{policy}"),
            format!("# comment\n---\n{policy}---\n# nothing\n"),
            policy.replace('\n', "\r\n"),
        ] {
            assert_eq!(result(&text), "accepted", "{text:?}");
        }
        assert!(result(&format!("{policy}---\n{policy}")).starts_with("more than one document"));
        assert!(result("").starts_with("not a DevOpsPolicy"));
    }
}
