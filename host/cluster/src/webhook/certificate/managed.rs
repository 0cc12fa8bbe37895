//! A certificate in a Secret, which the leader makes and renews, and all replicas serve.
//!
//! A new certificate is served only when the API servers trust its authority: the leader writes the Secret, then the
//! `caBundle` of the webhook's configuration, and each replica takes up the certificate after it has seen both. Authorities
//! of before stay in the bundle, so that replicas may change over one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{CertificateError, CertificateNames, ServerCertificate, bundle, make};
use crate::install::FIELD_MANAGER;

/// How often the Secret and the configuration are looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// How long after the configuration was seen to trust a certificate it is taken up: API servers learn of it by a watch.
const SETTLE: Duration = Duration::from_secs(3);
/// Tells what names the certificate in a Secret is for.
const NAMES: &str = "devops.stochastic.io/certificate-names";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA_BUNDLE: &str = "ca.crt";

/// Where a certificate is kept, and what for.
#[derive(Debug, Clone)]
pub struct ManagedCertificate {
    /// The namespace of the Secret.
    pub namespace: String,
    /// The name of the Secret.
    pub secret: String,
    /// The name of the ValidatingWebhookConfiguration that is told whom to trust. It need not exist yet.
    pub configuration: String,
    /// What the certificate is for.
    pub names: CertificateNames,
    /// How long a certificate is good for. It is renewed when a third of that is left.
    pub valid: chrono::Duration,
}

/// What can go wrong on the way.
#[derive(Debug, thiserror::Error)]
enum ManageError {
    #[error("the Secret or the webhook's configuration cannot be read or written: {0}")]
    Request(#[from] kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Keeps the certificate until `stop`, makes and renews it while `leads`, and tells `changed` which one is to be served.
pub async fn follow_secret(
    client: Client,
    managed: ManagedCertificate,
    mut is_leader: watch::Receiver<bool>,
    changed: impl Fn(ServerCertificate),
    stop: CancellationToken,
) {
    let mut manager = CertificateManager {
        secrets: Api::namespaced(client.clone(), &managed.namespace),
        configurations: Api::all(client),
        managed,
        served: Vec::new(),
        trusted: None,
    };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            Ok(()) = is_leader.changed() => {}
        }
        let is_leader = *is_leader.borrow_and_update();
        let error = match manager.look(is_leader).await {
            Ok(Some(certificate)) => {
                tracing::info!(expiry = %certificate.expiry, "serving the certificate of the Secret");
                changed(certificate);
                String::new()
            }
            Ok(None) => String::new(),
            Err(error) => error.to_string(),
        };
        if !error.is_empty() && error != complained {
            tracing::warn!("the certificate is not kept: {error}");
        }
        complained = error;
    }
}

struct CertificateManager {
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    managed: ManagedCertificate,
    /// The certificate that is served, as PEM text; empty at first.
    served: Vec<u8>,
    /// A certificate that is to be served, and since when it is trusted.
    trusted: Option<(Vec<u8>, Instant)>,
}

impl CertificateManager {
    /// Looks at everything once. Answers with a certificate that is to be served from now on.
    async fn look(&mut self, is_leader: bool) -> Result<Option<ServerCertificate>, ManageError> {
        let mut secret = self.secrets.get_opt(&self.managed.secret).await?;
        let configuration = self.configurations.get_opt(&self.managed.configuration).await?;
        if is_leader {
            if !secret.as_ref().is_some_and(|secret| self.is_current(secret)) {
                secret = self.renew(secret, configuration.as_ref()).await?;
            }
            if let (Some(secret), Some(configuration)) = (&secret, &configuration) {
                self.trust(value(secret, CA_BUNDLE), configuration).await?;
            }
        }
        let Some(secret) = secret else { return Ok(None) };
        let found = value(&secret, CERTIFICATE);
        if found == self.served {
            return Ok(None);
        }
        let certificate = ServerCertificate::new(found, value(&secret, KEY))?;
        if !configuration.is_none_or(|configuration| trusts(&configuration, value(&secret, CA_BUNDLE))) {
            // The leader is about to change that, and has just done so where this is the leader.
            if !is_leader || !self.served.is_empty() {
                self.trusted = None;
                return Ok(None);
            }
        }
        let since = match &self.trusted {
            Some((known, since)) if known == found => *since,
            _ => Instant::now(),
        };
        if !self.served.is_empty() && since.elapsed() < SETTLE {
            self.trusted = Some((found.to_vec(), since));
            return Ok(None);
        }
        self.served = found.to_vec();
        self.trusted = None;
        Ok(Some(certificate))
    }

    /// Whether the certificate in the Secret is the right one and is good for long enough.
    fn is_current(&self, secret: &Secret) -> bool {
        let names_match = secret.annotations().get(NAMES) == Some(&self.managed.names.all().join(","));
        let certificate = ServerCertificate::new(value(secret, CERTIFICATE), value(secret, KEY));
        let lasts = certificate.is_ok_and(|certificate| certificate.expiry - Utc::now() > self.managed.valid / 3);
        names_match && lasts && !value(secret, CA_BUNDLE).is_empty()
    }

    /// Writes a new certificate into the Secret. None: somebody else was faster.
    async fn renew(
        &self,
        secret: Option<Secret>,
        configuration: Option<&ValidatingWebhookConfiguration>,
    ) -> Result<Option<Secret>, ManageError> {
        let now = Utc::now();
        let made = make(&self.managed.names, now, self.managed.valid)?;
        let mut before = secret.as_ref().map_or(&[][..], |secret| value(secret, CA_BUNDLE)).to_vec();
        // Somebody may have deleted the Secret, to get a new one.
        for ca_bundle in configuration.into_iter().flat_map(bundles).flatten() {
            before.push(b'\n');
            before.extend(&ca_bundle.0);
        }
        let data = [
            (CERTIFICATE, made.certificate.clone()),
            (KEY, made.key.clone()),
            (CA_BUNDLE, bundle(&made.ca, &before, now)),
        ];
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
                tracing::info!(secret = self.managed.secret, "made a new certificate");
                Ok(Some(secret))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the API servers whom to trust.
    async fn trust(&self, ca_bundle: &[u8], configuration: &ValidatingWebhookConfiguration) -> Result<(), ManageError> {
        if trusts(configuration, ca_bundle) {
            return Ok(());
        }
        let ca_bundle = ByteString(ca_bundle.to_vec());
        let webhooks = configuration.webhooks.iter().flatten();
        let webhooks =
            webhooks.map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": ca_bundle } }));
        // By name, so that nothing else of the entries is touched.
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": configuration.metadata.resource_version },
            "webhooks": webhooks.collect::<Vec<_>>(),
        }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.configurations.patch(&self.managed.configuration, &parameters, &patch).await?;
        tracing::info!(configuration = self.managed.configuration, "told the API servers whom to trust");
        Ok(())
    }
}

fn bundles(configuration: &ValidatingWebhookConfiguration) -> impl Iterator<Item = Option<&ByteString>> {
    let webhooks = configuration.webhooks.iter().flatten();
    webhooks.map(|webhook| webhook.client_config.ca_bundle.as_ref())
}

/// Whether all entries trust exactly the authorities that belong to the certificate.
fn trusts(configuration: &ValidatingWebhookConfiguration, ca_bundle: &[u8]) -> bool {
    bundles(configuration).all(|bundle| bundle.is_some_and(|bundle| bundle.0 == ca_bundle))
}

fn value<'a>(secret: &'a Secret, key: &str) -> &'a [u8] {
    secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[], |value| &value.0)
}
