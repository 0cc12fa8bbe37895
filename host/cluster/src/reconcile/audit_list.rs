//! The audit results that exist, for an operator that has just begun.

use std::collections::BTreeMap;

use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};

use super::audit::FINGERPRINT;
use crate::crd::PolicyAuditResult;
use crate::key::ObjectKey;

/// How many are asked for at once.
const PAGE: u32 = 500;

/// An audit result; they sort by time, as their names do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// The name.
    pub name: String,
    /// The fingerprint of what it says.
    pub fingerprint: Option<String>,
}

/// All audit results of each policy, the oldest first. Only their metadata is read.
pub async fn known(client: Client) -> Result<BTreeMap<ObjectKey, Vec<Known>>, kube::Error> {
    let api: Api<PolicyAuditResult> = Api::all(client);
    let mut parameters = ListParams::default().limit(PAGE);
    let mut known: BTreeMap<ObjectKey, Vec<Known>> = BTreeMap::new();
    loop {
        let page = api.list_metadata(&parameters).await?;
        page.items.iter().for_each(|audit| add(audit, &mut known));
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => parameters = parameters.continue_token(&next),
            None => break,
        }
    }
    known.values_mut().for_each(|audits| audits.sort());
    Ok(known)
}

fn add(audit: &PartialObjectMeta<PolicyAuditResult>, known: &mut BTreeMap<ObjectKey, Vec<Known>>) {
    let Some(owner) = audit.owner_references().first() else { return };
    let namespace = audit.namespace().unwrap_or_default().as_str().into();
    let key = ObjectKey { namespace, name: owner.name.as_str().into() };
    let fingerprint = audit.annotations().get(FINGERPRINT).cloned();
    known.entry(key).or_default().push(Known { name: audit.name_any(), fingerprint });
}
