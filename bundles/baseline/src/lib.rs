//! `baseline`: a balanced set of checks for general use, which only reports.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Bundle, BundleInfo, Enforcement, Selection};

/// The bundle.
pub struct Baseline;

impl Bundle for Baseline {
    fn info() -> BundleInfo {
        BundleInfo {
            name: "baseline".to_owned(),
            title: "Balanced audit policy for general use".to_owned(),
            description:
                "Reports two common mistakes: images without a fixed version, and pods that receive traffic before \
                          they are ready. Changes nothing in the cluster."
                    .to_owned(),
            enforcement: Enforcement::Audit,
            checks: vec![Selection::new("latest-tag"), Selection::new("missing-readiness")],
            default_probe: None,
            default_resources: None,
        }
    }
}

kube_devops_sdk::export_bundle!(Baseline);
