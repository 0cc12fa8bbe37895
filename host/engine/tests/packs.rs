//! Several checks in one component: a failing one affects no other.
#![allow(clippy::unwrap_used, missing_docs)]

mod guests;

use std::time::{Duration, Instant};

use guests::{load_all, policy, subject, with_status};
use kube_devops_core::CheckResult::{Failed, NotApplicable, NotEvaluated};
use kube_devops_core::{CheckOutcome, Phase, RuleConfig, Stage, Status, Subject, Unreadable};
use kube_devops_engine::{Checks, Engine, Limits, RuleSet};
use serde_json::json;

const CHECKS: usize = 30;

fn limits() -> Limits {
    Limits { batch_time: Duration::from_secs(60), ..Limits::default() }
}

/// The rules of all checks of the guest `pack`, of which one misbehaves.
fn rules(limits: &Limits, misbehaving: usize, behaviour: &str) -> RuleSet {
    let engine = Engine::new(limits.clone()).unwrap();
    let checks = Checks::new(load_all(&engine, "pack").unwrap(), limits.clone());
    let names: Vec<String> = (0..CHECKS).map(|index| format!("item-{index}")).collect();
    let mut all = policy(&names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    all.rules[misbehaving].settings = json!({ "behaviour": behaviour });
    checks.rule_set(&all).unwrap()
}

fn running(name: &str) -> Subject {
    with_status(subject(name), Status { phase: Phase::Running, pending_seconds: None })
}

/// Requires that all checks but one have evaluated all subjects, and returns the outcome of that one.
fn only_failure(outcomes: &mut Vec<CheckOutcome>, failing: usize) -> CheckOutcome {
    assert_eq!(outcomes.len(), CHECKS);
    let failed = outcomes.remove(failing);
    for outcome in outcomes {
        assert!(outcome.errors.is_empty(), "{outcome:?}");
        assert!(outcome.results.iter().all(|result| *result == Failed), "{outcome:?}");
        assert!(outcome.findings.iter().all(|finding| *finding.message == *outcome.check), "{outcome:?}");
    }
    failed
}

#[test]
fn every_check_of_a_pack_is_evaluated() {
    let outcomes = rules(&limits(), 0, "").evaluate(&[running("a"), running("b")]);
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!((outcome.check.clone(), outcome.findings.len()), (format!("item-{index}"), 2));
    }
    // Every third check needs a status, and owned pods are evaluated by those alone.
    let owned = Subject { workload: Some(0), ..running("owned") };
    let outcomes = rules(&limits(), 0, "").evaluate(&[subject("template"), owned]);
    for (index, outcome) in outcomes.iter().enumerate() {
        let expected = if index % 3 == 2 { [NotApplicable, Failed] } else { [Failed, NotApplicable] };
        assert_eq!(outcome.results, expected, "{}", outcome.check);
        assert!(outcome.findings.iter().all(|finding| outcome.results[finding.subject] == Failed));
    }
}

#[test]
fn a_part_that_could_not_be_read_is_an_error_of_the_checks_that_need_it() {
    let unreadable = |stage, status| {
        let unreadable = Unreadable { stage, cause: "failed to read it".into() };
        Subject { unreadable: Some(Box::new(unreadable)), status, ..running("odd") }
    };
    let subjects = [unreadable(Stage::Spec, running("").status), unreadable(Stage::Runtime, None), running("other")];
    for (index, outcome) in rules(&limits(), 0, "").evaluate(&subjects).iter().enumerate() {
        let is_runtime = index % 3 == 2;
        assert_eq!(outcome.results, [NotEvaluated, if is_runtime { NotEvaluated } else { Failed }, Failed]);
        let [error] = outcome.errors.as_slice() else { panic!("{outcome:?}") };
        assert_eq!(error.cause, "failed to read it");
        assert_eq!(error.subjects, if is_runtime { vec![0, 1] } else { vec![0] });
    }
}

