//! What an update changes: whether it is evaluated, and as a whole or only for new violations.

use std::collections::BTreeMap;

use kube_devops_core::Subject;
use kube_devops_core::workload::{READ_TEMPLATES, Template};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::review::parse_raw;

/// Fields by their names.
type ByName<'a> = BTreeMap<&'a String, &'a Value>;

/// What differs between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing that is evaluated.
    None,
    /// Labels or annotations in a pod template, or fields beside the template of an object that is read as a whole. Only new violations
    /// count, so that an existing workload can be restarted and scaled.
    Rest,
    /// The pods. The object is evaluated as a whole.
    Pods,
}

/// What an update changes. `whole` are the complete objects of the review in `body`, if checks read them.
pub fn change(
    before: Option<&Subject>,
    now: &Subject,
    whole: Option<&Result<WholeObjects, String>>,
    body: &[u8],
) -> Change {
    let Some(before) = before else { return Change::Pods };
    // An object that cannot be read is evaluated, so that checks which read it report that there is none.
    let whole = whole.map(|whole| match whole {
        // Of a pod, other fields than facts do not replace its containers: its scheduling gates can be removed.
        Ok(whole) if &*now.kind == "Pod" => whole.change().min(Change::Rest),
        Ok(whole) => whole.change(),
        Err(_) => Change::Pods,
    });
    let change = facts(before, now).max(whole.unwrap_or(Change::None));
    // Of an existing pod, nothing can be changed that is no fact and takes effect in its containers.
    let is_decided = change == Change::Pods || &*now.kind == "Pod";
    if !is_decided && templates_differ(body).unwrap_or(true) { Change::Pods } else { change }
}

/// Compares two subjects. Labels of an existing pod can be changed without a violation: controllers do so all the time.
fn facts(before: &Subject, now: &Subject) -> Change {
    if before.restart_policy != now.restart_policy || before.pod != now.pod || before.containers != now.containers {
        return Change::Pods;
    }
    let has_same_metadata = before.labels == now.labels && before.annotations == now.annotations;
    if has_same_metadata || &*now.kind == "Pod" { Change::None } else { Change::Rest }
}

/// The whole objects of a review, without the `managedFields` that every client can write.
#[derive(Debug)]
pub struct WholeObjects {
    /// The new object.
    pub now: Value,
    /// The existing object.
    pub before: Option<Value>,
}

impl WholeObjects {
    /// Reads the objects of a review.
    ///
    /// # Errors
    ///
    /// If the new object or the existing one cannot be read.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let (_, now, before) = parse_raw(body).map_err(|error| error.to_string())?.split();
        let now = whole(now.ok_or("the review has no object")?);
        let before = before.map(whole).transpose();
        Ok(Self { now: now.map_err(|error| error.to_string())?, before: before.map_err(|error| error.to_string())? })
    }

    /// What differs besides metadata and status.
    pub fn change(&self) -> Change {
        let Some(before) = &self.before else { return Change::Pods };
        if specified(before).eq(specified(&self.now)) {
            return Change::None;
        }
        let now = templates(&self.now);
        // The pods of a kind without a known template may be anywhere.
        if !now.is_empty() && templates(before) == now { Change::Rest } else { Change::Pods }
    }
}

/// Whether the pod templates of the objects of a review differ, apart from their metadata: a changed command is no fact, and replaces
/// the pods all the same. `None` if an object cannot be read.
fn templates_differ(body: &[u8]) -> Option<bool> {
    let (_, now, before) = parse_raw(body).ok()?.split();
    let (now, before) = (specified_text(now?)?, specified_text(before?)?);
    // API servers write both objects in the same way, so that mostly the texts are the same.
    if now.keys().eq(before.keys()) && now.values().zip(before.values()).all(|(now, before)| now.get() == before.get())
    {
        return Some(false);
    }
    let value = |fields: BTreeMap<String, &RawValue>| {
        let fields = fields.into_iter().map(|(name, text)| Some((name, serde_json::from_str(text.get()).ok()?)));
        fields.collect::<Option<Map<String, Value>>>().map(Value::from)
    };
    let (now, before) = (value(now)?, value(before)?);
    let (now, before) = (templates(&now), templates(&before));
    let is_same = |(now, before): (&ByName<'_>, &ByName<'_>)| same_fields(now, before);
    Some(now.len() != before.len() || !now.iter().zip(&before).all(is_same))
}

/// The fields of an object without metadata and status, as text.
fn specified_text(object: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(object.get()).ok()?;
    fields.retain(|name, _| is_specified(name));
    Some(fields)
}

/// Whether two values mean the same: a field with the value null is no field.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => same_fields(&one.iter().collect(), &other.iter().collect()),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other,
    }
}

