//! PolicyAuditResults: records of what evaluations found.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::Resource;
use kube::api::ObjectMeta;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{Ledger, Violation};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::ReconcileOptions;
use super::audit_list::Known;
use super::status::{by_check, by_severity, count, worst};
use super::writes::Action;
use crate::crd::{AuditedViolation, DevOpsPolicy, PolicyAuditResult, PolicyAuditResultSpec};
use crate::key::with_suffix;

/// The annotation with the fingerprint of what was found, so that the same is not recorded twice.
pub const FINGERPRINT: &str = "devops.stochastic.io/fingerprint";
/// The most violations that a record lists; the schema allows no more.
const MOST_VIOLATIONS: usize = 1000;
/// The most bytes of the list, so that the whole object stays below 256 KB and etcd takes it.
const MOST_BYTES: usize = 240 * 1024;
/// The longest message, in bytes; the schema allows 1,024 characters.
const LONGEST_MESSAGE: usize = 1024;

/// The audit results of a policy.
#[derive(Default)]
pub struct Audits {
    /// Their names, the oldest first. None: they have not been listed yet.
    names: Option<Vec<String>>,
    fingerprint: Option<String>,
    /// Whether something may be different from the last one.
    pub is_due: bool,
    written: Option<Instant>,
}

impl Audits {
    /// Those that there are, the oldest first.
    pub fn known(known: Vec<Known>) -> Self {
        Self {
            fingerprint: known.last().and_then(|last| last.fingerprint.clone()),
            names: Some(known.into_iter().map(|known| known.name).collect()),
            is_due: true,
            written: None,
        }
    }

    /// The names of those that are known.
    pub fn names(&self) -> Vec<String> {
        self.names.clone().unwrap_or_default()
    }

    /// The one that is to be written next, if what was found is something new, and it is time.
    pub fn next(
        &mut self,
        policy: &DevOpsPolicy,
        ledger: &Ledger,
        now: DateTime<Utc>,
        options: &ReconcileOptions,
    ) -> Option<Action> {
        let names = self.names.as_ref()?;
        let is_time = self.written.is_none_or(|written| written.elapsed() >= options.audit_period);
        if !self.is_due || !is_time {
            return None;
        }
        let fingerprint = fingerprint(policy, ledger);
        if options.retention == 0 || self.fingerprint.as_ref() == Some(&fingerprint) {
            self.is_due = false;
            return None;
        }
        let surplus = (names.len() + 1).saturating_sub(options.retention);
        Some(Action::Audit {
            record: Box::new(record(policy, ledger, &fingerprint, now)),
            fingerprint,
            surplus: names[..surplus].to_vec(),
        })
    }

    /// One has been written, and others were removed.
    pub fn written(&mut self, name: String, fingerprint: String, removed: &[String]) {
        let names = self.names.get_or_insert_default();
        names.retain(|name| !removed.contains(name));
        names.push(name);
        self.fingerprint = Some(fingerprint);
        self.is_due = true;
        self.written = Some(Instant::now());
    }
}

/// What was found, in short: two records with the same fingerprint would say the same.
fn fingerprint(policy: &DevOpsPolicy, ledger: &Ledger) -> String {
    let mut digest = Sha256::new();
    let total = ledger.total();
    digest.update(format!("{:?} {} {:?}", policy.metadata.generation, total.subjects, total.compliance));
    for violation in ledger.violations() {
        let Violation { check, severity, magnitude, name, container, message, .. } = violation;
        digest.update(format!("{check}\0{severity}\0{magnitude}\0{name}\0{container:?}\0{message}\0"));
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The record of what was found now. Its name sorts by time, and it belongs to the policy.
fn record(policy: &DevOpsPolicy, ledger: &Ledger, fingerprint: &str, now: DateTime<Utc>) -> PolicyAuditResult {
    let total = ledger.total();
    let policy_name = policy.metadata.name.clone().unwrap_or_default();
    let violations = within(worst(ledger, MOST_VIOLATIONS).into_iter().map(audited), MOST_BYTES);
    let name = with_suffix(&policy_name, &now.format("%Y%m%dt%H%M%Sz").to_string());
    let spec = PolicyAuditResultSpec {
        policy: policy_name,
        policy_generation: policy.metadata.generation.unwrap_or_default(),
        evaluated_at: now,
        health_score: total.score().into(),
        classification: total.classification().to_string(),
        compliance: total.compliance.percent(),
        subjects: count(total.subjects),
        violation_count: count(total.violations),
        violations_by_severity: by_severity(total),
        violations_by_check: by_check(total),
        truncated: violations.len() < total.violations,
        violations,
    };
    let mut record = PolicyAuditResult::new(&name, spec);
    record.metadata = ObjectMeta {
        namespace: policy.metadata.namespace.clone(),
        annotations: Some(BTreeMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned())])),
        owner_references: policy.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..record.metadata
    };
    record
}

