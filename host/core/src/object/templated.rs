//! Objects of which only the pod templates are read.

use serde::Deserialize;

use super::strict::{null_as_default, text};
use super::{JobTemplate, Metadata, Object, PodTemplate, Spec};
use crate::workload::Workload;

/// An object of another kind than Pod. The fields of custom resources can have the names of those of a pod and any type.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Templated {
    #[serde(deserialize_with = "text")]
    api_version: String,
    #[serde(deserialize_with = "text")]
    kind: String,
    #[serde(deserialize_with = "null_as_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "null_as_default")]
    spec: Templates,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Templates {
    template: Option<Box<PodTemplate>>,
    job_template: Option<Box<JobTemplate>>,
}

impl From<Templated> for Object {
    fn from(object: Templated) -> Self {
        let Templated { api_version, kind, metadata, spec: Templates { template, job_template } } = object;
        Self {
            api_version,
            kind,
            metadata,
            spec: Spec { template, job_template, ..Spec::default() },
            ..Self::default()
        }
    }
}

/// A revision, from which controllers create pods.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Revision {
    #[serde(deserialize_with = "text")]
    api_version: String,
    #[serde(deserialize_with = "text")]
    kind: String,
    #[serde(deserialize_with = "null_as_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "null_as_default")]
    data: RevisionData,
}

/// The data of a revision: a patch of its workload, whose `$patch` does not matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RevisionData {
    #[serde(deserialize_with = "null_as_default")]
    spec: RevisionSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RevisionSpec {
    template: Option<Box<PodTemplate>>,
}

impl From<Revision> for Object {
    fn from(revision: Revision) -> Self {
        let Revision { api_version, kind, metadata, data } = revision;
        let spec = Spec { template: data.spec.template, ..Spec::default() };
        Self { api_version, kind, metadata, spec, ..Self::default() }
    }
}

impl Object {
    /// Returns the object with each of its pod templates alone. An object of a kind that is not known can have several.
    pub fn by_template(mut self) -> Vec<Self> {
        let is_known = Workload::find(&self.api_version, &self.kind).is_some();
        if is_known || self.spec.template.is_none() {
            return vec![self];
        }
        let Some(job_template) = self.spec.job_template.take() else { return vec![self] };
        let (api_version, kind, metadata) = (self.api_version.clone(), self.kind.clone(), self.metadata.clone());
        let spec = Spec { job_template: Some(job_template), ..Spec::default() };
        vec![self, Self { api_version, kind, metadata, spec, ..Self::default() }]
    }
}
