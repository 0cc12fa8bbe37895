//! The connection to a cluster.

mod address;
mod explain;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{Cluster, ExecConfig, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedContext};
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
    /// The host of the proxy, if there is one.
    proxy: Option<String>,
    /// The plugin that provides the credentials, if there is one.
    plugin: Option<ExecConfig>,
}

fn configuration(error: &(dyn std::error::Error + 'static)) -> ClusterError {
    ClusterError::Configuration(explain::reason(error, None))
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
        let file = read(path)?.ok_or_else(|| ClusterError::Configuration("no kubeconfig exists".to_owned()))?;
        Ok(Self::of(file))
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
        let file = read(options.kubeconfig.as_deref())?;
        if file.is_none() && options.context.is_none() {
            return Self::in_cluster();
        }
        Self::open_with(file.unwrap_or_default(), options.context.clone()).await
    }

    /// Connects to the cluster of the pod that the program runs in. No request is sent.
    fn in_cluster() -> Result<Self, ClusterError> {
        let config = Config::incluster();
        let config =
            config.map_err(|error| ClusterError::Configuration(format!("no kubeconfig exists, and {error}")))?;
        if let Some(paths) = kubeconfig_variable() {
            tracing::warn!(?paths, "no file of KUBECONFIG exists: connecting to the cluster of this pod");
        }
        Self::with(config, None)
    }

    async fn open_with(file: Kubeconfig, chosen: Option<String>) -> Result<Self, ClusterError> {
        let context = chosen.clone().or_else(|| file.current_context.clone()).filter(|context| !context.is_empty());
        let named = named_cluster(&file, context.as_deref()).map_err(ClusterError::Configuration)?;
        let proxy = named.and_then(|cluster| cluster.proxy_url.clone()).filter(|proxy| !proxy.is_empty());
        let chosen = KubeConfigOptions { context: chosen, ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(file, &chosen).await.map_err(|error| configuration(&error))?;
        address::complete(&mut config);
        config.proxy_url = match proxy {
            Some(proxy) => proxy.parse().ok(),
            None => address::environment_proxy(&config.cluster_url),
        };
        Self::with(config, context)
    }

    fn with(mut config: Config, context: Option<String>) -> Result<Self, ClusterError> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let proxy = config.proxy_url.as_ref().and_then(|proxy| proxy.host()).map(str::to_owned);
        let plugin = config.auth_info.exec.clone();
        let client = Client::try_from(config)
            .map_err(|error| ClusterError::Configuration(explain::reason(&error, plugin.as_ref())))?;
        Ok(Self { client, server, context, proxy, plugin })
    }

    /// Connects to the cluster of a context. No request is sent.
    pub async fn to(contexts: &Contexts, context: &str) -> Result<Self, ClusterError> {
        Self::open_with(contexts.file.clone(), Some(context.to_owned())).await
    }

    /// Requests the version of the API server, such as `v1.37.2`.
    pub async fn server_version(&self) -> Result<String, ClusterError> {
        let info = self.client.apiserver_version().await;
        Ok(info.map_err(|error| self.error(error, "get the server version"))?.git_version)
    }

    /// Returns the error of a failed request to this cluster. `what` is the action, such as `list pods`.
    pub fn error(&self, error: kube::Error, what: &str) -> ClusterError {
        if let Some(reason) = explain::plugin_failure(&error, self.plugin.as_ref()) {
            return ClusterError::Unauthorized { server: self.server.clone(), reason };
        }
        match (ClusterError::of(error, &self.server, what), &self.proxy) {
            (ClusterError::Unreachable { server, reason }, Some(proxy)) => {
                ClusterError::Unreachable { server, reason: format!("{reason}, through the proxy {proxy}") }
            }
            (error, _) => error,
        }
    }
}

/// Returns the cluster of the context that is used. As for kubectl, a context must exist and name a user that exists: without its
/// user, requests would be anonymous.
fn named_cluster<'f>(file: &'f Kubeconfig, context: Option<&str>) -> Result<Option<&'f Cluster>, String> {
    let contexts: Vec<_> = file.contexts.iter().map(|context| context.name.as_str()).collect();
    let known = || match contexts.as_slice() {
        [] => "the kubeconfig has no contexts".to_owned(),
        contexts => format!("the contexts are {}", contexts.join(", ")),
    };
    let name =
        context.ok_or_else(|| format!("no context is selected, and the kubeconfig has no current one; {}", known()))?;
    let named = file.contexts.iter().find(|named| named.name == name);
    let named = named.ok_or_else(|| format!("there is no context {name:?}; {}", known()))?;
    let Some(context) = &named.context else { return Ok(None) };
    let has_user = |user: &str| file.auth_infos.iter().any(|known| known.name == user);
    if let Some(user) = context.user.as_deref().filter(|user| !user.is_empty() && !has_user(user)) {
        return Err(format!("the context {name:?} names the user {user:?}, which is not in the kubeconfig"));
    }
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster);
    Ok(cluster.and_then(|cluster| cluster.cluster.as_ref()))
}

