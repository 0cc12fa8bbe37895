//! The modules of PolicyModule objects: they are loaded when their source changes, without a restart.
//!
//! ```text
//!   watch of PolicyModules --.
//!   watch of ConfigMaps -----|--> ModuleStore --> load, one at a time --> activate --> checks for policies
//!   registries <-- fetch ----'                                               '------> statuses, by the leader
//! ```
//!
//! Every replica loads the modules by itself. ConfigMaps are watched by name, and only in the namespace of the platform.
//! [`store`] and [`oci`] decide; this file requests and loads.

mod compile;
mod config_maps;
pub mod content;
mod fetch;
mod known;
mod metrics;
pub mod oci;
mod statuses;
pub mod store;
pub mod validate;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::api::ApiResource;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use kube_devops_engine::{Catalog, Checks, LoadedModule};
use kube_devops_oci::fetch::Budget;
use kube_devops_oci::{Fetched, Store as Cache};
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::ClusterError;
use crate::clock::Now;
use crate::crd::{PolicyModule, PolicyModuleSpec, PolicyModuleStatus};
use crate::key::ObjectKey;
use crate::lenient::Lenient;
use crate::runtime::store::{Store, Watched};
use compile::compile;
pub use config_maps::config_map;
use config_maps::{Source, follow};
use fetch::Fetcher;
use metrics::Metrics;
use oci::Fetch;
use statuses::StatusWriter;
use store::{Capacity, Failure, Load, LoadFailure, ModuleStore, Used};

/// The longest time that a controller waits for its modules before it is ready.
const START: Duration = Duration::from_secs(10);

/// A PolicyModule of the watch.
type WatchedModule = kube::core::Object<Lenient<PolicyModuleSpec>, Lenient<PolicyModuleStatus>>;
/// The result of fetching a version.
type FetchResult = (Fetch, Result<Fetched, Failure>);
/// The result of loading a version.
type LoadResult = (Load, Result<Arc<LoadedModule>, LoadFailure>);

/// The most modules that are fetched, or wait to be loaded, at the same time.
const FETCHES: usize = 4;
/// The memory for all of them, in bytes: one module of the largest size, and usual ones beside it.
const BUDGET: usize = 40 * 1024 * 1024;

/// The checks of the program and of all modules, which change while the program runs.
#[derive(Clone)]
pub struct LiveChecks {
    /// The current checks.
    pub checks: watch::Receiver<Arc<Checks>>,
    /// Whether the modules were loaded once, or could not be within a limited time.
    pub is_started: watch::Receiver<bool>,
}

/// The options of the modules.
pub struct ModuleOptions {
    /// The namespace of the platform, with the ConfigMaps.
    pub namespace: String,
    /// Whether this replica is the leader, which writes statuses; `None` if it never does.
    pub leadership: Option<watch::Receiver<bool>>,
}

/// Loads the modules in the background until `stop`.
///
/// # Errors
///
/// If the metrics are registered already.
pub fn start(
    client: Client,
    catalog: Catalog,
    options: ModuleOptions,
    registry: &Registry,
    stop: CancellationToken,
) -> Result<LiveChecks, ClusterError> {
    let (checks, current) = watch::channel(Arc::new(catalog.checks()));
    let (started, is_started) = watch::channel(false);
    let metrics = Metrics::new(registry)?;
    let (sender, maps) = mpsc::channel(16);
    let most = catalog.engine().limits().module;
    let cache = catalog.engine().cache_folder().map(|folder| Cache::new(folder.to_owned()));
    let (namespace, store) = (options.namespace.clone(), ModuleStore::new(most));
    let fetcher =
        Fetcher { client: client.clone(), namespace, store: cache, most: most as u64, budget: Budget::new(BUDGET) };
    let statuses = StatusWriter::new(client.clone());
    let manager = Manager {
        client,
        fetcher,
        fetches: JoinSet::new(),
        used: None,
        catalog,
        options,
        store,
        watched: Watched::default(),
        active: BTreeMap::new(),
        checks,
        started,
        metrics,
        followed: BTreeMap::new(),
        sender,
        loading: None,
        statuses,
    };
    tokio::spawn(manager.run(maps, stop));
    Ok(LiveChecks { checks: current, is_started })
}

struct Manager {
    client: Client,
    fetcher: Fetcher,
    fetches: JoinSet<FetchResult>,
    /// What the cache was reduced to last; `None` if something was added to it since.
    used: Option<Used>,
    catalog: Catalog,
    options: ModuleOptions,
    store: ModuleStore,
    watched: Watched,
    /// The active digests.
    active: BTreeMap<String, String>,
    checks: watch::Sender<Arc<Checks>>,
    started: watch::Sender<bool>,
    metrics: Metrics,
    /// The watches of ConfigMaps, by name.
    followed: BTreeMap<String, JoinHandle<()>>,
    sender: mpsc::Sender<(String, Source)>,
    loading: Option<JoinHandle<LoadResult>>,
    statuses: StatusWriter,
}

