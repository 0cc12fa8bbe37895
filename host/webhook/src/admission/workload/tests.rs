//! Tests of the evaluation of workloads.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use kube_devops_core::{Policy, RuleConfig, Severity, testing};
use kube_devops_engine::{Checks, Limits};
use serde_json::{Value, json};

use super::*;
use crate::index::AppliedPolicy;
use crate::review::{Kind, UserInfo};

fn request(operation: &'static str) -> Header<'static> {
    Header {
        uid: "1".into(),
        kind: Kind { kind: "Pod".into() },
        resource: crate::review::Resource::default(),
        sub_resource: "".into(),
        namespace: "shop".into(),
        operation: operation.into(),
        user_info: UserInfo::default(),
        object: None,
        old_object: None,
    }
}

fn time() -> Time {
    Time { deadline: Instant::now(), no_place: None }
}

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn finished() -> Object {
    object(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "web", "namespace": "elsewhere", "deletionTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
        "status": { "phase": "Succeeded" },
    }))
}

#[test]
fn the_namespace_of_the_request_counts_and_a_pod_cannot_claim_to_be_finished() {
    for operation in ["CREATE", "UPDATE"] {
        let subject = subject(&request(operation), finished(), Needs::default()).unwrap().unwrap();
        assert_eq!((&*subject.namespace, subject.status), ("shop", None), "{operation}");
    }
}

#[test]
fn an_update_is_skipped_if_the_object_is_being_deleted_before_and_after() {
    let policies = NamespacePolicies::default();
    let pod = |is_deleted: bool, image: &str| {
        let time = is_deleted.then_some("2026-01-01T00:00:00Z");
        object(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "web", "deletionTimestamp": time },
            "spec": { "containers": [{ "name": "app", "image": image }] },
            "status": { "phase": "Succeeded" },
        }))
    };
    let verdict = |operation, now, before| {
        let objects = Ok((Some(pod(now, "nginx")), Some(pod(before, "nginx:1"))));
        verdict(&request(operation), objects, b"", &policies, time())
    };
    assert_eq!(verdict("UPDATE", true, true), Verdict::Skipped);
    for (operation, now, before) in [("UPDATE", true, false), ("UPDATE", false, false), ("CREATE", true, true)] {
        let verdict = verdict(operation, now, before);
        assert!(matches!(verdict, Verdict::Evaluated { .. }), "{operation} {now} {before}: {verdict:?}");
    }
}

#[test]
fn an_object_of_another_kind_is_an_error() {
    let deployment = object(json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a" } }));
    let error = subject(&request("CREATE"), deployment, Needs::default()).unwrap_err();
    assert!(error.contains("about a Pod") && error.contains("a Deployment"), "{error}");
    let unreadable = verdict(&request("CREATE"), Err("bad".to_owned()), b"", &NamespacePolicies::default(), time());
    assert_eq!(unreadable.reason(), Some(Reason::Malformed));
    let empty = Ok((None, None));
    let verdict = verdict(&request("CREATE"), empty, b"", &NamespacePolicies::default(), time());
    assert_eq!(verdict.reason(), Some(Reason::Malformed));
}

#[test]
fn an_update_of_metadata_alone_is_skipped() {
    let pod = |label: &str, image: &str| {
        object(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "web", "labels": { "a": label } },
            "spec": { "containers": [{ "name": "app", "image": image }] },
        }))
    };
    let policies = NamespacePolicies::default();
    let update = |now: Object| {
        let objects = Ok((Some(now), Some(pod("1", "nginx:1"))));
        verdict(&request("UPDATE"), objects, b"", &policies, time())
    };
    assert_eq!(update(pod("2", "nginx:1")), Verdict::Skipped);
    assert!(matches!(update(pod("1", "nginx:2")), Verdict::Evaluated { .. }));
    let created = verdict(&request("CREATE"), Ok((Some(pod("1", "nginx:1")), None)), b"", &policies, time());
    let Verdict::Evaluated { subject, .. } = created else { panic!("{created:?}") };
    assert_eq!(subject, "Pod web in namespace shop");
}

#[test]
fn only_new_ephemeral_containers_count() {
    let ephemeral = |name: &str| Container { kind: ContainerKind::Ephemeral, ..testing::container(name) };
    let pod = |containers: Vec<Container>| Subject { containers, ..testing::pod("web") };
    let before = pod(vec![testing::container("app"), ephemeral("old")]);
    let now = pod(vec![testing::container("app"), ephemeral("old"), ephemeral("new")]);
    assert_eq!(added_containers(Some(&before), &now), ["new"].into());
    assert_eq!(added_containers(None, &now), ["old", "new"].into());
}

#[test]
fn violations_that_the_existing_object_does_not_have_count_and_those_of_added_containers() {
    let found = |container: Option<&str>, message: &str| PolicyViolation {
        violation: Violation {
            container: container.map(Into::into),
            message: message.into(),
            ..testing::violation("no-debug", Severity::High, "web")
        },
        policy: "strict".into(),
    };
    let known = [found(Some("app"), "no tag"), found(None, "no label"), found(Some("debug"), "no tag")];
    let caused = [found(None, "has an ephemeral container"), found(Some("app"), "can be debugged")];
    let count = |added: &[&str]| {
        let mut violations: Vec<_> = known.iter().chain(&caused).cloned().collect();
        retain_new(&mut violations, &known, &added.iter().copied().collect());
        violations
    };
    assert_eq!(count(&[]), caused);
    assert_eq!(count(&["debug"]), [&known[2..], &caused].concat());
}

