//! The connection to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

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

impl Connection {
    /// Reads the configuration. No request is sent.
    pub async fn open(options: &ConnectionOptions) -> Result<Self, ClusterError> {
        let configuration = |error: &dyn std::fmt::Display| ClusterError::Configuration(error.to_string());
        let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
        let file = match &options.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| configuration(&error))?;
                Some(file)
            }
            None => Kubeconfig::read().ok(),
        };
        let context = options.context.clone().or_else(|| file.as_ref()?.current_context.clone());
        let mut config = match file {
            Some(file) => Config::from_custom_kubeconfig(file, &chosen).await.map_err(|error| configuration(&error))?,
            None if options.context.is_some() => {
                Config::from_kubeconfig(&chosen).await.map_err(|error| configuration(&error))?
            }
            None => Config::infer().await.map_err(|error| configuration(&error))?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| configuration(&error))?;
        Ok(Self { client, server, context })
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
