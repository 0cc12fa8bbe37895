//! The connections of the HTTPS server, and their limits.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube_devops_runtime::server::Readiness;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// The most bytes of a connection that are buffered before they are processed.
const READ_BUFFER: usize = 16 * 1024;

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// The most connections at a time. Others are closed.
    pub connections: usize,
    /// The time for the TLS handshake.
    pub handshake: Duration,
    /// The time for the first request of a connection.
    pub first_request: Duration,
    /// The time that a connection may be idle.
    pub idle: Duration,
    /// The age from which on a connection is closed after a response, so that API servers spread over the replicas.
    pub age: Duration,
    /// The age at which a connection is closed in any case: a client may never read its responses.
    pub highest_age: Duration,
    /// The time for open requests to end at the shutdown.
    pub grace: Duration,
}

/// What all connections of a server share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration with the current certificate.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// The handlers of the requests.
    pub router: Router,
    /// Whether the server drains.
    pub readiness: Readiness,
}

/// Accepts and serves connections until `stop`, and then ends them: those that wait for a request at once, the others after their
/// response, but not later than the limit.
pub async fn serve(mut listener: TcpListener, shared: Shared, limits: ServerLimits, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Those that ended do not count.
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            // It waits after errors that concern all connections, for example if too many files are open.
            (stream, _) = Listener::accept(&mut listener) => {
                if connections.len() < limits.connections && stream.set_nodelay(true).is_ok() {
                    connections.spawn(connection(stream, shared.clone(), limits, stop.child_token()));
                }
            }
        }
    }
    drop(listener);
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    // Those that are left end when they are dropped.
    let _ = timeout(limits.grace, ended).await;
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended: {error}");
    }
}

