//! `check --installation`: whether the components of an installation work.

use anyhow::{Result, bail};
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::install;
use kube_devops_cluster::installation::{Service, admission, readiness};
use kube_devops_cluster::permissions::ObjectNames;

use super::{Outcome, print};
use crate::arguments::{CheckArguments, InstalledComponent};

/// Checks the components, and prints a line for each.
pub async fn run(connection: &Connection, arguments: &CheckArguments) -> Result<Outcome> {
    let (namespace, prefix) = (&arguments.namespace, &arguments.name_prefix);
    let excluded: Vec<Service> = arguments.without.iter().copied().map(service).collect();
    if excluded.len() == Service::ALL.len() {
        bail!("all components are excluded with --without: there is nothing to check");
    }
    let mut outcome = Outcome::Success;
    let mut line = |what: &str, result: Result<(), String>, good: &str| match result {
        Ok(()) => print(&format!("{what:<10}  {good}\n")),
        Err(reason) => {
            outcome = Outcome::GateNotMet;
            print(&format!("{what:<10}  FAILED: {reason}\n"))
        }
    };
    line("resources", install::check(connection).await?, "the custom resources are those of this version")?;
    let installed = Service::ALL.into_iter().filter(|service| !excluded.contains(service));
    for service in installed {
        line(service.as_str(), readiness(connection, namespace, prefix, service).await?, "ready")?;
    }
    if !excluded.contains(&Service::Webhook) {
        let result = admission(connection, namespace, &ObjectNames::with_prefix(prefix)).await?;
        line("admission", result, "the API server sends requests to the webhook")?;
    }
    Ok(outcome)
}

fn service(component: InstalledComponent) -> Service {
    match component {
        InstalledComponent::Watch => Service::Watch,
        InstalledComponent::Reconcile => Service::Reconcile,
        InstalledComponent::Webhook => Service::Webhook,
    }
}
