//! The options for reading manifests.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use kube_devops_core::Needs;

/// The default name of standard input in reports.
pub const STANDARD_INPUT: &str = "stdin";

/// The options for reading manifests.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The current time, for the ages of pods.
    pub now: DateTime<Utc>,
    /// The namespace of objects without a namespace.
    pub default_namespace: String,
    /// Patterns of files in folders to exclude, in the syntax of `.gitignore`.
    pub exclude: Vec<String>,
    /// The charts that are rendered and read separately, so that their folders are no problem.
    pub rendered_charts: Vec<PathBuf>,
    /// The folders of kustomizations that are rendered and read separately, so that all their resources are evaluated.
    pub rendered_kustomizations: Vec<PathBuf>,
    /// The name of standard input in reports; the default is [`STANDARD_INPUT`].
    pub stdin_name: Option<String>,
    /// What checks need in addition to the usual facts.
    pub needs: Needs,
    /// The size limits.
    pub limits: Limits,
}

impl ReadOptions {
    /// Returns the options that exclude nothing, with the usual limits and facts, and the namespace `default`.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            now,
            default_namespace: "default".to_owned(),
            exclude: Vec::new(),
            rendered_charts: Vec::new(),
            rendered_kustomizations: Vec::new(),
            stdin_name: None,
            needs: Needs::default(),
            limits: Limits::default(),
        }
    }
}

/// Size limits. A file or document that exceeds a limit is an error.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The maximum size of a file; 512 MiB.
    pub file_bytes: u64,
    /// The maximum size of a YAML document; 8 MiB, and Kubernetes accepts objects of at most 3 MiB. Lists in the format
    /// of kubectl are parsed item by item, and can be as large as a file.
    pub document_bytes: usize,
    /// The maximum expansion of the aliases of a YAML document, and of the parameters of its OpenShift templates; 16 MiB.
    pub expansion_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 512 << 20, document_bytes: 8 << 20, expansion_bytes: 16 << 20 }
    }
}
