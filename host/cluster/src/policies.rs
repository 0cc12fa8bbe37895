//! The conversions from DevOpsPolicy objects to policies of the core, and from bundles to DevOpsPolicy objects.

use std::collections::BTreeMap;
use std::time::Instant;

use kube_devops_core::policy_fields::POLICY_FIELDS;
use kube_devops_core::{Bundle, Enforcement, Policy, RuleConfig};
use kube_devops_engine::{Checks, Limits, RuleError};
use serde_json::{Map, Value, json};

use crate::crd::{CheckRule, DevOpsPolicy, DevOpsPolicySpec};
use crate::rules::PossibleRules;

/// The reason why a bundle cannot be converted to a DevOpsPolicy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A value does not have the type of its field.
    #[error("the bundle {bundle} does not fit DevOpsPolicy: {reason}")]
    Unfit {
        /// The bundle.
        bundle: String,
        /// The reason.
        reason: String,
    },
}

/// The reason why a spec cannot be converted to a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The bundle does not exist.
    #[error("there is no bundle {name}; it is misspelt, or its module is not loaded")]
    UnknownBundle {
        /// Its name.
        name: String,
    },
}

/// The reason why the rules of a policy cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// There are none.
    #[error("the policy enables no check")]
    NoChecks,
}

impl RulesError {
    /// Whether the check was not called yet.
    pub fn is_not_called(&self) -> bool {
        matches!(self, Self::Rule(RuleError::Deadline { .. }))
    }

    /// Whether another attempt may succeed: a check crashed, or ran out of time or memory, or a module is not loaded yet.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Spec(SpecError::UnknownBundle { .. }) => true,
            Self::Rule(error) => error.is_temporary(),
            Self::NoChecks => false,
        }
    }
}

/// Creates those rules of a policy that can be created. A check that fails, or a bundle that does not exist, takes none of the other
/// checks with it. See [`Checks::possible_rules`].
pub fn possible_rules(
    name: &str,
    spec: &DevOpsPolicySpec,
    checks: &Checks,
    deadline: Instant,
    only_prompt: bool,
) -> PossibleRules {
    let (of_bundle, unknown_bundle) = match bundle_rules(spec, checks) {
        Ok(rules) => (rules, None),
        Err(error) => (Vec::new(), Some(RulesError::from(error))),
    };
    let policy = policy_of(name, spec, of_bundle);
    let no_checks = (unknown_bundle.is_none() && policy.rules.is_empty()).then_some(RulesError::NoChecks);
    let (rules, errors) = checks.possible_rules(&policy, deadline, only_prompt);
    let errors = unknown_bundle.into_iter().chain(no_checks).chain(errors.into_iter().map(RulesError::from)).collect();
    PossibleRules { rules, errors }
}

/// Whether a spec enables no check. A bundle is assumed to enable some.
pub fn enables_no_check(spec: &DevOpsPolicySpec) -> bool {
    let no_bundles = Checks::new(BTreeMap::new(), Limits::default());
    policy("", spec, &no_bundles).is_ok_and(|policy| policy.rules.is_empty())
}

/// Returns the policy with the rules that a spec enables: those of its bundle, replaced by those of its fields, replaced by
/// those of its checks.
///
/// # Errors
///
/// If its bundle does not exist.
pub fn policy(name: &str, spec: &DevOpsPolicySpec, checks: &Checks) -> Result<Policy, SpecError> {
    Ok(policy_of(name, spec, bundle_rules(spec, checks)?))
}

/// The rules of the bundle of a spec; none without a bundle.
fn bundle_rules(spec: &DevOpsPolicySpec, checks: &Checks) -> Result<Vec<RuleConfig>, SpecError> {
    let Some(name) = &spec.bundle else { return Ok(Vec::new()) };
    let bundle = checks.bundle(name).ok_or_else(|| SpecError::UnknownBundle { name: name.clone() })?;
    Ok(bundle.rules.clone())
}

