//! Whatever a guest does, the host gets a clean error that names check, module and cause, and goes on.
#![allow(clippy::unwrap_used, missing_docs)]

mod guests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guests::{hostile, load, misbehave, policy, subject};
use kube_devops_core::CheckResult::{Failed, NotEvaluated, Passed};
use kube_devops_core::{CheckOutcome, Report};
use kube_devops_engine::{CheckModule, Checks, Engine, Limits, LoadError, RuleError};

fn limits() -> Limits {
    Limits { batch_time: Duration::from_millis(200), ..Limits::default() }
}

/// The one cause for which nothing was judged.
fn cause(outcome: &CheckOutcome) -> &str {
    assert!(outcome.results.iter().all(|result| *result == NotEvaluated), "{outcome:?}");
    assert!(outcome.findings.is_empty(), "{outcome:?}");
    let [error] = outcome.errors.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((error.check.as_str(), error.module.as_str()), ("hostile", "sha256:test"));
    &error.cause
}

#[test]
fn a_guest_that_loops_is_stopped() {
    assert_eq!(cause(&misbehave(&limits(), "loop", &["a", "b"])), "it ran for longer than 200ms and was stopped");
}

#[test]
fn a_guest_that_traps_is_named() {
    let outcome = misbehave(&limits(), "trap", &["a"]);
    assert_eq!(cause(&outcome), "it crashed: wasm trap: wasm `unreachable` instruction executed");
}

#[test]
fn a_guest_that_hoards_memory_is_stopped() {
    let outcome = misbehave(&limits(), "memory", &["a"]);
    assert_eq!(cause(&outcome), "it wanted more memory than the 67108864 bytes that it may use");
}

#[test]
fn a_guest_that_recurses_is_stopped() {
    let outcome = misbehave(&limits(), "recurse", &["a"]);
    assert_eq!(cause(&outcome), "it recursed deeper than its stack of 524288 bytes");
}

#[test]
fn a_guest_that_floods_findings_is_refused() {
    let outcome = misbehave(&limits(), "flood", &["a"]);
    assert_eq!(cause(&outcome), "it answered with 100000 findings; at most 32 are allowed for this batch");
}

#[test]
fn a_guest_with_a_huge_answer_is_refused() {
    let outcome = misbehave(&limits(), "huge-answer", &["a"]);
    assert_eq!(cause(&outcome), "its answer took up more than 33554432 bytes");
}

#[test]
fn a_guest_that_speaks_of_what_it_was_not_shown_is_refused() {
    let outcome = misbehave(&limits(), "stranger-container", &["a"]);
    assert_eq!(cause(&outcome), "it answered with a finding for subject 0, container Some(7), which it was not shown");
    let engine = Engine::new(limits()).unwrap();
    let checks = BTreeMap::from([("stranger".to_owned(), Arc::new(load(&engine, "stranger").unwrap()))]);
    let rules = Checks::new(checks, limits()).rule_set(&policy(&["stranger"], "")).unwrap();
    let outcomes = rules.evaluate(&[subject("a")], None);
    assert_eq!(
        outcomes[0].errors[0].cause,
        "it answered with a finding for subject 1, container None, which it was not shown"
    );
}

#[test]
fn one_subject_that_makes_a_check_trap_does_not_cost_its_neighbours() {
    let mut names = vec!["fine"; 600];
    names[300] = "poison";
    let outcome = misbehave(&limits(), "trap-on-poison", &names);
    for (index, result) in outcome.results.iter().enumerate() {
        assert_eq!(*result, if index == 300 { NotEvaluated } else { Passed }, "{index}");
    }
    assert_eq!(outcome.errors.len(), 1);
    assert_eq!(outcome.errors[0].subjects, [300]);
}

#[test]
fn a_rule_that_ran_out_of_time_is_not_asked_again() {
    let mut names = vec!["fine"; 2000];
    names[0] = "poison";
    names[1999] = "poison";
    let outcome = misbehave(&Limits { batch_time: Duration::from_millis(20), ..limits() }, "loop-on-poison", &names);
    assert_eq!(outcome.results[0], NotEvaluated);
    assert_eq!(outcome.results[1999], NotEvaluated);
    assert!(outcome.errors.iter().any(|error| error.cause.contains("was stopped")), "{:?}", outcome.errors);
    assert!(!outcome.results.contains(&Failed));
}

