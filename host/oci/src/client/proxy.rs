//! Connections to registries, directly or through the proxy of the environment.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

use super::host_of;
use crate::reference::is_loopback;
use crate::text::printable;

/// The time limit for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The time limit for the answer of a proxy, which connects to the registry meanwhile.
const ANSWER: Duration = Duration::from_secs(20);
/// The largest head of an answer of a proxy, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// What the address of a proxy looks like.
const EXAMPLE: &str = "http://proxy.example.com:3128";

type AnyError = Box<dyn Error + Send + Sync>;
type Connection = TokioIo<TcpStream>;

/// Connects directly or through the proxy of the environment, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone)]
pub(super) struct Connector {
    http: HttpConnector,
    proxies: Arc<Matcher>,
    /// Why the proxy cannot be used.
    invalid: Option<String>,
}

impl Connector {
    pub(super) fn from_environment() -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let invalid = invalid(variable);
        let proxies = match invalid {
            // The hosts that need the proxy are those that would be reached through a valid one.
            Some(_) => {
                let none = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
                Matcher::builder().https(EXAMPLE).no(none).build()
            }
            None => Matcher::from_env(),
        };
        Self { http, proxies: Arc::new(proxies), invalid }
    }
}

/// Returns what is wrong with the proxy of the environment, which would otherwise be ignored. Its address may contain a password.
fn invalid(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let (name, value) = names.into_iter().find_map(|name| Some((name, variable(name)?)))?;
    let uri: Option<Uri> = value.parse().ok();
    let Some(uri) = uri.filter(|uri| uri.authority().is_some()) else {
        return Some(format!("the proxy in {name} is not an address such as {EXAMPLE}"));
    };
    let is_supported = matches!(uri.scheme_str(), None | Some("http"));
    (!is_supported)
        .then(|| format!("the proxy in {name} is not supported: its address must start with http://, as in {EXAMPLE}"))
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        // This machine is never reached through a proxy, whose localhost is another one.
        let is_remote = !target.host().is_some_and(is_loopback);
        let proxy = self.proxies.intercept(&target).filter(|_| is_remote && target.scheme_str() == Some("https"));
        match (proxy, self.invalid.clone()) {
            (Some(_), Some(error)) => Box::pin(async move { Err(error.into()) }),
            (Some(proxy), None) => {
                let connection = self.http.call(proxy.uri().clone());
                Box::pin(async move {
                    let name = host_of(proxy.uri());
                    let connection = connection.await;
                    let connection = connection
                        .map_err(|error| format!("the proxy {name} cannot be reached: {}", root_cause(&error)))?;
                    let mut connection = connection.into_inner();
                    match tokio::time::timeout(ANSWER, tunnel(&mut connection, &target, proxy.basic_auth())).await {
                        Ok(Ok(())) => Ok(TokioIo::new(connection)),
                        Ok(Err(reason)) => Err(format!("the proxy {name} does not connect to it: {reason}").into()),
                        Err(_) => Err(format!("the proxy {name} did not answer within {ANSWER:?}").into()),
                    }
                })
            }
            (None, _) => {
                let connection = self.http.call(target);
                Box::pin(async move { connection.await.map_err(Into::into) })
            }
        }
    }
}

/// Returns the last cause of an error, which is the most precise one.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source()).last().map(ToString::to_string).unwrap_or_default()
}

/// Asks a proxy to connect to a target.
async fn tunnel(proxy: &mut TcpStream, target: &Uri, authorization: Option<&HeaderValue>) -> Result<(), String> {
    let target = format!("{}:{}", target.host().unwrap_or_default(), target.port_u16().unwrap_or(443));
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    proxy.write_all(&request).await.map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = proxy.read_buf(&mut head).await.map_err(|error| error.to_string())?;
        if read == 0 || head.len() > MAX_HEAD {
            return Err("its answer is not one of a proxy".to_owned());
        }
    }
    accepted(&head)
}

/// Reads the answer of a proxy.
fn accepted(head: &[u8]) -> Result<(), String> {
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' ')).map(|(_, status)| status.trim());
    match status {
        Some(status) if status.starts_with("200") => Ok(()),
        Some(status) if status.starts_with("407") => Err(
            "it requires other credentials (407); specify them in HTTPS_PROXY, as in http://USER:PASSWORD@HOST:PORT"
                .to_owned(),
        ),
        Some(status) => Err(format!("it answered with status {}", printable(status, 100))),
        None => Err("its answer is not one of a proxy".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_ignored() {
        let of = |name: &str, value: &str| invalid(|asked| (asked == name).then(|| value.to_owned()));
        for valid in ["http://proxy:3128", "http://user:pass@proxy:3128/", "proxy:3128", "10.0.0.1"] {
            assert_eq!(of("HTTPS_PROXY", valid), None, "{valid}");
        }
        let error = of("https_proxy", "http://user:s3cret@bad host").unwrap();
        assert!(error.starts_with("the proxy in https_proxy is not an address such as http://"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        assert!(of("ALL_PROXY", "socks5://proxy").unwrap().contains("must start with http://"));
        assert!(of("HTTPS_PROXY", "https://proxy").unwrap().contains("must start with http://"));
        assert!(of("HTTPS_PROXY", "/proxy").is_some());
        assert_eq!(of("HTTP_PROXY", "bad host"), None);
    }

    #[test]
    fn the_answer_of_a_proxy_is_part_of_the_error() {
        assert_eq!(accepted(b"HTTP/1.1 200 Connection established\r\n\r\n"), Ok(()));
        assert_eq!(
            accepted(b"HTTP/1.0 502 Bad Gateway\r\n\r\n"),
            Err("it answered with status 502 Bad Gateway".to_owned())
        );
        assert!(accepted(b"HTTP/1.1 407 Proxy\r\n\r\n").unwrap_err().contains("HTTPS_PROXY"));
        assert!(accepted(b"SSH-2.0\r\n\r\n").unwrap_err().contains("not one of a proxy"));
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_the_target_with_its_credentials() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        served.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let target = Uri::from_static("https://registry.example.com/v2/");
        tunnel(&mut proxy, &target, Some(&HeaderValue::from_static("Basic eDp5"))).await.unwrap();
        let mut request = [0; 1024];
        let read = served.read(&mut request).await.unwrap();
        let expected = "CONNECT registry.example.com:443 HTTP/1.1\r\nHost: registry.example.com:443\r\n\
            Proxy-Authorization: Basic eDp5\r\n\r\n";
        assert_eq!(std::str::from_utf8(&request[..read]).unwrap(), expected);
        served.write_all(&[b'x'; 2 * MAX_HEAD]).await.unwrap();
        let error = tunnel(&mut proxy, &target, None).await.unwrap_err();
        assert!(error.contains("not one of a proxy"), "{error}");
        drop(served);
        tunnel(&mut proxy, &target, None).await.unwrap_err();
    }
}
