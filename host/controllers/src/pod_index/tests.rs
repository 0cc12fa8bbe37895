use kube::api::ObjectMeta;
use kube_devops_core::Stage;
use serde_json::{Value, json};

use super::*;

fn pod(name: &str, phase: &str, image: &str) -> WatchedPod {
    watched(json!({
        "metadata": { "name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "containers": [{ "name": "app", "image": image }] },
        "status": { "phase": phase },
    }))
}

fn watched(pod: Value) -> WatchedPod {
    WatchedPod::of(serde_json::from_value(pod).unwrap())
}

fn complete(pod: Value) -> WatchedPod {
    WatchedPod::complete(serde_json::from_value(pod).unwrap())
}

fn names(keys: &[ObjectKey]) -> Vec<&str> {
    keys.iter().map(|key| &*key.name).collect()
}

fn at(seconds: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + chrono::TimeDelta::seconds(seconds)
}

#[test]
fn only_a_change_of_the_facts_is_reported() {
    let mut index = PodIndex::default();
    assert_eq!(names(&index.apply(Event::Apply(pod("a", "Running", "x:1")), at(0))), ["a"]);
    assert!(index.apply(Event::Apply(pod("a", "Running", "x:1")), at(9)).is_empty());
    assert_eq!(names(&index.apply(Event::Apply(pod("a", "Running", "x:2")), at(9))), ["a"]);
    assert_eq!((index.len(), index.pods("shop").count()), (1, 1));
    assert_eq!(names(&index.apply(Event::Apply(pod("a", "Succeeded", "x:2")), at(9))), ["a"]);
    assert!(index.len() == 0 && index.namespaces.is_empty());
    assert!(index.apply(Event::Delete(pod("a", "Succeeded", "x:2")), at(9)).is_empty());
}

#[test]
fn a_list_removes_pods_that_it_does_not_contain() {
    let mut index = PodIndex::default();
    for name in ["a", "b"] {
        index.apply(Event::Apply(pod(name, "Running", "x:1")), at(0));
    }
    assert!(!index.is_synced());
    index.apply(Event::Init, at(0));
    assert!(index.apply(Event::InitApply(pod("b", "Running", "x:1")), at(0)).is_empty());
    assert_eq!(names(&index.apply(Event::InitDone, at(0))), ["a"]);
    assert!(index.is_synced());
    assert_eq!(index.len(), 1);
}

#[test]
fn the_ages_of_pending_pods_are_updated() {
    let mut index = PodIndex::default();
    index.apply(Event::Apply(pod("a", "Pending", "x:1")), at(10));
    index.apply(Event::Apply(pod("b", "Running", "x:1")), at(10));
    let seconds = |index: &PodIndex| {
        index.pods("shop").next().unwrap().1.status.as_ref().and_then(|status| status.pending_seconds)
    };
    assert_eq!(seconds(&index), Some(10));
    assert_eq!(names(&index.update_ages(at(400))), ["a"]);
    assert_eq!(seconds(&index), Some(400));
    index.apply(Event::Apply(pod("a", "Running", "x:1")), at(500));
    assert!(index.update_ages(at(600)).is_empty());
}

#[test]
fn a_part_of_a_pod_that_cannot_be_read_is_an_error_of_this_pod() {
    let mut index = PodIndex::default();
    let mut odd = json!({
        "metadata": { "name": "odd", "namespace": "shop" },
        "spec": { "containers": [{ "name": "app", "image": 5 }] },
        "status": { "phase": "Running" },
    });
    let unreadable = |index: &mut PodIndex, pod: &Value| {
        index.apply(Event::Apply(watched(pod.clone())), at(0));
        index.pods("shop").next().and_then(|(_, subject)| subject.unreadable.clone())
    };
    let spec = unreadable(&mut index, &odd).unwrap();
    assert!(spec.stage == Stage::Spec && spec.cause.starts_with("failed to read the spec: "), "{}", spec.cause);
    odd["spec"]["containers"][0]["image"] = json!("x:1");
    odd["status"] = json!({ "phase": 7 });
    let status = unreadable(&mut index, &odd).unwrap();
    assert!(
        status.stage == Stage::Runtime && status.cause.starts_with("failed to read the status: "),
        "{}",
        status.cause
    );
    odd["status"] = json!({ "phase": "Running" });
    assert_eq!(unreadable(&mut index, &odd), None);
    odd["spec"] = json!({ "containers": 5 });
    odd["status"] = json!({ "phase": "Failed" });
    assert_eq!(unreadable(&mut index, &odd), None);
    assert!(index.len() == 0, "it has finished");
}

#[test]
fn the_root_of_a_pod_of_a_deployment_is_the_deployment() {
    let root = |owner: Option<(&str, &str)>, hash: Option<&str>| {
        let owners = owner.map(|(kind, name)| {
            json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true }])
        });
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "web-5d9-x", "ownerReferences": owners, "labels": { "pod-template-hash": hash.unwrap_or("none") },
        }))
        .unwrap();
        let labels: Vec<_> = metadata.labels.clone().unwrap_or_default().into_iter().collect();
        let root = WorkloadRoot::of(&labels, &workload(&metadata));
        format!("{} {}", root.kind, root.name)
    };
    assert_eq!(root(Some(("ReplicaSet", "web-5d9")), Some("5d9")), "Deployment web");
    assert_eq!(root(Some(("ReplicaSet", "web-5d9")), None), "ReplicaSet web-5d9");
    assert_eq!(root(Some(("StatefulSet", "db-5d9")), Some("5d9")), "StatefulSet db-5d9");
    assert_eq!(root(None, None), "Pod web-5d9-x");
}

