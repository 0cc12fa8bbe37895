//! A repository in a registry, by the protocol of the OCI distribution specification 1.1.

mod authentication;
mod content;
mod deadline;
mod failure;
mod proxy;
mod referrers;
mod tls;
mod token;
mod transport;

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;

pub use content::Pulled;
pub(crate) use referrers::{Evidence, Referrer};
pub use tls::check_ca_bundle;

use crate::credentials::{Credential, Keychain};
use crate::{OciError, Reference, blocking};
use authentication::State;
use deadline::Deadline;
use transport::Transport;

/// The attempts of a request, with a backoff between them.
const ATTEMPTS: u32 = 3;
/// The longest wait that a registry can ask for.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The most redirections of a request.
const REDIRECTIONS: usize = 5;
/// The largest error and the largest token, in bytes.
const SMALL: u64 = 1024 * 1024;

/// How to reach a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Certificates in PEM format that are trusted in addition to those of the system.
    pub ca_bundle: Option<Vec<u8>>,
    /// Whether to connect without TLS. For this machine, it is tried without this option if the registry does not use TLS.
    pub plain_http: bool,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// The time limits for requests, so that a slow registry cannot hold anything up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// The limit for the head of an answer, after the time for an upload, and for each part of its body, and the time that the body may
    /// take longer than with the slowest connection, of 64 KiB per second. Default: 30 s.
    pub idle: Duration,
    /// The limit for all requests of a command, in addition to the time for a module with the slowest connection. Default: 180 s.
    pub deadline: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), deadline: Duration::from_secs(180) }
    }
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A repository, with the credentials for it.
pub struct Repository {
    transport: Transport,
    scheme: &'static str,
    /// The host of the API.
    host: String,
    name: String,
    scope: String,
    credentials: Vec<Credential>,
    state: Mutex<State>,
    deadline: Deadline,
}

/// A request, which is sent several times.
struct Call<'a> {
    method: Method,
    url: String,
    headers: &'a [(header::HeaderName, &'a str)],
    body: Bytes,
    /// What is requested, for errors.
    what: &'a str,
}

impl Repository {
    /// Prepares requests to the repository of a reference. Credentials are looked up once.
    ///
    /// # Errors
    ///
    /// If the options are invalid, or the credentials cannot be read.
    pub async fn open(
        reference: &Reference,
        keychain: &Keychain,
        options: &Options,
        access: Access,
    ) -> Result<Self, OciError> {
        let (host, name) = api(reference);
        let action = if access == Access::Push { "pull,push" } else { "pull" };
        let deadline = Deadline::new(options.timeouts.deadline);
        let (ca_bundle, idle) = (options.ca_bundle.clone(), options.timeouts.idle);
        // The certificates of the system are read each time, because they can be replaced while a controller runs.
        let transport = blocking::run(move || Transport::new(ca_bundle.as_deref(), idle)).await??;
        let credentials = keychain.find(reference.host(), reference.repository());
        let mut repository = Self {
            transport,
            scheme: if options.plain_http { "http" } else { "https" },
            scope: format!("repository:{name}:{action}"),
            credentials: deadline.limit(&host, credentials).await?,
            host,
            name,
            state: Mutex::default(),
            deadline,
        };
        if reference.is_loopback()
            && !options.plain_http
            && repository.within(async { Ok(repository.is_without_tls().await) }).await?
        {
            repository.scheme = "http";
        }
        if !repository.credentials.is_empty() {
            repository.within(repository.log_in()).await?;
        }
        Ok(repository)
    }

