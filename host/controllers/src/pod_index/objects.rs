//! The complete objects of pods that rules read, within a memory budget.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// The most bytes of complete objects.
pub const BUDGET: usize = 64 << 20;

/// The shortest time between two lists of all pods for a namespace that begins to need objects. A user who can create policies
/// must not cause more.
const PAUSE: Duration = Duration::from_secs(30);

/// The namespaces whose objects are kept, and the memory that they use.
#[derive(Debug)]
pub struct KeptObjects {
    /// Whether the objects of all namespaces are kept.
    all: bool,
    namespaces: BTreeSet<Arc<str>>,
    /// The namespaces at the start of the current list.
    requested: BTreeSet<Arc<str>>,
    /// The namespaces whose objects have been listed.
    listed: BTreeSet<Arc<str>>,
    used: usize,
    budget: usize,
    is_exhausted: bool,
    last_start: Option<Instant>,
}

impl Default for KeptObjects {
    fn default() -> Self {
        Self {
            all: false,
            namespaces: BTreeSet::new(),
            requested: BTreeSet::new(),
            listed: BTreeSet::new(),
            used: 0,
            budget: BUDGET,
            is_exhausted: false,
            last_start: None,
        }
    }
}

impl KeptObjects {
    /// Keeps the objects of all namespaces.
    pub fn of_all_namespaces() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Whether any objects are kept.
    pub fn are_needed(&self) -> bool {
        self.all || !self.namespaces.is_empty()
    }

    /// The kept namespaces that are not among `namespaces`.
    pub fn unneeded(&self, namespaces: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        if self.all { Vec::new() } else { self.namespaces.difference(namespaces).cloned().collect() }
    }

    /// Keeps the objects of these namespaces. Returns whether they have to be listed.
    pub fn keep(&mut self, namespaces: BTreeSet<Arc<str>>, now: Instant) -> bool {
        if self.all {
            return false;
        }
        self.namespaces = namespaces;
        // The objects of other namespaces are dropped, also those that the current list contains.
        for known in [&mut self.listed, &mut self.requested] {
            known.retain(|namespace| self.namespaces.contains(namespace));
        }
        let is_requested = |namespace| self.listed.contains(namespace) || self.requested.contains(namespace);
        if self.namespaces.iter().all(is_requested) || self.last_start.is_some_and(|last| now < last + PAUSE) {
            return false;
        }
        self.last_start = Some(now);
        self.requested = self.namespaces.clone();
        true
    }

    /// A list of all pods starts.
    pub fn list_started(&mut self) {
        self.is_exhausted = false;
    }

    /// A list of all pods is complete.
    pub fn list_ended(&mut self) {
        self.listed.append(&mut self.requested);
    }

    /// Whether the objects of a namespace have been listed.
    pub fn are_listed(&self, namespace: &str) -> bool {
        self.all || self.listed.contains(namespace)
    }

    /// Whether the object of a pod is kept, and counts its size if so.
    pub fn admits(&mut self, namespace: &Arc<str>, object: &Value) -> bool {
        if !self.all && !self.namespaces.contains(namespace) {
            return false;
        }
        let size = size(object);
        if self.used + size > self.budget {
            if !std::mem::replace(&mut self.is_exhausted, true) {
                tracing::warn!(
                    "complete objects need more than {} MiB: rules that read them do not evaluate the pods beyond",
                    self.budget >> 20
                );
            }
            return false;
        }
        self.used += size;
        true
    }

    /// An object is no longer kept.
    pub fn release(&mut self, object: &Value) {
        self.used = self.used.saturating_sub(size(object));
    }
}

/// The approximate size of a value in memory, in bytes.
fn size(value: &Value) -> usize {
    /// The administration of an allocation, and the free space in a node of a map.
    const OVERHEAD: usize = 24;
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len() + OVERHEAD,
            Value::Array(items) => items.iter().map(size).sum::<usize>() + OVERHEAD,
            Value::Object(fields) => {
                let field =
                    |(name, value): (&String, &Value)| size_of::<String>() + name.len() + OVERHEAD + size(value);
                fields.iter().map(field).sum::<usize>() + OVERHEAD
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespaces<const N: usize>(names: [&str; N]) -> BTreeSet<Arc<str>> {
        names.map(Arc::from).into()
    }

    #[test]
    fn a_namespace_that_begins_to_need_objects_is_listed_once() {
        let start = Instant::now();
        let mut kept = KeptObjects::default();
        assert!(!kept.keep(namespaces([]), start));
        assert!(kept.keep(namespaces(["a"]), start));
        assert!(!kept.keep(namespaces(["a"]), start), "the list has been requested");
        assert!(!kept.are_listed("a"));
        kept.list_started();
        kept.list_ended();
        assert!(kept.are_listed("a") && !kept.are_listed("b"));
        assert!(!kept.keep(namespaces(["a", "b"]), start + PAUSE / 2), "the last list was a short time ago");
        assert!(kept.keep(namespaces(["a", "b"]), start + PAUSE));
        assert!(kept.are_listed("a") && !kept.are_listed("b"));
        assert!(!kept.keep(namespaces([]), start + PAUSE));
        assert!(!kept.are_listed("a") && !kept.are_needed());
    }

    #[test]
    fn a_list_in_progress_does_not_count_for_objects_that_were_dropped_meanwhile() {
        let start = Instant::now();
        let mut kept = KeptObjects::default();
        assert!(kept.keep(namespaces(["a", "b"]), start));
        kept.list_started();
        assert!(!kept.keep(namespaces(["b"]), start));
        assert!(!kept.keep(namespaces(["a", "b"]), start), "the last list was a short time ago");
        kept.list_ended();
        assert!(!kept.are_listed("a") && kept.are_listed("b"));
        assert!(kept.keep(namespaces(["a", "b"]), start + PAUSE), "the dropped objects have to be listed again");
    }

    #[test]
    fn objects_beyond_the_budget_are_not_kept() {
        let mut kept = KeptObjects { budget: 2 * size(&json!({ "a": "b" })), ..KeptObjects::of_all_namespaces() };
        let (object, namespace) = (json!({ "a": "b" }), Arc::from("shop"));
        assert!(kept.admits(&namespace, &object));
        assert!(kept.admits(&namespace, &object));
        assert!(!kept.admits(&namespace, &object));
        kept.release(&object);
        assert!(kept.admits(&namespace, &object));
    }
}
