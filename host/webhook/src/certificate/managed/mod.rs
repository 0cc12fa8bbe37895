//! A certificate in a Secret, which the leader issues and rotates, and all replicas serve.
//!
//! A new certificate is served only when the API servers trust its CA: the leader writes the Secret, then the `caBundle` of the
//! configurations, and each replica serves the certificate after it has seen both. Previous CAs stay in the bundle, so
//! that replicas may switch one after the other. [`rotation`] decides, and this file sends the requests.

mod configurations;
mod rotation;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_devops_cluster::request_failure;
use kube_devops_runtime::election::Leadership;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::verify::is_trusted;
use super::{CertificateError, CertificateNames, ServerCertificate, ca_bundle, issue};

use configurations::{Configuration, Configurations};
use rotation::{Rotation, is_current, value};

/// The period of reading the Secret and the configuration.
const PERIOD: Duration = Duration::from_secs(5);
/// The timeout of all requests of one check.
const TIMEOUT: Duration = Duration::from_secs(15);
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA_BUNDLE: &str = "ca.crt";

/// The objects and the properties of a managed certificate.
#[derive(Debug, Clone)]
pub struct ManagedCertificate {
    /// The namespace of the Secret.
    pub namespace: String,
    /// The name of the Secret.
    pub secret: String,
    /// The name of the ValidatingWebhookConfiguration and the MutatingWebhookConfiguration whose CA bundles are kept up to date.
    /// They need not exist yet.
    pub configuration: String,
    /// The names of the certificate.
    pub names: CertificateNames,
    /// The validity of a certificate. It is rotated when a third of that is left.
    pub valid: chrono::Duration,
}

/// An error of the management.
#[derive(Debug, thiserror::Error)]
enum ManageError {
    #[error("failed to read or write the Secret or the configurations of the webhook: {}", request_failure(.0))]
    Request(#[from] kube::Error),
    #[error("the API server did not respond within {} seconds", TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Manages the certificate until `stop`: issues and rotates it while this replica is the leader, and calls `changed` with each
/// certificate to serve.
pub async fn follow_secret(
    client: Client,
    managed: ManagedCertificate,
    mut leadership: Leadership,
    changed: impl Fn(ServerCertificate),
    stop: CancellationToken,
) {
    let mut manager = CertificateManager {
        secrets: Api::namespaced(client.clone(), &managed.namespace),
        configurations: Configurations::new(client, &managed.configuration),
        managed,
        rotation: Rotation::default(),
        untrusted: 0,
    };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            _ = leadership.changed() => {}
        }
        let reconciled = timeout(TIMEOUT, manager.reconcile(&leadership)).await;
        let error = match reconciled.unwrap_or(Err(ManageError::Timeout)) {
            Ok(Some(certificate)) => {
                tracing::info!(expiry = %certificate.expiry, "serving the certificate of the Secret");
                changed(certificate);
                String::new()
            }
            Ok(None) => String::new(),
            Err(error) => error.to_string(),
        };
        if !error.is_empty() && error != reported {
            tracing::warn!(secret = manager.managed.secret, "failed to manage the certificate: {error}");
        }
        reported = error;
    }
}

struct CertificateManager {
    secrets: Api<Secret>,
    configurations: Configurations,
    managed: ManagedCertificate,
    rotation: Rotation,
    /// The number of successive checks in which a configuration was without the CA of the served certificate.
    untrusted: u32,
}

