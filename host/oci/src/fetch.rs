//! A module from the store or from its registry, with verified digest and signature.

use std::collections::BTreeSet;

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
    /// The current time, in seconds since 1970.
    pub now: i64,
}

/// A module that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What was fetched.
    pub record: Record,
    /// The component.
    pub component: Vec<u8>,
}

/// Fetches a module, and stores it.
///
/// # Errors
///
/// If it cannot be pulled, is not signed as required, or cannot be stored.
pub async fn fetch(store: Option<&Store>, request: Request<'_>) -> Result<Fetched, OciError> {
    if let Some(digest) = request.reference.digest()
        && let Some((record, component)) = store.and_then(|store| store.get(request.reference, digest))
        && is_trusted(&record, request.keys)
        && record.size <= request.most
    {
        return Ok(Fetched { record, component });
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
    let stored = store.and_then(|store| store.get(request.reference, &manifest));
    let (mut signers, component) = match stored {
        Some((record, component)) if record.size <= request.most => (record.signers, component),
        _ => (BTreeSet::new(), registry.pull(&manifest, request.most).await?.component),
    };
    signers.extend(signer);
    let record = Record {
        repository: repository(request.reference),
        tag: request.reference.tag().map(str::to_owned),
        manifest,
        component: Digest::of(&component),
        size: component.len() as u64,
        signers,
        pulled: request.now,
    };
    if let Some(store) = store {
        store.put(&record, &component)?;
    }
    Ok(Fetched { record, component })
}

/// Reports whether a stored module was signed by one of the keys.
fn is_trusted(record: &Record, keys: &[PublicKey]) -> bool {
    keys.is_empty() || keys.iter().any(|key| record.signers.contains(key.identity()))
}
