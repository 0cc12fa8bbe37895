//! The facts about a batch of subjects, in the encodings of the contract, each of which is created once for all components.

use std::borrow::Borrow;
use std::cell::{OnceCell, RefCell};

use kube_devops_core::Subject;
use kube_devops_facts::Writer;

use crate::bindings::check::devops::policy::types;
use crate::convert;

/// The most unused buffers that a thread keeps.
const MAX_BUFFERS: usize = 4;

thread_local! {
    /// Buffers of previous batches.
    static BUFFERS: RefCell<Vec<Writer>> = const { RefCell::new(Vec::new()) };
}

/// The facts about subjects.
pub struct Facts<'a, S> {
    subjects: &'a [S],
    has_annotations: bool,
    packed: OnceCell<Writer>,
    typed: OnceCell<Vec<types::Subject>>,
}

impl<'a, S: Borrow<Subject>> Facts<'a, S> {
    /// Creates the facts. Without `has_annotations`, they contain no annotations, even if the subjects do.
    pub fn new(subjects: &'a [S], has_annotations: bool) -> Self {
        Self { subjects, has_annotations, packed: OnceCell::new(), typed: OnceCell::new() }
    }
}

/// The facts, regardless of the type of the subjects.
pub trait Encoded {
    /// The packed layout.
    fn packed(&self) -> &Writer;

    /// The typed records.
    fn typed(&self) -> &[types::Subject];

    /// The number of containers of a subject.
    fn containers(&self, position: usize) -> usize;
}

impl<S: Borrow<Subject>> Encoded for Facts<'_, S> {
    fn packed(&self) -> &Writer {
        self.packed.get_or_init(|| {
            let mut writer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
            let subjects = self.subjects.iter().map(S::borrow);
            subjects.for_each(|subject| convert::write(subject, self.has_annotations, &mut writer));
            writer
        })
    }

    fn typed(&self) -> &[types::Subject] {
        let subjects = self.subjects.iter().map(S::borrow);
        self.typed.get_or_init(|| subjects.map(|subject| convert::subject(subject, self.has_annotations)).collect())
    }

    fn containers(&self, position: usize) -> usize {
        self.subjects[position].borrow().containers.len()
    }
}

impl<S> Drop for Facts<'_, S> {
    fn drop(&mut self) {
        if let Some(mut writer) = self.packed.take() {
            writer.clear();
            BUFFERS.with_borrow_mut(|buffers| {
                if buffers.len() < MAX_BUFFERS {
                    buffers.push(writer);
                }
            });
        }
    }
}
