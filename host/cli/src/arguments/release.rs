//! Arguments of `release`.

use clap::Args;
use kube_devops_core::workload::WORKLOADS;
use kube_devops_remediation::WorkloadKey;

#[derive(Debug, Args)]
pub struct ReleaseArguments {
    /// Workloads, such as deployment/web
    #[arg(required = true, value_name = "KIND/NAME", value_parser = workload)]
    pub workloads: Vec<WorkloadKey>,
    /// Namespace of the workloads; defaults to the namespace of the kubeconfig context
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// The short names of kubectl.
const SHORT_NAMES: [(&str, &str); 3] = [("deploy", "deployments"), ("sts", "statefulsets"), ("ds", "daemonsets")];

/// Parses `KIND/NAME` as kubectl does: the kind, the resource or its short name, with or without the API group.
fn workload(text: &str) -> Result<WorkloadKey, String> {
    let remediated = || WORKLOADS.iter().filter(|workload| workload.can_be_remediated);
    let (kind, name) = text
        .split_once('/')
        .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| "expected KIND/NAME, such as deployment/web".to_owned())?;
    let lower = kind.to_lowercase();
    let lower = lower.strip_suffix(".apps").unwrap_or(&lower);
    let long = SHORT_NAMES.iter().find(|(short, _)| *short == lower).map_or(lower, |(_, long)| long);
    let found = remediated().find(|workload| workload.resource == long || workload.kind.to_lowercase() == long);
    let found = found.ok_or_else(|| {
        let kinds: Vec<_> = remediated().map(|workload| workload.kind.to_lowercase()).collect();
        format!("{kind:?} has no added fields; the kinds are {}", kinds.join(", "))
    })?;
    Ok(WorkloadKey { kind: found.kind.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_kubectl_are_accepted() {
        let parse = |text: &str| workload(text).map(|key| format!("{} {}", key.kind, key.name));
        for text in ["deployment/web", "Deployment/web", "deployments/web", "deploy/web", "deployments.apps/web"] {
            assert_eq!(parse(text).as_deref(), Ok("Deployment web"), "{text}");
        }
        assert_eq!(parse("sts/db").as_deref(), Ok("StatefulSet db"));
        assert_eq!(parse("ds/agent").as_deref(), Ok("DaemonSet agent"));
        for text in ["web", "deployment/", "deployment/a/b", "/web", "pod/web", "job/web"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
