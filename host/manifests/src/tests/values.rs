//! Unexpected values.

use super::*;

fn pod_with(container: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: a, namespace: b}}\nspec:\n  containers:\n  - name: c\n    {container}\n")
}

#[test]
fn errors_of_wrong_types_contain_the_field() {
    let cases: &[(&str, &[&str])] = &[
        (
            "image: 5",
            &[
                "invalid Pod b/a: ",
                "spec.containers[0].image: a string is expected, not the number 5; put the value in quotes",
            ],
        ),
        ("image: 1.5", &["image: a string is expected, not the number 1.5; put"]),
        ("image: true", &["image: a string is expected, not true; put"]),
        ("image: {a: b}", &["image: a string is expected, not a map"]),
        ("image: [a]", &["image: a string is expected, not a list"]),
        (
            "ports: [{containerPort: '80'}]",
            &[
                "spec.containers[0].ports[0].containerPort: a whole number from 0 to 65535 is expected, not the string \"80\"; write the number without quotes",
            ],
        ),
        (
            "ports: [{containerPort: 70000}]",
            &["containerPort: a whole number from 0 to 65535 is expected, not the number 70000"],
        ),
        (
            "ports: [{containerPort: -1}]",
            &["containerPort: a whole number from 0 to 65535 is expected, not the number -1"],
        ),
        ("ports: [{containerPort: 80.5}]", &["containerPort: a whole number"]),
        ("ports: [{containerPort: 1e300}]", &["containerPort: a whole number"]),
        ("ports: [{containerPort: 65536.0}]", &["containerPort: a whole number from 0 to 65535"]),
        ("securityContext: {runAsUser: 9223372036854775808.0}", &["runAsUser: a whole number"]),
        ("ports: 80", &["spec.containers[0].ports: a list is expected, not the number 80"]),
        ("resources: none", &["spec.containers[0].resources: a map is expected, not the string \"none\""]),
        (
            "restartPolicy: Sometimes",
            &[
                "spec.containers[0].restartPolicy: one of Always, OnFailure, Never is expected, not the string \"Sometimes\"",
            ],
        ),
    ];
    for (container, parts) in cases {
        assert_error(&read_text(pod_with(container)), (1, 6), parts);
    }
    let yaml = "kind: Pod\nspec:\n  containers: [{}]\nmetadata:\n  labels:\n    a: 5\n";
    assert_error(&read_text(yaml), (1, 6), &["invalid Pod: metadata.labels", "a string is expected, not the number 5"]);
    let time = "kind: Pod\nspec:\n  containers: [{}]\nmetadata:\n  creationTimestamp: yesterday\n";
    assert_error(&read_text(time), (1, 5), &["metadata.creationTimestamp: a time such as"]);
    let json = "{\"kind\": \"Pod\", \"spec\": {\"containers\": [\n{\"ports\": [{\"containerPort\":\n\"x\"}]}]}}";
    assert_error(
        &read_text(json),
        (1, 2),
        &["spec.containers[0].ports[0].containerPort: a whole number from 0 to 65535"],
    );
}

#[test]
fn workloads_of_custom_kinds_are_validated() {
    let text =
        "kind: Rollout\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      containers:\n      - image: 5\n";
    assert_error(&read_text(text), (1, 7), &["invalid Rollout a: spec.template.spec.containers[0].image"]);
    let text =
        "kind: Cron\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers: 5\n";
    assert_error(&read_text(text), (1, 7), &["invalid Cron: ", "containers: a list is expected, not the number 5"]);
    assert_eq!(read_text("kind: Certificate\nspec:\n  template: {spec: {containers: []}}\n").errors, []);
}

#[test]
fn restart_counts_must_be_whole_numbers() {
    // The API server accepts any number in a status.
    let max = u32::MAX;
    for (count, expected) in
        [("0", Some(0)), ("4294967295", Some(max)), ("null", None), ("-1", Some(0)), ("4294967296", Some(max))]
    {
        let text = format!(
            "{}status: {{phase: Running, containerStatuses: [{{name: c, restartCount: {count}}}]}}\n",
            pod_with("image: a")
        );
        let manifests = read_text(text);
        assert_eq!(manifests.errors, []);
        assert_eq!(manifests.subjects[0].containers[0].restart_count, expected);
    }
    for count in ["99999999999999999999999", "1.5", "many"] {
        let text = format!(
            "{}status: {{phase: Running, containerStatuses: [{{name: c, restartCount: {count}}}]}}\n",
            pod_with("image: a")
        );
        let parts = ["status.containerStatuses[0].restartCount: a whole number is expected"];
        assert_error(&read_text(text), (1, 7), &parts);
    }
}

