//! Misbehaving guests: the host reports an error with check, module and cause, and continues.
#![allow(clippy::unwrap_used, missing_docs)]

mod guests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guests::{hostile, load, misbehave, policy, subject};
use kube_devops_core::CheckResult::{Failed, NotEvaluated, Passed};
use kube_devops_core::{CheckOutcome, Report};
use kube_devops_engine::{Checks, Engine, Grants, Limits, LoadError, LoadedCheck, LoadedModule, RuleError, RuleSet};

/// The time does not matter here, also on a slow machine.
fn limits() -> Limits {
    Limits { batch_time: Duration::from_secs(60), ..Limits::default() }
}

/// For guests that loop.
fn short() -> Limits {
    Limits { batch_time: Duration::from_millis(200), ..Limits::default() }
}

/// Returns the only cause of an outcome without any evaluated subject.
fn cause(outcome: &CheckOutcome) -> &str {
    assert!(outcome.results.iter().all(|result| *result == NotEvaluated), "{outcome:?}");
    assert!(outcome.findings.is_empty(), "{outcome:?}");
    let [error] = outcome.errors.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((error.check.as_str(), error.module.as_str()), ("hostile", "sha256:test"));
    &error.cause
}

#[test]
fn an_infinite_loop_exceeds_the_time_limit() {
    assert_eq!(cause(&misbehave(&short(), "loop", &["a", "b"])), "it exceeded its time limit of 200ms");
}

#[test]
fn a_trap_is_reported_with_its_cause() {
    let outcome = misbehave(&limits(), "trap", &["a"]);
    assert_eq!(without_place(cause(&outcome)), format!("it crashed: {PANIC}"));
}

/// The cause of a panic, without the place of the panic.
const PANIC: &str =
    "wasm trap: wasm `unreachable` instruction executed; the last error in its log: panic at PLACE: as configured";

/// Replaces the place of a panic.
fn without_place(text: &str) -> String {
    let (before, after) = text.split_once("panic at ").unwrap();
    let (place, message) = after.split_once(": ").unwrap();
    assert!(place.contains("hostile/src/lib.rs:"), "{text}");
    format!("{before}panic at PLACE: {message}")
}

#[test]
fn a_trap_is_reported_with_the_last_error_in_the_log() {
    let outcome = misbehave(&limits(), "log-and-trap", &["a"]);
    let expected =
        "it crashed: wasm trap: wasm `unreachable` instruction executed; the last error in its log: the reason\\u{a}";
    assert_eq!(cause(&outcome), expected);
}

#[test]
fn excessive_memory_exceeds_the_memory_limit() {
    let outcome = misbehave(&limits(), "memory", &["a"]);
    assert_eq!(cause(&outcome), "it exceeded its memory limit of 67108864 bytes");
}

#[test]
fn infinite_recursion_exceeds_the_stack_limit() {
    let outcome = misbehave(&limits(), "recurse", &["a"]);
    assert_eq!(cause(&outcome), "it exceeded its stack limit of 524288 bytes");
}

#[test]
fn more_findings_than_are_listed_remain_violations() {
    for names in [&["a"][..], &["a", "b", "c"]] {
        let outcome = misbehave(&limits(), "flood", names);
        assert_eq!((outcome.results[0], outcome.errors.len()), (Failed, 0), "{outcome:?}");
        let findings: Vec<_> = outcome.findings.iter().filter(|finding| finding.subject == 0).collect();
        assert_eq!(findings.len(), 33, "as many as alone");
        assert_eq!(*findings[32].message, *"has 99968 more violations of this check; only 32 are listed");
    }
}

