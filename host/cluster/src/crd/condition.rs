//! The conditions in the status of custom resources.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube_devops_core::text::{cut, escape_controls};

/// The object is valid and in effect.
pub const READY: &str = "Ready";
/// Every check of a policy evaluated every pod that it applies to.
pub const EVALUATED: &str = "Evaluated";
/// Workloads are remediated under a policy.
pub const ENFORCED: &str = "Enforced";
/// The bytes of a module were found.
pub const RESOLVED: &str = "Resolved";
/// The current version of a module is signed by one of the keys.
pub const VERIFIED: &str = "Verified";
/// The current version of a module was loaded.
pub const LOADED: &str = "Loaded";

/// The longest message, in bytes.
pub const MAX_MESSAGE_LENGTH: usize = 1024;

/// Makes the conditions of an object.
pub struct Conditions<'a> {
    /// The conditions before. Those that do not change keep the time of their last transition.
    pub before: &'a [Condition],
    /// The generation of the object.
    pub generation: Option<i64>,
    /// The time.
    pub now: DateTime<Utc>,
}

impl Conditions<'_> {
    /// Returns a condition. `message` is untrusted text.
    pub fn of(&self, kind: &str, holds: bool, reason: &str, message: &str) -> Condition {
        let status = if holds { "True" } else { "False" };
        let same = self.before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: cut(&escape_controls(message), MAX_MESSAGE_LENGTH),
            observed_generation: self.generation,
            last_transition_time: same
                .map_or_else(|| time(self.now), |condition| condition.last_transition_time.clone()),
        }
    }
}

/// Returns a time in the format of the API.
pub fn time(now: DateTime<Utc>) -> Time {
    Time(Timestamp::from_second(now.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}
