//! Policies in files and in a cluster: export, import and comparison.
//!
//! ```text
//!   objects of files --> without_server_fields --> apply ---------> created, configured, unchanged, or an ApplyError
//!                                          '-----> compare -------> what is stored, and what would be stored
//!   policies of the cluster --> list --> exported                   what to write to a file
//!                                   '--> prune::plan --> delete     what an import has applied and the files do not contain
//! ```
//!
//! The input is objects as JSON values, so that fields of other versions are neither lost nor changed. This module must not
//! know where the objects come from, nor how anything is shown.

mod apply;
mod fields;
mod list;
pub mod prune;

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::Value;

use crate::crd::{DevOpsPolicy, PolicyAuditResult, PolicyModule};

pub use apply::{Applied, ApplyError, ApplyOptions, Compared, apply, compare};
pub use fields::{LAST_APPLIED, exported, without_server_fields};
pub use list::list;

/// The field manager of imports.
pub const IMPORT_MANAGER: &str = "kube-devops-import";

/// A kind of the custom resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredKind {
    /// DevOpsPolicy.
    Policy,
    /// PolicyAuditResult.
    AuditResult,
    /// PolicyModule, which belongs to no namespace.
    Module,
}

impl StoredKind {
    /// Returns the description of the kind for requests.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Policy => ApiResource::erase::<DevOpsPolicy>(&()),
            Self::AuditResult => ApiResource::erase::<PolicyAuditResult>(&()),
            Self::Module => ApiResource::erase::<PolicyModule>(&()),
        }
    }
}

/// Returns the API for the policies of a namespace.
fn policies(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &StoredKind::Policy.resource())
}

/// Returns an object as a JSON value, with `apiVersion` and kind, which the items of a list may lack.
fn value(object: &DynamicObject, kind: StoredKind) -> Result<Value, kube::Error> {
    let mut value = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
    let resource = kind.resource();
    (value["apiVersion"], value["kind"]) = (resource.api_version.into(), resource.kind.into());
    Ok(value)
}
