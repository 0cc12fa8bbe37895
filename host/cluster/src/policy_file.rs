//! The validation of a DevOpsPolicy that was read from a file, as by the API server.

use std::fmt::Display;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::api::ObjectMeta;
use kube::{CustomResourceExt, Resource};
use kube_devops_core::names::is_subdomain;
use kube_devops_engine::Limits;
use serde_json::Value;

use crate::crd::{DevOpsPolicy, bounds, stored};
use crate::field_path::{FieldError, FieldPath};

/// The reason why an object is not a policy that the API server would accept.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
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
    /// Fields that do not exist, and would have no effect.
    #[error("DevOpsPolicy has no field {}", joined(.0, ", "))]
    UnknownFields(Vec<FieldPath>),
    /// A field of the wrong type, or all violations of the schema and its rules.
    #[error("not a valid DevOpsPolicy: {}", joined(.0, "; "))]
    Invalid(Vec<FieldError>),
}

impl PolicyFileError {
    /// Returns the JSON Pointer to the first field that the error names; empty if it is about the whole object.
    pub fn pointer(&self) -> String {
        let first = match self {
            Self::OtherKind { .. } => None,
            Self::UnknownFields(fields) => fields.first(),
            Self::Invalid(errors) => errors.first().map(|error| &error.field),
        };
        first.map(FieldPath::pointer).unwrap_or_default()
    }
}

fn joined(parts: &[impl Display], separator: &str) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

/// Validates an object as the API server would, with the same messages as for a policy in a file.
pub fn check(object: &Value) -> Result<DevOpsPolicy, PolicyFileError> {
    let text_of = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    check_kind(text_of("apiVersion"), text_of("kind"))?;
    let mut object = object.clone();
    if let Some(spec) = object.get_mut("spec") {
        *spec = as_stored(spec);
    }
    let of_schema = schema_errors(&object["spec"]);
    let policy = match read(&object) {
        // The schema describes all fields of the wrong type, and reading ends at the first one.
        Err(PolicyFileError::Invalid(_)) if !of_schema.is_empty() => return Err(PolicyFileError::Invalid(of_schema)),
        policy => policy?,
    };
    let rules = policy.spec.broken_rules().into_iter();
    let rules = rules.map(|message| FieldError { field: FieldPath::default(), message });
    let errors: Vec<FieldError> = name_error(&policy.metadata).into_iter().chain(of_schema).chain(rules).collect();
    if errors.is_empty() { Ok(policy) } else { Err(PolicyFileError::Invalid(errors)) }
}

fn check_kind(api_version: String, kind: String) -> Result<(), PolicyFileError> {
    if kind == "DevOpsPolicy" && api_version == DevOpsPolicy::api_version(&()) {
        return Ok(());
    }
    Err(PolicyFileError::OtherKind { api_version, kind })
}

/// Reads a policy, of which every field must exist.
fn read(object: &Value) -> Result<DevOpsPolicy, PolicyFileError> {
    let mut unknown = Vec::new();
    let mut ignored = |path: serde_ignored::Path<'_>| {
        if !is_cut_off(&path) {
            unknown.push(FieldPath::from(&path));
        }
    };
    let document = serde_ignored::Deserializer::new(object, &mut ignored);
    let policy: DevOpsPolicy = serde_path_to_error::deserialize(document).map_err(|error| {
        let field = FieldPath::from(error.path());
        PolicyFileError::Invalid(vec![FieldError { field, message: error.into_inner().to_string() }])
    })?;
    // The types were read above.
    unknown.retain(|field| !matches!(&*field.pointer(), "/apiVersion" | "/kind"));
    if unknown.is_empty() { Ok(policy) } else { Err(PolicyFileError::UnknownFields(unknown)) }
}

/// Whether a value is nested so deeply that it can only be one of settings, of which the rest is not read. There may be millions of them.
fn is_cut_off(path: &serde_ignored::Path<'_>) -> bool {
    std::iter::successors(Some(path), |path| parent(path)).nth(Limits::default().settings_depth).is_some()
}

fn parent<'p>(path: &'p serde_ignored::Path<'p>) -> Option<&'p serde_ignored::Path<'p>> {
    use serde_ignored::Path;
    match path {
        Path::Root => None,
        Path::Seq { parent, .. }
        | Path::Map { parent, .. }
        | Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => Some(parent),
    }
}

/// Returns the error of the name, which the API server checks for every object.
fn name_error(metadata: &ObjectMeta) -> Option<FieldError> {
    let message = match metadata.name.as_deref().filter(|name| !name.is_empty()) {
        None if metadata.generate_name.is_some() => return None,
        None => "a name is required".to_owned(),
        Some(name) if is_subdomain(name) => return None,
        Some(name) => format!(
            "{name:?} must consist of lower case letters, digits, '-' and '.', start and end with a letter or digit, \
             and have at most 253 characters"
        ),
    };
    Some(FieldError { field: FieldPath::of("metadata").key("name"), message })
}

/// Returns the violations of the types and bounds of the schema by a spec.
fn schema_errors(spec: &Value) -> Vec<FieldError> {
    schema().map(|schema| bounds::errors(&schema, spec, &FieldPath::of("spec"))).unwrap_or_default()
}

/// Returns a spec as the API server reads it.
fn as_stored(spec: &Value) -> Value {
    schema().map_or_else(|| spec.clone(), |schema| stored::as_stored(&schema, spec.clone()))
}

/// Returns the settings of a check as the API server reads them: a number without a fraction is an integer.
pub fn settings_as_stored(mut settings: Value) -> Value {
    stored::replace_whole_floats(&mut settings);
    settings
}

