//! `permissive`: all checks with lenient settings, which only reports.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Bundle, BundleInfo, Enforcement, Selection, Severity};

/// The bundle.
pub struct Permissive;

impl Bundle for Permissive {
    fn info() -> BundleInfo {
        BundleInfo {
            name: "permissive".to_owned(),
            title: "Lenient monitoring for development".to_owned(),
            description: "For development and staging: all checks are enabled, with high thresholds and low or medium \
                          severities. Changes nothing in the cluster and denies no requests."
                .to_owned(),
            enforcement: Enforcement::Audit,
            checks: vec![
                Selection::new("latest-tag").severity(Severity::Low),
                Selection::new("missing-liveness").severity(Severity::Low),
                Selection::new("missing-readiness").severity(Severity::Low),
                Selection::new("high-restarts").settings(r#"{"threshold":10}"#).severity(Severity::Medium),
                Selection::new("pending").settings(r#"{"seconds":600}"#).severity(Severity::Low),
            ],
            default_probe: None,
            default_resources: None,
        }
    }
}

kube_devops_sdk::export_bundle!(Permissive);
