//! The event loop of the modules: requests and loads what [`super::store`] and [`super::oci`] decide.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::api::ApiResource;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use kube_devops_cluster::crd::{PolicyModule, PolicyModuleSpec, PolicyModuleStatus};
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::lenient::{LenientObject, unreadable_spec};
use kube_devops_cluster::watch::watch_objects;
use kube_devops_engine::{Catalog, Checks, LoadedModule};
use kube_devops_oci::Fetched;
use kube_devops_runtime::clock::Now;
use kube_devops_runtime::election::Leadership;
use kube_devops_runtime::store::{Store, Watched};
use kube_devops_runtime::watch_log::WatchLog;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::ModuleOptions;
use super::compile::compile;
use super::config_maps::{Source, follow};
use super::fetch::Fetcher;
use super::fetches::Fetches;
use super::metrics::Metrics;
use super::oci::Fetch;
use super::statuses::StatusWriter;
use super::store::{Capacity, Failure, Load, LoadFailure, ModuleStore, Target, Used};

/// The longest time that a controller waits for its modules before it is ready.
const START: Duration = Duration::from_secs(10);

/// A PolicyModule of the watch.
type WatchedModule = LenientObject<PolicyModuleSpec, PolicyModuleStatus>;
/// The result of fetching a version.
pub(super) type FetchResult = (Fetch, Result<Fetched, Failure>);
/// The result of loading a version.
type LoadResult = (Load, Result<Arc<LoadedModule>, LoadFailure>);

/// The loading of a version.
pub(super) struct Loading {
    target: Target,
    task: JoinHandle<LoadResult>,
}

/// Loads modules. One task owns it.
pub(super) struct Manager {
    pub(super) client: Client,
    pub(super) fetcher: Fetcher,
    pub(super) fetches: Fetches<FetchResult>,
    /// What the cache was reduced to last; `None` if something was added to it since.
    pub(super) used: Option<Used>,
    pub(super) catalog: Catalog,
    pub(super) options: ModuleOptions,
    pub(super) store: ModuleStore,
    pub(super) watched: Watched,
    /// The active digests.
    pub(super) active: BTreeMap<String, String>,
    pub(super) checks: watch::Sender<Arc<Checks>>,
    pub(super) started: watch::Sender<bool>,
    pub(super) metrics: Metrics,
    /// The watches of ConfigMaps.
    pub(super) followers: JoinSet<()>,
    /// The handles of the watches, by the name of the ConfigMap.
    pub(super) followed: BTreeMap<String, AbortHandle>,
    pub(super) sender: mpsc::Sender<(String, Source)>,
    pub(super) loading: Option<Loading>,
    /// The removal of unused versions from the cache.
    pub(super) reducing: Option<JoinHandle<()>>,
    pub(super) statuses: StatusWriter,
}

impl Manager {
    /// Runs until `stop`. Nothing in the loop waits for a request, so that a revoked key counts at once.
    pub(super) async fn run(mut self, mut maps: mpsc::Receiver<(String, Source)>, stop: CancellationToken) {
        let resource = ApiResource::erase::<PolicyModule>(&());
        let api: Api<WatchedModule> = Api::all_with(self.client.clone(), &resource);
        let mut events = std::pin::pin!(watch_objects(api, Config::default()));
        let mut log = WatchLog::of::<PolicyModule>();
        let mut deadline = std::pin::pin!(tokio::time::sleep(START));
        let mut leadership = self.options.leadership.clone();
        loop {
            let wait = self.wait(Now::read());
            tokio::select! {
                // The loss of the lease comes before everything else.
                biased;
                () = stop.cancelled() => break,
                is_leader = changed(&mut leadership) => if !is_leader {
                    self.statuses.stop();
                    continue;
                },
                written = self.statuses.ended() => {
                    for (object, status) in written {
                        self.store.set_status(&object, status);
                    }
                }
                finished = join(self.loading.as_mut().map(|loading| &mut loading.task)) => self.loaded(finished),
                finished = join(self.reducing.as_mut()) => self.reduced(finished),
                Some(fetched) = self.fetches.next() => self.fetched(fetched),
                Some(Err(error)) = self.followers.join_next() => resume_panic(error),
                () = &mut deadline, if !*self.started.borrow() => {
                    tracing::warn!("not all modules were loaded within {START:?}; their checks are not evaluated yet");
                    self.started.send_replace(true);
                }
                Some(event) = events.next() => match log.event(event) {
                    Some(event) => self.event(event),
                    // Without the custom resource, there is nothing to wait for.
                    None => drop(self.started.send_replace(true)),
                },
                Some((name, source)) = maps.recv() => match source {
                    Ok(map) => self.store.set_config_map(&name, map),
                    Err(error) => self.store.set_unreadable_config_map(&name, &error),
                },
                () = sleep(wait) => {}
            }
            self.proceed();
        }
        self.statuses.stop();
    }

