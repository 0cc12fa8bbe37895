//! The paths of fields of a custom resource, in errors about them.

use std::fmt::{self, Display, Formatter};

use kube_devops_core::pointer;
use serde_path_to_error::Segment;

/// The path of a field, such as `spec.checks[0].weight`; without steps, the whole object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl FieldPath {
    /// Returns the path of a field of the object.
    pub fn of(key: &str) -> Self {
        Self::default().key(key)
    }

    /// Returns the path of a field below this one.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// Returns the path of an item of this list.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// Returns the path as a JSON Pointer.
    pub fn pointer(&self) -> String {
        let step = |step: &Step| match step {
            Step::Key(key) => format!("/{}", pointer::escape(key)),
            Step::Index(index) => format!("/{index}"),
        };
        self.0.iter().map(step).collect()
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl Display for FieldPath {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => write!(formatter, "{key}")?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<&serde_path_to_error::Path> for FieldPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self(path.iter().filter_map(step).collect())
    }
}

impl From<&serde_ignored::Path<'_>> for FieldPath {
    fn from(path: &serde_ignored::Path<'_>) -> Self {
        match path {
            serde_ignored::Path::Root => Self::default(),
            serde_ignored::Path::Seq { parent, index } => Self::from(*parent).index(*index),
            serde_ignored::Path::Map { parent, key } => Self::from(*parent).key(key),
            serde_ignored::Path::Some { parent }
            | serde_ignored::Path::NewtypeStruct { parent }
            | serde_ignored::Path::NewtypeVariant { parent } => Self::from(*parent),
        }
    }
}

/// The reason why a field, or the whole object, is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field.
    pub field: FieldPath,
    /// The reason.
    pub message: String,
}

impl Display for FieldError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.field.0.as_slice() {
            [] => write!(formatter, "{}", self.message),
            _ => write!(formatter, "{}: {}", self.field, self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_by_kubernetes_and_as_pointers() {
        let path = FieldPath::of("spec").key("checks").index(1).key("a/b.c");
        assert_eq!(path.to_string(), "spec.checks[1].a/b.c");
        assert_eq!(path.pointer(), "/spec/checks/1/a~1b.c");
        assert_eq!(FieldPath::default().pointer(), "");
    }

    #[test]
    fn an_error_about_the_whole_object_has_no_field() {
        let error = |field| FieldError { field, message: "is wrong".to_owned() }.to_string();
        assert_eq!(error(FieldPath::of("spec")), "spec: is wrong");
        assert_eq!(error(FieldPath::default()), "is wrong");
    }
}
