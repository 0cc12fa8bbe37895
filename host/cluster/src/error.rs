//! What can go wrong with a cluster.

use kube::error::Error;

/// Something that could not be done with a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable configuration.
    #[error("no usable cluster configuration: {0}\nUse --kubeconfig and --context, or set KUBECONFIG")]
    Configuration(String),
    /// The API server cannot be reached.
    #[error("{server} cannot be reached: {reason}\nIs the cluster up, and is this the right --context?")]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        reason: String,
    },
    /// The API server does not know who asks.
    #[error("{server} does not accept the credentials: {reason}\nLog in again, or use another --context")]
    Unauthorized {
        /// Its address.
        server: String,
        /// What it said.
        reason: String,
    },
    /// The API server refused.
    #[error("not allowed to {what}: {reason}\n`kube-devops check` lists the permissions that are missing")]
    Forbidden {
        /// What was asked for.
        what: String,
        /// What it said.
        reason: String,
    },
    /// There is no such namespace.
    #[error("there is no namespace {namespace:?} on {server}; `kubectl get namespaces` lists those there are")]
    NoNamespace {
        /// Its name.
        namespace: String,
        /// The API server.
        server: String,
    },
    /// The API server answered with another error.
    #[error("could not {what}: {reason}")]
    Request {
        /// What was asked for.
        what: String,
        /// What it said.
        reason: String,
    },
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}: {reason}; choose another with --addr")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        reason: String,
    },
    /// Two metrics have one name.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
    /// Something did not happen in time.
    #[error("{0}")]
    Timeout(String),
}

impl ClusterError {
    /// The error of a request, in words.
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

/// The cause at the bottom, which says what happened; the layers above it only say that something did.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
