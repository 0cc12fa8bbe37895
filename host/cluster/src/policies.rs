//! The conversions from DevOpsPolicy objects to policies of the core, and from bundles to DevOpsPolicy objects.

use kube_devops_core::policy_fields::POLICY_FIELDS;
use kube_devops_core::{Bundle, Enforcement, Policy, RuleConfig};
use serde_json::{Map, Value, json};

use crate::crd::{DevOpsPolicy, DevOpsPolicySpec};

/// The reason why a bundle cannot be converted to a DevOpsPolicy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// DevOpsPolicy v1 has no field for a check.
    #[error("the bundle {bundle} selects the check {check}, for which DevOpsPolicy has no field")]
    NoField {
        /// The bundle.
        bundle: String,
        /// The check.
        check: String,
    },
    /// A value does not have the type of its field.
    #[error("the bundle {bundle} does not fit DevOpsPolicy: {reason}")]
    Unfit {
        /// The bundle.
        bundle: String,
        /// The reason.
        reason: String,
    },
}

/// Returns the policy with the rules that a spec enables.
pub fn policy(name: &str, spec: &DevOpsPolicySpec) -> Policy {
    let fields = serde_json::to_value(spec).unwrap_or_default();
    let rules = POLICY_FIELDS.iter().filter_map(|field| {
        let value = &fields[field.field];
        let settings = match (field.setting, value) {
            (None, Value::Bool(true)) => json!({}),
            (Some(setting), Value::Number(number)) => json!({ setting: number }),
            _ => return None,
        };
        let severity = fields["severityOverrides"][field.severity_override].as_str();
        Some(RuleConfig {
            check: field.check.to_owned(),
            settings,
            severity: severity.and_then(|severity| severity.parse().ok()),
        })
    });
    Policy { name: name.to_owned(), rules: rules.collect() }
}

/// Converts a bundle to the DevOpsPolicy that `bundle-apply` prints.
pub fn from_bundle(bundle: &Bundle, namespace: &str, name: &str) -> Result<DevOpsPolicy, PolicyError> {
    let mut fields = Map::new();
    let mut severities = Map::new();
    for rule in &bundle.rules {
        let no_field = || PolicyError::NoField { bundle: bundle.name.clone(), check: rule.check.clone() };
        let field = POLICY_FIELDS.iter().find(|field| field.check == rule.check).ok_or_else(no_field)?;
        let value = match field.setting {
            None => json!(true),
            Some(setting) => rule.settings.get(setting).cloned().ok_or_else(no_field)?,
        };
        fields.insert(field.field.to_owned(), value);
        if let Some(severity) = rule.severity {
            severities.insert(field.severity_override.to_owned(), json!(severity));
        }
    }
    if !severities.is_empty() {
        fields.insert("severityOverrides".to_owned(), severities.into());
    }
    let mode = if bundle.enforcement == Enforcement::Enforce { "enforce" } else { "audit" };
    fields.insert("enforcementMode".to_owned(), json!(mode));
    if let Some(probe) = &bundle.default_probe {
        let probe = json!({
            "tcpPort": probe.tcp_port,
            "initialDelaySeconds": probe.initial_delay_seconds,
            "periodSeconds": probe.period_seconds,
        });
        fields.insert("defaultProbe".to_owned(), probe);
    }
    if let Some(resources) = &bundle.default_resources {
        let resources = json!({
            "cpuRequest": resources.cpu_request,
            "cpuLimit": resources.cpu_limit,
            "memoryRequest": resources.memory_request,
            "memoryLimit": resources.memory_limit,
        });
        fields.insert("defaultResources".to_owned(), resources);
    }
    let unfit =
        |error: serde_json::Error| PolicyError::Unfit { bundle: bundle.name.clone(), reason: error.to_string() };
    let mut policy = DevOpsPolicy::new(name, serde_json::from_value(fields.into()).map_err(unfit)?);
    policy.metadata.namespace = Some(namespace.to_owned());
    Ok(policy)
}
