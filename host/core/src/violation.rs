//! Violations: what is wrong with an object by a policy.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Severity;
use crate::outcome::{CheckOutcome, Finding};
use crate::score::HIGHEST_MAGNITUDE;
use crate::subject::{Container, Controller, Source, Subject};

/// A finding with the policy's severity and the check's weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The id of the check.
    pub check: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// What it costs.
    pub weight: u32,
    /// How many times it costs that.
    pub magnitude: u32,
    /// The namespace of the object.
    pub namespace: Arc<str>,
    /// The kind of the object.
    pub kind: Arc<str>,
    /// The name of the object.
    pub name: Arc<str>,
    /// The object that controls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub controller: Option<Arc<Controller>>,
    /// The container to blame.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<Arc<str>>,
    /// JSON Pointer into the object to the one place to blame. The place need not exist.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<Arc<str>>,
    /// What is wrong.
    pub message: Arc<str>,
    /// Where the object was read, when it came from a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
}

impl Violation {
    /// What the violation takes off the score, before the average: weight x magnitude.
    pub fn penalty(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.magnitude)
    }

    /// What orders the violations of one object.
    pub(crate) fn place(&self) -> impl Ord + '_ {
        (&self.container, &self.check, &self.field, &self.message)
    }

    /// The violation in one line, as the status of a policy lists it.
    pub fn line(&self) -> String {
        let kind = self.kind.to_lowercase();
        match &self.container {
            Some(container) => format!("{kind}/{}: container {container}: {}", self.name, self.message),
            None => format!("{kind}/{}: {}", self.name, self.message),
        }
    }
}

impl CheckOutcome {
    /// A finding of this check about `subject` as a violation. `check` is the id of the check.
    pub(crate) fn violation(
        &self,
        check: &Arc<str>,
        finding: &Finding,
        subject: &Subject,
        fields: &mut Fields,
    ) -> Violation {
        let container = finding.container.and_then(|index| subject.containers.get(index));
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
            magnitude: finding.magnitude.clamp(1, HIGHEST_MAGNITUDE),
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

/// The fields of violations. Most violations of a report are about the same few, and share their texts.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    known: HashSet<Arc<str>>,
    text: String,
}

impl Fields {
    fn shared(&mut self, field: fmt::Arguments<'_>) -> Arc<str> {
        self.text.clear();
        // Writing to a text cannot fail.
        let _ = self.text.write_fmt(field);
        if let Some(known) = self.known.get(self.text.as_str()) {
            return known.clone();
        }
        let new: Arc<str> = self.text.as_str().into();
        self.known.insert(new.clone());
        new
    }
}
