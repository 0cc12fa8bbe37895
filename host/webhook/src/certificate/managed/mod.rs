//! A certificate in a Secret, which the leader issues and rotates, and all replicas serve.
//!
//! A new certificate is served only when the API servers trust its CA: the leader writes the Secret, then the `caBundle` of the
//! webhook's configuration, and each replica serves the certificate after it has seen both. Previous CAs stay in the bundle, so
//! that replicas may switch one after the other. [`rotation`] decides, and this file sends the requests.

mod rotation;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_devops_cluster::install::FIELD_MANAGER;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{CertificateError, CertificateNames, ServerCertificate, ca_bundle, issue};

use rotation::{Rotation, ca_bundles, has_ca_bundle, is_current, value};

/// The period of reading the Secret and the configuration.
const PERIOD: Duration = Duration::from_secs(5);
/// The timeout of all requests of one check.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The annotation of the Secret with the names of its certificate.
const NAMES: &str = "devops.stochastic.io/certificate-names";
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
    /// The name of the ValidatingWebhookConfiguration whose CA bundle is kept up to date. It need not exist yet.
    pub configuration: String,
    /// The names of the certificate.
    pub names: CertificateNames,
    /// The validity of a certificate. It is rotated when a third of that is left.
    pub valid: chrono::Duration,
}

/// An error of the management.
#[derive(Debug, thiserror::Error)]
enum ManageError {
    #[error("failed to read or write the Secret or the webhook's configuration: {0}")]
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
    mut leadership: watch::Receiver<bool>,
    changed: impl Fn(ServerCertificate),
    stop: CancellationToken,
) {
    let mut manager = CertificateManager {
        secrets: Api::namespaced(client.clone(), &managed.namespace),
        configurations: Api::all(client),
        managed,
        rotation: Rotation::default(),
    };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            Ok(()) = leadership.changed() => {}
        }
        let is_leader = *leadership.borrow_and_update();
        let reconciled = timeout(TIMEOUT, manager.reconcile(is_leader)).await;
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
    configurations: Api<ValidatingWebhookConfiguration>,
    managed: ManagedCertificate,
    rotation: Rotation,
}

impl CertificateManager {
    /// Reads both objects and writes them if necessary. Returns a certificate to serve from now on.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn reconcile(&mut self, is_leader: bool) -> Result<Option<ServerCertificate>, ManageError> {
        let mut secret = self.secrets.get_opt(&self.managed.secret).await?;
        let configuration = self.configurations.get_opt(&self.managed.configuration).await?;
        if is_leader {
            if !secret.as_ref().is_some_and(|secret| is_current(secret, &self.managed, Utc::now())) {
                secret = self.rotate(secret, configuration.as_ref()).await?;
            }
            if let (Some(secret), Some(configuration)) = (&secret, &configuration) {
                self.update_ca_bundle(value(secret, CA_BUNDLE), configuration).await?;
            }
        }
        let Some(secret) = secret else { return Ok(None) };
        let found = value(&secret, CERTIFICATE);
        if self.rotation.is_served(found) {
            return Ok(None);
        }
        let certificate = ServerCertificate::new(found, value(&secret, KEY))?;
        let is_trusted =
            configuration.is_none_or(|configuration| has_ca_bundle(&configuration, value(&secret, CA_BUNDLE)));
        Ok(self.rotation.take_up(found, is_trusted, is_leader, Instant::now()).then_some(certificate))
    }

    /// Writes a new certificate into the Secret. `None` if another client was faster.
    async fn rotate(
        &self,
        secret: Option<Secret>,
        configuration: Option<&ValidatingWebhookConfiguration>,
    ) -> Result<Option<Secret>, ManageError> {
        let now = Utc::now();
        let issued = issue(&self.managed.names, now, self.managed.valid)?;
        let mut before = secret.as_ref().map_or(&[][..], |secret| value(secret, CA_BUNDLE)).to_vec();
        // The Secret may have been deleted to force a rotation.
        for bundle in configuration.into_iter().flat_map(ca_bundles).flatten() {
            before.push(b'\n');
            before.extend(&bundle.0);
        }
        let bundle = ca_bundle(&issued.ca, &before, now);
        let data = [(CERTIFICATE, issued.certificate), (KEY, issued.key), (CA_BUNDLE, bundle)];
        let data: BTreeMap<String, ByteString> =
            data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect();
        let mut metadata = ObjectMeta {
            name: Some(self.managed.secret.clone()),
            annotations: Some(BTreeMap::from([(NAMES.to_owned(), self.managed.names.all().join(","))])),
            ..ObjectMeta::default()
        };
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

    /// Writes the CA bundle into the configuration, unless it has it.
    async fn update_ca_bundle(
        &self,
        ca_bundle: &[u8],
        configuration: &ValidatingWebhookConfiguration,
    ) -> Result<(), ManageError> {
        if has_ca_bundle(configuration, ca_bundle) {
            return Ok(());
        }
        let ca_bundle = ByteString(ca_bundle.to_vec());
        let webhooks = configuration.webhooks.iter().flatten();
        let webhooks =
            webhooks.map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": ca_bundle } }));
        // A strategic patch merges the entries by name, so that nothing else of them changes.
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": configuration.metadata.resource_version },
            "webhooks": webhooks.collect::<Vec<_>>(),
        }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.configurations.patch(&self.managed.configuration, &parameters, &patch).await?;
        tracing::info!(configuration = self.managed.configuration, "updated the CA bundle");
        Ok(())
    }
}
