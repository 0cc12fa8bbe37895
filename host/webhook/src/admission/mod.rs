//! The evaluation of admission requests.
//!
//! ```text
//!   body --> review --> gate --> workload: subject --> rules of the namespace --> violations --.
//!                        |                                                                     |--> verdict --> response
//!                        |-----> policy: settings of a DevOpsPolicy ---------------------------|
//!                        '-----> module: references and keys of a PolicyModule ----------------'
//! ```

mod changed;
mod compare;
mod gate;
mod module;
mod places;
mod policy;
#[cfg(test)]
pub mod testing;
mod workload;

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kube_devops_cluster::ClusterError;
use kube_devops_core::object::Object;
use kube_devops_core::text::{cut, escape_controls, number};
use kube_devops_core::{Severity, SystemNamespaces};
use kube_devops_engine::Checks;
use prometheus::Registry;

use crate::index::PolicyIndex;
use crate::metrics::Metrics;
use crate::mutation;
use crate::response::{Reason, ResponsePolicy, Verdict};
use crate::review::{Request, Response, ReviewError, parse, parse_raw};

use gate::Gate;
use places::Places;
use workload::Time;

/// Policies of which one of the last evaluations took longer than this are evaluated without blocking other requests.
const SLOW: Duration = Duration::from_millis(20);
/// The longest value in a log line, in bytes.
const MAX_LOGGED_LENGTH: usize = 256;

/// The options of the evaluation.
#[derive(Debug, Clone)]
pub struct AdmissionOptions {
    /// The lowest severity of violations that deny; `None` if all are warnings.
    pub deny: Option<Severity>,
    /// Whether requests are denied that cannot be evaluated.
    pub fail_closed: bool,
    /// The deadline of a request.
    pub deadline: Duration,
    /// The most requests that are evaluated at a time.
    pub most_at_once: usize,
    /// The namespaces that are excluded.
    pub system: SystemNamespaces,
    /// The user of the operator, whose updates are admitted: it remediates workloads and reverts its patches.
    pub operator: Option<String>,
    /// Whether pods, ReplicaSets and Jobs of built-in controllers are denied like those of users.
    pub deny_controller_pods: bool,
}

/// Evaluates admission requests.
pub struct Admission {
    current: RwLock<Arc<Current>>,
    index: Arc<PolicyIndex>,
    options: AdmissionOptions,
    places: Places,
    metrics: Metrics,
}

/// The checks, and what depends on them.
struct Current {
    checks: Arc<Checks>,
    response_policy: ResponsePolicy,
}

impl Current {
    fn new(checks: Arc<Checks>, options: &AdmissionOptions) -> Self {
        let response_policy = ResponsePolicy::new(options.deny, options.fail_closed, checks.infos());
        Self { checks, response_policy }
    }
}

/// A request without its objects.
type Header<'a> = Request<'a, ()>;
/// The new and the existing object, or the reason why they are malformed.
type Reviewed = Result<(Option<Object>, Option<Object>), String>;

impl Admission {
    /// Evaluates by the policies of `index`, and registers its metrics.
    ///
    /// # Errors
    ///
    /// If the metrics are registered already.
    pub fn new(
        checks: Arc<Checks>,
        index: Arc<PolicyIndex>,
        options: AdmissionOptions,
        registry: &Registry,
    ) -> Result<Self, ClusterError> {
        let current = RwLock::new(Arc::new(Current::new(checks, &options)));
        let metrics = Metrics::new(registry, options.fail_closed)?;
        let places = Places::new(options.most_at_once);
        Ok(Self { current, index, places, metrics, options })
    }

