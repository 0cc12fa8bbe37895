//! The errors of a cluster.

use kube::error::Error;

/// An error of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable kubeconfig or ServiceAccount.
    #[error("no usable cluster configuration: {0}\nUse --kubeconfig or KUBECONFIG, and a context of that kubeconfig")]
    Configuration(String),
    /// The API server cannot be reached.
    #[error("{server} cannot be reached: {reason}\nIs the cluster up, and is this the right context?")]
    Unreachable {
        /// The address of the API server.
        server: String,
        /// The reason.
        reason: String,
    },
    /// The API server does not accept the credentials.
    #[error("{server} does not accept the credentials: {reason}\nLog in again, or use another context")]
    Unauthorized {
        /// The address of the API server.
        server: String,
        /// The message of the API server.
        reason: String,
    },
    /// The permission is missing.
    #[error("not allowed to {what}: {reason}\n`kube-devops check` lists the permissions that are missing")]
    Forbidden {
        /// The action, such as `list pods`.
        what: String,
        /// The message of the API server.
        reason: String,
    },
    /// A namespace does not exist.
    #[error("there is no namespace {namespace:?} on {server}; run `kubectl get namespaces` to list the namespaces")]
    NoNamespace {
        /// The name.
        namespace: String,
        /// The address of the API server.
        server: String,
    },
    /// The custom resources are not installed.
    #[error("{server} has no custom resources of kube-devops; install them with `kube-devops crd install`")]
    NoCustomResources {
        /// The address of the API server.
        server: String,
    },
    /// A request failed for another reason.
    #[error("failed to {what}: {reason}")]
    Request {
        /// The action, such as `list pods`.
        what: String,
        /// The message of the API server.
        reason: String,
    },
    /// The server cannot listen on its address.
    #[error("cannot listen on {address}: {reason}; choose another address with --addr")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        reason: String,
    },
    /// Two metrics have the same name.
    #[error("failed to register the metrics: {0}")]
    Metrics(String),
    /// A background task ended, which only a panic causes.
    #[error("{0} ended unexpectedly; the messages before state the reason")]
    TaskEnded(&'static str),
    /// A deadline was exceeded.
    #[error("{0}")]
    Timeout(String),
}

impl ClusterError {
    /// Returns the error of a failed request to `server`. `what` is the action, such as `list pods`.
    pub fn of(error: Error, server: &str, what: &str) -> Self {
        let server = server.to_owned();
        let what = what.to_owned();
        match error {
            Error::Api(status) if status.code == 401 => Self::Unauthorized { server, reason: status.message.clone() },
            Error::Api(status) if status.code == 403 => Self::Forbidden { what, reason: status.message.clone() },
            Error::Api(status) => Self::Request { what, reason: status.message.clone() },
            error @ (Error::HyperError(_) | Error::Service(_)) => {
                Self::Unreachable { server, reason: innermost(&error) }
            }
            error => Self::Request { what, reason: error.to_string() },
        }
    }
}

/// Whether the API server failed to call an admission webhook: the request was answered, and another replica would have no more
/// success.
pub fn is_webhook_failure(status: &kube::core::Status) -> bool {
    // <https://github.com/kubernetes/kubernetes/blob/v1.33.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go>
    status.code == 500 && status.message.contains("failed calling webhook")
}

/// Whether an object is too large for the API server or etcd.
pub fn is_too_large(status: &kube::core::Status) -> bool {
    // <https://github.com/etcd-io/etcd/blob/v3.6.0/api/v3rpc/rpctypes/error.go>, and the limit of the client of etcd.
    const TOO_LARGE: [&str; 2] = ["etcdserver: request is too large", "trying to send message larger than max"];
    status.code == 413 || status.code == 500 && TOO_LARGE.iter().any(|text| status.message.contains(text))
}

/// Whether the API server cannot apply anything to an object, because a stored field has another type than in its schema.
pub fn is_mistyped(status: &kube::core::Status) -> bool {
    // <https://github.com/kubernetes/kubernetes/blob/v1.33.0/staging/src/k8s.io/apimachinery/pkg/util/managedfields/internal/structuredmerge.go>
    status.message.contains("failed to create typed live object")
}

