//! Admission without checks, for tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::Event;
use kube_devops_core::{Severity, SystemNamespaces};
use kube_devops_engine::{Checks, Limits};
use prometheus::Registry;
use serde_json::json;

use super::{Admission, AdmissionOptions};
use crate::index::{Indexer, PolicyIndex};

/// The user of the operator.
pub const OPERATOR: &str = "system:serviceaccount:platform:operator";

/// Options with which one request is evaluated at a time.
pub fn options() -> AdmissionOptions {
    AdmissionOptions {
        deny: Some(Severity::High),
        fail_closed: false,
        deadline: Duration::from_secs(30),
        most_at_once: 1,
        system: SystemNamespaces::default(),
        operator: Some(OPERATOR.to_owned()),
        deny_controller_pods: false,
    }
}

/// Admission of a cluster with a policy in each of these namespaces, whose check is not loaded.
pub fn admission(options: AdmissionOptions, namespaces: &[&str]) -> Admission {
    let checks = Arc::new(Checks::new(BTreeMap::new(), Limits::default()));
    let index = Arc::new(PolicyIndex::default());
    let mut indexer = Indexer::new(checks.clone(), index.clone());
    indexer.apply(Event::Init);
    for namespace in namespaces {
        let metadata = json!({ "name": "strict", "namespace": namespace });
        let policy = json!({ "metadata": metadata, "spec": { "forbidLatestTag": true } });
        indexer.apply(Event::InitApply(serde_json::from_value(policy).unwrap()));
    }
    indexer.apply(Event::InitDone);
    Admission::new(checks, index, options, &Registry::new()).unwrap()
}

/// The review of the creation of a pod in a namespace.
pub fn review(namespace: &str) -> Vec<u8> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "web", "namespace": namespace },
        "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
    });
    let request = json!({
        "uid": "a1-b2",
        "kind": { "group": "", "version": "v1", "kind": "Pod" },
        "resource": { "group": "", "version": "v1", "resource": "pods" },
        "namespace": namespace,
        "operation": "CREATE",
        "object": pod,
    });
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
    serde_json::to_vec(&review).unwrap()
}