#[test]
fn null_is_the_same_as_a_missing_value() {
    let text = "kind: Pod\nmetadata: null\nspec:\n  initContainers: null\n  restartPolicy: null\n  containers: [{name: null, image: null, livenessProbe: null, ports: null, resources: null}]\nstatus: null\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    let subject = &manifests.subjects[0];
    assert_eq!((&*subject.name, &*subject.namespace, subject.containers.len()), ("", "default", 1));
    assert!(!subject.containers[0].has_liveness_probe && subject.status.is_none());
    assert!(read_text(pod_with("image: a") + "status: {}\n").subjects[0].status.is_none());
    assert_error(&read_text("kind: Pod\nspec: null\n"), (1, 1), &["Pod default/ has no containers: /spec/containers"]);
    assert_error(
        &read_text("kind: CronJob\n"),
        (1, 1),
        &["/spec/jobTemplate/spec/template/spec/containers is missing or empty"],
    );
    assert_error(
        &read_text("---\n\nkind: Job\nspec: {template: {spec: {containers: []}}}\n"),
        (1, 3),
        &["has no containers"],
    );
}

#[test]
fn duplicate_labels_are_errors() {
    let labels = "kind: Pod\nspec: {containers: [{}]}\nmetadata:\n  labels:\n    a: x\n    a: y\n";
    assert_error(&read_text(labels), (1, 6), &["duplicate key \"a\" in lines 5 and 6; remove one of them"]);
    let large = "v".repeat(1 << 20);
    let manifests =
        read_text(format!("kind: Pod\nspec: {{containers: [{{}}]}}\nmetadata: {{labels: {{a: {large}}}}}\n"));
    assert_eq!(*manifests.subjects[0].labels, [("a".to_owned(), large)]);
}

#[test]
fn names_are_not_changed() {
    for name in ["grüße-✓-名前", "\u{1b}[31mred", "\u{202e}txet"] {
        let json = format!(
            "{{\"kind\": \"Pod\", \"metadata\": {{\"name\": {}}}, \"spec\": {{\"containers\": [{{}}]}}}}",
            serde_json::to_string(name).unwrap()
        );
        assert_eq!(names(&read_text(json)), [name]);
    }
    let manifests = read_text("kind: Pod\nmetadata: {generateName: job-}\nspec: {containers: [{}]}\n");
    assert_eq!(names(&manifests), ["job-"]);
}

#[test]
fn floats_without_a_fraction_are_integers() {
    for (number, expected) in
        [("1.00065e+09", 1_000_650_000), ("80.0", 80), ("1e3", 1_000), ("-0.0", 0), ("-9007199254740992.0", -1 << 53)]
    {
        let manifests = read_text(pod_with(&format!("securityContext: {{runAsUser: {number}}}")));
        assert_eq!(manifests.errors, [], "{number}");
        assert_eq!(manifests.subjects[0].containers[0].security_context.run_as_user, Some(expected), "{number}");
    }
    let json =
        r#"{"kind": "Pod", "spec": {"containers": [{"ports": [{"containerPort": 8e1}, {"containerPort": 443.0}]}]}}"#;
    let manifests = read_text(json);
    assert_eq!(manifests.errors, []);
    assert_eq!(*manifests.subjects[0].containers[0].ports, [80, 443]);
}

#[test]
fn a_pod_with_a_thousand_containers_is_read() {
    let containers: String = (0..1_000).map(|index| format!("  - name: c{index}\n    image: i:{index}\n")).collect();
    let manifests = read_text(format!("kind: Pod\nspec:\n  containers:\n{containers}"));
    let subject = &manifests.subjects[0];
    assert_eq!(subject.containers.len(), 1_000);
    assert_eq!(line_of(subject, "/spec/containers/999/image"), 3 + 2_000);
}

#[test]
fn the_spec_of_a_pod_is_evaluated_even_if_it_has_finished_or_is_being_deleted() {
    let stored = pod("a").replace("  name: a", "  name: a\n  resourceVersion: '5'");
    for pod in [pod("a"), stored] {
        for text in [
            pod.clone(),
            pod.clone() + "status: {phase: Succeeded}\n",
            pod.clone() + "status: {phase: Failed}\n",
            pod.replace("  name: a", "  name: a\n  deletionTimestamp: 2026-01-31T12:00:00Z"),
        ] {
            let manifests = read_text(&text);
            assert_eq!(manifests.errors, []);
            assert_eq!((names(&manifests), manifests.extent.finished), (vec!["a"], 0), "{text}");
            assert_eq!(manifests.subjects[0].workload, None);
        }
    }
}

#[test]
fn objects_that_others_control_can_be_selected() {
    let owners =
        "  name: web-x\n  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, controller: true}]";
    let text = format!("{}---\n{}", deployment("web"), pod("web-x").replace("  name: web-x", owners));
    let text = text.replace("image: a:1", "{name: app, image: app:1}");
    let mut manifests = read_text(text);
    assert_eq!(names(&manifests), ["web", "web-x"]);
    assert_eq!(crate::leave_out_owned(&mut manifests.subjects), 1);
    assert_eq!(names(&manifests), ["web"]);
}
