//! The errors of a report.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::{EvaluationError, of_module};
use crate::subject::{Source, Subject};

/// An error of input that could not be read or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportError {
    /// The error and how to fix it.
    pub message: String,
    /// The check that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check: Option<String>,
    /// The location of the error in a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
    /// The cluster; absent in the report on manifests or on one cluster.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster: Option<Arc<str>>,
}

impl ReportError {
    /// Creates an error without a check and a location.
    pub fn new(message: String) -> Self {
        Self { message, check: None, source: None, cluster: None }
    }
    /// Creates the error of a check that failed to evaluate some of the subjects.
    pub(crate) fn of_check(error: &EvaluationError, subjects: &[Subject]) -> Self {
        const MAX_NAMES: usize = 3;
        let names: BTreeSet<String> = error
            .subjects
            .iter()
            .filter_map(|&index| subjects.get(index))
            .map(|subject| format!("{} {}/{}", subject.kind, subject.namespace, subject.name))
            .collect();
        let mut list = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > MAX_NAMES {
            list.push_str(&format!(" and {} more", names.len() - MAX_NAMES));
        }
        Self {
            message: format!(
                "check {}{} failed to evaluate {list}: {}",
                error.check,
                of_module(&error.module),
                error.cause
            ),
            check: Some(error.check.clone()),
            source: match error.subjects.as_slice() {
                [only] => subjects.get(*only).and_then(|subject| subject.source.clone()),
                _ => None,
            },
            cluster: None,
        }
    }
}