/// Reads the kubeconfig at a path, or that of `KUBECONFIG` or the home directory; `None` if no file exists.
fn read(path: Option<&Path>) -> Result<Option<Kubeconfig>, ClusterError> {
    let file = match path {
        Some(path) => Kubeconfig::read_from(path).map(Some),
        None => merge(&default_paths(kubeconfig_variable(), std::env::home_dir())),
    };
    file.map_err(|error| configuration(&error))
}

/// The value of `KUBECONFIG`. An empty one means the same as none.
fn kubeconfig_variable() -> Option<OsString> {
    std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty())
}

/// The paths of the kubeconfig, as for kubectl.
fn default_paths(variable: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    match variable {
        Some(paths) => std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => home.into_iter().map(|home| home.join(".kube").join("config")).collect(),
    }
}

/// Merges the files that exist; `None` if none of them does. As for kubectl, only a missing file may lead to the cluster of the
/// pod: a file that cannot be read was meant to name another one.
fn merge(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        let file = match Kubeconfig::read_from(path) {
            Ok(file) => file,
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        merged = Some(match merged {
            Some(merged) => merged.merge(file)?,
            None => file,
        });
    }
    Ok(merged)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_wins_over_the_home_directory() {
        let paths = |variable: Option<&str>, home: Option<&str>| {
            default_paths(variable.map(OsString::from), home.map(PathBuf::from))
        };
        let separated = std::env::join_paths(["a", "", "b"]).unwrap().into_string().unwrap();
        assert_eq!(paths(Some(&separated), Some("home")), [Path::new("a"), Path::new("b")]);
        assert_eq!(paths(None, Some("home")), [Path::new("home").join(".kube").join("config")]);
        assert!(paths(None, None).is_empty());
    }

    #[test]
    fn only_missing_files_mean_that_there_is_no_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let [valid, broken, missing] = ["valid", "broken", "missing"].map(|name| folder.path().join(name));
        std::fs::write(&valid, "current-context: here\n").unwrap();
        std::fs::write(&broken, "a: [\n").unwrap();
        let context = |paths: &[&PathBuf]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).clone()).collect();
            merge(&paths).map(|file| file.map(|file| file.current_context))
        };
        let here = Some(Some("here".to_owned()));
        assert_eq!(context(&[]).unwrap(), None);
        assert_eq!(context(&[&missing]).unwrap(), None);
        assert_eq!(context(&[&missing, &valid]).unwrap(), here);
        // A damaged file, and one that cannot be read as a file.
        for damaged in [&broken, &folder.path().to_owned()] {
            assert!(context(&[damaged]).is_err() && context(&[&valid, damaged]).is_err());
        }
    }

    #[test]
    fn a_context_must_exist_and_name_a_known_user() {
        let text = "{clusters: [{name: one, cluster: {server: 'https://one', proxy-url: 'http://proxy'}}], users: [{name: me}], \
            contexts: [{name: a, context: {cluster: one, user: me}}, {name: b, context: {cluster: one, user: other}}, \
            {name: c, context: {cluster: none}}]}";
        let file = serde_norway::from_str(text).unwrap();
        let server =
            |context| named_cluster(&file, context).map(|cluster| cluster.and_then(|cluster| cluster.server.clone()));
        assert_eq!(server(Some("a")), Ok(Some("https://one".to_owned())));
        assert_eq!(server(Some("c")), Ok(None));
        for (context, part) in [
            (None, "no context is selected, and the kubeconfig has no current one; the contexts are a, b, c"),
            (Some("d"), "there is no context \"d\"; the contexts are a, b, c"),
            (Some("b"), "the context \"b\" names the user \"other\", which is not in the kubeconfig"),
        ] {
            assert_eq!(server(context).unwrap_err(), part);
        }
        assert_eq!(
            named_cluster(&Kubeconfig::default(), Some("a")).unwrap_err(),
            "there is no context \"a\"; the kubeconfig has no contexts"
        );
    }

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
