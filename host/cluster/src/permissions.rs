//! The permissions of each component. This is the only list: `kube-devops check` queries it.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::PostParams;

use crate::ClusterError;
use crate::connection::Connection;
use crate::crd::GROUP;
use crate::pods::verify_exists;

/// A component that sends requests to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// `analyze`, `list pods` and `check`, with the permissions of the user.
    Cli,
    /// `crd install`.
    Install,
    /// The watch controller.
    Watch,
    /// The policy operator.
    Reconcile,
    /// Remediation by the policy operator. Without it, the operator evaluates policies and changes no workload.
    Remediate,
    /// The admission webhook.
    Webhook,
    /// `cleanup`, after the components were removed.
    Cleanup,
}

impl Component {
    /// The name for users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "analyze",
            Self::Install => "crd install",
            Self::Watch => "watch",
            Self::Reconcile => "reconcile",
            Self::Remediate => "remediation",
            Self::Webhook => "webhook",
            Self::Cleanup => "cleanup",
        }
    }
}

/// A resource, and the verbs that a component needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, with a subresource after a slash.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// The object, if its name is known; `None` for all objects.
    pub object: Option<NamedObject>,
    /// Whether the permission is needed only in the component's own namespace.
    pub own_namespace: bool,
    /// The components that need it.
    pub needed_by: &'static [Component],
    /// The purpose.
    pub purpose: &'static str,
}

impl Permission {
    /// The default name of the object, if the permission is for a single object.
    pub fn object_name(&self) -> Option<String> {
        self.object.map(|object| ObjectNames::default().of(object).to_owned())
    }
}

/// An object with a name that the options of a component set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedObject {
    /// The Lease of the watch controller.
    WatchLease,
    /// The Lease of the operator.
    ReconcileLease,
    /// The Lease of the webhook.
    WebhookLease,
    /// The Secret with the certificate of the webhook.
    CertificateSecret,
    /// The ValidatingWebhookConfiguration and the MutatingWebhookConfiguration.
    WebhookConfiguration,
    /// The pull secret for the registries of modules.
    PullSecret,
    /// A custom resource definition, whose name is fixed.
    Definition(&'static str),
}

/// The prefix of the names of all objects, by default.
pub const NAME_PREFIX: &str = "kube-devops";

/// The names of the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectNames {
    /// The Lease of the watch controller.
    pub watch_lease: String,
    /// The Lease of the operator.
    pub reconcile_lease: String,
    /// The Lease of the webhook.
    pub webhook_lease: String,
    /// The Secret with the certificate of the webhook.
    pub certificate_secret: String,
    /// The ValidatingWebhookConfiguration and the MutatingWebhookConfiguration.
    pub webhook_configuration: String,
    /// The pull secret for the registries of modules. The chart can allow further ones.
    pub pull_secret: String,
}

impl Default for ObjectNames {
    /// The defaults of the options.
    fn default() -> Self {
        Self::with_prefix(NAME_PREFIX)
    }
}

impl ObjectNames {
    /// The names in an installation whose names start with `prefix`.
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            watch_lease: format!("{prefix}-watch"),
            reconcile_lease: format!("{prefix}-reconcile"),
            webhook_lease: format!("{prefix}-webhook"),
            certificate_secret: format!("{prefix}-webhook-tls"),
            webhook_configuration: format!("{prefix}-webhook"),
            pull_secret: format!("{prefix}-registry"),
        }
    }

    fn of(&self, object: NamedObject) -> &str {
        match object {
            NamedObject::WatchLease => &self.watch_lease,
            NamedObject::ReconcileLease => &self.reconcile_lease,
            NamedObject::WebhookLease => &self.webhook_lease,
            NamedObject::CertificateSecret => &self.certificate_secret,
            NamedObject::WebhookConfiguration => &self.webhook_configuration,
            NamedObject::PullSecret => &self.pull_secret,
            NamedObject::Definition(name) => name,
        }
    }
}