#[test]
fn a_too_large_returned_value_is_rejected() {
    let outcome = misbehave(&limits(), "huge-answer", &["a"]);
    assert_eq!(cause(&outcome), "it returned more than 33554432 bytes");
    // Another rule of the same module, in the same call.
    let engine = Engine::new(limits()).unwrap();
    let check = Arc::new(load(&engine, "hostile").unwrap());
    let checks = BTreeMap::from([("hostile".to_owned(), check.clone()), ("other".to_owned(), check)]);
    let mut mixed = policy(&["hostile", "other"], "huge-answer");
    mixed.rules[1] = policy(&["other"], "echo-name").rules.remove(0);
    let outcomes = Checks::new(checks, limits()).rule_set(&mixed).unwrap().evaluate(&[subject("a"), subject("b")]);
    assert_eq!(outcomes[0].results, [NotEvaluated, NotEvaluated]);
    assert_eq!(outcomes[1].results, [Failed, Failed], "{:?}", outcomes[1]);
}

#[test]
fn findings_outside_of_the_batch_are_rejected() {
    let outcome = misbehave(&limits(), "unknown-container", &["a"]);
    assert_eq!(cause(&outcome), "it returned a finding for container 7 of subject 0, which is not in the batch");
    let engine = Engine::new(limits()).unwrap();
    let checks = BTreeMap::from([("unknown".to_owned(), Arc::new(load(&engine, "unknown").unwrap()))]);
    let rules = Checks::new(checks, limits()).rule_set(&policy(&["unknown"], "")).unwrap();
    let outcomes = rules.evaluate(&[subject("a")]);
    assert_eq!(outcomes[0].errors[0].cause, "it returned a finding for subject 1, which is not in the batch");
}

#[test]
fn a_subject_that_causes_a_trap_does_not_prevent_the_evaluation_of_others() {
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
fn a_rule_is_not_called_again_after_a_timeout() {
    let mut names = vec!["fine"; 2000];
    names[0] = "poison";
    names[1999] = "poison";
    // With one thread, the batches are evaluated one after the other.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let outcome = pool.install(|| misbehave(&short(), "loop-on-poison", &names));
    assert!(outcome.results.iter().all(|result| *result == NotEvaluated));
    let cause_of = |subject: usize| {
        let error = outcome.errors.iter().find(|error| error.subjects.contains(&subject));
        error.map(|error| error.cause.as_str()).unwrap_or_default()
    };
    assert_eq!(cause_of(0), "it exceeded its time limit of 200ms");
    assert!(cause_of(1999).starts_with("its retry budget is exhausted"), "{}", cause_of(1999));
}

#[test]
fn a_failing_rule_does_not_affect_the_other_rules_of_a_policy() {
    let limits = limits();
    let engine = Engine::new(limits.clone()).unwrap();
    let module = || Arc::new(load(&engine, "hostile").unwrap());
    let checks = BTreeMap::from([("hostile".to_owned(), module()), ("other".to_owned(), module())]);
    let mut mixed = policy(&["hostile", "other"], "trap");
    mixed.rules[1] = policy(&["other"], "count-calls").rules.remove(0);
    let rules = Checks::new(checks, limits).rule_set(&mixed).unwrap();
    for round in 1..=3 {
        let subjects = [subject("a")];
        let outcomes = rules.evaluate(&subjects);
        assert_eq!(outcomes[0].results, [NotEvaluated]);
        assert_eq!(outcomes[1].results, [Failed]);
        assert_eq!(*outcomes[1].findings[0].message, round.to_string(), "the instance of the other rule is kept");
        let report = Report::new(&subjects, outcomes, Default::default(), Vec::new());
        assert_eq!((report.checks[0].passed, report.checks[0].not_evaluated), (0, 1));
        assert_eq!(
            without_place(&report.errors[0].message),
            format!("check hostile (module sha256:test) failed to evaluate Pod default/a: it crashed: {PANIC}")
        );
    }
}

#[test]
fn instances_are_replaced_after_a_number_of_calls() {
    let limits = Limits { calls_for_each_instance: 2, ..limits() };
    let rules = hostile(&limits, "count-calls").unwrap();
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(rules.evaluate(&[subject("a")])[0].findings[0].message.to_string());
    }
    assert_eq!(counts, ["1", "2", "1", "2", "1"]);
}

