//! The errors of registries.

use std::time::Duration;

use crate::Digest;

/// An error of a registry, or of a module in a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OciError {
    /// The client cannot be configured.
    #[error("{0}")]
    Configuration(String),
    /// Credentials cannot be read.
    #[error("failed to read the credentials in {origin}: {reason}")]
    Credentials {
        /// The file or the Secret.
        origin: String,
        /// The reason.
        reason: String,
    },
    /// The registry cannot be reached.
    #[error("failed to reach {host}: {reason}")]
    Connection {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// The registry does not answer in time.
    #[error("{host} did not answer within {limit:?}")]
    Timeout {
        /// The host.
        host: String,
        /// The time limit.
        limit: Duration,
    },
    /// The registry sends less than the slowest connection that is supported.
    #[error(
        "{host} sent only {received} bytes of {what} within {:.1} s: at least 64 KiB per second are needed", elapsed.as_secs_f32()
    )]
    Slow {
        /// The host.
        host: String,
        /// What was requested.
        what: String,
        /// The number of bytes.
        received: u64,
        /// The time.
        elapsed: Duration,
    },
    /// There is no memory for the module, because others are being fetched.
    #[error("there was no memory for the module within {limit:?}: others are being fetched, or wait to be loaded")]
    Busy {
        /// The time limit.
        limit: Duration,
    },
    /// The registry denies access.
    #[error("{host} denied access to {repository} ({status}): {detail}")]
    Denied {
        /// The host.
        host: String,
        /// The repository.
        repository: String,
        /// The status code.
        status: u16,
        /// Which credentials were used, and what to do.
        detail: String,
    },
    /// The registry does not have it.
    #[error("{host} does not have {what}")]
    NotFound {
        /// The host.
        host: String,
        /// What was requested.
        what: String,
    },
    /// The registry answers with an error.
    #[error("{host} answered with status {status}{detail}")]
    Status {
        /// The host.
        host: String,
        /// The status code.
        status: u16,
        /// The message of the registry, after a colon.
        detail: String,
        /// The time to wait before the next request, as the registry asks for it.
        retry_after: Option<Duration>,
    },
    /// The registry redirects to a place that is not allowed.
    #[error("{host} redirects to {target}, which is not followed: {reason}")]
    Redirect {
        /// The host.
        host: String,
        /// The target, without its query.
        target: String,
        /// The reason.
        reason: &'static str,
    },
    /// An answer is too large.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Content does not have the size that its manifest states.
    #[error("the module has {found} bytes, and its manifest states {expected}")]
    Size {
        /// The size in the manifest.
        expected: u64,
        /// The size of the content.
        found: u64,
    },
    /// Content does not have its digest.
    #[error("the content of {what} has the digest {found}")]
    Digest {
        /// What was requested, by its digest.
        what: String,
        /// The digest of the content.
        found: String,
    },
    /// The manifest is not the one of a module.
    #[error("the manifest is not that of a module: {0}")]
    Manifest(String),
    /// The answer does not follow the protocol.
    #[error("{host} does not answer as a registry: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// The module is not signed as required.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A signature cannot be added to those with a tag.
    #[error("no signature was added to those with the tag {tag}: {reason}")]
    Signing {
        /// The tag.
        tag: String,
        /// The reason, and what to do.
        reason: String,
    },
    /// The store of modules cannot be used.
    #[error("failed to {action} {path}: {reason}")]
    Store {
        /// What failed.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// The reason.
        reason: String,
    },
}

impl OciError {
    /// Reports whether the same request may succeed within seconds.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// A word for the kind of the error, as the reason of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Configuration(_) => "ConfigurationInvalid",
            Self::Credentials { .. } => "CredentialsInvalid",
            Self::Connection { .. } | Self::Timeout { .. } | Self::Slow { .. } => "RegistryUnreachable",
            Self::Busy { .. } => "Busy",
            Self::Denied { .. } => "AccessDenied",
            Self::NotFound { .. } => "NotFound",
            Self::Status { .. } | Self::Protocol { .. } | Self::Signing { .. } => "RegistryFailed",
            Self::Redirect { .. } => "RedirectDenied",
            Self::TooLarge { .. } => "TooLarge",
            Self::Size { .. } | Self::Digest { .. } => "DigestMismatch",
            Self::Manifest(_) => "NotAModule",
            Self::Signature(SignatureError::Incomplete { .. }) => "SignatureSearchIncomplete",
            Self::Signature(_) => "SignatureInvalid",
            Self::Store { .. } => "StoreFailed",
        }
    }
}

/// The reason why a module is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("the module is not signed: there is no signature of {0}")]
    Unsigned(Digest),
    /// There are signatures, but none by the keys.
    #[error("no signature of {digest} is valid: {}", reasons.join("; "))]
    Untrusted {
        /// The digest of the manifest.
        digest: Digest,
        /// Why each signature is not valid, without repetitions.
        reasons: Vec<String>,
    },
    /// No valid signature was found, but there is more than is read.
    #[error(
        "no valid signature of {digest} was found, but not everything was read: {}{}; remove what is not needed, or sign again with \
         `module sign`, whose signature is read first", limits.join("; "), in_parentheses(reasons)
    )]
    Incomplete {
        /// The digest of the manifest.
        digest: Digest,
        /// What was read of how much.
        limits: Vec<String>,
        /// Why signatures that were read are not valid, without repetitions.
        reasons: Vec<String>,
    },
}

fn in_parentheses(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

impl SignatureError {
    /// The digest of the manifest that is not signed as required.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Unsigned(digest) | Self::Untrusted { digest, .. } | Self::Incomplete { digest, .. } => digest,
        }
    }
}
