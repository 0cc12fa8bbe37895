//! Violations: the findings about an object under a policy.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Severity;
use crate::outcome::{CheckOutcome, Finding};
use crate::score::MAX_MAGNITUDE;
use crate::subject::{Container, Controller, Source, Subject};

/// A finding with the severity of the policy and the weight of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The id of the check.
    pub check: Arc<str>,
    /// The severity of the violation.
    pub severity: Severity,
    /// The cost of the violation in the health score.
    pub weight: u32,
    /// The factor for the weight.
    pub magnitude: u32,
    /// The cluster of the object; absent in the report on manifests or on one cluster.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster: Option<Arc<str>>,
    /// The namespace of the object.
    pub namespace: Arc<str>,
    /// The kind of the object.
    pub kind: Arc<str>,
    /// The name of the object.
    pub name: Arc<str>,
    /// The object that controls the pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub controller: Option<Arc<Controller>>,
    /// The container that causes the violation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<Arc<str>>,
    /// The JSON Pointer into the object to the field that causes the violation. The field may be missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<Arc<str>>,
    /// The message of the finding.
    pub message: Arc<str>,
    /// The location of the violation in a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
}

impl Violation {
    /// Returns the penalty for the score, before the average: weight x magnitude.
    pub fn penalty(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.magnitude)
    }

    /// Returns the sort key for the violations of one object.
    pub(crate) fn place(&self) -> impl Ord + '_ {
        (&self.container, &self.check, &self.field, &self.message)
    }

    /// Returns the violation in one line, as shown in the status of a policy.
    pub fn line(&self) -> String {
        let kind = self.kind.to_lowercase();
        match &self.container {
            Some(container) => format!("{kind}/{}: container {container}: {}", self.name, self.message),
            None => format!("{kind}/{}: {}", self.name, self.message),
        }
    }
}

impl CheckOutcome {
    /// Converts a finding of this check about `subject` to a violation. `check` is the id of the check.
    pub(crate) fn violation(
        &self,
        check: &Arc<str>,
        finding: &Finding,
        subject: &Subject,
        fields: &mut Fields,
    ) -> Violation {
        let container = finding.container.and_then(|index| subject.containers.get(index as usize));
        let field = match (container, &finding.field) {
            (Some(container), field) => {
                let field = field.as_deref().unwrap_or_default();
                Some(fields.shared(format_args!("{}{}{field}", subject.spec_pointer, container.pointer())))
            }
            (None, Some(field)) => Some(fields.shared(format_args!("{}{field}", subject.spec_pointer))),
            (None, None) => None,
        };
        Violation {
            check: check.clone(),
            severity: self.severity,
            weight: self.weight,
            magnitude: finding.magnitude.clamp(1, MAX_MAGNITUDE),
            cluster: None,
            namespace: subject.namespace.clone(),
            kind: subject.kind.clone(),
            name: subject.name.clone(),
            controller: subject.controller.clone(),
            container: container.map(Container::shared_title),
            message: finding.message.clone(),
            source: subject.source.clone().map(|source| {
                let line = field.as_deref().and_then(|field| subject.line_of(field));
                Source { line: line.unwrap_or(source.line), ..source }
            }),
            field,
        }
    }
}

/// The fields of violations. Most violations of a report have one of a few fields, and share the strings.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    known: HashSet<Arc<str>>,
    text: String,
}

impl Fields {
    fn shared(&mut self, field: fmt::Arguments<'_>) -> Arc<str> {
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(field);
        if let Some(known) = self.known.get(self.text.as_str()) {
            return known.clone();
        }
        let new: Arc<str> = self.text.as_str().into();
        self.known.insert(new.clone());
        new
    }
}
