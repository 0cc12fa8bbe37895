//! Modules in OCI registries: pull, push, signatures, and the store of pulled modules.
//!
//! ```text
//!   reference, credentials --> Repository --resolve--> digest --verify--> signer
//!                                                        '-----pull-----> component --> Store
//! ```
//!
//! The input is references, credentials and keys; the output is the bytes of components, whose digests are verified. Registries
//! are untrusted: sizes and times are limited, and nothing of an answer is used before its digest is compared. This crate
//! must not know what a component contains, and nothing of Kubernetes but the format of pull secrets.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod artifact;
mod blocking;
mod budget;
pub mod client;
pub mod credentials;
mod error;
pub mod fetch;
mod reference;
pub mod signature;
pub mod store;
mod text;

pub use client::{Access, Options, Pulled, Repository, Timeouts};
pub use credentials::Keychain;
pub use error::{OciError, SignatureError};
pub use fetch::Fetched;
pub use kube_devops_files::{Digest, InvalidDigest};
pub use reference::{InvalidReference, Reference, SCHEME, is_loopback, without_credentials};
pub use signature::{PublicKey, SigningKey};
pub use store::Store;
