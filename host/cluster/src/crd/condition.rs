//! The types of the conditions in the status of a DevOpsPolicy.

/// The policy is valid.
pub const READY: &str = "Ready";
/// Every check evaluated every pod that it applies to.
pub const EVALUATED: &str = "Evaluated";
/// Workloads are remediated.
pub const ENFORCED: &str = "Enforced";