    fn event(&mut self, event: Event<WatchedModule>) {
        let mut watched = std::mem::take(&mut self.watched);
        watched.apply(self, event);
        self.watched = watched;
        self.fetches.retain(|fetch| self.store.is_current(fetch));
        let needed = self.store.config_maps();
        self.followed.retain(|name, follower| {
            needed.contains(name) || {
                follower.abort();
                false
            }
        });
        self.store.forget_config_maps();
        for name in needed {
            if !self.followed.contains_key(&name) {
                let api = Api::namespaced(self.client.clone(), &self.options.namespace);
                let follower = self.followers.spawn(follow(api, name.clone(), self.sender.clone()));
                self.followed.insert(name, follower);
            }
        }
    }

    /// How long to wait for the next version to fetch or load, and for the next attempt to write a status.
    fn wait(&self, now: Now) -> Option<Duration> {
        let capacity = self.capacity(now);
        let version = self.store.wait(self.is_leader(), capacity, now);
        let slot = self.fetches.wait(now.instant).filter(|_| !capacity.fetch);
        let status = self.statuses.wait(now).filter(|_| self.is_leader());
        [version, slot, status].into_iter().flatten().min()
    }

    fn capacity(&self, now: Now) -> Capacity {
        // What is added to the cache while it is reduced would be removed.
        let is_reducing = self.reducing.is_some();
        Capacity {
            fetch: !is_reducing && self.fetches.has_slot(self.store.waiting(), now.instant),
            load: !is_reducing && self.loading.is_none(),
        }
    }

    fn is_leader(&self) -> bool {
        self.options.leadership.as_ref().is_some_and(Leadership::is_held)
    }

    /// Fetches and loads the next versions, activates loaded ones, and writes the statuses.
    fn proceed(&mut self) {
        while self.capacity(Now::read()).fetch
            && let Some(fetch) = self.store.next_fetch(self.is_leader(), Now::read())
        {
            let fetcher = self.fetcher.clone();
            self.fetches.start(fetch.clone(), Now::read().instant, async move {
                let fetched = AssertUnwindSafe(fetcher.fetch(&fetch)).catch_unwind().await;
                let result =
                    fetched.unwrap_or_else(|_| Err(Failure::of_source("Crashed", "fetching the module crashed")));
                (fetch, result)
            });
        }
        let now = Now::read();
        self.store.note_waiting(self.is_leader(), self.capacity(now), now);
        if self.capacity(now).load
            && let Some(load) = self.store.next_load(Now::read())
        {
            let engine = self.catalog.engine().clone();
            let target = load.target();
            let task = tokio::task::spawn_blocking(move || {
                let result = compile(&engine, &load);
                (load, result)
            });
            self.loading = Some(Loading { target, task });
        }
        if let Some(checks) = self.store.activate(&self.catalog, &mut self.active) {
            tracing::info!(modules = ?self.active, "the checks have changed");
            self.metrics.set_active(&self.active);
            self.checks.send_replace(Arc::new(checks));
        }
        self.metrics.set_ready(self.store.ready());
        let is_settled = self.watched.is_synced() && self.store.is_settled();
        if is_settled && self.loading.is_none() && self.fetches.is_empty() {
            self.started.send_if_modified(|started| !std::mem::replace(started, true));
            self.reduce_cache();
        }
        if self.statuses.may_write(Now::read())
            && let Some(action) = self.options.leadership.as_ref().and_then(Leadership::act)
        {
            let loading = self.loading.as_ref().map(|loading| &loading.target);
            self.statuses.start(self.store.statuses(loading, Now::read()), action);
        }
    }

