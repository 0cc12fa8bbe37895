//! Benchmarks of the five built-in checks: as components, and as native Rust code.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kube_devops_core::{Container, ContainerKind, Phase, Place, Status, Subject};
use kube_devops_engine::{Checks, Engine, Grants, Limits, LoadedModule, RuleSet, write_facts};
use kube_devops_facts::{Batch, Writer};
use kube_devops_sdk as sdk;

/// Returns a running pod with two containers and three labels. A pod that is not compliant violates all checks except
/// `pending`.
fn subject(index: usize, compliant: bool) -> Subject {
    let container = |index: usize, name: &str| Container {
        name: name.into(),
        kind: ContainerKind::App,
        image: format!("registry.example.com:5000/shop/{name}{}", if compliant { ":1.4.2" } else { "" }).into(),
        has_liveness_probe: compliant,
        has_readiness_probe: compliant,
        has_startup_probe: false,
        ports: [8080].into(),
        has_resource_requests: true,
        has_resource_limits: true,
        restart_count: Some(if compliant { 0 } else { 9 }),
        place: Place::in_list("containers", index),
        ..Container::default()
    };
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Subject {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: format!("web-{index}").into(),
        labels: [label("app", "web"), label("tier", "front"), label("version", "1.4.2")].into(),
        containers: vec![container(0, "app"), container(1, "proxy")],
        status: Some(Status { phase: Phase::Running, pending_seconds: None }),
        spec_pointer: "/spec".into(),
        ..Subject::default()
    }
}

/// Creates the rules of the five checks as components, with their default settings.
fn components() -> RuleSet {
    let engine = Engine::new(Limits::default()).unwrap();
    let checks = Checks::new(kube_devops_modules::checks(&engine).unwrap(), Limits::default());
    checks.rule_set(&checks.policy_of_all()).unwrap()
}

type Native = Box<dyn Fn(&sdk::Subject<'_>, &mut sdk::Findings)>;

fn native<C: sdk::Check>() -> Native {
    let check = C::new(C::Settings::default()).unwrap();
    Box::new(move |subject, findings| check.evaluate(subject, findings))
}

fn checks(criterion: &mut Criterion) {
    let natives = [
        native::<check_high_restarts::HighRestarts>(),
        native::<check_latest_tag::LatestTag>(),
        native::<check_missing_liveness::MissingLiveness>(),
        native::<check_missing_readiness::MissingReadiness>(),
        native::<check_pending::Pending>(),
    ];
    let rules = components();
    // The benchmark is for one core; the engine evaluates batches on all cores.
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut group = criterion.benchmark_group("five checks");
    for (what, compliant) in [("without findings", true), ("with 8 findings each", false)] {
        for pods in [1, 1_000] {
            let subjects: Vec<Subject> = (0..pods).map(|index| subject(index, compliant)).collect();
            let mut writer = Writer::default();
            subjects.iter().for_each(|subject| write_facts(subject, false, &mut writer));
            let mut words = Vec::new();
            writer.words_for_all([].into_iter(), &mut words);
            let found: usize = rules.evaluate(&subjects).iter().map(|outcome| outcome.findings.len()).sum();
            assert_eq!(found, if compliant { 0 } else { 8 * pods });
            group.throughput(Throughput::Elements(pods as u64));
            group.bench_function(format!("components, {pods} pods {what}"), |bencher| {
                one_core.install(|| bencher.iter(|| black_box(rules.evaluate(black_box(&subjects)))));
            });
            group.bench_function(format!("native, {pods} pods {what}"), |bencher| {
                bencher.iter(|| {
                    let mut findings = sdk::Findings::default();
                    for subject in black_box(Batch::new(&words, writer.text())).subjects() {
                        natives.iter().for_each(|check| check(&subject, &mut findings));
                    }
                    black_box(findings.into_list())
                });
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("start");
    let engine = Engine::new(Limits::default()).unwrap();
    group.bench_function("load the five checks", |bencher| {
        bencher.iter(|| black_box(kube_devops_modules::checks(&engine).unwrap()));
    });
    group.bench_function("create the five rules", |bencher| bencher.iter(|| black_box(components())));
    group.finish();
}

/// The rules of a component of the tests: its first `count` checks.
fn guest(name: &str, count: usize) -> RuleSet {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built =
        kube_devops_build_components::build(&[root.join("tests/guests")], &root.join("target/components")).unwrap();
    let component = built.into_iter().find(|component| component.folder == name).unwrap();
    let engine = Engine::new(Limits::default()).unwrap();
    let loaded = LoadedModule::compile(&engine, &component.bytes, name, Grants::all()).unwrap();
    let checks: BTreeMap<_, _> =
        loaded.checks.into_iter().take(count).map(|check| (check.info().id.clone(), Arc::new(check))).collect();
    assert_eq!(checks.len(), count);
    let checks = Checks::new(checks, Limits::default());
    checks.rule_set(&checks.policy_of_all()).unwrap()
}

/// One and thirty checks of one component, and the same check with and without the export `packed`, as in other languages.
fn packs(criterion: &mut Criterion) {
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut group = criterion.benchmark_group("packs");
    let cases = [
        ("1 check", "pack", 1),
        ("30 checks", "pack", 30),
        ("a check that returns all facts, with packed", "echo", 1),
        ("a check that returns all facts, without packed", "typed", 1),
    ];
    for (what, name, count) in cases {
        let rules = guest(name, count);
        for pods in [1, 1_000] {
            let subjects: Vec<Subject> = (0..pods).map(|index| subject(index, true)).collect();
            group.throughput(Throughput::Elements(pods as u64));
            group.bench_function(format!("{what}, {pods} pods"), |bencher| {
                one_core.install(|| bencher.iter(|| black_box(rules.evaluate(black_box(&subjects)))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, checks, packs);
criterion_main!(benches);