impl CertificateManager {
    /// Reads the objects and writes them if necessary. Returns a certificate to serve from now on.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn reconcile(&mut self, leadership: &Leadership) -> Result<Option<ServerCertificate>, ManageError> {
        let mut secret = self.secrets.get_opt(&self.managed.secret).await?;
        let configurations = self.configurations.read().await?;
        let now = Utc::now();
        self.report_trust(&configurations, now);
        let is_leader = leadership.is_held();
        if is_leader {
            if !secret.as_ref().is_some_and(|secret| self.is_current(secret, &configurations, now)) {
                secret = self.rotate(secret, &configurations).await?;
            }
            if let Some(secret) = &secret {
                for configuration in &configurations {
                    self.configurations.update(configuration, value(secret, CA_BUNDLE)).await?;
                }
            }
        }
        let Some(secret) = secret else { return Ok(None) };
        let found = value(&secret, CERTIFICATE);
        if self.rotation.is_served(found) {
            return Ok(None);
        }
        let certificate = ServerCertificate::new(found, value(&secret, KEY))?;
        let is_trusted = configurations.iter().all(|configuration| configuration.trusts(found, now));
        Ok(self.rotation.take_up(found, is_trusted, is_leader, Instant::now()).then_some(certificate))
    }

    /// Whether the Secret can stay as it is.
    fn is_current(&self, secret: &Secret, configurations: &[Configuration], now: DateTime<Utc>) -> bool {
        let ca_bundle = value(secret, CA_BUNDLE);
        is_current(secret, &self.managed, now)
            && !self.rotation.is_dropped_by(ca_bundle, &published(configurations), now)
    }

    /// Logs once that API servers do not accept the certificate that is served. The leader has one period to update the CA bundle.
    fn report_trust(&mut self, configurations: &[Configuration], now: DateTime<Utc>) {
        let served = self.rotation.served();
        if served.is_empty() || configurations.iter().all(|configuration| configuration.trusts(served, now)) {
            self.untrusted = 0;
            return;
        }
        self.untrusted = self.untrusted.saturating_add(1);
        if self.untrusted == 2 {
            tracing::warn!(
                configuration = self.managed.configuration,
                "API servers reject the served certificate: a CA bundle of the configuration does not contain its CA"
            );
        }
    }

    /// Writes a new certificate into the Secret. `None` if another client was faster.
    async fn rotate(
        &self,
        secret: Option<Secret>,
        configurations: &[Configuration],
    ) -> Result<Option<Secret>, ManageError> {
        let now = Utc::now();
        let issued = issue(&self.managed.names, now, self.managed.valid)?;
        let of_secret = |key| secret.as_ref().map_or(&[][..], |secret| value(secret, key));
        // A CA bundle that does not fit the certificate was replaced by another client, and is not published.
        let is_ours = is_trusted(of_secret(CERTIFICATE), of_secret(CA_BUNDLE), now);
        let before = if is_ours { of_secret(CA_BUNDLE) } else { &[] };
        // The Secret may have been deleted to force a rotation.
        let before = [before, &published(configurations)].concat();
        let bundle = ca_bundle(&issued.ca, &before, &[self.rotation.served(), of_secret(CERTIFICATE)], now);
        let data = [(CERTIFICATE, issued.certificate), (KEY, issued.key), (CA_BUNDLE, bundle)];
        let data: BTreeMap<String, ByteString> =
            data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect();
        let mut metadata = ObjectMeta { name: Some(self.managed.secret.clone()), ..ObjectMeta::default() };
        let written = match secret {
            Some(secret) => {
                metadata.resource_version = secret.metadata.resource_version;
                let patch = Secret { metadata, data: Some(data), ..Secret::default() };
                self.secrets.patch(&self.managed.secret, &PatchParams::default(), &Patch::Merge(patch)).await
            }
            None => {
                let type_ = Some("kubernetes.io/tls".to_owned());
                let secret = Secret { metadata, data: Some(data), type_, ..Secret::default() };
                self.secrets.create(&PostParams::default(), &secret).await
            }
        };
        match written {
            Ok(secret) => {
                tracing::info!(secret = self.managed.secret, "issued a new certificate");
                Ok(Some(secret))
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The CAs that API servers trust.
fn published(configurations: &[Configuration]) -> Vec<u8> {
    let bundles = configurations.iter().flat_map(Configuration::ca_bundles);
    // A bundle need not end with a line break.
    bundles.flat_map(|bundle| [&b"\n"[..], &bundle.0[..]]).flatten().copied().collect()
}
