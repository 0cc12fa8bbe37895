//! The versions that are being fetched, and how many may be.

use std::collections::BTreeMap;
use std::time::Duration;

use kube_devops_oci::fetch::SLOW;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::oci::Fetch;

/// The most versions that are fetched, or wait to be loaded, at the same time. A fetch that is slow is not counted; what it reads is
/// still limited by the budget of memory.
const SLOTS: usize = 4;

/// Whether another version may be fetched. `started` are the times at which those in progress were started, and `waiting` is the number
/// of versions that wait to be loaded.
fn has_slot(started: impl Iterator<Item = Instant>, waiting: usize, now: Instant) -> bool {
    started.filter(|started| now.duration_since(*started) < SLOW).count() + waiting < SLOTS
}

/// How long to wait until the next fetch in progress becomes slow; `None` if there is none.
fn until_slow(started: impl Iterator<Item = Instant>, now: Instant) -> Option<Duration> {
    started.filter_map(|started| SLOW.checked_sub(now.duration_since(started))).filter(|left| !left.is_zero()).min()
}

/// A fetch in progress.
struct InProgress {
    fetch: Fetch,
    started: Instant,
    task: AbortHandle,
}

/// The fetches in progress.
pub struct Fetches<T> {
    tasks: JoinSet<T>,
    in_progress: BTreeMap<Id, InProgress>,
}

impl<T> Default for Fetches<T> {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), in_progress: BTreeMap::new() }
    }
}

impl<T: Send + 'static> Fetches<T> {
    /// Whether nothing is being fetched.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether another version may be fetched while `waiting` versions wait to be loaded.
    pub fn has_slot(&self, waiting: usize, now: Instant) -> bool {
        has_slot(self.started(), waiting, now)
    }

    /// How long to wait until a slot may become free without the end of a fetch.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        until_slow(self.started(), now)
    }

    fn started(&self) -> impl Iterator<Item = Instant> {
        self.in_progress.values().map(|fetch| fetch.started)
    }

    /// Starts to fetch a version.
    pub fn start(&mut self, fetch: Fetch, now: Instant, request: impl Future<Output = T> + Send + 'static) {
        let task = self.tasks.spawn(request);
        self.in_progress.insert(task.id(), InProgress { fetch, started: now, task });
    }

    /// Cancels the fetches whose result would be ignored.
    pub fn retain(&mut self, is_wanted: impl Fn(&Fetch) -> bool) {
        self.in_progress.retain(|_, InProgress { fetch, task, .. }| {
            let is_wanted = is_wanted(fetch);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
    }

    /// Waits for the next fetch that ends; `None` if there is none.
    pub async fn next(&mut self) -> Option<Result<T, JoinError>> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        self.in_progress.remove(&id);
        Some(ended.map(|(_, result)| result))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use chrono::DateTime;
    use kube_devops_cluster::crd::{ModuleSource, OciSource, PolicyModule, PolicyModuleSpec};
    use kube_devops_runtime::clock::Now;

    use super::super::oci::{Identity, Origin};
    use super::super::store::ModuleStore;
    use super::*;

    fn fetch(module: &str) -> Fetch {
        let reference = "registry.example.com/checks:1";
        let (time, request) = (DateTime::UNIX_EPOCH, None);
        Fetch {
            module: module.to_owned(),
            identity: Identity::of(&PolicyModule::new(module, PolicyModuleSpec::default())),
            reference: reference.parse().unwrap_or_else(|error| panic!("{error}")),
            source: OciSource::default(),
            origin: Origin { reference: reference.to_owned(), time, request, is_fallback: false },
        }
    }

    #[tokio::test]
    async fn registries_that_never_answer_occupy_no_slot_for_long() {
        let (mut fetches, start) = (Fetches::<()>::default(), Instant::now());
        for module in ["a", "b", "c", "d"] {
            assert!(fetches.has_slot(0, start));
            fetches.start(fetch(module), start, pending());
        }
        assert!(!fetches.has_slot(0, start), "fast fetches are limited");
        assert_eq!(fetches.wait(start), Some(SLOW));
        let later = start + SLOW;
        assert!(fetches.has_slot(0, later), "all of them are slow");
        assert_eq!(fetches.wait(later), None, "no other fetch becomes slow");
        assert!(!fetches.has_slot(SLOTS, later), "versions that wait to be loaded are limited");
    }

    #[test]
    fn a_fetch_of_a_deleted_or_changed_module_is_not_needed() {
        let object = |reference: &str| {
            let oci = OciSource { reference: reference.to_owned(), ..OciSource::default() };
            let source = ModuleSource { config_map: None, oci: Some(oci) };
            PolicyModule::new("labels", PolicyModuleSpec { source, ..PolicyModuleSpec::default() })
        };
        let mut store = ModuleStore::new(100);
        store.set(object("registry.example.com/checks:1"));
        let Some(fetch) = store.next_fetch(true, Now::read()) else { panic!("there is a version") };
        store.set(object("registry.example.com/checks:1"));
        assert!(store.is_current(&fetch));
        store.set(object("registry.example.com/checks:2"));
        assert!(!store.is_current(&fetch));
        store.set(object("registry.example.com/checks:1"));
        store.remove("labels");
        assert!(!store.is_current(&fetch));
    }

    #[tokio::test]
    async fn a_fetch_that_nothing_needs_any_longer_is_cancelled() {
        let (mut fetches, start) = (Fetches::<()>::default(), Instant::now());
        let request = Arc::new(());
        for module in ["deleted", "kept"] {
            let held = request.clone();
            fetches.start(fetch(module), start, async move {
                let _held = held;
                pending().await
            });
        }
        fetches.retain(|fetch| fetch.module == "kept");
        let ended = tokio::time::timeout(Duration::from_secs(10), fetches.next()).await;
        let ended = ended.unwrap_or_else(|_| panic!("the fetch was not cancelled"));
        assert!(ended.is_some_and(|ended| ended.is_err_and(|error| error.is_cancelled())));
        assert_eq!(Arc::strong_count(&request), 2, "the request was dropped");
        assert_eq!(fetches.started().count(), 1);
    }

    #[tokio::test]
    async fn a_fetch_that_ended_occupies_no_slot() {
        let mut fetches = Fetches::default();
        fetches.start(fetch("a"), Instant::now(), async { 7 });
        assert!(fetches.next().await.is_some_and(|ended| ended.is_ok_and(|result| result == 7)));
        assert!(fetches.is_empty() && fetches.started().count() == 0);
        assert!(fetches.next().await.is_none());
    }
}
