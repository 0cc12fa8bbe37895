//! The ValidatingWebhookConfiguration, by which the API server sends reviews.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;
use kube_devops_core::SystemNamespaces;
use kube_devops_core::workload::{WORKLOADS, Workload};

/// The path that reviews are sent to.
pub const PATH: &str = "/validate";

/// A resource that creates pods from a template at `spec.template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatedResource {
    /// The API group.
    pub group: String,
    /// The name of the resource, such as `rollouts`.
    pub resource: String,
}

/// The location of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Behind a Service.
    Service {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Outside of the cluster.
    Url(String),
}

/// The options of the configuration.
#[derive(Debug, Clone)]
pub struct ConfigurationOptions {
    /// The name of the configuration.
    pub name: String,
    /// The location of the server.
    pub server: Server,
    /// The CA bundle as PEM text; `None` if the server updates it itself.
    pub ca_bundle: Option<Vec<u8>>,
    /// The timeout of the API server, in seconds.
    pub timeout: u8,
    /// Whether requests are denied that cannot be evaluated.
    pub fail_closed: bool,
    /// The namespaces that are excluded, including that of the server, which must be able to start without itself.
    pub system: SystemNamespaces,
    /// The user of the operator, whose updates are admitted.
    pub operator: Option<String>,
    /// Further resources to evaluate.
    pub resources: Vec<TemplatedResource>,
}

/// The configuration.
pub fn configuration(options: &ConfigurationOptions) -> ValidatingWebhookConfiguration {
    let mut rules: Vec<_> = ["", "apps", "batch"].map(|group| rule(group, &resources(group))).into();
    rules.extend(options.resources.iter().map(|further| rule(&further.group, &[&further.resource])));
    let selector = LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(options.system.named().map(str::to_owned).collect()),
        }]),
        ..LabelSelector::default()
    };
    // Objects without a spec are evaluated like new ones.
    let changed =
        "request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec";
    let changed = condition("spec-changed", changed.to_owned());
    let mut conditions = vec![changed.clone()];
    if options.system.has_suffix() {
        conditions.push(condition("not-in-a-system-namespace", "!request.namespace.endsWith('-system')".to_owned()));
    }
    if let Some(operator) = &options.operator {
        let expression =
            format!("request.operation != 'UPDATE' || request.userInfo.username != {}", cel_text(operator));
        conditions.push(condition("not-the-operator", expression));
    }
    ValidatingWebhookConfiguration {
        metadata: ObjectMeta { name: Some(options.name.clone()), ..ObjectMeta::default() },
        webhooks: Some(vec![
            webhook(options, "workloads", rules, Some(selector), conditions),
            webhook(options, "policies", vec![rule("devops.stochastic.io", &["devopspolicies"])], None, vec![changed]),
        ]),
    }
}

/// The built-in resources of a group that run pods.
fn resources(group: &str) -> Vec<&'static str> {
    let is_evaluated =
        |workload: &&Workload| workload.is_builtin && workload.group == group && workload.has_usual_template();
    let resources = WORKLOADS.iter().filter(is_evaluated).map(|workload| workload.resource);
    // Ephemeral containers are added to a running pod by a subresource.
    resources
        .flat_map(|resource| [Some(resource), (resource == "pods").then_some("pods/ephemeralcontainers")])
        .flatten()
        .collect()
}

fn webhook(
    options: &ConfigurationOptions,
    name: &str,
    rules: Vec<RuleWithOperations>,
    selector: Option<LabelSelector>,
    conditions: Vec<MatchCondition>,
) -> ValidatingWebhook {
    let path = Some(PATH.to_owned());
    let (service, url) = match &options.server {
        Server::Service { name, namespace } => {
            let (name, namespace) = (name.clone(), namespace.clone());
            (Some(ServiceReference { name, namespace, path, port: Some(443) }), None)
        }
        Server::Url(url) => (None, Some(format!("{}{PATH}", url.trim_end_matches('/')))),
    };
    let text = |text: &str| Some(text.to_owned());
    ValidatingWebhook {
        name: format!("{name}.devops.stochastic.io"),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: WebhookClientConfig { ca_bundle: options.ca_bundle.clone().map(ByteString), service, url },
        failure_policy: text(if options.fail_closed { "Fail" } else { "Ignore" }),
        match_conditions: Some(conditions),
        // Reviews are sent for all versions of a resource.
        match_policy: text("Equivalent"),
        namespace_selector: selector,
        object_selector: None,
        rules: Some(rules),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(options.timeout.into()),
    }
}

fn rule(group: &str, resources: &[&str]) -> RuleWithOperations {
    let list = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
    RuleWithOperations {
        api_groups: list(&[group]),
        api_versions: list(&["*"]),
        operations: list(&["CREATE", "UPDATE"]),
        resources: list(resources),
        scope: Some("Namespaced".to_owned()),
    }
}

fn condition(name: &str, expression: String) -> MatchCondition {
    MatchCondition { name: name.to_owned(), expression }
}

/// A CEL string literal.
fn cel_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
