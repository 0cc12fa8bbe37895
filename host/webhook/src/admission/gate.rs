//! The selection of the requests to evaluate.

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
    if request.resource.group == "devops.stochastic.io" {
        return match (&*request.resource.resource, &*request.sub_resource) {
            ("devopspolicies", "") => Gate::Policy,
            ("policymodules", "") => Gate::Module,
            _ => Gate::Skip,
        };
    }
    let is_operator = || options.operator.as_deref() == Some(&*request.user_info.username);
    let is_skipped = request.namespace.is_empty()
        || !matches!(&*request.sub_resource, "" | "ephemeralcontainers")
        || options.system.contains(&request.namespace)
        || request.operation == "UPDATE" && is_operator();
    if is_skipped { Gate::Skip } else { Gate::Workload }
}

/// The users of the controllers of Kubernetes that create pods from templates. With the flag
/// `--use-service-account-credentials=false` they all use the last one.
/// <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles>
const CONTROLLERS: [&str; 6] = [
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:serviceaccount:kube-system:job-controller",
    "system:serviceaccount:kube-system:replication-controller",
    "system:kube-controller-manager",
];

/// Whether a built-in controller creates a pod from a template that was admitted. The requesting user cannot be forged, unlike
/// the owner of a pod.
pub fn is_pod_of_controller(request: &Header<'_>) -> bool {
    request.operation == "CREATE"
        && (&*request.resource.group, &*request.resource.resource) == ("", "pods")
        && CONTROLLERS.contains(&&*request.user_info.username)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube_devops_core::{Severity, SystemNamespaces};

    use super::*;
    use crate::review::{Kind, Resource, UserInfo};

    const OPERATOR: &str = "system:serviceaccount:platform:operator";

    fn options() -> AdmissionOptions {
        AdmissionOptions {
            deny: Severity::High,
            fail_closed: false,
            deadline: Duration::from_secs(1),
            most_at_once: 1,
            system: SystemNamespaces::default(),
            operator: Some(OPERATOR.to_owned()),
            deny_controller_pods: false,
        }
    }

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
        let ephemeral = Header { sub_resource: "ephemeralcontainers".into(), ..request() };
        assert_eq!(gate(&ephemeral, &options()), Gate::Workload);
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
    fn pods_of_built_in_controllers_are_recognized_by_the_user() {
        let by = |user: &'static str| Header { user_info: UserInfo { username: user.into() }, ..request() };
        let controller = "system:serviceaccount:kube-system:replicaset-controller";
        assert!(is_pod_of_controller(&by(controller)));
        assert!(!is_pod_of_controller(&by("alice")));
        assert!(!is_pod_of_controller(&by("system:serviceaccount:shop:replicaset-controller")));
        assert!(!is_pod_of_controller(&Header { operation: "UPDATE".into(), ..by(controller) }));
        let jobs = Resource { group: "batch".into(), resource: "jobs".into() };
        assert!(!is_pod_of_controller(&Header { resource: jobs, ..by(controller) }));
    }

    #[test]
    fn policies_are_validated_in_every_namespace() {
        let resource = || Resource { group: "devops.stochastic.io".into(), resource: "devopspolicies".into() };
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