#[test]
fn the_most_severe_of_equal_violations_counts() {
    let found = |severity, policy: &str| PolicyViolation {
        violation: testing::violation("latest-tag", severity, "web"),
        policy: policy.into(),
    };
    let mut violations = Violations::default();
    for (severity, policy) in [(Severity::Low, "a"), (Severity::High, "b"), (Severity::Medium, "c")] {
        violations.add(found(severity, policy));
    }
    assert_eq!(violations.list, [found(Severity::High, "b")]);
    let mut other = found(Severity::Low, "a");
    other.violation.check = "missing-liveness".into();
    violations.add(other);
    assert_eq!(violations.list.len(), 2);
}

fn invalid() -> AppliedPolicy {
    let failure = EvaluationFailure { reason: Reason::InvalidPolicy, text: "no such check".to_owned() };
    AppliedPolicy { name: "strict".into(), rules: None, added: None, failures: vec![failure] }
}

#[test]
fn an_invalid_policy_is_a_failure_of_the_evaluation() {
    let policies = NamespacePolicies::from_iter([invalid(), invalid()]);
    let pod = object(json!({
        "apiVersion": "v1", "kind": "Pod", "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
    }));
    let found = verdict(&request("CREATE"), Ok((Some(pod), None)), b"", &policies, time());
    let Verdict::Evaluated { subject, failures, .. } = &found else { panic!("{found:?}") };
    assert_eq!(subject, "Pod (without a name) in namespace shop");
    assert_eq!((failures.len(), found.reason()), (2, Some(Reason::InvalidPolicy)));
    assert_eq!(failures[0].text, "no such check");
}

#[test]
fn only_added_modules_need_a_place_among_slow_evaluations() {
    let checks = Checks::new(BTreeMap::new(), Limits::default());
    let rules = |check: &str| {
        let policy = Policy { name: "strict".to_owned(), rules: vec![RuleConfig::default_of(check)] };
        checks.rule_set(&policy).ok().map(Arc::new)
    };
    let policy =
        AppliedPolicy { name: "strict".into(), rules: rules("built-in"), added: rules("added"), failures: Vec::new() };
    let policies = NamespacePolicies::from_iter([policy]);
    let reasons = |no_place| {
        let (_, failures) = evaluate(&testing::pod("web"), &policies, Time { no_place, ..time() });
        failures.iter().map(|failure| failure.reason).collect::<Vec<_>>()
    };
    assert_eq!(reasons(None), [Reason::CheckFailed, Reason::CheckFailed]);
    assert_eq!(reasons(Some(8)), [Reason::CheckFailed, Reason::Overload]);
}

#[test]
fn a_policy_leaves_time_for_those_that_follow() {
    let second = Duration::from_secs(1);
    assert_eq!([1, 2, 4, 5, 100].map(|left| share(second, left).as_millis()), [1000, 500, 250, 250, 250]);
    assert_eq!(share(Duration::ZERO, 1), Duration::ZERO);
}

#[test]
fn objects_without_pods_are_skipped() {
    let config = object(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } }));
    let request = Header { kind: Kind { kind: "ConfigMap".into() }, ..request("CREATE") };
    let policies = NamespacePolicies::default();
    assert_eq!(verdict(&request, Ok((Some(config), None)), b"", &policies, time()), Verdict::Skipped);
}

#[test]
fn every_template_of_an_unknown_kind_is_evaluated() {
    let request = Header { kind: Kind { kind: "Any".into() }, ..request("CREATE") };
    let policies = NamespacePolicies::from_iter([invalid()]);
    let template = json!({ "spec": { "containers": [{ "name": "app", "image": "nginx" }] } });
    let failures = |spec: Value| {
        let any = object(json!({ "apiVersion": "example.com/v1", "kind": "Any", "spec": spec }));
        match verdict(&request, Ok((Some(any), None)), b"", &policies, time()) {
            Verdict::Evaluated { failures, .. } => failures.len(),
            verdict => panic!("{verdict:?}"),
        }
    };
    let jobs = json!({ "spec": { "template": template } });
    assert_eq!(failures(json!({ "template": template, "jobTemplate": jobs })), 2);
    assert_eq!(failures(json!({ "template": {}, "jobTemplate": jobs })), 1);
}

#[test]
fn only_the_templates_of_an_object_that_is_no_pod_must_be_readable() {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let odd = raw(
        r#"{"kind":"Any","spec":{"containers":5,"template":{"spec":{"containers":[{"image":"nginx"}]}}},"status":"ok"}"#,
    );
    let any = Header { kind: Kind { kind: "Any".into() }, ..request("UPDATE") };
    let read = |request, now, before| templates(request, now, before);
    assert!(matches!(read(&any, Some(&odd), Some(&odd)), Ok((Some(_), Some(_)))));
    let bad = raw(r#"{"kind":"Any","spec":{"template":5}}"#);
    assert!(matches!(read(&any, Some(&odd), Some(&bad)), Ok((Some(_), None))));
    assert!(matches!(read(&any, Some(&bad), None), Err(Some(_))));
    assert!(matches!(read(&request("UPDATE"), Some(&odd), None), Err(None)));
}
