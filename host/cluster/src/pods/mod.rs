//! The pods of a live cluster.

mod watched;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ApiResource, ListParams};
use kube::core::Request;
use kube::runtime::watcher;
use kube::{Api, Client};
use kube_devops_core::object::Extraction;
use kube_devops_core::{Needs, Subject, complete_object};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ClusterError;
use crate::connection::Connection;
use crate::lenient::LenientObject;
use crate::metadata;
use crate::pages::{self, PAGE};
use crate::watch::watch_objects;

pub use watched::WatchedPod;

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

/// The time without an answer after which a request is reported to be slow.
const SLOW: Duration = Duration::from_secs(10);

/// The pods of a list.
#[derive(Debug)]
pub struct List<P, S> {
    /// The pods.
    pub pods: Vec<LenientObject<P, S>>,
    /// The selected namespaces without pods for which this user cannot verify that they exist.
    pub unverified: Vec<String>,
}

/// Lists the pods page by page, with these parts of their spec and status, and calls `seen` with the number of pods so far.
pub async fn list<P: DeserializeOwned, S: DeserializeOwned>(
    connection: &Connection,
    query: &PodQuery,
    mut seen: impl FnMut(usize),
) -> Result<List<P, S>, ClusterError> {
    let mut listed = List { pods: Vec::new(), unverified: Vec::new() };
    if query.namespaces.is_empty() {
        list_path(connection, query, "/api/v1/pods", &mut listed.pods, &mut seen).await?;
    }
    // A pod must not be counted twice.
    let namespaces: BTreeSet<&String> = query.namespaces.iter().collect();
    for namespace in namespaces {
        let before = listed.pods.len();
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        list_path(connection, query, &path, &mut listed.pods, &mut seen).await?;
        // A namespace without pods may have none that match the selector, or its name may be misspelt.
        if listed.pods.len() == before && !verify_exists(connection, namespace).await? {
            listed.unverified.push(namespace.clone());
        }
    }
    Ok(listed)
}

async fn list_path<P: DeserializeOwned, S: DeserializeOwned>(
    connection: &Connection,
    query: &PodQuery,
    path: &str,
    pods: &mut Vec<LenientObject<P, S>>,
    seen: &mut impl FnMut(usize),
) -> Result<(), ClusterError> {
    let before = pods.len();
    let selected = ListParams { label_selector: query.selector.clone(), ..ListParams::default() };
    let request = async |parameters: ListParams| {
        let request = Request::new(path).list(&parameters).map_err(kube::Error::BuildRequest)?;
        with_notice(connection, connection.client.request(request)).await
    };
    let listed = pages::list(&selected, request, pages::is_expired, |count| seen(before + count)).await;
    pods.extend(listed.map_err(|error| failed(connection, query, error))?);
    Ok(())
}

fn failed(connection: &Connection, query: &PodQuery, error: kube::Error) -> ClusterError {
    let what = match &error {
        kube::Error::Api(status) if status.code == 403 && query.namespaces.is_empty() => {
            "list the pods of all namespaces; -n NAME needs the permission in that namespace alone"
        }
        _ => "list pods",
    };
    connection.error(error, what)
}

/// Reports a request that takes long: the client repeats it without a message while the API server is overloaded.
async fn with_notice<T>(connection: &Connection, request: impl Future<Output = T>) -> T {
    let mut request = std::pin::pin!(request);
    if let Ok(answer) = tokio::time::timeout(SLOW, &mut request).await {
        return answer;
    }
    tracing::warn!("{} has not sent the pods within {} s; still waiting", connection.server, SLOW.as_secs());
    request.await
}

/// Fails if the namespace does not exist. Returns whether it is known to exist: this user may not be allowed to get it.
pub(crate) async fn verify_exists(connection: &Connection, namespace: &str) -> Result<bool, ClusterError> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    match metadata::get(&api, namespace).await {
        Ok(None) => {
            Err(ClusterError::NoNamespace { namespace: namespace.to_owned(), server: connection.server.clone() })
        }
        found => Ok(found.is_ok()),
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
    let events = watch_objects(api, watcher::Config::default().page_size(PAGE));
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
fn complete_pod(mut pod: Value) -> Arc<Value> {
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
    /// The selected namespaces without pods for which this user cannot verify that they exist.
    pub unverified: Vec<String>,
}

/// Lists the pods as subjects.
pub async fn subjects(
    connection: &Connection,
    query: &PodQuery,
    seen: impl FnMut(usize),
) -> Result<ListedPods, ClusterError> {
    if query.needs.objects {
        let List { pods, unverified } = list(connection, query, seen).await?;
        Ok(extracted(pods.into_iter().map(WatchedPod::complete), unverified, query.needs))
    } else {
        let List { pods, unverified } = list(connection, query, seen).await?;
        Ok(extracted(pods.into_iter().map(WatchedPod::of), unverified, query.needs))
    }
}

fn extracted(pods: impl ExactSizeIterator<Item = WatchedPod>, unverified: Vec<String>, needs: Needs) -> ListedPods {
    let now = Utc::now();
    let mut listed = ListedPods { subjects: Vec::with_capacity(pods.len()), finished: 0, unverified };
    for pod in pods {
        match pod.extract(needs, now) {
            Extraction::Subject(subject) => listed.subjects.push(*subject),
            Extraction::Finished => listed.finished += 1,
            Extraction::NoPods => {}
        }
    }
    listed
}
