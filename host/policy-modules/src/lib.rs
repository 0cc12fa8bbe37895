//! The modules of PolicyModule objects: they are loaded when their source changes, without a restart.
//!
//! ```text
//!   watch of PolicyModules --.
//!   watch of ConfigMaps -----|--> ModuleStore --> load, one at a time --> activate --> checks for policies
//!   registries <-- fetch ----'                                               '------> statuses, by the leader
//! ```
//!
//! Every replica loads the modules by itself. ConfigMaps are watched by name, and only in the namespace of the platform.
//! `store` and `oci` decide; `manager` requests and loads.
//!
//! In come PolicyModule objects, ConfigMaps and registries; out come the checks of the program and of all modules, and statuses. This
//! crate must not know which policies use the checks. Start reading at [`start`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod compile;
mod config_maps;
pub mod content;
mod fetch;
mod fetches;
mod known;
mod load;
mod manager;
mod metrics;
mod oci;
mod statuses;
mod store;
pub mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use kube_devops_cluster::ClusterError;
use kube_devops_engine::{Catalog, Checks};
use kube_devops_oci::Store as Cache;
use kube_devops_oci::fetch::Budget;
use kube_devops_runtime::election::Leadership;
use kube_devops_runtime::store::Watched;
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config_maps::config_map;
use fetch::Fetcher;
use fetches::Fetches;
use manager::Manager;
use metrics::Metrics;
use statuses::StatusWriter;
use store::ModuleStore;

/// The memory for modules that are fetched or wait to be loaded, in bytes, in addition to one of the largest size. Only modules whose
/// registry is quick use it.
const QUICK: usize = 8 * 1024 * 1024;

/// The checks of the program and of all modules, which change while the program runs.
#[derive(Clone)]
pub struct LiveChecks {
    /// The current checks.
    pub checks: watch::Receiver<Arc<Checks>>,
    /// Whether the modules were loaded once, or could not be within a limited time.
    pub is_started: watch::Receiver<bool>,
}

impl LiveChecks {
    /// Waits until modules are not loaded any longer. If this is not because the program stops, it must not continue.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut checks = self.checks.clone();
        async move { while checks.changed().await.is_ok() {} }
    }
}

/// The options of the modules.
pub struct ModuleOptions {
    /// The namespace of the platform, with the ConfigMaps.
    pub namespace: String,
    /// The leadership of this replica; the leader writes statuses. `None` if this process never does.
    pub leadership: Option<Leadership>,
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
    let fetcher = Fetcher {
        client: client.clone(),
        namespace,
        store: cache,
        most: most as u64,
        budget: Budget::new(QUICK, most),
    };
    let statuses = StatusWriter::new(client.clone());
    let manager = Manager {
        client,
        fetcher,
        fetches: Fetches::default(),
        used: None,
        catalog,
        options,
        store,
        watched: Watched::default(),
        active: BTreeMap::new(),
        checks,
        started,
        metrics,
        followers: JoinSet::new(),
        followed: BTreeMap::new(),
        sender,
        loading: None,
        reducing: None,
        statuses,
    };
    tokio::spawn(manager.run(maps, stop));
    Ok(LiveChecks { checks: current, is_started })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kube_devops_engine::Limits;

    use super::*;

    #[test]
    fn the_end_of_loading_is_noticed_after_checks_that_were_not_seen() {
        let checks = || Arc::new(Checks::new(BTreeMap::new(), Limits::default()));
        let (sender, current) = watch::channel(checks());
        let live = LiveChecks { checks: current, is_started: watch::channel(true).1 };
        sender.send_replace(checks());
        assert!(live.ended().now_or_never().is_none());
        drop(sender);
        assert!(live.ended().now_or_never().is_some());
    }
}
