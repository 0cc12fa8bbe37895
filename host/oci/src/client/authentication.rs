//! Authentication at a registry: credentials are tried in order, and never replaced by an anonymous request.

use std::sync::{MutexGuard, PoisonError};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::token::{self, Challenge};
use super::transport::Body;
use super::{Repository, SMALL, host_of};
use crate::OciError;
use crate::credentials::Secret;

/// The progress of the authentication.
#[derive(Default)]
pub(super) struct State {
    pub(super) challenge: Option<Challenge>,
    /// The number of credentials that were tried.
    tried: usize,
    pub(super) authorization: Option<HeaderValue>,
    /// Whether a request with it succeeded.
    is_proven: bool,
}

impl State {
    /// Uses the same credentials once more if they were accepted before: their token has expired.
    fn renew(&mut self) {
        if std::mem::take(&mut self.is_proven) {
            self.tried = self.tried.saturating_sub(1);
        }
    }

    /// A request succeeded.
    pub(super) fn succeeded(&mut self, is_registry: bool) {
        self.is_proven = is_registry && self.authorization.is_some();
    }
}

impl Repository {
    /// Answers a challenge with the next credentials. Returns whether there are any.
    pub(super) async fn authenticate(&self, response: &Response<Incoming>) -> Result<bool, OciError> {
        if let Some(challenge) = Challenge::of(response.headers()) {
            self.state().challenge = Some(challenge);
        }
        let Some(challenge) = self.state().challenge.clone() else { return Ok(false) };
        self.state().renew();
        loop {
            let tried = self.state().tried;
            // Without credentials, a token server may issue a token for public repositories. With credentials it is not
            // asked for one: the error would be that of an anonymous request.
            if tried >= self.credentials.len().max(1) {
                return Ok(false);
            }
            self.state().tried = tried + 1;
            let secret = self.credentials.get(tried).map(|credential| &credential.secret);
            match self.authorization(&challenge, secret).await {
                Ok(Some(authorization)) => {
                    self.state().authorization = Some(authorization);
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) if matches!(error, OciError::Denied { .. }) && tried + 1 < self.credentials.len() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the header that answers a challenge.
    async fn authorization(
        &self,
        challenge: &Challenge,
        secret: Option<&Secret>,
    ) -> Result<Option<HeaderValue>, OciError> {
        match (challenge, secret) {
            (_, Some(Secret::Access(token))) => Ok(token::bearer(token)),
            (Challenge::Basic, Some(Secret::Basic { user, password })) => Ok(token::basic(user, password)),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service }, secret) => {
                let token = self.token(realm, service.as_deref(), secret).await?;
                Ok(token::bearer(&token))
            }
        }
    }

    async fn token(&self, realm: &str, service: Option<&str>, secret: Option<&Secret>) -> Result<String, OciError> {
        let invalid = || self.protocol(format!("the address of its token server is not valid: {realm:?}"));
        let server: Uri = realm.parse().map_err(|_| invalid())?;
        token::check(&server, self.scheme).map_err(|reason| self.protocol(reason))?;
        let (url, body) = match secret {
            Some(Secret::Identity(identity)) => (realm.to_owned(), Some(token::form(identity, service, &self.scope))),
            _ => (token::address(realm, service, &self.scope), None),
        };
        let target: Uri = url.parse().map_err(|_| invalid())?;
        let mut request = Request::builder().uri(target.clone());
        if body.is_some() {
            request = request.method(Method::POST).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(Secret::Basic { user, password }) = secret
            && let Some(authorization) = token::basic(user, password)
        {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = self.exchange(request.body(Full::new(body.unwrap_or_default().into())), &target).await?;
        let host = host_of(&target);
        match response.status() {
            status if status.is_success() => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.denied(response.status(), &format!("by its token server {host}, ")));
            }
            _ => return Err(self.status_error(host, response).await),
        }
        let answer = self.transport.read(response, &host, Body::of("the answer of the token server", SMALL)).await?;
        token::token(&answer).ok_or_else(|| self.protocol(format!("its token server {host} returned no token")))
    }

    /// Reports whether a text of a registry contains credentials that were sent to it, which must not appear in errors.
    pub(super) fn is_secret(&self, text: &str) -> bool {
        let sent = self.state().authorization.clone();
        let sent = sent.as_ref().and_then(|sent| sent.to_str().ok()?.split_once(' ')).map(|(_, sent)| sent.to_owned());
        let passwords = self.credentials.iter().map(|credential| match &credential.secret {
            Secret::Basic { password, .. } => password.clone(),
            Secret::Identity(token) | Secret::Access(token) => token.clone(),
        });
        passwords.chain(sent).any(|secret| !secret.is_empty() && text.contains(&secret))
    }

    pub(super) fn denied(&self, status: StatusCode, by: &str) -> OciError {
        let origins: Vec<&str> = self.credentials.iter().map(|credential| credential.origin.as_str()).collect();
        let detail = if origins.is_empty() {
            format!("{by}without credentials, because none were found for it; a private repository needs them")
        } else {
            format!("{by}with the credentials of {}", origins.join("; and of "))
        };
        OciError::Denied { host: self.host.clone(), repository: self.name.clone(), status: status.as_u16(), detail }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No holder of the lock can panic during a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
