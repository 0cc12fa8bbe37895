//! Reads complete objects. The functions exist only in components.

use crate::bindings::object::devops::policy::object;

/// Returns the JSON text at a JSON Pointer in the object of a subject. `subject` is its index: [`Findings::subject`](crate::Findings::subject).
pub fn get(subject: u32, pointer: &str) -> Option<String> {
    object::get(subject, pointer)
}

/// Returns the JSON text at a JSON Pointer in the spec of the pod, regardless of its place in the object.
pub fn pod(subject: u32, pointer: &str) -> Option<String> {
    object::get(subject, &format!("pod{pointer}"))
}

/// Returns the JSON text at a JSON Pointer in a container. `index` is that of [`Subject::containers`](crate::Subject::containers).
pub fn container(subject: u32, index: usize, pointer: &str) -> Option<String> {
    object::get(subject, &format!("container/{index}{pointer}"))
}
