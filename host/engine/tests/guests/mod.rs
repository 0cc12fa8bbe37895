//! The components in `tests/guests`, built once, and subjects for them.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use kube_devops_core::{CheckOutcome, Container, Policy, RuleConfig, Status, Subject};
use kube_devops_engine::{Checks, Engine, Limits, LoadError, LoadedCheck, RuleError, RuleSet};
use serde_json::json;

static GUESTS: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../components");
    let built = kube_devops_build_components::build(&[folder], &target).expect("the guests can be built");
    built.into_iter().map(|component| (component.folder, component.bytes)).collect()
});

/// Returns the bytes of a guest.
pub fn bytes(guest: &str) -> &'static [u8] {
    &GUESTS[guest]
}

/// Loads the check of a guest.
pub fn load(engine: &Engine, guest: &str) -> Result<LoadedCheck, LoadError> {
    let mut checks = LoadedCheck::load(engine, &engine.compile(bytes(guest))?, "sha256:test")?;
    assert_eq!(checks.len(), 1, "{guest} has one check");
    Ok(checks.remove(0))
}

/// Loads all checks of a guest.
pub fn load_all(engine: &Engine, guest: &str) -> Result<BTreeMap<String, Arc<LoadedCheck>>, LoadError> {
    let checks = LoadedCheck::load(engine, &engine.compile(bytes(guest))?, "sha256:test")?;
    Ok(checks.into_iter().map(|check| (check.info().id.clone(), Arc::new(check))).collect())
}

/// Creates a rule set with one rule of the guest `hostile`.
pub fn hostile(limits: &Limits, behaviour: &str) -> Result<RuleSet, RuleError> {
    let engine = Engine::new(limits.clone()).expect("an engine");
    let module = load(&engine, "hostile").expect("the guest loads");
    let checks = BTreeMap::from([("hostile".to_owned(), Arc::new(module))]);
    Checks::new(checks, limits.clone()).rule_set(&policy(&["hostile"], behaviour))
}

/// Creates a policy of checks that all have the same behaviour.
pub fn policy(checks: &[&str], behaviour: &str) -> Policy {
    let rule = |check: &&str| RuleConfig {
        check: (*check).to_owned(),
        settings: json!({"behaviour": behaviour}),
        severity: None,
        weight: None,
    };
    Policy { name: "test".to_owned(), rules: checks.iter().map(rule).collect() }
}

/// Returns the outcome of the guest `hostile` for subjects with these names.
pub fn misbehave(limits: &Limits, behaviour: &str, names: &[&str]) -> CheckOutcome {
    let rules = hostile(limits, behaviour).expect("the rule is created");
    let subjects: Vec<_> = names.iter().map(|name| subject(name)).collect();
    rules.evaluate(&subjects).remove(0)
}

/// Returns a pod with one container and without status.
pub fn subject(name: &str) -> Subject {
    Subject {
        kind: "Pod".into(),
        namespace: "default".into(),
        name: name.into(),
        containers: vec![Container { name: "app".into(), image: "nginx".into(), ..Container::default() }],
        spec_pointer: "/spec".into(),
        ..Subject::default()
    }
}

/// Returns the same subject with a status.
pub fn with_status(subject: Subject, status: Status) -> Subject {
    Subject { status: Some(status), ..subject }
}
