//! The pods of a live cluster.

use chrono::Utc;
use futures::Stream;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ApiResource, ListParams};
use kube::core::Request;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use kube_devops_core::Subject;
use kube_devops_core::object::{Context, Extraction, Object};
use serde::Deserialize;

use crate::ClusterError;
use crate::connection::Connection;
use crate::pod_index::WatchedPod;

/// The most pods of a page. They limit what the API server reads from its store for one request, and the text that this
/// program keeps in memory.
const PAGE: u32 = 500;

/// The selection of pods.
#[derive(Debug, Clone, Default)]
pub struct PodQuery {
    /// The namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// A label selector in the syntax of kubectl.
    pub selector: Option<String>,
    /// Whether annotations are facts, because a check needs them.
    pub annotations: bool,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<Object>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Lists the pods page by page, and calls `seen` with the number of pods so far.
pub async fn list(
    connection: &Connection,
    query: &PodQuery,
    mut seen: impl FnMut(usize),
) -> Result<Vec<Object>, ClusterError> {
    let paths = match query.namespaces.as_slice() {
        [] => vec!["/api/v1/pods".to_owned()],
        namespaces => namespaces.iter().map(|namespace| format!("/api/v1/namespaces/{namespace}/pods")).collect(),
    };
    let what = match query.namespaces.as_slice() {
        [] => "list the pods of all namespaces; -n NAME needs the permission in that namespace alone",
        _ => "list pods",
    };
    let mut pods = Vec::new();
    for (index, path) in paths.into_iter().enumerate() {
        let before = pods.len();
        let mut parameters =
            ListParams { limit: Some(PAGE), label_selector: query.selector.clone(), ..ListParams::default() };
        loop {
            let request = Request::new(&path).list(&parameters);
            let request = request.map_err(|error| connection.error(kube::Error::BuildRequest(error), what))?;
            let page: Page = connection.client.request(request).await.map_err(|error| connection.error(error, what))?;
            pods.extend(page.items);
            seen(pods.len());
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => parameters.continue_token = Some(next),
                None => break,
            }
        }
        // A namespace without pods may have none that match the selector, or its name may be misspelt.
        if let Some(namespace) = query.namespaces.get(index).filter(|_| pods.len() == before) {
            check_exists(connection, namespace).await?;
        }
    }
    Ok(pods)
}

/// Fails if the namespace does not exist. Without the permission to get the namespace, it is assumed to exist.
async fn check_exists(connection: &Connection, namespace: &str) -> Result<(), ClusterError> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    match api.get_metadata(namespace).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            Err(ClusterError::NoNamespace { namespace: namespace.to_owned(), server: connection.server.clone() })
        }
        _ => Ok(()),
    }
}

/// Watches all pods, with the fields that facts are extracted from. An interruption is an error of the stream, which continues
/// after a backoff.
pub fn watch(client: &Client) -> impl Stream<Item = Result<watcher::Event<WatchedPod>, watcher::Error>> + use<> {
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<WatchedPod> = Api::all_with(client.clone(), &resource);
    watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff()
}

/// The pods of a cluster.
#[derive(Debug)]
pub struct ListedPods {
    /// The objects to evaluate.
    pub subjects: Vec<Subject>,
    /// The number of pods that have finished or are being deleted.
    pub finished: usize,
}

/// Lists the pods as subjects.
pub async fn subjects(
    connection: &Connection,
    query: &PodQuery,
    seen: impl FnMut(usize),
) -> Result<ListedPods, ClusterError> {
    let pods = list(connection, query, seen).await?;
    let context = Context {
        now: Utc::now(),
        default_namespace: "default".to_owned(),
        source: None,
        annotations: query.annotations,
    };
    let mut listed = ListedPods { subjects: Vec::with_capacity(pods.len()), finished: 0 };
    for mut pod in pods {
        // The items of a typed list do not repeat their kind.
        pod.kind = "Pod".to_owned();
        match pod.extract(&context) {
            Ok(Extraction::Subject(subject)) => listed.subjects.push(*subject),
            Ok(Extraction::Finished) => listed.finished += 1,
            // The API server has no pods without containers, so that there is nothing to report.
            Ok(Extraction::NoPods) | Err(_) => {}
        }
    }
    Ok(listed)
}