#[test]
fn a_misbehaving_check_of_a_pack_affects_no_other() {
    for (behaviour, cause) in [
        ("trap", "it crashed: "),
        ("loop", "it exceeded its time limit of "),
        ("huge-answer", "it returned more than 33554432 bytes"),
        ("unknown", "it returned a finding for container 99 of subject 0, which is not in the batch"),
    ] {
        for failing in [0, 13, 29] {
            let time = if behaviour == "loop" { Duration::from_secs(1) } else { limits().batch_time };
            let rules = rules(&Limits { batch_time: time, ..limits() }, failing, behaviour);
            // It is isolated in the first evaluation, and remembered for the next ones.
            for _ in 0..2 {
                let outcome = only_failure(&mut rules.evaluate(&[running("a")]), failing);
                assert_eq!(outcome.results, [NotEvaluated], "{behaviour}");
                assert!(outcome.errors[0].cause.starts_with(cause), "{behaviour}: {:?}", outcome.errors);
            }
        }
    }
}

#[test]
fn a_looping_check_of_a_pack_leaves_time_for_the_others_before_the_deadline() {
    for failing in [0, 29] {
        let rules = rules(&Limits { batch_time: Duration::from_secs(1), ..limits() }, failing, "loop");
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut outcomes = rules.evaluate_until(&[running("a")], Some(deadline));
        let outcome = only_failure(&mut outcomes, failing);
        assert!(outcome.errors[0].timed_out, "{outcome:?}");
    }
}

#[test]
fn a_subject_that_one_check_of_a_pack_cannot_evaluate_affects_no_other() {
    let rules = rules(&limits(), 7, "trap-on-poison");
    let mut subjects: Vec<_> = (0..600).map(|index| running(&format!("pod-{index}"))).collect();
    subjects[300] = running("poison");
    let outcome = only_failure(&mut rules.evaluate(&subjects), 7);
    for (index, result) in outcome.results.iter().enumerate() {
        assert_eq!(*result, if index == 300 { NotEvaluated } else { Failed }, "{index}");
    }
    assert_eq!(outcome.errors.len(), 1);
}

#[test]
fn policies_with_other_settings_share_the_instances_of_a_module() {
    let engine = Engine::new(limits()).unwrap();
    let checks = Checks::new(load_all(&engine, "pack").unwrap(), limits());
    // More rules than an instance keeps.
    let sets: Vec<RuleSet> = (0..600)
        .map(|index| {
            let settings = json!({ "behaviour": format!("unknown-{index}") });
            let rule = RuleConfig { check: "item-0".to_owned(), settings, ..RuleConfig::default_of("item-0") };
            checks.rule_set(&kube_devops_core::Policy { name: index.to_string(), rules: vec![rule] }).unwrap()
        })
        .collect();
    for set in sets.iter().chain(&sets) {
        let outcomes = set.evaluate(&[subject("a")]);
        assert_eq!(outcomes[0].results, [Failed]);
    }
}

#[test]
fn annotations_are_only_passed_to_checks_that_ask_for_them() {
    let engine = Engine::new(limits()).unwrap();
    let checks = Checks::new(load_all(&engine, "annotations").unwrap(), limits());
    let annotated = Subject { annotations: vec![("team".to_owned(), "web".to_owned())], ..subject("a") };
    let (asks, reads) = ("asks-for-annotations", "reads-annotations");
    for names in [&[asks][..], &[reads], &[asks, reads], &[reads, asks]] {
        let rules = names.iter().map(|name| RuleConfig::default_of(name)).collect();
        let rules = checks.rule_set(&kube_devops_core::Policy { name: "test".to_owned(), rules }).unwrap();
        for outcome in rules.evaluate(&[&annotated]) {
            let found: Vec<&str> = outcome.findings.iter().map(|finding| &*finding.message).collect();
            let expected: &[&str] = if outcome.check == asks { &["team"] } else { &[] };
            assert_eq!(found, expected, "{} of {names:?}", outcome.check);
        }
        let edits = rules.remediate(&annotated).unwrap();
        assert!(edits.iter().all(|edit| edit.check == asks), "{edits:?}");
        assert_eq!(edits.len(), usize::from(names.contains(&asks)));
    }
}
