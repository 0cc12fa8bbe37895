//! The pods of a live cluster.

use std::fmt::Debug;
use std::sync::Arc;

use chrono::Utc;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ApiResource, ListParams};
use kube::core::Request;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use kube_devops_core::object::Extraction;
use kube_devops_core::{Needs, Subject, complete_object};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ClusterError;
use crate::connection::Connection;
use crate::lenient::LenientObject;
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
    /// What checks need in addition to the usual facts.
    pub needs: Needs,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// The description of a failed list of some namespaces.
const LIST: &str = "list pods";

/// Lists the pods page by page, with these parts of their spec and status, and calls `seen` with the number of pods so far.
pub async fn list<P: DeserializeOwned, S: DeserializeOwned>(
    connection: &Connection,
    query: &PodQuery,
    mut seen: impl FnMut(usize),
) -> Result<Vec<LenientObject<P, S>>, ClusterError> {
    let paths = match query.namespaces.as_slice() {
        [] => vec!["/api/v1/pods".to_owned()],
        namespaces => namespaces.iter().map(|namespace| format!("/api/v1/namespaces/{namespace}/pods")).collect(),
    };
    let what = match query.namespaces.as_slice() {
        [] => "list the pods of all namespaces; -n NAME needs the permission in that namespace alone",
        _ => LIST,
    };
    let mut pods = Vec::new();
    for (index, path) in paths.into_iter().enumerate() {
        let before = pods.len();
        let mut parameters =
            ListParams { limit: Some(PAGE), label_selector: query.selector.clone(), ..ListParams::default() };
        loop {
            let request = Request::new(&path).list(&parameters);
            let request = request.map_err(|error| connection.error(kube::Error::BuildRequest(error), what))?;
            let page: Page<LenientObject<P, S>> =
                connection.client.request(request).await.map_err(|error| connection.error(error, what))?;
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
pub(crate) async fn check_exists(connection: &Connection, namespace: &str) -> Result<(), ClusterError> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    match api.get_metadata(namespace).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            Err(ClusterError::NoNamespace { namespace: namespace.to_owned(), server: connection.server.clone() })
        }
        _ => Ok(()),
    }
}

/// The events of a watch of pods.
pub type PodEvents = BoxStream<'static, Result<watcher::Event<WatchedPod>, watcher::Error>>;

/// Watches all pods, with the fields that facts are extracted from, or as complete objects. An interruption is an error of the
/// stream, which continues after a backoff.
pub fn watch(client: &Client, needs: Needs) -> PodEvents {
    if needs.objects { watch_as(client, WatchedPod::complete) } else { watch_as(client, WatchedPod::of) }
}

fn watch_as<P, S>(client: &Client, watched: fn(LenientObject<P, S>) -> WatchedPod) -> PodEvents
where
    P: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    S: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<LenientObject<P, S>> = Api::all_with(client.clone(), &resource);
    let events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
    let convert = move |event| match event {
        watcher::Event::Apply(pod) => watcher::Event::Apply(watched(pod)),
        watcher::Event::Delete(pod) => watcher::Event::Delete(watched(pod)),
        watcher::Event::InitApply(pod) => watcher::Event::InitApply(watched(pod)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    };
    events.map(move |event| event.map(convert)).boxed()
}

/// Returns a pod as checks read it. The items of a list do not repeat their kind.
pub(crate) fn complete_pod(mut pod: Value) -> Arc<Value> {
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    complete_object(pod)
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
    if query.needs.objects {
        let pods = list(connection, query, seen).await?;
        Ok(extracted(pods.into_iter().map(WatchedPod::complete), query.needs))
    } else {
        let pods = list(connection, query, seen).await?;
        Ok(extracted(pods.into_iter().map(WatchedPod::of), query.needs))
    }
}

fn extracted(pods: impl ExactSizeIterator<Item = WatchedPod>, needs: Needs) -> ListedPods {
    let now = Utc::now();
    let mut listed = ListedPods { subjects: Vec::with_capacity(pods.len()), finished: 0 };
    for pod in pods {
        match pod.extract(needs, now) {
            Extraction::Subject(subject) => listed.subjects.push(*subject),
            Extraction::Finished => listed.finished += 1,
            Extraction::NoPods => {}
        }
    }
    listed
}