#[test]
fn an_owner_that_cannot_be_an_object_is_no_workload() {
    let workload = |kind: &str, name: &str| {
        let owner = json!({ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true });
        let mut index = PodIndex::default();
        let pod = watched(json!({
            "metadata": { "name": "web-x", "namespace": "shop", "uid": "2", "ownerReferences": [owner] },
            "spec": { "containers": [{ "name": "app", "image": "x:1" }] },
        }));
        let key = ObjectKey::of(&pod.metadata);
        index.apply(Event::Apply(pod), at(0));
        let workload = index.workload(&key).unwrap();
        let uids: Vec<_> = index.workload_uids("shop").collect();
        assert_eq!(uids, [workload.uid.as_deref().unwrap()]);
        let fact = index.get(&key).unwrap().controller.clone();
        (workload.name.clone().unwrap(), fact.map(|controller| controller.name.clone()))
    };
    let pod = ("web-x".to_owned(), None);
    assert_eq!(workload("StatefulSet", "web"), ("web".to_owned(), Some("web".to_owned())));
    assert_eq!(workload("Deployment", &format!("web?x=%20<i>{}", "A".repeat(60_000))), pod);
    assert_eq!(workload("Deployment", "a b%"), pod);
    assert_eq!(workload(&"A".repeat(60_000), "web"), pod);
}

#[test]
fn complete_objects_are_kept_for_namespaces_that_need_them() {
    let pod = |namespace: &str, version: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": namespace, "resourceVersion": version, "managedFields": [{ "manager": "x" }],
            },
            "spec": { "containers": [{ "name": "app", "image": "x:1" }], "nodeName": "node-1" },
        })
    };
    let object = |index: &PodIndex, namespace: &str| index.pods(namespace).next().unwrap().1.object.clone();
    let mut index = PodIndex::default();
    let start = Instant::now();
    assert!(!index.needs().objects);
    index.apply(Event::Apply(watched(pod("shop", "1"))), at(0));
    assert!(index.keep_objects_of([Arc::from("shop")].into(), start) && index.needs().objects);

    index.apply(Event::Init, at(1));
    let changed = index.apply(Event::InitApply(complete(pod("shop", "1"))), at(1));
    assert_eq!(changed.len(), 1, "the object is new");
    assert_eq!(index.apply(Event::InitApply(complete(pod("bank", "1"))), at(1)).len(), 1);
    assert!(!index.has_objects_of("shop"));
    index.apply(Event::InitDone, at(1));
    assert!(index.has_objects_of("shop"));
    let kept = object(&index, "shop").unwrap();
    assert_eq!((&kept["kind"], &kept["spec"]["nodeName"]), (&json!("Pod"), &json!("node-1")));
    assert!(kept.pointer("/metadata/managedFields").is_none());
    assert!(object(&index, "bank").is_none());
    let unchanged = index.apply(Event::Apply(complete(pod("shop", "2"))), at(2));
    assert!(unchanged.is_empty(), "the version of an object is no fact");

    assert!(!index.keep_objects_of(BTreeSet::new(), start));
    assert!(object(&index, "shop").is_none() && !index.has_objects_of("shop"));
}

#[test]
fn managed_fields_that_are_nested_deeply_hide_no_pod() {
    let deep = format!("{}{{}}{}", r#"{"f:a":"#.repeat(400), "}".repeat(400));
    let pod = format!(
        r#"{{"metadata":{{"name":"deep","namespace":"shop","managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{{"containers":[{{"name":"app","image":"x:1"}}]}}}}"#
    );
    let mut index = PodIndex::new(Needs { objects: true, ..Needs::default() });
    let changed = index.apply(Event::Apply(WatchedPod::of(serde_json::from_str(&pod).unwrap())), at(0));
    assert_eq!(names(&changed), ["deep"]);
    index.apply(Event::Apply(WatchedPod::complete(serde_json::from_str(&pod).unwrap())), at(0));
    let (_, subject) = index.pods("shop").next().unwrap();
    assert_eq!(subject.object.as_ref().unwrap()["spec"]["containers"][0]["image"], "x:1");
}
