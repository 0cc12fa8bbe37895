//! The connection to a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, NamedContext};
use kube::{Client, Config};
use serde::Serialize;

use crate::ClusterError;

/// The timeout for connecting to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The selection of a cluster.
#[derive(Debug, Clone, Default)]
pub struct ConnectionOptions {
    /// The kubeconfig file; `None` for that of `KUBECONFIG` or the home directory, or the ServiceAccount of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None` for the current one.
    pub context: Option<String>,
}

/// A connection to a cluster.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The address of the API server.
    pub server: String,
    /// The context of the kubeconfig; `None` in a cluster.
    pub context: Option<String>,
}

fn configuration(error: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::Configuration(error.to_string())
}

/// The contexts of a kubeconfig.
#[derive(Debug, Clone)]
pub struct Contexts {
    /// The contexts, sorted by name.
    pub contexts: Vec<ContextInfo>,
    file: Kubeconfig,
}

/// A context of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextInfo {
    /// The name.
    pub name: String,
    /// Whether it is the current context.
    pub current: bool,
    /// The name of its cluster; empty if it has none.
    pub cluster: String,
    /// The address of the API server; empty if the kubeconfig does not contain it.
    pub server: String,
    /// The name of its user; empty if it has none.
    pub user: String,
    /// The default namespace; empty if it has none.
    pub namespace: String,
}

impl Contexts {
    /// Reads the kubeconfig at a path, or that of `KUBECONFIG` or the home directory.
    pub fn read(path: Option<&Path>) -> Result<Self, ClusterError> {
        let file = match path {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        Ok(Self::of(file.map_err(|error| configuration(&error))?))
    }

    fn of(file: Kubeconfig) -> Self {
        let server = |name: &str| {
            let cluster = file.clusters.iter().find(|cluster| cluster.name == name)?;
            cluster.cluster.as_ref()?.server.clone()
        };
        let info = |named: &NamedContext| {
            let context = named.context.clone().unwrap_or_default();
            ContextInfo {
                name: named.name.clone(),
                current: file.current_context.as_deref() == Some(&named.name),
                server: server(&context.cluster).unwrap_or_default(),
                cluster: context.cluster,
                user: context.user.unwrap_or_default(),
                namespace: context.namespace.unwrap_or_default(),
            }
        };
        let mut contexts: Vec<ContextInfo> = file.contexts.iter().map(info).collect();
        contexts.sort_by(|one, other| one.name.cmp(&other.name));
        // The first entry with a name is the one that is used.
        contexts.dedup_by(|one, other| one.name == other.name);
        Self { contexts, file }
    }
}

impl Connection {
    /// Reads the configuration. No request is sent.
    pub async fn open(options: &ConnectionOptions) -> Result<Self, ClusterError> {
        let file = match &options.kubeconfig {
            Some(path) => Some(Kubeconfig::read_from(path).map_err(|error| configuration(&error))?),
            None => Kubeconfig::read().ok(),
        };
        Self::open_with(file, options.context.clone()).await
    }

    /// Like [`Connection::open`], with a kubeconfig that was already read.
    async fn open_with(file: Option<Kubeconfig>, chosen_context: Option<String>) -> Result<Self, ClusterError> {
        let chosen = KubeConfigOptions { context: chosen_context.clone(), ..KubeConfigOptions::default() };
        let context = chosen_context.clone().or_else(|| file.as_ref()?.current_context.clone());
        let mut config = match file {
            Some(file) => Config::from_custom_kubeconfig(file, &chosen).await.map_err(|error| configuration(&error))?,
            None if chosen_context.is_some() => {
                Config::from_kubeconfig(&chosen).await.map_err(|error| configuration(&error))?
            }
            None => Config::infer().await.map_err(|error| configuration(&error))?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| configuration(&error))?;
        Ok(Self { client, server, context })
    }

    /// Connects to the cluster of a context. No request is sent.
    pub async fn to(contexts: &Contexts, context: &str) -> Result<Self, ClusterError> {
        Self::open_with(Some(contexts.file.clone()), Some(context.to_owned())).await
    }

    /// Requests the version of the API server, such as `v1.37.2`.
    pub async fn server_version(&self) -> Result<String, ClusterError> {
        let info = self.client.apiserver_version().await;
        Ok(info.map_err(|error| self.error(error, "get the server version"))?.git_version)
    }

    /// Returns the error of a failed request to this cluster. `what` is the action, such as `list pods`.
    pub fn error(&self, error: kube::Error, what: &str) -> ClusterError {
        ClusterError::of(error, &self.server, what)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_sorted_and_their_missing_parts_are_empty() {
        let text = "{current-context: b, clusters: [{name: one, cluster: {server: 'https://one'}}, {name: two}], \
            contexts: [{name: b, context: {cluster: one, user: me, namespace: shop}}, {name: c, context: {cluster: two}}, {name: a}]}";
        let contexts = Contexts::of(serde_norway::from_str(text).unwrap()).contexts;
        let rows: Vec<_> = contexts
            .iter()
            .map(|one| (&*one.name, one.current, &*one.cluster, &*one.server, &*one.user, &*one.namespace))
            .collect();
        assert_eq!(
            rows,
            [
                ("a", false, "", "", "", ""),
                ("b", true, "one", "https://one", "me", "shop"),
                ("c", false, "two", "", "", ""),
            ]
        );
    }
}
