//! The components of tests/guests.

use std::path::Path;

use anyhow::{Context, Result};

use crate::root;

/// Returns the component of a folder in tests/guests. `temporary` is cargo's temporary folder for tests.
///
/// # Errors
///
/// If it cannot be built, or does not exist.
pub fn guest(name: &str, temporary: &Path) -> Result<Vec<u8>> {
    let built = kube_devops_build_components::build(&[root().join("tests/guests")], &temporary.join("../components"))?;
    let found = built.into_iter().find(|component| component.folder == name);
    Ok(found.with_context(|| format!("there is no guest {name}"))?.bytes)
}

/// Returns the same component with another digest.
pub fn with_section(component: &[u8], name: u8) -> Vec<u8> {
    [component, &[0, 2, 1, name]].concat()
}

/// Returns the bytes with another text of the same length.
///
/// # Panics
///
/// If the lengths differ.
pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    for position in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[position..].starts_with(from) {
            bytes[position..position + to.len()].copy_from_slice(to);
        }
    }
    bytes
}