#[test]
fn messages_fields_and_magnitudes_of_findings_are_limited() {
    let outcome = misbehave(&limits(), "long-message", &["a"]);
    assert!(outcome.findings[0].message.len() <= 1024 && outcome.findings[0].message.ends_with('…'));
    let outcome = misbehave(&limits(), "bad-pointer", &["a"]);
    assert_eq!(outcome.findings[0].field, None);
    let subjects = [subject("a")];
    let outcomes = hostile(&limits(), "absurd-magnitude").unwrap().evaluate(&subjects);
    assert_eq!(Report::new(&subjects, outcomes, Default::default(), Vec::new()).violations[0].magnitude, 5);
}

#[test]
fn excess_log_lines_are_dropped() {
    assert_eq!(misbehave(&limits(), "log-flood", &["a"]).results, [Passed]);
}

#[test]
fn creating_a_rule_fails_with_invalid_settings_or_a_misbehaving_check() {
    let error_within = |limits, behaviour| hostile(&limits, behaviour).err().unwrap().to_string();
    let error = |behaviour| error_within(limits(), behaviour);
    assert_eq!(
        error("create-reject"),
        r#"check hostile rejects the settings {"behaviour":"create-reject"}: not \u{1b}[31mthese\u{1b}[0m"#
    );
    assert!((1024..2048).contains(&error("create-reject-long").len()), "the reason is limited as a message");
    assert_eq!(
        without_place(&error("create-trap")),
        format!("check hostile (module sha256:test) failed to process its settings: it crashed: {PANIC}")
    );
    assert!(error_within(short(), "create-loop").ends_with("it exceeded its time limit of 200ms"));
    let large = hostile(&limits(), &"x".repeat(100_000)).err().unwrap();
    assert!(matches!(large, RuleError::SettingsTooLarge { limit: 65_536, .. }), "{large}");
    let nested = |levels| (0..levels).fold(serde_json::json!({}), |settings, _| serde_json::json!({ "a": settings }));
    let deep = |levels| {
        let engine = Engine::new(limits()).unwrap();
        let checks = BTreeMap::from([("hostile".to_owned(), Arc::new(load(&engine, "hostile").unwrap()))]);
        let mut deep = policy(&["hostile"], "");
        deep.rules[0].settings = nested(levels);
        Checks::new(checks, limits()).rule_set(&deep).err().unwrap()
    };
    assert!(matches!(deep(99), RuleError::Settings { .. }), "the check decides");
    assert_eq!(deep(100).to_string(), "the settings of check hostile are nested more than 100 levels deep");
}

#[test]
fn a_check_that_hangs_is_called_once_for_all_policies_and_after_those_that_were_not_called() {
    let limits = short();
    let engine = Engine::new(limits.clone()).unwrap();
    let check = || Arc::new(load(&engine, "hostile").unwrap());
    let checks = BTreeMap::from([("hang".to_owned(), check()), ("other".to_owned(), check())]);
    let checks = Checks::new(checks, limits);
    let mut both = policy(&["hang", "other"], "create-loop");
    both.rules[1] = policy(&["other"], "fine").rules.remove(0);
    let within = |time| Instant::now() + time;
    // The first call takes all the time.
    let (rules, errors) = checks.possible_rules(&both, within(Duration::from_millis(100)), false);
    assert!(rules.needs() == Default::default() && errors.len() == 2, "{errors:?}");
    assert!(errors[0].is_timeout() && errors[1] == RuleError::Deadline { check: "other".to_owned() }, "{errors:?}");
    // Another policy does not call it again, and the other check is called first when it may be.
    let minute = Duration::from_secs(60);
    let again = checks.possible_rules(&policy(&["hang"], "create-loop"), within(minute), false).1;
    assert_eq!(again, errors[..1]);
    let (rules, left) = checks.possible_rules(&both, within(minute), false);
    assert_eq!(left, errors[..1]);
    assert_eq!(rules.evaluate(&[subject("a")])[0].results, [Passed]);
    // Other settings are called, but not where all checks have to be prompt.
    let fine = policy(&["hang"], "fine");
    let skipped = checks.possible_rules(&fine, within(minute), true).1;
    assert_eq!(skipped, [RuleError::Deadline { check: "hang".to_owned() }]);
    assert_eq!(checks.possible_rules(&fine, within(minute), false).1, []);
}

