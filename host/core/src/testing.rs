//! Builders for tests of this workspace. Callers replace the fields that matter to them by struct update syntax.

use crate::Severity;
use crate::subject::{Container, Subject};
use crate::violation::Violation;

/// A violation of weight 5 in container `app` of pod `name` in namespace `shop`.
pub fn violation(check: &str, severity: Severity, name: &str) -> Violation {
    Violation {
        check: check.into(),
        severity,
        weight: 5,
        magnitude: 1,
        cluster: None,
        namespace: "shop".into(),
        kind: "Pod".into(),
        name: name.into(),
        controller: None,
        container: Some("app".into()),
        field: None,
        message: "image nginx has no tag".into(),
        source: None,
    }
}

/// A pod in namespace `shop` without containers.
pub fn pod(name: &str) -> Subject {
    Subject {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: name.into(),
        spec_pointer: "/spec".into(),
        ..Subject::default()
    }
}

/// An app container.
pub fn container(name: &str) -> Container {
    Container { name: name.into(), image: "nginx".into(), ..Container::default() }
}
