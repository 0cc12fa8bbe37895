//! The requests for ConfigMaps with modules.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::watcher::{Config, Event};
use kube_devops_cluster::ClusterError;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::watch::{interruption, watch_objects};
use kube_devops_runtime::watch_log::WatchLog;
use tokio::sync::mpsc;

/// A ConfigMap, `None` if it does not exist, or the reason why it cannot be read.
pub type Source = Result<Option<ConfigMap>, String>;

/// Reads a ConfigMap; `None` if it does not exist.
///
/// # Errors
///
/// If it cannot be read.
pub async fn config_map(
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Result<Option<ConfigMap>, ClusterError> {
    let maps: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
    maps.get_opt(name).await.map_err(|error| connection.error(error, "read a ConfigMap"))
}

/// Sends the content of a ConfigMap whenever it changes, and `None` if it does not exist.
pub(super) async fn follow(api: Api<ConfigMap>, name: String, sender: mpsc::Sender<(String, Source)>) {
    let config = Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watch_objects(api, config));
    let mut log = WatchLog::of_object::<ConfigMap>(&name);
    let mut listed = None;
    while let Some(event) = events.next().await {
        let interrupted = event.as_ref().err().map(interruption);
        let map = match log.event(event) {
            Some(Event::Apply(map)) => Ok(Some(map)),
            Some(Event::Delete(_)) => Ok(None),
            Some(Event::Init) => {
                listed = None;
                continue;
            }
            Some(Event::InitApply(map)) => {
                listed = Some(map);
                continue;
            }
            Some(Event::InitDone) => Ok(listed.take()),
            None => Err(interrupted.unwrap_or_default()),
        };
        if sender.send((name.clone(), map)).await.is_err() {
            return;
        }
    }
}
