//! Manifests for benchmarks.
#![allow(dead_code)]

use std::fmt::Write as _;

/// The number of deployments.
pub const DEPLOYMENTS: usize = 10_000;
/// The number of pods.
pub const PODS: usize = 100_000;

/// The probes of a container.
const PROBES: &str = "        livenessProbe:
          httpGet:
            path: /healthz
            port: http
          periodSeconds: 10
        readinessProbe:
          httpGet:
            path: /readyz
            port: http
";

/// Returns a typical deployment of two containers, 1.35 KB long. Every third deployment has no probes.
pub fn deployment(index: usize) -> String {
    format!("{}{}", workload(index), containers(index))
}

fn workload(index: usize) -> String {
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
  annotations:
    meta.helm.sh/release-name: service-{index}
    meta.helm.sh/release-namespace: team
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
",
        index % 100
    )
}

fn containers(index: usize) -> String {
    let probes = if index.is_multiple_of(3) { "" } else { PROBES };
    format!(
        "      containers:
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
        index % 17
    )
}

/// Returns a file with one document per deployment.
pub fn documents() -> String {
    (0..DEPLOYMENTS).map(|index| format!("---\n{}", deployment(index))).collect()
}

/// Returns the deployments in the format of `kubectl get deployments -o yaml`.
pub fn list() -> String {
    let mut list = "apiVersion: v1\nitems:\n".to_owned();
    for index in 0..DEPLOYMENTS {
        for (number, line) in deployment(index).lines().enumerate() {
            let _ = writeln!(list, "{}{line}", if number == 0 { "- " } else { "  " });
        }
    }
    list + "kind: List\n"
}

/// Returns the deployments in the format of `kubectl get deployments -o json`.
pub fn json() -> String {
    let items: Vec<String> = (0..DEPLOYMENTS)
        .filter_map(|index| {
            let value: serde_json::Value = serde_norway::from_str(&deployment(index)).ok()?;
            serde_json::to_string_pretty(&value).ok()
        })
        .collect();
    format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n{}\n]}}\n", items.join(",\n"))
}

/// Returns a list of pods as JSON. Of each ten pods, three use the tag `latest`; none has probes.
pub fn pods() -> String {
    let pod = |index: usize| {
        let (namespace, service) = (index / 2500, index / 200);
        let tag = if index % 10 < 3 { "latest" } else { "1.4.0" };
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"service-{service}-{index}","namespace":"team-{namespace}",
"labels":{{"app":"service-{service}","tier":"web"}}}},"spec":{{"serviceAccountName":"service-{service}","containers":[
{{"name":"app","image":"registry.example.com/shop/app:{tag}","ports":[{{"containerPort":8080}}]}}]}}}}"#
        )
    };
    let items: Vec<String> = (0..PODS).map(pod).collect();
    format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","))
}
