//! Batches, stages and complete objects.
#![allow(clippy::unwrap_used, missing_docs)]

mod guests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use guests::{hostile, load, load_all, policy, subject};
use kube_devops_core::CheckResult::{Failed, NotEvaluated};
use kube_devops_core::{Subject, complete_object};
use kube_devops_engine::{Checks, Engine, Limits, RuleError};
use serde_json::json;

#[test]
fn the_outcome_of_every_rule_is_empty_without_subjects() {
    let outcomes = hostile(&Limits::default(), "count-calls").unwrap().evaluate::<Subject>(&[]);
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].results.is_empty() && outcomes[0].errors.is_empty());
}

#[test]
fn the_order_of_findings_does_not_depend_on_the_batch_size() {
    let limits = Limits { batch_subjects: 7, ..Limits::default() };
    let subjects: Vec<_> = (0..1000).map(|number| subject(&format!("pod-{number}"))).collect();
    let outcomes = hostile(&limits, "echo-name").unwrap().evaluate(&subjects);
    let messages: Vec<_> =
        outcomes[0].findings.iter().map(|finding| (finding.subject, finding.message.to_string())).collect();
    let expected: Vec<_> = (0..1000).map(|number| (number, format!("pod-{number}"))).collect();
    assert_eq!(messages, expected);
}

#[test]
fn a_subject_with_more_containers_than_a_batch_is_evaluated() {
    let mut large = subject("large");
    large.containers = vec![large.containers[0].clone(); 10_000];
    let outcomes = hostile(&Limits::default(), "echo-name").unwrap().evaluate(&[subject("a"), large, subject("b")]);
    assert_eq!(outcomes[0].results, [Failed; 3]);
}

#[test]
fn a_check_that_imports_object_reads_the_complete_object_of_a_subject() {
    let limits = Limits { batch_subjects: 2, ..Limits::default() };
    let engine = Engine::new(limits.clone()).unwrap();
    let checks = Checks::new(load_all(&engine, "reader").unwrap(), limits);
    let rules = checks.rule_set(&checks.policy_of_all()).unwrap();
    assert!(rules.needs().objects);
    let mut subjects: Vec<_> = (0..5).map(|number| subject(&number.to_string())).collect();
    for (number, subject) in subjects.iter_mut().enumerate() {
        let object = json!({"spec": {"containers": [{"image": format!("image-{number}")}]}});
        subject.object = Some(complete_object(object));
    }
    let messages = |outcome: &kube_devops_core::CheckOutcome| -> Vec<String> {
        outcome.findings.iter().map(|finding| finding.message.to_string()).collect()
    };
    let outcomes = rules.evaluate(&subjects);
    assert_eq!(messages(&outcomes[0]), [0, 1, 2, 3, 4].map(|number| format!("\"image-{number}\"")));
    // A subject without its object is not evaluated, and does not move those after it.
    subjects[2].object = None;
    let outcome = rules.evaluate(&subjects).remove(0);
    assert_eq!(outcome.results, [Failed, Failed, NotEvaluated, Failed, Failed]);
    assert_eq!(messages(&outcome), [0, 1, 3, 4].map(|number| format!("\"image-{number}\"")));
    assert_eq!(outcome.errors[0].cause, "it reads complete objects, and this one is not available");
    assert_eq!(outcome.errors[0].subjects, [2]);
}

#[test]
fn a_check_that_does_not_import_object_needs_no_objects() {
    let engine = Engine::new(Limits::default()).unwrap();
    assert!(load(&engine, "reader").unwrap().needs().objects);
    assert!(!load(&engine, "hostile").unwrap().needs().objects);
}

/// Checks with the guest `hostile`, as a catalog creates them when its modules change.
fn checks_with(module: &kube_devops_engine::LoadedCheck) -> Checks {
    Checks::new(BTreeMap::from([("hostile".to_owned(), Arc::new(module.clone()))]), Limits::default())
}

#[test]
fn rules_of_unchanged_modules_are_shared_by_the_checks_before_and_after_a_change() {
    let module = load(&Engine::new(Limits::default()).unwrap(), "hostile").unwrap();
    let counting = policy(&["hostile"], "count-calls");
    let before = checks_with(&module).rule_set(&counting).unwrap();
    let after = checks_with(&module).rule_set(&counting).unwrap();
    for (round, rules) in [(1, &before), (2, &after)] {
        let outcomes = rules.evaluate(&[subject("a")]);
        assert_eq!(*outcomes[0].findings[0].message, round.to_string(), "the same rule counts");
    }
}

#[test]
fn a_rule_is_not_created_after_the_deadline_unless_it_exists() {
    let module = load(&Engine::new(Limits::default()).unwrap(), "hostile").unwrap();
    let (checks, policy) = (checks_with(&module), policy(&["hostile"], "fine"));
    let late = || checks.rule_set_until(&policy, Some(Instant::now()));
    let error = late().err().unwrap();
    assert_eq!(error, RuleError::Deadline { check: "hostile".to_owned() });
    assert!(error.is_temporary() && error.is_timeout());
    let _created = checks.rule_set(&policy).unwrap();
    assert!(late().is_ok());
}
