//! How long it takes to read manifests: 10,000 deployments, in the forms that people have them in.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kube_devops::manifests::{Limits, Manifests, ReadOptions, read};

const DEPLOYMENTS: usize = 10_000;

/// A deployment of two containers, 1.35 KB long, as people write them. Every third one lacks something.
fn deployment(index: usize) -> String {
    let probes = if index.is_multiple_of(3) {
        ""
    } else {
        "        livenessProbe:\n          httpGet:\n            path: /healthz\n            port: http\n          periodSeconds: 10\n        readinessProbe:\n          httpGet:\n            path: /readyz\n            port: http\n"
    };
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: service-{index}
  namespace: team-{}
  labels:
    app.kubernetes.io/name: service-{index}
    app.kubernetes.io/part-of: shop
    app.kubernetes.io/managed-by: Helm
spec:
  replicas: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: service-{index}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: service-{index}
        version: \"{index}\"
    spec:
      serviceAccountName: service-{index}
      containers:
      - name: app
        image: registry.example.com/shop/service-{index}:1.4.{}
        ports:
        - name: http
          containerPort: 8080
        env:
        - name: LOG_LEVEL
          value: info
        - name: DATABASE_URL
          valueFrom:
            secretKeyRef:
              name: service-{index}-database
              key: url
        resources:
          requests:
            cpu: 100m
            memory: 128Mi
          limits:
            cpu: 500m
            memory: 512Mi
{probes}      - name: proxy
        image: registry.example.com/proxy:latest
        args: [\"--listen\", \"0.0.0.0:9090\"]
        ports:
        - name: metrics
          containerPort: 9090
",
        index % 100,
        index % 17
    )
}

/// Many documents in one file.
fn documents() -> String {
    (0..DEPLOYMENTS).map(|index| format!("---\n{}", deployment(index))).collect()
}

/// What `kubectl get deployments -o yaml` answers.
fn list() -> String {
    let mut list = "apiVersion: v1\nitems:\n".to_owned();
    for index in 0..DEPLOYMENTS {
        for (number, line) in deployment(index).lines().enumerate() {
            let _ = writeln!(list, "{}{line}", if number == 0 { "- " } else { "  " });
        }
    }
    list + "kind: List\n"
}

/// What `kubectl get deployments -o json` answers.
fn json() -> String {
    let items: Vec<String> = (0..DEPLOYMENTS)
        .filter_map(|index| {
            let value: serde_json::Value = serde_norway::from_str(&deployment(index)).ok()?;
            serde_json::to_string_pretty(&value).ok()
        })
        .collect();
    format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n{}\n]}}\n", items.join(",\n"))
}

fn read_file(path: &PathBuf) -> Manifests {
    let options =
        ReadOptions { now: chrono::Utc::now(), default_namespace: "default".to_owned(), limits: Limits::default() };
    let manifests = read(std::slice::from_ref(path), &options);
    assert_eq!((manifests.subjects.len(), manifests.extent.errors.len()), (DEPLOYMENTS, 0));
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
        let manifests = read_file(&path);
        group.throughput(Throughput::Elements(3 * DEPLOYMENTS as u64));
        group.bench_function(format!("lines of 30,000 fields of {name}"), |bencher| {
            bencher.iter(|| {
                for source in manifests.subjects.iter().filter_map(|subject| subject.source.as_ref()) {
                    for field in
                        ["containers/0/image", "containers/0/livenessProbe", "containers/1/ports/0/containerPort"]
                    {
                        black_box(manifests.line_of(source, Some(&format!("/spec/template/spec/{field}"))));
                    }
                }
            })
        });
    }
    group.finish();
}

criterion_group!(benches, manifests);
criterion_main!(benches);
