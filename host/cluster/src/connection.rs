//! Connecting to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::ClusterError;

/// How long connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster is meant.
#[derive(Debug, Clone, Default)]
pub struct ConnectionOptions {
    /// A kubeconfig file; none: that of `KUBECONFIG`, of the home directory, or the ServiceAccount of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; none: the current one.
    pub context: Option<String>,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Connection {
    /// Sends requests.
    pub client: Client,
    /// The address of the API server.
    pub server: String,
    /// The context of the kubeconfig; none within a cluster.
    pub context: Option<String>,
}

impl Connection {
    /// Reads the configuration. Nothing is sent yet.
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

    /// The version of the API server, such as `v1.37.2`.
    pub async fn server_version(&self) -> Result<String, ClusterError> {
        let info = self.client.apiserver_version().await;
        Ok(info.map_err(|error| self.error(error, "ask for the server's version"))?.git_version)
    }

    /// The error of a request to this cluster, in words. `what` says what was asked for.
    pub fn error(&self, error: kube::Error, what: &str) -> ClusterError {
        ClusterError::of(error, &self.server, what)
    }
}