impl Manager {
    async fn run(mut self, mut maps: mpsc::Receiver<(String, Source)>, stop: CancellationToken) {
        let resource = ApiResource::erase::<PolicyModule>(&());
        let api: Api<WatchedModule> = Api::all_with(self.client.clone(), &resource);
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut deadline = std::pin::pin!(tokio::time::sleep(START));
        let mut leadership = self.options.leadership.clone();
        loop {
            let wait = self.wait(Now::read());
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(wait) => {}
                Some(fetched) = self.fetches.join_next() => self.fetched(fetched),
                () = &mut deadline, if !*self.started.borrow() => {
                    tracing::warn!("not all modules were loaded within {START:?}; their checks are not evaluated yet");
                    self.started.send_replace(true);
                }
                Some(event) = events.next() => match event {
                    Ok(event) => self.event(event),
                    Err(error) => {
                        tracing::warn!("the watch of PolicyModules was interrupted: {error}");
                        // Without the custom resource, there is nothing to wait for.
                        self.started.send_replace(true);
                    }
                },
                Some((name, source)) = maps.recv() => match source {
                    Ok(map) => self.store.set_config_map(&name, map),
                    Err(error) => self.store.set_unreadable(&name, &error),
                },
                finished = join(&mut self.loading) => self.loaded(finished),
                is_leader = changed(&mut leadership) => if !is_leader { continue },
            }
            self.proceed().await;
        }
        for (_, follower) in std::mem::take(&mut self.followed) {
            follower.abort();
        }
    }

    fn event(&mut self, event: Event<WatchedModule>) {
        let mut watched = std::mem::take(&mut self.watched);
        watched.apply(self, event);
        self.watched = watched;
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
                let follower = tokio::spawn(follow(api, name.clone(), self.sender.clone()));
                self.followed.insert(name, follower);
            }
        }
    }

    /// How long to wait for the next version to fetch or load, and for the next attempt to write a status.
    fn wait(&self, now: Now) -> Option<Duration> {
        let is_leader = self.is_leader();
        let version = self.store.wait(is_leader, self.capacity(), now);
        let status = self.statuses.pause(now).filter(|_| is_leader && self.loading.is_none());
        version.into_iter().chain(status).min()
    }

    fn capacity(&self) -> Capacity {
        Capacity { fetch: self.fetches.len() + self.store.waiting() < FETCHES, load: self.loading.is_none() }
    }

    fn is_leader(&self) -> bool {
        self.options.leadership.as_ref().is_some_and(|leadership| *leadership.borrow())
    }

    /// Fetches and loads the next versions, activates loaded ones, and writes the statuses.
    async fn proceed(&mut self) {
        while self.capacity().fetch
            && let Some(fetch) = self.store.next_fetch(self.is_leader(), Now::read())
        {
            let fetcher = self.fetcher.clone();
            self.fetches.spawn(async move {
                let fetched = AssertUnwindSafe(fetcher.fetch(&fetch)).catch_unwind().await;
                let result =
                    fetched.unwrap_or_else(|_| Err(Failure::of_source("Crashed", "fetching the module crashed")));
                (fetch, result)
            });
        }
        if self.loading.is_none()
            && let Some(load) = self.store.next_load(Now::read())
        {
            let engine = self.catalog.engine().clone();
            self.loading = Some(tokio::task::spawn_blocking(move || {
                let result = compile(&engine, &load);
                (load, result)
            }));
        }
        if let Some(checks) = self.store.activate(&self.catalog, &mut self.active) {
            tracing::info!(modules = ?self.active, "the checks have changed");
            self.metrics.set_active(&self.active);
            self.checks.send_replace(Arc::new(checks));
        }
        self.metrics.set_ready(self.store.ready());
        let is_idle = self.watched.is_synced() && self.store.is_settled() && self.loading.is_none();
        if is_idle && self.fetches.is_empty() {
            self.started.send_if_modified(|started| !std::mem::replace(started, true));
            self.reduce_cache().await;
        }
        if self.is_leader() && self.loading.is_none() && self.statuses.may_write(Now::read()) {
            self.statuses.write(self.store.statuses(Now::read())).await;
        }
    }

    fn loaded(&mut self, finished: Result<LoadResult, tokio::task::JoinError>) {
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

    fn fetched(&mut self, finished: Result<FetchResult, tokio::task::JoinError>) {
        match finished {
            Ok((fetch, result)) => {
                self.used = None;
                if let Err(Failure { reason, message, .. }) = &result {
                    let (module, reference) = (&fetch.module, fetch.reference.to_string());
                    tracing::warn!(module, reference, reason, "failed to fetch a module: {message}");
                }
                self.store.fetched(&fetch, result, Now::read());
            }
            Err(error) => tracing::error!("failed to fetch a module: {error}"),
        }
    }

    /// Removes from the cache what no module refers to. Nothing is fetched or loaded meanwhile.
    async fn reduce_cache(&mut self) {
        let used = self.store.used();
        if self.used.as_ref() == Some(&used) {
            return;
        }
        self.used = Some(used.clone());
        let (engine, cache) = (self.catalog.engine().clone(), self.fetcher.store.clone());
        let reduce = tokio::task::spawn_blocking(move || {
            engine.retain_compiled(&used.components);
            if let Some(Err(error)) =
                cache.map(|cache| cache.retain(|record| used.manifests.contains(&record.manifest)))
            {
                tracing::warn!("failed to remove modules that are not used: {error}");
            }
        });
        if let Err(error) = reduce.await {
            tracing::error!("failed to remove modules that are not used: {error}");
        }
    }
}

impl Store for Manager {
    type Object = WatchedModule;

    fn set(&mut self, watched: WatchedModule) -> (ObjectKey, bool) {
        let key = Self::key(&watched);
        let WatchedModule { metadata, spec, status, .. } = watched;
        match spec.0 {
            Ok(spec) => {
                self.store.set(PolicyModule { metadata, spec, status: status.and_then(|status| status.0.ok()) });
            }
            Err(error) => {
                tracing::warn!(module = %key.name, "failed to read a PolicyModule, which is not loaded: {error}");
                self.store.remove(&key.name);
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
async fn join<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Waits for a change of the leadership, and returns whether this replica is the leader.
async fn changed(leadership: &mut Option<watch::Receiver<bool>>) -> bool {
    match leadership {
        Some(leadership) => match leadership.changed().await {
            Ok(()) => *leadership.borrow_and_update(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
