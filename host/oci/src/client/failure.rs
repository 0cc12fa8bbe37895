//! The errors for answers that are no success.

use std::time::Duration;

use http::{Response, StatusCode, Uri, header};
use hyper::body::Incoming;

use super::transport::Body;
use super::{Call, Repository, SMALL, host_of};
use crate::OciError;
use crate::text::printable;

impl Repository {
    /// Returns the error for an answer that is no success.
    pub(super) async fn failure(&self, call: &Call<'_>, target: &Uri, response: Response<Incoming>) -> OciError {
        let host = host_of(target);
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.is_registry(target) => {
                self.denied(status, "")
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => OciError::Denied {
                host,
                repository: self.name.clone(),
                status: status.as_u16(),
                detail: format!(
                    "{} sends its clients there with an address that must be sufficient, without credentials; it may have expired, so \
                     check the storage and the clock of the registry",
                    self.host
                ),
            },
            StatusCode::NOT_FOUND => OciError::NotFound { host, what: format!("{} in {}", call.what, self.name) },
            _ => self.status_error(host, response).await,
        }
    }

    /// Returns the error for an unexpected status, with the message of the registry.
    pub(super) async fn status_error(&self, host: String, response: Response<Incoming>) -> OciError {
        let status = response.status().as_u16();
        let seconds =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let body = self.transport.read(response, &host, Body::of("an error", SMALL)).await.unwrap_or_default();
        let mut detail = message(&body)
            .filter(|message| !self.is_secret(message))
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        if self.scheme == "http" && status == 400 && expects_tls(&body) {
            detail = "; it uses TLS: omit --registry-plain-http, or plainHTTP of a PolicyModule".to_owned();
        }
        OciError::Status { host, status, detail, retry_after: seconds.map(Duration::from_secs) }
    }

    pub(super) fn protocol(&self, reason: String) -> OciError {
        OciError::Protocol { host: self.host.clone(), reason: reason.chars().take(300).collect() }
    }
}

/// Reports whether an error is that of a server with TLS, which answers a request without TLS with text: "Client sent an HTTP request
/// to an HTTPS server", or "The plain HTTP request was sent to HTTPS port".
fn expects_tls(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("to an HTTPS server") || text.contains("to HTTPS port")
}

/// Reads the message of an error of the distribution specification.
fn message(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let first = errors.errors.into_iter().next()?;
    Some(printable(format!("{} {}", first.code, first.message).trim(), 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_contain_no_control_characters() {
        let body = br#"{"errors": [{"code": "DENIED", "message": "no\u001b[31m access"}]}"#;
        assert_eq!(message(body).as_deref(), Some("DENIED no[31m access"));
        assert_eq!(message(b"<html>"), None);
    }
}
