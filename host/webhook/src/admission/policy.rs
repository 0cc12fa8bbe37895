//! The validation of a DevOpsPolicy: whether its checks accept their settings.

use std::time::Instant;

use kube::ResourceExt;
use kube_devops_cluster::crd::{DevOpsPolicy, INSTALLATION_CHECK};
use kube_devops_cluster::policies::{self, RulesError};
use kube_devops_engine::{Checks, RuleSet};

use super::changed::changed;
use crate::response::{Reason, Verdict};

/// The verdict about a policy. Changes that the API server makes by itself are skipped.
pub fn verdict(checks: &Checks, body: &[u8], deadline: Instant) -> Verdict {
    let policy = match changed_policy(body) {
        Ok(Some(policy)) if policy.annotations().contains_key(INSTALLATION_CHECK) => {
            return Verdict::Invalid(format!("the annotation {INSTALLATION_CHECK} tests the way to the webhook"));
        }
        Ok(Some(policy)) => policy,
        Ok(None) => return Verdict::Skipped,
        Err(error) => return Verdict::failed(Reason::Malformed, format!("failed to read the policy: {error}")),
    };
    match rules(&policy, checks, deadline) {
        Ok(rules) if !rules.missing().is_empty() => {
            let text =
                format!("the settings of {} cannot be validated: its module is not loaded", rules.missing().join(", "));
            Verdict::failed(Reason::CheckFailed, text)
        }
        Ok(_) => Verdict::Evaluated {
            subject: format!("DevOpsPolicy {}", policy.name_any()),
            violations: Vec::new(),
            failures: Vec::new(),
            is_controlled: false,
        },
        Err(error) => rejection(&error),
    }
}

fn rules(policy: &DevOpsPolicy, checks: &Checks, deadline: Instant) -> Result<RuleSet, RulesError> {
    let rules = policies::policy(&policy.name_any(), &policy.spec, checks)?;
    if rules.rules.is_empty() {
        return Err(RulesError::NoChecks);
    }
    Ok(checks.rule_set_until(&rules, Some(deadline))?)
}

/// The verdict about a policy whose rules cannot be created.
fn rejection(error: &RulesError) -> Verdict {
    let reason = match error {
        // The API server accepts it as well: it is the way to switch a policy off.
        RulesError::NoChecks => return Verdict::Warned(error.to_string()),
        // The module of the bundle may not be loaded yet.
        RulesError::Spec(_) => Reason::CheckFailed,
        RulesError::Rule(rule) => Reason::of_rule(rule),
    };
    match reason {
        Reason::InvalidPolicy => Verdict::Invalid(error.to_string()),
        reason => Verdict::failed(reason, error.to_string()),
    }
}

/// The new policy of a review; `None` if its spec does not change, or it is being deleted.
fn changed_policy(body: &[u8]) -> Result<Option<DevOpsPolicy>, String> {
    let changed = changed(body)?;
    Ok(changed.map(|(metadata, spec)| DevOpsPolicy { metadata, spec, status: None }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use kube_devops_cluster::policies::SpecError;
    use kube_devops_engine::{Limits, RuleError};
    use serde_json::{Value, json};

    use super::*;

    fn review(object: Value, before: Value) -> Vec<u8> {
        let request = json!({ "uid": "1", "object": object, "oldObject": before });
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
        serde_json::to_vec(&review).unwrap()
    }

    fn policy(forbid: bool) -> Value {
        json!({ "metadata": { "name": "strict" }, "spec": { "forbidLatestTag": forbid } })
    }

    #[test]
    fn only_a_changed_spec_is_validated() {
        let changed = changed_policy(&review(policy(true), policy(false))).unwrap().unwrap();
        assert_eq!(changed.spec.forbid_latest_tag, Some(true));
        assert!(changed_policy(&review(policy(true), Value::Null)).unwrap().is_some());
        assert!(changed_policy(&review(policy(true), policy(true))).unwrap().is_none());
        let mut deleted = policy(true);
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(changed_policy(&review(deleted, policy(false))).unwrap().is_none());
    }

    #[test]
    fn a_malformed_policy_is_an_error() {
        assert!(changed_policy(&review(Value::Null, Value::Null)).unwrap_err().contains("no object"));
        assert!(changed_policy(&review(json!({ "spec": 1 }), Value::Null)).is_err());
        assert!(changed_policy(b"{}").is_err());
    }

    #[test]
    fn a_policy_is_valid_if_its_checks_accept_their_settings() {
        let checks = Checks::new(BTreeMap::new(), Limits::default());
        let no_checks = json!({ "metadata": { "name": "empty" }, "spec": {} });
        let verdict = |body: &[u8]| verdict(&checks, body, Instant::now());
        let warned = Verdict::Warned("the policy enables no check".to_owned());
        assert_eq!(verdict(&review(no_checks.clone(), Value::Null)), warned);
        assert_eq!(verdict(&review(policy(false), Value::Null)), warned);
        let unknown = verdict(&review(policy(true), Value::Null));
        assert_eq!(unknown.reason(), Some(Reason::CheckFailed), "its module may not be loaded yet");
        assert_eq!(verdict(&review(no_checks.clone(), no_checks)), Verdict::Skipped);
        assert_eq!(verdict(b"{}").reason(), Some(Reason::Malformed));
    }

    #[test]
    fn only_settings_that_a_check_rejects_are_invalid() {
        let check = || "latest-tag".to_owned();
        let late = RulesError::Rule(RuleError::Deadline { check: check() });
        assert_eq!(rejection(&late).reason(), Some(Reason::Timeout));
        let unknown = RulesError::Spec(SpecError::UnknownBundle { name: "strict".to_owned() });
        assert_eq!(rejection(&unknown).reason(), Some(Reason::CheckFailed), "its module may not be loaded yet");
        let rejected =
            RulesError::Rule(RuleError::Settings { check: check(), settings: String::new(), reason: String::new() });
        assert!(matches!(rejection(&rejected), Verdict::Invalid(_)));
    }
}
