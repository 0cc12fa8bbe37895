//! The installation of the custom resources.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::apply_patch::apply_patch;
use crate::connection::Connection;
use crate::outdated::outdated;
use crate::{ClusterError, crd};

/// The field manager of this program.
pub const FIELD_MANAGER: &str = "kube-devops";

/// The timeout for the API server to serve a new custom resource.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The period of checking whether it does.
const PERIOD: Duration = Duration::from_millis(100);

/// The result of the server-side apply of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// It did not exist before.
    Created,
    /// It existed, and was changed.
    Configured,
    /// It existed, and was not changed.
    Unchanged,
}

impl ApplyOutcome {
    /// Returns the word that kubectl prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Applies every custom resource definition and waits until the API server serves it.
pub async fn install(connection: &Connection) -> Result<Vec<(String, ApplyOutcome)>, ClusterError> {
    let api: Api<CustomResourceDefinition> = Api::all(connection.client.clone());
    let mut outcomes = Vec::new();
    for definition in crd::definitions() {
        let name = definition.name_any();
        let what = format!("install {name}");
        let before = api.get_opt(&name).await.map_err(|error| connection.error(error, &what))?;
        let applied = apply(&api, &definition, before).await.map_err(|error| connection.error(error, &what))?;
        outcomes.push((name, applied));
    }
    for (name, _) in &outcomes {
        disown(connection, &api, name).await?;
    }
    Ok(outcomes)
}

/// Applies a definition, unless this changes nothing but the owners of its fields.
async fn apply(
    api: &Api<CustomResourceDefinition>,
    definition: &CustomResourceDefinition,
    before: Option<CustomResourceDefinition>,
) -> kube::Result<ApplyOutcome> {
    let (name, patch) = (definition.name_any(), apply_patch(definition)?);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let Some(before) = before else {
        api.patch(&name, &parameters, &patch).await?;
        return Ok(ApplyOutcome::Created);
    };
    let after = api.patch(&name, &parameters.clone().dry_run(), &patch).await?;
    if before.metadata.generation == after.metadata.generation {
        return Ok(ApplyOutcome::Unchanged);
    }
    api.patch(&name, &parameters, &patch).await?;
    Ok(ApplyOutcome::Configured)
}

/// Removes the owners of the spec of a definition that is served. Helm, kubectl and GitOps tools apply the definitions as well, and
/// without owners, none of them conflicts with this program or with another tool when it applies a later version.
async fn disown(connection: &Connection, api: &Api<CustomResourceDefinition>, name: &str) -> Result<(), ClusterError> {
    loop {
        let definition = wait_until_established(connection, api, name).await?;
        let Some(entries) = without_owners(definition.managed_fields()) else { return Ok(()) };
        let metadata = json!({ "resourceVersion": definition.metadata.resource_version, "managedFields": entries });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match api.patch(name, &PatchParams::default(), &patch).await {
            // It has been changed since it was read.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => return result.map(drop).map_err(|error| connection.error(error, &format!("install {name}"))),
        }
    }
}

/// The entries of `managedFields` without the fields of the spec. `None` if nothing has to change, or nothing would be left: API servers
/// ignore an empty list.
fn without_owners(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let mut left = Vec::new();
    for entry in entries {
        let mut entry = entry.clone();
        if let Some(Value::Object(fields)) = entry.fields_v1.as_mut().map(|fields| &mut fields.0)
            && fields.remove("f:spec").is_some()
            && fields.is_empty()
        {
            continue;
        }
        left.push(entry);
    }
    (!left.is_empty() && left != entries).then_some(left)
}

/// Compares the installed definitions with those of this program. Returns what is missing.
///
/// # Errors
///
/// If a request fails.
pub async fn check(connection: &Connection) -> Result<Result<(), String>, ClusterError> {
    let api: Api<CustomResourceDefinition> = Api::all(connection.client.clone());
    for definition in crd::definitions() {
        let name = definition.name_any();
        let found = api.get_opt(&name).await.map_err(|error| connection.error(error, &format!("read {name}")))?;
        let missing = match found {
            None => Some(format!("{name} does not exist")),
            Some(found) => outdated(&definition, &found).map(|reason| format!("{name} is outdated: {reason}")),
        };
        if let Some(missing) = missing {
            return Ok(Err(format!("{missing}; run `kube-devops crd install`")));
        }
    }
    Ok(Ok(()))
}

async fn wait_until_established(
    connection: &Connection,
    api: &Api<CustomResourceDefinition>,
    name: &str,
) -> Result<CustomResourceDefinition, ClusterError> {
    let deadline = Instant::now() + ESTABLISH_TIMEOUT;
    loop {
        let definition = api.get(name).await.map_err(|error| connection.error(error, &format!("read {name}")))?;
        if definition.metadata.deletion_timestamp.is_some() {
            let reason = "it is being deleted; run this command again when `kubectl get crd` does not list it any more";
            return Err(ClusterError::Request { what: format!("install {name}"), reason: reason.to_owned() });
        }
        let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            return Ok(definition);
        }
        if let Some(rejected) =
            conditions.iter().find(|condition| condition.type_ == "NamesAccepted" && condition.status == "False")
        {
            let reason = rejected.message.clone().unwrap_or_default();
            return Err(ClusterError::Request { what: format!("establish {name}"), reason });
        }
        if Instant::now() >= deadline {
            let waited = ESTABLISH_TIMEOUT.as_secs();
            return Err(ClusterError::Timeout(format!("the API server did not establish {name} within {waited} s")));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entries(value: Value) -> Vec<ManagedFieldsEntry> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_spec_of_a_definition_has_no_owner() {
        let status = json!({ "manager": "kube-apiserver", "operation": "Update", "subresource": "status", "fieldsV1": { "f:status": {} } });
        let before = json!([
            { "manager": "helm", "operation": "Apply", "fieldsV1": { "f:spec": { "f:group": {} } } },
            {
                "manager": "kubectl-client-side-apply", "operation": "Update",
                "fieldsV1": { "f:metadata": { "f:annotations": {} }, "f:spec": { "f:versions": {} } },
            },
            status,
        ]);
        let after = json!([
            {
                "manager": "kubectl-client-side-apply", "operation": "Update",
                "fieldsV1": { "f:metadata": { "f:annotations": {} } },
            },
            status,
        ]);
        let after = entries(after);
        assert_eq!(without_owners(&entries(before)), Some(after.clone()));
        assert_eq!(without_owners(&after), None, "nothing has to change");
        let only = json!([{ "manager": "helm", "operation": "Apply", "fieldsV1": { "f:spec": {} } }]);
        assert_eq!(without_owners(&entries(only)), None, "an empty list would be ignored");
        assert_eq!(without_owners(&[]), None);
    }
}
