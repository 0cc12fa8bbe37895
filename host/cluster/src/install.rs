//! The installation of the custom resources.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PatchParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use crate::apply_patch::apply_patch;
use crate::connection::Connection;
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
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let after = async { api.patch(&name, &parameters, &apply_patch(&definition)?).await };
        let after = after.await.map_err(|error| connection.error(error, &what))?;
        outcomes.push((
            name,
            match before {
                None => ApplyOutcome::Created,
                Some(before) if before.metadata.resource_version == after.metadata.resource_version => {
                    ApplyOutcome::Unchanged
                }
                Some(_) => ApplyOutcome::Configured,
            },
        ));
    }
    for (name, _) in &outcomes {
        wait_until_established(connection, &api, name).await?;
    }
    Ok(outcomes)
}

async fn wait_until_established(
    connection: &Connection,
    api: &Api<CustomResourceDefinition>,
    name: &str,
) -> Result<(), ClusterError> {
    let deadline = Instant::now() + ESTABLISH_TIMEOUT;
    loop {
        let definition = api.get(name).await.map_err(|error| connection.error(error, &format!("read {name}")))?;
        if definition.metadata.deletion_timestamp.is_some() {
            let reason = "it is being deleted; run this command again when `kubectl get crd` does not list it any more";
            return Err(ClusterError::Request { what: format!("install {name}"), reason: reason.to_owned() });
        }
        let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            return Ok(());
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
