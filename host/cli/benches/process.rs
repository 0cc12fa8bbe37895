//! The time of whole runs of the program, from its start to its exit code.

mod corpus;

use std::path::Path;
use std::process::{Command, Stdio};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run(arguments: &[&str], file: Option<&Path>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kube-devops"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(file) = file {
        command.arg("-f").arg(file);
    }
    let status = command.status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
}

fn process(criterion: &mut Criterion) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let [one, many, pods] = ["one.yaml", "many.yaml", "pods.json"].map(|name| folder.path().join(name));
    let files = [(&one, corpus::deployment(0)), (&many, corpus::documents()), (&pods, corpus::pods())];
    if files.iter().any(|(path, text)| std::fs::write(path, text).is_err()) {
        return;
    }
    let mut group = criterion.benchmark_group("process");
    group.sample_size(10);
    // The lower bound: the time to start a program of this size.
    group.bench_function("version", |bencher| bencher.iter(|| run(&["version"], None)));
    group.bench_function("analyze one manifest", |bencher| bencher.iter(|| run(&["analyze"], Some(&one))));
    group.throughput(Throughput::Elements(corpus::DEPLOYMENTS as u64));
    for format in ["text", "json"] {
        group.bench_function(format!("analyze 10,000 manifests to {format}"), |bencher| {
            bencher.iter(|| run(&["analyze", "-o", format], Some(&many)));
        });
    }
    group.throughput(Throughput::Elements(corpus::PODS as u64));
    group.bench_function("analyze a list of 100,000 pods", |bencher| bencher.iter(|| run(&["analyze"], Some(&pods))));
    group.finish();
}

criterion_group!(benches, process);
criterion_main!(benches);
