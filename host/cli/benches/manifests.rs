//! The time to read manifests: 10,000 deployments, in the common file formats.

mod corpus;

use std::hint::black_box;
use std::path::PathBuf;

use corpus::{DEPLOYMENTS, documents, json, list};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kube_devops_manifests::{Manifests, ReadOptions, read};

fn read_file(path: &PathBuf) -> Manifests {
    let options = ReadOptions::new(chrono::Utc::now());
    let manifests = read(std::slice::from_ref(path), &[], &options);
    assert_eq!((manifests.subjects.len(), manifests.errors.len()), (DEPLOYMENTS, 0));
    manifests
}

fn manifests(criterion: &mut Criterion) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let mut group = criterion.benchmark_group("manifests");
    group.sample_size(10);
    for (name, text) in [("documents.yaml", documents()), ("list.yaml", list()), ("list.json", json())] {
        let path = folder.path().join(name);
        if std::fs::write(&path, &text).is_err() {
            continue;
        }
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("read {name}"), |bencher| bencher.iter(|| black_box(read_file(&path))));
    }
    group.finish();
}

criterion_group!(benches, manifests);
criterion_main!(benches);
