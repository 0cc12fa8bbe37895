//! The statuses of PolicyModules, which the leader writes. Other replicas learn the version of a tag from them, so that a failure is tried
//! again.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use crate::clock::Now;
use crate::crd::{PolicyModule, PolicyModuleStatus};
use crate::install::FIELD_MANAGER;
use crate::runtime::backoff::Backoff;

/// The timeout of writing a status.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The shortest and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Writes statuses, with pauses after failures.
pub struct StatusWriter {
    client: Client,
    pauses: Backoff,
}

impl StatusWriter {
    /// Nothing was written yet.
    pub fn new(client: Client) -> Self {
        Self { client, pauses: Backoff::of(&"statuses of modules", PAUSES) }
    }

    /// The rest of the pause after a failure.
    pub fn pause(&self, now: Now) -> Option<Duration> {
        self.pauses.left(now.instant)
    }

    /// Whether there is no pause.
    pub fn may_write(&self, now: Now) -> bool {
        self.pauses.is_over(now.instant)
    }

    /// Writes statuses. A failure is logged.
    pub async fn write(&mut self, statuses: Vec<(PolicyModule, PolicyModuleStatus)>) {
        let mut has_failed = false;
        for (object, status) in statuses {
            let module = object.name_any();
            if let Err(error) = self.write_one(&object, &status).await {
                tracing::warn!(module, "failed to write the status of a module: {error}");
                has_failed = true;
            }
        }
        if has_failed {
            self.pauses.failed(Now::read().instant);
        } else {
            self.pauses.succeeded();
        }
    }

    async fn write_one(&self, object: &PolicyModule, status: &PolicyModuleStatus) -> Result<(), String> {
        let name = object.name_any();
        let patch = Patch::Apply(json!({
            "apiVersion": PolicyModule::api_version(&()), "kind": PolicyModule::kind(&()),
            "metadata": { "name": name, "uid": object.uid() }, "status": status,
        }));
        let api: Api<PolicyModule> = Api::all(self.client.clone());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match timeout(TIMEOUT, api.patch_status(&name, &parameters, &patch)).await {
            Ok(Ok(_)) => Ok(()),
            // The module was deleted, or replaced by another one.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the API server did not respond within {} seconds", TIMEOUT.as_secs())),
        }
    }
}