/// The policy with the rules of a bundle, replaced by those of the fields of a spec, replaced by those of its checks.
fn policy_of(name: &str, spec: &DevOpsPolicySpec, mut rules: Vec<RuleConfig>) -> Policy {
    let fields = serde_json::to_value(spec).unwrap_or_default();
    for field in &POLICY_FIELDS {
        let severity = fields["severityOverrides"][field.severity_override].as_str();
        let severity = severity.and_then(|severity| severity.parse().ok());
        let settings = match (field.setting, &fields[field.field]) {
            (None, Value::Bool(true)) => json!({}),
            (Some(setting), Value::Number(number)) => json!({ setting: number }),
            // The field switches a check of the bundle off.
            (None, Value::Bool(false)) => {
                rules.retain(|rule| rule.check != field.check);
                continue;
            }
            _ => {
                let known = rules.iter_mut().find(|rule| rule.check == field.check);
                if let (Some(known), Some(_)) = (known, severity) {
                    known.severity = severity;
                }
                continue;
            }
        };
        let config = RuleConfig { settings, severity, ..RuleConfig::default_of(field.check) };
        replace(&mut rules, config);
    }
    for rule in &spec.checks {
        let config = RuleConfig {
            settings: rule.settings.clone().unwrap_or_else(|| json!({})),
            severity: rule.severity,
            weight: rule.weight.and_then(|weight| weight.try_into().ok()),
            ..RuleConfig::default_of(&rule.check)
        };
        replace(&mut rules, config);
    }
    Policy { name: name.to_owned(), rules }
}

/// Adds a rule, or replaces that of the same check, whose severity stays unless the new rule has one.
fn replace(rules: &mut Vec<RuleConfig>, new: RuleConfig) {
    match rules.iter_mut().find(|known| known.check == new.check) {
        Some(known) => *known = RuleConfig { severity: new.severity.or(known.severity), ..new },
        None => rules.push(new),
    }
}

