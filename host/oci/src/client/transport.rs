//! HTTP requests to registries, within limits of time and size.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use super::proxy::{Connector, root_cause};
use super::tls;
use crate::OciError;
use crate::budget::Growing;

/// How to reach a registry that does not use TLS.
const PLAIN_HTTP: &str =
    "allow plain HTTP with --registry-plain-http, or plainHTTP of a PolicyModule, if the network is trusted";
/// The slowest connection over which a module can be pushed or pulled, in bytes per second.
const SLOWEST: u64 = 64 * 1024;

/// Sends requests.
pub(super) struct Transport {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    /// The time limit for the head of an answer, and for each part of its body.
    idle: Duration,
}

impl Transport {
    /// `ca_bundle` is trusted in addition to the certificates of the system.
    pub(super) fn new(ca_bundle: Option<&[u8]>, idle: Duration) -> Result<Self, OciError> {
        let tls = tls::configuration(ca_bundle)?;
        let connector = Connector::from_environment();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), idle })
    }

    /// Sends a request, and returns the head of the answer.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let size = request.body().size_hint().exact().unwrap_or_default();
        let limit = self.idle + transfer_time(size);
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(SendError::from(&error)),
            Err(_) => Err(SendError { reason: format!("no answer within {limit:?}"), is_plain: false }),
        }
    }

    /// Reads a body.
    pub(super) async fn read(
        &self,
        response: Response<Incoming>,
        host: &str,
        Body { what, limit, memory }: Body<'_>,
    ) -> Result<Vec<u8>, OciError> {
        let too_large = || OciError::TooLarge { what: what.to_owned(), limit };
        let stated = response.headers().get(http::header::CONTENT_LENGTH);
        let stated = stated.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if stated.is_some_and(|stated| stated > limit) {
            return Err(too_large());
        }
        let (mut body, mut bytes, started) = (response.into_body(), Vec::new(), Instant::now());
        loop {
            let frame = match tokio::time::timeout(self.idle, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let reason = format!("the connection was interrupted: {error}");
                    return Err(OciError::Connection { host: host.to_owned(), reason });
                }
                Ok(None) => return Ok(bytes),
                Err(_) => return Err(OciError::Timeout { host: host.to_owned(), limit: self.idle }),
            };
            let Ok(data) = frame.into_data() else { continue };
            let size = bytes.len() as u64 + data.len() as u64;
            if size > limit {
                return Err(too_large());
            }
            let elapsed = started.elapsed();
            if elapsed > self.idle + transfer_time(size) {
                return Err(OciError::Slow { host: host.to_owned(), what: what.to_owned(), received: size, elapsed });
            }
            if let Some(memory) = memory {
                memory.grow(bytes.len() + data.len()).await;
            }
            append(&mut bytes, &data, limit);
        }
    }
}

/// How to read a body.
#[derive(Clone, Copy)]
pub(super) struct Body<'a> {
    /// Its name in errors.
    pub(super) what: &'a str,
    /// Its largest size, in bytes.
    pub(super) limit: u64,
    /// The memory for it.
    pub(super) memory: Option<&'a Growing>,
}

impl<'a> Body<'a> {
    /// A body that is small.
    pub(super) fn of(what: &'a str, limit: u64) -> Self {
        Self { what, limit, memory: None }
    }
}

/// The time in which a slow connection can transfer so many bytes.
pub(super) fn transfer_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST)
}

/// Adds bytes to those that were read, of at most `limit`. Without `limit`, the vector would become twice as large.
fn append(bytes: &mut Vec<u8>, data: &[u8], limit: u64) {
    let size = bytes.len() + data.len();
    if bytes.capacity() < size {
        let wanted = (2 * bytes.capacity()).min(usize::try_from(limit).unwrap_or(usize::MAX)).max(size);
        bytes.reserve_exact(wanted - bytes.len());
    }
    bytes.extend_from_slice(data);
}

/// The reason why a request was not answered.
pub(super) struct SendError {
    pub(super) reason: String,
    /// Whether the other side may not use TLS.
    pub(super) is_plain: bool,
}

impl From<&hyper_util::client::legacy::Error> for SendError {
    fn from(error: &hyper_util::client::legacy::Error) -> Self {
        let first: &(dyn Error + 'static) = error;
        let chain: Vec<&(dyn Error + 'static)> =
            std::iter::successors(Some(first), |error| (*error).source()).collect();
        let tls = chain.iter().find_map(|error| tls_error(*error));
        let reason = root_cause(first);
        match tls {
            Some(rustls::Error::InvalidMessage(_)) => {
                Self { reason: format!("it does not use TLS; {PLAIN_HTTP}"), is_plain: true }
            }
            // A server that does not know TLS may also close the connection when it reads the first bytes.
            _ if error.is_connect() && chain.iter().any(|error| ends_early(*error)) => Self {
                reason: format!("it closed the connection ({reason}); if it does not use TLS, {PLAIN_HTTP}"),
                is_plain: true,
            },
            _ => Self { reason: tls.and_then(tls::explanation).unwrap_or(reason), is_plain: false },
        }
    }
}

/// Reports whether the other side closed a connection. The error is wrapped in errors of I/O.
fn ends_early(error: &(dyn Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<std::io::Error>() else { return false };
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        || error.get_ref().is_some_and(|inner| ends_early(inner))
}

/// Finds the error of TLS, which is wrapped in errors of I/O.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref().or_else(|| tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_module_has_the_time_that_a_slow_connection_needs() {
        // 19 MB with 450 kB per second.
        assert!(transfer_time(19_000_000) > Duration::from_secs(19_000 / 450));
        assert_eq!(transfer_time(1024), Duration::ZERO);
    }

    #[test]
    fn a_body_needs_no_more_memory_than_its_limit() {
        let mut bytes = Vec::new();
        for _ in 0..10 {
            append(&mut bytes, &[0; 100], 1000);
            assert!(bytes.capacity() <= 1000);
        }
        assert_eq!(bytes.len(), 1000);
    }
}