#[test]
fn rules_of_added_modules_can_be_evaluated_apart() {
    let limits = limits();
    let engine = Engine::new(limits.clone()).unwrap();
    let added = LoadedModule::compile(&engine, guests::bytes("hostile"), "sha256:added", Grants::default()).unwrap();
    let built_in = load(&engine, "hostile").unwrap();
    let checks = [("added", added.checks[0].clone()), ("built-in", built_in)];
    let checks = checks.map(|(name, check)| (name.to_owned(), Arc::new(check)));
    let checks = Checks::new(BTreeMap::from(checks), limits);
    let rules = checks.rule_set(&policy(&["added", "missing", "built-in"], "echo-name")).unwrap();
    let (built_in, added) = rules.by_origin();
    let results = |rules: &RuleSet| -> Vec<_> {
        rules.evaluate(&[subject("a")]).iter().map(|outcome| outcome.results[0]).collect()
    };
    assert_eq!((results(&built_in), results(&added)), (vec![Failed], vec![Failed, NotEvaluated]));
    let (all, none) = built_in.by_origin();
    assert!(none.is_empty() && !all.is_empty() && !added.is_empty());
}

#[test]
fn modules_with_an_invalid_description_are_rejected() {
    let error_within = |limits, guest| load(&Engine::new(limits).unwrap(), guest).err().unwrap().to_string();
    let error = |guest| error_within(limits(), guest);
    assert_eq!(
        error("liar-id"),
        "the module has an invalid description: id \"latest-tag\\u{a}\\u{1b}[2J\" must consist of at most 63 lower-case \
         letters, digits and single dashes"
    );
    assert_eq!(
        error("liar-weight"),
        "the module has an invalid description: weight 4294967295 exceeds the maximum of 100"
    );
    assert_eq!(error("liar-settings"), "the module has an invalid description: default settings must be a JSON object");
    assert_eq!(
        error_within(short(), "liar-loop"),
        "the module failed to describe itself: it exceeded its time limit of 200ms"
    );
}

#[test]
fn modules_that_are_not_checks_are_rejected() {
    let engine = Engine::new(Limits { module: 200_000, ..limits() }).unwrap();
    let load = |bytes: &[u8]| -> Result<Vec<LoadedCheck>, LoadError> {
        LoadedCheck::load(&engine, &engine.compile(bytes)?, "sha256:test")
    };
    assert!(matches!(load(b"no wasm"), Err(LoadError::Compile(_))));
    assert!(matches!(load(&wat::parse_str("(module)").unwrap()), Err(LoadError::Compile(_))));
    assert!(matches!(load(&[0; 200_001]), Err(LoadError::TooLarge { size: 200_001, limit: 200_000 })));
    let empty = load(&wat::parse_str("(component)").unwrap()).err().unwrap().to_string();
    assert!(empty.contains("devops:policy/check"), "{empty}");
    let old = r#"(component (instance $empty) (export "devops:policy/check@0.1.0" (instance $empty)))"#;
    assert_eq!(
        load(&wat::parse_str(old).unwrap()).err().unwrap().to_string(),
        "the module implements version 0.1.0 of the contract devops:policy, and this version of kube-devops supports 0.2; build it \
         with an SDK of that version"
    );
    let with_import = r#"(component (import "wasi:cli/environment@0.2.0" (instance
        (export "get-arguments" (func (result (list string)))))))"#;
    let with_import = load(&wat::parse_str(with_import).unwrap()).err().unwrap().to_string();
    assert!(with_import.contains("wasi:cli/environment"), "{with_import}");
}