/// Converts a bundle to the DevOpsPolicy that `bundle-apply` prints.
pub fn from_bundle(bundle: &Bundle, namespace: &str, name: &str) -> Result<DevOpsPolicy, PolicyError> {
    let mut fields = Map::new();
    let mut severities = Map::new();
    let mut checks = Vec::new();
    for rule in &bundle.rules {
        let field = POLICY_FIELDS.iter().find(|field| field.check == rule.check);
        let value = field.and_then(|field| match field.setting {
            None => Some(json!(true)),
            Some(setting) => rule.settings.get(setting).cloned(),
        });
        let (Some(field), Some(value)) = (field, value) else {
            let settings = Some(rule.settings.clone()).filter(|settings| *settings != json!({}));
            let weight = rule.weight.and_then(|weight| weight.try_into().ok());
            checks.push(CheckRule { check: rule.check.clone(), settings, severity: rule.severity, weight });
            continue;
        };
        fields.insert(field.field.to_owned(), value);
        if let Some(severity) = rule.severity {
            severities.insert(field.severity_override.to_owned(), json!(severity));
        }
    }
    if !checks.is_empty() {
        fields.insert("checks".to_owned(), json!(checks));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube_devops_core::{Severity, testing};

    use super::*;
    use crate::rules::PolicyRules;

    fn checks() -> Checks {
        let rule = |check: &str, severity| RuleConfig { severity, ..RuleConfig::default_of(check) };
        let bundle = Bundle {
            name: "base".to_owned(),
            title: "Base".to_owned(),
            description: "Base".to_owned(),
            enforcement: Enforcement::Audit,
            rules: vec![
                rule("latest-tag", Some(Severity::Low)),
                rule("pending", None),
                rule("own", Some(Severity::High)),
            ],
            default_probe: None,
            default_resources: None,
        };
        Checks::new(BTreeMap::new(), Limits::default()).with_bundles([bundle])
    }

    fn rules(spec: Value) -> Vec<String> {
        let spec: DevOpsPolicySpec = serde_json::from_value(spec).unwrap();
        let policy = policy("strict", &spec, &checks()).unwrap();
        let text =
            |rule: &RuleConfig| format!("{} {} {:?} {:?}", rule.check, rule.settings, rule.severity, rule.weight);
        policy.rules.iter().map(text).collect()
    }

    #[test]
    fn fields_replace_the_bundle_and_checks_replace_both() {
        let base = ["latest-tag {} Some(Low) None", "pending {} None None", "own {} Some(High) None"];
        assert_eq!(rules(json!({ "bundle": "base" })), base);
        let spec = json!({
            "bundle": "base", "forbidLatestTag": false, "forbidPendingDuration": 9, "requireLivenessProbe": true,
            "severityOverrides": { "pending": "critical" },
            "checks": [{ "check": "own", "settings": { "a": 1 }, "weight": 7 }, { "check": "missing-liveness", "severity": "low" }],
        });
        let expected = [
            "pending {\"seconds\":9} Some(Critical) None",
            "own {\"a\":1} Some(High) Some(7)",
            "missing-liveness {} Some(Low) None",
        ];
        assert_eq!(rules(spec), expected);
        let severity = json!({ "bundle": "base", "severityOverrides": { "latestTag": "high" } });
        assert_eq!(rules(severity)[0], "latest-tag {} Some(High) None");
    }

    #[test]
    fn an_unknown_bundle_is_an_error_that_may_pass_and_takes_no_other_check_with_it() {
        let spec = json!({ "bundle": "other", "requireLivenessProbe": true });
        let spec: DevOpsPolicySpec = serde_json::from_value(spec).unwrap();
        let possible = possible_rules("strict", &spec, &checks(), Instant::now(), false);
        let [error] = &possible.errors[..] else { panic!("{:?}", possible.errors) };
        assert!(error.is_temporary() && error.to_string().contains("there is no bundle other"), "{error}");
        assert_eq!(possible.missing(), ["missing-liveness"], "it is not loaded here");
        let subject = testing::pod("web");
        let [evaluation] = &possible.evaluate(&[&subject])[..] else { panic!("one per subject") };
        assert_eq!(evaluation.errors.len(), 2, "what was not evaluated is no pass: {:?}", evaluation.errors);
    }

    #[test]
    fn a_policy_that_enables_no_check_evaluates_nothing() {
        let errors = |spec: Value| {
            let spec: DevOpsPolicySpec = serde_json::from_value(spec).unwrap();
            let possible = possible_rules("off", &spec, &checks(), Instant::now(), false);
            let subject = testing::pod("web");
            let [evaluation] = &possible.evaluate(&[&subject])[..] else { panic!("one per subject") };
            assert!(evaluation.compliance.is_empty());
            possible.errors
        };
        for spec in [json!({}), json!({ "forbidLatestTag": false, "requireLivenessProbe": false })] {
            assert_eq!(errors(spec), [RulesError::NoChecks]);
        }
        assert_eq!(errors(json!({ "maxRestartCount": 3 })), [], "it enables a check, whose module is not loaded here");
        let unknown = SpecError::UnknownBundle { name: "gone".to_owned() };
        assert_eq!(errors(json!({ "bundle": "gone" })), [RulesError::Spec(unknown)], "it may enable some");
        assert!(!RulesError::NoChecks.is_temporary());
    }

    #[test]
    fn a_bundle_with_further_checks_becomes_a_policy_with_checks() {
        let policy = from_bundle(checks().bundle("base").unwrap(), "shop", "base").unwrap();
        assert_eq!((policy.spec.forbid_latest_tag, policy.spec.forbid_pending_duration), (Some(true), None));
        let checks: Vec<_> = policy.spec.checks.iter().map(|rule| (rule.check.as_str(), rule.severity)).collect();
        assert_eq!(checks, [("pending", None), ("own", Some(Severity::High))]);
    }
}
