//! The configurations whose CA bundles are maintained: those of both kinds with one name, which need not exist yet.

use chrono::{DateTime, Utc};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_devops_cluster::install::FIELD_MANAGER;
use serde_json::json;

use crate::certificate::verify::is_trusted;

/// The requests for the configurations.
pub struct Configurations {
    validating: Api<ValidatingWebhookConfiguration>,
    mutating: Api<MutatingWebhookConfiguration>,
    name: String,
}

/// The part of a configuration that is maintained.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    is_mutating: bool,
    resource_version: Option<String>,
    /// The name and the CA bundle of each webhook.
    webhooks: Vec<(String, Option<ByteString>)>,
}

impl Configuration {
    /// The CA bundles of its webhooks.
    pub fn ca_bundles(&self) -> impl Iterator<Item = &ByteString> {
        self.webhooks.iter().filter_map(|(_, bundle)| bundle.as_ref())
    }

    /// Whether API servers accept this certificate for all its webhooks.
    pub fn trusts(&self, certificate: &[u8], now: DateTime<Utc>) -> bool {
        let mut bundles = self.webhooks.iter().map(|(_, bundle)| bundle.as_ref());
        bundles.all(|bundle| bundle.is_some_and(|bundle| is_trusted(certificate, &bundle.0, now)))
    }

    /// Whether all its webhooks have exactly this CA bundle.
    pub fn has_ca_bundle(&self, ca_bundle: &[u8]) -> bool {
        self.webhooks.iter().all(|(_, bundle)| bundle.as_ref().is_some_and(|bundle| bundle.0 == ca_bundle))
    }
}

impl From<ValidatingWebhookConfiguration> for Configuration {
    fn from(configuration: ValidatingWebhookConfiguration) -> Self {
        let webhooks = configuration.webhooks.into_iter().flatten();
        Self {
            is_mutating: false,
            resource_version: configuration.metadata.resource_version,
            webhooks: webhooks.map(|webhook| (webhook.name, webhook.client_config.ca_bundle)).collect(),
        }
    }
}

impl From<MutatingWebhookConfiguration> for Configuration {
    fn from(configuration: MutatingWebhookConfiguration) -> Self {
        let webhooks = configuration.webhooks.into_iter().flatten();
        Self {
            is_mutating: true,
            resource_version: configuration.metadata.resource_version,
            webhooks: webhooks.map(|webhook| (webhook.name, webhook.client_config.ca_bundle)).collect(),
        }
    }
}

impl Configurations {
    /// The configurations with this name.
    pub fn new(client: Client, name: &str) -> Self {
        Self { validating: Api::all(client.clone()), mutating: Api::all(client), name: name.to_owned() }
    }

    /// Reads those that exist.
    pub async fn read(&self) -> kube::Result<Vec<Configuration>> {
        let validating = self.validating.get_opt(&self.name).await?.map(Configuration::from);
        let mutating = self.mutating.get_opt(&self.name).await?.map(Configuration::from);
        Ok(validating.into_iter().chain(mutating).collect())
    }

    /// Writes the CA bundle into a configuration, unless it has it.
    pub async fn update(&self, configuration: &Configuration, ca_bundle: &[u8]) -> kube::Result<()> {
        if configuration.has_ca_bundle(ca_bundle) {
            return Ok(());
        }
        let ca_bundle = ByteString(ca_bundle.to_vec());
        let webhooks = configuration.webhooks.iter();
        let webhooks = webhooks.map(|(name, _)| json!({ "name": name, "clientConfig": { "caBundle": ca_bundle } }));
        // A strategic patch merges the entries by name, so that nothing else of them changes.
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": configuration.resource_version },
            "webhooks": webhooks.collect::<Vec<_>>(),
        }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        if configuration.is_mutating {
            self.mutating.patch(&self.name, &parameters, &patch).await?;
        } else {
            self.validating.patch(&self.name, &parameters, &patch).await?;
        }
        tracing::info!(configuration = self.name, mutating = configuration.is_mutating, "updated the CA bundle");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::TimeDelta;
    use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, WebhookClientConfig};

    use super::*;
    use crate::certificate::{CertificateNames, issue};

    fn with(bundles: &[Option<&str>]) -> Configuration {
        let webhooks = bundles.iter().map(|bundle| {
            let ca_bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
            let client_config = WebhookClientConfig { ca_bundle, ..WebhookClientConfig::default() };
            MutatingWebhook { client_config, ..MutatingWebhook::default() }
        });
        Configuration::from(MutatingWebhookConfiguration {
            webhooks: Some(webhooks.collect()),
            ..MutatingWebhookConfiguration::default()
        })
    }

    #[test]
    fn a_certificate_is_trusted_if_every_webhook_has_its_ca() {
        let now = Utc::now();
        let names =
            CertificateNames { service: "webhook".to_owned(), namespace: "platform".to_owned(), addresses: Vec::new() };
        let [one, other] = [(); 2].map(|()| issue(&names, now, TimeDelta::days(90)).unwrap());
        let trusts = |bundles: &[Option<&str>]| with(bundles).trusts(one.certificate.as_bytes(), now);
        let both = format!("{}{}", other.ca, one.ca);
        assert!(trusts(&[]) && trusts(&[Some(&one.ca), Some(&both)]));
        assert!(!trusts(&[Some(&one.ca), Some(&other.ca)]));
        assert!(!trusts(&[Some(&one.ca), None]));
    }

    #[test]
    fn every_webhook_of_a_configuration_needs_the_ca_bundle() {
        assert!(with(&[]).has_ca_bundle(b"ca"));
        assert!(with(&[Some("ca"), Some("ca")]).has_ca_bundle(b"ca"));
        assert!(!with(&[Some("ca"), Some("other")]).has_ca_bundle(b"ca"));
        assert!(!with(&[Some("ca"), None]).has_ca_bundle(b"ca"));
        assert_eq!(with(&[Some("ca"), None]).ca_bundles().count(), 1);
    }
}
