//! The ValidatingWebhookConfiguration, which has the API server ask.

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

/// A resource that makes pods by a template at `spec.template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatedResource {
    /// The API group.
    pub group: String,
    /// The name of the resource, such as `rollouts`.
    pub resource: String,
}

/// Where the server is.
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

/// How the API server is to ask.
#[derive(Debug, Clone)]
pub struct ConfigurationOptions {
    /// The name of the configuration.
    pub name: String,
    /// Where the server is.
    pub server: Server,
    /// The authorities to be trusted, as PEM text; none: the server enters them itself.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long the API server waits for an answer, in seconds.
    pub timeout: u8,
    /// Whether requests are refused that cannot be judged.
    pub fail_closed: bool,
    /// Where nothing is judged; the server's own namespace among them, since it must be able to start without itself.
    pub system: SystemNamespaces,
    /// The user whose updates are let through.
    pub operator: Option<String>,
    /// Further resources to be judged.
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
    // What has no spec is judged like what is new.
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

/// The resources of a group of Kubernetes itself that run pods.
fn resources(group: &str) -> Vec<&'static str> {
    let is_evaluated =
        |workload: &&Workload| workload.is_builtin && workload.group == group && workload.has_usual_template();
    let resources = WORKLOADS.iter().filter(is_evaluated).map(|workload| workload.resource);
    // Containers are added to a running pod by a resource of their own.
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
        // A Deployment is one, by whichever version of the API it is written.
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

/// A text as CEL writes it.
fn cel_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
