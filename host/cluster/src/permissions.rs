//! What each component must be allowed to do. This is the one list: `kube-devops check` asks for it.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::PostParams;

use crate::ClusterError;
use crate::connection::Connection;

/// A part of the platform that acts on a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// `analyze`, `list pods` and `check`, with the rights of the person who calls them.
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
    /// The name, as people know it.
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

/// One kind of resource and what must be allowed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with a subresource behind a slash.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// Whether the component's own namespace is enough.
    pub own_namespace: bool,
    /// Who needs it.
    pub needed_by: &'static [Component],
    /// What for.
    pub purpose: &'static str,
}

const POLICIES: &str = "devops.stochastic.io";

/// Every permission that any component needs.
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
        cluster("", "pods", &["list"], &[Cli, Watch, Reconcile], "judge pods"),
        cluster("", "pods", &["watch"], &[Watch, Reconcile], "notice when pods change"),
        cluster(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            &["get", "create", "patch"],
            &[Install],
            "install the custom resources",
        ),
        cluster(POLICIES, "devopspolicies", &["get", "list", "watch"], &[Reconcile, Webhook], "read policies"),
        cluster(POLICIES, "devopspolicies", &["patch"], &[Reconcile], "set and remove the finalizer"),
        cluster(POLICIES, "devopspolicies/status", &["patch"], &[Reconcile], "report what was found"),
        cluster(
            POLICIES,
            "policyauditresults",
            &["list", "create", "delete"],
            &[Reconcile],
            "keep audit results, and remove old ones",
        ),
        cluster("apps", "replicasets", &["get"], &[Reconcile], "find the Deployment of a pod"),
        cluster("apps", "deployments", &["get", "patch"], &[Reconcile], "mend workloads where a policy enforces"),
        cluster("apps", "statefulsets", &["get", "patch"], &[Reconcile], "mend workloads where a policy enforces"),
        cluster("apps", "daemonsets", &["get", "patch"], &[Reconcile], "mend workloads where a policy enforces"),
        cluster(
            "",
            "pods",
            &["delete"],
            &[Reconcile],
            "free a StatefulSet of a pod that a taken back change left stuck",
        ),
        cluster("events.k8s.io", "events", &["create", "patch"], &[Reconcile], "tell of violations and remediations"),
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
            purpose: "keep the webhook's certificate",
        },
        cluster(
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            &["get", "patch"],
            &[Webhook],
            "tell the API server which certificate to trust",
        ),
    ]
};

/// The rules of a role for a component: those for its own namespace, or those for the whole cluster.
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

/// Whether one verb of a permission is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The permission.
    pub permission: Permission,
    /// The verb.
    pub verb: &'static str,
    /// The namespace that it was asked for; none: the whole cluster.
    pub namespace: Option<String>,
    /// What the API server said.
    pub allowed: bool,
}

/// Asks the API server for every permission. `namespace` is the one that components would run in.
pub async fn ask(connection: &Connection, namespace: &str) -> Result<Vec<Answer>, ClusterError> {
    let mut answers = Vec::new();
    for permission in PERMISSIONS {
        let namespace = permission.own_namespace.then(|| namespace.to_owned());
        ask_for(connection, permission, namespace, &mut answers).await?;
    }
    Ok(answers)
}

/// Asks the API server for what `analyze` needs in some namespaces.
pub async fn ask_to_analyze(connection: &Connection, namespaces: &[String]) -> Result<Vec<Answer>, ClusterError> {
    let mut answers = Vec::new();
    for namespace in namespaces {
        for permission in PERMISSIONS.iter().filter(|permission| permission.needed_by.contains(&Component::Cli)) {
            ask_for(connection, permission, Some(namespace.clone()), &mut answers).await?;
        }
    }
    Ok(answers)
}

async fn ask_for(
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
        let review = review.map_err(|error| connection.error(error, "ask for permissions"))?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        answers.push(Answer { permission: *permission, verb, namespace: namespace.clone(), allowed });
    }
    Ok(())
}