/// Whether the API server did not respond, or not properly, so that another replica may have more success. A request that could not be
/// built, or whose answer says something about the object, does not say so.
pub fn is_unavailability(error: &Error) -> bool {
    match error {
        Error::Api(status) if status.code == 500 => is_storage_failure(status) || is_of_another_server(status),
        Error::Api(status) => status.code > 500,
        // The credentials of this replica cannot be read.
        Error::Auth(_) | Error::HyperError(_) | Error::Service(_) => true,
        // It answered, and another replica could not read the answer either, or nothing was sent.
        _ => false,
    }
}

/// Whether the API server had no answer of etcd. Every other failure without a specific status code, to which it responds with 500, says
/// something about the object, or about the components of the cluster.
fn is_storage_failure(status: &kube::core::Status) -> bool {
    const FAILURES: [&str; 5] =
        ["etcdserver: ", "rpc error: code = ", "context deadline exceeded", "context canceled", "transport is closing"];
    FAILURES.iter().any(|text| status.message.contains(text)) && !is_webhook_failure(status) && !is_too_large(status)
}

/// Whether the answer is that of a proxy: it is no `Status`, and the client makes one.
fn is_of_another_server(status: &kube::core::Status) -> bool {
    status.reason == "Failed to parse error data"
}

/// Whether the API server does not serve the kind of a request, such as a custom resource that is not installed: then the answer has
/// no details, and may not even be JSON. `Status::is_not_found` is false for the latter.
pub fn is_not_served(status: &kube::core::Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.kind.is_empty())
}

/// Returns the reason why a request failed, without the layers of the client.
pub fn request_failure(error: &Error) -> String {
    match error {
        Error::Api(status) if status.message.is_empty() => {
            format!("the API server responded with status {}", status.code)
        }
        Error::Api(status) => status.message.clone(),
        Error::HyperError(_) | Error::Service(_) => format!("the API server cannot be reached: {}", innermost(error)),
        error => error.to_string(),
    }
}

/// Returns the message of the innermost cause, which is the specific one.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{Error as IoError, ErrorKind};

    use kube::core::{Request, Status};

    use super::*;

    #[test]
    fn only_a_missing_or_improper_answer_is_unavailability() {
        let status = |code: u16, message: &str| Error::Api(Status::failure(message, "").with_code(code).boxed());
        let reset = IoError::new(ErrorKind::ConnectionReset, "Connection reset");
        let invalid = Request::new("/api").get("a b%", &kube::api::GetParams::default());
        let Err(invalid) = invalid else { panic!("the name is invalid") };
        for (error, expected) in [
            (Error::Service(Box::new(reset)), true),
            (status(503, "no leader"), true),
            (status(500, "etcdserver: request timed out"), true),
            (status(500, "etcdserver: request is too large"), false),
            (status(500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max"), false),
            (status(500, "failed calling webhook \"a\": no endpoints"), false),
            (status(500, "failed calling webhook \"a\": context deadline exceeded"), false),
            (
                status(500, "failed to create typed live object (a/b): .status.violations: expected list, got &{3}"),
                false,
            ),
            (status(500, "conversion webhook for devops.stochastic.io/v1 failed"), false),
            (Error::Api(Status::failure("<html>", "Failed to parse error data").with_code(500).boxed()), true),
            (status(502, "Bad Gateway"), true),
            (status(413, "Request entity too large: limit is 3145728"), false),
            (status(403, "forbidden"), false),
            (Error::BuildRequest(invalid), false),
            (Error::LinesCodecMaxLineLengthExceeded, false),
        ] {
            assert_eq!(is_unavailability(&error), expected, "{error}");
        }
    }

    #[test]
    fn the_reason_of_a_failed_request_is_its_innermost_cause_or_the_message_of_the_api_server() {
        let refused = IoError::new(ErrorKind::ConnectionRefused, "Connection refused");
        let service = Error::Service(Box::new(IoError::other(refused)));
        assert_eq!(request_failure(&service), "the API server cannot be reached: Connection refused");
        let status = |message: &str| Error::Api(Status::failure(message, "").with_code(503).boxed());
        assert_eq!(request_failure(&status("no leader")), "no leader");
        assert_eq!(request_failure(&status("")), "the API server responded with status 503");
    }
}
