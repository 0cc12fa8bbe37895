//! PolicyAuditResults: the records of evaluations.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kube::Resource;
use kube::api::ObjectMeta;
use kube_devops_cluster::crd::{AuditedViolation, DevOpsPolicy, PolicyAuditResult, PolicyAuditResultSpec};
use kube_devops_cluster::key::with_suffix;
use kube_devops_core::Violation;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_runtime::clock::Now;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::found::Found;
use super::status::{by_check, by_severity, count};
use super::write::{KnownAudit, Write};

/// The annotation with the fingerprint of the content, so that the same content is not recorded twice.
pub const FINGERPRINT: &str = "devops.stochastic.io/fingerprint";
/// The most violations in a record, by the schema.
const MAX_VIOLATIONS: usize = 1000;
/// The most bytes of the list, so that the whole object stays below 256 KB.
const MAX_BYTES: usize = 240 * 1024;
/// The most errors in a record, by the schema.
const MAX_ERRORS: usize = 20;
/// The longest message, in bytes. The schema allows 1,024 characters.
const MAX_MESSAGE_LENGTH: usize = 1024;

/// The limits of audit results.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The number of audit results of a policy to keep.
    pub retention: usize,
    /// The shortest time between two audit results of a policy.
    pub period: Duration,
}

/// The audit results of a policy.
#[derive(Debug, Default)]
pub struct Audits {
    /// Their names, the oldest first. `None` until they are listed.
    names: Option<Vec<String>>,
    fingerprint: Option<String>,
    /// Whether the content may differ from the last one.
    pub is_due: bool,
    written: Option<Instant>,
}

impl Audits {
    /// The audit results that exist, the oldest first.
    pub fn known(known: Vec<KnownAudit>) -> Self {
        Self {
            fingerprint: known.last().and_then(|last| last.fingerprint.clone()),
            names: Some(known.into_iter().map(|known| known.name).collect()),
            is_due: true,
            written: None,
        }
    }

    /// Whether those that exist are known.
    pub fn are_listed(&self) -> bool {
        self.names.is_some()
    }

    /// Whether there is any.
    pub fn has_any(&self) -> bool {
        self.names.as_ref().is_some_and(|names| !names.is_empty())
    }

    /// The next audit result to create, if the content is new and the period has passed.
    pub fn next(
        &mut self,
        policy: &DevOpsPolicy,
        found: &Found<'_>,
        options: &AuditOptions,
        now: Now,
    ) -> Option<Write> {
        let names = self.names.as_ref()?;
        let has_passed = |written: Instant| now.instant.saturating_duration_since(written) >= options.period;
        if !self.is_due || !self.written.is_none_or(has_passed) {
            return None;
        }
        let errors = errors(found);
        let fingerprint = fingerprint(policy, found, &errors);
        if options.retention == 0 || self.fingerprint.as_ref() == Some(&fingerprint) {
            self.is_due = false;
            return None;
        }
        let surplus = (names.len() + 1).saturating_sub(options.retention);
        Some(Write::Audit {
            record: Box::new(record(policy, found, errors, &fingerprint, now.utc)),
            fingerprint,
            surplus: names[..surplus].to_vec(),
        })
    }

    /// An audit result was created, and others were deleted.
    pub fn written(&mut self, name: String, fingerprint: String, removed: &[String], now: Now) {
        let names = self.names.get_or_insert_default();
        names.retain(|name| !removed.contains(name));
        names.push(name);
        self.fingerprint = Some(fingerprint);
        self.is_due = true;
        self.written = Some(now.instant);
    }
}

/// What was not evaluated, and why, within the limits of the schema.
fn errors(found: &Found<'_>) -> Vec<String> {
    let texts = found.not_evaluated();
    let count = texts.len();
    let texts = texts.into_iter().map(|text| cut(&escape_controls(&text), MAX_MESSAGE_LENGTH));
    let mut errors: Vec<String> = texts.take(if count > MAX_ERRORS { MAX_ERRORS - 1 } else { count }).collect();
    if errors.len() < count {
        errors.push(format!("and {} more", count - errors.len()));
    }
    errors
}

