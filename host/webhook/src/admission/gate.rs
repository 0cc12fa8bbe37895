//! The selection of the requests to evaluate.

use kube_devops_cluster::crd::GROUP;

use super::{AdmissionOptions, Header};

/// The handling of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It is admitted without evaluation.
    Skip,
    /// Its object is a DevOpsPolicy, whose settings are validated.
    Policy,
    /// Its object is a PolicyModule.
    Module,
    /// Its object may run pods, which are evaluated.
    Workload,
}

/// Decides on the handling of a request, without its objects.
pub fn gate(request: &Header<'_>, options: &AdmissionOptions) -> Gate {
    if !matches!(&*request.operation, "CREATE" | "UPDATE") {
        return Gate::Skip;
    }
    if request.resource.group == GROUP {
        return match (&*request.resource.resource, &*request.sub_resource) {
            ("devopspolicies", "") => Gate::Policy,
            ("policymodules", "") => Gate::Module,
            _ => Gate::Skip,
        };
    }
    let is_operator = || options.operator.as_deref() == Some(&*request.user_info.username);
    let is_skipped = request.namespace.is_empty()
        || !matches!(&*request.sub_resource, "" | "ephemeralcontainers" | "resize")
        || options.system.contains(&request.namespace)
        || request.operation == "UPDATE" && is_operator();
    if is_skipped { Gate::Skip } else { Gate::Workload }
}

/// The built-in controllers that create objects from templates: the resources that they create, and their users.
/// <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles>
const CONTROLLERS: [(&str, &str, &[&str]); 4] = [
    (
        "",
        "pods",
        &[
            "system:serviceaccount:kube-system:replicaset-controller",
            "system:serviceaccount:kube-system:statefulset-controller",
            "system:serviceaccount:kube-system:daemon-set-controller",
            "system:serviceaccount:kube-system:job-controller",
            "system:serviceaccount:kube-system:replication-controller",
        ],
    ),
    ("apps", "replicasets", &["system:serviceaccount:kube-system:deployment-controller"]),
    (
        "apps",
        "controllerrevisions",
        &[
            "system:serviceaccount:kube-system:statefulset-controller",
            "system:serviceaccount:kube-system:daemon-set-controller",
        ],
    ),
    ("batch", "jobs", &["system:serviceaccount:kube-system:cronjob-controller"]),
];
/// The user of all of them with the flag `--use-service-account-credentials=false`.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// Whether a built-in controller creates or updates an object by a template that was admitted. The requesting user cannot be forged,
/// unlike the owner of an object.
pub fn is_of_controller(request: &Header<'_>) -> bool {
    let (group, resource, user) = (&*request.resource.group, &*request.resource.resource, &*request.user_info.username);
    let users = CONTROLLERS.iter().find(|(of, name, _)| (*of, *name) == (group, resource)).map(|(_, _, users)| users);
    users.is_some_and(|users| user == CONTROLLER_MANAGER || users.contains(&user))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{OPERATOR, options};
    use super::*;
    use crate::review::{Kind, Resource, UserInfo};

    /// The creation of a pod in a namespace.
    fn request() -> Header<'static> {
        Header {
            uid: "1".into(),
            kind: Kind { kind: "Pod".into() },
            resource: Resource { group: "".into(), resource: "pods".into() },
            sub_resource: "".into(),
            namespace: "shop".into(),
            operation: "CREATE".into(),
            user_info: UserInfo { username: "alice".into() },
            object: None,
            old_object: None,
        }
    }

    #[test]
    fn objects_that_may_run_pods_are_evaluated() {
        assert_eq!(gate(&request(), &options()), Gate::Workload);
        assert_eq!(gate(&Header { operation: "UPDATE".into(), ..request() }, &options()), Gate::Workload);
        for sub_resource in ["ephemeralcontainers", "resize"] {
            let changed = Header { sub_resource: sub_resource.into(), operation: "UPDATE".into(), ..request() };
            assert_eq!(gate(&changed, &options()), Gate::Workload, "{sub_resource}");
        }
    }

    #[test]
    fn other_operations_subresources_and_namespaces_are_skipped() {
        for skipped in [
            Header { operation: "DELETE".into(), ..request() },
            Header { operation: "CONNECT".into(), ..request() },
            Header { sub_resource: "status".into(), ..request() },
            Header { namespace: "".into(), ..request() },
            Header { namespace: "kube-system".into(), ..request() },
        ] {
            assert_eq!(gate(&skipped, &options()), Gate::Skip, "{skipped:?}");
        }
    }

    #[test]
    fn updates_of_the_operator_are_skipped_and_nothing_else_of_it() {
        let user_info = || UserInfo { username: OPERATOR.into() };
        let update = Header { operation: "UPDATE".into(), user_info: user_info(), ..request() };
        assert_eq!(gate(&update, &options()), Gate::Skip);
        assert_eq!(gate(&Header { user_info: user_info(), ..request() }, &options()), Gate::Workload);
        let without = AdmissionOptions { operator: None, ..options() };
        assert_eq!(gate(&update, &without), Gate::Workload);
    }

    #[test]
    fn objects_of_built_in_controllers_are_recognized_by_the_user() {
        let of = |group: &'static str, resource: &'static str, user: &'static str| {
            let resource = Resource { group: group.into(), resource: resource.into() };
            is_of_controller(&Header { resource, user_info: UserInfo { username: user.into() }, ..request() })
        };
        let controller = |name: &str| &*format!("system:serviceaccount:kube-system:{name}-controller").leak();
        for (group, resource, name) in [
            ("", "pods", "replicaset"),
            ("", "pods", "job"),
            ("apps", "replicasets", "deployment"),
            ("batch", "jobs", "cronjob"),
            ("apps", "controllerrevisions", "statefulset"),
            ("apps", "controllerrevisions", "daemon-set"),
        ] {
            assert!(of(group, resource, controller(name)) && of(group, resource, CONTROLLER_MANAGER), "{name}");
            assert!(!of(group, resource, "alice"));
            assert!(!of("example.com", resource, controller(name)));
        }
        assert!(!of("", "pods", "system:serviceaccount:shop:replicaset-controller"));
        assert!(!of("", "pods", controller("deployment")), "it creates no pods");
        assert!(!of("apps", "deployments", controller("deployment")));
        assert!(!of("apps", "deployments", CONTROLLER_MANAGER), "no controller has a template for them");
    }

    #[test]
    fn policies_are_validated_in_every_namespace() {
        let resource = || Resource { group: GROUP.into(), resource: "devopspolicies".into() };
        let policy = Header { resource: resource(), namespace: "kube-system".into(), ..request() };
        assert_eq!(gate(&policy, &options()), Gate::Policy);
        let status = Header { resource: resource(), sub_resource: "status".into(), ..request() };
        assert_eq!(gate(&status, &options()), Gate::Skip);
        let module = Resource { resource: "policymodules".into(), ..resource() };
        assert_eq!(gate(&Header { resource: module, namespace: "".into(), ..request() }, &options()), Gate::Module);
        let other = Resource { resource: "policyauditresults".into(), ..resource() };
        assert_eq!(gate(&Header { resource: other, ..request() }, &options()), Gate::Skip);
    }
}
