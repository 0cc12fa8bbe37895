//! Limits of connections: their number, and their age.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use axum_server::accept::Accept;
use futures::future::BoxFuture;
use kube_devops_runtime::server::Readiness;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tower_service::Service;

/// The age from which on a connection is closed after a response, so that API servers spread over the replicas.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Accepts a limited number of connections, and closes them when they are old or the server is not ready any more.
#[derive(Clone)]
pub struct LimitedAcceptor<A> {
    inner: A,
    connections: Arc<Semaphore>,
    readiness: Readiness,
}

impl<A> LimitedAcceptor<A> {
    /// Accepts at most `most` connections at a time.
    pub fn new(inner: A, most: usize, readiness: Readiness) -> Self {
        Self { inner, connections: Arc::new(Semaphore::new(most)), readiness }
    }
}

impl<A, I, S> Accept<I, S> for LimitedAcceptor<A>
where
    A: Accept<I, S> + Clone + Send + 'static,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send,
    A::Service: Send,
    A::Future: Send,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = A::Stream;
    type Service = AgingService<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Self { inner, connections, readiness } = self.clone();
        Box::pin(async move {
            let permit = connections.try_acquire_owned();
            let permit = permit.map_err(|_| io::Error::other("too many connections"))?;
            let (stream, service) = inner.accept(stream, service).await?;
            let connection = Connection { accepted: Instant::now(), readiness, _permit: Arc::new(permit) };
            Ok((stream, AgingService { inner: service, connection }))
        })
    }
}

/// A connection. It counts until it is dropped.
#[derive(Clone)]
struct Connection {
    accepted: Instant,
    readiness: Readiness,
    _permit: Arc<tokio::sync::OwnedSemaphorePermit>,
}

impl Connection {
    /// Whether it is closed after the response that is sent now.
    fn is_over(&self, now: Instant) -> bool {
        self.readiness.is_draining() || now.saturating_duration_since(self.accepted) >= MAX_AGE
    }
}

/// Serves the requests of one connection.
#[derive(Clone)]
pub struct AgingService<S> {
    inner: S,
    connection: Connection,
}

impl<S, B, R> Service<Request<B>> for AgingService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.inner.call(request);
        let connection = self.connection.clone();
        Box::pin(async move {
            let mut response = response.await?;
            if connection.is_over(Instant::now()) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_closed_when_they_are_old_or_the_server_drains() {
        let readiness = Readiness::default();
        let accepted = Instant::now();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let connection = Connection { accepted, readiness: readiness.clone(), _permit: Arc::new(permit) };
        assert!(!connection.is_over(accepted), "a server that is not ready yet keeps connections");
        readiness.set();
        assert!(!connection.is_over(accepted + MAX_AGE - Duration::from_millis(1)));
        assert!(connection.is_over(accepted + MAX_AGE));
        readiness.unset();
        assert!(connection.is_over(accepted));
    }
}