/// Returns the schema of the spec.
fn schema() -> Option<JSONSchemaProps> {
    let version = DevOpsPolicy::crd().spec.versions.into_iter().next()?;
    version.schema?.open_api_v3_schema?.properties?.remove("spec")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: a}\nspec:\n";

    fn parse(text: &str) -> Result<DevOpsPolicy, PolicyFileError> {
        check(&serde_norway::from_str(text).expect("valid YAML"))
    }

    fn result(text: &str) -> String {
        parse(text).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    }

    #[test]
    fn errors_name_the_field_and_its_place() {
        for (spec, pointer) in [
            ("  maxRestartCount: -1\n", "/spec/maxRestartCount"),
            ("  checks: [{check: pending}, {check: null}]\n", "/spec/checks/1"),
            ("  checks: [{check: pending, weigth: 1}]\n", "/spec/checks/0/weigth"),
            ("  b: true\n  a: 1\n", "/spec/a"),
            ("  forbidLatestTag: 'true'\n", "/spec/forbidLatestTag"),
            ("  forbidLatestTag: false\n  enforcementMode: enforce\n", ""),
        ] {
            let error = parse(&format!("{POLICY}{spec}")).err();
            assert_eq!(error.map(|error| error.pointer()).as_deref(), Some(pointer), "{spec}");
        }
        let other = POLICY.replace("DevOpsPolicy", "Pod");
        assert_eq!(parse(&other).err().map(|error| error.pointer()).as_deref(), Some(""));
    }

    #[test]
    fn metadata_has_strings_where_the_api_server_requires_them() {
        for metadata in ["{name: true}", "{name: 1}", "{name: a, labels: {a: 1}}", "{name: a, annotations: {a: true}}"]
        {
            let text = format!("{}  forbidLatestTag: true\n", POLICY.replace("{name: a}", metadata));
            let error = result(&text);
            assert!(error.contains(": metadata.") && error.contains(": invalid type"), "{metadata}: {error}");
        }
    }

    #[test]
    fn settings_of_any_depth_are_left_to_the_engine() {
        let nested = format!("{}{{}}{}", "{a: ".repeat(110), "}".repeat(110));
        assert_eq!(result(&format!("{POLICY}  checks: [{{check: labels, settings: {nested}}}]\n")), "accepted");
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
    fn types_and_names_are_those_of_the_api_server() {
        for (spec, field) in [
            ("  defaultResources: {cpuLimit: 2}\n", "spec.defaultResources.cpuLimit: 2 has"),
            ("  defaultResources: {cpuRequest: 0.5}\n", "spec.defaultResources.cpuRequest: 0.5 has"),
            ("  bundle: 5\n", "spec.bundle: 5 has"),
            ("  checks: [{check: pending, settings: [1]}]\n", "settings: [1] has another type than object"),
        ] {
            let text = result(&format!("{POLICY}{spec}"));
            assert!(text.contains(field), "{spec}: {text}");
        }
        let quoted = format!("{POLICY}  defaultResources: {{cpuLimit: '2'}}\n  forbidLatestTag: true\n");
        assert_eq!(result(&quoted), "accepted");
        for (name, is_valid) in [
            ("a", true),
            ("a-1.b", true),
            ("'1'", true),
            ("''", false),
            ("A_b", false),
            ("-a", false),
            ("a..b", false),
            ("a.", false),
        ] {
            let policy = POLICY.replace("name: a", &format!("name: {name}"));
            let text = result(&format!("{policy}  forbidLatestTag: true\n"));
            assert_eq!(text == "accepted", is_valid, "{name}: {text}");
        }
        let unnamed = POLICY.replace("name: a", "");
        assert!(result(&format!("{unnamed}  forbidLatestTag: true\n")).contains("a name is required"));
    }

    #[test]
    fn nulls_and_whole_numbers_are_those_of_the_api_server() {
        for spec in [
            "  enforcementMode: null\n  forbidLatestTag: true\n",
            "  checks: null\n  bundle: null\n  defaultProbe: null\n  maxRestartCount: 3.0\n",
            "  forbidPendingDuration: 1e3\n  defaultProbe: {tcpPort: 80.0, periodSeconds: null}\n",
            "  checks: [{check: pending, settings: null, weight: 5.0}]\n",
        ] {
            assert_eq!(result(&format!("{POLICY}{spec}")), "accepted", "{spec}");
        }
        let policy = parse(&format!("{POLICY}  maxRestartCount: 3.0\n  enforcementMode: null\n"));
        assert_eq!(policy.ok().and_then(|policy| policy.spec.max_restart_count), Some(3));
        for (spec, part) in [
            ("  maxRestartCount: null\n", "the policy enables no check"),
            ("  checks: null\n", "the policy enables no check"),
            ("  maxRestartCount: 2.5\n", "2.5"),
            ("  maxRestartCount: 1e300\n", "spec.maxRestartCount"),
            ("  maxRestartCount: -1.0\n", "spec.maxRestartCount: -1 is less than"),
            ("  checks: [{check: null}]\n", "spec.checks[0]: missing field `check`"),
            ("  checks: [null]\n", "spec.checks"),
            ("  checks: [{check: pending, severity: null}]\n", "spec.checks[0].severity: null is not one of"),
            (
                "  bundle: baseline\n  severityOverrides: {pending: null}\n",
                "spec.severityOverrides.pending: null is not one",
            ),
        ] {
            let text = result(&format!("{POLICY}{spec}"));
            assert!(text.contains(part), "{spec}: {text}");
        }
    }
}
