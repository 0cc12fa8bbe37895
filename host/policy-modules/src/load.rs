//! Versions to load, and why they cannot be loaded.

use kube_devops_engine::{Grants, LoadError};
use kube_devops_oci::Digest;
use kube_devops_oci::fetch::Reserved;

use super::content::Content;
use super::oci::{Identity, Origin};

/// Where the version is that is loaded next. Versions wait while others are compiled, which takes up to minutes.
#[derive(Debug)]
pub enum Next {
    /// It was fetched from a registry, within the budget of memory.
    Fetched(Box<Load>),
    /// It is in its ConfigMap, where it may be compressed.
    InConfigMap,
}

impl Next {
    /// Whether it is the last good version, and not the current one.
    pub fn is_fallback(&self) -> bool {
        matches!(self, Self::Fetched(load) if load.is_fallback())
    }
}

/// Which version of a module is loaded, without its content.
#[derive(Debug, Clone)]
pub struct Target {
    /// The name of the PolicyModule.
    pub module: String,
    /// The object that it is loaded for.
    pub identity: Identity,
    /// The digest of its manifest, or of its component.
    pub version: String,
    /// Whether it is the last good version, and not the current one.
    pub is_fallback: bool,
}

/// A version to load.
#[derive(Debug)]
pub struct Load {
    /// The name of the PolicyModule.
    pub module: String,
    /// The object that it is loaded for. The result is ignored if there is another one.
    pub identity: Identity,
    /// The component.
    pub content: Content,
    /// What it may import.
    pub grants: Grants,
    /// Its place in a registry.
    pub origin: Option<(Origin, Digest)>,
    /// The memory for the component in the budget of all modules.
    #[expect(dead_code, reason = "its drop returns the memory")]
    pub reserved: Option<Reserved>,
}

impl Load {
    /// What it is.
    pub fn target(&self) -> Target {
        let version = match &self.origin {
            Some((_, manifest)) => manifest.to_string(),
            None => self.content.digest.clone(),
        };
        let is_fallback = self.is_fallback();
        Target { module: self.module.clone(), identity: self.identity.clone(), version, is_fallback }
    }

    /// Whether it is the last good version, and not the current one.
    pub fn is_fallback(&self) -> bool {
        self.origin.as_ref().is_some_and(|(origin, _)| origin.is_fallback)
    }
}

/// The reason why a version cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// The reason of the condition.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
    /// Whether the same bytes may be loaded later.
    pub is_temporary: bool,
}

impl From<&LoadError> for LoadFailure {
    fn from(error: &LoadError) -> Self {
        let (reason, is_temporary) = match error {
            // There may be more memory later.
            LoadError::CompileMemory(_) => ("MemoryLimit", true),
            LoadError::CompileTime(_) | LoadError::CompilerKilled | LoadError::Compiler(_) | LoadError::Engine(_) => {
                ("LoadInterrupted", true)
            }
            _ => ("LoadFailed", false),
        };
        Self { reason, message: error.to_string(), is_temporary }
    }
}
