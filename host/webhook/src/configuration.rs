//! The configurations by which the API server sends reviews: a ValidatingWebhookConfiguration for the evaluation, and a
//! MutatingWebhookConfiguration for updates of remediated workloads.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;
use kube_devops_cluster::crd::GROUP;
use kube_devops_core::SystemNamespaces;
use kube_devops_core::workload::{WORKLOADS, Workload};
use kube_devops_remediation::PATCHED_BY;

/// The path that reviews for the evaluation are sent to.
pub const VALIDATE_PATH: &str = "/validate";
/// The path that reviews of updates of remediated workloads are sent to.
pub const MUTATE_PATH: &str = "/mutate";

/// A resource that creates pods from a template at `spec.template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatedResource {
    /// The API group.
    pub group: String,
    /// The name of the resource, such as `rollouts`.
    pub resource: String,
}

impl TemplatedResource {
    /// Reads `GROUP/RESOURCE`.
    ///
    /// # Errors
    ///
    /// If it is written differently, or the pod templates of the resource are known to be in another place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (group, resource) = text
            .split_once('/')
            .filter(|(group, resource)| !group.is_empty() && !resource.is_empty() && !resource.contains('/'))
            .ok_or("expected GROUP/RESOURCE, such as argoproj.io/rollouts")?;
        let mut known = WORKLOADS.iter().filter(|known| (known.group, known.resource) == (group, resource));
        if let Some(Workload { kind, templates, .. }) = known.find(|known| !known.has_usual_template()) {
            let paths: Vec<_> = templates.iter().map(|template| template.path).collect();
            return Err(format!(
                "the webhook reads pod templates at spec.template, and those of a {kind} are at {}; the pods of a {kind} are evaluated \
                 when they are created",
                paths.join(", ")
            ));
        }
        Ok(Self { group: group.to_owned(), resource: resource.to_owned() })
    }
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
    /// The name of both configurations.
    pub name: String,
    /// The location of the server.
    pub server: Server,
    /// The CA bundle as PEM text; `None` if the server updates it itself.
    pub ca_bundle: Option<Vec<u8>>,
    /// The timeout of the API server, in seconds.
    pub timeout: u8,
    /// Whether changes of workloads are denied that cannot be evaluated.
    pub fail_closed: bool,
    /// The namespaces that are excluded, including that of the server, which must be able to start without itself.
    pub system: SystemNamespaces,
    /// The user of the operator, whose updates are admitted.
    pub operator: Option<String>,
    /// Further resources to evaluate.
    pub resources: Vec<TemplatedResource>,
}

/// The configuration for the evaluation.
pub fn validating(options: &ConfigurationOptions) -> ValidatingWebhookConfiguration {
    let mut rules: Vec<_> = ["", "apps", "batch"].map(|group| rule(group, &resources(group))).into();
    rules.extend(options.resources.iter().map(|further| rule(&further.group, &[&further.resource])));
    // Objects without a spec are evaluated like new ones.
    let changed =
        "request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec";
    let changed = condition("spec-changed", changed.to_owned());
    let mut conditions = vec![changed.clone()];
    if options.system.has_suffix() {
        conditions.push(condition("not-in-a-system-namespace", "!request.namespace.endsWith('-system')".to_owned()));
    }
    conditions.extend(options.operator.as_deref().map(not_the_operator));
    ValidatingWebhookConfiguration {
        metadata: ObjectMeta { name: Some(options.name.clone()), ..ObjectMeta::default() },
        webhooks: Some(vec![
            webhook(options, "workloads", rules, Some(not_a_system_namespace(options)), conditions),
            policies(options, changed.clone()),
            modules(options, changed),
        ]),
    }
}

/// The webhook for policies. An installation can contain policies, which are created before a replica is ready, and a
/// policy that was not validated here is validated by the components that use it.
fn policies(options: &ConfigurationOptions, changed: MatchCondition) -> ValidatingWebhook {
    let rule = rule(GROUP, &["devopspolicies"]);
    let mut webhook = webhook(options, "policies", vec![rule], None, vec![changed]);
    webhook.failure_policy = Some("Ignore".to_owned());
    webhook
}

/// The webhook for modules. Its errors are hints for administrators, who must be able to replace a module at any time.
fn modules(options: &ConfigurationOptions, changed: MatchCondition) -> ValidatingWebhook {
    let mut rule = rule(GROUP, &["policymodules"]);
    rule.scope = Some("Cluster".to_owned());
    let mut webhook = webhook(options, "modules", vec![rule], None, vec![changed]);
    webhook.failure_policy = Some("Ignore".to_owned());
    webhook
}

