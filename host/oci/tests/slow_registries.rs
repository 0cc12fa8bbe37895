//! Registries that send slowly: they must not delay the modules of others, and good ones that are far away work.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use kube_devops_oci::artifact::{Layout, Module};
use kube_devops_oci::fetch::{Budget, Request as FetchRequest, fetch};
use kube_devops_oci::{Keychain, OciError, Options, Reference, Timeouts};
use support::{Server, answer, trickle};

const KIB: usize = 1024;
/// The memory for modules of quick registries in these tests.
const QUICK: usize = 16 * KIB;
/// The memory for others.
const REST: usize = 64 * KIB;

/// Starts a registry with a module, whose component is sent as `blob`.
async fn registry(component: Vec<u8>, blob: impl Fn(&[u8]) -> Body + Clone + Send + Sync + 'static) -> Server {
    let module = Module { component: &component, title: "a.wasm", version: None, imports: &[], exports: &[] };
    let manifest = Layout::of(&module).manifest;
    Server::start(move |request: &Request| -> Response {
        match request.uri().path() {
            path if path.contains("/manifests/") => answer(200, manifest.clone()),
            path if path.contains("/blobs/") => answer(200, blob(&component)),
            _ => answer(404, ""),
        }
    })
    .await
}

async fn pull(reference: Reference, budget: Option<Budget>, timeouts: Timeouts) -> Result<Vec<u8>, OciError> {
    pull_at_most(REST, reference, budget, timeouts).await
}

async fn pull_at_most(
    most: usize,
    reference: Reference,
    budget: Option<Budget>,
    timeouts: Timeouts,
) -> Result<Vec<u8>, OciError> {
    let (options, keychain) = (Options { plain_http: true, timeouts, ..Options::default() }, Keychain::default());
    let request = FetchRequest {
        reference: &reference,
        options: &options,
        keychain: &keychain,
        keys: &[],
        most: most as u64,
        budget: budget.as_ref(),
        now: 0,
    };
    Ok(fetch(None, request).await?.component)
}

/// Sends bytes, and then nothing.
fn stalled(bytes: &[u8]) -> Body {
    let start = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::copy_from_slice(bytes))]);
    Body::from_stream(start.chain(futures::stream::pending()))
}

#[tokio::test]
async fn slow_registries_delay_no_module_of_another_one() {
    let budget = Budget::new(QUICK, REST);
    // They announce modules of any size, send nothing or almost everything, and would hold all of the memory.
    let mut slow = Vec::new();
    for size in [8 * KIB, QUICK, REST] {
        for sent in [0, size - 1] {
            slow.push(registry(vec![0; size], move |component| stalled(&component[..sent])).await);
        }
    }
    let slow_pulls = slow
        .iter()
        .map(|server| tokio::spawn(pull(server.reference("a:1"), Some(budget.clone()), Timeouts::default())));
    let slow_pulls: Vec<_> = slow_pulls.collect();
    let is_requested = |server: &Server| server.requests().iter().any(|request| request.contains("/blobs/"));
    // Of the two largest modules, one waits for the memory of the other.
    while slow.iter().filter(|server| is_requested(server)).count() < slow.len() - 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let good = registry(vec![1; QUICK], |component| component.to_vec().into()).await;
    let pulled = pull(good.reference("a:1"), Some(budget.clone()), Timeouts::default()).await;
    assert_eq!(pulled.unwrap().len(), QUICK);
    for pull in slow_pulls {
        assert!(!pull.is_finished());
        pull.abort();
    }
}

#[tokio::test]
async fn a_module_that_takes_longer_is_pulled_with_the_memory_for_slow_ones() {
    // It is complete after two seconds and a half.
    let parts = |component: &[u8]| {
        let parts: Vec<Bytes> = component.chunks(component.len() / 5).map(Bytes::copy_from_slice).collect();
        let parts = futures::stream::iter(parts).then(async |part| {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok::<_, std::io::Error>(part)
        });
        Body::from_stream(parts)
    };
    let server = registry(vec![2; QUICK - 1], parts).await;
    let pulled = pull(server.reference("a:1"), Some(Budget::new(QUICK, REST)), Timeouts::default()).await;
    assert_eq!(pulled.unwrap().len(), QUICK - 1);
    assert_eq!(server.requests().iter().filter(|request| request.contains("/blobs/")).count(), 2);
}

#[tokio::test]
async fn a_registry_that_sends_almost_nothing_is_given_up() {
    let server = registry(vec![0; REST], |_| trickle(1)).await;
    let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let error = pull(server.reference("a:1"), None, timeouts).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable");
    assert!(error.to_string().contains("at least 64 KiB per second are needed"), "{error}");
}

#[tokio::test]
async fn a_large_module_has_more_time_than_the_deadline() {
    // It takes longer than the deadline, at more than the slowest rate.
    let component = vec![3; 256 * KIB];
    let parts = |component: &[u8]| {
        let parts: Vec<Bytes> = component.chunks(32 * KIB).map(Bytes::copy_from_slice).collect();
        Body::from_stream(futures::stream::iter(parts).then(async |part| {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Ok::<_, std::io::Error>(part)
        }))
    };
    let server = registry(component.clone(), parts).await;
    let timeouts = Timeouts { deadline: Duration::from_secs(1), ..Timeouts::default() };
    assert_eq!(pull_at_most(256 * KIB, server.reference("a:1"), None, timeouts).await.unwrap(), component);
}

#[tokio::test]
async fn a_download_that_was_interrupted_starts_again() {
    let component = vec![4; QUICK];
    let interruptions = Arc::new(AtomicUsize::new(0));
    let counter = interruptions.clone();
    let interrupted = move |component: &[u8]| {
        if counter.fetch_add(1, Ordering::SeqCst) == 2 {
            return component.to_vec().into();
        }
        let half = Bytes::copy_from_slice(&component[..component.len() / 2]);
        Body::from_stream(futures::stream::iter([Ok(half), Err(std::io::Error::other("interrupted"))]))
    };
    let server = registry(component.clone(), interrupted).await;
    let budget = Budget::new(QUICK, REST);
    let pulled = pull(server.reference("a:1"), Some(budget.clone()), Timeouts::default()).await;
    assert_eq!(pulled.unwrap(), component);
    // Not without an end.
    let error = pull(server.reference("a:1"), None, Timeouts::default()).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable", "{error}");
    assert_eq!(interruptions.load(Ordering::SeqCst), 6);
}