/// The permissions of all components.
pub const PERMISSIONS: &[Permission] = {
    use Component::{Cleanup, Cli, Install, Reconcile, Remediate, Watch, Webhook};
    const fn cluster(
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
        needed_by: &'static [Component],
        purpose: &'static str,
    ) -> Permission {
        Permission { group, resource, verbs, object: None, own_namespace: false, needed_by, purpose }
    }
    const fn own(
        (group, resource): (&'static str, &'static str),
        verbs: &'static [&'static str],
        object: Option<NamedObject>,
        needed_by: &'static [Component],
        purpose: &'static str,
    ) -> Permission {
        Permission { group, resource, verbs, object, own_namespace: true, needed_by, purpose }
    }
    const fn definition(verbs: &'static [&'static str], object: Option<NamedObject>) -> Permission {
        let (group, resource) = ("apiextensions.k8s.io", "customresourcedefinitions");
        let purpose = "install the custom resources";
        Permission { group, resource, verbs, object, own_namespace: false, needed_by: &[Install], purpose }
    }
    const LEASES: (&str, &str) = ("coordination.k8s.io", "leases");
    const SECRETS: (&str, &str) = ("", "secrets");
    const HOLD: &[&str] = &["get", "update"];
    const DELETE: &[&str] = &["delete"];
    const RELEASE: &[&str] = &["get", "delete"];
    const REMOVAL: &str = "remove what the components created";
    const CA_BUNDLE: &str = "update the CA bundle of the webhook";
    const ELECTION: &str = "elect a leader";
    const ROLLOUTS: &str = "find workloads to remediate and monitor their rollouts";
    const REMEDIATION: &str = "remediate workloads under a policy that enforces";
    &[
        cluster("", "pods", &["list"], &[Cli, Watch, Reconcile], "evaluate pods"),
        cluster("", "pods", &["watch"], &[Watch, Reconcile], "watch for changes of pods"),
        // A name cannot restrict the creation of an object.
        definition(&["create"], None),
        definition(&["get", "patch"], Some(NamedObject::Definition("devopspolicies.devops.stochastic.io"))),
        definition(&["get", "patch"], Some(NamedObject::Definition("policyauditresults.devops.stochastic.io"))),
        definition(&["get", "patch"], Some(NamedObject::Definition("policymodules.devops.stochastic.io"))),
        cluster(GROUP, "devopspolicies", &["get", "list", "watch"], &[Reconcile, Webhook], "read policies"),
        cluster(GROUP, "devopspolicies", &["list"], &[Cleanup], "find policies with a finalizer"),
        cluster(GROUP, "devopspolicies", &["patch"], &[Reconcile, Cleanup], "add and remove the finalizer"),
        cluster("apps", "deployments", &["list"], &[Cleanup], "list the workloads that keep added fields"),
        cluster("apps", "statefulsets", &["list"], &[Cleanup], "list the workloads that keep added fields"),
        cluster("apps", "daemonsets", &["list"], &[Cleanup], "list the workloads that keep added fields"),
        cluster(GROUP, "devopspolicies/status", &["patch"], &[Reconcile], "report the status"),
        cluster(GROUP, "policymodules", &["list", "watch"], &[Reconcile, Webhook], "load modules"),
        cluster(GROUP, "policymodules/status", &["patch"], &[Reconcile], "report the status of modules"),
        cluster(
            GROUP,
            "policyauditresults",
            &["list", "create", "delete"],
            &[Reconcile],
            "create audit results and delete old ones",
        ),
        cluster("apps", "replicasets", &["get"], &[Reconcile], "find the Deployment of a pod"),
        cluster("apps", "deployments", &["get"], &[Reconcile], ROLLOUTS),
        cluster("apps", "statefulsets", &["get"], &[Reconcile], ROLLOUTS),
        cluster("apps", "daemonsets", &["get"], &[Reconcile], ROLLOUTS),
        cluster("apps", "deployments", &["patch"], &[Remediate], REMEDIATION),
        cluster("apps", "statefulsets", &["patch"], &[Remediate], REMEDIATION),
        cluster("apps", "daemonsets", &["patch"], &[Remediate], REMEDIATION),
        cluster(
            "",
            "pods",
            &["delete"],
            &[Remediate],
            "delete pods of a StatefulSet that are stuck after a reverted patch",
        ),
        cluster(
            "events.k8s.io",
            "events",
            &["create", "patch"],
            &[Reconcile],
            "emit events about violations and remediations",
        ),
        own(LEASES, &["create"], None, &[Watch, Reconcile, Webhook], ELECTION),
        own(LEASES, HOLD, Some(NamedObject::WatchLease), &[Watch], ELECTION),
        own(LEASES, HOLD, Some(NamedObject::ReconcileLease), &[Reconcile], ELECTION),
        own(LEASES, HOLD, Some(NamedObject::WebhookLease), &[Webhook], ELECTION),
        own(LEASES, RELEASE, Some(NamedObject::WatchLease), &[Cleanup], REMOVAL),
        own(LEASES, RELEASE, Some(NamedObject::ReconcileLease), &[Cleanup], REMOVAL),
        own(LEASES, RELEASE, Some(NamedObject::WebhookLease), &[Cleanup], REMOVAL),
        own(("", "configmaps"), &["list", "watch"], None, &[Reconcile, Webhook], "load modules"),
        own(SECRETS, &["get"], Some(NamedObject::PullSecret), &[Reconcile, Webhook], "pull modules from registries"),
        own(SECRETS, DELETE, Some(NamedObject::CertificateSecret), &[Cleanup], REMOVAL),
        own(SECRETS, &["create"], None, &[Webhook], "store the certificate of the webhook"),
        own(
            SECRETS,
            &["get", "patch"],
            Some(NamedObject::CertificateSecret),
            &[Webhook],
            "store the certificate of the webhook",
        ),
        Permission {
            object: Some(NamedObject::WebhookConfiguration),
            ..cluster(
                "admissionregistration.k8s.io",
                "validatingwebhookconfigurations",
                &["get", "patch"],
                &[Webhook],
                CA_BUNDLE,
            )
        },
        Permission {
            object: Some(NamedObject::WebhookConfiguration),
            ..cluster(
                "admissionregistration.k8s.io",
                "mutatingwebhookconfigurations",
                &["get", "patch"],
                &[Webhook],
                CA_BUNDLE,
            )
        },
    ]
};

