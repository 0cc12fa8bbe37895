//! The rules over several fields of a DevOpsPolicy that follow from the rows of [`POLICY_FIELDS`].

use kube_devops_core::policy_fields::POLICY_FIELDS;

/// The CEL rule that a policy enables a check.
pub fn has_a_check() -> String {
    let fields = POLICY_FIELDS.map(|field| format!("has(self.{})", field.field)).join(" || ");
    format!("{fields} || has(self.bundle) || (has(self.checks) && size(self.checks) > 0)")
}

/// The message of this rule.
pub fn no_check() -> String {
    let fields = POLICY_FIELDS.map(|field| field.field);
    format!("the policy enables no check: set {}, checks or bundle", fields.join(", "))
}

/// The fields of checks that can add missing fields to workloads.
pub fn remediating_fields() -> impl Iterator<Item = &'static str> {
    POLICY_FIELDS.iter().filter(|field| field.remediates).map(|field| field.field)
}

/// The CEL rule that a policy which enforces has something to add.
pub fn remediates_if_it_enforces() -> String {
    let enabled: String =
        remediating_fields().map(|field| format!("(has(self.{field}) && self.{field}) || ")).collect();
    format!(
        "!has(self.enforcementMode) || self.enforcementMode != 'enforce' || {enabled}has(self.defaultResources) || has(self.bundle) || has(self.checks)"
    )
}

/// The message of this rule.
pub fn nothing_to_remediate() -> String {
    let fields = remediating_fields().collect::<Vec<_>>().join(" or ");
    format!(
        "enforcementMode enforce has nothing to remediate: set {fields} to true, defaultResources, bundle or checks"
    )
}
