//! `baseline`: a balanced choice for general use, which only reports.
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
                "The two mistakes that hurt most teams first: images that move, and pods that get traffic before \
                          they can serve it. Changes nothing in the cluster."
                    .to_owned(),
            enforcement: Enforcement::Audit,
            checks: vec![Selection::new("latest-tag"), Selection::new("missing-readiness")],
            default_probe: None,
            default_resources: None,
        }
    }
}

kube_devops_sdk::export_bundle!(Baseline);
