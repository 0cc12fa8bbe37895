//! The permissions of each component. This is the only list: `kube-devops check` queries it.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::PostParams;

use crate::ClusterError;
use crate::connection::Connection;

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
    /// The admission webhook.
    Webhook,
}

impl Component {
    /// The name for users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "analyze",
            Self::Install => "crd install",
            Self::Watch => "watch",
            Self::Reconcile => "reconcile",
            Self::Webhook => "webhook",
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
    /// Whether the permission is needed only in the component's own namespace.
    pub own_namespace: bool,
    /// The components that need it.
    pub needed_by: &'static [Component],
    /// The purpose.
    pub purpose: &'static str,
}

const POLICIES: &str = "devops.stochastic.io";

/// The permissions of all components.
pub const PERMISSIONS: &[Permission] = {
    use Component::{Cli, Install, Reconcile, Watch, Webhook};
    const fn cluster(
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
        needed_by: &'static [Component],
        purpose: &'static str,
    ) -> Permission {
        Permission { group, resource, verbs, own_namespace: false, needed_by, purpose }
    }
    &[
        cluster("", "pods", &["list"], &[Cli, Watch, Reconcile], "evaluate pods"),
        cluster("", "pods", &["watch"], &[Watch, Reconcile], "watch for changes of pods"),
        cluster(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            &["get", "create", "patch"],
            &[Install],
            "install the custom resources",
        ),
        cluster(POLICIES, "devopspolicies", &["get", "list", "watch"], &[Reconcile, Webhook], "read policies"),
        cluster(POLICIES, "devopspolicies", &["patch"], &[Reconcile], "add and remove the finalizer"),
        cluster(POLICIES, "devopspolicies/status", &["patch"], &[Reconcile], "report the status"),
        cluster(
            POLICIES,
            "policyauditresults",
            &["list", "create", "delete"],
            &[Reconcile],
            "create audit results and delete old ones",
        ),
        cluster("apps", "replicasets", &["get"], &[Reconcile], "find the Deployment of a pod"),
        cluster(
            "apps",
            "deployments",
            &["get", "patch"],
            &[Reconcile],
            "remediate workloads under a policy that enforces",
        ),
        cluster(
            "apps",
            "statefulsets",
            &["get", "patch"],
            &[Reconcile],
            "remediate workloads under a policy that enforces",
        ),
        cluster(
            "apps",
            "daemonsets",
            &["get", "patch"],
            &[Reconcile],
            "remediate workloads under a policy that enforces",
        ),
        cluster(
            "",
            "pods",
            &["delete"],
            &[Reconcile],
            "delete pods of a StatefulSet that are stuck after a reverted patch",
        ),
        cluster(
            "events.k8s.io",
            "events",
            &["create", "patch"],
            &[Reconcile],
            "emit events about violations and remediations",
        ),
        Permission {
            group: "coordination.k8s.io",
            resource: "leases",
            verbs: &["get", "create", "update"],
            own_namespace: true,
            needed_by: &[Watch, Reconcile, Webhook],
            purpose: "elect a leader",
        },
        Permission {
            group: "",
            resource: "secrets",
            verbs: &["get", "create", "patch"],
            own_namespace: true,
            needed_by: &[Webhook],
            purpose: "store the certificate of the webhook",
        },
        cluster(
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            &["get", "patch"],
            &[Webhook],
            "update the CA bundle of the webhook",
        ),
    ]
};

/// Returns the rules of a role for a component, for its own namespace or for the whole cluster.
pub fn rules(component: Component, own_namespace: bool) -> Vec<PolicyRule> {
    let text = |text: &str| text.to_owned();
    PERMISSIONS
        .iter()
        .filter(|permission| permission.own_namespace == own_namespace && permission.needed_by.contains(&component))
        .map(|permission| PolicyRule {
            api_groups: Some(vec![text(permission.group)]),
            resources: Some(vec![text(permission.resource)]),
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

/// Asks the API server about the permissions of `analyze` in some namespaces.
pub async fn ask_to_analyze(connection: &Connection, namespaces: &[String]) -> Result<Vec<Answer>, ClusterError> {
    let mut answers = Vec::new();
    for namespace in namespaces {
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
