//! The check of an installation: whether its components are ready, and whether API servers reach the webhook.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use kube::api::{GetParams, PostParams};
use kube::core::Request;
use tokio::time::timeout;

use crate::ClusterError;
use crate::connection::Connection;
use crate::crd::{DevOpsPolicy, DevOpsPolicySpec, INSTALLATION_CHECK};
use crate::permissions::ObjectNames;

/// The timeout of the request to a component.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A component that serves requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The watch controller.
    Watch,
    /// The operator.
    Reconcile,
    /// The admission webhook.
    Webhook,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Watch, Self::Reconcile, Self::Webhook];

    /// The name, which is the suffix of the name of its Service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Reconcile => "reconcile",
            Self::Webhook => "webhook",
        }
    }

    /// The name in the proxy of the API server.
    fn in_proxy(self, prefix: &str) -> String {
        let (scheme, port) = match self {
            Self::Watch | Self::Reconcile => ("http", "metrics"),
            Self::Webhook => ("https", "https"),
        };
        format!("{scheme}:{prefix}-{}:{port}", self.as_str())
    }
}

/// Requests `/readyz` of a component through the API server. Returns the reason why it is not ready.
///
/// # Errors
///
/// If the API server cannot be reached.
pub async fn readiness(
    connection: &Connection,
    namespace: &str,
    prefix: &str,
    service: Service,
) -> Result<Result<(), String>, ClusterError> {
    let path = format!("/api/v1/namespaces/{namespace}/services/{}/proxy", service.in_proxy(prefix));
    let what = format!("get /readyz of {}", service.as_str());
    let request = Request::new(path).get("readyz", &GetParams::default());
    let request = request.map_err(|error| connection.error(kube::Error::BuildRequest(error), &what))?;
    let response = match timeout(TIMEOUT, connection.client.request_text(request)).await {
        Ok(response) => response,
        // The client retries what the API server cannot deliver.
        Err(_) => return Ok(Err(no_answer(namespace, prefix, service))),
    };
    match response {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(connection.error(error, &what)),
    }
}

fn no_answer(namespace: &str, prefix: &str, service: Service) -> String {
    format!(
        "no answer within {} s; is there a Service {prefix}-{name} with ready pods in the namespace {namespace}?",
        TIMEOUT.as_secs(),
        name = service.as_str()
    )
}

/// Lets the API server send a policy to the webhook, without storing it. Returns the reason why the webhook did not answer.
///
/// # Errors
///
/// If the API server cannot be reached, or the permissions are missing.
pub async fn admission(
    connection: &Connection,
    namespace: &str,
    names: &ObjectNames,
) -> Result<Result<(), String>, ClusterError> {
    let name = &names.webhook_configuration;
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(connection.client.clone());
    let configuration = match configurations.get_opt(name).await {
        Ok(Some(configuration)) => configuration,
        Ok(None) => return Ok(Err(format!("there is no ValidatingWebhookConfiguration {name}"))),
        Err(error) => return Err(connection.error(error, &format!("read the ValidatingWebhookConfiguration {name}"))),
    };
    let has_ca = |webhook: &k8s_openapi::api::admissionregistration::v1::ValidatingWebhook| {
        webhook.client_config.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
    };
    if !configuration.webhooks.iter().flatten().all(has_ca) {
        return Ok(Err(format!(
            "the ValidatingWebhookConfiguration {name} has no CA bundle yet; see the logs of the webhook"
        )));
    }
    let spec = DevOpsPolicySpec { forbid_latest_tag: Some(true), ..DevOpsPolicySpec::default() };
    let mut policy = DevOpsPolicy::new("kube-devops-installation-check", spec);
    policy.metadata.annotations = Some([(INSTALLATION_CHECK.to_owned(), "true".to_owned())].into());
    let policies: Api<DevOpsPolicy> = Api::namespaced(connection.client.clone(), namespace);
    match policies.create(&PostParams { dry_run: true, ..PostParams::default() }, &policy).await {
        Err(kube::Error::Api(status)) if status.message.contains(INSTALLATION_CHECK) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.message.contains("webhook") => Ok(Err(status.message.clone())),
        Err(error) => Err(connection.error(error, &format!("create a DevOpsPolicy in {namespace}, as a dry run"))),
        Ok(_) => Ok(Err("the API server failed to call the webhook, and failed open; check that API servers can \
                         reach its Service, and the logs of the webhook and of the API server"
            .to_owned())),
    }
}