fn audited(violation: &Violation) -> AuditedViolation {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    AuditedViolation {
        check: violation.check.to_string(),
        severity: violation.severity,
        weight: number(violation.weight),
        magnitude: number(violation.magnitude),
        kind: violation.kind.to_string(),
        name: violation.name.to_string(),
        container: violation.container.as_deref().map(str::to_owned),
        field: violation.field.as_deref().map(str::to_owned),
        message: cut(&escape_controls(&violation.message), LONGEST_MESSAGE),
    }
}

/// As many of the violations as fit into so many bytes of JSON.
fn within(violations: impl Iterator<Item = AuditedViolation>, most: usize) -> Vec<AuditedViolation> {
    let mut bytes = 0;
    let fits = |violation: &AuditedViolation| {
        bytes += serde_json::to_string(violation).map_or(most, |text| text.len() + 1);
        bytes <= most
    };
    violations.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use kube_devops_core::{Evaluation, Severity};

    use super::*;
    use crate::crd::DevOpsPolicySpec;

    fn ledger(pods: usize, message: &str) -> Ledger {
        let mut ledger = Ledger::default();
        for index in 0..pods {
            let name = format!("pod-{index:05}");
            let violation = Violation {
                check: "latest-tag".into(),
                severity: Severity::High,
                weight: 5,
                magnitude: 1,
                namespace: "shop".into(),
                kind: "Pod".into(),
                name: name.as_str().into(),
                controller: None,
                container: Some("app".into()),
                field: Some("/spec/containers/0/image".into()),
                message: message.into(),
                source: None,
            };
            ledger.set(&name.into(), Evaluation { violations: vec![violation], ..Evaluation::default() });
        }
        ledger
    }

    fn policy() -> DevOpsPolicy {
        let mut policy = DevOpsPolicy::new("test", DevOpsPolicySpec::default());
        policy.metadata.uid = Some("uid".to_owned());
        policy
    }

    #[test]
    fn ten_thousand_violations_make_an_object_that_etcd_takes() {
        for message in ["short".to_owned(), "x".repeat(1024), "\u{1f600}".repeat(300)] {
            let record = record(&policy(), &ledger(10_000, &message), "f", DateTime::default());
            let bytes = serde_json::to_vec(&record).map_or(0, |text| text.len());
            assert!(bytes < 256 * 1000, "{bytes}");
            assert!(record.spec.truncated && record.spec.violations.len() <= 1000);
            assert_eq!(record.spec.violation_count, 10_000);
        }
        let small = record(&policy(), &ledger(3, "short"), "f", DateTime::default());
        assert!(!small.spec.truncated);
        assert_eq!(small.metadata.name.as_deref(), Some("test-19700101t000000z"));
        assert_eq!(small.metadata.owner_references.map(|owners| owners.len()), Some(1));
    }

    #[test]
    fn the_fingerprint_tells_what_was_found() {
        let policy = policy();
        assert_eq!(fingerprint(&policy, &ledger(3, "a")), fingerprint(&policy, &ledger(3, "a")));
        assert_ne!(fingerprint(&policy, &ledger(3, "a")), fingerprint(&policy, &ledger(4, "a")));
        assert_ne!(fingerprint(&policy, &ledger(3, "a")), fingerprint(&policy, &ledger(3, "b")));
        let mut edited = policy.clone();
        edited.metadata.generation = Some(2);
        assert_ne!(fingerprint(&policy, &ledger(3, "a")), fingerprint(&edited, &ledger(3, "a")));
    }
}
