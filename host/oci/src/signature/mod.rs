//! Signatures of modules, which are verified with public keys and without any service.
//!
//! Both formats of cosign are read, at all places where its versions store them:
//!
//! | written by | place | format |
//! |---|---|---|
//! | cosign 2; cosign 3 with `--new-bundle-format=false`; podman | tag `sha256-<digest>.sig` | `simple` |
//! | cosign with `--registry-referrers-mode=oci-1-1` | referrers | `simple` |
//! | cosign 3 | referrers, or the index with the tag `sha256-<digest>` | `bundle` |
//!
//! A transparency log is not consulted: with a key, it adds no trust, and it could not be reached from many networks.

mod bundle;
mod key;
mod search;
mod sign;
mod simple;

use crate::Digest;

pub use key::{InvalidKey, PublicKey};
pub use sign::{InvalidSigningKey, SigningKey};

/// The most signatures that are read at one place: with the tag, and of all referrers together.
const MAX_SIGNATURES: usize = 256;

/// Returns the tag of the signatures of a manifest.
fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hexadecimal())
}
