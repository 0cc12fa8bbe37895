//! A module from the store or from its registry, with verified digest and signature.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::{Access, Options, Repository};
use crate::store::{Record, Store, repository};
use crate::{Digest, Keychain, OciError, PublicKey, Reference};

/// The unit in which memory is reserved, in bytes.
const UNIT: u64 = 1024;

/// The memory for all modules that are fetched at the same time.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
pub struct Reserved {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// A budget of `bytes`, which must be at least the size of the largest module.
    pub fn new(bytes: usize) -> Self {
        Self { units: Arc::new(Semaphore::new(bytes / UNIT as usize)) }
    }

    /// Waits until there is memory for `bytes`.
    pub(crate) async fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = self.units.clone().acquire_many_owned(units).await.ok()?;
        Some(Reserved { _permit: permit })
    }
}

/// A module to fetch.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Where it is. A tag is resolved by the registry each time; a digest needs no request if the store has it.
    pub reference: &'a Reference,
    /// How to reach the registry.
    pub options: &'a Options,
    /// The credentials.
    pub keychain: &'a Keychain,
    /// The keys of which one must have signed the module; no signature is needed without keys.
    pub keys: &'a [PublicKey],
    /// The limit of its size, in bytes.
    pub most: u64,
    /// The limit of all modules that are fetched at the same time.
    pub budget: Option<&'a Budget>,
    /// The current time, in seconds since 1970.
    pub now: i64,
}

/// A module that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// What was fetched.
    pub record: Record,
    /// The component.
    pub component: Vec<u8>,
    /// The memory for the component in the budget.
    pub reserved: Option<Reserved>,
}

/// Returns the module of a digest if the store has it, and it is signed by one of the keys.
pub fn stored(store: Option<&Store>, reference: &Reference, keys: &[PublicKey], most: u64) -> Option<Fetched> {
    let (record, component) = store?.get(reference, reference.digest()?)?;
    let is_trusted = keys.is_empty() || keys.iter().any(|key| record.signers.contains(key.identity()));
    (is_trusted && record.size <= most).then_some(Fetched { record, component, reserved: None })
}

/// Fetches a module, and stores it.
///
/// # Errors
///
/// If it cannot be pulled, or is not signed as required.
pub async fn fetch(store: Option<&Store>, request: Request<'_>) -> Result<Fetched, OciError> {
    if let Some(fetched) = stored(store, request.reference, request.keys, request.most) {
        return Ok(fetched);
    }
    let registry = Repository::open(request.reference, request.keychain, request.options, Access::Pull).await?;
    let manifest = match request.reference.digest() {
        Some(digest) => digest.clone(),
        None => registry.resolve(request.reference.version()).await?,
    };
    // The signature is verified first: an unsigned module is not even read.
    let signer = match request.keys {
        [] => None,
        keys => Some(registry.verify(&manifest, keys).await?),
    };
    let known = store.and_then(|store| store.get(request.reference, &manifest));
    let (mut signers, component, reserved) = match known {
        Some((record, component)) if record.size <= request.most => (record.signers, component, None),
        _ => {
            let pulled = registry.pull(&manifest, request.most, request.budget).await?;
            (BTreeSet::new(), pulled.component, pulled.reserved)
        }
    };
    signers.extend(signer);
    let record = Record {
        repository: repository(request.reference),
        // With a digest, a tag says nothing.
        tag: request.reference.tag().filter(|_| request.reference.digest().is_none()).map(str::to_owned),
        manifest,
        component: Digest::of(&component),
        size: component.len() as u64,
        signers,
        pulled: request.now,
    };
    if let Some(store) = store
        && let Err(error) = store.put(&record, &component)
    {
        // The module can be used nevertheless.
        tracing::warn!("{error}");
    }
    Ok(Fetched { record, component, reserved })
}
