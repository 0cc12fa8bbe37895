//! The component with the built-in checks. Evaluated together, they cost little more than one of them.
#![forbid(unsafe_code)]

pub use check_high_restarts::HighRestarts;
pub use check_latest_tag::LatestTag;
pub use check_missing_liveness::MissingLiveness;
pub use check_missing_readiness::MissingReadiness;
pub use check_pending::Pending;

kube_devops_sdk::export_checks!(HighRestarts, LatestTag, MissingLiveness, MissingReadiness, Pending);