/// Serves one connection.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Shared,
    limits: ServerLimits,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(shared.tls.borrow().clone());
    let stream = tokio::select! {
        () = stop.cancelled() => return,
        stream = timeout(limits.handshake, acceptor.accept(stream)) => stream,
    };
    let stream = match stream {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("the TLS handshake failed: {error}"),
        Err(_) => return tracing::debug!("the TLS handshake took longer than {:?}", limits.handshake),
    };
    let accepted = Instant::now();
    let has_request = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        has_request.store(true, Ordering::Relaxed);
        let response = shared.router.clone().call(request);
        let readiness = &shared.readiness;
        async move {
            let mut response = response.await?;
            if readiness.is_draining() || accepted.elapsed() >= limits.age {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(READ_BUFFER);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first_request = pin!(sleep(limits.first_request));
    let mut overdue = pin!(sleep(limits.highest_age));
    let (mut is_stopping, mut is_first) = (false, true);
    loop {
        tokio::select! {
            biased;
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("a connection failed: {error}");
                }
                return;
            }
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = overdue.as_mut() => return tracing::debug!("a connection was older than {:?}", limits.highest_age),
            () = first_request.as_mut(), if is_first => {
                is_first = false;
                if !has_request.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::routing::get;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio_rustls::{TlsConnector, client};

    use super::*;
    use crate::certificate::{CertificateNames, ServerCertificate, issue};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: webhook\r\n\r\n";

    const LIMITS: ServerLimits = ServerLimits {
        connections: 1,
        handshake: Duration::from_secs(600),
        first_request: Duration::from_secs(600),
        idle: Duration::from_secs(600),
        age: Duration::from_secs(600),
        highest_age: Duration::from_secs(600),
        grace: Duration::from_secs(600),
    };

    /// A server that responds when it is notified.
    struct Server {
        shared: Shared,
        arrived: Arc<Notify>,
        respond: Arc<Notify>,
        client: TlsConnector,
        /// The current certificate, as long as the server runs.
        _tls: watch::Sender<Arc<ServerConfig>>,
    }

    impl Server {
        fn new() -> Self {
            let names =
                CertificateNames { service: "webhook".to_owned(), namespace: "a".to_owned(), addresses: Vec::new() };
            let issued = issue(&names, chrono::Utc::now(), chrono::Duration::days(1)).unwrap();
            let certificate = ServerCertificate::new(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(issued.ca.as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let client = builder.with_root_certificates(roots).with_no_client_auth();
            let (arrived, respond) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let waiting = (arrived.clone(), respond.clone());
            let handler = async move || {
                waiting.0.notify_one();
                waiting.1.notified().await;
                "ok"
            };
            let (sender, tls) = watch::channel(certificate.config);
            let router = Router::new().route("/", get(handler));
            let shared = Shared { tls, router, readiness: Readiness::default() };
            Self { shared, arrived, respond, client: Arc::new(client).into(), _tls: sender }
        }

        /// Opens a connection. The test has one thread, so that the server reads what is written next before a timeout of zero.
        async fn connect(&self, limits: ServerLimits, stop: &CancellationToken) -> client::TlsStream<DuplexStream> {
            let (client, server) = duplex(64 * 1024);
            tokio::spawn(connection(server, self.shared.clone(), limits, stop.child_token()));
            self.client.connect(name(), client).await.unwrap()
        }

        /// Waits for a request and responds.
        async fn respond(&self, stream: &mut (impl AsyncRead + Unpin)) {
            self.arrived.notified().await;
            self.respond.notify_one();
            let mut response = Vec::new();
            while !response.ends_with(b"ok") {
                assert!(stream.read_buf(&mut response).await.unwrap() > 0, "the connection is closed");
            }
            assert!(response.starts_with(b"HTTP/1.1 200"));
        }
    }

    fn name() -> ServerName<'static> {
        "webhook".try_into().unwrap()
    }

    /// Returns everything until the connection is closed.
    async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        String::from_utf8(rest).unwrap()
    }

    #[tokio::test]
    async fn connections_are_closed_after_a_response_when_they_are_old_or_the_server_drains() {
        let server = Server::new();
        let response = async |limits| {
            let mut stream = server.connect(limits, &CancellationToken::new()).await;
            stream.write_all(REQUEST).await.unwrap();
            server.respond.notify_one();
            rest(&mut stream).await
        };
        let closed = |response: String| response.starts_with("HTTP/1.1 200") && response.contains("connection: close");
        assert!(closed(response(ServerLimits { age: Duration::ZERO, ..LIMITS }).await));
        server.shared.readiness.unset();
        assert!(closed(response(LIMITS).await));
    }

    #[tokio::test]
    async fn a_connection_of_the_highest_age_is_closed_during_a_request() {
        let server = Server::new();
        let limits = ServerLimits { highest_age: Duration::ZERO, ..LIMITS };
        let mut stream = server.connect(limits, &CancellationToken::new()).await;
        stream.write_all(REQUEST).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_connection_without_a_handshake_or_a_request_is_closed() {
        let server = Server::new();
        let (mut silent, stream) = duplex(64 * 1024);
        let limits = ServerLimits { handshake: Duration::ZERO, ..LIMITS };
        tokio::spawn(connection(stream, server.shared.clone(), limits, CancellationToken::new()));
        assert_eq!(rest(&mut silent).await, "");
        let limits = ServerLimits { first_request: Duration::ZERO, ..LIMITS };
        let mut stream = server.connect(limits, &CancellationToken::new()).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_shutdown_ends_a_handshake() {
        let server = Server::new();
        let (mut silent, stream) = duplex(64 * 1024);
        let stop = CancellationToken::new();
        tokio::spawn(connection(stream, server.shared.clone(), LIMITS, stop.child_token()));
        stop.cancel();
        assert_eq!(rest(&mut silent).await, "");
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_further_requests() {
        let server = Server::new();
        let limits = ServerLimits { first_request: Duration::ZERO, ..LIMITS };
        let mut stream = server.connect(limits, &CancellationToken::new()).await;
        for _ in 0..2 {
            stream.write_all(REQUEST).await.unwrap();
            server.respond(&mut stream).await;
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let server = Server::new();
        let limits = ServerLimits { idle: Duration::from_millis(1), ..LIMITS };
        let mut stream = server.connect(limits, &CancellationToken::new()).await;
        stream.write_all(REQUEST).await.unwrap();
        server.respond(&mut stream).await;
        assert_eq!(rest(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_shutdown_closes_idle_connections_at_once_and_others_after_their_response() {
        let server = Server::new();
        let stop = CancellationToken::new();
        let mut idle = server.connect(LIMITS, &stop).await;
        let mut open = server.connect(LIMITS, &stop).await;
        open.write_all(REQUEST).await.unwrap();
        server.arrived.notified().await;
        stop.cancel();
        assert_eq!(rest(&mut idle).await, "");
        server.respond.notify_one();
        let response = rest(&mut open).await;
        assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("ok"), "{response}");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed_and_a_shutdown_ends_open_requests() {
        let server = Server::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = ServerLimits { grace: Duration::ZERO, ..LIMITS };
        let served = tokio::spawn(serve(listener, server.shared.clone(), limits, stop.clone()));
        let first = TcpStream::connect(address).await.unwrap();
        let mut first = server.client.connect(name(), first).await.unwrap();
        first.write_all(REQUEST).await.unwrap();
        server.respond(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(rest(&mut second).await, "");
        first.write_all(REQUEST).await.unwrap();
        server.arrived.notified().await;
        stop.cancel();
        served.await.unwrap();
        assert!(!rest(&mut first).await.contains("HTTP/1.1"), "there is no second response");
    }
}