    /// Replaces the checks.
    pub fn set_checks(&self, checks: Arc<Checks>) {
        let current = Arc::new(Current::new(checks, &self.options));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    fn current(&self) -> Arc<Current> {
        // No holder of the lock can panic during a change.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The deadline of a request, from its arrival.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// Responds to a review that arrived at `arrived`.
    ///
    /// # Errors
    ///
    /// If the body is not a review with a uid, to which a response is possible.
    #[tracing::instrument(level = "debug", skip_all, fields(bytes = body.len()))]
    pub async fn answer(&self, body: &[u8], arrived: Instant) -> Result<Response, ReviewError> {
        let (request, objects) = match read(body) {
            Ok(read) => read,
            Err(error) => {
                self.metrics.rejected(Reason::Malformed, arrived.elapsed());
                tracing::warn!("rejected a request: {error}");
                return Err(error);
            }
        };
        let deadline = arrived + self.options.deadline;
        let verdict = match gate::gate(&request, &self.options) {
            // Only evaluations are limited: what is excluded is admitted at any time.
            Gate::Skip => Verdict::Skipped,
            // Administrators must be able to replace a module at any time.
            Gate::Module => module::verdict(body),
            Gate::Policy => self.limited(|| {
                let current = self.current();
                // The creation of rules runs their checks, and other requests continue on another thread.
                tokio::task::block_in_place(|| policy::verdict(&current.checks, body, deadline))
            }),
            Gate::Workload => self.workload(&request, objects, body, deadline).await,
        };
        let response = verdict.response(&request.uid, &self.current().response_policy);
        log(&request, &verdict, &response);
        self.metrics.answered(&verdict, response.allowed, arrived.elapsed());
        Ok(response)
    }

    /// Evaluates, unless too many requests are being evaluated.
    fn limited(&self, evaluate: impl FnOnce() -> Verdict) -> Verdict {
        let Some(_place) = self.places.any() else {
            let text = format!("more than {} at once", number(self.options.most_at_once, "request"));
            return Verdict::failed(Reason::Overload, text);
        };
        evaluate()
    }

    async fn workload(&self, request: &Header<'_>, objects: Reviewed, body: &[u8], deadline: Instant) -> Verdict {
        if !self.index.is_synced() {
            return Verdict::failed(Reason::NotSynced, "the policies have not been listed yet");
        }
        let Some(policies) = self.index.of(&request.namespace) else { return Verdict::Skipped };
        let is_slow = policies.is_slow();
        // Only added modules can use up the places of other namespaces. A request that waits for one holds no other place.
        let slow = match is_slow && policies.have_added() {
            true => self.places.slow(&request.namespace, body.len(), deadline).await.map(Some),
            false => Ok(None),
        };
        let time = Time { deadline, no_place: slow.as_ref().err().copied() };
        let verdict = self.limited(|| {
            let started = Instant::now();
            let evaluate = || workload::verdict(request, objects, body, &policies, time);
            // Other requests continue on another thread.
            let verdict = if is_slow { tokio::task::block_in_place(evaluate) } else { evaluate() };
            if time.no_place.is_none() {
                policies.evaluated(started.elapsed() > SLOW);
            }
            verdict
        });
        self.with_options(verdict)
    }

    fn with_options(&self, mut verdict: Verdict) -> Verdict {
        if let Verdict::Evaluated { is_controlled, .. } = &mut verdict {
            *is_controlled &= !self.options.deny_controller_pods;
        }
        verdict
    }

    /// Responds to the review of an update of a remediated workload.
    ///
    /// # Errors
    ///
    /// If the body is not a review with a uid, to which a response is possible.
    pub fn mutate(&self, body: &[u8]) -> Result<Response, ReviewError> {
        mutation::answer(body, self.options.operator.as_deref(), &self.metrics)
    }

    /// Denies a request that was not read, if its id is known from its first bytes. It would be admitted otherwise, and who can
    /// make large requests must not evade the policies by it.
    pub fn deny_unread(&self, head: &[u8], reason: Reason, text: &str, arrived: Instant) -> Option<Response> {
        let uid = uid_in(head)?;
        let response = Verdict::denied(&uid, text);
        self.metrics.denied_unread(reason, arrived.elapsed());
        Some(response)
    }
}

/// The id of a request, from the first bytes of a review as API servers write it.
fn uid_in(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let request = text.split_once("\"request\":{\"uid\":\"")?.1;
    let uid = request.split_once('"')?.0;
    uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then(|| uid.to_owned())
}

/// Reads a review in one pass. If its objects are malformed, the rest is read without them, so that there is a response, and the pod
/// templates of those that are no pods.
fn read(body: &[u8]) -> Result<(Header<'_>, Reviewed), ReviewError> {
    match parse(body) {
        Ok(request) if !workload::is_revision(&request.resource) => {
            let (request, object, before) = request.split();
            Ok((request, Ok((object, before))))
        }
        other => {
            let (request, object, before) = parse_raw(body)?.split();
            let templates = workload::templates(&request, object, before);
            let failed = |error: Option<serde_json::Error>| {
                let error = error.map(|error| error.to_string()).or(other.err().map(|error| error.to_string()));
                format!("failed to read the object: {}", error.unwrap_or_default())
            };
            Ok((request, templates.map_err(failed)))
        }
    }
}

fn log(request: &Header<'_>, verdict: &Verdict, response: &Response) {
    let shown = |text: &str| cut(&escape_controls(text), MAX_LOGGED_LENGTH);
    let (namespace, kind, user) = (&request.namespace, &request.kind.kind, &request.user_info.username);
    if let Verdict::Evaluated { failures, .. } = verdict
        && let Some(first) = failures.first()
    {
        tracing::warn!(
            namespace = shown(namespace),
            kind = shown(kind),
            reason = first.reason.as_str(),
            "failed to evaluate: {}",
            shown(&first.text)
        );
    }
    if !response.allowed {
        let what = match verdict {
            Verdict::Evaluated { subject, .. } => Cow::Owned(shown(subject)),
            Verdict::Skipped | Verdict::Invalid(_) | Verdict::Warned(_) => Cow::Borrowed("the policy or module"),
        };
        let violations = response.audit_annotations.get("violations").map_or("", String::as_str);
        tracing::info!(
            namespace = shown(namespace),
            kind = shown(kind),
            user = shown(user),
            violations,
            "denied: {what}"
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;
    use kube_devops_core::object::{Context, Extraction};
    use kube_devops_core::{Needs, Policy, RuleConfig};

    use crate::index::AppliedPolicy;

    use super::testing::{admission, options, review};
    use super::*;

    #[tokio::test]
    async fn excluded_requests_are_admitted_while_too_many_are_being_evaluated() {
        let admission = admission(AdmissionOptions { fail_closed: true, ..options() }, &["kube-system", "shop"]);
        let answer = async |namespace: &str| {
            let mut response = admission.answer(&review(namespace), Instant::now()).await.unwrap();
            (response.allowed, response.audit_annotations.remove("not_evaluated").unwrap_or_default())
        };
        let admitted = (true, String::new());
        assert_eq!(answer("kube-system").await, admitted);
        assert_eq!(answer("shop").await, (false, "check_failed".to_owned()), "its module is not loaded");
        let _evaluation = admission.places.any();
        assert_eq!(answer("kube-system").await, admitted, "the namespace is excluded");
        assert_eq!(answer("other").await, admitted, "the namespace has no policies");
        assert_eq!(answer("shop").await, (false, "overload".to_owned()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_request_waits_for_others_of_its_namespace() {
        let admission = admission(AdmissionOptions { most_at_once: 8, ..options() }, &["other"]);
        let policy = Policy { name: "strict".to_owned(), rules: vec![RuleConfig::default_of("added")] };
        let added = admission.current().checks.rule_set(&policy).ok().map(Arc::new);
        let policy = AppliedPolicy { name: "strict".into(), rules: None, added, failures: Vec::new() };
        admission.index.set(&"shop".into(), vec![policy]);
        for namespace in ["shop", "other"] {
            admission.index.of(namespace).unwrap().evaluated(true);
        }
        let not_evaluated = async |namespace: &str| {
            let mut response = admission.answer(&review(namespace), Instant::now()).await.unwrap();
            response.audit_annotations.remove("not_evaluated")
        };
        let slow = admission.places.slow("shop", 1, Instant::now()).await;
        let mut waiting = Box::pin(not_evaluated("shop"));
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!(not_evaluated("other").await.as_deref(), Some("check_failed"), "it has no added modules");
        drop(slow);
        assert_eq!(waiting.await.as_deref(), Some("check_failed"), "it was evaluated: its module is not loaded");
    }

    #[test]
    fn the_id_of_a_request_is_read_from_its_first_bytes() {
        let head = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a1-b2","kind":{"#;
        assert_eq!(uid_in(head).as_deref(), Some("a1-b2"));
        assert_eq!(uid_in(br#"{"request":{"kind":{}}}"#), None);
        assert_eq!(uid_in(br#"{"request":{"uid":"not closed"#), None);
        assert_eq!(uid_in(br#"{"request":{"uid":"<script>"}}"#), None);
        assert_eq!(uid_in(b"\xff"), None);
    }

    #[test]
    fn the_template_of_a_revision_is_read_from_its_data() {
        let body = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",
            "kind":{"kind":"ControllerRevision"},"resource":{"group":"apps","resource":"controllerrevisions"},
            "object":{"kind":"ControllerRevision","apiVersion":"apps/v1","spec":5,
                "data":{"spec":{"template":{"$patch":"replace","spec":{"containers":[{"name":"app","image":"nginx"}]}}}}}}}"#;
        let objects = read(body).map(|(_, objects)| objects);
        let Ok(Ok((Some(object), None))) = objects else { panic!("{objects:?}") };
        let context = Context {
            now: chrono::DateTime::UNIX_EPOCH,
            default_namespace: String::new(),
            source: None,
            needs: Needs::default(),
        };
        let subject = object.extract(&context).ok().and_then(Extraction::into_subject);
        assert_eq!(subject.map(|subject| subject.containers[0].image.clone()).as_deref(), Some("nginx"));
    }
}
