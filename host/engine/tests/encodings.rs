//! The facts of a subject are the same as typed records, in the packed layout, and for native code.
#![allow(clippy::unwrap_used, missing_docs)]

mod guests;

use std::sync::Arc;

use guests::{bytes, load, policy};
use kube_devops_core::{
    Container, ContainerKind, Controller, Phase, Quantities, RestartPolicy, SecurityContext, Status, Subject,
};
use kube_devops_engine::{Checks, Engine, Limits, LoadedCheck, RuleSet};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,8}", "\\PC{0,12}"]
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map(text(), text(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn quantities() -> impl Strategy<Value = Quantities> {
    any::<(Option<u64>, Option<u64>)>()
        .prop_map(|(cpu_millicores, memory_bytes)| Quantities { cpu_millicores, memory_bytes })
}

fn security() -> impl Strategy<Value = SecurityContext> {
    any::<(bool, Option<bool>, bool, Option<bool>, Option<i64>)>().prop_map(
        |(privileged, allow_privilege_escalation, read_only_root_filesystem, run_as_non_root, run_as_user)| {
            SecurityContext {
                privileged,
                allow_privilege_escalation,
                read_only_root_filesystem,
                run_as_non_root,
                run_as_user,
            }
        },
    )
}

fn container() -> impl Strategy<Value = Container> {
    use ContainerKind::{App, Ephemeral, Init, Sidecar};
    let kind = prop::sample::select(vec![App, Init, Sidecar, Ephemeral]);
    let ports = prop::collection::vec(any::<u16>(), 0..4);
    let flags = any::<[bool; 5]>();
    (text(), text(), kind, flags, quantities(), quantities(), security(), ports, any::<Option<u32>>()).prop_map(
        |(name, image, kind, flags, requests, limits, security_context, ports, restart_count)| Container {
            name: name.into(),
            image: image.into(),
            kind,
            has_liveness_probe: flags[0],
            has_readiness_probe: flags[1],
            has_startup_probe: flags[2],
            has_resource_requests: flags[3],
            has_resource_limits: flags[4],
            requests,
            limits,
            security_context,
            ports: ports.into(),
            restart_count,
            ..Container::default()
        },
    )
}

fn status() -> impl Strategy<Value = Option<Status>> {
    use Phase::{Failed, Pending, Running, Succeeded, Unknown};
    let phase = prop::sample::select(vec![Pending, Running, Succeeded, Failed, Unknown]);
    prop::option::of(
        (phase, any::<Option<u64>>()).prop_map(|(phase, pending_seconds)| Status { phase, pending_seconds }),
    )
}

fn subject() -> impl Strategy<Value = Subject> {
    use RestartPolicy::{Always, Never, OnFailure};
    let policy = prop::sample::select(vec![Always, OnFailure, Never]);
    let controller = prop::option::of((text(), text()));
    let volumes = prop::collection::btree_set("[a-zA-Z]{1,12}", 0..3);
    let names = (text(), text(), text(), text());
    let containers = prop::collection::vec(container(), 0..4);
    (names, pairs(), pairs(), controller, policy, any::<[bool; 3]>(), volumes, containers, status()).prop_map(
        |(names, labels, annotations, controller, restart_policy, host, volumes, containers, status)| {
            let mut subject = Subject {
                kind: names.0.into(),
                namespace: names.1.into(),
                name: names.2.into(),
                labels: labels.into(),
                annotations,
                controller: controller.map(|(kind, name)| Arc::new(Controller { kind, name, ..Controller::default() })),
                restart_policy,
                containers,
                status,
                ..Subject::default()
            };
            subject.pod.service_account = names.3.into();
            [subject.pod.host_network, subject.pod.host_pid, subject.pod.host_ipc] = host;
            subject.pod.volume_types = volumes.into_iter().map(Into::into).collect();
            subject
        },
    )
}

fn rules(guest: &str, check: &str) -> RuleSet {
    let limits = Limits { message: 1 << 20, ..Limits::default() };
    let engine = Engine::new(limits.clone()).unwrap();
    let checks = [(check.to_owned(), Arc::new(load(&engine, guest).unwrap()))].into();
    let mut policy = policy(&[check], "");
    policy.rules[0].settings = serde_json::json!({});
    Checks::new(checks, limits).rule_set(&policy).unwrap()
}

/// The facts that native code reads.
fn native(subjects: &[Subject]) -> Vec<Vec<String>> {
    let mut writer = kube_devops_facts::Writer::default();
    subjects.iter().for_each(|subject| kube_devops_engine::write_facts(subject, true, &mut writer));
    let mut words = Vec::new();
    writer.words_for_all([].into_iter(), &mut words);
    let batch = kube_devops_facts::Batch::new(&words, writer.text());
    batch.subjects().map(|subject| guest_echo::lines(&subject)).collect()
}

/// The facts that a component reports.
fn reported(rules: &RuleSet, subjects: &[Subject]) -> Vec<Vec<String>> {
    let outcome = rules.evaluate(subjects).remove(0);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let mut lines = vec![Vec::new(); subjects.len()];
    for finding in outcome.findings {
        lines[finding.subject].push(finding.message.to_string());
    }
    lines
}

#[test]
fn typed_records_the_packed_layout_and_native_code_have_the_same_facts() {
    let (packed, typed) = (rules("echo", "echo"), rules("typed", "typed"));
    let batches = prop::collection::vec(subject(), 1..6);
    proptest!(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }, |(subjects in batches)| {
        let expected = native(&subjects);
        prop_assert_eq!(reported(&packed, &subjects), expected.clone());
        prop_assert_eq!(reported(&typed, &subjects), expected);
        for subject in &subjects {
            let edits = |rules: &RuleSet| -> Vec<_> {
                rules.remediate(subject).unwrap().into_iter().map(|edit| edit.value).collect()
            };
            prop_assert_eq!(edits(&packed), edits(&typed));
        }
    });
}

#[test]
fn selected_subjects_of_a_batch_have_their_own_facts() {
    for rules in [rules("echo", "echo"), rules("typed", "typed")] {
        let named = |name: &str, workload| Subject { workload, ..guests::subject(name) };
        let subjects = [named("a", None), named("b", Some(0)), named("c", None), named("d", Some(1)), named("é", None)];
        let lines = reported(&rules, &subjects);
        for (subject, lines) in subjects.iter().zip(lines) {
            assert_eq!(lines.is_empty(), subject.workload.is_some());
            assert!(lines.is_empty() || lines[0].contains(&format!("name: {:?}", subject.name)), "{lines:?}");
        }
    }
}

#[test]
fn a_finding_of_another_rule_is_an_error() {
    let outcome = rules("typed", "typed").evaluate(&[guests::subject("forge-rule")]).remove(0);
    assert_eq!(outcome.errors[0].cause, "it returned a finding of rule 1; 1 rules were evaluated");
}

#[test]
fn a_component_of_this_version_of_the_contract_stays_loadable() {
    let frozen = include_bytes!("frozen/echo-0.2.0.wasm");
    let engine = Engine::new(Limits::default()).unwrap();
    let checks = LoadedCheck::load(&engine, &engine.compile(frozen).unwrap(), "sha256:frozen").unwrap();
    assert_eq!(checks[0].info().id, "echo");
    assert!(bytes("echo").len() > 1000);
}
