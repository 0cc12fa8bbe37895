//! The key of an object of a kind.

use std::fmt;
use std::sync::Arc;

use kube::api::ObjectMeta;
use kube_devops_core::text::cut;
use serde_json::Value;

/// The namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Returns the key of an object with this metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        Self { namespace: text(&metadata.namespace), name: text(&metadata.name) }
    }

    /// Returns the key of an object in its JSON form.
    pub fn of_value(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().into();
        Self { namespace: text("namespace"), name: text("name") }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Appends a suffix to a name, and shortens the name to the limit of Kubernetes of 253 characters.
pub fn with_suffix(name: &str, suffix: &str) -> String {
    const MAX_LENGTH: usize = 253;
    let room = MAX_LENGTH - suffix.len().min(MAX_LENGTH) - 1;
    let name = if name.len() > room { cut(name, room).replace('…', "") } else { name.to_owned() };
    format!("{}-{suffix}", name.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_shortened_for_its_suffix() {
        assert_eq!(with_suffix("policy", "1"), "policy-1");
        let long = with_suffix(&"x".repeat(253), "20260101t000000z");
        assert!(long.len() <= 253 && long.ends_with("x-20260101t000000z"), "{long}");
        assert_eq!(with_suffix("a-.", "1"), "a-1");
    }
}