/// The configuration for updates of remediated workloads. It never makes a request fail.
pub fn mutating(options: &ConfigurationOptions) -> MutatingWebhookConfiguration {
    let remediated = WORKLOADS.iter().filter(|workload| workload.can_be_remediated);
    let resources: Vec<_> = remediated.map(|workload| workload.resource).collect();
    let mut rule = rule("apps", &resources);
    rule.operations = Some(vec!["UPDATE".to_owned()]);
    let remediated = format!(
        "has(oldObject.metadata.annotations) && {} in oldObject.metadata.annotations && object.spec != oldObject.spec",
        cel_text(PATCHED_BY)
    );
    let mut conditions = vec![condition("remediated-and-changed", remediated)];
    conditions.extend(options.operator.as_deref().map(not_the_operator));
    let webhook = MutatingWebhook {
        name: "remediation.devops.stochastic.io".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client(options, MUTATE_PATH),
        failure_policy: Some("Ignore".to_owned()),
        match_conditions: Some(conditions),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(not_a_system_namespace(options)),
        object_selector: None,
        // Another webhook may set a handler after this one.
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![rule]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(options.timeout.into()),
    };
    MutatingWebhookConfiguration {
        metadata: ObjectMeta { name: Some(options.name.clone()), ..ObjectMeta::default() },
        webhooks: Some(vec![webhook]),
    }
}

fn not_a_system_namespace(options: &ConfigurationOptions) -> LabelSelector {
    LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(options.system.named().map(str::to_owned).collect()),
        }]),
        ..LabelSelector::default()
    }
}

fn not_the_operator(operator: &str) -> MatchCondition {
    let expression = format!("request.operation != 'UPDATE' || request.userInfo.username != {}", cel_text(operator));
    condition("not-the-operator", expression)
}

/// The built-in resources of a group that run pods.
fn resources(group: &str) -> Vec<&'static str> {
    let is_evaluated = |workload: &&Workload| workload.group == group && workload.has_usual_template();
    let resources = WORKLOADS.iter().filter(is_evaluated).map(|workload| workload.resource);
    // Ephemeral containers are added to a running pod by a subresource, and its requests and limits are changed by another one.
    let of_pods: &[&str] = if group.is_empty() { &["pods/ephemeralcontainers", "pods/resize"] } else { &[] };
    resources.chain(of_pods.iter().copied()).collect()
}

fn webhook(
    options: &ConfigurationOptions,
    name: &str,
    rules: Vec<RuleWithOperations>,
    selector: Option<LabelSelector>,
    conditions: Vec<MatchCondition>,
) -> ValidatingWebhook {
    let text = |text: &str| Some(text.to_owned());
    ValidatingWebhook {
        name: format!("{name}.devops.stochastic.io"),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client(options, VALIDATE_PATH),
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

/// How API servers reach a path of the server.
fn client(options: &ConfigurationOptions, path: &str) -> WebhookClientConfig {
    let (service, url) = match &options.server {
        Server::Service { name, namespace } => {
            let (name, namespace) = (name.clone(), namespace.clone());
            (Some(ServiceReference { name, namespace, path: Some(path.to_owned()), port: Some(443) }), None)
        }
        Server::Url(url) => (None, Some(format!("{}{path}", url.trim_end_matches('/')))),
    };
    WebhookClientConfig { ca_bundle: options.ca_bundle.clone().map(ByteString), service, url }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_whose_templates_are_elsewhere_is_rejected() {
        let parsed = |text: &str| TemplatedResource::parse(text).map(|parsed| (parsed.group, parsed.resource));
        for text in ["argoproj.io/rollouts", "example.com/fleets"] {
            assert_eq!(parsed(text).map(|(group, resource)| format!("{group}/{resource}")).as_deref(), Ok(text));
        }
        for text in ["rollouts", "/rollouts", "argoproj.io/", "argoproj.io/rollouts/status"] {
            assert!(parsed(text).is_err_and(|error| error.starts_with("expected GROUP/RESOURCE")), "{text}");
        }
        let error = parsed("jobset.x-k8s.io/jobsets").err().unwrap_or_default();
        assert!(error.contains("those of a JobSet are at spec.replicatedJobs.*.template.spec.template;"), "{error}");
    }
}
