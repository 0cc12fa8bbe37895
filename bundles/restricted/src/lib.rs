//! `restricted`: all checks with strict settings, which also remediates workloads.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Bundle, BundleInfo, DefaultProbe, DefaultResources, Enforcement, Selection, Severity};

/// The bundle.
pub struct Restricted;

impl Bundle for Restricted {
    fn info() -> BundleInfo {
        BundleInfo {
            name: "restricted".to_owned(),
            title: "Strict enforcement with auto-patching".to_owned(),
            description:
                "For critical namespaces: all checks are enabled, pods with violations in their spec are denied at \
                          admission, and missing probes and resources are added to workloads."
                    .to_owned(),
            enforcement: Enforcement::Enforce,
            checks: vec![
                Selection::new("latest-tag").severity(Severity::Critical),
                Selection::new("missing-liveness").severity(Severity::High),
                Selection::new("missing-readiness").severity(Severity::High),
                Selection::new("high-restarts").settings(r#"{"threshold":3}"#).severity(Severity::Critical),
                Selection::new("pending").settings(r#"{"seconds":300}"#).severity(Severity::High),
            ],
            default_probe: Some(DefaultProbe {
                tcp_port: Some(8080),
                initial_delay_seconds: Some(5),
                period_seconds: Some(10),
            }),
            default_resources: Some(DefaultResources {
                cpu_request: Some("100m".to_owned()),
                cpu_limit: Some("500m".to_owned()),
                memory_request: Some("128Mi".to_owned()),
                memory_limit: Some("256Mi".to_owned()),
            }),
        }
    }
}

kube_devops_sdk::export_bundle!(Restricted);
