//! The behaviour of pods on nodes simulated by kwok, selected by a label of the pod (or of the pod template of a workload):
//!
//! ```yaml
//! metadata:
//!   labels:
//!     test.kube-devops/pod: crash-looping   # or restarted, failing-probes, stuck, completing, failing
//!   annotations:
//!     test.kube-devops/restarts: "7"
//! ```
//!
//! Without the label, a pod with a node is ready at once and a pod of a Job completes at once. A deleted pod is removed at
//! once, regardless of its label. A pod without a node, because no node matches, is left to the scheduler: it stays pending
//! as unschedulable.
//!
//! The behaviours are defined in `stages/`, one file each.

/// The label; the constants from [`CRASH_LOOPING`] to [`FAILING`] are its values.
pub const LABEL: &str = "test.kube-devops/pod";

/// All containers crash repeatedly; their restart counts grow about once a second.
pub const CRASH_LOOPING: &str = "crash-looping";

/// The pod is ready, and all its containers have been restarted: once, or the number of times in [`RESTARTS`].
pub const RESTARTED: &str = "restarted";

/// The pod runs. The probes of its first container fail: with a readiness probe the pod is not ready, a liveness probe
/// restarts the container once.
pub const FAILING_PROBES: &str = "failing-probes";

/// The pod has a node but stays pending. Its containers wait with the reason `ImagePullBackOff`, or that of [`REASON`].
pub const STUCK: &str = "stuck";

/// The pod runs and then succeeds.
pub const COMPLETING: &str = "completing";

/// The pod runs and then fails.
pub const FAILING: &str = "failing";

/// An annotation: the initial restart count of all containers, for example `7`; a [`CRASH_LOOPING`] pod counts on from it.
pub const RESTARTS: &str = "test.kube-devops/restarts";

/// An annotation: the waiting reason of the containers of a [`STUCK`] pod, for example `ContainerCreating`.
pub const REASON: &str = "test.kube-devops/reason";

/// Returns the documents of kwok's configuration file.
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
