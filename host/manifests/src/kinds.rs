//! The built-in kinds of Kubernetes, to distinguish misspelled kinds from custom ones. The workloads are in a separate
//! table.

use kube_devops_core::workload::WORKLOADS;

/// Groups and their kinds that run no pods.
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

/// Returns the correct spelling of a kind in the wrong case, or `None` if the kind is correct or unknown.
pub(crate) fn correct_case(group: &str, kind: &str) -> Option<&'static str> {
    let listed = KINDS.iter().filter(|(known, _)| *known == group).flat_map(|(_, kinds)| kinds.iter().copied());
    let workloads = WORKLOADS.iter().filter(|workload| workload.group == group).map(|workload| workload.kind);
    let mut alike = listed.chain(workloads).filter(|known| known.eq_ignore_ascii_case(kind)).peekable();
    let correct = *alike.peek()?;
    (!alike.any(|known| known == kind)).then_some(correct)
}
