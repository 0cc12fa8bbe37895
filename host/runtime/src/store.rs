//! Objects kept up to date by a watch.

use std::collections::BTreeSet;

use kube::runtime::watcher::Event;
use kube_devops_cluster::key::ObjectKey;

/// A collection of objects that follows a watch.
pub trait Store {
    /// The objects of the watch.
    type Object;

    /// Adds or replaces an object. Returns its key, and whether its content differs from the known one.
    fn set(&mut self, object: Self::Object) -> (ObjectKey, bool);

    /// Removes an object. Returns whether it was known.
    fn remove(&mut self, key: &ObjectKey) -> bool;

    /// The key of an object.
    fn key(object: &Self::Object) -> ObjectKey;

    /// The keys of all known objects.
    fn keys(&self) -> Vec<ObjectKey>;
}

/// The state of a watch.
#[derive(Debug, Default)]
pub struct Watched {
    /// The objects of a list that is not complete yet.
    listed: BTreeSet<ObjectKey>,
    synced: bool,
}

impl Watched {
    /// Whether all objects have been listed once.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Applies an event to the store. Returns the keys of the objects that were changed or removed.
    ///
    /// A watch that restarts lists all objects again; objects that are missing from this list have been deleted.
    pub fn apply<S: Store>(&mut self, store: &mut S, event: Event<S::Object>) -> Vec<ObjectKey> {
        let set = |store: &mut S, object| {
            let (key, is_changed) = store.set(object);
            (key.clone(), is_changed.then_some(key))
        };
        match event {
            Event::Apply(object) => set(store, object).1.into_iter().collect(),
            Event::Delete(object) => {
                let key = S::key(&object);
                if store.remove(&key) { vec![key] } else { Vec::new() }
            }
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                let (key, changed) = set(store, object);
                self.listed.insert(key);
                changed.into_iter().collect()
            }
            Event::InitDone => {
                self.synced = true;
                let listed = std::mem::take(&mut self.listed);
                let known = store.keys().into_iter();
                known.filter(|key| !listed.contains(key) && store.remove(key)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Numbers by name.
    #[derive(Default)]
    struct Numbers(BTreeMap<ObjectKey, u32>);

    impl Store for Numbers {
        type Object = (&'static str, u32);

        fn set(&mut self, object: Self::Object) -> (ObjectKey, bool) {
            let key = Self::key(&object);
            let is_changed = self.0.insert(key.clone(), object.1) != Some(object.1);
            (key, is_changed)
        }

        fn remove(&mut self, key: &ObjectKey) -> bool {
            self.0.remove(key).is_some()
        }

        fn key(object: &Self::Object) -> ObjectKey {
            ObjectKey { namespace: "shop".into(), name: object.0.into() }
        }

        fn keys(&self) -> Vec<ObjectKey> {
            self.0.keys().cloned().collect()
        }
    }

    #[test]
    fn events_are_applied_and_only_changes_are_reported() {
        let (mut watched, mut numbers) = (Watched::default(), Numbers::default());
        let mut apply = |event| {
            let changed = watched.apply(&mut numbers, event);
            let names: Vec<String> = changed.iter().map(|key| key.name.to_string()).collect();
            (names.join(","), watched.is_synced())
        };
        assert_eq!(apply(Event::Init), (String::new(), false));
        assert_eq!(apply(Event::InitApply(("a", 1))), ("a".to_owned(), false));
        assert_eq!(apply(Event::InitApply(("b", 1))), ("b".to_owned(), false));
        assert_eq!(apply(Event::InitDone), (String::new(), true));
        assert_eq!(apply(Event::Apply(("a", 1))), (String::new(), true));
        assert_eq!(apply(Event::Apply(("a", 2))), ("a".to_owned(), true));
        assert_eq!(apply(Event::Delete(("c", 1))), (String::new(), true));
        assert_eq!(apply(Event::Delete(("a", 2))), ("a".to_owned(), true));
    }

    #[test]
    fn objects_missing_from_a_new_list_are_removed() {
        let (mut watched, mut numbers) = (Watched::default(), Numbers::default());
        for event in [Event::Apply(("a", 1)), Event::Apply(("b", 1)), Event::Init, Event::InitApply(("c", 1))] {
            watched.apply(&mut numbers, event);
        }
        // A list that is interrupted removes nothing.
        watched.apply(&mut numbers, Event::Init);
        assert_eq!(numbers.0.len(), 3);
        watched.apply(&mut numbers, Event::InitApply(("b", 1)));
        let gone = watched.apply(&mut numbers, Event::InitDone);
        assert_eq!(gone.iter().map(|key| &*key.name).collect::<Vec<_>>(), ["a", "c"]);
    }
}