/// Returns the rules of a role for a component, for its own namespace or for the whole cluster.
pub fn rules(component: Component, own_namespace: bool, names: &ObjectNames) -> Vec<PolicyRule> {
    let text = |text: &str| text.to_owned();
    PERMISSIONS
        .iter()
        .filter(|permission| permission.own_namespace == own_namespace && permission.needed_by.contains(&component))
        .map(|permission| PolicyRule {
            api_groups: Some(vec![text(permission.group)]),
            resources: Some(vec![text(permission.resource)]),
            resource_names: permission.object.map(|object| vec![names.of(object).to_owned()]),
            verbs: permission.verbs.iter().copied().map(text).collect(),
            ..PolicyRule::default()
        })
        .collect()
}

/// The answer of the API server about one verb of a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The permission.
    pub permission: Permission,
    /// The verb.
    pub verb: &'static str,
    /// The namespace; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// Whether it is allowed.
    pub allowed: bool,
}

/// Asks the API server about every permission. `namespace` is the namespace of the components.
pub async fn ask(connection: &Connection, namespace: &str) -> Result<Vec<Answer>, ClusterError> {
    let mut answers = Vec::new();
    for permission in PERMISSIONS {
        let namespace = permission.own_namespace.then(|| namespace.to_owned());
        review(connection, permission, namespace, &mut answers).await?;
    }
    Ok(answers)
}

/// Asks the API server about the permissions of `analyze` in some namespaces. Fails if one does not exist.
pub async fn ask_to_analyze(connection: &Connection, namespaces: &[String]) -> Result<Vec<Answer>, ClusterError> {
    let mut answers = Vec::new();
    for namespace in namespaces {
        verify_exists(connection, namespace).await?;
        for permission in PERMISSIONS.iter().filter(|permission| permission.needed_by.contains(&Component::Cli)) {
            review(connection, permission, Some(namespace.clone()), &mut answers).await?;
        }
    }
    Ok(answers)
}

async fn review(
    connection: &Connection,
    permission: &Permission,
    namespace: Option<String>,
    answers: &mut Vec<Answer>,
) -> Result<(), ClusterError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let (resource, subresource) = match permission.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (permission.resource, None),
    };
    for verb in permission.verbs {
        let attributes = ResourceAttributes {
            group: Some(permission.group.to_owned()),
            resource: Some(resource.to_owned()),
            name: permission.object_name(),
            subresource: subresource.clone(),
            verb: Some((*verb).to_owned()),
            namespace: namespace.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let review = reviews.create(&PostParams::default(), &review).await;
        let review = review.map_err(|error| connection.error(error, "check permissions"))?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        answers.push(Answer { permission: *permission, verb, namespace: namespace.clone(), allowed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_with_known_names_are_the_only_ones_of_their_kind_that_can_be_read_or_changed() {
        let names = ObjectNames { webhook_configuration: "ours".to_owned(), ..ObjectNames::default() };
        for component in [Component::Watch, Component::Reconcile, Component::Remediate, Component::Webhook] {
            for rule in [rules(component, true, &names), rules(component, false, &names)].concat() {
                let resources = rule.resources.clone().unwrap_or_default();
                let is_sensitive =
                    ["secrets", "leases", "validatingwebhookconfigurations", "mutatingwebhookconfigurations"]
                        .iter()
                        .any(|sensitive| resources.iter().any(|resource| resource == sensitive));
                if is_sensitive && rule.verbs != ["create"] {
                    assert!(rule.resource_names.is_some(), "{rule:?}");
                }
            }
        }
        let configuration = rules(Component::Webhook, false, &names).into_iter().find_map(|rule| rule.resource_names);
        assert_eq!(configuration, Some(vec!["ours".to_owned()]));
    }

    #[test]
    fn only_the_definitions_of_the_platform_can_be_read_and_changed() {
        let rules = rules(Component::Install, false, &ObjectNames::default());
        let names: Vec<String> = rules.into_iter().filter_map(|rule| rule.resource_names).flatten().collect();
        let definitions = crate::crd::definitions().map(|definition| definition.metadata.name);
        assert_eq!(names.into_iter().map(Some).collect::<Vec<_>>(), definitions);
    }

    #[test]
    fn only_remediation_can_change_workloads_and_pods() {
        let writes = |component: Component| {
            let all =
                [rules(component, false, &ObjectNames::default()), rules(component, true, &ObjectNames::default())];
            let is_write =
                |rule: &PolicyRule| rule.verbs.iter().any(|verb| !["get", "list", "watch"].contains(&&**verb));
            let is_workload = |rule: &PolicyRule| {
                let groups = rule.api_groups.as_deref().unwrap_or_default();
                groups == ["apps"] || rule.resources.as_deref().unwrap_or_default() == ["pods"]
            };
            all.concat().iter().any(|rule| is_write(rule) && is_workload(rule))
        };
        assert!(writes(Component::Remediate));
        for component in [Component::Cli, Component::Watch, Component::Reconcile, Component::Webhook] {
            assert!(!writes(component), "{component:?}");
        }
    }
}
