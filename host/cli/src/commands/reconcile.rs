//! `reconcile`: the operator.

use std::time::Duration;

use anyhow::Result;
use kube_devops_controllers::reconcile::{self, AuditOptions, ReconcileOptions};
use kube_devops_remediation::EnforceOptions;

use super::{Outcome, controller};
use crate::arguments::{ClusterArguments, ReconcileArguments};

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ReconcileArguments) -> Result<Outcome> {
    let catalog = controller::catalog(&arguments.modules)?;
    let options = ReconcileOptions {
        address: arguments.addr,
        election: arguments.controller.election(&arguments.lease_name),
        audit: AuditOptions {
            retention: arguments.audit_retention.into(),
            period: Duration::from_secs(arguments.audit_period.into()),
        },
        enforce: EnforceOptions {
            patches_a_minute: arguments.patches_per_minute.into(),
            rollout_deadline: Duration::from_secs(arguments.rollout_deadline.into()),
            dry_run: arguments.dry_run,
        },
        system: arguments.controller.system(),
    };
    controller::run(cluster, false, controller::THREADS, async |connection, stop| {
        reconcile::run(&connection, catalog, options, stop).await?;
        Ok(())
    })
}
