//! What a check has found so far.

use crate::Finding;

/// The findings of a batch; a check adds those of one subject at a time.
#[derive(Debug, Default)]
pub struct Findings {
    subject: u32,
    list: Vec<Finding>,
}

impl Findings {
    /// Findings added from here on are about this subject of the batch.
    pub(crate) fn begin(&mut self, subject: u32) {
        self.subject = subject;
    }

    /// The place in the batch of the subject under evaluation, for `object::get`.
    pub fn subject(&self) -> u32 {
        self.subject
    }

    /// The whole pod is to blame.
    pub fn pod(&mut self, message: impl Into<String>) {
        self.add(None, None, message.into(), 1);
    }

    /// A container is to blame. `container` is its index in the subject; `field` a JSON Pointer in the container.
    pub fn container(&mut self, container: usize, field: &str, message: impl Into<String>) {
        self.add(Some(container), Some(field), message.into(), 1);
    }

    /// Like [`Findings::container`] for a finding that costs `magnitude` times the check's weight, and that blames no
    /// field of what was asked for.
    pub fn container_times(&mut self, container: usize, magnitude: u32, message: impl Into<String>) {
        self.add(Some(container), None, message.into(), magnitude);
    }

    /// The messages so far, for tests.
    pub fn messages(&self) -> Vec<&str> {
        self.list.iter().map(|finding| finding.message.as_str()).collect()
    }

    /// The findings so far.
    pub fn into_list(self) -> Vec<Finding> {
        self.list
    }

    fn add(&mut self, container: Option<usize>, field: Option<&str>, message: String, magnitude: u32) {
        self.list.push(Finding {
            subject: self.subject,
            container: container.map(|index| index as u32),
            field: field.map(str::to_owned),
            message,
            magnitude,
        });
    }
}
