//! What pods do on nodes that kwok plays, chosen by a label of the pod (or of the pod template of a workload):
//!
//! ```yaml
//! metadata:
//!   labels:
//!     test.kube-devops/pod: crash-looping   # or restarted, refusing, stuck, completing, failing
//!   annotations:
//!     test.kube-devops/restarts: "7"
//! ```
//!
//! Without the label a pod that has a node is ready at once and a pod of a Job finishes at once. A deleted pod is gone at
//! once, whatever its label. A pod without a node, because it asks for one that does not exist, is left to the scheduler: it
//! stays pending as unschedulable.
//!
//! The behaviour is written down in `stages/`, one file for each.

/// The label; the constants from [`CRASH_LOOPING`] to [`FAILING`] are its values.
pub const LABEL: &str = "test.kube-devops/pod";

/// All containers crash again and again, and their restart counts grow about once a second.
pub const CRASH_LOOPING: &str = "crash-looping";

/// The pod is ready, and all its containers have been restarted: once, or as often as [`RESTARTS`] says.
pub const RESTARTED: &str = "restarted";

/// The pod runs. If its first container has a readiness probe it is not ready, and a liveness probe restarts it once.
pub const REFUSING: &str = "refusing";

/// The pod has a node but stays pending. Its containers wait, because of `ImagePullBackOff` or what [`REASON`] says.
pub const STUCK: &str = "stuck";

/// The pod runs and then succeeds.
pub const COMPLETING: &str = "completing";

/// The pod runs and then fails.
pub const FAILING: &str = "failing";

/// An annotation: the restart count with which all containers begin, for example `7`; a [`CRASH_LOOPING`] pod goes on from
/// there.
pub const RESTARTS: &str = "test.kube-devops/restarts";

/// An annotation: why the containers of a [`STUCK`] pod wait, for example `ContainerCreating`.
pub const REASON: &str = "test.kube-devops/reason";

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