/// The fingerprint of the content. Records with the same fingerprint have the same content.
fn fingerprint(policy: &DevOpsPolicy, found: &Found<'_>, errors: &[String]) -> String {
    let mut digest = Sha256::new();
    let (total, is_complete) = (found.total(), found.is_complete());
    digest.update(format!("{:?} {} {:?} {is_complete}", policy.metadata.generation, total.subjects, total.compliance));
    for error in errors {
        digest.update(format!("{error}\0"));
    }
    for violation in found.ledger.violations() {
        let Violation { check, severity, magnitude, name, container, message, .. } = violation;
        digest.update(format!("{check}\0{severity}\0{magnitude}\0{name}\0{container:?}\0{message}\0"));
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The record of the current evaluations. Its name sorts by time, and the policy owns it.
fn record(
    policy: &DevOpsPolicy,
    found: &Found<'_>,
    errors: Vec<String>,
    fingerprint: &str,
    now: DateTime<Utc>,
) -> PolicyAuditResult {
    let (total, has_score) = (found.total(), found.has_score());
    let policy_name = policy.metadata.name.clone().unwrap_or_default();
    let bytes = MAX_BYTES - serde_json::to_string(&errors).map_or(0, |text| text.len()).min(MAX_BYTES);
    let violations = within(found.ledger.worst(MAX_VIOLATIONS).iter().map(audited), bytes);
    let name = with_suffix(&policy_name, &now.format("%Y%m%dt%H%M%Sz").to_string());
    let spec = PolicyAuditResultSpec {
        policy: policy_name,
        policy_generation: policy.metadata.generation.unwrap_or_default(),
        evaluated_at: now,
        health_score: has_score.then(|| total.score().into()),
        classification: found.classification(),
        compliance: has_score.then(|| total.compliance.percent()),
        subjects: count(total.subjects),
        violation_count: count(total.violations),
        violations_by_severity: by_severity(total),
        violations_by_check: by_check(total),
        complete: Some(found.is_complete()),
        errors,
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
        message: cut(&escape_controls(&violation.message), MAX_MESSAGE_LENGTH),
    }
}

/// The violations that fit into `most` bytes of JSON.
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
    use kube_devops_cluster::crd::DevOpsPolicySpec;
    use kube_devops_core::{Evaluation, Ledger, Severity, testing};

    use super::*;
    use crate::reconcile::found::rejected;

    fn ledger(pods: usize, message: &str) -> Ledger {
        let mut ledger = Ledger::default();
        for index in 0..pods {
            let name = format!("pod-{index:05}");
            let violation = Violation {
                field: Some("/spec/containers/0/image".into()),
                message: message.into(),
                ..testing::violation("latest-tag", Severity::High, &name)
            };
            ledger.set(&name.into(), Evaluation { violations: vec![violation], ..Evaluation::default() });
        }
        ledger
    }

    /// Evaluations by checks that all exist.
    fn found(ledger: &Ledger) -> Found<'_> {
        Found { ledger, missing: Vec::new(), errors: &[] }
    }

    fn record_of(found: &Found<'_>) -> PolicyAuditResult {
        record(&policy(), found, errors(found), "f", DateTime::default())
    }

    fn fingerprint_of(policy: &DevOpsPolicy, found: &Found<'_>) -> String {
        fingerprint(policy, found, &errors(found))
    }

    fn policy() -> DevOpsPolicy {
        let mut policy = DevOpsPolicy::new("test", DevOpsPolicySpec::default());
        policy.metadata.uid = Some("uid".to_owned());
        policy
    }

    #[test]
    fn a_record_of_ten_thousand_violations_stays_below_256_kb() {
        for message in ["short".to_owned(), "x".repeat(1024), "\u{1f600}".repeat(300)] {
            let record = record_of(&found(&ledger(10_000, &message)));
            let bytes = serde_json::to_vec(&record).map_or(0, |text| text.len());
            assert!(bytes < 256 * 1000, "{bytes}");
            assert!(record.spec.truncated && record.spec.violations.len() <= 1000);
            assert_eq!(record.spec.violation_count, 10_000);
        }
        let mut failing = ledger(10_000, &"x".repeat(1024));
        for index in 0..30 {
            let errors = vec![format!("{index} {}", "\"".repeat(2000))];
            failing.set(&format!("failing-{index}").into(), Evaluation { errors, ..Evaluation::default() });
        }
        let record_of_failures = record_of(&found(&failing));
        let bytes = serde_json::to_vec(&record_of_failures).map_or(0, |text| text.len());
        assert!(bytes < 256 * 1000, "{bytes}");
        let small = record_of(&found(&ledger(3, "short")));
        assert!(!small.spec.truncated);
        assert_eq!(small.metadata.name.as_deref(), Some("test-19700101t000000z"));
        assert_eq!(small.metadata.owner_references.map(|owners| owners.len()), Some(1));
    }

    #[test]
    fn the_fingerprint_depends_on_the_content() {
        let policy = policy();
        let of =
            |policy: &DevOpsPolicy, pods: usize, message: &str| fingerprint_of(policy, &found(&ledger(pods, message)));
        assert_eq!(of(&policy, 3, "a"), of(&policy, 3, "a"));
        assert_ne!(of(&policy, 3, "a"), of(&policy, 4, "a"));
        assert_ne!(of(&policy, 3, "a"), of(&policy, 3, "b"));
        let mut edited = policy.clone();
        edited.metadata.generation = Some(2);
        assert_ne!(of(&policy, 3, "a"), of(&edited, 3, "a"));
        let ledger = ledger(3, "a");
        let missing = Found { missing: vec!["own"], ..found(&ledger) };
        assert_ne!(fingerprint_of(&policy, &found(&ledger)), fingerprint_of(&policy, &missing));
    }

    #[test]
    fn a_record_says_what_was_not_evaluated() {
        let recorded = |found: Found<'_>| record_of(&found).spec;
        let complete = recorded(found(&Ledger::default()));
        assert_eq!((complete.complete, &*complete.classification, complete.errors.len()), (Some(true), "Healthy", 0));
        let empty = Ledger::default();
        let missing = recorded(Found { missing: vec!["absent"], ..found(&empty) });
        assert_eq!((missing.complete, &*missing.errors[0]), (Some(false), "no such check: absent"));
        assert_eq!((missing.health_score, missing.compliance), (None, None));
        assert_eq!(missing.classification, "Not evaluated");
        let rejected = rejected();
        let invalid = recorded(Found { errors: &rejected, ..found(&empty) });
        assert_eq!((invalid.complete, &invalid.errors[0]), (Some(false), &rejected[0].to_string()));
        assert_eq!(invalid.classification, "Not evaluated");

        let mut ledger = Ledger::default();
        for name in ["a", "b"] {
            let errors = vec!["check own failed: \u{7}it crashed".to_owned()];
            let mut evaluation = Evaluation { errors, ..Evaluation::default() };
            evaluation.compliance.add(5, false);
            ledger.set(&name.into(), evaluation);
        }
        let partial = recorded(Found { missing: vec!["absent"], ..found(&ledger) });
        assert_eq!((partial.complete, &*partial.classification), (Some(false), "Incomplete"));
        assert_eq!((partial.health_score, partial.compliance), (Some(100), Some(100.0)));
        let [failed] = partial.errors.as_slice() else { panic!("{:?}", partial.errors) };
        assert!(failed.starts_with("check own failed") && !failed.contains('\u{7}'), "{failed}");

        for index in 0..100 {
            let errors = vec![format!("failure {index}")];
            ledger.set(&format!("{index}").into(), Evaluation { errors, ..Evaluation::default() });
        }
        let errors = recorded(found(&ledger)).errors;
        assert_eq!((errors.len(), errors.last().map(String::as_str)), (MAX_ERRORS, Some("and 82 more")));
    }

    fn now() -> Now {
        Now { utc: DateTime::UNIX_EPOCH, instant: Instant::now() }
    }

    fn options(retention: usize) -> AuditOptions {
        AuditOptions { retention, period: Duration::from_secs(60) }
    }

    fn known(names: &[&str], fingerprint: Option<&str>) -> Audits {
        let fingerprint = fingerprint.map(str::to_owned);
        let known = |name: &&str| KnownAudit { name: (*name).to_owned(), fingerprint: fingerprint.clone() };
        Audits::known(names.iter().map(known).collect())
    }

    #[test]
    fn nothing_is_recorded_before_the_existing_records_are_listed_or_without_retention() {
        let (now, ledger) = (now(), ledger(1, "a"));
        let mut unlisted = Audits { is_due: true, ..Audits::default() };
        assert!(unlisted.next(&policy(), &found(&ledger), &options(3), now).is_none());
        assert!(known(&[], None).next(&policy(), &found(&ledger), &options(0), now).is_none());
    }

    #[test]
    fn only_new_content_is_recorded() {
        let (now, ledger) = (now(), ledger(1, "a"));
        let same = fingerprint_of(&policy(), &found(&ledger));
        let mut audits = known(&["one"], Some(&same));
        assert!(audits.next(&policy(), &found(&ledger), &options(3), now).is_none());
        assert!(!audits.is_due);
        let mut audits = known(&["one"], Some("other"));
        assert!(audits.next(&policy(), &found(&ledger), &options(3), now).is_some());
    }

    #[test]
    fn records_are_a_period_apart_and_the_oldest_are_deleted() {
        let now = now();
        let mut audits = known(&["one", "two", "three"], None);
        let surplus = |audits: &mut Audits, message: &str, now: Now| match audits.next(
            &policy(),
            &found(&ledger(1, message)),
            &options(2),
            now,
        ) {
            Some(Write::Audit { surplus, .. }) => Some(surplus),
            _ => None,
        };
        let removed = ["one".to_owned(), "two".to_owned()];
        assert_eq!(surplus(&mut audits, "a", now).as_deref(), Some(&removed[..]));
        // One deletion failed, and is tried again with the next record.
        audits.written("four".to_owned(), "f".to_owned(), &removed[..1], now);
        assert_eq!(audits.names.as_deref(), Some(&["two", "three", "four"].map(str::to_owned)[..]));
        assert_eq!(surplus(&mut audits, "b", now + Duration::from_secs(59)), None);
        assert_eq!(surplus(&mut audits, "b", now + Duration::from_secs(60)).map(|names| names.len()), Some(2));
    }
}
