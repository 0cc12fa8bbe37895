//! The kinds that Kubernetes itself has, to tell a misspelt one from a custom one. The workloads have a
//! table of their own.

use kube_devops_core::workload::WORKLOADS;

/// Group and kinds that run no pods.
/// <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/>
const KINDS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "List",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    ("apps", &["ControllerRevision"]),
    ("extensions", &["Ingress"]),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    ("networking.k8s.io", &["Ingress", "IngressClass", "NetworkPolicy"]),
    ("policy", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
    ("storage.k8s.io", &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("admissionregistration.k8s.io", &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]),
];

/// The kind that is meant by one in the wrong case; none where it is right, or is not known.
pub(crate) fn meant_by(group: &str, kind: &str) -> Option<&'static str> {
    let listed = KINDS.iter().filter(|(known, _)| *known == group).flat_map(|(_, kinds)| kinds.iter().copied());
    let workloads = WORKLOADS.iter().filter(|workload| workload.group == group).map(|workload| workload.kind);
    let mut alike = listed.chain(workloads).filter(|known| known.eq_ignore_ascii_case(kind)).peekable();
    let meant = *alike.peek()?;
    (!alike.any(|known| known == kind)).then_some(meant)
}
