//! Bundles, and policies created from them.

use std::fmt::Write;

use anyhow::Result;
use kube_devops_cluster::policies;
use kube_devops_core::{Bundle, Enforcement};
use kube_devops_engine::Catalog;

use super::super::document::ordered_document;
use super::super::{Outcome, print};
use crate::arguments::{ClusterArguments, ModuleArguments};
use crate::modules;

/// Lists the bundles.
pub fn list(further: &ModuleArguments, cluster: &ClusterArguments) -> Result<Outcome> {
    let mut text = String::from("Available policy bundles:\n");
    for bundle in modules::catalog(further, cluster)?.bundles().values() {
        let _ = writeln!(text, "  {:<11} — {}", bundle.name, bundle.title);
    }
    print(&text)
}

/// Shows the contents of a bundle.
pub fn show(name: &str, further: &ModuleArguments, cluster: &ClusterArguments) -> Result<Outcome> {
    let catalog = modules::catalog(further, cluster)?;
    print(&details(&catalog, &modules::bundle(&catalog, name)?))
}

/// Prints a bundle as a policy.
pub fn apply(
    name: &str,
    namespace: &str,
    policy_name: &str,
    further: &ModuleArguments,
    cluster: &ClusterArguments,
) -> Result<Outcome> {
    let catalog = modules::catalog(further, cluster)?;
    let policy = policies::from_bundle(&modules::bundle(&catalog, name)?, namespace, policy_name)?;
    print(&ordered_document(&policy)?)
}

fn details(catalog: &Catalog, bundle: &Bundle) -> String {
    let checks = catalog.infos();
    let mut text = format!("{} — {}\n{}\n\n", bundle.name, bundle.title, bundle.description);
    let _ = writeln!(text, "{:<20} {:<10} SETTINGS", "CHECK", "SEVERITY");
    for rule in &bundle.rules {
        let own = checks.get(&rule.check).map(|check| check.severity);
        let severity = rule.severity.or(own).unwrap_or_default();
        let settings = rule.settings.as_object().into_iter().flatten();
        let settings: Vec<_> = settings.map(|(name, value)| format!("{name}: {value}")).collect();
        let line = format!("{:<20} {severity:<10} {}", rule.check, settings.join(", "));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let mode = match bundle.enforcement {
        Enforcement::Audit => "audit: violations are reported, nothing is changed",
        Enforcement::Enforce => "enforce: missing probes and resources are added to workloads",
    };
    let _ = writeln!(text, "\nEnforcement mode     {mode}");
    if let Some(probe) = &bundle.default_probe {
        let port = probe.tcp_port.map_or("the container's first port".to_owned(), |port| format!(":{port}"));
        let seconds = |seconds: Option<u32>, default| seconds.unwrap_or(default);
        let _ = writeln!(
            text,
            "Default probe        TCP {port}, {}s delay, {}s period",
            seconds(probe.initial_delay_seconds, 5),
            seconds(probe.period_seconds, 10)
        );
    }
    if let Some(resources) = &bundle.default_resources {
        let quantity = |quantity: &Option<String>| quantity.clone().unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            text,
            "Default resources    CPU {}/{}, memory {}/{} (request/limit)",
            quantity(&resources.cpu_request),
            quantity(&resources.cpu_limit),
            quantity(&resources.memory_request),
            quantity(&resources.memory_limit)
        );
    }
    text
}