fn same_fields(one: &ByName<'_>, other: &ByName<'_>) -> bool {
    let count = |fields: &ByName<'_>| fields.values().filter(|value| !value.is_null()).count();
    let is_in_other =
        |(name, value): (&&String, &&Value)| value.is_null() || other.get(name).is_some_and(|other| same(value, other));
    count(one) == count(other) && one.iter().all(is_in_other)
}

/// Reads an object without its `managedFields`.
fn whole(object: &RawValue) -> serde_json::Result<Value> {
    let mut fields = Map::new();
    for (name, text) in serde_json::from_str::<BTreeMap<String, &RawValue>>(object.get())? {
        let value = if name == "metadata" { metadata(text) } else { serde_json::from_str(text.get()) };
        fields.insert(name, value?);
    }
    Ok(fields.into())
}

fn metadata(metadata: &RawValue) -> serde_json::Result<Value> {
    let mut fields = Map::new();
    for (name, text) in serde_json::from_str::<Option<BTreeMap<String, &RawValue>>>(metadata.get())?.unwrap_or_default()
    {
        if name != "managedFields" {
            fields.insert(name, serde_json::from_str(text.get())?);
        }
    }
    Ok(fields.into())
}

/// The pod templates of an object, without their metadata.
fn templates(object: &Value) -> Vec<ByName<'_>> {
    let without_metadata = |template: &Template| {
        let fields = object.pointer(&format!("/{}", template.path.replace('.', "/")))?.as_object()?;
        Some(fields.iter().filter(|(name, _)| *name != "metadata").collect())
    };
    READ_TEMPLATES.iter().filter_map(without_metadata).collect()
}

/// The fields of an object without metadata and status, by name.
fn specified(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| is_specified(name))
}

