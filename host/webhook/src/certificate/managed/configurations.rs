//! The configurations whose CA bundles are maintained: those of both kinds with one name, which need not exist yet.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_devops_cluster::install::FIELD_MANAGER;
use serde_json::json;

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
mod tests {
    use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, WebhookClientConfig};

    use super::*;

    #[test]
    fn every_webhook_of_a_configuration_needs_the_ca_bundle() {
        let with = |bundles: &[Option<&str>]| {
            let webhooks = bundles.iter().map(|bundle| {
                let ca_bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
                let client_config = WebhookClientConfig { ca_bundle, ..WebhookClientConfig::default() };
                MutatingWebhook { client_config, ..MutatingWebhook::default() }
            });
            Configuration::from(MutatingWebhookConfiguration {
                webhooks: Some(webhooks.collect()),
                ..MutatingWebhookConfiguration::default()
            })
        };
        assert!(with(&[]).has_ca_bundle(b"ca"));
        assert!(with(&[Some("ca"), Some("ca")]).has_ca_bundle(b"ca"));
        assert!(!with(&[Some("ca"), Some("other")]).has_ca_bundle(b"ca"));
        assert!(!with(&[Some("ca"), None]).has_ca_bundle(b"ca"));
        assert_eq!(with(&[Some("ca"), None]).ca_bundles().count(), 1);
    }
}
