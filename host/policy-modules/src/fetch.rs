//! The requests for the module in a registry: its pull secret, and its content.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use kube_devops_cluster::request_failure;
use kube_devops_oci::fetch::{Budget, Request, fetch, stored};
use kube_devops_oci::{Fetched, Keychain, Options, PublicKey, Store};
use kube_devops_runtime::clock::Now;
use tokio::task::block_in_place;

use super::oci::Fetch;
use super::store::Failure;

/// Where modules are fetched for.
#[derive(Clone)]
pub struct Fetcher {
    /// The client for pull secrets.
    pub client: Client,
    /// The namespace of pull secrets.
    pub namespace: String,
    /// The store of fetched modules, if there is a folder for it.
    pub store: Option<Store>,
    /// The limit of the size of a module, in bytes.
    pub most: u64,
    /// The memory for modules that are being fetched or wait to be loaded.
    pub budget: Budget,
}

impl Fetcher {
    /// Fetches a version.
    ///
    /// # Errors
    ///
    /// If the pull secret, the keys or the module cannot be had.
    pub async fn fetch(&self, wanted: &Fetch) -> Result<Fetched, Failure> {
        let key = |pem: &String| PublicKey::from_pem(pem);
        let keys = wanted.identity.spec.verify.iter().flat_map(|verify| &verify.public_keys);
        let keys: Result<Vec<PublicKey>, _> = keys.map(key).collect();
        let keys = keys.map_err(|error| Failure::of_source("KeyInvalid", error))?;
        if keys.is_empty() && wanted.identity.spec.verify.is_some() {
            return Err(Failure::of_source("KeyInvalid", "verify contains no key"));
        }
        // What the cache has needs neither the registry nor the pull secret.
        // Its digest is computed, which must not delay other tasks.
        if let Some(fetched) = block_in_place(|| stored(self.store.as_ref(), &wanted.reference, &keys, self.most)) {
            return Ok(fetched);
        }
        let keychain = self.keychain(wanted.source.pull_secret.as_deref()).await?;
        let options = Options {
            ca_bundle: wanted.source.ca_bundle.clone().map(String::into_bytes),
            plain_http: wanted.source.plain_http,
            ..Options::default()
        };
        let request = Request {
            reference: &wanted.reference,
            options: &options,
            keychain: &keychain,
            keys: &keys,
            most: self.most,
            budget: Some(&self.budget),
            now: Now::read().utc.timestamp(),
        };
        fetch(self.store.as_ref(), request).await.map_err(|error| Failure::from(&error))
    }

    /// Reads the pull secret each time, so that a new one is used at once.
    async fn keychain(&self, name: Option<&str>) -> Result<Keychain, Failure> {
        let Some(name) = name else { return Ok(Keychain::default()) };
        let namespace = &self.namespace;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = match secrets.get_opt(name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                let message = format!("there is no Secret {name} in the namespace {namespace}");
                return Err(Failure::of_source("PullSecretMissing", message));
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                let message = format!(
                    "the Secret {name} in the namespace {namespace} cannot be read: {}; add it to the value modulePullSecrets of the \
                     chart",
                    status.message
                );
                return Err(Failure::of_source("PullSecretForbidden", message));
            }
            Err(error) => {
                let reason = request_failure(&error);
                let message = format!("failed to read the Secret {name} in the namespace {namespace}: {reason}");
                return Err(Failure::of_source("PullSecretUnreadable", message));
            }
        };
        let data = secret.data.unwrap_or_default();
        let keychain = Keychain::of_secret(name, |key| data.get(key).map(|value| value.0.as_slice()));
        keychain.map_err(|error| Failure::from(&error))
    }
}