fn is_specified(name: &str) -> bool {
    !matches!(name, "metadata" | "status")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube_devops_core::{Container, testing};
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_a_template_are_a_change_of_its_pods_and_those_of_a_pod_are_not() {
        let subject = |kind: &str, label: &str, annotation: &str, image: &str| Subject {
            kind: kind.into(),
            labels: [("team".to_owned(), label.to_owned())].into(),
            annotations: vec![("restarted".to_owned(), annotation.to_owned())],
            containers: vec![Container { image: image.into(), ..testing::container("app") }],
            ..testing::pod("web")
        };
        let before = subject("Deployment", "a", "1", "nginx");
        assert_eq!(facts(&before, &before), Change::None);
        assert_eq!(facts(&before, &subject("Deployment", "b", "1", "nginx")), Change::Rest);
        assert_eq!(facts(&before, &subject("Deployment", "a", "2", "nginx")), Change::Rest);
        assert_eq!(facts(&before, &subject("Deployment", "b", "1", "other")), Change::Pods);
        assert_eq!(facts(&subject("Pod", "a", "1", "nginx"), &subject("Pod", "b", "2", "nginx")), Change::None);
    }

    #[test]
    fn whole_objects_are_compared_without_metadata_and_status() {
        let change =
            |now: &Value, before: Option<&Value>| WholeObjects { now: now.clone(), before: before.cloned() }.change();
        let one = json!({ "metadata": { "a": 1 }, "spec": { "b": 1 }, "status": {} });
        let other = json!({ "metadata": { "a": 2 }, "spec": { "b": 1 } });
        assert_eq!(change(&one, Some(&other)), Change::None);
        assert_eq!(change(&one, Some(&json!({ "spec": { "b": 2 } }))), Change::Pods);
        assert_eq!(change(&one, None), Change::Pods);
        // A changed label of a template does not hide another change.
        let workload = |label: u8, replicas: u8| json!({ "spec": { "replicas": replicas, "template": { "metadata": { "labels": { "a": label } }, "spec": {} } } });
        let job = |label: u8| json!({ "spec": { "jobTemplate": workload(label, 1) } });
        assert_eq!(change(&workload(1, 1), Some(&workload(2, 1))), Change::Rest);
        assert_eq!(change(&workload(1, 1), Some(&workload(2, 2))), Change::Rest, "it is scaled too");
        let mut other = workload(2, 2);
        other["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        assert_eq!(change(&workload(1, 1), Some(&other)), Change::Pods);
        assert_eq!(change(&job(1), Some(&job(2))), Change::Rest);
        let mut scheduled = job(1);
        scheduled["spec"]["schedule"] = json!("@daily");
        assert_eq!(change(&scheduled, Some(&job(1))), Change::Rest);
        scheduled["spec"]["jobTemplate"]["spec"]["template"]["spec"] = json!({ "containers": [] });
        assert_eq!(change(&scheduled, Some(&job(1))), Change::Pods);
    }

    fn review(now: &str, before: &str) -> String {
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","object":{now},"oldObject":{before}}}}}"#
        )
    }

    fn nested(depth: usize) -> String {
        format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn managed_fields_of_any_depth_are_skipped_and_another_deep_field_is_an_error() {
        let object = |managed: usize, depth: usize| {
            format!(
                r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{}}}],"name":"web"}},"spec":{}}}"#,
                nested(managed),
                nested(depth)
            )
        };
        let deep = WholeObjects::read(review(&object(400, 1), &object(130, 1)).as_bytes()).unwrap();
        assert_eq!(deep.now["metadata"], json!({ "name": "web" }));
        assert_eq!(deep.change(), Change::None);
        for (now, before) in [(200, 1), (1, 200)] {
            let error = WholeObjects::read(review(&object(1, now), &object(1, before)).as_bytes()).unwrap_err();
            assert!(error.contains("recursion limit"), "{error}");
        }
    }

    /// A review of an update of a Deployment with these specs.
    fn update(now: &str, before: &str) -> String {
        let object = |spec: &str, version: u8| {
            format!(
                r#"{{"metadata":{{"resourceVersion":"{version}"}},"spec":{spec},"status":{{"replicas":{version}}}}}"#
            )
        };
        review(&object(now, 2), &object(before, 1))
    }

    #[test]
    fn fields_of_a_template_that_are_no_facts_are_a_change_of_its_pods() {
        let before = r#"{"replicas":1,"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"app","args":["a"],"env":null,"image":"nginx"}]}}}"#;
        let subject = Subject { kind: "Deployment".into(), ..testing::pod("web") };
        let change_of = |now: &str| {
            assert_ne!(now, before);
            change(Some(&subject), &subject, None, update(now, before).as_bytes())
        };
        for (from, to) in [
            (r#""args":["a"]"#, r#""args":["b"]"#),
            (r#""args":["a"]"#, r#""args":["a","b"]"#),
            (r#""args":["a"],"#, ""),
            (r#""env":null"#, r#""env":[{"name":"a"}]"#),
            (r#""env":null"#, r#""securityContext":{"capabilities":{"add":["NET_ADMIN"]}}"#),
            (r#"{"containers""#, r#"{"priorityClassName":"high","containers""#),
            (r#""spec":{"containers":[{"name":"app","args":["a"],"env":null,"image":"nginx"}]}"#, r#""spec":null"#),
        ] {
            assert_eq!(change_of(&before.replace(from, to)), Change::Pods, "{to}");
        }
        for (from, to) in [
            (r#""replicas":1"#, r#""replicas":2"#),
            (r#"{"replicas":1,"#, "{"),
            (r#""env":null,"#, ""),
            (r#""env":null"#, r#""env":null,"command":null"#),
            (r#"{"name":"app","args":["a"]"#, r#"{"args":["a"],"name":"app""#),
            (r#""labels":{"a":"b"}"#, r#""annotations":{"kubectl.kubernetes.io/restartedAt":"now"}"#),
            (r#""metadata":{"labels":{"a":"b"}},"#, ""),
        ] {
            assert_eq!(change_of(&before.replace(from, to)), Change::None, "{to}");
        }
        let same = change(Some(&subject), &subject, None, update(before, before).as_bytes());
        assert_eq!(same, Change::None, "only metadata and status differ");
    }

    #[test]
    fn the_template_of_a_revision_is_compared() {
        let subject = Subject { kind: "ControllerRevision".into(), ..testing::pod("web") };
        let changed = |now: u8, before: u8| {
            let object = |image: u8| {
                format!(r#"{{"data":{{"spec":{{"template":{{"spec":{{"x":{image}}}}}}}}},"revision":{now}}}"#)
            };
            change(Some(&subject), &subject, None, review(&object(now), &object(before)).as_bytes())
        };
        assert_eq!((changed(1, 1), changed(2, 1)), (Change::None, Change::Pods));
    }

    #[test]
    fn an_update_that_cannot_be_compared_is_evaluated_as_a_whole() {
        let workload = Subject { kind: "Deployment".into(), ..testing::pod("web") };
        let readable = update("{}", "{}");
        let body = readable.as_bytes();
        assert_eq!(change(Some(&workload), &workload, None, body), Change::None);
        assert_eq!(change(None, &workload, None, body), Change::Pods);
        assert_eq!(change(Some(&workload), &workload, Some(&Err("too deep".to_owned())), body), Change::Pods);
        assert_eq!(change(Some(&workload), &workload, None, b""), Change::Pods);
        let deep = update(&nested(200), "{}");
        assert_eq!(change(Some(&workload), &workload, None, deep.as_bytes()), Change::Pods);
    }
}
