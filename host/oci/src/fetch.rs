//! A module from the store or from its registry, with verified digest and signature.

use std::collections::BTreeSet;

use crate::blocking;
pub use crate::budget::{Budget, Reserved, SLOW};
use crate::client::{Access, Options, Repository};
use crate::store::{Record, Store, repository};
use crate::{Digest, Keychain, OciError, PublicKey, Reference};

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

/// Fetches a module, and stores it. A failure to store it is only logged: the module can be used nevertheless.
///
/// # Errors
///
/// If it cannot be pulled, or is not signed as required.
pub async fn fetch(store: Option<&Store>, request: Request<'_>) -> Result<Fetched, OciError> {
    let (fetched, entered) = pull(store, request).await?;
    if let Err(error) = entered {
        tracing::warn!("{error}");
    }
    Ok(fetched)
}

/// Fetches a module, and returns whether it could be stored.
///
/// # Errors
///
/// If it cannot be pulled, or is not signed as required.
pub async fn pull(store: Option<&Store>, request: Request<'_>) -> Result<(Fetched, Result<(), OciError>), OciError> {
    if request.reference.digest().is_some()
        && let Some(fetched) = pinned(store, &request).await?
    {
        // The tags that were read may have moved in the meantime; those of the store are kept.
        let by_digest = Record { by_digest: true, tags: BTreeSet::new(), ..fetched.record.clone() };
        let entered = match store.cloned() {
            Some(store) if !fetched.record.by_digest => blocking::run(move || store.update(&by_digest)).await?,
            _ => Ok(()),
        };
        return Ok((fetched, entered));
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
    let known = known(store, &request, &manifest).await?;
    let is_known = known.is_some();
    let (digest, mut signers, component, reserved) = match known {
        Some(Fetched { record, component, reserved }) => (record.component, record.signers, component, reserved),
        None => {
            let pulled = registry.pull(&manifest, request.most, request.budget).await?;
            (pulled.digest, BTreeSet::new(), pulled.component, pulled.reserved)
        }
    };
    signers.extend(signer);
    let by_digest = request.reference.digest().is_some();
    let record = Record {
        repository: repository(request.reference),
        // With a digest, a tag says nothing.
        tags: request.reference.tag().filter(|_| !by_digest).map(str::to_owned).into_iter().collect(),
        by_digest,
        manifest,
        component: digest,
        size: component.len() as u64,
        signers,
        pulled: request.now,
    };
    let Some(store) = store.cloned() else { return Ok((Fetched { record, component, reserved }, Ok(()))) };
    let enter = move || {
        let entered = if is_known { store.update(&record) } else { store.put(&record, &component) };
        (Fetched { record, component, reserved }, entered)
    };
    blocking::run(enter).await
}

/// Returns the module of a digest as [`stored`] does, without blocking the runtime.
async fn pinned(store: Option<&Store>, request: &Request<'_>) -> Result<Option<Fetched>, OciError> {
    let (store, reference, most) = (store.cloned(), request.reference.clone(), request.most);
    let keys = request.keys.to_vec();
    blocking::run(move || stored(store.as_ref(), &reference, &keys, most)).await
}

/// Returns what the store has of a manifest, without blocking the runtime. The memory is reserved before the component is read.
async fn known(store: Option<&Store>, request: &Request<'_>, manifest: &Digest) -> Result<Option<Fetched>, OciError> {
    let Some(store) = store.cloned() else { return Ok(None) };
    let (records, reference, manifest) = (store.clone(), request.reference.clone(), manifest.clone());
    let found = blocking::run(move || records.find(&reference, &manifest)).await?;
    let Some(record) = found.filter(|record| record.size <= request.most) else { return Ok(None) };
    let reserved = match request.budget {
        Some(budget) => Some(budget.reserve_local(record.size, request.options.timeouts.deadline).await?),
        None => None,
    };
    let read = move || store.content(&record).map(|component| Fetched { record, component, reserved });
    blocking::run(read).await
}
