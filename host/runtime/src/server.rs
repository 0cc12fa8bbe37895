//! The HTTP endpoints of the controllers and the webhook: `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use kube_devops_cluster::ClusterError;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whether a controller is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    const READY: u8 = 1;
    const DRAINING: u8 = 2;

    /// Sets it to ready, unless it is draining.
    pub fn set(&self) {
        let _ = self.0.compare_exchange(0, Self::READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Sets it to not ready, before the shutdown.
    pub fn unset(&self) {
        self.0.store(Self::DRAINING, Ordering::Release);
    }

    /// Whether it is ready.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::READY
    }

    /// Whether it shuts down.
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DRAINING
    }
}

#[derive(Clone)]
struct Served {
    readiness: Readiness,
    registry: Registry,
}

/// Listens on `address` (port 0 means any free port), and serves the endpoints in the background until `stop`. Returns the task.
pub(super) async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    registry: Registry,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, ClusterError> {
    let (listener, _) = listen(address).await?;
    let router = endpoints(readiness, registry);
    Ok(tokio::spawn(async move {
        let server = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = server.await {
            tracing::error!("the HTTP server ended: {error}");
        }
    }))
}

/// Listens on `address` (port 0 means any free port). Returns the listener and its address.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ClusterError> {
    let error = |reason: std::io::Error| ClusterError::Listen { address, reason: reason.to_string() };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    tracing::info!(%address, "listening");
    Ok((listener, address))
}

/// The endpoints of every controller.
pub fn endpoints(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Served { readiness, registry })
}

async fn ready(State(served): State<Served>) -> impl IntoResponse {
    if served.readiness.is_set() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&served.registry.gather()) {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