    fn loaded(&mut self, finished: Result<LoadResult, JoinError>) {
        self.loading = None;
        match finished {
            Ok((load, result)) => {
                if let Err(LoadFailure { message, .. }) = &result {
                    tracing::warn!(
                        module = load.module,
                        digest = load.content.digest,
                        "failed to load a module: {message}"
                    );
                }
                self.store.loaded(load, result, Now::read());
            }
            Err(error) => tracing::error!("failed to load a module: {error}"),
        }
    }

    fn fetched(&mut self, finished: Result<FetchResult, JoinError>) {
        match finished {
            Ok((fetch, result)) => {
                self.used = None;
                if let Err(Failure { reason, message, .. }) = &result {
                    let (module, reference) = (&fetch.module, fetch.reference.to_string());
                    tracing::warn!(module, reference, reason, "failed to fetch a module: {message}");
                }
                self.store.fetched(&fetch, result, Now::read());
            }
            // It may have added something to the cache already.
            Err(error) if error.is_cancelled() => self.used = None,
            Err(error) => tracing::error!("failed to fetch a module: {error}"),
        }
    }

    /// Starts to remove from the cache what no module refers to.
    fn reduce_cache(&mut self) {
        let used = self.store.used();
        if self.reducing.is_some() || self.used.as_ref() == Some(&used) {
            return;
        }
        self.used = Some(used.clone());
        let (engine, cache) = (self.catalog.engine().clone(), self.fetcher.store.clone());
        self.reducing = Some(tokio::task::spawn_blocking(move || {
            engine.retain_compiled(&used.components);
            if let Some(Err(error)) =
                cache.map(|cache| cache.retain(|record| used.manifests.contains(&record.manifest)))
            {
                tracing::warn!("failed to remove modules that are not used: {error}");
            }
        }));
    }

    fn reduced(&mut self, finished: Result<(), JoinError>) {
        self.reducing = None;
        if let Err(error) = finished {
            tracing::error!("failed to remove modules that are not used: {error}");
        }
    }
}

impl Store for Manager {
    type Object = WatchedModule;

    fn set(&mut self, watched: WatchedModule) -> (ObjectKey, bool) {
        let key = Self::key(&watched);
        let WatchedModule { metadata, spec, status } = watched;
        let status = status.and_then(|status| status.0.ok());
        match spec.0 {
            Ok(spec) => self.store.set(PolicyModule { metadata, spec, status }),
            Err(reason) => {
                let object = PolicyModule { metadata, spec: PolicyModuleSpec::default(), status };
                self.store.set_unreadable(object, &unreadable_spec(&reason));
            }
        }
        (key, true)
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        self.store.remove(&key.name)
    }

    fn key(module: &WatchedModule) -> ObjectKey {
        ObjectKey::of(&module.metadata)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let names = self.store.names().into_iter();
        names.map(|name| ObjectKey { namespace: "".into(), name: name.into() }).collect()
    }
}

/// Waits for a time, if there is one.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Waits for a task, if there is one.
async fn join<T>(task: Option<&mut JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Waits for a change of the leadership, and returns whether this replica is the leader.
async fn changed(leadership: &mut Option<Leadership>) -> bool {
    match leadership {
        Some(leadership) => leadership.changed().await,
        None => std::future::pending().await,
    }
}

/// A watch of a ConfigMap that panicked would leave the module of the ConfigMap as it is.
fn resume_panic(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}
