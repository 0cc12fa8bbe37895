//! The HTTPS server of the webhook.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use kube_devops_cluster::ClusterError;
use kube_devops_runtime::server::{Readiness, listen};
use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::body::{BodyBudget, BodyError, BudgetedBody, Busy};
use crate::configuration::{MUTATE_PATH, VALIDATE_PATH};
use crate::connection::{self, ServerLimits, Shared};
use crate::response::Reason;

/// An API server opens a connection per concurrent request, and closes idle ones after 90 seconds, so that it never uses one that is being
/// closed. A connection can use 64 KiB of memory.
const LIMITS: ServerLimits = ServerLimits {
    connections: 1024,
    handshake: Duration::from_secs(10),
    first_request: Duration::from_secs(10),
    idle: Duration::from_secs(120),
    age: Duration::from_secs(300),
    highest_age: Duration::from_secs(600),
    grace: Duration::from_secs(10),
};
/// The most updates of remediated workloads that are processed at a time.
const MAX_MUTATIONS: usize = 8;

#[derive(Clone)]
struct Served {
    admission: Arc<Admission>,
    budget: BodyBudget,
    /// In bytes.
    largest_body: usize,
    mutations: Arc<Semaphore>,
}

/// Serves reviews that are posted to [`VALIDATE_PATH`] and [`MUTATE_PATH`].
pub fn router(admission: Arc<Admission>, largest_body: usize) -> Router {
    let budget = BodyBudget::new(largest_body);
    let mutations = Arc::new(Semaphore::new(MAX_MUTATIONS));
    let served = Served { admission, budget, largest_body, mutations };
    Router::new().route(VALIDATE_PATH, post(validate)).route(MUTATE_PATH, post(mutate)).with_state(served)
}

/// Reads the rest of a rejected body, unless it is too large or slow. Closing a connection with unread bytes resets it, and then
/// the client may not receive the response.
async fn discard(body: &mut Body, served: &Served, arrived: Instant) {
    let rest = async {
        let mut count = 0;
        while let Some(Ok(frame)) = body.frame().await {
            count += frame.data_ref().map_or(0, Bytes::len);
            if count > 2 * served.largest_body {
                break;
            }
        }
    };
    let left = served.admission.deadline().saturating_sub(arrived.elapsed());
    let _ = tokio::time::timeout(left, rest).await;
}

/// Listens on `address` (port 0 means any free port), and serves in the background until `stop`, with the current certificate of `tls`.
/// Returns the address that it listens on, and the task.
///
/// # Errors
///
/// If the address is in use.
pub async fn serve(
    address: SocketAddr,
    tls: watch::Receiver<Arc<ServerConfig>>,
    router: Router,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), ClusterError> {
    let (listener, address) = listen(address).await?;
    let shared = Shared { tls, router, readiness };
    let served = tokio::spawn(connection::serve(listener, shared, LIMITS, stop));
    Ok((address, served))
}

async fn validate(State(served): State<Served>, request: Request) -> Response {
    let arrived = Instant::now();
    let admission = &served.admission;
    let reject = |reason, status: StatusCode, text: String| {
        admission.metrics().rejected(reason, arrived.elapsed());
        tracing::warn!(reason = Reason::as_str(reason), "rejected a request: {text}");
        (status, text + "\n").into_response()
    };
    let Unread { reason, status, text, head } = match read(&served, request, arrived).await {
        Ok(body) => {
            return match admission.answer(&body.bytes, arrived).await {
                Ok(response) => json(&response),
                Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
            };
        }
        Err(unread) => unread,
    };
    match admission.deny_unread(&head, reason, &text, arrived) {
        Some(response) => {
            tracing::warn!(reason = reason.as_str(), "denied a request: {text}");
            json(&response)
        }
        None => reject(reason, status, text),
    }
}