    /// Asks for the challenge, because a registry may answer an anonymous request for a private repository as if there were none.
    async fn log_in(&self) -> Result<(), OciError> {
        let url = format!("{}://{}/v2/", self.scheme, self.host);
        let call = Call { method: Method::GET, url, headers: &[], body: Bytes::new(), what: "the API" };
        match self.call(call).await {
            // Access to the API says nothing about the repository.
            Ok(()) | Err(OciError::NotFound { .. }) => Ok(()),
            Err(OciError::Denied { .. }) if self.state().challenge.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn is_without_tls(&self) -> bool {
        let request = Request::get(format!("https://{}/v2/", self.host)).body(Full::default());
        match request {
            Ok(request) => self.transport.send(request).await.is_err_and(|error| error.is_plain),
            Err(_) => false,
        }
    }

    /// The address of a resource of the repository.
    fn url(&self, path: &str) -> String {
        format!("{}://{}/v2/{}/{path}", self.scheme, self.host, self.name)
    }

    /// Sends a request until it is answered with success. Transient errors are tried again.
    async fn call(&self, call: Call<'_>) -> Result<(), OciError> {
        attempts(|| self.follow(&call)).await.map(drop)
    }

    /// Sends a request, follows redirections, and authenticates. Returns the answer and the host that sent it.
    async fn follow(&self, call: &Call<'_>) -> Result<(Response<Incoming>, String), OciError> {
        let mut url = call.url.clone();
        let mut redirections = 0;
        loop {
            let target: Uri = url.parse().map_err(|_| self.protocol(format!("{url:?} is not an address")))?;
            let is_registry = self.is_registry(&target);
            let response = self.send(call, &target, is_registry).await?;
            let status = response.status();
            if status.is_success() {
                self.state().succeeded(is_registry);
                return Ok((response, host_of(&target)));
            }
            if status.is_redirection() && matches!(call.method, Method::GET | Method::HEAD) {
                redirections += 1;
                url = self.redirection(&target, &response, redirections)?;
                continue;
            }
            let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if is_denied && is_registry && self.authenticate(&response).await? {
                continue;
            }
            return Err(self.failure(call, &target, response).await);
        }
    }

    async fn send(&self, call: &Call<'_>, target: &Uri, is_registry: bool) -> Result<Response<Incoming>, OciError> {
        let mut request = Request::builder().method(call.method.clone()).uri(target.clone());
        let agent = concat!("kube-devops/", env!("CARGO_PKG_VERSION"));
        request = request.header(header::USER_AGENT, agent);
        for (name, value) in call.headers {
            request = request.header(name, *value);
        }
        // Other hosts, such as the storage behind a registry, never get credentials.
        if is_registry && let Some(authorization) = self.state().authorization.clone() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.exchange(request.body(Full::new(call.body.clone())), target).await
    }

    async fn exchange(
        &self,
        request: Result<Request<Full<Bytes>>, http::Error>,
        target: &Uri,
    ) -> Result<Response<Incoming>, OciError> {
        let request = request.map_err(|error| self.protocol(format!("a request to it is not valid: {error}")))?;
        let host = target.authority().map_or(self.host.as_str(), |authority| authority.as_str());
        let sent = self.transport.send(request).await;
        sent.map_err(|error| OciError::Connection { host: host.to_owned(), reason: error.reason })
    }

    fn is_registry(&self, target: &Uri) -> bool {
        target.scheme_str() == Some(self.scheme)
            && target.authority().is_some_and(|authority| authority.as_str() == self.host)
    }

    /// Returns the target of a redirection.
    fn redirection(&self, from: &Uri, response: &Response<Incoming>, count: usize) -> Result<String, OciError> {
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let location = location.ok_or_else(|| self.protocol("a redirection has no location".to_owned()))?;
        let target =
            absolute(from, location).ok_or_else(|| self.protocol("a location is not an address".to_owned()))?;
        let denied = |reason| OciError::Redirect {
            host: self.host.clone(),
            target: target.split('?').next().unwrap_or_default().chars().take(200).collect(),
            reason,
        };
        if count > REDIRECTIONS {
            return Err(denied("there are too many redirections"));
        }
        if from.scheme_str() == Some("https") && !target.starts_with("https://") {
            return Err(denied("it does not use TLS"));
        }
        Ok(target)
    }
}

/// Repeats requests after transient errors.
async fn attempts<T, F: Future<Output = Result<T, OciError>>>(requests: impl Fn() -> F) -> Result<T, OciError> {
    let mut attempt = 1;
    loop {
        match requests().await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                let wait = wait(&error, attempt);
                tracing::debug!("{error}; trying again in {wait:?}");
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Returns the host and the port of an address.
fn host_of(target: &Uri) -> String {
    target.authority().map(ToString::to_string).unwrap_or_default()
}

/// Returns the host of the API and the name of the repository, which differ from the reference for Docker Hub.
fn api(reference: &Reference) -> (String, String) {
    let name = reference.repository().to_owned();
    match reference.host() {
        "docker.io" | "index.docker.io" => {
            let name = if name.contains('/') { name } else { format!("library/{name}") };
            ("registry-1.docker.io".to_owned(), name)
        }
        host => (host.to_owned(), name),
    }
}

/// Returns the address of a location, which may be relative to another address.
fn absolute(base: &Uri, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let root = format!("{}://{}", base.scheme_str()?, base.authority()?);
    if location.starts_with("//") || location.is_empty() {
        return None;
    }
    if location.starts_with('/') {
        return Some(format!("{root}{location}"));
    }
    let (folder, _) = base.path().rsplit_once('/')?;
    Some(format!("{root}{folder}/{location}"))
}

/// Returns the wait before the next attempt.
fn wait(error: &OciError, attempt: u32) -> Duration {
    let asked = match error {
        OciError::Status { retry_after, .. } => *retry_after,
        _ => None,
    };
    asked.unwrap_or(Duration::from_millis(250 * 2_u64.pow(attempt))).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_relative_to_the_address() {
        let base: Uri = Uri::from_static("https://host:5000/v2/a/blobs/x");
        assert_eq!(absolute(&base, "/b?c=1").as_deref(), Some("https://host:5000/b?c=1"));
        assert_eq!(absolute(&base, "y").as_deref(), Some("https://host:5000/v2/a/blobs/y"));
        assert_eq!(absolute(&base, "http://other/").as_deref(), Some("http://other/"));
        assert_eq!(absolute(&base, "//other/"), None);
    }

    #[test]
    fn a_registry_can_ask_for_a_limited_wait() {
        let error =
            |retry_after| OciError::Status { host: String::new(), status: 429, detail: String::new(), retry_after };
        assert_eq!(wait(&error(Some(Duration::from_secs(3600))), 1), MAX_WAIT);
        assert_eq!(wait(&error(None), 1), Duration::from_millis(500));
    }

    #[test]
    fn docker_hub_has_another_host_for_its_api() {
        let reference = |text: &str| text.parse::<Reference>().map(|reference| api(&reference));
        let hub = Ok(("registry-1.docker.io".to_owned(), "library/a".to_owned()));
        assert_eq!(reference("docker.io/a:1"), hub);
        assert_eq!(reference("host.example/a:1"), Ok(("host.example".to_owned(), "a".to_owned())));
    }
}
