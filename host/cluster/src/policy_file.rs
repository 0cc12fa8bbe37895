//! A DevOpsPolicy in a file, held to what the API server would hold it to.

use kube::{CustomResourceExt, Resource};
use serde::Deserialize;
use serde_json::Value;
use serde_norway::{Deserializer, Value as Yaml};

use crate::crd::DevOpsPolicy;

/// A text that is no policy, or one that the API server would refuse.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It cannot be read at all.
    #[error("not a DevOpsPolicy: {0}")]
    Unreadable(String),
    /// It is another object.
    #[error(
        "not a DevOpsPolicy: apiVersion is {api_version:?} and kind is {kind:?}, not {:?} and \"DevOpsPolicy\"",
        DevOpsPolicy::api_version(&())
    )]
    OtherKind {
        /// Its version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// A field has a value of the wrong type.
    #[error("not a valid DevOpsPolicy: {0}")]
    WrongType(String),
    /// Fields that do not exist, and so would have no effect.
    #[error("DevOpsPolicy has no field {0}")]
    UnknownFields(String),
    /// What the schema or a rule of it does not allow.
    #[error("not a valid DevOpsPolicy: {0}")]
    Refused(String),
    /// Several documents.
    #[error("more than one document: a file holds one DevOpsPolicy")]
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
        0 => return Err(PolicyFileError::Unreadable("there is nothing in it".to_owned())),
        1 => documents.remove(0),
        _ => return Err(PolicyFileError::Several),
    };
    let text_of = |key: &str| document.get(key).and_then(Yaml::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text_of("apiVersion"), text_of("kind"));
    if kind != "DevOpsPolicy" || api_version != DevOpsPolicy::api_version(&()) {
        return Err(PolicyFileError::OtherKind { api_version, kind });
    }
    // Read from the text once more: only this way do errors name lines.
    let Some(document) = Deserializer::from_str(text).nth(index) else { return Err(PolicyFileError::Several) };
    let mut unknown = Vec::new();
    let policy: DevOpsPolicy = serde_ignored::deserialize(document, |path| unknown.push(path.to_string()))
        .map_err(|error| PolicyFileError::WrongType(error.to_string()))?;
    // `?` stands for an optional value on the way to the field; the types were read above.
    let unknown = unknown.iter().map(|path| path.replace(".?", ""));
    let unknown: Vec<_> = unknown.filter(|path| path != "apiVersion" && path != "kind").collect();
    if !unknown.is_empty() {
        return Err(PolicyFileError::UnknownFields(unknown.join(", ")));
    }
    let mut refused = broken_bounds(&policy)?;
    refused.extend(policy.spec.broken_rules().into_iter().map(str::to_owned));
    if refused.is_empty() { Ok(policy) } else { Err(PolicyFileError::Refused(refused.join("; "))) }
}

/// The bounds and patterns of the schema that the policy's spec does not keep, each with the field.
fn broken_bounds(policy: &DevOpsPolicy) -> Result<Vec<String>, PolicyFileError> {
    let refused = |reason: String| PolicyFileError::Refused(reason);
    let definition = serde_json::to_value(DevOpsPolicy::crd()).map_err(|error| refused(error.to_string()))?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let validator = jsonschema::validator_for(schema).map_err(|error| refused(error.to_string()))?;
    let spec: Value = serde_json::to_value(&policy.spec).map_err(|error| refused(error.to_string()))?;
    let broken = validator.iter_errors(&spec).map(|error| {
        let field = error.instance_path().to_string().replace('/', ".");
        format!("spec{field}: {error}")
    });
    Ok(broken.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: a}\nspec:\n";

    fn said(text: &str) -> String {
        parse(text).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    }

    #[test]
    fn every_bound_and_rule_that_is_broken_is_named() {
        let spec = "  maxRestartCount: -1\n  enforcementMode: enforce\n  defaultProbe: {tcpPort: 0}\n";
        let text = said(&format!("{POLICY}{spec}"));
        for part in ["spec.maxRestartCount: -1 is less than", "spec.defaultProbe.tcpPort: 0 is less", "nothing to mend"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn one_document_is_read_whatever_stands_around_it() {
        let policy = format!("{POLICY}  forbidLatestTag: true\n");
        for text in [
            policy.clone(),
            format!("\u{feff}---\n{policy}"),
            format!("# comment\n---\n{policy}---\n# nothing\n"),
            policy.replace('\n', "\r\n"),
        ] {
            assert_eq!(said(&text), "accepted", "{text:?}");
        }
        assert!(said(&format!("{policy}---\n{policy}")).starts_with("more than one document"));
        assert!(said("").starts_with("not a DevOpsPolicy"));
    }
}