/// Responds to an update of a remediated workload. After an error, the API server continues with the update as it is.
async fn mutate(State(served): State<Served>, request: Request) -> Response {
    let fail = |status: StatusCode, text: String| {
        served.admission.metrics().yield_failures.inc();
        tracing::warn!("failed to process an update of a remediated workload: {text}");
        (status, text + "\n").into_response()
    };
    let body = match read(&served, request, Instant::now()).await {
        Ok(body) => body,
        Err(Unread { status, text, .. }) => return fail(status, text),
    };
    // Whole objects are parsed, which takes several times their size.
    let Ok(_place) = served.mutations.try_acquire() else {
        return fail(StatusCode::SERVICE_UNAVAILABLE, "too many updates are being processed".to_owned());
    };
    // Other requests continue on another thread.
    match tokio::task::block_in_place(|| served.admission.mutate(&body.bytes)) {
        Ok(response) => json(&response),
        Err(error) => fail(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// A request whose body was not read.
struct Unread {
    reason: Reason,
    status: StatusCode,
    text: String,
    /// The first bytes of the body, if they were read.
    head: Vec<u8>,
}

async fn read(served: &Served, request: Request, arrived: Instant) -> Result<BudgetedBody, Unread> {
    let (parts, mut body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !content_type.is_some_and(is_json) {
        let text = "the content type is not application/json".to_owned();
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Unread { reason: Reason::Malformed, status, text, head: Vec::new() });
    }
    let deadline = served.admission.deadline();
    let error = match served.budget.read(&mut body, (arrived + deadline).into()).await {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    if matches!(error, BodyError::TooLarge { .. } | BodyError::Busy(_)) {
        discard(&mut body, served, arrived).await;
    }
    Err(rejection(error, served.largest_body, deadline))
}

fn rejection(error: BodyError, largest: usize, deadline: Duration) -> Unread {
    let unread = |reason, status, text: String, head| Unread { reason, status, text, head };
    match error {
        BodyError::TooLarge { head } => {
            let text = format!("the request has more than {largest} bytes");
            unread(Reason::Oversized, StatusCode::PAYLOAD_TOO_LARGE, text, head)
        }
        BodyError::Busy(busy) => {
            // Without the first bytes, the failure policy of the API server decides. It could admit a large request, and users who
            // can make large requests must not evade the policies by it.
            let (size, head) = match busy {
                Busy::Small => ("", Vec::new()),
                Busy::Large { head } => ("large ", head),
            };
            let text = format!("too many {size}requests are being received or evaluated; try again");
            unread(Reason::Overload, StatusCode::SERVICE_UNAVAILABLE, text, head)
        }
        BodyError::Late => {
            let text = format!("the request did not arrive within {deadline:?}");
            unread(Reason::SlowRequest, StatusCode::REQUEST_TIMEOUT, text, Vec::new())
        }
        BodyError::Broken(error) => {
            unread(Reason::Malformed, StatusCode::BAD_REQUEST, format!("failed to read the body: {error}"), Vec::new())
        }
    }
}

fn json(response: &crate::review::Response) -> Response {
    ([(CONTENT_TYPE, "application/json")], response.to_json()).into_response()
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tower_service::Service;

    use super::*;
    use crate::admission::testing::{admission, options, review};
    use crate::body::testing::incomplete;

    const MAX_SIZE: usize = 1024 * 1024;

    fn post(body: Body) -> Request {
        let request = axum::http::Request::post(VALIDATE_PATH).header(CONTENT_TYPE, "application/json");
        request.body(body).unwrap()
    }

    #[tokio::test]
    async fn a_review_is_evaluated_while_many_others_do_not_arrive() {
        let mut router = router(Arc::new(admission(options(), &[])), MAX_SIZE);
        let mut slow: Vec<_> = (0..200).map(|_| router.call(post(incomplete(0, 256 * 1024)))).collect();
        for request in &mut slow {
            assert!(futures::poll!(request).is_pending());
        }
        // More than the first bytes, which are free.
        let mut review = review("shop");
        review.resize(64 * 1024, b' ');
        let response = router.call(post(Body::from(review))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["response"]["allowed"], true, "{answer}");
    }

    #[test]
    fn only_large_requests_are_denied_for_lack_of_memory() {
        let admission = admission(options(), &[]);
        let denied = |busy| {
            let unread = rejection(BodyError::Busy(busy), MAX_SIZE, admission.deadline());
            assert_eq!((unread.reason, unread.status), (Reason::Overload, StatusCode::SERVICE_UNAVAILABLE));
            admission
                .deny_unread(&unread.head, unread.reason, &unread.text, Instant::now())
                .map(|denial| denial.allowed)
        };
        assert_eq!(denied(Busy::Small), None, "the failure policy decides");
        let head = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a1-b2","#;
        assert_eq!(denied(Busy::Large { head: head.to_vec() }), Some(false));
    }
}
