//! The findings of a check.

use crate::Finding;

/// The findings of a batch, to which a check adds the findings of each subject.
#[derive(Debug, Default)]
pub struct Findings {
    rule: u32,
    subject: u32,
    list: Vec<Finding>,
}

impl Findings {
    /// Sets the rule and the subject of the following findings, by their indices.
    pub(crate) fn begin(&mut self, rule: u32, subject: u32) {
        self.rule = rule;
        self.subject = subject;
    }

    /// Returns the index in the batch of the current subject, for `object::get`.
    pub fn subject(&self) -> u32 {
        self.subject
    }

    /// Adds a finding about the whole pod.
    pub fn pod(&mut self, message: impl Into<String>) {
        self.add(None, None, message.into(), 1);
    }

    /// Adds a finding about a container. `container` is its index in the subject, `field` the JSON Pointer in the
    /// container.
    pub fn container(&mut self, container: usize, field: &str, message: impl Into<String>) {
        self.add(Some(container), Some(field), message.into(), 1);
    }

    /// Adds a finding about a container that costs `magnitude` times the weight of the check, and is not about a field
    /// of the spec.
    pub fn container_times(&mut self, container: usize, magnitude: u32, message: impl Into<String>) {
        self.add(Some(container), None, message.into(), magnitude);
    }

    /// Returns the messages, for tests.
    pub fn messages(&self) -> Vec<&str> {
        self.list.iter().map(|finding| finding.message.as_str()).collect()
    }

    /// Returns the findings.
    pub fn into_list(self) -> Vec<Finding> {
        self.list
    }

    fn add(&mut self, container: Option<usize>, field: Option<&str>, message: String, magnitude: u32) {
        self.list.push(Finding {
            rule: self.rule,
            subject: self.subject,
            container: container.map(|index| index as u32),
            field: field.map(str::to_owned),
            message,
            magnitude,
        });
    }
}