#[test]
fn the_other_rules_of_a_policy_stand_and_the_host_goes_on() {
    let limits = limits();
    let engine = Engine::new(limits.clone()).unwrap();
    let module = Arc::new(load(&engine, "hostile").unwrap());
    let checks = BTreeMap::from([("hostile".to_owned(), module.clone()), ("other".to_owned(), module)]);
    let mut mixed = policy(&["hostile", "other"], "trap");
    mixed.rules[1] = policy(&["other"], "count-calls").rules.remove(0);
    let rules = Checks::new(checks, limits).rule_set(&mixed).unwrap();
    for round in 1..=3 {
        let subjects = [subject("a")];
        let outcomes = rules.evaluate(&subjects, None);
        assert_eq!(outcomes[0].results, [NotEvaluated]);
        assert_eq!(outcomes[1].results, [Failed]);
        assert_eq!(*outcomes[1].findings[0].message, round.to_string(), "the instance of the other rule is kept");
        let report = Report::new(&subjects, outcomes, Default::default());
        assert_eq!((report.checks[0].passed, report.checks[0].not_evaluated), (0, 1));
        assert_eq!(
            report.errors[0].message,
            "check hostile (module sha256:test) could not judge Pod default/a: it crashed: wasm trap: wasm `unreachable` \
             instruction executed"
        );
    }
}

#[test]
fn instances_are_replaced_after_some_calls() {
    let limits = Limits { calls_for_each_instance: 2, ..limits() };
    let rules = hostile(&limits, "count-calls").unwrap();
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(rules.evaluate(&[subject("a")], None)[0].findings[0].message.to_string());
    }
    assert_eq!(counts, ["1", "2", "1", "2", "1"]);
}

#[test]
fn answers_are_cut_and_capped() {
    let outcome = misbehave(&limits(), "long-message", &["a"]);
    assert!(outcome.findings[0].message.len() <= 1024 && outcome.findings[0].message.ends_with('…'));
    let outcome = misbehave(&limits(), "bad-pointer", &["a"]);
    assert_eq!(outcome.findings[0].field, None);
    let subjects = [subject("a")];
    let outcomes = hostile(&limits(), "absurd-magnitude").unwrap().evaluate(&subjects, None);
    assert_eq!(Report::new(&subjects, outcomes, Default::default()).violations[0].magnitude, 5);
}

#[test]
fn a_flooded_log_costs_nothing_but_lines() {
    assert_eq!(misbehave(&limits(), "log-flood", &["a"]).results, [Passed]);
}

#[test]
fn settings_that_are_refused_or_break_the_check_are_errors_when_the_rule_is_made() {
    let error = |behaviour| hostile(&limits(), behaviour).err().unwrap().to_string();
    assert_eq!(
        error("create-refuse"),
        r#"check hostile does not accept the settings {"behaviour":"create-refuse"}: not \u{1b}[31mthese\u{1b}[0m"#
    );
    assert_eq!(
        error("create-trap"),
        "check hostile (module sha256:test) could not be told its settings: it crashed: wasm trap: wasm `unreachable` \
         instruction executed"
    );
    assert!(error("create-loop").ends_with("it ran for longer than 200ms and was stopped"));
    let large = hostile(&limits(), &"x".repeat(100_000)).err().unwrap();
    assert!(matches!(large, RuleError::SettingsTooLarge { limit: 65_536, .. }), "{large}");
}

#[test]
fn modules_that_lie_about_themselves_are_refused() {
    let engine = Engine::new(limits()).unwrap();
    let error = |guest| load(&engine, guest).err().unwrap().to_string();
    assert_eq!(
        error("liar-id"),
        "what the module says of itself is not acceptable: the id \"latest-tag\\u{a}\\u{1b}[2J\" must be lower case \
         letters, digits and single dashes, at most 63 of them"
    );
    assert_eq!(
        error("liar-weight"),
        "what the module says of itself is not acceptable: the weight 4294967295 is over 100"
    );
    assert_eq!(
        error("liar-settings"),
        "what the module says of itself is not acceptable: the default settings is not a JSON object"
    );
    assert_eq!(
        error("liar-loop"),
        "the module could not describe itself: it ran for longer than 200ms and was stopped"
    );
}

#[test]
fn what_is_no_check_is_not_loaded() {
    let engine = Engine::new(Limits { module: 200_000, ..limits() }).unwrap();
    let load = |bytes: &[u8]| -> Result<CheckModule, LoadError> {
        CheckModule::load(&engine, &engine.compile(bytes)?, "sha256:test")
    };
    assert!(matches!(load(b"no wasm"), Err(LoadError::Compile(_))));
    assert!(matches!(load(&wat::parse_str("(module)").unwrap()), Err(LoadError::Compile(_))));
    assert!(matches!(load(&[0; 200_001]), Err(LoadError::TooLarge { size: 200_001, limit: 200_000 })));
    let empty = load(&wat::parse_str("(component)").unwrap()).err().unwrap().to_string();
    assert!(empty.contains("devops:policy/check"), "{empty}");
    let curious = r#"(component (import "wasi:cli/environment@0.2.0" (instance
        (export "get-arguments" (func (result (list string)))))))"#;
    let curious = load(&wat::parse_str(curious).unwrap()).err().unwrap().to_string();
    assert!(curious.contains("wasi:cli/environment"), "{curious}");
}
