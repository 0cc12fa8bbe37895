//! Complete objects, as checks read them.

use std::borrow::Cow;
use std::sync::Arc;

use kube_devops_core::{Place, Subject};
use serde_json::Value;

/// The object of a subject, and the places of its pod and containers.
pub struct CompleteObject {
    object: Arc<Value>,
    spec_pointer: Cow<'static, str>,
    containers: Vec<Place>,
}

impl CompleteObject {
    /// Returns the object of a subject, if it is known.
    pub fn of(subject: &Subject) -> Option<Self> {
        let containers = subject.containers.iter().map(|container| container.place).collect();
        Some(Self { object: subject.object.clone()?, spec_pointer: subject.spec_pointer.clone(), containers })
    }

    /// Returns the value at a JSON Pointer. It is relative to the spec of the pod after `pod`, and to a container of the subject after
    /// `container/` and its index: checks need not know where the many kinds of workloads have their templates.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        if pointer.is_empty() || pointer.starts_with('/') {
            return self.object.pointer(pointer);
        }
        let spec = self.object.pointer(&self.spec_pointer)?;
        if let Some(field) = after(pointer, "pod") {
            return spec.pointer(field);
        }
        let container = pointer.strip_prefix("container/")?;
        let index = container.split('/').next()?;
        let Place { key, index: in_list } = self.containers.get(index.parse::<usize>().ok()?)?;
        let place = match in_list {
            Some(in_list) => spec.get(key)?.get(in_list)?,
            None => spec.get(key)?,
        };
        place.pointer(after(container, index)?)
    }
}

/// The JSON Pointer after a prefix.
fn after<'p>(pointer: &'p str, prefix: &str) -> Option<&'p str> {
    pointer.strip_prefix(prefix).filter(|field| field.is_empty() || field.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use kube_devops_core::{Container, testing};
    use serde_json::json;

    use super::*;

    fn object(spec_pointer: &'static str, object: Value, places: &[Place]) -> CompleteObject {
        let container = |place: &Place| Container { place: *place, ..testing::container("app") };
        let containers = places.iter().map(container).collect();
        let subject = Subject { object: Some(Arc::new(object)), containers, ..testing::pod("web") };
        CompleteObject::of(&Subject { spec_pointer: spec_pointer.into(), ..subject }).expect("it has an object")
    }

    #[test]
    fn pointers_are_relative_to_the_object_the_pod_or_a_container() {
        let template =
            json!({ "initContainers": [{ "name": "a" }], "containers": [{ "name": "b" }, { "name": "c" }], "x~y": 1 });
        let workload = json!({ "kind": "JobSet", "spec": { "jobs": [{ "template": template }] } });
        let places = [Place::in_list("containers", 1), Place::in_list("initContainers", 0)];
        let object = object("/spec/jobs/0/template", workload, &places);
        for (pointer, expected) in [
            ("/kind", Some(json!("JobSet"))),
            ("pod/x~0y", Some(json!(1))),
            ("pod/containers/0/name", Some(json!("b"))),
            ("container/0/name", Some(json!("c"))),
            ("container/1", Some(json!({ "name": "a" }))),
            ("container/1/image", None),
            ("container/2/name", None),
            ("container/x/name", None),
            ("container/", None),
            ("container", None),
            ("pods/x", None),
            ("kind", None),
        ] {
            assert_eq!(object.get(pointer), expected.as_ref(), "{pointer}");
        }
        assert_eq!(object.get("pod").and_then(|pod| pod.get("x~y")), Some(&json!(1)));
        assert_eq!(object.get("").and_then(|object| object.get("kind")), Some(&json!("JobSet")));
    }

    #[test]
    fn containers_outside_of_lists_are_found() {
        let workflow = json!({ "spec": { "templates": [{ "script": { "image": "a" } }] } });
        let object = object("/spec/templates/0", workflow, &[Place::alone("script")]);
        assert_eq!(object.get("container/0/image"), Some(&json!("a")));
    }

    #[test]
    fn a_subject_without_its_object_has_none() {
        assert!(CompleteObject::of(&testing::pod("web")).is_none());
    }
}
