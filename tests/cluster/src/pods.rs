//! What pods do on nodes that kwok plays, chosen by labels of the pod (or of the pod template of a workload).
//!
//! Without any of these labels a pod that has a node is ready at once, a pod of a Job finishes at once, and a deleted pod is
//! gone at once. A pod without a node, because it asks for one that does not exist, is left to the scheduler: it stays
//! pending as unschedulable.
//!
//! The behaviour is written down in `stages/`, one file for each.

/// With the value `true`: all containers crash again and again, and their restart counts grow about once a second.
pub const CRASH_LOOP: &str = "test.kube-devops/crash-loop";

/// The restart count of all containers from the start, for example `7`. Can be combined with [`CRASH_LOOP`].
pub const RESTARTS: &str = "test.kube-devops/restarts";

/// The pod has a node, but stays pending. The value is the reason its containers give, for example `ImagePullBackOff`.
pub const PENDING: &str = "test.kube-devops/pending";

/// The pod comes to an end after it was running: `succeeded` or `failed`.
pub const FINISHES: &str = "test.kube-devops/finishes";

/// The documents of kwok's configuration file.
pub(crate) fn stages() -> String {
    [
        include_str!("../stages/node-initialize.yaml"),
        include_str!("../stages/node-heartbeat.yaml"),
        include_str!("../stages/pod-ready.yaml"),
        include_str!("../stages/pod-crash-loop.yaml"),
        include_str!("../stages/pod-pending.yaml"),
        include_str!("../stages/pod-finished.yaml"),
        include_str!("../stages/pod-deleted.yaml"),
    ]
    .join("---\n")
}
