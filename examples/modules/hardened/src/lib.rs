//! `hardened`: a bundle that combines checks of the program with those of the pack in `pod-security`.

use kube_devops_sdk::{Bundle, BundleInfo, Enforcement, Selection, Severity, export_bundle};

/// The bundle.
pub struct Hardened;

impl Bundle for Hardened {
    fn info() -> BundleInfo {
        BundleInfo {
            name: "hardened".to_owned(),
            title: "Fixed versions, and no access to the node".to_owned(),
            description: "Images with a fixed version, and the controls of the Pod Security Standards in the module pod-security."
                .to_owned(),
            enforcement: Enforcement::Audit,
            checks: vec![
                Selection::new("latest-tag").severity(Severity::Critical),
                Selection::new("host-namespaces"),
                Selection::new("host-path"),
                Selection::new("privileged").severity(Severity::Critical),
                Selection::new("privilege-escalation"),
                Selection::new("non-root"),
            ],
            default_probe: None,
            default_resources: None,
        }
    }
}

export_bundle!(Hardened);
